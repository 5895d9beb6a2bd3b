# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things lie in the models folder of an Ollama server (OLLAMA_MODELS), and whether this process may write there."""
from __future__ import annotations

import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import safe_join
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef
from ansible_collections.venom.llm.plugins.module_utils.store.hashing import sha256_of
from ansible_collections.venom.llm.plugins.module_utils.store.ollama_files import Ownership, find_ownership, make_owned_folder, nearest_folder

#: Our own folder below the root; the server never looks at it.
OWN_FOLDER = ".venom"


class OllamaLayout:
    """Paths below one OLLAMA_MODELS folder, each checked: no symlink below the root is passed. Every method may raise ``OSError``."""

    def __init__(self, root: str, owner: str | None = None) -> None:
        self.root = os.path.abspath(root)
        self._account = owner

    @property
    def lock_path(self) -> str:
        """The lock that a writer of this store holds, whatever models folder its records are in. Take it after ``prepare_lock``."""
        return os.path.join(self.root, OWN_FOLDER, "models.lock")

    @property
    def partial_root(self) -> str:
        """Folder of unfinished files, on the file system of the blobs. Raises ``invalid_name`` where a symlink leads elsewhere."""
        return self.inside(OWN_FOLDER, "partial")

    @property
    def staged_root(self) -> str:
        """Folder of verified blobs whose model is not published yet. Raises ``invalid_name``."""
        return self.inside(OWN_FOLDER, "staged")

    @property
    def manifests_root(self) -> str:
        """Folder of all manifests."""
        return os.path.join(self.root, "manifests")

    def inside(self, *parts: str) -> str:
        """A path below the root. Raises ``invalid_name`` for one that is hostile or leads through a symlink."""
        return safe_join(self.root, *parts)

    def ownership(self) -> Ownership:
        """Whose files here are, and their modes. Raises ``invalid_option`` for an account that does not exist."""
        return find_ownership(self.root, self._account)

    def exists(self) -> bool:
        """Whether there is a folder."""
        return os.path.isdir(self.root)

    def is_writable(self) -> bool:
        """Whether this process can publish here: it is root or the owner, and folders are real ones on one file system."""
        if not self.ownership().is_mine:
            return False
        nearest = nearest_folder(self.root)
        if not os.path.isdir(nearest) or not os.access(nearest, os.W_OK | os.X_OK):
            return False
        device = os.stat(nearest).st_dev
        own = (f"{OWN_FOLDER}/{name}" for name in ("partial", "staged"))
        for name in ("blobs", "manifests", OWN_FOLDER, *own):
            path = os.path.join(self.root, name)
            if not os.path.lexists(path):
                continue
            status = os.lstat(path)
            if os.path.islink(path) or not os.path.isdir(path) or status.st_dev != device or not os.access(path, os.W_OK | os.X_OK):
                return False
        return True

    def prepare_lock(self) -> Ownership:
        """Make the folder of the lock, which like the file belongs to the owner of the store. Raises ``invalid_name``."""
        ownership = self.ownership()
        make_owned_folder(self.root, ownership)
        make_owned_folder(self.inside(OWN_FOLDER), ownership)
        return ownership

    def prepare(self) -> None:
        """Make the folders that publishing needs, with the owner and modes of the store."""
        ownership = self.prepare_lock()
        own = self.inside(OWN_FOLDER)
        for path in (self.partial_root, self.staged_root, self.inside("blobs"), self.inside("manifests")):
            make_owned_folder(path, ownership, own)

    def published_path(self, digest: Digest) -> str:
        """Where the server reads the blob, there or not. Raises ``invalid_name``."""
        return self.inside("blobs", blob_name(digest))

    def staged_path(self, digest: Digest) -> str:
        """Where a verified blob waits for its model to be published, there or not. Raises ``invalid_name``."""
        return self.inside(OWN_FOLDER, "staged", blob_name(digest))

    def path(self, digest: Digest) -> str:
        """Where the blob lies: where the server reads it, or staged, there or not. Raises ``invalid_name``."""
        blob, staged = self.published_path(digest), self.staged_path(digest)
        return staged if os.path.lexists(staged) and not os.path.lexists(blob) else blob

    def is_published(self, digest: Digest, size: int) -> bool:
        """Whether the server finds a blob of this digest and size; nothing is hashed."""
        return size_of(self.published_path(digest)) == size

    def fresh_path(self, digest: Digest) -> str:
        """Where the bytes lie that publishing would take: the staged ones, which are verified, before those that are there."""
        staged = self.staged_path(digest)
        return staged if os.path.lexists(staged) else self.published_path(digest)

    def has(self, digest: Digest, size: int) -> bool:
        """Whether a blob of this digest and size is there; nothing is hashed."""
        return any(size_of(path) == size for path in (self.published_path(digest), self.staged_path(digest)))

    def verify(self, digest: Digest, size: int) -> bool:
        """Whether the blob is there and its bytes, hashed now, are what its name says."""
        paths = (self.published_path(digest), self.staged_path(digest))
        return any(size_of(path) == size and sha256_of(path) == digest.hex for path in paths)

    def manifest_path(self, ref: ModelRef) -> str:
        """Path of a model's manifest from the root. As for the server, a spelling in another case that exists is the model.

        Raises ``invalid_name``.
        """
        wanted = [ref.host, *ref.repository.split("/"), str(ref.tag)]
        found = self._find_spelling("manifests", wanted)
        if found is None:
            found = "manifests"
            for name in wanted:
                found = f"{found}/{next(iter(self._spellings(found, name)), name)}"
        self.inside(found)
        return found

    def _find_spelling(self, folder: str, wanted: t.Sequence[str]) -> str | None:
        if not wanted:
            return folder
        for name in self._spellings(folder, wanted[0]):
            found = self._find_spelling(f"{folder}/{name}", wanted[1:])
            if found is not None:
                return found
        return None

    def _spellings(self, folder: str, wanted: str) -> list[str]:
        try:
            names = os.listdir(os.path.join(self.root, folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted((name for name in names if name.lower() == wanted.lower()), key=lambda name: (name != wanted, name))


def blob_name(digest: Digest) -> str:
    """The server's name for a blob. Raises ``invalid_name`` for anything but a SHA-256 that is one."""
    if digest.algorithm != "sha256":
        raise VenomError("invalid_name", wanted="a SHA-256 digest", found=str(digest), todo="name blobs by their SHA-256")
    return f"sha256-{Digest.parse(str(digest)).hex}"


def size_of(path: str) -> int | None:
    """Bytes of a file, None without one. Raises ``OSError``."""
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return None
