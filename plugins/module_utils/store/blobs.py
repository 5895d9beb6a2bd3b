# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Content-addressed blobs: a file is named by its SHA-256, complete and verified, or it is not there."""
from __future__ import annotations

import hashlib
import os
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import fsync_folder, make_folders, remove_if_there, temporary_name
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.store import partials

#: Bytes read at once while hashing. Python's hashlib lets other threads run above 2 KiB.
CHUNK_SIZE = 1024 * 1024
BLOB_MODE = 0o444
#: Seconds that an unfinished file waits for a run that wants it.
KEEP_PARTIALS = 7 * 86400.0


def hash_file(path: str, size: int) -> tuple[str, str]:
    """SHA-256 and git blob SHA-1 of a file that should have ``size`` bytes. Raises ``OSError``."""
    sha256 = hashlib.sha256()
    git_sha1 = hashlib.sha1(f"blob {size}\0".encode("ascii"), usedforsecurity=False)
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(CHUNK_SIZE), b""):
            sha256.update(chunk)
            git_sha1.update(chunk)
    return sha256.hexdigest(), git_sha1.hexdigest()


@dataclass(frozen=True)
class UnusedBlob:
    """A blob that only the store itself still links to; ``size`` in bytes, ``left_at`` when it was written, in seconds since the epoch."""

    digest: Digest
    path: str
    size: int
    left_at: float


class Blobs:
    """The blobs below one models folder."""

    def __init__(self, models_dir: str) -> None:
        self.root = os.path.join(models_dir, "blobs", "sha256")
        self.partial_root = os.path.join(models_dir, "partial")

    def path(self, digest: Digest) -> str:
        """Where the blob lies, there or not. Only SHA-256 names a blob. Raises ``invalid_name``."""
        if digest.algorithm != "sha256":
            raise VenomError("invalid_name", wanted="a SHA-256 digest", found=str(digest), todo="name blobs by their SHA-256")
        return os.path.join(self.root, digest.hex[:2], digest.hex)

    def has(self, digest: Digest, size: int) -> bool:
        """Whether a blob of this digest and size is there; nothing is hashed."""
        try:
            return os.lstat(self.path(digest)).st_size == size
        except FileNotFoundError:
            return False

    def verify(self, digest: Digest, size: int) -> bool:
        """Whether the blob is there and its bytes, hashed now, are what its name says."""
        return self.has(digest, size) and hash_file(self.path(digest), size)[0] == digest.hex

    def new_partial(self) -> str:
        """Path for bytes on their way; the folder is on the same file system as the blobs."""
        make_folders(self.partial_root)
        return os.path.join(self.partial_root, temporary_name())

    def put(self, partial: str, digest: Digest) -> str:
        """Take over a complete file whose bytes the caller has verified and flushed to disk. Returns the blob's path."""
        path = self.path(digest)
        make_folders(os.path.dirname(path))
        os.chmod(partial, BLOB_MODE)
        os.replace(partial, path)
        fsync_folder(os.path.dirname(path))
        return path

    def discard(self, digest: Digest) -> None:
        """Remove a blob whose bytes turned out to be bad."""
        remove_if_there(self.path(digest))

    def walk(self) -> t.Iterator[tuple[Digest, os.DirEntry[str]]]:
        """Every blob with its directory entry; anything else in the folders is skipped."""
        for shard in _entries(self.root):
            if len(shard.name) == 2 and shard.is_dir(follow_symlinks=False):
                for item in _entries(shard.path):
                    try:
                        digest = Digest.parse(f"sha256:{item.name}")
                    except VenomError:
                        continue
                    yield digest, item

    def unused(self, keep: t.Collection[Digest] = ()) -> t.Iterator[UnusedBlob]:
        """Blobs that no snapshot links to and that are not to be kept."""
        for digest, item in self.walk():
            status = item.stat(follow_symlinks=False)
            if status.st_nlink == 1 and digest not in keep:
                yield UnusedBlob(digest, item.path, status.st_size, status.st_mtime)

    def collect(self, keep: t.Collection[Digest] = (), only: t.Collection[Digest] | None = None, older_than: float = 0.0) -> int:
        """Remove unused blobs, with ``only`` no others than those, that are older than so many seconds, and folders that become empty.

        Returns the bytes that were freed.
        """
        freed = 0
        now = time.time()
        for item in list(self.unused(keep)):
            if (only is None or item.digest in only) and now - item.left_at >= older_than:
                os.unlink(item.path)
                freed += item.size
        for shard in list(_entries(self.root)):
            remove_if_empty(shard.path)
        remove_if_empty(self.root)
        remove_if_empty(os.path.dirname(self.root))
        return freed

    def clean_partials(self, keep: t.Collection[str] = (), older_than: float = KEEP_PARTIALS) -> None:
        """Remove what nobody will go on with, see ``partials.clean``. Only the holder of the models lock may do that."""
        partials.clean(self.partial_root, keep, older_than)


def _entries(path: str) -> t.Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            yield from entries
    except FileNotFoundError:
        return


def remove_if_empty(path: str) -> None:
    """Remove a folder when nothing is in it; anything else is left."""
    try:
        os.rmdir(path)
    except OSError:
        return
