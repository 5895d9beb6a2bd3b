# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast bytes come: streams that stall, streams far below the others, and a limit over all."""
from __future__ import annotations

import threading
import typing as t
from collections import deque

#: Bytes a second that count as progress. A server that sends a byte a second keeps every timeout of a socket quiet.
LEAST_RATE = 1024
#: Seconds over which rates are compared, and between two samples.
WINDOW = 5.0
_SAMPLE_INTERVAL = 0.5
#: A stream is far below the others under this part of their median, and only beside so many others.
SLOW_FRACTION = 0.25
LEAST_STREAMS = 3


class Drip:
    """Tells a server that drips. Only seconds in which its bytes were waited for count: those of whoever takes them are none of its fault."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._waited, self._came = 0.0, 0

    def note(self, waited: float, came: int) -> bool:
        """A read took so many seconds and brought so many bytes. True when less than ``LEAST_RATE`` came over the timeout."""
        self._waited, self._came = self._waited + waited, self._came + came
        if self._waited < self._timeout:
            return False
        is_drip = self._came < LEAST_RATE * self._waited
        self._waited, self._came = 0.0, 0
        return is_drip


class Meter:
    """The rate of one worker's streams. Waits of our own (full disk queue, bandwidth limit) are no rate of the line."""

    def __init__(self) -> None:
        #: Counted by the worker alone.
        self.received = 0
        self.is_waiting = False
        self._samples: deque[tuple[float, int]] = deque()
        self._stall_since: tuple[float, int] | None = None

    def restart(self) -> None:
        """A new connection, or nothing to do: nothing is known yet."""
        self._samples.clear()
        self._stall_since = None

    def begin(self, now: float) -> None:
        """A stream was opened."""
        self._stall_since = (now, self.received)

    def sample(self, now: float) -> None:
        """Take notice, several times a second, while there is work. What a request takes to be answered counts."""
        if self.is_waiting:
            self._samples.clear()
            self._stall_since = (now, self.received)
        if not self._samples or now - self._samples[-1][0] >= _SAMPLE_INTERVAL:
            self._samples.append((now, self.received))
        while len(self._samples) > 2 and now - self._samples[1][0] >= WINDOW:
            self._samples.popleft()

    def rate(self, now: float) -> float | None:
        """Bytes a second over the last few seconds; None before they are over."""
        if not self._samples or now - self._samples[0][0] < WINDOW:
            return None
        return (self.received - self._samples[0][1]) / (now - self._samples[0][0])

    def is_stalled(self, now: float, timeout: float) -> bool:
        """Whether less than ``LEAST_RATE`` came over ``timeout`` seconds."""
        if self._stall_since is None:
            return False
        since, received = self._stall_since
        if self.received - received >= LEAST_RATE * timeout:
            self._stall_since = (now, self.received)
            return False
        return now - since >= timeout


class Peers:
    """Compares streams with each other; the last ones, when the others have ended, with what was usual before."""

    def __init__(self) -> None:
        self._usual: float | None = None

    def slow_ones(self, rates: t.Mapping[t.Any, float | None]) -> list[t.Any]:
        """Keys whose rate is far below the median. Those with None are not known yet."""
        known = {key: rate for key, rate in rates.items() if rate is not None}
        if len(known) >= LEAST_STREAMS:
            self._usual = sorted(known.values())[len(known) // 2]
        if self._usual is None:
            return []
        least = self._usual * SLOW_FRACTION
        return [key for key, rate in known.items() if rate < least]


class Bucket:
    """A limit in bytes a second for all streams together. What came is paid afterwards, so the mean holds whatever the chunks are."""

    def __init__(self, rate: int, clock: t.Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._burst = rate * 0.25
        self._tokens = self._burst
        self._moment = clock()
        self._guard = threading.Lock()

    def take(self, amount: int) -> float:
        """Note that bytes came. Returns the seconds to wait before more may."""
        with self._guard:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._moment) * self._rate) - amount
            self._moment = now
            return max(0.0, -self._tokens / self._rate)
