# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server as a process of its own session, for hosts where systemd is not PID 1: containers, notebooks, accounts without root.

A record beside it names the process by pid, start time and boot, so a pid that the kernel gave to somebody else is never obeyed. It is
written before the process is there, so a start that is killed half-way leaves nothing that nobody knows of.
"""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import resource
import signal
import subprocess
import time
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.venom.llm.plugins.module_utils import files, processes
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.supervisors import base, ipc

#: Travels in the environment of the server and of all it starts, so that even a child that left the session is found.
MARK = "VENOM_SERVER_ID"
#: What systemd gives a system service (systemd.exec(5)).
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KILL_TIMEOUT = 15.0
_START_LOCK_TIMEOUT = 30.0
_LOG_MODE = 0o640

#: Servers that this very process started: only their parent can ask the kernel for the exit status, and must, or a zombie stays.
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Command:
    """What to run: the arguments and the variables of the environment files."""

    argv: tuple[str, ...]
    environment: t.Mapping[str, str]


@dataclass(frozen=True)
class Record:
    """The pid file: ``pid`` with ``start_ticks`` within boot ``boot_id`` is one process and no other.

    ``pid`` is 0 while the process is being started; ``start_ticks`` is then that of the starter, which is never the younger one.
    ``uid`` is the account that it runs under; None in files of releases that did not write it.
    """

    pid: int
    start_ticks: int
    boot_id: str
    mark: str
    uid: int | None = None

    @classmethod
    def read(cls, path: str) -> Record | None:
        """The record, or None when there is none or nobody can make sense of it."""
        try:
            data = files.read_json(path)
            uid = data.get("uid")
            return cls(int(data["pid"]), int(data["start_ticks"]), str(data["boot_id"]), str(data["mark"]), None if uid is None else int(uid))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, path: str) -> None:
        """Whole or not at all."""
        files.write_atomic(path, json.dumps(self.__dict__).encode("utf-8") + b"\n", mode=0o644)


def find_members(record: Record, table: t.Mapping[int, processes.Process], own_boot: str) -> dict[int, int]:
    """Pid and start time of every living process of the recorded server: session, descendants, and those that carry the mark."""
    if record.boot_id != own_boot:
        return {}
    found: set[int] = set()
    leader = table.get(record.pid)
    # The kernel gives a number to a new process only when no session of that number is left, so with a stranger at the
    # leader's pid there is no old session any more, and the present one is the stranger's. Session 0 is the kernel's.
    if record.pid and (leader is None or leader.start_ticks == record.start_ticks):
        found |= {pid for pid, process in table.items() if process.session == record.pid}
        found |= processes.descendants(record.pid, dict(table))
        if leader is not None:
            found.add(record.pid)
    found |= {pid for pid, process in table.items() if process.start_ticks >= record.start_ticks and _is_marked(pid, record.mark)}
    return {pid: table[pid].start_ticks for pid in found if table[pid].is_alive() and pid != os.getpid()}


def _is_marked(pid: int, mark: str) -> bool:
    # A process that writes its own title, as the engine of vLLM does, writes over its environment. The limit stays.
    return processes.realtime_limit(pid) == limit_of(mark) or processes.environment(pid).get(MARK) == mark


def limit_of(mark: str) -> int:
    """The mark as a limit of processor time under real-time scheduling, in microseconds: 70,000 years and more, so it limits nothing."""
    return (1 << 61) + int.from_bytes(hashlib.sha256(mark.encode("utf-8")).digest()[:7], "big")


class ProcessSupervisor:
    """One server of this host by the name ``unit``; ``command`` is asked only when there is something to start."""

    name = "process"
    can_enable = False

    def __init__(
        self, unit: str, log_path: str, run_dir: str, command: t.Callable[[], Command], account: str | None = None
    ) -> None:
        self.unit = unit
        self.log_path = log_path
        self.pid_path = os.path.join(run_dir, f"{unit}.pid.json")
        self._lock_path = os.path.join(run_dir, f"{unit}.start.lock")
        self._command = command
        self._account = account

    def status(self) -> base.ServiceState:
        """See ``Supervisor``. A leader that ended is 'failed' until the record is cleared by a stop or a start."""
        record = Record.read(self.pid_path)
        if record is None or record.boot_id != processes.boot_id():
            return base.ServiceState("stopped", detail="no process")
        if not record.pid:
            left = self.pids()
            return base.ServiceState("failed" if left else "stopped", detail="a start was cut off")
        exit_status = _reap(record.pid)
        leader = processes.read_process(record.pid)
        if leader is not None and leader.start_ticks == record.start_ticks and leader.is_alive():
            return base.ServiceState("running", pid=record.pid, uptime_seconds=round(processes.uptime_of(leader), 1), detail="running")
        said = "exit status unknown" if exit_status is None else f"exit status {exit_status}"
        return base.ServiceState("failed", exit_status=exit_status, detail=f"process {record.pid} ended, {said}")

    def pids(self) -> list[int]:
        """See ``Supervisor``."""
        return sorted(self._members())

    def fingerprint(self) -> str:
        """Nothing but the command defines this server."""
        return ""

    def start(self) -> None:
        """See ``Supervisor``. Two that start at once start one server."""
        with self._lock():
            if self.status().active == "running":
                return
            # The leader may have died alone; what it left behind holds the port and the memory.
            self._clear(5.0)
            self._spawn(self._command())

    def stop(self, timeout: float) -> None:
        """See ``Supervisor``."""
        if not os.path.exists(self.pid_path):
            return
        # A server that is being started just now is stopped when its start is through, and not its starter.
        with self._lock():
            self._clear(timeout)

    def enable(self) -> bool:
        """Nothing starts a local process at boot."""
        return False

    def disable(self) -> bool:
        """Nothing starts a local process at boot."""
        return False

    def _lock(self) -> files.Lock:
        return files.Lock(self._lock_path, timeout=_START_LOCK_TIMEOUT, owner={"unit": self.unit})

    def _clear(self, timeout: float) -> None:
        """End what the record names, remove what it left in shared memory, then the record."""
        record = Record.read(self.pid_path)
        if record is not None and record.boot_id == processes.boot_id():
            is_orderly = self.status().active == "running"
            held, was_forced = self._end_all(timeout)
            _reap(record.pid)
            _CHILDREN.pop(record.pid, None)
            maker = _maker(record)
            # Who ended by itself has tidied up by itself, and in an account that others share a segment that nobody maps may wait for somebody.
            if maker.is_dedicated or was_forced or not is_orderly:
                held |= ipc.left_by(maker)
            ipc.remove(held)
        files.remove_if_there(self.pid_path)

    def _members(self) -> dict[int, int]:
        record = Record.read(self.pid_path)
        if record is None:
            return {}
        _reap(record.pid)
        return find_members(record, processes.snapshot(), processes.boot_id())

    def _end_all(self, timeout: float) -> tuple[set[ipc.Segment], bool]:
        """SIGTERM to all, then SIGKILL until nobody is left: a member may start another one while it dies.

        Returns what they had in shared memory while they lived, and whether SIGKILL was needed.
        """
        known: dict[int, int] = {}
        held: set[ipc.Segment] = set()
        for signal_number, seconds in ((signal.SIGTERM, timeout), (signal.SIGKILL, _KILL_TIMEOUT)):
            deadline = time.monotonic() + seconds
            told: set[int] = set()
            while True:
                known.update(self._members())
                known = {pid: ticks for pid, ticks in known.items() if processes.start_ticks(pid) == ticks}
                if not known:
                    return held, signal_number == signal.SIGKILL
                if time.monotonic() > deadline:
                    break
                held |= ipc.held_by(set(known) - told)
                for pid in set(known) - told:
                    processes.send_signal(pid, known[pid], signal_number)
                told |= set(known)
                time.sleep(0.05)
        raise base.stop_failed(self.unit, timeout, sorted(known))

    def _spawn(self, command: Command) -> None:
        mark = os.urandom(12).hex()
        environment = dict(self._account_environment(), **command.environment)
        environment[MARK] = mark
        files.make_folders(os.path.dirname(self.pid_path))
        account = self._account_entry()
        uid = os.geteuid() if account is None else account.pw_uid
        record = Record(0, self._ticks_of(os.getpid()), processes.boot_id(), mark, uid)
        record.write(self.pid_path)
        log = os.open(self.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _LOG_MODE)
        limits = {number: resource.getrlimit(number) for number in (resource.RLIMIT_CORE, resource.RLIMIT_RTTIME)}
        try:
            # The child inherits the limits, so it never lives without them. A core file of a server holds prompts and weights.
            resource.setrlimit(resource.RLIMIT_CORE, (0, limits[resource.RLIMIT_CORE][1]))
            with contextlib.suppress(ValueError):
                resource.setrlimit(resource.RLIMIT_RTTIME, (limit_of(mark), limits[resource.RLIMIT_RTTIME][1]))
            child = subprocess.Popen(
                command.argv,
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o077,
                **self._account_options(),
            )
        except OSError as error:
            files.remove_if_there(self.pid_path)
            raise VenomError(
                "start_failed",
                wanted=f"{self.unit} running {command.argv[0]}",
                found=error.strerror or str(error),
                todo="see whether the runtime is installed and executable for the account",
                command=list(command.argv),
            ) from error
        finally:
            for number, found in limits.items():
                resource.setrlimit(number, found)
            os.close(log)
        with contextlib.suppress(OSError):
            resource.prlimit(child.pid, resource.RLIMIT_CORE, (0, 0))
        _CHILDREN[child.pid] = child
        # The child is not reaped yet, so its pid is its own and /proc has it, alive or zombie.
        replace(record, pid=child.pid, start_ticks=self._ticks_of(child.pid)).write(self.pid_path)

    def _ticks_of(self, pid: int) -> int:
        process = processes.read_process(pid)
        if process is None:
            raise VenomError(
                "supervisor_failed", wanted=f"{self.unit} in /proc", found="it is not there", todo="see how /proc is mounted (hidepid)"
            )
        return process.start_ticks

    def _account_entry(self) -> pwd.struct_passwd | None:
        if os.geteuid() != 0 or not self._account:
            return None
        try:
            return pwd.getpwnam(self._account)
        except KeyError:
            return None

    def _account_environment(self) -> dict[str, str]:
        entry = self._account_entry() or pwd.getpwuid(os.geteuid())
        return {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}

    def _account_options(self) -> dict[str, t.Any]:
        entry = self._account_entry()
        if entry is None:
            return {}
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": os.getgrouplist(entry.pw_name, entry.pw_gid)}


def _maker(record: Record) -> ipc.Maker:
    """Who made what the server left. The account is its own when it is neither root's nor ours."""
    uid = os.geteuid() if record.uid is None else record.uid
    # /proc counts hundredths of a second; a second of play costs nothing.
    return ipc.Maker(uid, time.time() - processes.seconds_since(record.start_ticks) - 1.0, is_dedicated=uid not in (0, os.geteuid()))


def _reap(pid: int) -> int | None:
    """The exit status of a child of ours that ended; None for everybody else's."""
    child = _CHILDREN.get(pid)
    return None if child is None else child.poll()
