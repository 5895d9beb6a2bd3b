# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of planning that needs a hub: resolve, choose, judge. Nothing is written."""
from __future__ import annotations

import hashlib
import io
import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.models_limits import Budget, Limits, check_limits
from ansible_collections.venom.llm.plugins.module_utils.models_plan import (
    KEEP,
    LocalAnswer,
    Request,
    Step,
    find_known,
    plan_install,
    plan_locally,
)
from ansible_collections.venom.llm.plugins.module_utils.policy import MAX_SMALL_FILE, check_code, check_indexes, select_files
from ansible_collections.venom.llm.plugins.module_utils.sources.base import ModelPlan, RemoteFile, Source, Stream
from ansible_collections.venom.llm.plugins.module_utils.sources.hub import HubSource
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.transfer import TransferOptions, mismatch

_MAX_TOKEN_BYTES = 4096


def read_token(token: str | None, token_file: str | None) -> str | None:
    """The token, from the option or the file. Raises ``invalid_option`` without repeating it, ``OSError``."""
    if not token and token_file:
        with open(token_file, "rb") as stream:
            token = stream.read(_MAX_TOKEN_BYTES).decode("utf-8", "replace")
    token = (token or "").strip()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise VenomError(
            "invalid_option", wanted="a token", found="characters that no token has", todo="check token and the content of token_file"
        )
    return token or None


class _MemoryStream:
    """Bytes that planning has read already."""

    def __init__(self, content: bytes) -> None:
        self._stream = io.BytesIO(content)

    def __iter__(self) -> t.Iterator[bytes]:
        yield from iter(lambda: self._stream.read(1024 * 1024), b"")

    def abort(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing to give back."""


class RememberingSource:
    """A hub whose small files are asked for once: what the policy has read is not fetched again."""

    def __init__(self, hub: HubSource) -> None:
        self._hub = hub
        self._contents: dict[str, bytes] = {}
        self.find_commit = hub.find_commit
        self.resolve = hub.resolve

    def open(self, file: RemoteFile, offset: int = 0) -> Stream:
        """The bytes of a file, from memory where they are there."""
        content = self._contents.get(file.announced)
        return self._hub.open(file, offset) if content is None else _MemoryStream(content[offset:])

    def read(self, file: RemoteFile) -> bytes:
        """A small file, verified. Raises ``digest_mismatch`` after a second try, and whatever the hub raises."""
        found = ""
        tries = 0
        while file.announced not in self._contents and tries < 2:
            tries += 1
            content = self._hub.read(file, MAX_SMALL_FILE)
            found = _announce(content, file)
            if found == file.announced:
                self._contents[found] = content
        if file.announced not in self._contents:
            raise mismatch(file, found)
        return self._contents[file.announced]


def _announce(content: bytes, file: RemoteFile) -> str:
    if file.sha256 is not None:
        return f"sha256:{hashlib.sha256(content).hexdigest()}"
    header = f"blob {len(content)}\0".encode("ascii")
    return f"git-sha1:{hashlib.sha1(header + content, usedforsecurity=False).hexdigest()}"


class Planner:
    """Plans a whole call, so that nothing begins before everything may. One source for all of it, made when it is needed."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._params = params
        self._retry_policy = RetryPolicy(retries=params["retries"])
        self._source: RememberingSource | None = None
        self.transfer_options = TransferOptions(max_parallel=params["max_parallel"], retry_policy=self._retry_policy)

    @property
    def source_if_used(self) -> Source | None:
        """The source, when planning needed it."""
        return self._source

    def plan(self, requests: t.Sequence[Request], answers: t.Sequence[LocalAnswer], manifest: Manifest) -> tuple[list[Step], Budget]:
        """A step for each request, and the budget. Raises ``VenomError`` for anything that would fail for a known reason."""
        steps = [answer.step or self._plan_online(request, answer, manifest) for request, answer in zip(requests, answers)]
        seen: set[tuple[str, str]] = set()
        for step in steps:
            if step.after is not None:
                if step.after.key_and_revision in seen:
                    raise VenomError(
                        "invalid_option",
                        wanted=f"each snapshot once, {step.request.ref} too",
                        found=f"two revisions of the list are the same commit {step.after.revision}",
                        todo="keep one of them",
                        model=str(step.request.ref),
                    )
                seen.add(step.after.key_and_revision)
        limits = Limits(*(self._params[key] for key in ("max_disk_gb", "confirm_above_gb", "confirm_large", "reserve_gib")))
        return steps, check_limits(manifest, steps, limits)

    def _plan_online(self, request: Request, answer: LocalAnswer, manifest: Manifest) -> Step:
        source = self._get_source()
        params = self._params
        if request.state == "latest":
            kept = self._keep_if_unchanged(request, source.find_commit(request.ref, answer.ask_revision), manifest)
            if kept is not None:
                return kept
        resolved: ModelPlan = source.resolve(request.ref, answer.ask_revision, request.include, request.exclude)
        files = select_files(request.ref, resolved.files, request.include, params["allow_pickle"])
        if not files:
            raise VenomError(
                "not_found",
                wanted=f"files of {request.ref} at {resolved.revision}",
                found="none that include and exclude choose" if request.include or request.exclude else "an empty repository",
                todo="check include and exclude",
                model=str(request.ref),
            )
        known = find_known(manifest, files)
        blobs = Blobs(manifest.models_dir)

        def read(file: RemoteFile) -> bytes:
            digest = known.get(file.announced)
            if digest is None:
                return source.read(file)
            with open(blobs.path(digest), "rb") as stream:
                return stream.read(MAX_SMALL_FILE)

        check_code(request.ref, files, read, params["allow_remote_code"])
        check_indexes(request.ref, files, read)
        is_same_question = answer.entry is not None and request.state == "present"
        requested = answer.entry.requested_revision if answer.entry and is_same_question else request.wanted_revision
        return plan_install(request, manifest, resolved.revision, files, known, requested)

    def _keep_if_unchanged(self, request: Request, commit: str, manifest: Manifest) -> Step | None:
        """The step without a listing, where the branch still stands at a revision that is installed, intact and the newest."""
        newest = manifest.find(request.ref.name, request.wanted_revision)
        if newest is None or newest.revision != commit or (newest.include, newest.exclude) != (request.include, request.exclude):
            return None
        pinned = Request(request.ref, request.runtime, "present", commit, request.alias, request.include, request.exclude)
        step = plan_locally(pinned, manifest, self._params["config_dir"], self._params["force"]).step
        if step is None:
            return None
        return Step(pinned if step.action != KEEP else request, step.action, step.before, step.after, repaired=step.repaired)

    def _get_source(self) -> RememberingSource:
        if self._source is None:
            params = self._params
            ca_path = params["ca_path"]
            if ca_path and not os.path.isfile(ca_path):
                raise VenomError("invalid_option", wanted="ca_path with certificates", found=f"no file {ca_path}", todo="correct ca_path")
            self._source = RememberingSource(
                HubSource(
                    params["endpoint"],
                    token=read_token(params["token"], params["token_file"]),
                    ca_path=ca_path,
                    allowed_hosts=params["allowed_hosts"] or (),
                    stall_timeout=params["stall_timeout"],
                    retry_policy=self._retry_policy,
                )
            )
        return self._source
