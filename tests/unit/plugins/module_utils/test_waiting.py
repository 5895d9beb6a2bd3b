# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits on a clock that the test moves."""
from __future__ import annotations

import pytest

from ansible_collections.venom.llm.plugins.module_utils.waiting import WaitFailed, WaitTimeout, wait_for


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def run(states: list[str], timeout: float, interval: float = 1.0) -> tuple[str, Clock]:
    clock = Clock()
    return wait_for(lambda: states.pop(0), ("ready",), ("loading",), timeout, interval, clock, clock.sleep), clock


def test_a_good_state_ends_the_wait_without_sleeping() -> None:
    state, clock = run(["ready"], 10)
    assert state == "ready" and clock.slept == []


def test_waiting_states_are_asked_again_at_the_interval() -> None:
    state, clock = run(["loading", "loading", "ready"], 10)
    assert state == "ready" and clock.slept == [1.0, 1.0]


def test_any_other_state_fails_at_once() -> None:
    with pytest.raises(WaitFailed) as caught:
        run(["loading", "dead", "ready"], 10)
    assert caught.value.state == "dead" and not isinstance(caught.value, WaitTimeout)


def test_the_deadline_is_kept_and_asked_at() -> None:
    states = ["loading"] * 9
    with pytest.raises(WaitTimeout) as caught:
        run(states, 2.5)
    assert caught.value.state == "loading" and caught.value.waited == 2.5 and len(states) == 9 - 4


def test_a_timeout_of_zero_asks_once() -> None:
    assert run(["ready"], 0)[0] == "ready"
    with pytest.raises(WaitTimeout):
        run(["loading"], 0)
