# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trying again: exponential backoff with jitter, the server's own wishes obeyed, within a budget."""
from __future__ import annotations

import email.utils
import random
import re
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.sources.base import TransientError

#: Statuses that another try may cure; 5xx comes on top.
TRANSIENT_STATUSES = frozenset((408, 425, 429))

T = t.TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long to try: ``base`` and ``cap`` bound one wait, ``budget`` all waits of one request, in seconds.

    ``ends`` is when the whole call ends, on ``clock``; None means never.
    """

    retries: int = 5
    base: float = 0.5
    cap: float = 15.0
    budget: float = 300.0
    ends: float | None = None
    clock: t.Callable[[], float] = time.monotonic

    def delay(self, attempt: int, error: TransientError) -> float:
        """Seconds to wait after the given failed attempt, counted from 0. Jitter keeps a fleet from knocking in step."""
        backoff = min(self.cap, self.base * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        return max(backoff, error.retry_after or 0.0)

    def is_too_late(self, delay: float) -> bool:
        """Whether the call has ended after such a wait."""
        return self.ends is not None and self.clock() + delay >= self.ends


def is_transient_status(status: int) -> bool:
    """Whether an HTTP status is worth another try."""
    return status in TRANSIENT_STATUSES or status >= 500


def read_retry_after(headers: t.Mapping[str, str], now: t.Callable[[], float] = time.time) -> float | None:
    """Seconds a server asks to wait: ``Retry-After`` (RFC 9110: seconds or a date), else an exhausted ``RateLimit`` window.

    The hub's form is ``"api";r=0;t=55`` (IETF draft ratelimit-headers: r requests left, t seconds to the reset).
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    if value:
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now())
        except (ValueError, TypeError):
            return None
    limit = re.search(r";\s*r=0\s*;\s*t=(\d{1,9})", headers.get("RateLimit", ""))
    return float(limit.group(1)) if limit else None


def give_up(error: TransientError, wanted: str, attempts: int) -> VenomError:
    """The final error after the last try: the one that the failure itself brings, else what its status says."""
    if error.final is not None:
        return error.final
    if error.status == 429:
        return VenomError(
            "rate_limited",
            wanted=wanted,
            found=f"{error.cause}, after {attempts} tries",
            todo="try again later, or use a token, whose limits are higher",
            retry_after=error.retry_after,
        )
    return VenomError(
        "hub_unreachable",
        wanted=wanted,
        found=f"{error.cause}, after {attempts} tries",
        todo="check endpoint, name resolution, proxy and firewall on the host, then try again",
    )


def is_told_to_wait(error: TransientError) -> bool:
    """Whether the server asked to slow down."""
    return error.status == 429 or error.retry_after is not None


def too_late(error: TransientError, wanted: str, delay: float) -> VenomError:
    """The final error where the next wait lasts longer than the call may."""
    if error.final is not None:
        return error.final
    found = f"{error.cause}, and the deadline comes before the next try in {delay:.1f} s"
    if is_told_to_wait(error):
        todo = "run it again later, it goes on where it stopped; or raise deadline, or use a token, whose limits are higher"
        return VenomError("rate_limited", wanted, found, todo, retry_after=error.retry_after)
    return VenomError("deadline_exceeded", wanted, found, "run it again, it goes on where it stopped; or raise deadline")


def call_with_retries(function: t.Callable[[], T], wanted: str, policy: RetryPolicy, sleep: t.Callable[[float], object] = time.sleep) -> T:
    """Call until it succeeds, raises something final, or the policy is used up: then ``hub_unreachable``, ``rate_limited``, ``deadline_exceeded``."""
    waited = 0.0
    attempt = 0
    while True:
        try:
            return function()
        except TransientError as error:
            if error.elsewhere:
                continue
            delay = policy.delay(attempt, error)
            attempt += 1
            if attempt > policy.retries or waited + delay > policy.budget:
                raise give_up(error, wanted, attempt) from error
            if policy.is_too_late(delay):
                raise too_late(error, wanted, delay) from error
        waited += delay
        sleep(delay)
