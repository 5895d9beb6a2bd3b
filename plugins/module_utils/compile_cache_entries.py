# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server's folder has of compiled code: entries, each of them a whole that is carried or not, and nothing that belongs to one host.

Facts of vLLM 0.32, torch 2.13 and Triton 3.9. Left out on purpose: ``vllm/startup_plan`` and ``vllm/gpu_p2p_access_cache_*`` hold numbers and
links of one machine, ``vllm/assets`` and ``huggingface`` are no compiled code, and what FlashInfer builds in ``~/.cache/flashinfer`` is
judged by the times of files that another host has installed at another time.
"""
from __future__ import annotations

import os
import re
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import TEMPORARY_PREFIX, safe_relative_path

#: The folder below the state folder that all sections are in.
CACHE = "cache"


@dataclass(frozen=True)
class Section:
    """A folder of entries below the state folder. Of ``folders`` every folder in it is one, else every file in it at any depth."""

    path: str
    folders: bool
    without: tuple[str, ...] = ()


#: In the order in which they are loaded: what others refer to comes first.
SECTIONS = (
    Section("cache/triton", True),
    Section("cache/inductor", False),
    Section("cache/vllm/deep_gemm/cache", True),
    Section("cache/vllm/flashinfer_autotune_cache", False),
    Section("cache/vllm/modelinfos", False),
    Section("cache/vllm/torch_compile_cache/torch_aot_compile", True),
    Section("cache/vllm/torch_compile_cache", True, without=("torch_aot_compile",)),
)
#: Locks, unfinished files, and bytecode that Python makes again.
_PASSING = re.compile(r"\A(?:.*\.lock|locks?|tmp\.pid_.*|.*\.tmp|__pycache__|" + re.escape(TEMPORARY_PREFIX) + r".*)\Z", re.DOTALL)
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class CachedFile:
    """A file of an entry, by its path below the state folder; ``mark`` changes when somebody writes or replaces it."""

    path: str
    size: int
    executable: bool
    mark: tuple[int, int]


@dataclass(frozen=True)
class Entry:
    """One entry. Without files it is a folder that something has only begun to fill."""

    name: str
    files: tuple[CachedFile, ...]

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(item.size for item in self.files)

    def describe(self) -> dict[str, t.Any]:
        """As a dict of results and of an archive's index."""
        return {"name": self.name, "files": len(self.files), "bytes": self.size}


@dataclass(frozen=True)
class Listing:
    """All entries of a host, and what in them is not as a server leaves it (empty when all is well)."""

    entries: tuple[Entry, ...] = ()
    fault: str = ""


def section_of(name: str) -> Section:
    """Where an entry belongs. Raises ``cache_refused`` for a name of none, ``invalid_name`` for one that is no name."""
    safe_relative_path(name)
    parent = os.path.dirname(name)
    for section in SECTIONS:
        inside = parent == section.path if section.folders else f"{parent}/".startswith(f"{section.path}/")
        if inside and os.path.basename(name) not in section.without and not any(map(is_passing, name.split("/"))):
            return section
    raise refused(f"an entry {ascii(name)}, which is in no folder of compiled code")


def refused(found: str) -> VenomError:
    """For whatever may not be carried."""
    return VenomError(
        "cache_refused",
        wanted="compiled code that the server's account alone has written, as plain files in their folders",
        found=found,
        todo="find out where it comes from; a cache may be deleted while the server is stopped, and is made again",
    )


def is_passing(name: str) -> bool:
    """Whether a file or folder of this name is there for a moment only."""
    return _PASSING.match(name) is not None


def scan(folder: str, uid: int) -> Listing:
    """The entries below a state folder that belongs to ``uid``. Links are not followed. Raises ``OSError``."""
    faults = list(_above(folder, uid))
    entries: list[Entry] = []
    for section in SECTIONS:
        if _has_way(folder, section.path, uid, faults):
            entries += _folders(folder, section, uid, faults) if section.folders else _files(folder, section, uid, faults)
    return Listing(tuple(entries), faults[0] if faults else "")


def _folders(folder: str, section: Section, uid: int, faults: list[str]) -> t.Iterator[Entry]:
    for path, status in _children(folder, section.path, uid, faults):
        if stat.S_ISDIR(status.st_mode) and os.path.basename(path) not in section.without:
            yield Entry(path, tuple(_below(folder, path, uid, faults)))


def _files(folder: str, section: Section, uid: int, faults: list[str]) -> t.Iterator[Entry]:
    for item in _below(folder, section.path, uid, faults):
        yield Entry(item.path, (item,))


def _below(folder: str, path: str, uid: int, faults: list[str]) -> t.Iterator[CachedFile]:
    for child, status in _children(folder, path, uid, faults):
        if stat.S_ISDIR(status.st_mode):
            yield from _below(folder, child, uid, faults)
        else:
            yield CachedFile(child, status.st_size, bool(status.st_mode & stat.S_IXUSR), (status.st_mtime_ns, status.st_ino))


def _children(folder: str, path: str, uid: int, faults: list[str]) -> t.Iterator[tuple[str, os.stat_result]]:
    """Files and folders in one folder, by name, without those that pass and those that are not as they should be."""
    try:
        names = sorted(os.listdir(os.path.join(folder, path)))
    except FileNotFoundError:
        return
    for name in names:
        child = f"{path}/{name}"
        try:
            status = os.lstat(os.path.join(folder, child))
        except FileNotFoundError:
            continue
        if is_passing(name):
            continue
        fault = _fault(status, uid) or _name_fault(child)
        if fault:
            faults.append(f"{child} {fault}")
        else:
            yield child, status


def _has_way(folder: str, path: str, uid: int, faults: list[str]) -> bool:
    """Whether the folder is there, and every folder on the way to it is the account's."""
    way = ""
    for part in ("", *path.split("/")):
        way = os.path.join(way, part)
        try:
            status = os.lstat(os.path.join(folder, way))
        except FileNotFoundError:
            return False
        fault = _fault(status, uid) or ("" if stat.S_ISDIR(status.st_mode) else "is not a folder")
        if fault:
            faults.append(f"{way or folder} {fault}")
            return False
    return True


def _above(folder: str, uid: int) -> t.Iterator[str]:
    """Folders above it in which somebody else could put another one in its place. A sticky one, such as /tmp, keeps others from that."""
    while folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
        try:
            status = os.lstat(folder)
        except FileNotFoundError:
            continue
        if status.st_uid not in (0, uid):
            yield f"{folder} belongs to uid {status.st_uid}"
        elif status.st_mode & _WRITABLE_BY_OTHERS and not status.st_mode & stat.S_ISVTX:
            yield f"{folder} can be written by others"


def _fault(status: os.stat_result, uid: int) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "is a symlink"
    if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        return "is neither file nor folder"
    if status.st_uid != uid:
        return f"belongs to uid {status.st_uid}, not to {uid}"
    return "can be written by others" if status.st_mode & _WRITABLE_BY_OTHERS else ""


def _name_fault(path: str) -> str:
    try:
        safe_relative_path(path)
    except VenomError as error:
        return f"has a name that is not carried: {error.found}"
    return ""
