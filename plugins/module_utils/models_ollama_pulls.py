# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names under which an Ollama server pulls for a moment, noted before it does, so that a run that is killed leaves none for good."""
from __future__ import annotations

import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.files import make_folders, read_json, remove_if_there, to_json, write_atomic
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef


class PullNotes:
    """The notes of one models folder about one server. Whoever changes them holds the lock of the runtime. Raises ``OSError``."""

    def __init__(self, models_dir: str, url: str) -> None:
        self.path = os.path.join(models_dir, "ollama-pulls.json")
        self._url = url

    def names(self, ref: ModelRef) -> list[str]:
        """Names that this model was pulled under, and that may still be there."""
        return [note["name"] for note in self._read() if self._is_about(note, ref)]

    def add(self, ref: ModelRef, name: str) -> None:
        """Note a name that is about to be pulled and goes again."""
        self._write([*self._read(), {"url": self._url, "model": ref.key, "name": name}])

    def forget(self, ref: ModelRef) -> None:
        """The names of this model are gone."""
        notes = self._read()
        left = [note for note in notes if not self._is_about(note, ref)]
        if left != notes:
            self._write(left)

    def _is_about(self, note: t.Mapping[str, str], ref: ModelRef) -> bool:
        return (note["url"], note["model"]) == (self._url, ref.key)

    def _read(self) -> list[dict[str, str]]:
        try:
            content = read_json(self.path)
        except (FileNotFoundError, ValueError):
            return []
        notes = content.get("pulls") if isinstance(content, dict) else None
        return [note for note in notes if _is_note(note)] if isinstance(notes, list) else []

    def _write(self, notes: list[dict[str, str]]) -> None:
        if notes:
            make_folders(os.path.dirname(self.path))
            write_atomic(self.path, to_json({"pulls": notes}))
        else:
            remove_if_there(self.path)


def _is_note(note: t.Any) -> bool:
    return isinstance(note, dict) and all(isinstance(note.get(key), str) for key in ("url", "model", "name"))
