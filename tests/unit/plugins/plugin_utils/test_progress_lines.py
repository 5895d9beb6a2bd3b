# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of progress."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.plugin_utils.progress import progress_lines, show_bytes, show_time


@pytest.mark.parametrize(
    ("amounts", "text"),
    [
        ((0,), "0 B"),
        ((999,), "999 B"),
        ((1000,), "1.0 kB"),
        ((1_200_000_000, 2_700_000_000), "1.2 of 2.7 GB"),
        ((0, 5), "0 of 5 B"),
        ((85_300_000,), "85.3 MB"),
        ((3 * 10**18,), "3000.0 PB"),
    ],
)
def test_bytes(amounts: tuple[float, ...], text: str) -> None:
    assert show_bytes(*amounts) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (18.4, "0:18"), (725, "12:05"), (3723, "1:02:03"), (-1, "0:00")])
def test_times(seconds: float, text: str) -> None:
    assert show_time(seconds) == text


def one(hide: bool = False, **operation: t.Any) -> str:
    (line,) = progress_lines({"operations": [{"model": "a/b", "type": "install", **operation}]}, hide)
    return line


def test_bytes_that_move() -> None:
    moving = {"bytes": 1_200_000_000, "bytes_total": 2_700_000_000, "bytes_per_second": 85_300_000, "seconds_silent": 0.4}
    assert one(**moving) == "a/b: 44% (1.2 of 2.7 GB), 85.3 MB/s, 0:18 left"
    assert one(hide=True, message="hashing a/b", **moving) == "a model: 44% (1.2 of 2.7 GB), 85.3 MB/s, 0:18 left"
    assert one(**dict(moving, message="hashing")) == "a/b: 44% (1.2 of 2.7 GB), 85.3 MB/s, 0:18 left, hashing"


def test_bytes_that_do_not() -> None:
    still = {"bytes": 0, "bytes_total": 10, "seconds_silent": 0}
    assert one(**still) == "a/b: 0% (0 of 10 B)"
    assert one(**still, bytes_per_second=0) == "a/b: 0% (0 of 10 B), 0 B/s"
    assert one(**{**still, "seconds_silent": 12.3, "bytes_per_second": 5}) == "a/b: 0% (0 of 10 B), nothing for 12 s"
    assert one(**{**still, "bytes": 10, "bytes_per_second": 5}) == "a/b: 100% (10 of 10 B), all bytes are here"


def test_only_all_of_it_is_a_hundred_percent() -> None:
    assert one(bytes=9_999, bytes_total=10_000).startswith("a/b: 99% ")
    assert one(bytes=10_001, bytes_total=10_000).startswith("a/b: 100% ")


def test_work_without_bytes() -> None:
    assert one(type="remove") == "a/b: removing"
    assert one(message="waiting for the server", bytes_total=None) == "a/b: waiting for the server"
    assert one(type="something new") == "a/b: at work"


def test_phases_before_the_first_byte() -> None:
    assert progress_lines({"models": ["a/b"], "operations": []}) == ["a/b: planning"]
    assert progress_lines({"models": ["a/b", "c", "d"], "message": None}) == ["a/b and 2 more: planning"]
    assert progress_lines({"models": ["a/b"], "message": "hashing a/b", "done": 1, "total": 4}) == ["hashing a/b, 25% (1 of 4 B)"]
    assert progress_lines({"models": ["a/b"], "message": "hashing a/b"}, hide=True) == ["a model: planning"]
    assert progress_lines({"models": ["a/b", "c"]}, hide=True) == ["models: planning"]


def test_somebody_in_the_way() -> None:
    call = {"models": ["a/b"], "waiting_for": {"pid": 7, "what": "venom_model", "since": "noon", "models": ["c/d"]}}
    assert progress_lines(call) == ["a/b: waiting for process 7 (venom_model, noon)"]
    assert progress_lines(call, hide=True) == ["a model: waiting for process 7"]
    assert progress_lines({"models": ["a/b"], "waiting_for": {"pid": 7}}) == ["a/b: waiting for process 7"]


def test_two_at_once_are_two_lines() -> None:
    call = {"operations": [{"model": "a", "type": "install"}, {"model": "b", "type": "repair"}]}
    assert progress_lines(call) == ["a: installing", "b: repairing"]
