# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of Ollama that the manifest lacks, as records: what lies in a server's store, and what a server lists. Nothing is written."""
from __future__ import annotations

import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import is_integer, load_json, plain_text
from ansible_collections.venom.llm.plugins.module_utils.capabilities import Facts, from_ollama
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord, from_epoch, snapshot_sha256
from ansible_collections.venom.llm.plugins.module_utils.manifest_facts import with_facts
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef, runtime_for
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import OllamaManifest
from ansible_collections.venom.llm.plugins.module_utils.store.ollama_files import read_manifest, walk_manifests
from ansible_collections.venom.llm.plugins.module_utils.store.ollama_layout import blob_name, size_of

if t.TYPE_CHECKING:
    from ansible_collections.venom.llm.plugins.module_utils.discovery import Hashes

#: Bytes of a small layer (configuration, template, parameters) that are read.
_SMALL = 1024 * 1024
_LAYER = "application/vnd.ollama.image."


class Server(t.Protocol):
    """What is asked of a server."""

    def is_up(self) -> bool:
        """Whether it answers."""

    def models(self) -> t.Sequence[t.Any]:
        """What it lists, each with ``name``, ``digest`` and ``size``."""

    def show(self, name: str) -> dict[str, t.Any]:
        """What it says of one model."""


def discover_store(root: str, known: t.Collection[str], hashes: Hashes | None = None) -> tuple[list[Entry], list[str]]:
    """Entries of the models in a store whose keys are not ``known``, and warnings about those that cannot be records.

    They say nothing of what the models can do yet, see ``discovery.describe``.
    With ``hashes`` every byte is hashed first, a layer that models share once; without them the records vouch for nothing.
    A store that this account may not read has no models for it, with a warning. Raises nothing.
    """
    entries: list[Entry] = []
    warnings: list[str] = []
    for relative, manifest in walk_manifests(os.path.join(root, "manifests")):
        try:
            ref = _ref_of(relative)
            if ref.key in known:
                continue
            if manifest is None:
                raise VenomError("unsupported_source", wanted="a manifest", found="it cannot be read", todo="pull the model again")
            entries.append(_stored(root, f"manifests/{relative}", ref, manifest, hashes))
        except (VenomError, OSError) as error:
            why = error.found if isinstance(error, VenomError) else f"{error.strerror}, {error.filename}"
            warnings.append(f"{root} has {ascii(relative)}, which is not recorded ({why}). It is left alone.")
    return entries, warnings


def _ref_of(relative: str) -> ModelRef:
    """The name of the model whose manifest lies at this path below ``manifests/``. Raises ``invalid_name``."""
    name, dummy, tag = relative.rpartition("/")
    return ModelRef.parse(f"{name}:{tag}", "ollama")


def _stored(root: str, path: str, ref: ModelRef, manifest: OllamaManifest, hashes: Hashes | None) -> Entry:
    own = Digest.parse(manifest.digest)
    contents = {path: (own, len(manifest.content))}
    contents.update((f"blobs/{blob_name(digest)}", (digest, size)) for digest, size in manifest.blobs.items())
    for name, (digest, size) in contents.items():
        if name != path and size_of(os.path.join(root, name)) != size:
            raise _damaged(f"{digest} is missing or has another size")
    if hashes is not None:
        hashed = hashes.of([os.path.join(root, name) for name in contents], str(ref))
        for name, (digest, dummy) in contents.items():
            if hashed[os.path.join(root, name)] != digest.hex:
                raise _damaged(f"{digest} is damaged")
    files = tuple(_file_record(root, name, digest, hashes is not None) for name, (digest, dummy) in contents.items())
    return Entry(
        name=str(ref),
        provider=ref.provider,
        runtime=runtime_for(ref),
        revision=manifest.digest,
        requested_revision=ref.tag,
        alias=None,
        local_path=root,
        size_bytes=sum(record.size for record in files),
        files=files,
        sha256=snapshot_sha256(files),
        installed_at=from_epoch(os.stat(os.path.join(root, path)).st_mtime),
    )


def _damaged(found: str) -> VenomError:
    return VenomError("digest_mismatch", wanted="a whole model", found=found, todo="install it with state verified")


def _file_record(root: str, path: str, digest: Digest, is_hashed: bool) -> FileRecord:
    status = os.lstat(os.path.join(root, path))
    return FileRecord(path, status.st_size, digest, *((status.st_mtime_ns, status.st_ino) if is_hashed else (0, 0)))


def _described(entry: Entry, facts: Facts) -> Entry:
    described = entry.replace(
        display_name=entry.display_name or entry.name,
        formats=facts.formats or entry.formats,
        parameters=facts.parameters or entry.parameters,
        quantization=facts.quantization or entry.quantization,
    )
    return with_facts(described, entry.facts_from("declared"), facts.detected)


def read_store_layers(entry: Entry) -> Facts | None:
    """What the small layers of a model in a store say; None where its manifest is not to be read. Its weights say more, see ``ollama_facts``."""
    path = next((record.path for record in entry.files if record.path.startswith("manifests/")), None)
    if path is None or not entry.local_path:
        return None
    try:
        manifest = OllamaManifest.parse(read_manifest(os.path.join(entry.local_path, path)))
    except (OSError, VenomError):
        return None
    layers = {layer.media_type[len(_LAYER) :]: layer.digest for layer in manifest.layers if layer.media_type.startswith(_LAYER)}

    def read(digest: Digest | None) -> bytes:
        if digest is None:
            return b""
        try:
            with open(os.path.join(entry.local_path, "blobs", blob_name(digest)), "rb") as stream:
                return stream.read(_SMALL)
        except OSError:
            return b""

    config, template = _object(read(manifest.config.digest)), read(layers.get("template")).decode("utf-8", "replace")
    kind, quantization, family = (_word(config, name) for name in ("model_format", "file_type", "model_family"))
    # As its server would say it, but for what only the server knows.
    able = from_ollama({"template": template, "renderer": config.get("renderer")})
    detected: dict[str, t.Any] = {
        "architectures": [family] if family else None,
        "quantization": quantization,
        "has_chat_template": True if template else None,
        "prompt_template": template or None,
        **able.detected(),
    }
    warnings = () if able.warning is None else (f"{able.warning}.",)
    return Facts((kind,) if kind else (), None, quantization, detected, warnings)


def facts_of_show(shown: t.Mapping[str, t.Any]) -> Facts:
    """What a server's own description of a model says (/api/show)."""
    details, info = _mapping(shown, "details"), _mapping(shown, "model_info")
    architecture = _word(info, "general.architecture") or _word(details, "family")
    template, kind, quantization = _word(shown, "template"), _word(details, "format"), _word(details, "quantization_level")
    detected: dict[str, t.Any] = {
        "architectures": [architecture] if architecture else None,
        "max_context_length": _positive(info, f"{architecture}.context_length"),
        "quantization": quantization,
        "has_chat_template": bool(template) if "template" in shown else None,
        "prompt_template": template,
        **from_ollama(shown).detected(),
    }
    return Facts((kind,) if kind else (), _positive(info, "general.parameter_count"), quantization, detected)


def discover_served(server: Server, known: t.Collection[str]) -> tuple[list[Entry], list[str]]:
    """Entries of the models that a server lists and whose keys are not ``known``: it keeps their files, so they have none here.

    Raises ``server_unreachable`` for one that stops answering in between.
    """
    entries: list[Entry] = []
    warnings: list[str] = []
    for served in server.models() if server.is_up() else ():
        try:
            ref = ModelRef.parse(served.name, "ollama")
        except VenomError as error:
            warnings.append(f"The Ollama server lists {ascii(served.name)}, which is not recorded ({error.found}).")
            continue
        if ref.key not in known:
            entry = Entry(
                name=str(ref),
                provider=ref.provider,
                runtime=runtime_for(ref),
                revision=served.digest,
                requested_revision=ref.tag,
                alias=None,
                local_path="",
                size_bytes=served.size,
                files=(),
                sha256=snapshot_sha256(()),
                installed_at=None,
            )
            entries.append(describe_served(entry, server))
    return entries, warnings


def describe_served(entry: Entry, server: Server) -> Entry:
    """The entry with what the server says of its model, as it is where the server says nothing."""
    try:
        return _described(entry, facts_of_show(server.show(entry.name)))
    except VenomError:
        return entry


def _object(content: bytes) -> dict[str, t.Any]:
    try:
        value = load_json(content) if content else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _mapping(data: t.Mapping[str, t.Any], key: str) -> dict[str, t.Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _word(data: t.Mapping[str, t.Any], key: str) -> str | None:
    value = data.get(key)
    return plain_text(value) if isinstance(value, str) and value else None


def _positive(data: t.Mapping[str, t.Any], key: str) -> int | None:
    value = data.get(key)
    return value if isinstance(value, int) and is_integer(value) and 0 < value < 2**63 else None
