# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unfinished files: bytes in place, and beside them a journal of what surely reached the disk.

A file on its way is ``<algorithm>-<hex>-<size>``, so any later run that wants this content goes on with it, whatever source it uses. Its
journal is text: each line begins with the CRC-32 of the rest. A line is appended after the bytes that it speaks of were synced, so it never
says too much; a torn last line, or anything else that is no such line, ends the reading. Bytes that no line speaks of are fetched again.
"""
from __future__ import annotations

import errno
import fcntl
import os
import re
import threading
import time
import typing as t
import zlib

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import fsync_folder, make_folders, remove_if_there, write_atomic
from ansible_collections.venom.llm.plugins.module_utils.store.extents import Extents, Range

#: Below this size in bytes a file is fetched again as a whole: two syncs for its journal cost more.
MIN_JOURNALED_SIZE = 2 * 1024 * 1024
#: A journal holds a line for each sync, so megabytes stand for a terabyte; more is not read.
_MAX_JOURNAL_BYTES = 64 * 1024 * 1024
_JOURNAL = ".journal"
_ANNOUNCED = re.compile(r"\A(?:sha256:[0-9a-f]{64}|git-sha1:[0-9a-f]{40})\Z")
_NAME = re.compile(r"\A(sha256|git-sha1)-([0-9a-f]{40,64})-([0-9]{1,20})\Z")
_HAVE = re.compile(r"\Ahave ([0-9]{1,20}) ([0-9]{1,20})\Z")


def name_of(announced: str, size: int) -> str:
    """The file name of an unfinished content, from the digest as a source announces it. Raises ``invalid_name``."""
    if not _ANNOUNCED.match(announced) or size < 0:
        raise VenomError(
            "invalid_name", wanted="a digest and a size", found=ascii(announced), todo="do not use this source; its file list is malformed"
        )
    return f"{announced.replace(':', '-')}-{size}"


def kept_bytes(root: str, announced: str, size: int) -> int:
    """Bytes of a content that an earlier run left and that need not be fetched. Reads the journal, not the bytes."""
    path = os.path.join(root, name_of(announced, size))
    return _read_journal(path, size).total


class Partial:
    """One unfinished file, held by this process alone until ``close``. Writing is safe for threads; so are the rest against each other.

    ``kept`` is what earlier runs left. Raises ``locked`` when another process holds it, and ``OSError`` as any method may.
    """

    def __init__(self, root: str, announced: str, size: int) -> None:
        name = name_of(announced, size)
        self.path = os.path.join(root, name)
        self.size = size
        self.is_journaled = size >= MIN_JOURNALED_SIZE
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._journal: int | None = None
        self._is_abandoned = False
        make_folders(root)
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if not _lock(self.descriptor):
                raise VenomError(
                    "locked",
                    wanted=f"to fetch {announced}",
                    found="another process is fetching it",
                    todo="wait for it",
                    path=self.path,
                )
            self.kept = _read_journal(self.path, size) if self.is_journaled else Extents()
            if self.kept:
                # One line each, and no torn one to append to.
                write_atomic(self.path + _JOURNAL, self._head() + b"".join(_have(piece) for piece in self.kept), 0o600)
            else:
                remove_if_there(self.path + _JOURNAL)
                os.ftruncate(self.descriptor, 0)
        except BaseException:
            os.close(self.descriptor)
            raise

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Put bytes in place. They count after ``commit`` only."""
        view = memoryview(data)
        # The kernel lets one writer into a file at a time, and the others burn a core each while they wait for it.
        with self._writing:
            while view:
                written = os.pwrite(self.descriptor, view, offset)
                view, offset = view[written:], offset + written

    def read_into(self, view: memoryview, offset: int) -> int:
        """Read bytes that were written. Returns how many came; none is an error here, since the caller knows that they are there."""
        length = os.preadv(self.descriptor, [view], offset)
        if not length:
            raise OSError(errno.EIO, "an unfinished file became shorter", self.path)
        return length

    def commit(self, ranges: t.Iterable[Range]) -> None:
        """Sync the bytes, then note these ranges, then sync the note. After this a power cut loses none of them."""
        with self._guard:
            if not self.is_journaled or self.descriptor < 0:
                return
            os.fdatasync(self.descriptor)
            if self._journal is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
                self._journal = os.open(self.path + _JOURNAL, flags, 0o600)
                if not self.kept:
                    self._append(self._head())
                    fsync_folder(os.path.dirname(self.path))
            self._append(b"".join(_have(piece) for piece in Extents(ranges)))
            os.fdatasync(self._journal)

    def restart(self) -> None:
        """Forget every byte: they were wrong."""
        with self._guard:
            self._close_journal()
            self.kept = Extents()
            if remove_if_there(self.path + _JOURNAL):
                fsync_folder(os.path.dirname(self.path))
            os.ftruncate(self.descriptor, 0)

    def seal(self) -> None:
        """Bring the complete file to the disk."""
        with self._guard:
            os.fsync(self.descriptor)

    def close(self, is_finished: bool = False) -> None:
        """Let go of it. ``is_finished`` removes what is left under its name, where a store took the file over or its bytes are wrong."""
        with self._guard:
            if self.descriptor < 0:
                return
            is_resumable = bool(self.kept) or self._journal is not None
            self._close_journal()
            if not self._is_abandoned and (is_finished or not is_resumable):
                remove_if_there(self.path + _JOURNAL)
                remove_if_there(self.path)
            os.close(self.descriptor)
            self.descriptor = -1

    def abandon(self) -> None:
        """Let others have it, while a thread that is left behind keeps the descriptor; ``close`` then touches nothing else."""
        with self._guard:
            self._is_abandoned = True
            self._close_journal()
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def _head(self) -> bytes:
        return _line(f"venom-partial 1 {os.path.basename(self.path)}")

    def _append(self, data: bytes) -> None:
        if self._journal is None:
            return
        length = os.fstat(self._journal).st_size
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._journal, view):]
        except OSError:
            # A full disk takes half a line; what comes after it would not be read.
            os.ftruncate(self._journal, length)
            raise

    def _close_journal(self) -> None:
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None


def clean(root: str, keep: t.Collection[str], older_than: float, clock: t.Callable[[], float] = time.time) -> None:
    """Remove what nobody will go on with: contents whose announced digest is not in ``keep`` and that are older than so many seconds.

    What could not be gone on with anyhow goes at once: files without journal, journals without file, other names. A file that a process
    holds stays. Raises ``OSError``.
    """
    names = set(_names(root))
    for name in sorted(names):
        match = _NAME.match(name[: -len(_JOURNAL)] if name.endswith(_JOURNAL) else name)
        path = os.path.join(root, name)
        if match is None or (name.endswith(_JOURNAL) and name[: -len(_JOURNAL)] not in names):
            remove_if_there(path)
        elif not name.endswith(_JOURNAL):
            is_resumable = name + _JOURNAL in names
            is_wanted = f"{match.group(1)}:{match.group(2)}" in keep or clock() - os.lstat(path).st_mtime < older_than
            if not (is_resumable and is_wanted):
                remove_unless_held(path)
    try:
        os.rmdir(root)
    except OSError:
        return


def leftovers(root: str, keep: t.Collection[str] = ()) -> t.Iterator[tuple[str, int, float]]:
    """Path, bytes on the disk with those of the journal, and time of unfinished files, those of the digests in ``keep`` left out.

    The time of what nobody could go on with is 0. Raises ``OSError``.
    """
    names = set(_names(root))
    for name in sorted(names):
        match = _NAME.match(name)
        if name.endswith(_JOURNAL) and name[: -len(_JOURNAL)] in names:
            continue
        if match is not None and f"{match.group(1)}:{match.group(2)}" in keep:
            continue
        path = os.path.join(root, name)
        is_resumable = match is not None and name + _JOURNAL in names
        try:
            status = os.lstat(path)
            journal = os.lstat(path + _JOURNAL).st_blocks if is_resumable else 0
        except FileNotFoundError:
            continue
        yield path, (status.st_blocks + journal) * 512, status.st_mtime if is_resumable else 0.0


def remove_unless_held(path: str) -> None:
    """Remove an unfinished file with its journal, unless a process holds it. Raises ``OSError`` for anything but its absence."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if _lock(descriptor):
            remove_if_there(path + _JOURNAL)
            os.unlink(path)
    finally:
        os.close(descriptor)


def _names(root: str) -> list[str]:
    try:
        return os.listdir(root)
    except FileNotFoundError:
        return []


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _line(text: str) -> bytes:
    data = text.encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(data), data)


def _have(piece: Range) -> bytes:
    return _line(f"have {piece[0]} {piece[1]}")


def _read_journal(path: str, size: int) -> Extents:
    """Ranges that a journal vouches for, as far as its file reaches. Lines of other words, as earlier releases wrote them, say nothing of bytes."""
    extents = Extents()
    try:
        length = os.lstat(path).st_size
        with open(path + _JOURNAL, "rb") as stream:
            data = stream.read(_MAX_JOURNAL_BYTES)
    except FileNotFoundError:
        return extents
    lines = _checked_lines(data)
    if next(lines, None) != f"venom-partial 1 {os.path.basename(path)}":
        return extents
    for text in lines:
        match = _HAVE.match(text)
        if match is not None:
            start, end = int(match.group(1)), int(match.group(2))
            if start < end <= size:
                extents.add(start, min(end, length))
    return extents


def _checked_lines(data: bytes) -> t.Iterator[str]:
    for line in data.split(b"\n")[:-1]:
        checksum, dummy, text = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(text):
            return
        yield text.decode("ascii")
