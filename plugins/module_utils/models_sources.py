# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of one call, made when they are needed, with the operator's endpoints, credentials and limits."""
from __future__ import annotations

import hashlib
import io
import os
import re
import time
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import Layer
from ansible_collections.venom.llm.plugins.module_utils.policy import MAX_SMALL_FILE
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile, Source, Stream
from ansible_collections.venom.llm.plugins.module_utils.sources.bundle import BundleSource
from ansible_collections.venom.llm.plugins.module_utils.sources.http import is_urllib3_old, origin_of, parse_endpoint
from ansible_collections.venom.llm.plugins.module_utils.sources.hub import HubSource
from ansible_collections.venom.llm.plugins.module_utils.sources.mirror import MirrorSource
from ansible_collections.venom.llm.plugins.module_utils.sources.mirror_choice import Mirrors
from ansible_collections.venom.llm.plugins.module_utils.sources.plan import PlannedModels
from ansible_collections.venom.llm.plugins.module_utils.sources.ranges import RangeReader
from ansible_collections.venom.llm.plugins.module_utils.sources.registry import RegistrySource, blob_url, parse_registry, registry_url
from ansible_collections.venom.llm.plugins.module_utils.sources.registry_auth import Credentials
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy
from ansible_collections.venom.llm.plugins.module_utils.transfer.engine import TransferOptions, mismatch

_MAX_TOKEN_BYTES = 4096
#: Files up to this size are read as a whole where a part is wanted: a second request costs more than the bytes.
_SMALL = 256 * 1024
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def read_secret(value: str | None, path: str | None, option: str, is_token: bool = True) -> str | None:
    """A secret from its option or its file, without the line end. Raises ``invalid_option`` without repeating it, ``OSError``.

    A token has no spaces and no characters beyond ASCII; a password may have both.
    """
    if not value and path:
        with open(path, "rb") as stream:
            value = stream.read(_MAX_TOKEN_BYTES).decode("utf-8", "replace")
    value = (value or "").strip() if is_token else (value or "").rstrip("\r\n")
    if value and (not value.isprintable() or (is_token and not (value.isascii() and " " not in value))):
        raise VenomError(
            "invalid_option",
            wanted=f"a {'token' if is_token else 'password'} as {option}",
            found=f"characters that no {'token' if is_token else 'password'} has",
            todo=f"check {option}" + (f" and the content of {path}" if path else ""),
            option=option,
        )
    return value or None


def parse_rate(text: str | None) -> int | None:
    """Bytes a second from a number with an optional unit: k, M, G are 10^3, 10^6, 10^9; Ki, Mi, Gi powers of 1024; B and /s are ignored.

    Raises ``invalid_option``; None and 0 mean no limit.
    """
    if text is None:
        return None
    match = re.match(r"\A\s*(\d{1,15}(?:\.\d{1,6})?)\s*([kmg]i?)?(?:b)?(?:/s)?\s*\Z", text.lower())
    if match is None:
        raise VenomError(
            "invalid_option",
            wanted="bandwidth_limit in bytes a second, such as 50M or 10MiB/s",
            found=ascii(text),
            todo="correct bandwidth_limit",
            option="bandwidth_limit",
        )
    return int(float(match.group(1)) * _UNITS[match.group(2) or ""]) or None


class _MemoryStream:
    """Bytes that planning has read already."""

    def __init__(self, content: bytes, offset: int) -> None:
        self.offset = offset
        self._stream = io.BytesIO(content)

    def __iter__(self) -> t.Iterator[bytes]:
        yield from iter(lambda: self._stream.read(1024 * 1024), b"")

    def abort(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing to give back."""


class RememberingSource:
    """A hub whose small files are asked for once: what the policy has read is not fetched again."""

    def __init__(self, hub: HubSource | MirrorSource | BundleSource, policy: RetryPolicy) -> None:
        self._hub = hub
        self._read_range = RangeReader(hub, policy)
        self._contents: dict[str, bytes] = {}
        self.find_commit = hub.find_commit
        self.resolve = hub.resolve

    def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> Stream:
        """The bytes of a file, from memory where they are there."""
        content = self._contents.get(file.announced)
        if content is None:
            return self._hub.open(file, offset, length)
        return _MemoryStream(content[offset:] if length is None else content[offset : offset + length], offset)

    def reject(self, file: RemoteFile, is_fresh: bool) -> bool:
        """The bytes of a file were wrong; whether mirrors had sent some of them."""
        return isinstance(self._hub, MirrorSource) and self._hub.reject(file, is_fresh)

    def read_range(self, file: RemoteFile, offset: int, length: int) -> bytes:
        """Some bytes of a file, retried. A small one is read as a whole, verified and remembered."""
        if file.size <= _SMALL:
            return self.read(file)[offset : offset + length]
        return self._read_range(file, offset, length)

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


class Sources:
    """One hub and any number of registries, or one bundle, for one call that began at ``started`` on the monotonic clock."""

    def __init__(self, params: t.Mapping[str, t.Any], started: float) -> None:
        self._params = params
        self._started = started
        self._retry_policy = RetryPolicy(retries=params["retries"], ends=started + params["deadline"] if params["deadline"] else None)
        self._bandwidth_limit = parse_rate(params["bandwidth_limit"])
        self._hub: RememberingSource | None = None
        self._registries: dict[str, RegistrySource | MirrorSource] = {}
        self._mirrors: Mirrors | None = None
        self._plan: PlannedModels | None = None
        self._bundle: BundleSource | None = None

    @property
    def bundle(self) -> BundleSource | None:
        """The bundle that stands for hub and registries, if one was named. Raises ``bundle_invalid``, ``invalid_option``."""
        path = self._params.get("bundle")
        if self._bundle is None and path:
            if self.has_mirrors:
                raise VenomError(
                    "invalid_option",
                    wanted="models from a bundle, or by mirrors and plan",
                    found="options of both",
                    todo="leave out bundle, or mirrors, mirrors_only and plan",
                    option="bundle",
                )
            self._bundle = BundleSource(path)
        return self._bundle

    def transfer_options(self) -> TransferOptions:
        """How to transfer now, with what is left of the call's deadline. Raises ``deadline_exceeded``."""
        params = self._params
        deadline = params["deadline"]
        left = None if not deadline else deadline - (time.monotonic() - self._started)
        if left is not None and left <= 0:
            raise VenomError(
                "deadline_exceeded",
                wanted=f"to end within the deadline of {deadline:g} s",
                found="it passed before everything was fetched",
                todo="run it again, it goes on where it stopped; or raise deadline",
            )
        return TransferOptions(
            max_parallel=params["max_parallel"],
            retry_policy=self._retry_policy,
            stall_timeout=params["stall_timeout"],
            bandwidth_limit=self._bandwidth_limit,
            deadline=left,
        )

    @property
    def hub(self) -> RememberingSource:
        """The Hugging Face hub, or the bundle."""
        if self._hub is None:
            mirrored = self._mirrored(self._make_hub) if self.has_mirrors else None
            self._hub = RememberingSource(self.bundle or mirrored or self._make_hub(), self._retry_policy)
        return self._hub

    def _make_hub(self) -> HubSource:
        params = self._params
        return HubSource(
            params["endpoint"],
            token=read_secret(params["token"], params["token_file"], "token"),
            ca_path=self._ca_path(),
            allowed_hosts=params["allowed_hosts"] or (),
            stall_timeout=params["stall_timeout"],
            retry_policy=self._retry_policy,
        )

    def registry(self, url: str, is_for_store: bool = True) -> RegistrySource | MirrorSource | BundleSource:
        """The registry at a URL, behind the mirrors unless a server fetches by itself; or the bundle. Credentials are for the named one only."""
        if self.bundle is not None:
            return self.bundle
        key = f"{url} {is_for_store}"
        source = self._registries.get(key)
        if source is None:
            if self.has_mirrors and is_for_store:
                endpoint = parse_registry(url)
                source = self._mirrored(lambda: self._make_registry(url), lambda ref, layer: blob_url(endpoint, ref, layer.digest))
            else:
                source = self._make_registry(url)
            self._registries[key] = source
        return source

    def _make_registry(self, url: str) -> RegistrySource:
        params = self._params
        is_named = origin_of(url) == origin_of(parse_registry(params["registry"]))
        return RegistrySource(
            url,
            username=params["registry_username"] if is_named else None,
            password=self._registry_password() if is_named else None,
            token=read_secret(params["registry_token"], None, "registry_token") if is_named else None,
            ca_path=self._ca_path(),
            allowed_hosts=params["allowed_hosts"] or (),
            stall_timeout=params["stall_timeout"],
            retry_policy=self._retry_policy,
        )

    # Mirrors

    @property
    def has_mirrors(self) -> bool:
        """Whether something stands between this host and the origins."""
        return bool(self._params["mirrors"] or self._params["mirrors_only"] or self._params["plan"])

    @property
    def mirrors(self) -> Mirrors:
        """The mirrors of this call. Raises ``invalid_option``."""
        if self._mirrors is None:
            params = self._params
            if params["mirrors_only"] and not params["mirrors"]:
                raise VenomError(
                    "invalid_option",
                    wanted="mirrors, since nobody else may be asked",
                    found="mirrors_only without any",
                    todo="name them in mirrors, or leave mirrors_only out",
                    option="mirrors",
                )
            password = read_secret(params["mirror_password"], params["mirror_password_file"], "mirror_password", is_token=False)
            self._mirrors = Mirrors.parse(
                params["mirrors"] or (),
                authorization=Credentials(params["mirror_username"], password).basic,
                ca_path=self._ca_path(),
                allowed_hosts=params["allowed_hosts"] or (),
                stall_timeout=params["stall_timeout"],
                without_password=params["mirrors_open"] or (),
            )
        return self._mirrors

    @property
    def plan(self) -> PlannedModels | None:
        """The plan that came with the call. Raises ``invalid_option``."""
        if self._plan is None and self._params["plan"]:
            registry = self._params["registry"]
            self._plan = PlannedModels(
                self._params["plan"], parse_endpoint(self._params["endpoint"]), lambda ref: registry_url(registry, ref)
            )
        return self._plan

    def _mirrored(
        self, make_origin: t.Callable[[], Source], locate: t.Callable[[ModelRef, Layer], str] = lambda dummy_ref, layer: str(layer.digest)
    ) -> MirrorSource:
        params = self._params
        return MirrorSource(self.mirrors, self.plan, make_origin, params["mirrors_only"], self._retry_policy, params["stall_timeout"], locate)

    def library(self, pending: t.Iterable[tuple[Request, str]]) -> str:
        """The third-party library that it takes to ask for these requests, each in a revision; empty for a bundle. Raises ``invalid_option``."""
        if self.bundle is not None:
            return ""
        plan = self.plan
        is_planned = plan is not None and all(plan.holds(request.ref, revision, request.include, request.exclude) for request, revision in pending)
        # An old urllib3 is the distribution's; the backend's Python, which alone has huggingface_hub, has a new one.
        return "requests" if (is_planned or self._params["mirrors_only"]) and not is_urllib3_old() else "huggingface_hub"

    def judge(self, check: t.Callable[[], object]) -> None:
        """Run a check on bytes that nobody could verify yet. It refuses for good when none of them came from a mirror that may have lied."""
        if not self.has_mirrors:
            check()
            return
        refusal: VenomError | None = None
        while True:
            try:
                check()
            except VenomError as error:
                # Where no mirror is left the first refusal says more than that.
                refusal = refusal or error
                if not self.mirrors.doubt():
                    raise refusal from None
            else:
                self.mirrors.settle_all()
                return

    def bytes_by_source(self, bytes_fetched: int) -> dict[str, int]:
        """Bytes by the mirror that they came from; those of hub and registry are ``origin``."""
        by_source = self._mirrors.received() if self._mirrors is not None else {}
        origin = self._mirrors.from_origin if self._mirrors is not None else bytes_fetched
        return dict(by_source, origin=origin) if origin else by_source

    def warnings(self) -> list[str]:
        """What was wrong with mirrors."""
        return self._mirrors.warnings() if self._mirrors is not None else []

    def _registry_password(self) -> str | None:
        return read_secret(self._params["registry_password"], self._params["registry_password_file"], "registry_password", is_token=False)

    def range_reader(self, url: str) -> t.Callable[[RemoteFile, int, int], bytes]:
        """Reads some bytes of a registry's blob; a small one of a mirror as a whole, verified."""
        source = self.registry(url)
        read_range = RangeReader(source, self._retry_policy)

        def read(file: RemoteFile, offset: int, length: int) -> bytes:
            if isinstance(source, MirrorSource) and file.size <= _SMALL:
                return source.read(file, _SMALL)[offset : offset + length]
            return read_range(file, offset, length)

        return read

    def _ca_path(self) -> str | None:
        ca_path: str | None = self._params["ca_path"]
        if ca_path and not os.path.isfile(ca_path):
            raise VenomError("invalid_option", wanted="ca_path with certificates", found=f"no file {ca_path}", todo="correct ca_path")
        return ca_path
