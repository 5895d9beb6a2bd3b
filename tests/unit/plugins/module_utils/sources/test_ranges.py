# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ranges of a remote file: exactly the bytes asked for, or another try, or an error."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.sources.base import ModelPlan, RemoteFile, Stream, TransientError
from ansible_collections.venom.llm.plugins.module_utils.sources.ranges import RangeReader
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy

CONTENT = bytes(range(100))
FILE = RemoteFile("x", len(CONTENT), "a" * 64, None, "")


class FakeStream:
    """Chunks that were prepared, and whether it was closed."""

    def __init__(self, offset: int, chunks: t.Sequence[bytes]) -> None:
        self.offset = offset
        self.chunks = chunks
        self.is_closed = False
        self.taken = 0

    def __iter__(self) -> t.Iterator[bytes]:
        for chunk in self.chunks:
            self.taken += 1
            yield chunk

    def abort(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Remember it."""
        self.is_closed = True


class FakeSource:
    """Gives prepared streams one after another."""

    def __init__(self, *streams: FakeStream | Exception) -> None:
        self.streams = list(streams)
        self.asked: list[tuple[int, int | None]] = []

    def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> Stream:
        self.asked.append((offset, length))
        stream = self.streams.pop(0)
        if isinstance(stream, Exception):
            raise stream
        return stream

    def find_commit(self, ref: ModelRef, revision: str) -> str:
        raise NotImplementedError

    def resolve(self, ref: ModelRef, revision: str, include: t.Sequence[str], exclude: t.Sequence[str]) -> ModelPlan:
        raise NotImplementedError


def read(source: FakeSource, offset: int, length: int, retries: int = 2) -> bytes:
    return RangeReader(source, RetryPolicy(retries=retries), lambda dummy: None)(FILE, offset, length)


def test_chunks_are_joined_and_the_stream_is_closed() -> None:
    stream = FakeStream(10, [CONTENT[10:12], CONTENT[12:40]])
    source = FakeSource(stream)
    assert read(source, 10, 20) == CONTENT[10:30]
    assert source.asked == [(10, 20)]
    assert stream.is_closed


def test_a_source_that_ignores_ranges_is_left_as_soon_as_enough_came() -> None:
    stream = FakeStream(0, [CONTENT[start : start + 7] for start in range(0, 100, 7)])
    assert read(FakeSource(stream), 10, 20) == CONTENT[10:30]
    assert stream.taken == 5
    assert stream.is_closed


def test_a_broken_line_is_tried_again() -> None:
    short = FakeStream(10, [CONTENT[10:15]])
    source = FakeSource(short, TransientError("cut"), FakeStream(10, [CONTENT[10:30]]))
    assert read(source, 10, 20) == CONTENT[10:30]
    assert short.is_closed


def test_a_source_that_never_gives_enough() -> None:
    with pytest.raises(VenomError) as caught:
        read(FakeSource(*(FakeStream(10, [b"x"]) for dummy in range(2))), 10, 20, retries=1)
    assert caught.value.reason_code == "hub_unreachable"
    assert "19 bytes early" in caught.value.found


def test_a_source_that_begins_too_late() -> None:
    with pytest.raises(VenomError) as caught:
        read(FakeSource(FakeStream(50, [CONTENT[50:]])), 10, 20, retries=0)
    assert caught.value.reason_code == "hub_unreachable"


@pytest.mark.parametrize(("offset", "length"), [(-1, 5), (0, -1), (90, 11), (101, 0)])
def test_nothing_beyond_the_announced_size_is_asked_for(offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="not within"):
        read(FakeSource(), offset, length)


def test_no_bytes_need_no_request() -> None:
    assert read(FakeSource(), 100, 0) == b""
