# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes and listening sockets as /proc shows them (proc(5)); no library, no other program."""
from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import typing as t
from dataclasses import dataclass

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
_LISTEN = "0A"


@dataclass(frozen=True)
class Process:
    """One line of /proc/PID/stat. ``start_ticks`` with ``pid`` names a process for good within one boot; a pid alone does not."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    cpu_ticks: int
    start_ticks: int
    rss_bytes: int

    def is_alive(self) -> bool:
        """Whether it still runs: a zombie has ended and only waits to be reaped."""
        return self.state not in ("Z", "X")


@dataclass(frozen=True)
class Listener:
    """Who listens on a TCP port. ``pid`` is None when the owner is hidden from us, as other accounts' processes are without root."""

    address: str
    port: int
    pid: int | None
    command: str
    unit: str | None


def read_process(pid: int) -> Process | None:
    """The process, zombies included, or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            # The command in parentheses may itself contain spaces and parentheses.
            fields = stream.read().rpartition(b")")[2].split()
        return Process(
            pid=pid,
            state=fields[0].decode("ascii"),
            parent=int(fields[1]),
            group=int(fields[2]),
            session=int(fields[3]),
            cpu_ticks=int(fields[11]) + int(fields[12]),
            start_ticks=int(fields[19]),
            rss_bytes=int(fields[21]) * PAGE_SIZE,
        )
    except (OSError, IndexError, ValueError):
        return None


def start_ticks(pid: int) -> int | None:
    """Start of a living process in clock ticks since boot, or None when it has ended. With the pid it names the process for good."""
    process = read_process(pid)
    return process.start_ticks if process is not None and process.is_alive() else None


def pids() -> list[int]:
    """Every pid that /proc shows."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def snapshot() -> dict[int, Process]:
    """Every process that /proc shows, zombies included."""
    found = ((pid, read_process(pid)) for pid in pids())
    return {pid: process for pid, process in found if process is not None}


def descendants(root: int, table: dict[int, Process]) -> set[int]:
    """Pids of all children, grandchildren and so on of ``root``, without itself."""
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    todo = [root]
    while todo:
        for child in children.get(todo.pop(), []):
            if child not in found and child != root:
                found.add(child)
                todo.append(child)
    return found


def environment(pid: int) -> dict[str, str]:
    """The environment that the process was started with; empty when it is hidden or gone."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            entries = stream.read().split(b"\0")
    except OSError:
        return {}
    pairs = (entry.decode("utf-8", "surrogateescape").partition("=") for entry in entries if b"=" in entry)
    return {name: value for name, dummy, value in pairs}


def command_line(pid: int) -> list[str]:
    """The arguments of the process; empty for kernel threads, zombies and processes that are gone or hidden."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return [part.decode("utf-8", "replace") for part in stream.read().rstrip(b"\0").split(b"\0") if part]
    except OSError:
        return []


def realtime_limit(pid: int) -> int | None:
    """The soft limit of processor time under real-time scheduling in microseconds (RLIMIT_RTTIME); None without one, or for a process that is gone.

    Children inherit it, and unlike its environment and arguments no process writes over it by accident.
    """
    try:
        with open(f"/proc/{pid}/limits", encoding="ascii", errors="replace") as stream:
            soft = next(line.split()[3] for line in stream if line.startswith("Max realtime timeout"))
    except (OSError, StopIteration, IndexError):
        return None
    return int(soft) if soft.isdigit() else None


def commands(members: t.Iterable[int]) -> dict[int, str]:
    """The command of each process as one line, cut after 200 characters; empty where it is hidden or gone."""
    return {pid: " ".join(command_line(pid))[:200] for pid in members}


def describe(members: t.Mapping[int, str]) -> str:
    """Processes with their ``commands`` for an operator: ``pid 12 (python -m server), pid 14``."""
    return ", ".join(f"pid {pid} ({command})" if command else f"pid {pid}" for pid, command in sorted(members.items()))


def send_signal(pid: int, ticks: int, number: int) -> bool:
    """Signal the process that began at ``ticks`` (``start_ticks``), and nobody who got its pid since. Whether it was still there.

    Raises ``PermissionError`` for a process of another account.
    """
    try:
        handle = _open_process(pid)
        try:
            # A handle keeps meaning one process, so a look after it was opened settles which. Without one, the moment after the look is left.
            if start_ticks(pid) != ticks:
                return False
            if handle is None:
                os.kill(pid, number)
            else:
                signal.pidfd_send_signal(handle, number)
        finally:
            if handle is not None:
                os.close(handle)
    except ProcessLookupError:
        return False
    return True


def _open_process(pid: int) -> int | None:
    """A handle of the process (pidfd_open(2)); None where the kernel is older than 5.3 or Python was built for such a one."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return None
        raise


def unit_of(pid: int) -> str | None:
    """The systemd unit of the process: the last .service or .scope in its control group path."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as stream:
            lines = stream.read().splitlines()
    except OSError:
        return None
    for line in lines:
        for part in reversed(line.split(":", 2)[-1].split("/")):
            if part.endswith((".service", ".scope")):
                return part
    return None


def boot_id() -> str:
    """The kernel's name for this boot; it changes with every boot. Containers of one host share it."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()


def uptime_of(process: Process) -> float:
    """Seconds since the process started."""
    return seconds_since(process.start_ticks)


def seconds_since(ticks: int) -> float:
    """Seconds since so many clock ticks after the boot."""
    with open("/proc/uptime", encoding="ascii") as stream:
        up = float(stream.read().split()[0])
    return max(0.0, up - ticks / CLOCK_TICKS)


def memory_bytes(members: t.Iterable[int]) -> int:
    """Resident memory of the processes together. Shared pages count once where PSS may be read, else in every process (RSS)."""
    total = 0
    for pid in members:
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as stream:
                total += next(int(line.split()[1]) * 1024 for line in stream if line.startswith("Pss:"))
        except (OSError, StopIteration, ValueError):
            process = read_process(pid)
            total += process.rss_bytes if process else 0
    return total


def cpu_ticks(members: t.Iterable[int]) -> dict[int, int]:
    """User and system time of each living process in clock ticks."""
    found = ((pid, read_process(pid)) for pid in members)
    return {pid: process.cpu_ticks for pid, process in found if process is not None}


def _decode(address: str) -> str:
    """An address of /proc/net/tcp or tcp6: 32-bit words in hexadecimal, each in the byte order of the host."""
    words = [struct.pack("=I", int(address[index: index + 8], 16)) for index in range(0, len(address), 8)]
    packed = b"".join(words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def parse_listening(text: str) -> list[tuple[str, int, int]]:
    """(address, port, inode) of the listening sockets in the text of /proc/net/tcp or /proc/net/tcp6."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN:
            address, dummy, port = fields[1].partition(":")
            found.append((_decode(address), int(port, 16), int(fields[9])))
    return found


def _overlaps(one: str, other: str) -> bool:
    """Whether two listening addresses get in each other's way on one port."""
    plain = [text[7:] if text.startswith("::ffff:") else text for text in (one, other)]
    if "::" in plain or plain[0] == plain[1]:
        return True
    return "0.0.0.0" in plain and not any(":" in text for text in plain)  # noqa: S104


def listeners(port: int, address: str | None = None) -> list[Listener]:
    """Who listens on the TCP port, on any address or on one that ``address`` (numeric) would collide with."""
    sockets: dict[int, str] = {}
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/net/{name}", encoding="ascii") as stream:
                listening = parse_listening(stream.read())
        except OSError:
            continue
        for found, number, inode in listening:
            if number == port and (address is None or _overlaps(address, found)):
                sockets[inode] = found
    if not sockets:
        return []
    owners = _owners(set(sockets))
    result = []
    for inode, found in sorted(sockets.items()):
        pid = owners.get(inode)
        command = " ".join(command_line(pid)) if pid is not None else ""
        result.append(Listener(found, port, pid, command[:300], unit_of(pid) if pid is not None else None))
    return result


def _owners(inodes: set[int]) -> dict[int, int]:
    """The first process that has each socket open, as far as we may look."""
    owners: dict[int, int] = {}
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    for pid in pids():
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for name in names:
            try:
                inode = wanted.get(os.readlink(f"/proc/{pid}/fd/{name}"))
            except OSError:
                continue
            if inode is not None:
                owners.setdefault(inode, pid)
        if len(owners) == len(inodes):
            break
    return owners
