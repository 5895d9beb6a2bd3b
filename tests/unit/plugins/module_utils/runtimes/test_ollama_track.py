# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of a pull, on a clock that the test moves. Figures are those of recorded streams."""
from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_track import MAX_LINE_BYTES, LineSplitter, NotOllama, PullTrack

BIG = "sha256:6358588e7849d73c9c777d999945a8fc34b9137a019948e0c4932e94cda17ff3"
SMALL = "sha256:fe7ac77b725cda2ccad03f88a880ecdfd7a33192d6cae08fce2c0ee1455991ed"
STALL = 25.0


def layer(completed: int | None, digest: str = BIG, total: int = 51238336) -> dict[str, t.Any]:
    line: dict[str, t.Any] = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": total}
    return line if completed is None else dict(line, completed=completed)


def feed(track: PullTrack, now: float, *lines: t.Any) -> None:
    for line in lines:
        track.feed(json.dumps(line).encode(), now)


def test_completed_may_be_missing_and_layers_add_up() -> None:
    track = PullTrack(0)
    feed(track, 0, {"status": "pulling manifest"})
    assert (track.done, track.total) == (0, None)
    feed(track, 1, layer(None))
    assert (track.done, track.total) == (0, 51238336)
    feed(track, 2, layer(51183616), layer(27, SMALL, 27))
    assert (track.done, track.total, track.status) == (51183643, 51238363, "pulling fe7ac77b725c")


def test_bytes_never_fall_when_a_part_starts_again() -> None:
    track = PullTrack(0)
    feed(track, 0, layer(20381696), layer(720896))
    assert track.done == 20381696
    feed(track, 1, layer(30000000))
    assert track.done == 30000000


def test_bytes_never_fall_when_another_try_begins() -> None:
    track = PullTrack(0)
    feed(track, 0, layer(20381696))
    track.begin(5)
    feed(track, 6, layer(161677))
    assert track.done == 20381696


def test_lines_without_bytes_are_a_stall() -> None:
    track = PullTrack(0)
    for tick in range(420):
        feed(track, tick * 0.06, layer(2097152))
    assert track.stall(24.9, STALL) is None
    stalled = track.stall(25.0, STALL)
    assert stalled is not None and "2097152 of 51238336" in stalled


def test_a_layer_that_never_begins_is_a_stall() -> None:
    track = PullTrack(0)
    feed(track, 0, layer(None))
    feed(track, 24, layer(None))
    assert track.stall(25, STALL) is not None


def test_bytes_that_trickle_are_none() -> None:
    track = PullTrack(0)
    for second in range(0, 200, 20):
        feed(track, second, layer(1000 + second))
        assert track.stall(second + 19, STALL) is None


def test_a_part_that_starts_again_is_given_time_but_not_for_ever() -> None:
    track = PullTrack(0)
    feed(track, 0, layer(20_000_000))
    now = 0
    while now < 249:
        feed(track, now, layer(0), layer(19_000_000))
        assert track.stall(now, STALL) is None
        now += 20
    assert "again and again" in str(track.stall(250, STALL))


def test_a_fall_alone_is_no_movement() -> None:
    track = PullTrack(0)
    feed(track, 0, layer(20_000_000))
    feed(track, 20, layer(0))
    assert track.stall(25, STALL) is not None


@pytest.mark.parametrize("status", ["pulling manifest", "verifying sha256 digest", "writing manifest", "something new"])
def test_steps_without_bytes_may_be_silent_for_longer(status: str) -> None:
    track = PullTrack(0)
    feed(track, 0, {"status": status})
    assert track.stall(59, STALL) is None
    assert track.stall(60, STALL) is not None


def test_a_big_model_may_be_verified_for_longer() -> None:
    track = PullTrack(0)
    feed(track, 0, layer(40_000_000_000, BIG, 40_000_000_000), {"status": "verifying sha256 digest"})
    assert track.quiet_seconds(STALL) == 860
    assert track.stall(859, STALL) is None
    assert track.stall(860, STALL) is not None


def test_a_layer_that_is_complete_waits_for_the_disk() -> None:
    track = PullTrack(0)
    feed(track, 0, layer(51238336))
    assert track.stall(59, STALL) is None


def test_a_line_said_over_and_over_is_silence() -> None:
    track = PullTrack(0)
    for second in range(62):
        feed(track, second, {"status": "verifying sha256 digest"})
    assert track.stall(62, STALL) is not None


def test_success_and_errors() -> None:
    track = PullTrack(0)
    feed(track, 0, {"status": "removing unused layers"})
    assert not track.is_done
    feed(track, 0, {"status": "success"})
    assert track.is_done and track.failure is None
    track = PullTrack(0)
    feed(track, 0, {"error": "pull model manifest: file does not exist"})
    assert track.failure is not None and track.failure.reason_code == "not_found" and not track.is_done


def test_unknown_keys_and_odd_values_are_left_alone() -> None:
    track = PullTrack(0)
    feed(track, 0, {"status": "pulling x", "digest": BIG, "total": "many", "completed": True, "new": [1]}, {"status": 5}, {}, {"digest": 7})
    assert (track.done, track.total, track.is_done) == (0, None, False)
    feed(track, 0, layer(-5), layer(3))
    assert track.done == 3


@pytest.mark.parametrize("line", [b"<html>", b"[1]", b'"success"', b"\xff\xfe", b"{" * 50_000, b'{"status":"succ'])
def test_what_is_no_object_is_no_ollama(line: bytes) -> None:
    with pytest.raises(NotOllama):
        PullTrack(0).feed(line, 0)


def test_lines_come_out_of_any_chunks() -> None:
    splitter = LineSplitter()
    text = b'{"a":1}\n\r\n\n{"b":2}\n{"c"'
    assert [line for index in range(len(text)) for line in splitter.feed(text[index : index + 1])] == [b'{"a":1}', b'{"b":2}']
    assert splitter.rest() == [b'{"c"']


def test_a_line_without_end_is_refused_before_it_fills_memory() -> None:
    splitter = LineSplitter()
    with pytest.raises(NotOllama):
        for dummy in range(MAX_LINE_BYTES // 65536 + 1):
            splitter.feed(b"x" * 65536)
