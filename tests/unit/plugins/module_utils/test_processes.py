# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""/proc as text and as it is."""
from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys

import pytest

from ansible_collections.venom.llm.plugins.module_utils import processes

#: /proc/net/tcp and tcp6 of Linux 6.1, 2026-11-21, little-endian: two listeners and one connection;
#: any and one IPv6 address, with the lines cut after the inode.
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 49058 1 00000000c42f46ed 100 0 0 10 0
   1: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1060 1 000000006240cec1 100 0 0 10 0
   2: 0100007F:1F41 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 50000 1 000000006240cec2 20 4 30 10 -1
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 800 1
   1: 00000000000000000000000001000000:1F41 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 801 1
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="recorded on a little-endian machine")
def test_listening_sockets() -> None:
    assert processes.parse_listening(TCP) == [("127.0.0.1", 8001, 49058), ("0.0.0.0", 2024, 1060)]
    assert processes.parse_listening(TCP6) == [("::", 22, 800), ("::1", 8001, 801)]


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "::", True),
        ("::1", "0.0.0.0", False),
        ("::1", "::", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
    ],
)
def test_which_addresses_collide(one: str, other: str, collide: bool) -> None:
    for pair in ((one, other), (other, one)):
        assert processes._overlaps(*pair) is collide


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_our_own_listener_is_found_with_its_command(family: socket.AddressFamily, address: str) -> None:
    try:
        listener = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip(f"no {address} here")
    with listener:
        port = listener.getsockname()[1]
        found = processes.listeners(port)
        assert [(one.address, one.port, one.pid) for one in found] == [(address, port, os.getpid())]
        assert "py" in found[0].command
        assert processes.listeners(port, "10.9.8.7") == []
    assert processes.listeners(port) == []


def test_descendants_are_found_through_generations() -> None:
    def process(pid: int, parent: int) -> processes.Process:
        return processes.Process(pid, "S", parent, 1, 1, 0, 1, 0)

    table = {pid: process(pid, parent) for pid, parent in ((2, 1), (3, 2), (4, 3), (5, 1))}
    assert processes.descendants(2, table) == {3, 4}


def test_a_process_that_ended_but_was_not_reaped_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    zombie = processes.read_process(child.pid)
    assert zombie is not None and not zombie.is_alive()
    child.wait()
    assert processes.read_process(child.pid) is None


def test_uptime_counts_from_the_start_of_the_process() -> None:
    first = processes.read_process(1)
    me = processes.read_process(os.getpid())
    assert first is not None and me is not None
    assert 0 <= processes.uptime_of(me) <= processes.uptime_of(first)


def test_ourselves() -> None:
    me = processes.read_process(os.getpid())
    assert me is not None and me.is_alive() and me.parent == os.getppid() and me.session == os.getsid(0)
    assert processes.memory_bytes([me.pid]) > 1024 * 1024
    assert processes.environment(me.pid).get("PATH") and processes.command_line(me.pid)


def test_processes_that_are_gone_are_nothing() -> None:
    gone = 2**30
    assert processes.read_process(gone) is None and processes.command_line(gone) == [] and processes.environment(gone) == {}
    assert processes.realtime_limit(gone) is None
    assert processes.unit_of(gone) is None and processes.memory_bytes([gone]) == 0 and processes.cpu_ticks([gone]) == {}


def test_process_start_tells_the_living_from_the_dead() -> None:
    assert processes.start_ticks(os.getpid()) is not None
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert processes.start_ticks(done.pid) is None


def test_a_signal_reaches_the_process_that_was_meant_and_nobody_else() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        ticks = processes.start_ticks(child.pid)
        assert ticks is not None
        assert not processes.send_signal(child.pid, ticks - 1, 9) and child.poll() is None
        assert processes.send_signal(child.pid, ticks, 9) and child.wait() == -9
        assert not processes.send_signal(child.pid, ticks, 9)
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("lacks", ["kernel", "python"])
def test_a_signal_without_handles_of_processes_is_as_careful(lacks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError(errno.ENOSYS, "not in this kernel")

    if lacks == "kernel":
        monkeypatch.setattr(os, "pidfd_open", refuse)
    else:
        monkeypatch.delattr(os, "pidfd_open")
    test_a_signal_reaches_the_process_that_was_meant_and_nobody_else()


def test_holders_are_named_with_their_commands() -> None:
    known = processes.commands([os.getpid(), 2**30])
    assert known == {os.getpid(): " ".join(processes.command_line(os.getpid()))[:200], 2**30: ""}
    assert processes.describe({30: "", 12: "python -m server"}) == "pid 12 (python -m server), pid 30"
