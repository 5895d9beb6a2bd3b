# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running call of ``venom_model`` in the words that an operator reads while it goes on."""
from __future__ import annotations

import typing as t

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_DOING = {"install": "installing", "repair": "repairing", "update": "updating the record", "remove": "removing"}
#: Seconds without a byte that are worth a word. A stream that was merely slow has moved within them.
SILENT_SECONDS = 5.0


def show_bytes(*amounts: float) -> str:
    """Amounts in the unit of the last and largest one, decimal as disks and networks are sold: ``1.2 of 2.7 GB``."""
    power = 0
    while amounts[-1] >= 1000 ** (power + 1) and power < len(_UNITS) - 1:
        power += 1
    shown = [f"{amount / 1000**power:.1f}" if power else f"{amount:.0f}" for amount in amounts]
    return f"{' of '.join(shown)} {_UNITS[power]}"


def show_time(seconds: float) -> str:
    """``0:18``, ``12:05`` or ``1:02:03``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def show_share(done: int, total: int) -> str:
    """``45% (1.2 of 2.7 GB)``. 100 is kept for all of it."""
    return f"{min(100, 100 * done // total)}% ({show_bytes(done, total)})"


def progress_lines(call: t.Mapping[str, t.Any], hide: bool = False) -> list[str]:
    """One line for each model that is being worked on, or one that says what else is done. ``hide`` leaves out names."""
    operations = [_operation_line(operation, hide) for operation in call.get("operations") or []]
    return operations or [_phase_line(call, hide)]


def _operation_line(operation: t.Mapping[str, t.Any], hide: bool) -> str:
    parts = []
    total, done = operation.get("bytes_total"), operation.get("bytes") or 0
    if total:
        parts.append(show_share(done, total))
        parts += _pace(operation, total - done)
    message = None if hide else operation.get("message")
    if message or not parts:
        parts.append(message or _DOING.get(str(operation.get("type")), "at work"))
    return f"{'a model' if hide else operation.get('model')}: {', '.join(parts)}"


def _pace(operation: t.Mapping[str, t.Any], missing: int) -> list[str]:
    if missing <= 0:
        return ["all bytes are here"]
    silent, rate = operation.get("seconds_silent") or 0, operation.get("bytes_per_second")
    if silent >= SILENT_SECONDS:
        return [f"nothing for {silent:.0f} s"]
    if rate is None:
        return []
    return [f"{show_bytes(rate)}/s", f"{show_time(missing / rate)} left"] if rate else ["0 B/s"]


def _phase_line(call: t.Mapping[str, t.Any], hide: bool) -> str:
    names, message, holder = call.get("models") or [], call.get("message"), call.get("waiting_for")
    if hide:
        what, message = "models" if len(names) > 1 else "a model", None
    else:
        what = f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else "".join(names)
    if holder:
        about = [] if hide else [str(holder[key]) for key in ("what", "since") if holder.get(key)]
        message = f"waiting for process {holder.get('pid')}{' (' + ', '.join(about) + ')' if about else ''}"
    message = message or "planning"
    if call.get("total"):
        message = f"{message}, {show_share(call.get('done') or 0, call['total'])}"
    return message if any(name in message for name in names) else f"{what}: {message}"
