# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Go's durations, in whole nanoseconds."""
from __future__ import annotations

import re

from lab.ollama.errors import GoError

SECOND = 1_000_000_000
#: The longest duration there is; what "for ever" means.
FOR_EVER = 2**63 - 1
_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 1_000_000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
_TERM = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)", re.ASCII)


def parse(text: str) -> int:
    """Nanoseconds of '1h30m', '-1m', '0'; GoError says what Go says."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text[1:] if text.startswith("+") else text)
    if rest == "0":
        return 0
    total = 0.0
    at = 0
    if not rest:
        raise GoError(f'time: invalid duration "{text}"')
    while at < len(rest):
        match = _TERM.match(rest, at)
        if match is None:
            raise GoError(f'time: invalid duration "{text}"')
        number, unit = match.groups()
        if not unit:
            raise GoError(f'time: missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise GoError(f'time: unknown unit "{unit}" in duration "{text}"')
        total += float(number) * _UNITS[unit]
        at = match.end()
    return sign * int(total)


def show(nanoseconds: int) -> str:
    """As Go prints a duration: 5m0s, 500ms."""
    if nanoseconds < 0:
        return "-" + show(-nanoseconds)
    if nanoseconds == 0:
        return "0s"
    for unit, name in ((1, "ns"), (1000, "µs"), (1_000_000, "ms")):
        if nanoseconds < unit * 1000:
            return _number(nanoseconds, unit) + name
    minutes, rest = divmod(nanoseconds, 60 * SECOND)
    text = _number(rest, SECOND) + "s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _number(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    digits = str(part).rjust(len(str(unit)) - 1, "0").rstrip("0") if part else ""
    return f"{whole}.{digits}" if digits else str(whole)
