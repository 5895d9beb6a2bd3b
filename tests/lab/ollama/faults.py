# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures on demand, which the real server has not shown but a client must survive.

A fault is a dict with ``kind`` and, if it is to end, ``times``. They come from LAB_OLLAMA_FAULTS (a JSON list) and from /_lab/faults.

- pull_cut: the stream of a pull ends without its final chunk, instead of the line that starts with ``before`` (default: success)
- pull_stall: a pull says the same ``completed`` for ``seconds``, at the first line that has one
- pull_error: a pull fails with ``text`` as soon as its manifest is there
- tags_digest: /api/tags says ``digest`` (default: sixty-four 'f') for ``model`` (default: every model)
- delete_500: DELETE answers 500 with ``text`` and removes nothing
- slow_unload: a model stays in /api/ps for ``seconds`` after keep_alive 0 was answered
- slow_load: a load takes ``seconds`` more; past OLLAMA_LOAD_TIMEOUT it fails
- load: loading a model whose name starts with ``path`` takes ``seconds`` (default: none) and answers ``status`` (default: 500) with ``text``
- mute: completions of ``model`` (default: every model) have no words
- ps_hides: /api/ps leaves out ``model`` (default: every model), loaded or not
- answer: ``status`` with ``text`` as error, for every path that starts with ``path``
- hang: no answer for ``seconds``, for every path that starts with ``path``
"""
from __future__ import annotations

import json
import threading
import typing as t

KINDS = (
    "pull_cut", "pull_stall", "pull_error", "tags_digest", "delete_500", "slow_unload", "slow_load", "load", "mute", "ps_hides", "answer", "hang",
)  # fmt: skip


class Faults:
    """Faults that wait for their moment."""

    def __init__(self, text: str = "") -> None:
        self._lock = threading.Lock()
        self._waiting: list[dict[str, t.Any]] = []
        for fault in json.loads(text) if text else []:
            self.add(fault)

    def add(self, fault: t.Mapping[str, t.Any]) -> None:
        """Wait for the moment of a fault; ValueError for an unknown kind."""
        if fault.get("kind") not in KINDS:
            raise ValueError(f"there is no fault {fault.get('kind')!r}; there are {', '.join(KINDS)}")
        with self._lock:
            self._waiting.append(dict(fault))

    def take(self, kind: str, path: str = "") -> dict[str, t.Any] | None:
        """The first fault of a kind (and for a path), counted; None if there is none."""
        with self._lock:
            for fault in self._waiting:
                if fault["kind"] == kind and path.startswith(fault.get("path", "")):
                    if "times" in fault:
                        fault["times"] -= 1
                        if fault["times"] <= 0:
                            self._waiting.remove(fault)
                    return dict(fault)
        return None

    def clear(self) -> None:
        """No more faults."""
        with self._lock:
            self._waiting.clear()

    def waiting(self) -> list[dict[str, t.Any]]:
        """What still waits."""
        with self._lock:
            return [dict(fault) for fault in self._waiting]
