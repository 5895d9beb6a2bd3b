# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are whole or not there: atomic writes, joins that stay in their folder, locks that die with their process."""
from __future__ import annotations

import errno
import fcntl
import json
import os
import time
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import TEMPORARY_PREFIX, safe_relative_path

#: Seconds between two tries for a lock that somebody else holds.
LOCK_POLL_INTERVAL = 0.1


def fsync_folder(path: str) -> None:
    """Make names that were created, renamed or removed in the folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name() -> str:
    """A fresh name for something unfinished. It says nothing of the final name, which may fill the 255 bytes itself."""
    return f"{TEMPORARY_PREFIX}{os.getpid()}.{os.urandom(6).hex()}"


def write_atomic(path: str, data: bytes, mode: int = 0o644, uid: int | None = None, gid: int | None = None) -> None:
    """Write a file so that a reader, a crash or a power cut sees the old content or the new one, never a part.

    ``mode`` is exact, whatever the umask; the content is never readable under a wider mode or another owner than the final one.
    Raises ``OSError``.
    """
    folder = os.path.dirname(path) or "."
    temporary = os.path.join(folder, temporary_name())
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view):]
            if uid is not None or gid is not None:
                os.fchown(descriptor, -1 if uid is None else uid, -1 if gid is None else gid)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        remove_if_there(temporary)
        raise
    fsync_folder(folder)


def remove_if_there(path: str) -> bool:
    """Remove a file; whether there was one. Raises ``OSError`` for anything but its absence."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def make_folders(path: str, mode: int = 0o755) -> None:
    """Create a folder and its missing parents with an exact mode, whatever the umask. What exists is left as it is."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(os.path.abspath(path))
    if parent != path:
        make_folders(parent, mode)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return
    os.chmod(path, mode)
    fsync_folder(parent)


def safe_join(root: str, *parts: str) -> str:
    """Join names from outside below ``root``. No existing component below ``root`` may be a symlink. Raises ``invalid_name``."""
    relative = safe_relative_path("/".join(parts))
    path = root
    for segment in relative.split("/"):
        path = os.path.join(path, segment)
        if os.path.islink(path):
            raise VenomError(
                "invalid_name",
                wanted=f"a path that stays in {root}",
                found=f"{path} is a symlink",
                todo="remove the symlink; nothing of this collection creates one there",
                path=path,
            )
    return path


def read_json(path: str) -> t.Any:
    """The content of a JSON file. Raises ``OSError``, and ``ValueError`` for anything that is not JSON in UTF-8."""
    with open(path, "rb") as stream:
        return json.loads(stream.read().decode("utf-8"))


def to_json(value: t.Any) -> bytes:
    """JSON as this collection writes it: readable, stable order as given, one line end at the end."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


#: Time in nanoseconds and size of a lock's file. Taking and giving back the lock write to it; it is empty when nobody holds it.
Trace = tuple[int, int]


def trace_of(path: str) -> Trace | None:
    """The trace of a lock's file, None without one. A holder that was killed leaves its words in it."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size


def _tell_holder(descriptor: int, holder: bytes) -> None:
    """Without room it stays untold. The lock holds all the same, and what it is taken for may make room."""
    os.ftruncate(descriptor, 0)
    try:
        os.pwrite(descriptor, holder, 0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # The time tells the next one that somebody was here.
        os.utime(descriptor)


class Lock:
    """One holder at a time across processes, as a context manager on ``flock(2)``: it ends with its process, even by SIGKILL.

    ``timeout`` in seconds, 0 tries once. ``owner`` is what others may know of the holder; it is kept as JSON in the file beside
    pid and time. Raises ``locked`` naming the holder. The file stays behind: removing it would let two processes lock two files.
    ``mode`` is exactly that of a new file, ``ids`` are user and group that root gives it to, where another account takes the lock, too.
    """

    def __init__(
        self,
        path: str,
        timeout: float,
        owner: dict[str, t.Any] | None = None,
        mode: int = 0o644,
        ids: tuple[int | None, int | None] = (None, None),
    ) -> None:
        self.path = path
        self.timeout = timeout
        self.owner = owner or {}
        self._mode = mode
        self._ids = ids
        #: What the file was like when the lock was taken, see ``trace_of``.
        self.found: Trace | None = None
        self._descriptor: int | None = None

    def __enter__(self) -> Lock:
        make_folders(os.path.dirname(self.path))
        deadline = time.monotonic() + self.timeout
        while not self._try():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                self._refuse()
            time.sleep(min(LOCK_POLL_INTERVAL, remaining))
        return self

    def __exit__(self, *exc: object) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def _try(self) -> bool:
        descriptor, is_new = self._open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Somebody may have removed and made the file anew between open and flock; then this lock is on nothing.
            if not os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
                raise FileNotFoundError(errno.ENOENT, "replaced", self.path)
            status = os.fstat(descriptor)
            self.found = None if is_new else (status.st_mtime_ns, status.st_size)
            if is_new:
                os.fchmod(descriptor, self._mode)
            if None not in self._ids and self._ids != (status.st_uid, status.st_gid):
                # Also where a kill came between making the file and giving it away.
                os.fchown(descriptor, *(-1 if number is None else number for number in self._ids))
            holder = dict(self.owner, pid=os.getpid(), since=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()))
            _tell_holder(descriptor, to_json(holder))
        except (BlockingIOError, FileNotFoundError):
            os.close(descriptor)
            return False
        except BaseException:
            # A lock that nobody has must not stay locked for the life of the process.
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def _open(self) -> tuple[int, bool]:
        flags = os.O_RDWR | os.O_NOFOLLOW
        try:
            return os.open(self.path, flags | os.O_CREAT | os.O_EXCL, self._mode), True
        except FileExistsError:
            return os.open(self.path, flags | os.O_CREAT, self._mode), False

    def was_idle_since(self, trace: Trace | None) -> bool:
        """Whether nobody else has held the lock since ``trace`` was taken, and nobody did then."""
        return self.found == trace and (trace is None or trace[1] == 0)

    def _refuse(self) -> t.NoReturn:
        try:
            holder = read_json(self.path)
        except (OSError, ValueError):
            holder = {}
        holder = holder if isinstance(holder, dict) else {}
        shown = ", ".join(f"{key} {value}" for key, value in holder.items()) or "unknown"
        raise VenomError(
            "locked",
            wanted=f"to be the only one at {os.path.basename(self.path)} within {self.timeout:g} s",
            found=f"another process holds it ({shown})",
            todo="wait for it, or raise lock_timeout",
            path=self.path,
            holder=holder,
        )
