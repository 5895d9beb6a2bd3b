# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One record of the manifest: a model in one revision on this host, as a checked value."""
from __future__ import annotations

import datetime
import hashlib
import os
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import is_integer
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import (
    PROVIDERS,
    Alias,
    Digest,
    ModelRef,
    check_paths,
    fold_name,
    is_commit,
    parse_revision,
    runtime_for,
)

#: Every *_gb option and every *_gb figure counts in these, as hubs and disks do.
GB = 10**9

#: Folder of the snapshots below the models folder.
SNAPSHOTS_FOLDER = "hf"

STATUSES = ("installed", "downloading", "incomplete", "removed")

#: Sources of a capability, the one that is believed first.
SOURCES = ("declared", "probed", "detected")


def snapshot_path(models_dir: str, ref: ModelRef, commit: str) -> str:
    """Where the snapshot of a model lies. Always computed: a recorded path may be stale or hostile."""
    return os.path.join(models_dir, SNAPSHOTS_FOLDER, ref.folder(commit))


def utc_now() -> str:
    """The present moment as records carry it: UTC with offset, whole seconds."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def from_epoch(seconds: float) -> str:
    """A moment in seconds since the epoch as records carry it."""
    return datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc).isoformat()


def normalise_time(text: object) -> str | None:
    """A recorded time as UTC with offset; a naive one is taken as UTC. None for anything that is not a time."""
    if not isinstance(text, str):
        return None
    try:
        # Python 3.9 does not know the Z of RFC 3339.
        moment = datetime.datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return moment.astimezone(datetime.timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True)
class FileRecord:
    """A published file: ``digest`` is its SHA-256; size in bytes, time in nanoseconds and inode are what a no-op compares."""

    path: str
    size: int
    digest: Digest
    mtime_ns: int = 0
    inode: int = 0
    git_sha1: str | None = None

    @classmethod
    def from_dict(cls, data: t.Mapping[str, t.Any]) -> FileRecord:
        """From JSON. Raises ``invalid_name`` for a bad digest, KeyError, TypeError or ValueError for a malformed record."""
        return cls(
            path=data["path"],
            size=_count(data["size"]),
            digest=Digest.parse(data["digest"]),
            mtime_ns=_count(data.get("mtime_ns") or 0),
            inode=_count(data.get("inode") or 0),
            git_sha1=_text(data.get("git_sha1")),
        )

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON, every field."""
        return {
            "path": self.path,
            "size": self.size,
            "digest": str(self.digest),
            "mtime_ns": self.mtime_ns,
            "inode": self.inode,
            "git_sha1": self.git_sha1,
        }

    @property
    def is_vouched_for(self) -> bool:
        """Whether the bytes were hashed when the record was made; one that was rebuilt from names knows no time and inode yet."""
        return self.inode != 0

    def matches(self, status: os.stat_result) -> bool:
        """Whether the file is the one that was recorded, as far as size, time and inode can tell."""
        return (status.st_size, status.st_mtime_ns, status.st_ino) == (self.size, self.mtime_ns, self.inode)


def snapshot_sha256(files: t.Iterable[FileRecord]) -> str:
    """Digest of a whole snapshot: SHA-256 over its sorted ``<hex>  <path>`` lines, as ``sha256sum * | sort | sha256sum`` gives."""
    lines = sorted(f"{record.digest.hex}  {record.path}\n" for record in files)
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A model in one revision. ``include`` and ``exclude`` are the patterns that its files were chosen by."""

    name: str
    provider: str
    runtime: str
    revision: str
    requested_revision: str | None
    alias: str | None
    local_path: str
    size_bytes: int
    files: tuple[FileRecord, ...]
    sha256: str
    installed_at: str | None
    status: str = "installed"
    display_name: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    parameters: int | None = None
    quantization: str | None = None
    requires_gpu: bool | None = None
    #: By name ``{"value": ..., "source": ...}``; the value of a capability that nobody knows and its source are None.
    capabilities: dict[str, t.Any] = field(default_factory=dict)
    #: What a better source overrides, by name and source.
    overridden: dict[str, t.Any] = field(default_factory=dict)
    #: Fields that this version does not know, kept as they are.
    unknown: dict[str, t.Any] = field(default_factory=dict)
    #: What the files say of the model, by name ``{"value": ..., "source": <file>}`` (``model_facts.py``).
    facts: dict[str, t.Any] = field(default_factory=dict)

    @property
    def ref(self) -> ModelRef:
        """The model's name as a checked value."""
        return ModelRef.parse(self.name, self.provider)

    @property
    def key_and_revision(self) -> tuple[str, str]:
        """What identifies the entry among all."""
        return self.ref.key, self.revision

    @property
    def served_name(self) -> str:
        """The name under which clients ask for it: the alias, else the model's own name."""
        return self.alias or self.name

    def answers_to(self, text: str) -> bool:
        """Whether the text is the model's name or alias; for Ollama in any spelling, as its server takes it."""
        names = [name for name in (self.name, self.alias) if name]
        return text in names or self.provider == "ollama" and fold_name(text) in map(fold_name, names)

    @property
    def is_vouched_for(self) -> bool:
        """Whether the bytes of every file were hashed when they were recorded."""
        return all(record.is_vouched_for for record in self.files)

    def facts_from(self, source: str) -> dict[str, t.Any]:
        """Values of the capabilities that this source knows, also where a better one overrides it."""
        found = {name: values[source] for name, values in self.overridden.items() if source in values}
        found.update((name, item["value"]) for name, item in self.capabilities.items() if item.get("source") == source)
        return found

    @classmethod
    def from_dict(cls, data: t.Mapping[str, t.Any], models_dir: str) -> Entry:
        """From JSON, with missing fields filled and times normalised. Raises ``VenomError`` for what cannot be trusted."""
        try:
            return cls._from_dict(data, models_dir)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise VenomError(
                "manifest_unreadable",
                wanted="a complete record of a model",
                found=f"{type(error).__name__}: {error}",
                todo="run venom_manifest with state sanitized",
            ) from error

    @classmethod
    def _from_dict(cls, data: t.Mapping[str, t.Any], models_dir: str) -> Entry:
        name = data["name"]
        provider = data.get("provider") or ("huggingface" if "/" in name else "ollama")
        if provider not in PROVIDERS:
            raise ValueError(f"provider {provider!r}")
        ref = ModelRef.parse(name, provider)
        revision = data["revision"]
        if provider == "huggingface" and not is_commit(revision):
            raise ValueError("the revision is not a commit")
        if provider == "ollama":
            Digest.parse(revision)
        files = tuple(FileRecord.from_dict(item) for item in data["files"])
        check_paths(record.path for record in files)
        requested, alias = data.get("requested_revision"), data.get("alias")
        status = data.get("status")
        return cls(
            name=name,
            provider=provider,
            runtime=runtime_for(ref, data.get("runtime") or "auto"),
            revision=revision,
            requested_revision=None if requested is None else parse_revision(requested),
            alias=None if alias is None else str(Alias.parse(alias)),
            local_path=snapshot_path(models_dir, ref, revision) if provider == "huggingface" else _folder(data.get("local_path")),
            # A model that an Ollama server installed by itself has no files that this account may see.
            size_bytes=sum(record.size for record in files) if files else _count(data.get("size_bytes") or 0),
            files=files,
            sha256=snapshot_sha256(files),
            facts=dict(data["facts"]) if isinstance(data.get("facts"), dict) else {},
            installed_at=normalise_time(data.get("installed_at")),
            status=status if status in STATUSES else "installed",
            display_name=_text(data.get("display_name")),
            include=_texts(data.get("include")),
            exclude=_texts(data.get("exclude")),
            formats=_texts(data.get("formats")),
            parameters=data.get("parameters") if is_integer(data.get("parameters")) else None,
            quantization=_text(data.get("quantization")),
            requires_gpu=data.get("requires_gpu") if isinstance(data.get("requires_gpu"), bool) else None,
            capabilities=_capabilities(data.get("capabilities")),
            overridden=_overridden(data.get("overridden")),
            unknown=_unknown(data),
        )

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON: the fields that every record has, then whatever another version had added."""
        known: dict[str, t.Any] = {
            "name": self.name,
            "provider": self.provider,
            "display_name": self.display_name,
            "runtime": self.runtime,
            "revision": self.revision,
            "requested_revision": self.requested_revision,
            "alias": self.alias,
            "status": self.status,
            "size_bytes": self.size_bytes,
            "size_gb": round(self.size_bytes / GB, 3),
            "local_path": self.local_path,
            "sha256": self.sha256,
            "installed_at": self.installed_at,
            "include": list(self.include),
            "exclude": list(self.exclude),
            "formats": list(self.formats),
            "facts": self.facts,
            "parameters": self.parameters,
            "quantization": self.quantization,
            "requires_gpu": self.requires_gpu,
            "capabilities": self.capabilities,
            "overridden": self.overridden,
            "files": [record.to_dict() for record in self.files],
        }
        return {**known, **{key: value for key, value in self.unknown.items() if key not in known}}

    def replace(self, **changes: t.Any) -> Entry:
        """A copy with other fields."""
        return replace(self, **changes)


_FIELDS = frozenset(
    (
        *("facts",),
        *("name", "provider", "display_name", "runtime", "revision", "requested_revision", "alias", "status", "size_bytes", "size_gb"),
        *("local_path", "sha256", "installed_at", "include", "exclude", "formats", "parameters", "quantization", "requires_gpu"),
        *("capabilities", "overridden", "files", "seal"),
    )
)
#: What older records had of operations, null as often as not; the journal has it now.
_OF_OPERATIONS = ("finished_at", "duration_seconds")


def _text(value: t.Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: t.Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, (list, tuple)) else ()


def _count(value: t.Any) -> int:
    # To Python, true and false are whole numbers, too.
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{ascii(value)[:40]} is no count")
    return value


def _folder(value: t.Any) -> str:
    return value if isinstance(value, str) and value.startswith("/") and value.isprintable() else ""


def _capabilities(value: t.Any) -> dict[str, t.Any]:
    items = value.items() if isinstance(value, dict) else ()
    return {
        name: {"value": item["value"], "source": item.get("source")}
        for name, item in items
        if isinstance(item, dict) and "value" in item and item.get("source") in (*SOURCES, None)
    }


def _overridden(value: t.Any) -> dict[str, t.Any]:
    items = value.items() if isinstance(value, dict) else ()
    layers = {name: {source: item[source] for source in SOURCES if source in item} for name, item in items if isinstance(item, dict)}
    return {name: item for name, item in layers.items() if item}


def _unknown(data: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    unknown = {key: value for key, value in data.items() if key not in _FIELDS}
    for key in _OF_OPERATIONS:
        if unknown.get(key, 0) is None:
            del unknown[key]
    # Every time of a record has an offset, also those that this version does not know.
    return {key: (normalise_time(value) or value) if key.endswith("_at") else value for key, value in unknown.items()}
