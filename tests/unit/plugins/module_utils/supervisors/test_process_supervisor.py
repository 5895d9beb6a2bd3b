# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process supervisor with real processes: obedient, stubborn, with children, and with pid files that lie."""
from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import processes
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.supervisors import base
from ansible_collections.venom.llm.plugins.module_utils.supervisors.process import MARK, Command, ProcessSupervisor, Record, find_members
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import is_alive, wait_until

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
IGNORE = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
#: A server with a child in its own session that leaves the session, ignores SIGTERM, and loses its parent: like a worker gone wild.
FAMILY = (
    "import subprocess, sys, time\n"
    f"stubborn = {IGNORE + SLEEP!r}\n"
    "plain = subprocess.Popen([sys.executable, '-c', stubborn])\n"
    "apart = subprocess.Popen([sys.executable, '-c', 'import os, subprocess, sys; '\n"
    "    'subprocess.Popen([sys.executable, \"-c\", sys.argv[1]], start_new_session=True)', stubborn])\n"
    "apart.wait()\n"
    "time.sleep(600)\n"
)

#: A server that leaves a process behind which has another session, another parent, and no environment to tell it by.
DISGUISE = (
    "import subprocess, sys, time\n"
    "apart = [sys.executable, '-c', 'import subprocess, sys; '\n"
    "    'subprocess.Popen([sys.executable, \"-c\", sys.argv[1]], start_new_session=True, env={})', " + repr(IGNORE + SLEEP) + "]\n"
    "subprocess.run(apart, env={})\n"
    "time.sleep(600)\n"
)
#: Makes a file of shared memory under the name it is given and has it mapped.
SHARER = (
    "import mmap, os, sys, time\n"
    "stream = open('/dev/shm/' + os.environ['SHARED'], 'w+b')\n"
    "stream.truncate(4096)\n"
    "area = mmap.mmap(stream.fileno(), 4096)\n" + SLEEP
)

Make = t.Callable[..., ProcessSupervisor]


@pytest.fixture()
def make(tmp_path: Path) -> t.Iterator[Make]:
    made: list[ProcessSupervisor] = []

    def factory(script: str = SLEEP, account: str | None = None, **environment: str) -> ProcessSupervisor:
        command = Command((sys.executable, "-c", script), environment)
        made.append(ProcessSupervisor("server", str(tmp_path / "server.log"), str(tmp_path / "run"), lambda: command, account))
        return made[-1]

    yield factory
    for supervisor in made:
        supervisor.stop(0.2)


def log_of(supervisor: ProcessSupervisor) -> str:
    return "\n".join(base.log_tail(supervisor.log_path))


def started(supervisor: ProcessSupervisor, ready: str = "up") -> int:
    supervisor.start()
    wait_until(lambda: ready in log_of(supervisor))
    pid = supervisor.status().pid
    if pid is None:
        raise AssertionError("it does not run")
    return pid


def test_a_server_runs_apart_from_us_and_without_core_files(make: Make) -> None:
    script = (
        "import os, resource, sys, time;"
        "print(os.getsid(0) == os.getpid(), resource.getrlimit(resource.RLIMIT_CORE), oct(os.umask(0)), sys.stdin.read() == '',"
        "os.getcwd(), flush=True); print('up', flush=True); time.sleep(600)"
    )
    ours = resource.getrlimit(resource.RLIMIT_CORE)
    supervisor = make(script, VLLM_X="1")
    pid = started(supervisor)
    said = log_of(supervisor)
    assert said.startswith("True (0, 0) 0o77 True") and said.splitlines()[0].endswith("/")
    assert set(processes.environment(pid)) == {"PATH", "LANG", "HOME", "USER", "LOGNAME", "VLLM_X", MARK}
    assert os.stat(supervisor.log_path).st_mode & 0o007 == 0
    assert resource.getrlimit(resource.RLIMIT_CORE) == ours
    assert supervisor.status().active == "running" and supervisor.pids() == [pid]
    supervisor.stop(5)
    assert not is_alive(pid) and supervisor.status().active == "stopped" and supervisor.pids() == []
    assert not os.path.exists(supervisor.pid_path)
    assert processes.read_process(pid) is None, "a zombie is left"


def test_the_log_is_kept_over_restarts(make: Make) -> None:
    supervisor = make()
    for count in (1, 2):
        supervisor.start()
        wait_until(lambda: log_of(supervisor).count("up") == count)  # noqa: B023
        supervisor.stop(5)


def test_stubborn_children_in_other_sessions_are_ended_too(make: Make) -> None:
    supervisor = make(FAMILY)
    leader = started(supervisor)
    wait_until(lambda: log_of(supervisor).count("up") == 2 and len(supervisor.pids()) == 3)
    family = supervisor.pids()
    assert leader in family and len({processes.read_process(pid).session for pid in family}) == 2  # type: ignore[union-attr]
    supervisor.stop(0.3)
    assert [pid for pid in family if is_alive(pid)] == []


def test_what_a_dead_leader_left_is_ended_before_the_next_start(make: Make) -> None:
    supervisor = make(FAMILY)
    leader = started(supervisor)
    wait_until(lambda: log_of(supervisor).count("up") == 2 and len(supervisor.pids()) == 3)
    left = [pid for pid in supervisor.pids() if pid != leader]
    os.kill(leader, 9)
    wait_until(lambda: not is_alive(leader))
    assert supervisor.status().active == "failed" and sorted(left) == supervisor.pids()
    supervisor.start()
    wait_until(lambda: not any(is_alive(pid) for pid in left))
    assert supervisor.status().active == "running"


def test_a_process_that_shed_session_parent_and_environment_is_still_ours(make: Make) -> None:
    supervisor = make(DISGUISE)
    leader = started(supervisor)
    wait_until(lambda: len(supervisor.pids()) == 2)
    (left,) = set(supervisor.pids()) - {leader}
    assert processes.environment(left) == {} and processes.read_process(left).session == left  # type: ignore[union-attr]
    os.kill(leader, 9)
    wait_until(lambda: not is_alive(leader))
    assert supervisor.pids() == [left]
    supervisor.stop(0.3)
    assert not is_alive(left)


def test_our_own_limits_are_as_before_after_a_start(make: Make) -> None:
    ours = resource.getrlimit(resource.RLIMIT_RTTIME)
    pid = started(make())
    assert resource.getrlimit(resource.RLIMIT_RTTIME) == ours
    assert processes.realtime_limit(pid) is not None and processes.realtime_limit(os.getpid()) is None


def kill_a_start(supervisor: ProcessSupervisor, monkeypatch: pytest.MonkeyPatch, name: str, call: int) -> None:
    """Let another process start the server and be killed by SIGKILL when it calls the supervisor's method ``name`` for that time."""
    child = os.fork()
    if child == 0:
        real = getattr(supervisor, name)
        calls: list[int] = []

        def deadly(*arguments: t.Any) -> t.Any:
            calls.append(1)
            if len(calls) == call:
                os.kill(os.getpid(), 9)
            return real(*arguments)

        monkeypatch.setattr(supervisor, name, deadly)
        try:
            supervisor.start()
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 9


def test_a_start_that_was_killed_before_it_knew_the_pid_leaves_no_orphan(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = make(RACE=str(tmp_path))
    kill_a_start(supervisor, monkeypatch, "_ticks_of", 2)
    wait_until(lambda: "up" in log_of(supervisor))
    (orphan,) = supervisor.pids()
    assert supervisor.status().active == "failed" and is_alive(orphan)
    supervisor.start()
    wait_until(lambda: log_of(supervisor).count("up") == 2)
    assert supervisor.status().active == "running" and not is_alive(orphan) and supervisor.pids() == [supervisor.status().pid]


def test_a_start_that_was_killed_before_the_server_lived_is_stopped(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = make()
    # Asked for the environment, for the record, and, when that is written, for the options of the new process.
    kill_a_start(supervisor, monkeypatch, "_account_entry", 3)
    assert json.loads(Path(supervisor.pid_path).read_text())["pid"] == 0
    assert supervisor.status().active == "stopped" and supervisor.pids() == []
    supervisor.stop(1)
    assert not os.path.exists(supervisor.pid_path)


def test_a_server_that_is_being_started_is_not_stopped_half_way(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.venom.llm.plugins.module_utils.supervisors.process._START_LOCK_TIMEOUT", 0.2)
    supervisor = make()
    pid = started(supervisor)
    with supervisor._lock(), pytest.raises(VenomError) as caught:
        supervisor.stop(1)
    assert caught.value.reason_code == "locked" and is_alive(pid)


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_shared_memory_is_gone_after_a_stop(make: Make, kill: bool) -> None:
    own, waiting, foreign = (Path(f"/dev/shm/{name}{os.getpid()}") for name in ("psm_test", "psm_waits", "other-test"))
    supervisor = make(SHARER, SHARED=own.name)
    try:
        pid = started(supervisor)
        for path in (waiting, foreign):
            path.write_bytes(b"x")
        assert own.exists()
        if kill:
            os.kill(pid, 9)
            wait_until(lambda: not is_alive(pid))
        supervisor.stop(5)
        # After a crash nobody can tell the two of that name apart; after an orderly stop what the server had is known.
        assert not own.exists() and foreign.exists() and waiting.exists() is not kill
    finally:
        for path in (own, waiting, foreign):
            path.unlink(missing_ok=True)


def test_the_exit_status_of_a_start_that_dies_is_known(make: Make) -> None:
    supervisor = make("raise SystemExit(3)")
    supervisor.start()
    wait_until(lambda: supervisor.status().active == "failed")
    assert supervisor.status().exit_status == 3
    supervisor.stop(1)
    assert supervisor.status().active == "stopped"


def test_a_program_that_is_not_there_is_start_failed(tmp_path: Path) -> None:
    command = Command(("/nonexistent/python",), {})
    supervisor = ProcessSupervisor("server", str(tmp_path / "log"), str(tmp_path / "run"), lambda: command)
    with pytest.raises(VenomError) as caught:
        supervisor.start()
    assert caught.value.reason_code == "start_failed" and supervisor.status().active == "stopped"


def test_starting_a_running_server_does_nothing(make: Make) -> None:
    supervisor = make()
    pid = started(supervisor)
    supervisor.start()
    assert supervisor.status().pid == pid and log_of(supervisor).count("up") == 1


def start_in_other_processes(supervisor: ProcessSupervisor, count: int) -> list[int]:
    """Let ``count`` processes start the server at the same moment and end; returns how each of them ended."""
    gate, release = os.pipe()
    children = []
    for dummy in range(count):
        child = os.fork()
        if child == 0:
            os.close(release)
            os.read(gate, 1)
            try:
                supervisor.start()
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    os.close(gate)
    os.close(release)
    return [os.waitpid(child, 0)[1] for child in children]


def test_two_processes_that_start_at_once_start_one_server(make: Make, tmp_path: Path) -> None:
    supervisor = make(RACE=str(tmp_path))
    assert start_in_other_processes(supervisor, 4) == [0] * 4
    wait_until(lambda: "up" in log_of(supervisor))
    pid = supervisor.status().pid
    marked = [other for other in processes.pids() if processes.environment(other).get("RACE") == str(tmp_path) and is_alive(other)]
    assert marked == [pid]


@pytest.fixture()
def bystander() -> t.Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else, leader of a session, at the pid that a stale file names."""
    process = subprocess.Popen([sys.executable, "-c", SLEEP], stdout=subprocess.DEVNULL, start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("ticks", "boot", "active"), [(-1, None, "failed"), (0, "00000000-0000-0000-0000-000000000000", "stopped")], ids=["reused", "reboot"]
)
def test_a_stale_pid_file_is_never_obeyed(
    make: Make, bystander: subprocess.Popen[bytes], ticks: int, boot: str | None, active: str
) -> None:
    supervisor = make()
    real = processes.start_ticks(bystander.pid)
    if real is None:
        raise AssertionError("the bystander does not live")
    os.makedirs(os.path.dirname(supervisor.pid_path))
    Record(bystander.pid, real + ticks, boot or processes.boot_id(), "mark").write(supervisor.pid_path)
    assert supervisor.status().active == active and supervisor.pids() == []
    supervisor.stop(0.2)
    assert bystander.poll() is None and not os.path.exists(supervisor.pid_path)
    started(supervisor)
    supervisor.stop(2)
    assert bystander.poll() is None


@pytest.mark.parametrize("content", ["", "12", "[]", '{"pid": 1}', "\x00\x00", '{"pid": "x", "start_ticks": 1, "boot_id": "", "mark": ""}'])
def test_a_pid_file_without_sense_is_no_server(make: Make, content: str) -> None:
    supervisor = make()
    os.makedirs(os.path.dirname(supervisor.pid_path))
    Path(supervisor.pid_path).write_text(content)
    assert supervisor.status().active == "stopped"
    started(supervisor)
    assert json.loads(Path(supervisor.pid_path).read_text())["pid"] == supervisor.status().pid


def test_members_of_a_reused_session_are_not_ours() -> None:
    def process(pid: int, ticks: int, session: int, parent: int = 1) -> processes.Process:
        return processes.Process(pid, "S", parent, session, session, 0, ticks, 0)

    big = 2**30
    record = Record(big, 100, "boot", "no such mark")
    ours = {pid.pid: pid for pid in (process(big, 100, big), process(big + 1, 120, big), process(big + 2, 130, big + 2, parent=big))}
    assert set(find_members(record, ours, "boot")) == set(ours)
    orphans = {pid.pid: pid for pid in (process(big + 1, 120, big), process(big + 2, 130, big + 2))}
    assert set(find_members(record, orphans, "boot")) == {big + 1}
    strangers = {pid.pid: pid for pid in (process(big, 500, big), process(big + 1, 510, big))}
    assert find_members(record, strangers, "boot") == {}
    assert find_members(record, ours, "another boot") == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the account")
def test_the_server_runs_under_the_account(tmp_path: Path) -> None:
    command = Command(("/bin/sh", "-c", "echo up; exec sleep 600"), {})
    supervisor = ProcessSupervisor("server", str(tmp_path / "log"), str(tmp_path / "run"), lambda: command, "nobody")
    pid = started(supervisor)
    with open(f"/proc/{pid}/status", encoding="ascii") as stream:
        lines = dict(line.rstrip().split(":\t", 1) for line in stream if ":\t" in line)
    assert set(lines["Uid"].split()) == {"65534"} and "0" not in lines["Groups"].split()
    assert processes.environment(pid)["USER"] == "nobody"
    supervisor.stop(5)
    assert not is_alive(pid)


def test_a_server_outlives_the_process_that_started_it_without_a_zombie(make: Make) -> None:
    supervisor = make()
    assert start_in_other_processes(supervisor, 1) == [0]
    pid = supervisor.status().pid
    if pid is None:
        raise AssertionError("it did not outlive its starter")
    supervisor.stop(5)
    assert not is_alive(pid)
