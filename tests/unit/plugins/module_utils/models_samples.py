# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of models share: parameters, records whose files really lie there, an Ollama host whose server and registry are values."""
from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord, snapshot_path, snapshot_sha256
from ansible_collections.venom.llm.plugins.module_utils.models_ollama_host import OllamaHost
from ansible_collections.venom.llm.plugins.module_utils.models_ollama_plan import make_entry, records_of
from ansible_collections.venom.llm.plugins.module_utils.models_options import model_spec
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef, fold_name
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import Layer, OllamaManifest
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_api import LoadedModel, ServedModel
from ansible_collections.venom.llm.plugins.module_utils.sources.base import ModelPlan, RemoteFile
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.store import ollama_models

OLD, NEW, OTHER = "a" * 40, "b" * 40, "c" * 40


def module_params(root: Path, **options: t.Any) -> dict[str, t.Any]:
    """Parameters of ``venom_model`` with everything below one folder and no waits."""
    params = {name: option.get("default") for name, option in model_spec().items()}
    params.update(models_dir=str(root / "models"), config_dir=str(root / "etc"), ollama_models_dir=str(root / "store"))
    params.update(backend_python="/nonexistent/python", lock_timeout=0.0, retries=0, reserve_gib=0.0)
    params.update(options)
    return params


class Context:
    """A module that remembers what it was told."""

    def __init__(self, check_mode: bool = False, has_library: bool = True) -> None:
        self.check_mode = check_mode
        self.diff_mode = True
        self.warnings: list[str] = []
        self.reports: list[str] = []
        self.backends: list[str] = []
        self._has_library = has_library

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def report(self, message: str, done: int | None = None, total: int | None = None) -> None:
        self.reports.append(message)

    def has_library(self, name: str = "huggingface_hub") -> bool:
        return self._has_library

    def need_backend(self, python: str, library: str = "huggingface_hub") -> None:
        self.backends.append(python)


def snapshot(root: Path, commit: str, requested: str = "main", day: int = 1, alias: str | None = None, name: str = "a/b") -> Entry:
    """A record of a Hugging Face model in the models folder ``root``, whose one file really lies there."""
    folder = Path(snapshot_path(str(root), ModelRef.parse(name), commit))
    folder.mkdir(parents=True)
    path = folder / "config.json"
    path.write_text("{}")
    status = path.stat()
    digest = Digest("sha256", hashlib.sha256(b"{}").hexdigest())
    return Entry(
        name=name,
        provider="huggingface",
        runtime="vllm",
        revision=commit,
        requested_revision=requested,
        alias=alias,
        local_path=str(folder),
        size_bytes=2,
        files=(FileRecord("config.json", 2, digest, status.st_mtime_ns, status.st_ino),),
        sha256="0" * 64,
        installed_at=f"2026-01-{day:02}T00:00:00+00:00",
    )


@dataclass
class Server:
    """An Ollama server as a value: names with digests, what was asked of it, and what a pull brings."""

    names: dict[str, str] = field(default_factory=dict)
    in_memory: dict[str, str] = field(default_factory=dict)
    shown: dict[str, t.Any] = field(default_factory=dict)
    brings: str = ""
    blobs: set[Digest] = field(default_factory=set)
    up: bool = True
    calls: list[tuple[str, ...]] = field(default_factory=list)

    def is_up(self) -> bool:
        return self.up

    def find_name(self, name: str) -> ServedModel | None:
        if not self.up:
            raise VenomError("server_unreachable", "an answer", "none", "start it")
        found = next((own for own in self.names if fold_name(own) == fold_name(name)), None)
        return ServedModel(found, self.names[found], 7) if found else None

    def find(self, ref: ModelRef) -> ServedModel | None:
        return self.find_name(str(ref))

    def loaded(self) -> tuple[LoadedModel, ...]:
        return tuple(LoadedModel(name, digest, 7, 7, "", 8) for name, digest in self.in_memory.items())

    def models(self) -> tuple[ServedModel, ...]:
        return tuple(ServedModel(name, digest, 7) for name, digest in self.names.items())

    def show(self, name: str) -> dict[str, t.Any]:
        return self.shown

    def pull(self, name: str, insecure: bool = False, progress: t.Any = None, deadline: float | None = None) -> None:
        self.calls.append(("pull", name, "insecure" if insecure else "secure"))
        if progress is not None:
            # More than all there is, as a server's figures do when a part is fetched again.
            progress(10**12, None, "pulling")
        self.names[name] = self.brings

    def has_blob(self, digest: Digest) -> bool:
        return digest in self.blobs

    def copy(self, source: str, destination: str) -> None:
        self.calls.append(("copy", source, destination))
        self.names[destination] = self.names[source]

    def delete(self, name: str) -> bool:
        self.calls.append(("delete", name))
        return self.names.pop(name, None) is not None

    def unload(self, name: str, timeout: float = 60.0) -> bool:
        self.calls.append(("unload", name))
        return self.in_memory.pop(name, None) is not None


@dataclass
class Command:
    """The command ollama of such a server. It shows twelve digits of a digest, and knows nothing of loaded models."""

    server: Server

    def find_name(self, name: str) -> str | None:
        found = self.server.find_name(name)
        return found.digest[: len("sha256:") + 12] if found else None

    def find(self, ref: ModelRef) -> str | None:
        return self.find_name(str(ref))

    def pull(self, name: str, deadline: float | None = None, insecure: bool = False, progress: t.Any = None) -> None:
        self.server.pull(name, insecure, progress, deadline)

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self.server, name)


class FakeOllamaHost(OllamaHost):
    """A host with a real store below ``root`` and a server that is a value."""

    def __init__(self, root: Path, method: str = "store", server: Server | None = None, check_mode: bool = False, **options: t.Any) -> None:
        super().__init__(module_params(root, ollama_method=method, **options), check_mode)
        self.server = server or Server(up=False)
        self.api = t.cast(t.Any, self.server)

    def cli(self) -> t.Any:
        return Command(self.server)


@dataclass
class FakeRegistry:
    """A registry as a value: manifests by tag, and by digest what it still gives. ``asked`` are the questions."""

    tags: dict[str, OllamaManifest] = field(default_factory=dict)
    pinned: dict[str, OllamaManifest] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def resolve(self, ref: ModelRef, revision: str, include: t.Sequence[str] = (), exclude: t.Sequence[str] = ()) -> ModelPlan:
        self.asked.append(revision or str(ref))
        found = self.pinned.get(revision) if revision else self.tags.get(str(ref))
        if found is None:
            raise VenomError("revision_not_found" if revision else "not_found", str(ref), "nothing", "check the name")
        return ModelPlan(ref, found.digest, revision, (), found.content)

    def find_commit(self, ref: ModelRef, revision: str = "") -> str:
        return self.resolve(ref, revision).revision

    def file_for(self, ref: ModelRef, layer: Layer) -> RemoteFile:
        return RemoteFile(f"blobs/sha256-{layer.digest.hex}", layer.size, layer.digest.hex, None, f"https://registry/{layer.digest}")


def wanted(name: str = "phi3:mini", state: str = "present", deep: bool = False, **item: t.Any) -> Request:
    """A request for an Ollama model."""
    return Request.parse({"name": name, "provider": "ollama", **item}, state, deep)


def pulled(host: OllamaHost, *contents: bytes, name: str = "phi3:mini") -> OllamaManifest:
    """A model in the store that nobody recorded."""
    return ollama_models.install(host.store, ModelRef.parse(name, "ollama"), *contents)


def recorded(host: OllamaHost, found: OllamaManifest, name: str = "phi3:mini", alias: str | None = None) -> Entry:
    """The record of a model that lies in the store."""
    request = wanted(name, alias=alias)
    files = records_of(host, request, found)
    entry = make_entry(request, None, host, found.digest)
    return entry.replace(
        files=files,
        size_bytes=sum(item.size for item in files),
        sha256=snapshot_sha256(files),
        local_path=host.store.root,
        status="installed",
    )


def records(host: OllamaHost, *entries: Entry) -> Manifest:
    return Manifest(host.params["models_dir"], entries)
