# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a supervisor of one server offers, whoever keeps the process: systemd or the local process supervisor."""
from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import processes
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.waiting import WaitFailed, WaitTimeout, wait_for

#: Every value of ``ServiceState.active``.
#: 'restarting' has died and waits for the supervisor's next try.
STATES = ("running", "starting", "stopping", "stopped", "restarting", "failed")

#: Longest part of a log that is read for its last lines, in bytes.
_TAIL_BYTES = 256 * 1024
#: Hub tokens have this form; a server may print its environment when it dies.
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{16,}")


@dataclass(frozen=True)
class ServiceState:
    """What the supervisor sees: ``uptime_seconds`` of the running process, ``restarts`` by the supervisor itself since the last start.

    ``exit_status`` is that of the last ended process, minus the signal number when a signal ended it; None when unknown.
    ``enabled`` tells whether it comes back at boot. ``detail`` is the supervisor's own wording. ``unstartable`` says in one word why
    no start would be taken, whatever runs now: ``masked`` by an operator, or a definition with an error. Empty where one would.
    """

    active: str
    pid: int | None = None
    uptime_seconds: float | None = None
    restarts: int = 0
    exit_status: int | None = None
    enabled: bool = False
    installed: bool = True
    needs_reload: bool = False
    detail: str = ""
    unstartable: str = ""


class Supervisor(t.Protocol):
    """One server under one supervisor. Every method may raise ``supervisor_failed`` or ``permission_denied``."""

    name: str
    unit: str
    log_path: str
    can_enable: bool

    def status(self) -> ServiceState:
        """The present state; changes nothing."""

    def pids(self) -> list[int]:
        """Every living process of the server."""

    def fingerprint(self) -> str:
        """A text that changes when the supervisor's own definition of the server changes."""

    def start(self) -> None:
        """Begin to start and return; ``status`` tells how it goes. A running server is left alone."""

    def stop(self, timeout: float) -> None:
        """Stop every process of the server; after ``timeout`` seconds by force. Raises ``stop_failed``."""

    def enable(self) -> bool:
        """Come back at boot; whether this changed anything."""

    def disable(self) -> bool:
        """Do not come back at boot; whether this changed anything."""


def log_size(path: str) -> int:
    """Bytes in the log now: what a later start writes begins there."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def log_tail(path: str, lines: int = 30, since: int = 0) -> list[str]:
    """The last lines of the log that were written after byte ``since``, with hub tokens masked. Empty when there is no log."""
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            # A log that is shorter than before was rotated in between.
            start = since if since <= size else 0
            stream.seek(max(start, size - _TAIL_BYTES))
            text = stream.read(_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    return [_TOKEN.sub("hf_***", line.rstrip()) for line in text.splitlines()][-lines:]


def wait_until_stopped(supervisor: Supervisor, timeout: float) -> bool:
    """Whether the server stopped, all its processes included, within ``timeout`` seconds."""

    def probe() -> str:
        state = supervisor.status().active
        return "alive" if state in ("stopped", "failed") and supervisor.pids() else state

    waiting = ("alive", "stopping", "running", "starting", "restarting")
    try:
        wait_for(probe, good=("stopped", "failed"), waiting=waiting, timeout=timeout, interval=0.05)
    except WaitTimeout:
        return False
    except WaitFailed as error:
        raise VenomError(
            "supervisor_failed", wanted=f"{supervisor.unit} stopped", found=f"state {error.state}", todo="see the supervisor's own log"
        ) from error
    return True


def stop_failed(unit: str, timeout: float, left: t.Sequence[int]) -> VenomError:
    """The error for processes that survive even SIGKILL, which only the kernel can explain (a hung driver or disk)."""
    return VenomError(
        "stop_failed",
        wanted=f"{unit} stopped within {timeout:g} s",
        found=f"still alive after SIGKILL: {processes.describe(processes.commands(left)) or 'the unit'}",
        todo="see dmesg: processes in state D wait for a driver or a disk",
        pids=list(left),
    )
