# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest: the record of what is on this host. Whoever changes it does so through ``change_manifest``, or holds its lock."""
from __future__ import annotations

import itertools
import json
import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.files import Lock, fsync_folder, to_json, write_atomic
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import GB, Entry, FileRecord, snapshot_path, utc_now
from ansible_collections.venom.llm.plugins.module_utils.manifest_reading import HEAD, SCHEMA, read_manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_seal import SEAL, seal_of_head, sealed

if t.TYPE_CHECKING:
    from ansible_collections.venom.llm.plugins.module_utils.manifest_reading import Reading

__all__ = ["GB", "SCHEMA", "Entry", "FileRecord", "Manifest", "snapshot_path"]

MANIFEST_NAME = "manifest.json"

#: Seconds to wait for somebody else's change, which takes milliseconds unless a disk hangs.
LOCK_TIMEOUT = 30.0


def manifest_lock(models_dir: str, timeout: float = LOCK_TIMEOUT) -> Lock:
    """The lock of the manifest alone, held for the time of one change; the runtimes' own locks are held for whole installs."""
    return Lock(os.path.join(models_dir, "locks", "manifest.lock"), timeout, {"what": "manifest"})


class Manifest:
    """All records of one models folder. ``merge``, ``without`` and ``declare`` return a changed copy; ``save`` writes it.

    ``warnings`` says what was wrong on disk. ``declared`` holds, by model key, the capabilities that an operator stated; they
    outlive the model's removal. ``foreign`` are records that cannot be trusted: never acted on, kept until sanitized.
    ``is_damaged`` says that the file is not what this collection wrote; the next change sets it aside.
    """

    def __init__(
        self,
        models_dir: str,
        models: t.Sequence[Entry] = (),
        declared: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
        foreign: t.Sequence[t.Any] = (),
        unknown: t.Mapping[str, t.Any] | None = None,
        warnings: t.Sequence[str] = (),
        content: bytes | None = None,
        is_damaged: bool = False,
    ) -> None:
        self.models_dir = models_dir
        self.models: tuple[Entry, ...] = tuple(sorted(models, key=lambda entry: (entry.provider, entry.name, entry.revision)))
        self.declared: dict[str, dict[str, t.Any]] = {key: dict(value) for key, value in (declared or {}).items()}
        self.foreign = tuple(foreign)
        self.unknown = dict(unknown or {})
        self.warnings = tuple(warnings)
        self.content = content
        self.is_damaged = is_damaged

    @property
    def path(self) -> str:
        """Path of the file."""
        return os.path.join(self.models_dir, MANIFEST_NAME)

    @classmethod
    def load(cls, models_dir: str) -> Manifest:
        """Read it; nothing is written. A missing file is an empty manifest, an older layout is migrated.

        What is damaged is rebuilt from the snapshots and stores, with a warning; bytes are not hashed for that, so such records
        vouch for nothing until ``venom_model`` or ``discovered`` has hashed them. Raises ``OSError``, and ``manifest_unreadable``
        when a newer version of this collection wrote it.
        """
        path = os.path.join(models_dir, MANIFEST_NAME)
        try:
            with open(path, "rb") as stream:
                content = stream.read()
        except FileNotFoundError:
            return cls(models_dir)
        reading = read_manifest(content, models_dir)
        if reading.damage is None and not reading.older:
            return cls(models_dir, reading.entries, reading.declared, reading.foreign, reading.unknown, reading.warnings, content)
        return cls._rebuilt(models_dir, content, reading)

    @classmethod
    def _rebuilt(cls, models_dir: str, content: bytes, reading: Reading) -> Manifest:
        from ansible_collections.venom.llm.plugins.module_utils.manifest_rebuild import rebuild

        entries, foreign, warnings = rebuild(models_dir, os.path.join(models_dir, MANIFEST_NAME), reading)
        return cls(
            models_dir,
            entries,
            reading.declared,
            (*reading.foreign, *foreign),
            reading.unknown,
            (*warnings, *reading.warnings),
            content,
            is_damaged=reading.damage is not None,
        )

    def _copy(self, **changes: t.Any) -> Manifest:
        values: dict[str, t.Any] = {
            "models": self.models,
            "declared": self.declared,
            "foreign": self.foreign,
            "unknown": self.unknown,
            "warnings": self.warnings,
            "content": self.content,
            "is_damaged": self.is_damaged,
        }
        values.update(changes)
        return Manifest(self.models_dir, **values)

    def find(self, name_or_alias: str, revision: str | None = None, any_spelling: bool = False) -> Entry | None:
        """The record of a model by name, else by alias; of several revisions the one asked for, else the newest.

        With ``any_spelling`` an Ollama model is also found as its server would find it: ``phi3:latest`` as ``phi3``.
        """
        candidates = [entry for entry in self.models if entry.name == name_or_alias]
        candidates = candidates or [entry for entry in self.models if entry.alias == name_or_alias]
        if any_spelling:
            candidates = candidates or [entry for entry in self.models if entry.answers_to(name_or_alias)]
        if revision is not None:
            candidates = [entry for entry in candidates if revision in (entry.revision, entry.requested_revision)]
        return max(candidates, key=lambda entry: (entry.installed_at or "", entry.revision), default=None)

    def revisions(self, key: str) -> tuple[Entry, ...]:
        """Every record of the model with this key, newest first."""
        found = [entry for entry in self.models if entry.ref.key == key]
        return tuple(sorted(found, key=lambda entry: (entry.installed_at or "", entry.revision), reverse=True))

    def merge(self, entry: Entry) -> Manifest:
        """A copy in which the entry replaces the record of the same model and revision."""
        return self._copy(models=(*self.without(entry).models, entry))

    def without(self, entry: Entry) -> Manifest:
        """A copy that lacks the record of the entry's model and revision."""
        identity = (entry.provider, entry.name, entry.revision)
        return self._copy(models=tuple(other for other in self.models if (other.provider, other.name, other.revision) != identity))

    def declare(self, key: str, capabilities: t.Mapping[str, t.Any]) -> Manifest:
        """A copy with the capabilities that an operator states of a model; an empty mapping takes them back."""
        declared = {other: value for other, value in self.declared.items() if other != key}
        if capabilities:
            declared[key] = dict(capabilities)
        return self._copy(declared=declared)

    def sanitized(self, keep: t.Callable[[t.Any], bool] = lambda dummy: False) -> Manifest:
        """A copy without the records that cannot be trusted, but for those to ``keep``. The others were repaired as they were read."""
        return self._copy(foreign=tuple(item for item in self.foreign if keep(item)))

    def to_dict(self, updated_at: str) -> dict[str, t.Any]:
        """As JSON, with a seal in every part. What is declared comes before the long list, so that it outlives a cut."""
        declared = sorted(self.declared.items())
        head: dict[str, t.Any] = {
            "schema": SCHEMA,
            "updated_at": updated_at,
            **{key: value for key, value in self.unknown.items() if key not in HEAD},
            "declared": [sealed({"model": key, "capabilities": value}) for key, value in declared],
            "foreign": list(self.foreign),
            "models": [sealed(entry.to_dict()) for entry in self.models],
        }
        return dict(head, **{SEAL: seal_of_head(head)})

    def is_stored(self) -> bool:
        """Whether the file on disk, apart from its time, already says exactly this."""
        if self.content is None or self.is_damaged:
            return self.content is None and not self.models and not self.declared
        stored = json.loads(self.content.decode("utf-8"))
        updated_at = stored.get("updated_at")
        return isinstance(updated_at, str) and stored == self.to_dict(updated_at)

    def save(self) -> None:
        """Write it atomically; a damaged predecessor is kept under a dated name. Raises ``OSError``, the file is as it was then."""
        now = utc_now()
        content = to_json(self.to_dict(now))
        if self.is_damaged:
            _set_aside(self.path, now)
        write_atomic(self.path, content)
        self.content, self.is_damaged = content, False


def _set_aside(path: str, now: str) -> None:
    """Give the file a second, dated name. It keeps its own until the new one replaces it: a crash in between loses nothing."""
    stem = f"{path}.unreadable-{now[:19].replace(':', '')}"
    # One writer at a time: the lock of the manifest is held.
    names = itertools.chain([stem], (f"{stem}-{count}" for count in itertools.count(1)))
    name = next(name for name in names if not os.path.lexists(name))
    try:
        os.link(path, name)
    except OSError:
        # A file system without hard links. Another error will show again when this writes.
        with open(path, "rb") as stream:
            write_atomic(name, stream.read())
    fsync_folder(os.path.dirname(path))


def change_manifest(models_dir: str, change: t.Callable[[Manifest], Manifest]) -> Manifest:
    """Read, change and save under the lock, so that two writers never lose each other's records. Raises ``locked``, ``OSError``."""
    with manifest_lock(models_dir):
        manifest = change(Manifest.load(models_dir))
        if not manifest.is_stored():
            manifest.save()
        return manifest
