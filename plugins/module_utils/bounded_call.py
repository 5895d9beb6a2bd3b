# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A question that may never be answered, asked in a child process: a call into a hung driver cannot be interrupted, only left behind."""
from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
import typing as t

#: Seconds that a killed child gets to vanish. One that hangs in the kernel stays, and must not hold us too.
_REAP_SECONDS = 1.0
_CHUNK = 65536


class NoAnswer(Exception):
    """The child ended without an answer, or did not answer in time; the message says which."""


def answer_within(seconds: float, work: t.Callable[[], t.Any]) -> t.Any:
    """What ``work`` returns, which must be plain JSON data, computed in a forked child within ``seconds``. Raises ``NoAnswer``.

    What ``work`` changes in memory is lost with the child.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(reading, writing, work)
    os.close(writing)
    try:
        data = _read(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
        if not _has_ended(child, 0.0):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            _has_ended(child, _REAP_SECONDS)
    if data is None:
        raise NoAnswer(f"no answer within {seconds:g} s")
    try:
        return json.loads(data.decode("utf-8"))
    except ValueError:
        raise NoAnswer("the question ended without an answer") from None


def _answer(reading: int, writing: int, work: t.Callable[[], t.Any]) -> t.NoReturn:
    """The child. It never returns into the caller's code, which belongs to the parent."""
    try:
        os.close(reading)
        view = memoryview(json.dumps(work()).encode("utf-8"))
        while view:
            view = view[os.write(writing, view):]
    finally:
        os._exit(0)


def _read(descriptor: int, deadline: float) -> bytes | None:
    """Everything until the other end is closed, or None when that does not happen before the deadline."""
    content = bytearray()
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0 or not select.select([descriptor], [], [], remaining)[0]:
            return None
        chunk = os.read(descriptor, _CHUNK)
        if not chunk:
            return bytes(content)
        content += chunk


def _has_ended(child: int, seconds: float) -> bool:
    """Whether the child is gone, reaped; waits up to ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if os.waitpid(child, os.WNOHANG)[0]:
                return True
        except ChildProcessError:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
