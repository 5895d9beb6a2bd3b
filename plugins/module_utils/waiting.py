# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits that name their good states and their waiting states, on the monotonic clock; every other state is a failure."""
from __future__ import annotations

import time
import typing as t


class WaitFailed(Exception):
    """The thing waited for reached a state that is neither good nor a waiting one, so more time would not help."""

    def __init__(self, state: str, waited: float) -> None:
        self.state = state
        self.waited = waited
        super().__init__(f"{state} after {waited:.1f} s")


class WaitTimeout(WaitFailed):
    """The deadline passed in a waiting state."""


def wait_for(
    probe: t.Callable[[], str],
    good: t.Collection[str],
    waiting: t.Collection[str],
    timeout: float,
    interval: float,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> str:
    """Ask ``probe`` every ``interval`` seconds until it names a good state, and return that state.

    The first question is asked at once, and a last one when ``timeout`` seconds have passed, so a timeout of 0 still asks.
    Raises ``WaitFailed`` at once for a state in neither collection and ``WaitTimeout`` when the time is over.
    """
    started = clock()
    while True:
        asked = clock()
        state = probe()
        if state in good:
            return state
        waited = clock() - started
        if state not in waiting:
            raise WaitFailed(state, waited)
        if asked - started >= timeout:
            raise WaitTimeout(state, waited)
        sleep(max(0.0, min(interval, timeout - (clock() - started))))
