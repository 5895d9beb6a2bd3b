# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lines of a pull tell: how far it is, that it moves, that it has ended. Facts of the stream as Ollama 0.32.15 writes it.

Lines of a layer come every 60 ms from a ticker, whether bytes move or not, and ``completed`` is left out while it is 0 and falls when
a part starts again; so bytes are what counts, not lines. While digests are verified or a manifest is fetched there are none at all.
"""
from __future__ import annotations

import json
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_errors import Failure, classify, scrub

#: No line of a pull is nearly as long; a peer that sends one is no Ollama server, or wants our memory.
MAX_LINE_BYTES = 1024 * 1024
#: How long a step may last that shows no bytes: manifest, verifying, writing. A slow disk still reads 50 MB in a second.
QUIET_SECONDS = 60.0
QUIET_BYTES_PER_SECOND = 50_000_000
#: Bytes of a part that started again count as movement, but not for ever: so many stall timeouts without new ground, and it stalls.
_FRUITLESS = 10


class NotOllama(Exception):
    """The stream is none that an Ollama server writes."""


class LineSplitter:
    """Complete lines out of the chunks of a stream."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are complete now, without empty ones. Raises ``NotOllama`` for a line over ``MAX_LINE_BYTES``."""
        lines = (bytes(self._rest) + chunk).split(b"\n")
        self._rest = bytearray(lines.pop())
        if max(len(line) for line in (self._rest, *lines)) > MAX_LINE_BYTES:
            raise NotOllama(f"a line is longer than {MAX_LINE_BYTES} bytes")
        return [line for line in lines if line.strip()]

    def rest(self) -> list[bytes]:
        """What is left when the stream has ended properly."""
        return [bytes(self._rest)] if self._rest.strip() else []


class PullTrack:
    """The state of one pull over all its tries. Times are seconds of the caller's clock."""

    def __init__(self, now: float) -> None:
        self.status = ""
        self.is_done = False
        #: What the server itself gave as the reason of its failure.
        self.failure: Failure | None = None
        self._best: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self.begin(now)

    def begin(self, now: float) -> None:
        """Another try begins. What is known of the layers stays: the server goes on where it was."""
        self.failure = None
        self._last: tuple[str, str | None] = ("", None)
        self._completed = 0
        self._moved_at = self._grown_at = now

    @property
    def done(self) -> int:
        """Bytes that have arrived, as far as lines have told: the most that was seen of each layer, so that it never falls."""
        return sum(self._best.values())

    @property
    def total(self) -> int | None:
        """Bytes of the layers that were named until now, None before the first one."""
        known = sum(max(total, self._best[digest]) for digest, total in self._totals.items())
        return known or None

    def feed(self, line: bytes, now: float) -> None:
        """Take one line. Raises ``NotOllama``."""
        try:
            said = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            raise NotOllama(f"a line is not JSON: {_shown(line)}") from None
        if not isinstance(said, dict):
            raise NotOllama(f"a line is no JSON object: {_shown(line)}")
        if said.get("error"):
            self.failure = classify(str(said["error"]))
            return
        status, digest = said.get("status"), said.get("digest")
        self.status = scrub(status) if isinstance(status, str) else self.status
        self.is_done = self.is_done or status == "success"
        layer = digest if isinstance(digest, str) else None
        if (self.status, layer) != self._last:
            self._last, self._completed = (self.status, layer), 0
            self._moved_at = self._grown_at = now
        if layer is not None:
            self._take_bytes(layer, _count(said.get("completed")), _count(said.get("total")), now)

    def _take_bytes(self, layer: str, completed: int, total: int, now: float) -> None:
        if completed > self._completed:
            self._moved_at = now
        self._completed = completed
        if completed > self._best.get(layer, -1):
            self._best[layer] = completed
            self._grown_at = now
        self._totals[layer] = max(total, self._totals.get(layer, 0))

    def stall(self, now: float, stall_timeout: float) -> str | None:
        """In words why waiting longer makes no sense, None while it does."""
        layer = self._last[1]
        if layer is not None and self._completed < self._totals[layer]:
            if now - self._moved_at >= stall_timeout:
                return f"stalled: no byte for {stall_timeout:g} s at {self._completed} of {self._totals[layer]} bytes ({self.status})"
            if now - self._grown_at >= _FRUITLESS * stall_timeout:
                return f"stalled: the same bytes again and again for {_FRUITLESS * stall_timeout:g} s ({self.status})"
            return None
        limit = self.quiet_seconds(stall_timeout)
        if now - self._moved_at >= limit:
            return f"stalled: nothing new for {limit:g} s ({self.status or 'no line yet'})"
        return None

    def quiet_seconds(self, stall_timeout: float) -> float:
        """How long a step without bytes may last: 60 s and 1 s for each 50 MB of the model, at least the stall timeout."""
        return max(stall_timeout, QUIET_SECONDS + (self.total or 0) / QUIET_BYTES_PER_SECOND)


def _count(value: t.Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _shown(line: bytes) -> str:
    return scrub(line[:400].decode("utf-8", "replace"))[:120]
