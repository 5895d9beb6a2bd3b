# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots: folders of hard links to blobs, published by one rename."""
from __future__ import annotations

import errno
import os
import shutil
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import fsync_folder, make_folders, safe_join, temporary_name
from ansible_collections.venom.llm.plugins.module_utils.names import TEMPORARY_PREFIX, Digest, check_paths
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs, remove_if_empty

FOLDER_MODE = 0o755


class Snapshots:
    """The snapshot folders below one root, linked from the blobs beside it."""

    def __init__(self, root: str, blobs: Blobs) -> None:
        self.root = root
        self.blobs = blobs

    def path(self, folder: str) -> str:
        """Where the snapshot lies, there or not. Raises ``invalid_name`` when the name is a path or a symlink is there."""
        return safe_join(self.root, folder)

    def publish(self, folder: str, files: t.Mapping[str, Digest]) -> str:
        """Make the snapshot hold exactly these files; every blob must be there. Returns its path.

        A new snapshot appears by one rename. In an existing one each file is replaced by one rename, then files that are not
        listed are removed. Raises ``invalid_name`` for hostile names, ``io_error`` where hard links do not work.
        """
        check_paths(files)
        target = self.path(folder)
        if os.path.isdir(target):
            self._update(target, files)
            return target
        make_folders(self.root)
        building = os.path.join(self.root, temporary_name())
        os.mkdir(building, FOLDER_MODE)
        try:
            os.chmod(building, FOLDER_MODE)
            for relative, digest in files.items():
                path = safe_join(building, relative)
                make_folders(os.path.dirname(path), FOLDER_MODE)
                self._link(digest, path)
            for visit in os.walk(building):
                fsync_folder(visit[0])
            os.rename(building, target)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        fsync_folder(self.root)
        return target

    def _update(self, target: str, files: t.Mapping[str, Digest]) -> None:
        changed: set[str] = set()
        for relative, digest in files.items():
            path = safe_join(target, relative)
            if _is_same_file(path, self.blobs.path(digest)):
                continue
            if os.path.isdir(path):
                shutil.rmtree(path)
            parent = os.path.dirname(path)
            make_folders(parent, FOLDER_MODE)
            temporary = os.path.join(parent, temporary_name())
            self._link(digest, temporary)
            os.replace(temporary, path)
            changed.add(parent)
        for current, folders, names in os.walk(target, topdown=False):
            for name in [*names, *(folder for folder in folders if os.path.islink(os.path.join(current, folder)))]:
                path = os.path.join(current, name)
                if os.path.relpath(path, target) not in files:
                    os.unlink(path)
                    changed.add(current)
            if current != target:
                remove_if_empty(current)
        for folder in changed:
            if os.path.isdir(folder):
                fsync_folder(folder)

    def _link(self, digest: Digest, path: str) -> None:
        try:
            os.link(self.blobs.path(digest), path)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            raise VenomError(
                "io_error",
                wanted=f"a hard link from the blobs to {self.root}",
                found=f"{error.strerror}",
                todo="put models_dir on one file system that has hard links (ext4, xfs, btrfs, zfs)",
                path=path,
            ) from error

    def remove(self, folder: str) -> bool:
        """Remove a snapshot; whether there was one. It disappears by one rename, so nobody sees half of it."""
        target = self.path(folder)
        doomed = os.path.join(self.root, temporary_name())
        try:
            os.rename(target, doomed)
        except FileNotFoundError:
            return False
        fsync_folder(self.root)
        shutil.rmtree(doomed)
        remove_if_empty(self.root)
        return True

    def folders(self) -> list[str]:
        """Names of all published folders, sorted; unfinished ones, files and symlinks are skipped."""
        try:
            with os.scandir(self.root) as entries:
                return sorted(
                    item.name for item in entries if item.is_dir(follow_symlinks=False) and not item.name.startswith(TEMPORARY_PREFIX)
                )
        except FileNotFoundError:
            return []

    def clean(self) -> None:
        """Remove what crashed runs left unfinished. Only the holder of the models lock may do that."""
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return
        for name in names:
            if name.startswith(TEMPORARY_PREFIX):
                shutil.rmtree(os.path.join(self.root, name))


def _is_same_file(path: str, blob: str) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.lstat(blob))
    except FileNotFoundError:
        return False


def measure_usage(models_dir: str) -> int:
    """Bytes below a folder, a file with several hard links counted once, holes not at all."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for visit in os.walk(models_dir):
        for name in visit[2]:
            try:
                status = os.lstat(os.path.join(visit[0], name))
            except FileNotFoundError:
                continue
            identity = (status.st_dev, status.st_ino)
            if identity not in seen:
                seen.add(identity)
                # An unfinished file has holes, so its length says more than what it takes.
                total += min(status.st_size, status.st_blocks * 512)
    return total


def measure_free(path: str) -> int:
    """Bytes that an unprivileged process may still write on the file system of a path, or of its nearest existing parent.

    The service account's share counts, not root's reserved blocks (statvfs(3), f_bavail).
    """
    status = os.statvfs(_nearest(path))
    return status.f_bavail * status.f_frsize


def device_of(path: str) -> int:
    """What tells the file system of a path, or of its nearest existing parent, from others."""
    return os.stat(_nearest(path)).st_dev


def _nearest(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path) or "/"
    return path
