# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sending a body, whole or with faults in it."""
from __future__ import annotations

import io
import threading
import typing as t

from lab.hub.faults import Fault
from lab.hub.log import LogEntry
from lab.hub.wire import Answer, FileSlice

_BLOCK = 256 * 1024
BODY_KINDS = ("cut", "flip", "slow", "hang", "length")


class Cut(Exception):
    """The connection ends here; ``reset`` asks for RST instead of FIN."""

    def __init__(self, reset: bool) -> None:
        super().__init__("cut")
        self.reset = reset


def fits(answer: Answer, method: str) -> t.Callable[[Fault], bool]:
    """Whether a body fault can strike this answer: a file's bytes, or JSON that the fault's path names with /api."""

    def check(fault: Fault) -> bool:
        if method != "GET" or answer.status not in (200, 206) or not (answer.content or fault.path.startswith("/api")):
            return False
        if fault.kind == "hang":
            return fault.when == "body" and fault.after < answer.length
        if fault.kind == "cut":
            return fault.after < answer.length
        if fault.kind == "flip":
            start = answer.body.start if isinstance(answer.body, FileSlice) else 0
            return start <= fault.offset < start + answer.length
        return True

    return check


def _steps(answer: Answer, faults: t.Sequence[Fault]) -> list[int]:
    """Positions in the body where sending has to stop for a moment."""
    return sorted({fault.after for fault in faults if fault.kind in ("cut", "hang")})


def send(write: t.Callable[[bytes], t.Any], answer: Answer, faults: t.Sequence[Fault], entry: LogEntry, stopping: threading.Event) -> None:
    """Write the body; raises Cut where a fault, or the end of the hub, ends the connection. ``entry.sent`` counts what left."""
    start = answer.body.start if isinstance(answer.body, FileSlice) else 0
    flips = [fault.offset - start for fault in faults if fault.kind == "flip"]
    rate = min((fault.rate for fault in faults if fault.kind == "slow"), default=0.0)
    block = max(1, min(_BLOCK, int(rate / 20))) if rate else _BLOCK
    steps = _steps(answer, faults)
    stream: t.BinaryIO = open(answer.body.path, "rb") if isinstance(answer.body, FileSlice) else io.BytesIO(answer.body)  # noqa: SIM115
    with stream:
        stream.seek(start)
        position = 0
        while True:
            for fault in faults:
                if fault.kind == "cut" and fault.after == position:
                    raise Cut(fault.how == "rst")
                if fault.kind == "hang" and fault.after == position:
                    stopping.wait(fault.seconds)
            if stopping.is_set():
                raise Cut(False)
            room = min([block, answer.length - position, *(step - position for step in steps if step > position)])
            data = stream.read(room)
            if not data:
                return
            for place in flips:
                if position <= place < position + len(data):
                    changed = bytearray(data)
                    changed[place - position] ^= 0xFF
                    data = bytes(changed)
            write(data)
            entry.sent += len(data)
            position += len(data)
            if rate:
                stopping.wait(len(data) / rate)
