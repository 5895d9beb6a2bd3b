# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry of Ollama models, as Ollama itself asks it: manifests by tag or digest, blobs by digest, often through a redirect.

The protocol is the OCI distribution specification's (https://github.com/opencontainers/distribution-spec/blob/main/spec.md). A model's
revision is the SHA-256 of its manifest's bytes, the digest that Ollama lists for it.
"""
from __future__ import annotations

import hashlib
import time
import typing as t
from urllib.parse import urlsplit

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import load_json
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import OLLAMA_HOST, Digest, ModelRef
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import (
    DOCKER_MANIFEST,
    MAX_MANIFEST_SIZE,
    OCI_MANIFEST,
    Layer,
    OllamaManifest,
)
from ansible_collections.venom.llm.plugins.module_utils.sources.base import ModelPlan, RemoteFile, Stream, TransientError
from ansible_collections.venom.llm.plugins.module_utils.sources.http import parse_endpoint, scrub
from ansible_collections.venom.llm.plugins.module_utils.sources.registry_auth import Credentials, RegistryHosts
from ansible_collections.venom.llm.plugins.module_utils.sources.registry_client import Answer, RegistryClient
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy, call_with_retries

PUBLIC_REGISTRY = f"https://{OLLAMA_HOST}"
_MANIFEST_TYPES = f"{DOCKER_MANIFEST}, {OCI_MANIFEST}"
_MAX_TAG_LIST = 1024 * 1024
#: Tags shown in a message.
_SHOWN_TAGS = 8


def parse_registry(text: str) -> str:
    """A registry's base URL. A host without a scheme means https; plain http has to be written. Raises ``invalid_option``."""
    return parse_endpoint(text if "://" in text else f"https://{text}")


def registry_url(named: str, ref: ModelRef) -> str:
    """The URL of the registry that has a model: the one in its name, else the one that was named. Raises ``invalid_option``."""
    registry = parse_registry(named)
    if ref.host == OLLAMA_HOST or urlsplit(registry).netloc.lower() == ref.host.lower():
        return registry
    return f"https://{ref.host}"


def blob_url(endpoint: str, ref: ModelRef, digest: Digest) -> str:
    """Where a registry has a blob of a model."""
    return f"{endpoint}/v2/{ref.repository}/blobs/{digest}"


class RegistrySource:
    """One registry as a source of models, with the operator's credentials and CA file and nothing of the environment's."""

    def __init__(
        self,
        endpoint: str = PUBLIC_REGISTRY,
        username: str | None = None,
        password: str | None = None,
        token: str | None = None,
        ca_path: str | None = None,
        allowed_hosts: t.Sequence[str] = (),
        stall_timeout: float = 30.0,
        retry_policy: RetryPolicy | None = None,
        sleep: t.Callable[[float], object] = time.sleep,
    ) -> None:
        self.endpoint = parse_registry(endpoint)
        self._retry_policy = retry_policy or RetryPolicy()
        self._sleep = sleep
        hosts = RegistryHosts(self.endpoint, tuple(allowed_hosts))
        self._http = RegistryClient(hosts, Credentials(username, password, token), ca_path, stall_timeout)

    def find_manifest(self, ref: ModelRef, revision: str | None = None) -> OllamaManifest:
        """The manifest that a tag stands for now, or that has a digest.

        ``revision`` is None for the name's own tag, another tag, or ``sha256:<64 hex>``. A digest is looked for under the tag first:
        registries differ in whether they give manifests by digest. Raises ``not_found``, ``revision_not_found``, ``digest_mismatch``,
        ``unsupported_source``, ``unauthorized``, ``redirect_refused``, ``rate_limited``, ``hub_unreachable``.
        """
        if revision and revision.startswith("sha256:"):
            return self._find_pinned(ref, Digest.parse(revision))
        tag = str(ModelRef.parse(f"{ref.name}:{revision}", "ollama").tag if revision else ref.tag)
        answer = self._ask(ref, f"manifests/{tag}", _MANIFEST_TYPES, MAX_MANIFEST_SIZE)
        if answer.status == 404:
            raise self._missing_tag(ref, tag, answer)
        return self._parse(ref, tag, answer)

    def find_commit(self, ref: ModelRef, revision: str = "") -> str:
        """The digest that a tag stands for now. Raises what ``find_manifest`` raises."""
        return self.find_manifest(ref, revision or None).digest

    def resolve(self, ref: ModelRef, revision: str, include: t.Sequence[str] = (), exclude: t.Sequence[str] = ()) -> ModelPlan:
        """Every blob of a model once. A model is whole or of no use, so there is nothing to choose.

        Raises ``invalid_option`` for patterns, ``unsupported_source`` for a model without layers, and what ``find_manifest`` raises.
        """
        if include or exclude:
            raise VenomError(
                "invalid_option", wanted=f"all of {ref}", found="include or exclude", todo="leave them out for Ollama models", model=str(ref)
            )
        manifest = self.find_manifest(ref, revision or None)
        if len(manifest.layers) == 1:
            raise VenomError(
                "unsupported_source",
                wanted=f"the layers of {ref}",
                found="a manifest without any: such a model runs elsewhere (a cloud model), or is empty",
                todo="choose a model that can be installed",
                model=str(ref),
            )
        layers = {layer.digest: layer for layer in manifest.layers}
        files = tuple(self.file_for(ref, layer) for layer in layers.values())
        return ModelPlan(ref, manifest.digest, revision or str(ref.tag), files, manifest.content)

    def file_for(self, ref: ModelRef, layer: Layer) -> RemoteFile:
        """A layer as a file to fetch; its path is the one in the server's store."""
        path = f"blobs/sha256-{layer.digest.hex}"
        return RemoteFile(path, layer.size, layer.digest.hex, None, blob_url(self.endpoint, ref, layer.digest))

    def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> Stream:
        """The bytes of a blob. Raises ``TransientError`` or ``VenomError``; retrying is the caller's."""
        return self._http.open(file.url, offset, length, file.size)

    def _url(self, ref: ModelRef, rest: str) -> str:
        return f"{self.endpoint}/v2/{ref.repository}/{rest}"

    def _ask(self, ref: ModelRef, rest: str, accept: str, limit: int) -> Answer:
        url = self._url(ref, rest)
        return call_with_retries(lambda: self._http.get(url, accept, limit), f"{ref} from {scrub(url)}", self._retry_policy, self._sleep)

    def _find_pinned(self, ref: ModelRef, wanted: Digest) -> OllamaManifest:
        by_tag = self._ask(ref, f"manifests/{ref.tag}", _MANIFEST_TYPES, MAX_MANIFEST_SIZE)
        current = self._parse(ref, str(ref.tag), by_tag) if by_tag.status != 404 else None
        if current is not None and current.digest == str(wanted):
            return current
        answer = self._ask(ref, f"manifests/{wanted}", _MANIFEST_TYPES, MAX_MANIFEST_SIZE)
        if answer.status != 404:
            found = self._parse(ref, str(wanted), answer)
            if found.digest != str(wanted):
                raise _mismatch(f"the manifest of {ref}", str(wanted), found.digest)
            return found
        if current is None:
            raise self._missing_tag(ref, str(ref.tag), by_tag, str(wanted))
        raise VenomError(
            "revision_not_found",
            wanted=f"{ref} at {wanted}",
            found=f"the registry no longer gives that manifest; the tag {ref.tag} is {current.digest} now",
            todo="pin the digest that the tag has now, or bring the model as a bundle from a host that has it",
            model=str(ref),
            current_revision=current.digest,
        )

    def _parse(self, ref: ModelRef, reference: str, answer: Answer) -> OllamaManifest:
        wanted = f"the manifest of {ref} at {reference} from {self.endpoint}"
        if answer.status in (401, 403):
            raise VenomError(
                "unauthorized",
                wanted=wanted,
                found=f"HTTP {answer.status}: the registry lets this login, or none, not read it",
                todo="give credentials that may pull the model",
                model=str(ref),
            )
        if answer.status != 200:
            raise VenomError(
                "unsupported_source",
                wanted=wanted,
                found=f"HTTP {answer.status}",
                todo="check the registry's URL, and proxies on the way",
                model=str(ref),
            )
        if len(answer.body) <= MAX_MANIFEST_SIZE:
            self._check_announced(ref, answer)
        return OllamaManifest.parse(answer.body)

    def _check_announced(self, ref: ModelRef, answer: Answer) -> None:
        announced = answer.headers.get("Docker-Content-Digest", "").strip()
        found = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        # A registry may name a manifest by another algorithm; then it says nothing about this one.
        if announced.startswith("sha256:") and announced != found:
            raise _mismatch(f"the manifest of {ref}", announced, found)

    def _missing_tag(self, ref: ModelRef, tag: str, answer: Answer, pinned: str | None = None) -> VenomError:
        """``revision_not_found`` only where the registry shows that it has the repository.

        MANIFEST_UNKNOWN alone shows nothing: the usual registry (distribution 2.8) says so of a repository that it does not have, too.
        """
        wanted = f"{ref.name}:{tag} from {self.endpoint}" + (f" at {pinned}" if pinned else "")
        tags = () if "NAME_UNKNOWN" in _error_codes(answer.body) else self._list_tags(ref)
        if not tags:
            todo = "check name and tag; a private model may need credentials"
            return VenomError("not_found", wanted=wanted, found="the registry has no such model", todo=todo, model=str(ref))
        shown = ", ".join(ascii(item)[1:-1][:60] for item in tags[:_SHOWN_TAGS]) + (", ..." if len(tags) > _SHOWN_TAGS else "")
        return VenomError(
            "revision_not_found",
            wanted=wanted,
            found=f"the model has no such tag{' or digest' if pinned else ''}, but {shown}",
            todo="choose one of its tags",
            model=str(ref),
        )

    def _list_tags(self, ref: ModelRef) -> tuple[str, ...]:
        """Tags of a repository, only to word an error: empty when the registry does not say."""
        try:
            answer = self._http.get(self._url(ref, "tags/list"), "application/json", _MAX_TAG_LIST)
            document = load_json(answer.body) if answer.status == 200 else None
        except (VenomError, TransientError, ValueError):
            return ()
        tags = document.get("tags") if isinstance(document, dict) else None
        return tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()


def _error_codes(body: bytes) -> set[str]:
    """The codes of a registry's error answer; none for anything else."""
    try:
        document = load_json(body)
    except ValueError:
        return set()
    errors = document.get("errors") if isinstance(document, dict) else None
    return {str(item.get("code")) for item in errors if isinstance(item, dict)} if isinstance(errors, list) else set()


def _mismatch(what: str, wanted: str, found: str) -> VenomError:
    return VenomError(
        "digest_mismatch",
        wanted=f"{what} with {ascii(wanted)[1:-1][:80]}",
        found=f"bytes with {found}",
        todo="try again; if it stays so, the registry, or a proxy on the way, changes or mixes up files",
        expected=wanted[:80],
        found_digest=found,
    )
