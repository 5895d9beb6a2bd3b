# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared memory and semaphores outlive the processes that made them (shm_overview(7), sysvipc(7)): whose they are, and their removal.

A process that ends by SIGKILL removes nothing, and the kernel keeps the memory until a reboot. What any living process still maps, holds
open or is attached to is in use and stays, whoever made it.
"""
from __future__ import annotations

import contextlib
import ctypes
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import processes

SHM_DIR = "/dev/shm"  # noqa: S108
#: What Python's multiprocessing, torch, NCCL and CUDA call theirs. Where the server has no account of its own, only these are looked at.
_RUNTIME_NAMES = re.compile(r"^(psm_|sem\.mp-|torch_|nccl-|cuda\.shm\.)")
_IPC_RMID = 0
#: Name in /proc/sysvipc: column of the number, and the call of the C library that removes one.
_SYSV = {"shm": ("shmid", "shmctl"), "sem": ("semid", "semctl")}


@dataclass(frozen=True)
class Segment:
    """A file of ``/dev/shm`` (``kind`` 'file') by name with device and inode, or a System V segment ('shm') or semaphore set ('sem') by number."""

    kind: str
    name: str
    device: int = 0
    inode: int = 0


@dataclass(frozen=True)
class Maker:
    """Who leaves something behind: processes of account ``uid`` that ran since ``since`` (seconds since the epoch).

    ``is_dedicated`` says that the account is for servers alone: when no process of it is left, the name of a segment does not matter.
    """

    uid: int
    since: float
    is_dedicated: bool


def held_by(members: t.Iterable[int], shm_dir: str = SHM_DIR) -> set[Segment]:
    """What living processes map of ``/dev/shm``, and the System V segments that one of them has made."""
    known = set(members)
    files = {(segment.device, segment.inode): segment for segment in _files(shm_dir)}
    mapped = set().union(*(_mapped(pid) for pid in known)) if files else set()
    return {files[key] for key in mapped & set(files)} | {Segment("shm", row["shmid"]) for row in _sysv("shm") if int(row["cpid"]) in known}


def left_by(maker: Maker, shm_dir: str = SHM_DIR) -> set[Segment]:
    """What processes of the maker may have left: of its account, as young as it is, and with a name that fits where others share the account."""
    is_alone = maker.is_dedicated and not any(_owner(pid) == maker.uid for pid in processes.pids() if processes.start_ticks(pid) is not None)
    names = [segment for segment in _files(shm_dir) if is_alone or _RUNTIME_NAMES.match(segment.name)]
    found = {segment for segment in names if _is_of(os.path.join(shm_dir, segment.name), maker)}
    if is_alone:
        for kind in _SYSV:
            rows = (row for row in _sysv(kind) if int(row["cuid"]) == maker.uid and int(row["ctime"]) >= int(maker.since))
            found |= {Segment(kind, row[_SYSV[kind][0]]) for row in rows}
    return found


def remove(segments: t.Collection[Segment], shm_dir: str = SHM_DIR) -> list[Segment]:
    """Remove those that no living process uses; returns them. What we may not remove, or is gone, is left out."""
    if not segments:
        return []
    used: set[tuple[int, int]] = set()
    for pid in processes.pids():
        used |= _mapped(pid) | _open(pid)
    attached = {row["shmid"] for row in _sysv("shm") if int(row["nattch"]) > 0}
    removed = []
    for segment in sorted(segments, key=lambda one: (one.kind, one.name)):
        in_use = (segment.device, segment.inode) in used if segment.kind == "file" else segment.kind == "shm" and segment.name in attached
        if not in_use and _remove(segment, shm_dir):
            removed.append(segment)
    return removed


def _files(shm_dir: str) -> list[Segment]:
    found = []
    with contextlib.suppress(OSError), os.scandir(shm_dir) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if entry.is_file(follow_symlinks=False):
                    found.append(Segment("file", entry.name, status.st_dev, status.st_ino))
    return found


def _is_of(path: str, maker: Maker) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    # The change time, which no process can set back.
    return status.st_uid == maker.uid and status.st_ctime >= maker.since


def _owner(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


def _mapped(pid: int) -> set[tuple[int, int]]:
    """Device and inode of every file that the process maps. Another mount of the same name, as in a unit of its own, has another device."""
    found: set[tuple[int, int]] = set()
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                fields = line.split(maxsplit=5)
                if len(fields) > 5 and fields[4] != "0":
                    major, dummy, minor = fields[3].partition(":")
                    found.add((os.makedev(int(major, 16), int(minor, 16)), int(fields[4])))
    except (OSError, ValueError):
        return found
    return found


def _open(pid: int) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                status = os.stat(f"/proc/{pid}/fd/{name}")
                found.add((status.st_dev, status.st_ino))
    return found


def _sysv(kind: str) -> list[dict[str, str]]:
    """The rows of /proc/sysvipc; none where the kernel has no System V IPC."""
    try:
        with open(f"/proc/sysvipc/{kind}", encoding="ascii") as stream:
            head, *rows = [line.split() for line in stream]
    except (OSError, ValueError):
        return []
    return [dict(zip(head, row)) for row in rows]


def _remove(segment: Segment, shm_dir: str) -> bool:
    if segment.kind == "file":
        path = os.path.join(shm_dir, segment.name)
        try:
            status = os.lstat(path)
            if (status.st_dev, status.st_ino) != (segment.device, segment.inode):
                return False
            os.unlink(path)
        except OSError:
            return False
        return True
    library = ctypes.CDLL(None, use_errno=True)
    number = int(segment.name)
    arguments = (number, _IPC_RMID, None) if segment.kind == "shm" else (number, 0, _IPC_RMID)
    return bool(getattr(library, _SYSV[segment.kind][1])(*arguments) == 0)
