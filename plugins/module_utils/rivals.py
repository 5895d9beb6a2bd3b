# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that somebody else started in the place of ours: who they are, and how they are ended when the operator says so."""
from __future__ import annotations

import contextlib
import os
import re
import signal
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import processes
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.observation import Observation, port_conflict
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Runtime
from ansible_collections.venom.llm.plugins.module_utils.supervisors.base import Supervisor, stop_failed
from ansible_collections.venom.llm.plugins.module_utils.supervisors.select import has_systemd
from ansible_collections.venom.llm.plugins.module_utils.supervisors.systemd import Run, run_command
from ansible_collections.venom.llm.plugins.module_utils.waiting import WaitTimeout, wait_for

_KILL_TIMEOUT = 15.0
#: What a unit runs when it is a server and no exporter, front end or updater: the commands, the snap, and the images of both.
_SERVES = re.compile(r"\bollama\s+(?:serve|start)\b|\bollama\.listener\b|\bollama/ollama\b|\bvllm\s+serve\b|\bapi_server\b|\bvllm/vllm-openai\b")
_UNIT_NAMES = ("ollama", "vllm")
#: What ExecStart of a unit runs, as ``systemctl show`` tells it.
_COMMAND = re.compile(r"\bargv\[\]=(.*?) ;")
#: What a unit says of its port: OLLAMA_HOST=address:port, or an argument --port.
_PORT = re.compile(r"(?:OLLAMA_HOST=[^\s;]*?:|--port[= ])(\d+)\b")


_BY_HAND = "stop by hand what serves there, or give the runtime another port"


@dataclass(frozen=True)
class Rival:
    """One of them: a listener on our port with its unit if it has one, or only a unit that would take the port at the next boot.

    ``refusal`` is why it is not ended whatever the operator says: it is more than a server. Empty for one that may be.
    """

    listener: processes.Listener | None
    unit: str | None
    run: Run = run_command
    refusal: str = ""

    def end(self, timeout: float) -> str:
        """Stop it, and disable its unit; what was done.

        Raises ``stop_failed``, ``permission_denied``, ``supervisor_failed``, and ``port_in_use`` for one that must not be ended.
        """
        if self.refusal:
            raise VenomError("port_in_use", wanted="the port free", found=self.refusal, todo=_BY_HAND)
        if self.unit is not None:
            done = self.run(["systemctl", "disable", "--now", self.unit])
            if done.returncode != 0 and self.run(["systemctl", "stop", self.unit]).returncode != 0:
                raise VenomError(
                    "supervisor_failed",
                    wanted=f"{self.unit} stopped and disabled",
                    found=" ".join((done.stderr or "").split())[:300] or f"exit status {done.returncode}",
                    todo="stop it by hand",
                    unit=self.unit,
                )
        if self.listener is None:
            return f"{self.unit} is disabled"
        if self.listener.pid is None:
            raise VenomError(
                "permission_denied",
                wanted=f"the server on port {self.listener.port} ended",
                found="its process belongs to an account that this one may not see",
                todo="run with become",
            )
        _end_process(self.listener.pid, timeout)
        return f"ended pid {self.listener.pid}" + (f" of {self.unit}, which is disabled" if self.unit else f" ({self.listener.command})")


def _end_process(pid: int, timeout: float) -> None:
    """SIGTERM to the process and its children, then SIGKILL. Their start times make sure that a reused pid is left alone."""
    table = processes.snapshot()
    known = {each: table[each].start_ticks for each in {pid, *processes.descendants(pid, table)} if each in table}

    def alive() -> list[int]:
        return [each for each, ticks in known.items() if processes.start_ticks(each) == ticks]

    for number, seconds in ((signal.SIGTERM, timeout), (signal.SIGKILL, _KILL_TIMEOUT)):
        for each in alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)
        with contextlib.suppress(WaitTimeout):
            wait_for(lambda: "alive" if alive() else "gone", good=("gone",), waiting=("alive",), timeout=seconds, interval=0.05)
            return
    raise stop_failed(f"pid {pid}", timeout, alive())


def find_rivals(seen: Observation, runtime: Runtime, supervisor: Supervisor, run: Run | None = None) -> list[Rival]:
    """Who has our port, and which enabled units of the same kind would take it. ``run`` runs systemctl where systemd is PID 1."""
    run = run or (run_command if has_systemd() else None)
    found: list[Rival] = []
    listener = seen.foreign_listener()
    if listener is not None:
        unit = listener.unit if run is not None and listener.unit and listener.unit.endswith(".service") else None
        # A session's own service is no server; ending the process is enough, and ending the session would be too much.
        unit = None if unit is None or unit.startswith(("user@", "ssh", "session")) or unit == supervisor.unit else unit
        found.append(Rival(listener, unit, run or run_command, _why_not(listener, unit, run)))
    if run is None:
        return found
    port = runtime.settings().port
    for unit in _enabled_units(runtime, supervisor, run):
        if all(rival.unit != unit for rival in found) and _port_of(unit, runtime, run) == port:
            found.append(Rival(None, unit, run))
    return found


def _why_not(listener: processes.Listener, unit: str | None, run: Run | None) -> str:
    """Why the listener is never ended: adopting a server must not take down what else the host does. Empty when nothing speaks against it."""
    # A manager of an account is one as well. Whatever else is in that scope is not: WSL has the programs of its shells there.
    is_manager = listener.unit == "init.scope" and os.path.basename(listener.command.partition(" ")[0]) == "systemd"
    if listener.pid == 1 or is_manager:
        socket = _socket_on(listener.port, run) if run is not None else ""
        return f"pid {listener.pid} is the first process of the host or of an account" + (f", which holds the port for {socket}" if socket else "")
    if listener.pid in _own_line():
        return f"this run comes from pid {listener.pid}"
    if unit is None or run is None or any(name in unit.lower() for name in _UNIT_NAMES):
        return ""
    shown = run(["systemctl", "show", "--no-pager", "--property=ExecStart", "--property=MainPID", unit]).stdout
    # A script that ends in exec has the server's command line as its own.
    is_main = f"MainPID={listener.pid}" in shown.splitlines() and _SERVES.search(listener.command)
    if _SERVES.search(shown) or is_main:
        return ""
    command = _COMMAND.search(shown)
    return f"{unit} is no model server alone: " + (f"it runs {command.group(1)[:200]}" if command else "systemd does not say what it runs")


def _own_line() -> set[int]:
    """This process and all that it comes from."""
    table, found, pid = processes.snapshot(), set(), os.getpid()
    while pid in table and pid not in found:
        found.add(pid)
        pid = table[pid].parent
    return found


def _socket_on(port: int, run: Run) -> str:
    """The socket unit that listens on the port, as far as systemd tells."""
    done = run(["systemctl", "list-sockets", "--all", "--full", "--no-legend", "--no-pager", "--plain"])
    for line in done.stdout.splitlines():
        words = line.split()
        if words and words[0].endswith(f":{port}"):
            return next((word for word in words if word.endswith(".socket")), "")
    return ""


def _enabled_units(runtime: Runtime, supervisor: Supervisor, run: Run) -> list[str]:
    done = run(["systemctl", "list-unit-files", "--type=service", "--state=enabled", "--no-legend", "--no-pager", "--plain"])
    names = [line.split()[0] for line in done.stdout.splitlines() if line.split()] if done.returncode == 0 else []
    own = {runtime.unit, supervisor.unit}
    # Our own other units are named after what they watch, and serve nothing.
    return [name for name in names if runtime.command_mark in name.lower() and name not in own and not name.startswith("venom-")]


def _port_of(unit: str, runtime: Runtime, run: Run) -> int | None:
    """The port that the unit's server will take, or None for a unit that is no such server."""
    done = run(["systemctl", "show", "--no-pager", "--property=Environment,ExecStart", unit])
    if done.returncode != 0 or not _SERVES.search(done.stdout):
        return None
    said = _PORT.search(done.stdout)
    return int(said.group(1)) if said else runtime.default_port


def rival_conflict(rival: Rival, runtime: Runtime) -> VenomError:
    """The refusal that names it. Without the operator's word nothing is ended that this collection did not start."""
    if rival.listener is not None:
        return port_conflict(rival.listener, runtime, rival.refusal, _BY_HAND if rival.refusal else "")
    return VenomError(
        "duplicate_server",
        wanted=f"{runtime.unit} to be the only server on its port",
        found=f"the unit {rival.unit} is enabled and takes the same port at the next boot",
        todo="set adopt to have it stopped and disabled, disable it yourself, or give one of the two another port",
        unit=rival.unit,
    )


def describe(rivals: t.Sequence[Rival], runtime: Runtime) -> str:
    """All of them in words."""
    return "; ".join(rival_conflict(rival, runtime).found for rival in rivals)
