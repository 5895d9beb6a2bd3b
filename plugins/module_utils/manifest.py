# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest: the record of what is on this host. Whoever changes it does so through ``change_manifest``, or holds its lock."""
from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import Lock, to_json, write_atomic
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import GB, Entry, FileRecord, snapshot_path, utc_now

__all__ = ["GB", "SCHEMA", "Entry", "FileRecord", "Manifest", "snapshot_path"]

SCHEMA = 1
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
        is_unreadable: bool = False,
    ) -> None:
        self.models_dir = models_dir
        self.models: tuple[Entry, ...] = tuple(sorted(models, key=lambda entry: (entry.provider, entry.name, entry.revision)))
        self.declared: dict[str, dict[str, t.Any]] = {key: dict(value) for key, value in (declared or {}).items()}
        self.foreign = tuple(foreign)
        self.unknown = dict(unknown or {})
        self.warnings = tuple(warnings)
        self.content = content
        self.is_unreadable = is_unreadable

    @property
    def path(self) -> str:
        """Path of the file."""
        return os.path.join(self.models_dir, MANIFEST_NAME)

    @classmethod
    def load(cls, models_dir: str) -> Manifest:
        """Read it; nothing is written. A missing file is an empty manifest.

        An unreadable one is rebuilt from the snapshot folders, with a warning; ``save`` then sets the old file aside. Raises
        ``OSError``, and ``manifest_unreadable`` when a newer version of this collection wrote it.
        """
        path = os.path.join(models_dir, MANIFEST_NAME)
        try:
            with open(path, "rb") as stream:
                content = stream.read()
        except FileNotFoundError:
            return cls(models_dir)
        try:
            data = json.loads(content.decode("utf-8"))
            if not isinstance(data, dict) or not isinstance(data.get("models"), list):
                raise ValueError("it has no list of models")
            schema = data.get("schema", SCHEMA)
            if not isinstance(schema, int):
                raise ValueError("its schema is not a number")
        except (ValueError, RecursionError) as error:
            return cls._rebuilt(models_dir, content, str(error))
        if schema > SCHEMA:
            raise VenomError(
                "manifest_unreadable",
                wanted=f"a manifest of schema {SCHEMA} or older",
                found=f"{path} has schema {schema}, so a newer version of this collection wrote it",
                todo="use that version on this host",
                path=path,
            )
        return cls._from_data(models_dir, content, data)

    @classmethod
    def _from_data(cls, models_dir: str, content: bytes, data: dict[str, t.Any]) -> Manifest:
        models: dict[tuple[str, str, str], Entry] = {}
        foreign: list[t.Any] = []
        warnings: list[str] = []
        for item in data["models"]:
            try:
                if not isinstance(item, dict):
                    raise VenomError("manifest_unreadable", wanted="a record", found="no record", todo="run venom_manifest sanitized")
                entry = Entry.from_dict(item, models_dir)
            except VenomError as error:
                foreign.append(item)
                name = item.get("name") if isinstance(item, dict) else None
                why = f"The manifest's record of {ascii(name)} is not usable: {error.found}."
                warnings.append(f"{why} Run venom_manifest with state sanitized.")
            else:
                models[(entry.provider, entry.name, entry.revision)] = entry
        declared = data.get("declared")
        return cls(
            models_dir,
            models=tuple(models.values()),
            declared={key: value for key, value in declared.items() if isinstance(value, dict)} if isinstance(declared, dict) else {},
            foreign=foreign,
            unknown={key: value for key, value in data.items() if key not in ("schema", "models", "declared", "updated_at")},
            warnings=warnings,
            content=content,
        )

    @classmethod
    def _rebuilt(cls, models_dir: str, content: bytes, why: str) -> Manifest:
        from ansible_collections.venom.llm.plugins.module_utils.discovery import discover

        entries, warnings = discover(models_dir, known=())
        first = (
            f"{os.path.join(models_dir, MANIFEST_NAME)} is unreadable ({why}). It is rebuilt from the snapshot folders and set aside"
            " with the next change; aliases and declared capabilities are lost, give them again."
        )
        return cls(models_dir, models=entries, warnings=(first, *warnings), content=content, is_unreadable=True)

    def _copy(self, **changes: t.Any) -> Manifest:
        values: dict[str, t.Any] = {
            "models": self.models,
            "declared": self.declared,
            "foreign": self.foreign,
            "unknown": self.unknown,
            "warnings": self.warnings,
            "content": self.content,
            "is_unreadable": self.is_unreadable,
        }
        values.update(changes)
        return Manifest(self.models_dir, **values)

    def find(self, name_or_alias: str, revision: str | None = None) -> Entry | None:
        """The record of a model by name, else by alias; of several revisions the one asked for, else the newest."""
        candidates = [entry for entry in self.models if entry.name == name_or_alias]
        candidates = candidates or [entry for entry in self.models if entry.alias == name_or_alias]
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

    def sanitized(self) -> Manifest:
        """A copy without the records that cannot be trusted. The others were repaired while they were read."""
        return self._copy(foreign=())

    def to_dict(self, updated_at: str) -> dict[str, t.Any]:
        """As JSON."""
        return dict(
            self.unknown,
            schema=SCHEMA,
            models=[*(entry.to_dict() for entry in self.models), *self.foreign],
            declared=self.declared,
            updated_at=updated_at,
        )

    def is_stored(self) -> bool:
        """Whether the file on disk, apart from its time, already says exactly this."""
        if self.content is None or self.is_unreadable:
            return self.content is None and not self.models and not self.declared
        stored = json.loads(self.content.decode("utf-8"))
        return stored == self.to_dict(stored.get("updated_at"))

    def save(self) -> None:
        """Write it atomically; an unreadable predecessor is set aside under a dated name. Raises ``OSError``."""
        now = utc_now()
        if self.is_unreadable:
            os.replace(self.path, f"{self.path}.unreadable-{now[:19].replace(':', '')}")
        self.content = to_json(self.to_dict(now))
        self.is_unreadable = False
        write_atomic(self.path, self.content)


def change_manifest(models_dir: str, change: t.Callable[[Manifest], Manifest]) -> Manifest:
    """Read, change and save under the lock, so that two writers never lose each other's records. Raises ``locked``, ``OSError``."""
    with manifest_lock(models_dir):
        manifest = change(Manifest.load(models_dir))
        if not manifest.is_stored():
            manifest.save()
        return manifest
