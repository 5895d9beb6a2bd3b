# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bytes of a file are there: sorted ranges that do not touch each other."""
from __future__ import annotations

import typing as t
from bisect import bisect_left, bisect_right

#: First byte, and the byte after the last.
Range = tuple[int, int]


class Extents:
    """A set of byte positions, kept as ranges ``[start, end)``. Not safe for threads."""

    def __init__(self, ranges: t.Iterable[Range] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.total = 0
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> t.Iterator[Range]:
        return iter(list(zip(self._starts, self._ends)))

    def __bool__(self) -> bool:
        return self.total > 0

    @property
    def frontier(self) -> int:
        """How many bytes from the beginning of the file on are there without a hole."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    def add(self, start: int, end: int) -> int:
        """Add a range. Returns how many of its bytes are new."""
        if start >= end:
            return 0
        low, high = bisect_left(self._ends, start), bisect_right(self._starts, end)
        old = 0
        if low < high:
            start, end = min(start, self._starts[low]), max(end, self._ends[high - 1])
            old = sum(self._ends[low:high]) - sum(self._starts[low:high])
        self._starts[low:high], self._ends[low:high] = [start], [end]
        self.total += end - start - old
        return end - start - old

    def remove(self, start: int, end: int) -> None:
        """Take a range out, as far as it is there."""
        if start >= end:
            return
        low, high = bisect_right(self._ends, start), bisect_left(self._starts, end)
        if low >= high:
            return
        left, right = self._starts[low], self._ends[high - 1]
        removed = sum(self._ends[low:high]) - sum(self._starts[low:high])
        rest = [piece for piece in ((left, start), (end, right)) if piece[0] < piece[1]]
        self._starts[low:high], self._ends[low:high] = [piece[0] for piece in rest], [piece[1] for piece in rest]
        self.total -= removed - sum(piece[1] - piece[0] for piece in rest)

    def gaps(self, start: int, end: int) -> list[Range]:
        """What is missing between two positions."""
        missing: list[Range] = []
        for index in range(bisect_right(self._ends, start), len(self._starts)):
            if self._starts[index] >= end:
                break
            if self._starts[index] > start:
                missing.append((start, self._starts[index]))
            start = self._ends[index]
        if start < end:
            missing.append((start, end))
        return missing
