# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on the host, seen without network: recorded files, trusted blobs, the model that serves."""
from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import read_json, safe_join
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef


@dataclass(frozen=True)
class Observation:
    """The files of one entry as they are: ``damaged`` ones are missing or no longer what was recorded."""

    damaged: tuple[FileRecord, ...] = ()

    @property
    def is_intact(self) -> bool:
        """Whether every file is the one that was published."""
        return not self.damaged


def observe(entry: Entry) -> Observation:
    """Compare size, time and inode of every recorded file with what is there. Nothing is read, nothing is hashed."""
    damaged: list[FileRecord] = []
    root = entry.local_path
    if not root:
        # An Ollama server keeps the files of this model itself, where this account may not look.
        return Observation()
    for record in entry.files:
        try:
            # The names passed the gate when the manifest was loaded, and lstat shows a symlink in the last place as another inode.
            if record.matches(os.lstat(f"{root}/{record.path}")):
                continue
        except (FileNotFoundError, NotADirectoryError):
            pass
        damaged.append(record)
    return Observation(tuple(damaged))


def record_file(root: str, path: str, known: FileRecord) -> FileRecord:
    """The record of a file that was just published: size, time and inode as they are now."""
    status = os.lstat(safe_join(root, path))
    return FileRecord(path, status.st_size, known.digest, status.st_mtime_ns, status.st_ino, known.git_sha1)


def check_not_active(config_dir: str, ref: ModelRef, entries: t.Sequence[Entry], paths: t.Sequence[str]) -> None:
    """Refuse to remove what serves. Raises ``model_active``, also when the record of what serves cannot be read."""
    path = os.path.join(config_dir, "runtime.json")
    try:
        record = read_json(path)
        active = dict(record["active"]) if record.get("active") else {}
        actives = {runtime: dict(value) for runtime, value in active.items() if value}
    except FileNotFoundError:
        return
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise VenomError(
            "model_active",
            wanted=f"to remove {ref}",
            found=f"{path} is unreadable, so what serves is unknown",
            todo="repair it by activating a model, or set force",
            model=str(ref),
        ) from error
    removed = {(entry.name, entry.revision) for entry in entries}
    for runtime, active in actives.items():
        if active.get("path") in paths or (active.get("model"), active.get("revision")) in removed:
            raise VenomError(
                "model_active",
                wanted=f"to remove {ref}",
                found=f"it is the active model of {runtime} (revision {active.get('revision')})",
                todo="activate another model or stop the runtime first, or set force",
                model=str(ref),
                runtime=runtime,
            )
