# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files in a folder that another account's server uses at the same time: owner, modes, small reads, folders whole from the start."""
from __future__ import annotations

import errno
import os
import pwd
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import fsync_folder, temporary_name
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import MAX_MANIFEST_SIZE, OllamaManifest

#: Levels below manifests/: host, namespace, model, tag (types/model/name.go of Ollama).
_MANIFEST_DEPTH = 4
#: What is made anew when the store does not exist yet; Ollama itself makes its folders and files with these.
_DEFAULT_FOLDER_MODE = 0o755


@dataclass(frozen=True)
class Ownership:
    """Whose the files of a store are, and their modes."""

    uid: int
    gid: int
    folder_mode: int
    file_mode: int

    @property
    def ids(self) -> tuple[int | None, int | None]:
        """User and group to set, None for both where only root could."""
        return (self.uid, self.gid) if os.geteuid() == 0 else (None, None)

    @property
    def is_mine(self) -> bool:
        """Whether this process can make files that belong to the owner."""
        return os.geteuid() in (0, self.uid)


def nearest_folder(path: str) -> str:
    """The path itself where something is there, else the nearest parent that exists."""
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def find_ownership(root: str, account: str | None) -> Ownership:
    """Owner and modes of a store: of its root folder, or where it is not there yet of ``account``, else of the nearest parent. Raises
    ``invalid_option``."""
    status = os.stat(nearest_folder(root))
    uid, gid = status.st_uid, status.st_gid
    is_there = os.path.isdir(root)
    if account is not None and not is_there:
        try:
            entry = pwd.getpwnam(account)
        except KeyError as error:
            raise VenomError(
                "invalid_option", wanted="the account of the Ollama server", found=f"no account {ascii(account)}", todo="name an existing one"
            ) from error
        uid, gid = entry.pw_uid, entry.pw_gid
    # Set-group-ID on the root is how an operator keeps the group of new files.
    mode = stat.S_IMODE(status.st_mode) & 0o2777 | 0o700 if is_there else _DEFAULT_FOLDER_MODE
    return Ownership(uid, gid, mode, mode & 0o666)


def adopt(path: str, ownership: Ownership, renew: bool) -> None:
    """Give a regular file the store's owner and mode, flushed to disk; with ``renew`` also the time of now.

    A file of another account is left as it is when this process is not root: it can be read, and that is what counts.
    Raises ``OSError``, and ``io_error`` for anything but a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise VenomError("io_error", wanted="a regular file", found=f"{path} is none", todo="remove it", path=path)
        if os.geteuid() in (0, status.st_uid):
            if os.geteuid() == 0 and (status.st_uid, status.st_gid) != (ownership.uid, ownership.gid):
                os.fchown(descriptor, ownership.uid, ownership.gid)
            if stat.S_IMODE(status.st_mode) != ownership.file_mode:
                os.fchmod(descriptor, ownership.file_mode)
            if renew:
                os.utime(descriptor)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_owned_folder(path: str, ownership: Ownership, scratch: str | None = None) -> None:
    """Create a folder and its missing parents. Each appears with its owner and mode or not at all. Raises ``OSError``.

    A folder that a kill left to root would stop the server from deleting or updating the model in it. ``scratch`` is a folder on
    the same file system for the moment before; without it the parent serves.
    """
    if os.path.isdir(path):
        return
    parent = os.path.dirname(os.path.abspath(path))
    make_owned_folder(parent, ownership, scratch)
    temporary = os.path.join(scratch or parent, temporary_name())
    os.mkdir(temporary, 0o700)
    try:
        if os.geteuid() == 0:
            os.chown(temporary, ownership.uid, ownership.gid, follow_symlinks=False)
        os.chmod(temporary, ownership.folder_mode)
        os.rename(temporary, path)
    except OSError as error:
        os.rmdir(temporary)
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return
    fsync_folder(parent)


def read_manifest(path: str) -> bytes:
    """The bytes of a manifest file, one more than the limit where it is too long. Never waits at a pipe. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return stream.read(MAX_MANIFEST_SIZE + 1)


def walk_manifests(folder: str) -> t.Iterator[tuple[str, OllamaManifest | None]]:
    """Every manifest below ``manifests/`` with its path from there, sorted; None for what cannot be read or makes no sense.

    Names that begin with a dot are no models for the server either. Symlinks are followed, as the server does: what it
    reads through one is in use.
    """
    for relative in _walk_level(folder, "", _MANIFEST_DEPTH):
        path = os.path.join(folder, relative)
        try:
            manifest = OllamaManifest.parse(read_manifest(path))
        except FileNotFoundError:
            if os.path.lexists(path):
                yield relative, None
            continue
        except (OSError, VenomError):
            yield relative, None
            continue
        yield relative, manifest


def _walk_level(folder: str, prefix: str, depth: int) -> t.Iterator[str]:
    try:
        names = sorted(os.listdir(os.path.join(folder, prefix)))
    except FileNotFoundError:
        return
    except NotADirectoryError:
        # A file above the level of tags; the server does not look at it.
        return
    except OSError:
        # A folder that this account may not list hides manifests, so it counts as one that cannot be read.
        yield prefix.rstrip("/")
        return
    for name in names:
        if name.startswith("."):
            continue
        if depth > 1:
            yield from _walk_level(folder, f"{prefix}{name}/", depth - 1)
        elif not os.path.isdir(os.path.join(folder, prefix, name)):
            yield f"{prefix}{name}"
