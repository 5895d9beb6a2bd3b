# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on untrusted input, in a child process that can do nothing but compute for a moment and answer.

The child has no descriptor but its end of a pipe and can open none, so there is no file and no socket for it; it gives up root, forks
nothing, dumps no core, and the kernel ends it when it has used its CPU time or asks for more memory than it may have. What it answers
is bounded and taken for data.
"""
from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sys
import time
import typing as t
import warnings
from dataclasses import dataclass

#: The account that root's child becomes, as most systems name it: nobody, nogroup.
_NOBODY = 65534
#: Seconds between two looks at a child that has answered and should be gone.
_LOOK = 0.002


class ConfinedError(Exception):
    """The work gave no answer; the text says why: it took too long, wanted too much memory, or failed."""


@dataclass(frozen=True)
class Limits:
    """What a child may use. ``cpu_seconds`` are whole seconds, as the kernel counts them; ``memory_bytes`` come on top of what the parent has."""

    seconds: float = 1.6
    cpu_seconds: int = 1
    memory_bytes: int = 192 * 1024 * 1024
    answer_bytes: int = 256 * 1024


LIMITS = Limits()


def run_confined(work: t.Callable[[], t.Any], limits: Limits = LIMITS) -> t.Any:
    """What ``work`` returns, which has to be JSON data. It runs in a forked child: nothing it does is seen here but its answer.

    What it needs has to be imported before, since the child opens no file. Raises ``ConfinedError``, and ``OSError`` where no process can
    be made.
    """
    deadline = time.monotonic() + limits.seconds
    reader, writer = os.pipe()
    try:
        child = _fork()
        if child == 0:
            _be_child(work, limits, writer)
    except OSError:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    status = None
    try:
        content = _read(reader, limits.answer_bytes, deadline)
        status = _wait(child, deadline)
    finally:
        os.close(reader)
        if status is None:
            status = _end(child)
    return _answer(content, status, limits)


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 and later warn where there are threads, for locks that nobody would free in the child. This child takes none
        # that it has not made, and if it should wait for ever, the deadline ends it.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _be_child(work: t.Callable[[], t.Any], limits: Limits, writer: int) -> t.NoReturn:
    code = 1
    try:
        _confine(limits, writer)
        try:
            answer = {"value": work()}
        except MemoryError:
            answer = {"error": "it wanted more memory than it may have"}
        except Exception as error:
            # The text of a foreign exception may itself be hostile; the name of its type is not.
            answer = {"error": f"it failed with {type(error).__name__}"}
        content = json.dumps(answer).encode("ascii")
        if len(content) > limits.answer_bytes:
            content = b'{"error": "its answer was too long"}'
        while content:
            content = content[os.write(0, content) :]
        code = 0
    finally:
        # Nothing of the parent's cleaning up may run here, whatever was raised.
        os._exit(code)


def _confine(limits: Limits, writer: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGXCPU, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    sys.stdin = sys.stdout = sys.stderr = None
    # An import would fail half way for want of descriptors, in many ways; like this it fails in one.
    sys.meta_path.clear()
    os.dup2(writer, 0)
    for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:
        if descriptor > 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    # The kernel's figures of this process' memory, in pages (proc(5), /proc/pid/statm).
    with open("/proc/self/statm", "rb", buffering=0) as stream:
        used = int((stream.read() or b"").split()[0]) * resource.getpagesize()
    bounds = {
        resource.RLIMIT_AS: used + limits.memory_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 0,
    }
    for kind, bound in bounds.items():
        resource.setrlimit(kind, (bound, bound))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 1))
    if os.geteuid() == 0:
        # In a user namespace that maps no such account, or without the capabilities, root stays root, with the limits above.
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)


def _read(reader: int, limit: int, deadline: float) -> bytes | None:
    """All that the child writes; None when it is not done in time."""
    content = bytearray()
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0 or not poll.poll(remaining * 1000):
            return None
        piece = os.read(reader, 65536)
        if not piece or len(content) > limit:
            return bytes(content)
        content += piece


def _wait(child: int, deadline: float) -> int | None:
    """The child's status once it has ended by itself; None when it does not."""
    while time.monotonic() < deadline:
        try:
            done, status = os.waitpid(child, os.WNOHANG)
        except ChildProcessError:
            # Somebody here reaps every child.
            return 0
        if done:
            return status
        time.sleep(_LOOK)
    return None


def _end(child: int) -> int:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    try:
        return os.waitpid(child, 0)[1]
    except ChildProcessError:
        return 0


def _answer(content: bytes | None, status: int, limits: Limits) -> t.Any:
    if content is None:
        raise ConfinedError(f"it took longer than {limits.seconds:g} s")
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        raise ConfinedError(f"it took more than {limits.cpu_seconds} s of CPU time")
    try:
        answer = json.loads(content.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise ConfinedError("its process ended without an answer") from error
    if not isinstance(answer, dict) or "value" not in answer:
        raise ConfinedError(str(answer.get("error"))[:200] if isinstance(answer, dict) else "its answer makes no sense")
    return answer["value"]
