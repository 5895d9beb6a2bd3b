# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start / stop cycles of one server under one supervisor, half of them broken by SIGKILL, and what is left after each.

Standard library and the backend only: the process supervisor is put through it on this machine, systemd on a host of the lab.
"""
from __future__ import annotations

import os
import random
import signal
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils import processes
from ansible_collections.venom.llm.plugins.module_utils.supervisors import base

#: What is killed in the middle of a broken cycle: one process of the server, or who is just starting or stopping it.
VICTIMS = ("member", "starter", "stopper")
_STOP_TIMEOUT = 0.05
_READY_TIMEOUT = 60.0


@dataclass
class Tally:
    """What the cycles saw: how many went how, every process that the server ever had (pid to its start), and what was left behind."""

    went: dict[str, int] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


def run(supervisor: base.Supervisor, port: int, name: str, count: int, seed: int, uid: int | None) -> Tally:
    """So many cycles. ``name`` begins the server's shared memory, ``uid`` is its account where it has one of its own."""
    tally, dice = Tally(), random.Random(seed)
    for number in range(count):
        how = dice.choice(VICTIMS) if number % 2 else "nothing"
        tally.went[how] = tally.went.get(how, 0) + 1
        _cycle(supervisor, how, dice, tally)
        tally.left += [f"cycle {number}, {how} killed: {what}" for what in leftovers(supervisor, port, name, uid)]
        if tally.left:
            break
    # Who lost its parent is collected by init, which takes its time.
    deadline = time.monotonic() + 60
    while _still_there(tally.seen) and time.monotonic() < deadline:
        time.sleep(0.1)
    tally.left += [f"process {pid}" for pid in _still_there(tally.seen)]
    return tally


def _cycle(supervisor: base.Supervisor, how: str, dice: random.Random, tally: Tally) -> None:
    mark = base.log_size(supervisor.log_path)
    if how == "starter":
        _in_a_process(supervisor.start, dice.uniform(0.0, 0.03))
        _note(supervisor, tally)
    else:
        _in_a_process(supervisor.start, None)
        _wait_until(lambda: "up" in base.log_tail(supervisor.log_path, 9, mark))
        _note(supervisor, tally)
        if len(supervisor.pids()) != 4:
            tally.left.append(f"of a server of four processes these were seen: {supervisor.pids()}")
    if how == "member":
        os.kill(dice.choice(supervisor.pids()), signal.SIGKILL)
        # Time to notice: systemd starts it again, and is stopped while it does.
        time.sleep(dice.uniform(0.0, 0.1))
        _note(supervisor, tally)
    if how == "stopper":
        _in_a_process(lambda: supervisor.stop(_STOP_TIMEOUT), dice.uniform(0.0, 0.1))
    supervisor.stop(_STOP_TIMEOUT)


def leftovers(supervisor: base.Supervisor, port: int, name: str, uid: int | None) -> list[str]:
    """What a stopped server must not leave: processes, a listener, shared memory, semaphores, a state that is not stopped."""
    found = [f"process {pid}" for pid in supervisor.pids()]
    found += [f"listener {listener}" for listener in processes.listeners(port)]
    found += [f"shared memory {entry}" for entry in sorted(os.listdir("/dev/shm")) if name in entry]
    for kind in ("shm", "sem"):
        with open(f"/proc/sysvipc/{kind}", encoding="ascii") as stream:
            head, *rows = [line.split() for line in stream]
        found += [f"System V {kind} {row[1]}" for row in rows if uid is not None and int(row[head.index("cuid")]) == uid]
    state = supervisor.status()
    return found + ([f"state {state}"] if state.active != "stopped" else [])


def _note(supervisor: base.Supervisor, tally: Tally) -> None:
    for pid in supervisor.pids():
        ticks = processes.start_ticks(pid)
        if ticks is not None:
            tally.seen[pid] = ticks


def _still_there(seen: dict[int, int]) -> list[int]:
    """Processes that are in the table, zombies included."""
    found = ((pid, processes.read_process(pid), ticks) for pid, ticks in seen.items())
    return [pid for pid, process, ticks in found if process is not None and process.start_ticks == ticks]


def _in_a_process(work: t.Callable[[], None], killed_after: float | None) -> None:
    """Do it in a process of its own, as a module does, and kill that by SIGKILL after so many seconds."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    if killed_after is not None:
        time.sleep(killed_after)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if status != 0 and killed_after is None:
        raise AssertionError(f"it ended with {status}")


def _wait_until(true: t.Callable[[], bool]) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError("the server never was ready")
        time.sleep(0.01)
