# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates: stalls, streams far below the others, a limit over all."""
from __future__ import annotations

import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy
from ansible_collections.venom.llm.plugins.module_utils.transfer import board as board_module
from ansible_collections.venom.llm.plugins.module_utils.transfer import pace
from ansible_collections.venom.llm.plugins.module_utils.transfer import work as work_module
from ansible_collections.venom.llm.plugins.module_utils.transfer.pace import Bucket, Meter, Peers
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.transfer.fake_source import (
    KIB,
    MIB,
    Answer,
    FakeSource,
    FakeStream,
    blob,
    noise,
    remote,
    transfer,
)


def test_reads_that_bring_little_are_a_drip() -> None:
    drip = pace.Drip(10.0)
    assert [drip.note(1.0, 1) for dummy in range(10)] == [False] * 9 + [True]
    # Each time is a new one, however much came before.
    assert [drip.note(5.0, amount) for amount in (1 << 20, 1, 1, 1)] == [False, False, False, True]
    assert [drip.note(0.0, 1) for dummy in range(100)] == [False] * 100


def test_a_drip_is_a_stall_and_a_slow_line_is_none() -> None:
    for rate, expected in ((1, True), (1000, True), (1100, False)):
        meter = Meter()
        meter.begin(0.0)
        stalled = False
        for second in range(1, 200):
            meter.received += rate
            meter.sample(float(second))
            stalled = stalled or meter.is_stalled(float(second), 30.0)
        assert stalled is expected, rate


def test_waits_of_our_own_are_no_stall() -> None:
    meter = Meter()
    meter.begin(0.0)
    meter.is_waiting = True
    for second in range(100):
        meter.sample(float(second))
        assert not meter.is_stalled(float(second), 30.0)
    meter.is_waiting = False
    for second in range(100, 129):
        meter.sample(float(second))
        assert not meter.is_stalled(float(second), 30.0)
    assert meter.is_stalled(130.0, 30.0)


def test_a_rate_is_known_after_the_window_and_forgets() -> None:
    meter = Meter()
    meter.begin(0.0)
    for tick in range(1, 61):
        now = tick / 4
        meter.received += 1000 if now <= 7.5 else 100
        meter.sample(now)
        assert (meter.rate(now) is None) is (now < 0.25 + pace.WINDOW)
    assert meter.rate(15.0) == pytest.approx(400.0, rel=0.2)
    meter.restart()
    assert meter.rate(15.0) is None


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"a": 100.0, "b": 100.0, "c": 24.0}, ["c"]),
        ({"a": 100.0, "b": 100.0, "c": 26.0}, []),
        ({"a": 100.0, "b": 1.0}, []),
        ({"a": 100.0, "b": 1.0, "c": None}, []),
        ({"a": 100.0, "b": 100.0, "c": 100.0, "d": 0.0, "e": 1.0}, ["d", "e"]),
        ({}, []),
    ],
)
def test_which_streams_are_far_below_the_others(rates: dict[str, float | None], expected: list[str]) -> None:
    assert Peers().slow_ones(rates) == expected


def test_the_last_stream_is_compared_with_what_was_usual() -> None:
    peers = Peers()
    assert peers.slow_ones({"a": 1.0}) == []
    assert peers.slow_ones({"a": 100.0, "b": 90.0, "c": 80.0}) == []
    assert peers.slow_ones({"a": None}) == []
    assert peers.slow_ones({"a": 30.0}) == []
    assert peers.slow_ones({"a": 20.0}) == ["a"]


def test_a_limit_holds_over_any_time() -> None:
    now = [0.0]
    bucket = Bucket(1000, lambda: now[0])
    came = 0
    for size in (10, 5000, 1, 1, 3000, 250, 10000):
        came += size
        now[0] += bucket.take(size)
    assert now[0] == pytest.approx((came - 250) / 1000)


def test_a_limited_transfer_waits_as_long_as_its_bytes_cost(tmp_path: Path) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    content = noise(MIB)
    options = {"max_parallel": 1, "bandwidth_limit": 64 * KIB, "sleep": sleep, "clock": lambda: now[0]}
    transfer(tmp_path, FakeSource({"a": content}), [remote("a", content)], **options)
    assert now[0] == pytest.approx(16.0 - 0.25)


class Drip(FakeSource):
    """The first stream gives a byte now and then."""

    def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> FakeStream:
        stream = super().open(file, offset, length)
        if len(self.requests) == 1:
            real = stream._aborted

            def drip() -> t.Iterator[bytes]:
                for position in range(len(stream._content)):
                    if real.wait(0.05):
                        break
                    yield stream._content[position : position + 1]

            stream.__class__ = type("DrippingStream", (FakeStream,), {"__iter__": lambda self: drip()})
        return stream


def test_a_server_that_drips_is_left_and_asked_again(tmp_path: Path) -> None:
    content = noise(200 * KIB)
    source = Drip({"a": content})
    report, waits = transfer(tmp_path, source, [remote("a", content)], max_parallel=1, stall_timeout=0.5)
    assert blob(tmp_path, report, remote("a", content)) == content
    assert len(waits) == 1
    assert source.requests[1][1] > 0


def test_a_server_that_always_stalls_ends_as_unreachable(tmp_path: Path) -> None:
    source = FakeSource({"a": b"content"})
    source.always = Answer(hang_after=0)
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path, source, [remote("a", b"content")], max_parallel=1, stall_timeout=0.2)
    assert caught.value.reason_code == "hub_unreachable"
    assert "bytes a second" in caught.value.found


def test_a_stream_far_below_the_others_is_dialed_again_without_costing_a_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WINDOW", 0.3)
    monkeypatch.setattr(pace, "_SAMPLE_INTERVAL", 0.1)
    for module in (board_module, work_module):
        monkeypatch.setattr(module, "MIN_SPAN", MIB)
    monkeypatch.setattr(board_module, "MAX_SPAN", MIB)
    content = noise(40 * MIB)
    pause = threading.Event()

    class Steady(FakeSource):
        """Every stream takes its time, one hangs."""

        def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> FakeStream:
            pause.wait(0.06)
            return super().open(file, offset, length)

    source = Steady({"a": content}, {"a": [Answer(hang_after=100 * KIB)]})
    report, waits = transfer(tmp_path, source, [remote("a", content)], max_parallel=4, retry_policy=RetryPolicy(retries=0))
    assert blob(tmp_path, report, remote("a", content)) == content
    assert waits == []
    again = [start for dummy, start, dummy in source.requests if start % MIB == 100 * KIB]
    assert len(again) == 1
    assert source.served == len(content)
