# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of planning that needs a hub or a registry: resolve, choose, judge. Nothing is written."""
from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.venom.llm.plugins.module_utils import fit, models_ollama_plan, ollama_facts
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts
from ansible_collections.venom.llm.plugins.module_utils.models_limits import Budget, Limits, check_limits
from ansible_collections.venom.llm.plugins.module_utils.models_ollama_host import OllamaHost
from ansible_collections.venom.llm.plugins.module_utils.models_plan import find_known, plan_install, plan_locally
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request
from ansible_collections.venom.llm.plugins.module_utils.models_sources import Sources
from ansible_collections.venom.llm.plugins.module_utils.models_steps import INSTALL, KEEP, REMOVE, STORE, LocalAnswer, PlanOptions, Step
from ansible_collections.venom.llm.plugins.module_utils.policy import MAX_SMALL_FILE, Read, check_code, check_indexes, select_files
from ansible_collections.venom.llm.plugins.module_utils.policy_headers import Headers, check_headers
from ansible_collections.venom.llm.plugins.module_utils.safetensors_header import read_safetensors_header, summarise
from ansible_collections.venom.llm.plugins.module_utils.sources.base import ModelPlan, RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs


class Planner:
    """Plans a whole call, so that nothing begins before everything may."""

    def __init__(self, params: t.Mapping[str, t.Any], sources: Sources, host: OllamaHost, options: PlanOptions) -> None:
        self._params = params
        self._sources = sources
        self._host = host
        self._options = options
        #: What the operator should know of the models, none of it a reason to stop.
        self.warnings: list[str] = []

    def plan(self, requests: t.Sequence[Request], answers: t.Sequence[LocalAnswer], manifest: Manifest) -> tuple[list[Step], Budget]:
        """A step for each request, and the budget. Raises ``VenomError`` for anything that would fail for a known reason."""
        self.warnings = []
        steps = [answer.step or self._plan_online(request, answer, manifest) for request, answer in zip(requests, answers)]
        seen = {entry.key_and_revision for step in steps if step.action == REMOVE for entry in step.before}
        for step in steps:
            if step.after is not None:
                if step.after.key_and_revision in seen:
                    raise VenomError(
                        "invalid_option",
                        wanted=f"each model once, {step.request.ref} too",
                        found=f"two revisions of the list are the same one, {step.after.revision}",
                        todo="keep one of them",
                        model=str(step.request.ref),
                    )
                seen.add(step.after.key_and_revision)
        limits = Limits(*(self._params[key] for key in ("max_disk_gb", "confirm_above_gb", "confirm_large", "reserve_gib")))
        return steps, check_limits(manifest, steps, limits, self._host.store, self._options.config_dir)

    def _plan_online(self, request: Request, answer: LocalAnswer, manifest: Manifest) -> Step:
        self._options.report(f"resolving {request.ref}")
        if request.ref.provider == "ollama":
            return self._plan_ollama(request, answer, manifest)
        source = self._sources.hub
        bad = answer.seen.damaged
        if request.state == "latest":
            local = self._ask_again(request, source.find_commit(request.ref, answer.ask_revision), manifest)
            if local.step is not None:
                return local.step
            bad = local.seen.damaged
        resolved: ModelPlan = source.resolve(request.ref, answer.ask_revision, request.include, request.exclude)
        files = select_files(request.ref, resolved.files, request.include, self._params["allow_pickle"])
        if not files:
            raise VenomError(
                "not_found",
                wanted=f"files of {request.ref} at {resolved.revision}",
                found="none that include and exclude choose" if request.include or request.exclude else "an empty repository",
                todo="check include and exclude",
                model=str(request.ref),
            )
        known = {announced: digest for announced, digest in find_known(manifest, files, request.deep).items() if announced not in bad}
        read = self._reader(known, Blobs(manifest.models_dir))
        headers = self._check_policy(request, files, known, Blobs(manifest.models_dir), read)
        is_same_question = answer.entry is not None and request.state != "latest"
        requested = answer.entry.requested_revision if answer.entry and is_same_question else request.wanted_revision
        step = plan_install(request, manifest, resolved.revision, files, known, requested, bad)
        if _is_new(step):
            sizes = {file.path: file.size for file in files}
            tensors = _tensors(files, headers, known, Blobs(manifest.models_dir))
            self._check_fit(request, fit.plan_facts(sizes, _by_path(files, read), tensors))
        return step

    def _check_fit(self, request: Request, facts: ModelFacts) -> None:
        """Whether this host could serve the model, before any weight moves."""
        params = self._params
        name, runtime = str(request.ref), request.runtime
        self.warnings += fit.check_download(name, facts, runtime, self._options.config_dir, params.get("cpu"), params.get("fit") or fit.REFUSE)

    def _plan_ollama(self, request: Request, answer: LocalAnswer, manifest: Manifest) -> Step:
        url = self._host.registry_of(request.ref)
        is_for_store = self._host.method == STORE
        step = models_ollama_plan.plan_online(request, answer, manifest, self._host, self._sources.registry(url, is_for_store))
        if step.action == INSTALL and not is_for_store and self._params["mirrors_only"]:
            raise VenomError(
                "invalid_option",
                wanted=f"{request.ref} from mirrors only",
                found=f"ollama_method is {step.method}, with which the Ollama server fetches by itself",
                todo="set ollama_method to store, or leave mirrors_only out",
                model=str(request.ref),
            )
        if step.action == INSTALL and step.method == STORE and step.manifest is not None:
            weights = {str(layer.digest) for layer in step.manifest.layers if layer.media_type in models_ollama_plan.WEIGHTS}
            formats = {file.path: "gguf" for file in step.missing if file.announced in weights}
            read_range = self._sources.range_reader(url)
            self._sources.judge(lambda: check_headers(request.ref, step.missing, read_range, formats=formats))
        if _is_new(step) and step.manifest is not None:
            self._check_fit(request, self._ollama_facts(step, url))
        return step

    def _ollama_facts(self, step: Step, url: str) -> ModelFacts:
        """From the configuration that the registry, or our store, has; it is small, and without it less is known."""
        manifest = step.manifest
        if manifest is None:
            raise ValueError("an Ollama model that is installed has a manifest")
        config = next((file for file in step.files if file.announced == str(manifest.config.digest)), None)
        content = b""
        if config is not None and config.size <= ollama_facts.MAX_SMALL:
            if config in step.missing or step.method != STORE:
                # What a server has lies in a store that may be closed to this account.
                content = self._sources.range_reader(url)(config, 0, config.size)
            else:
                with open(self._host.store.path(manifest.config.digest), "rb") as stream:
                    content = stream.read(ollama_facts.MAX_SMALL)
        return ollama_facts.config_facts(manifest, content)

    def _reader(self, known: t.Mapping[str, t.Any], blobs: Blobs) -> Read:
        """Reads a small file of the hub, from the store where it is there."""
        source = self._sources.hub

        def read(file: RemoteFile) -> bytes:
            digest = known.get(file.announced)
            if digest is None:
                return source.read(file)
            with open(blobs.path(digest), "rb") as stream:
                return stream.read(MAX_SMALL_FILE)

        return read

    def _check_policy(
        self, request: Request, files: t.Sequence[RemoteFile], known: t.Mapping[str, t.Any], blobs: Blobs, read: Read
    ) -> Headers:
        source = self._sources.hub
        check_code(request.ref, files, read, self._params["allow_remote_code"])
        expected = check_indexes(request.ref, files, read)
        self._options.report(f"reading the headers of {request.ref}")

        def read_range(file: RemoteFile, offset: int, length: int) -> bytes:
            digest = known.get(file.announced)
            if digest is None:
                return source.read_range(file, offset, length)
            with open(blobs.path(digest), "rb") as stream:
                stream.seek(offset)
                return stream.read(length)

        headers: Headers = {}
        self._sources.judge(lambda: headers.update(check_headers(request.ref, files, read_range, known, expected)))
        return headers

    def _ask_again(self, request: Request, commit: str, manifest: Manifest) -> LocalAnswer:
        """The host's answer without a listing, where the branch still stands at a revision that is installed and the newest."""
        newest = manifest.find(request.ref.name, request.wanted_revision)
        if newest is None or newest.revision != commit or (newest.include, newest.exclude) != (request.include, request.exclude):
            return LocalAnswer(None)
        pinned = replace(request, state="present", revision=commit)
        answer = plan_locally(pinned, manifest, self._options)
        step = answer.step
        if step is None:
            return answer
        return LocalAnswer(Step(pinned if step.action != KEEP else request, step.action, step.before, step.after, repaired=step.repaired))


def _is_new(step: Step) -> bool:
    """Whether a revision comes that is not here yet. One that is here was let in, and its repair is nobody's question."""
    revisions = {entry.revision for entry in step.before}
    return step.action == INSTALL and step.after is not None and step.after.revision not in revisions


def _tensors(
    files: t.Sequence[RemoteFile], headers: Headers, known: t.Mapping[str, t.Any], blobs: Blobs
) -> t.Callable[[str], t.Mapping[str, t.Any] | None]:
    """The headers of weights: those that the policy has read by ranges, and those of files that are in the store."""
    stored = {file.path: known[file.announced] for file in files if file.announced in known}

    def tensors(path: str) -> t.Mapping[str, t.Any] | None:
        if path in headers or path not in stored:
            return headers.get(path)
        try:
            return summarise(read_safetensors_header(blobs.path(stored[path])))
        except (OSError, ValueError):
            return None

    return tensors


def _by_path(files: t.Sequence[RemoteFile], read: Read) -> t.Callable[[str], bytes | None]:
    """Reads what the policy has read already and remembers, so that this costs no request."""
    found = {file.path: file for file in files if file.path.endswith(("config.json", ".safetensors.index.json"))}

    def read_path(path: str) -> bytes | None:
        file = found.get(path)
        return None if file is None or file.size > MAX_SMALL_FILE else read(file)

    return read_path
