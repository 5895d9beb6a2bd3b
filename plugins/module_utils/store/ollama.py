# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The models folder of an Ollama server (OLLAMA_MODELS), written beside a running or stopped server.

What the server does with it (seen with Ollama 0.32.15): it reads manifests and blobs at each request, so a model is there as soon as
its manifest is. At its start it removes blobs that no manifest names, if they are older than an hour (before 0.21 at once), and
everything in blobs/ with another name; a manifest that it cannot read turns that off. Hence: unfinished and staged files lie in a folder
of our own that the server never looks at, blobs come first, the manifest last and by one rename.
"""
from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import fsync_folder, remove_if_there, temporary_name, write_atomic
from ansible_collections.venom.llm.plugins.module_utils.names import TEMPORARY_PREFIX, Digest, ModelRef
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import OllamaManifest
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import remove_if_empty
from ansible_collections.venom.llm.plugins.module_utils.store.ollama_files import (
    Ownership,
    adopt,
    make_owned_folder,
    read_manifest,
    walk_manifests,
)
from ansible_collections.venom.llm.plugins.module_utils.store.ollama_layout import OWN_FOLDER, OllamaLayout, blob_name, size_of
from ansible_collections.venom.llm.plugins.module_utils.store.snapshots import measure_usage

#: A server that starts removes empty folders below manifests/, also one that was made for a manifest a moment ago.
_MANIFEST_TRIES = 5


class OllamaStore(OllamaLayout):
    """One OLLAMA_MODELS folder. ``warnings`` are sentences for the operator that a removal leaves.

    Nothing below ``root`` is reached through a symlink for writing: the folder belongs to the server's account, and this often runs
    as root. One writer at a time; the caller holds the lock. Every method may raise ``OSError``.
    """

    def __init__(self, root: str, owner: str | None = None) -> None:
        super().__init__(root, owner)
        self.warnings: list[str] = []

    # Blobs

    def put(self, partial: str, digest: Digest) -> str:
        """Take over a complete file whose bytes the caller has verified and flushed. The server sees it once it is published.

        Returns the staged path.
        """
        self.prepare()
        staged = self.staged_path(digest)
        adopt(partial, self.ownership(), renew=True)
        os.replace(partial, staged)
        fsync_folder(self.staged_root)
        return staged

    stage = put

    def discard(self, digest: Digest) -> None:
        """Remove a blob whose bytes turned out to be bad."""
        for path in (self.published_path(digest), self.staged_path(digest)):
            remove_if_there(path)

    # Manifests

    def read(self, ref: ModelRef) -> OllamaManifest | None:
        """The manifest under a name, None without one. Raises ``unsupported_source`` for one that is cut or makes no sense."""
        path = os.path.join(self.root, self.manifest_path(ref))
        try:
            content = read_manifest(path)
        except FileNotFoundError:
            return None
        except IsADirectoryError as error:
            raise VenomError(
                "unsupported_source", wanted=f"the manifest of {ref}", found=f"a folder at {path}", todo="remove it", model=str(ref)
            ) from error
        return OllamaManifest.parse(content)

    def walk(self) -> t.Iterator[tuple[str, OllamaManifest | None]]:
        """Every manifest with its path from the root; None for what cannot be read or makes no sense. Symlinks are followed."""
        for relative, manifest in walk_manifests(self.manifests_root):
            yield f"manifests/{relative}", manifest

    def _used(self) -> tuple[set[Digest], list[str]]:
        """Blobs that manifests name, and the manifests that cannot say what they use."""
        used: set[Digest] = set()
        unreadable = []
        for relative, manifest in self.walk():
            if manifest is None:
                unreadable.append(relative)
            else:
                used.update(manifest.blobs)
        return used, unreadable

    def publish(self, ref: ModelRef, manifest: OllamaManifest) -> None:
        """Make the model appear: its blobs, then its manifest, by renames that each leave the store whole.

        Until the last of them the earlier manifest under the same name stands with all its blobs. Staged blobs replace what lies in
        their place, since their bytes were verified; others are used as they are. Raises ``io_error`` when a blob is missing.
        """
        self._require_blobs(ref, manifest)
        self.prepare()
        ownership = self.ownership()
        used = self._used()[0]
        for digest in manifest.blobs:
            self._pin(digest)
        for digest in manifest.blobs:
            self._expose(digest, ownership, digest not in used)
        fsync_folder(self.inside("blobs"))
        self._write_manifest(ref, manifest, ownership)
        # A server older than 0.21 that started just now may have removed blobs that no manifest named yet; they are still staged.
        for digest in manifest.blobs:
            if not os.path.lexists(self.published_path(digest)):
                self._expose(digest, ownership, renew=True)
        self._require_blobs(ref, manifest, only_published=True)
        fsync_folder(self.inside("blobs"))
        for digest in manifest.blobs:
            remove_if_there(self.staged_path(digest))
        self.clean()

    def _require_blobs(self, ref: ModelRef, manifest: OllamaManifest, only_published: bool = False) -> None:
        missing = [
            digest
            for digest, size in manifest.blobs.items()
            if (size_of(self.published_path(digest)) != size if only_published else not self.has(digest, size))
        ]
        if missing:
            raise VenomError(
                "io_error",
                wanted=f"all {len(manifest.blobs)} blobs of {ref} in {self.root}",
                found=f"{len(missing)} missing or of another size, {missing[0]} first",
                todo="run again; it will fetch them" + (", and see what else removes files there" if only_published else ""),
                model=str(ref),
            )

    def _pin(self, digest: Digest) -> None:
        """Keep a blob that is published already under a second name, out of reach of a server that tidies up."""
        staged = self.staged_path(digest)
        if not os.path.lexists(staged):
            try:
                os.link(self.published_path(digest), staged, follow_symlinks=False)
            except OSError:
                # No hard links on this file system, or not to another account's file: only the protection is missing.
                return

    def _expose(self, digest: Digest, ownership: Ownership, renew: bool) -> None:
        """Put a staged blob where the server reads it. It stays staged, too, where hard links work."""
        blob, staged = self.published_path(digest), self.staged_path(digest)
        if not os.path.lexists(staged):
            if os.path.lexists(blob):
                adopt(blob, ownership, renew)
            return
        if _is_same_file(staged, blob):
            adopt(blob, ownership, renew)
            return
        adopt(staged, ownership, renew=True)
        temporary = os.path.join(self.staged_root, temporary_name())
        try:
            os.link(staged, temporary, follow_symlinks=False)
        except OSError:
            temporary = staged
        os.replace(temporary, blob)

    def _write_manifest(self, ref: ModelRef, manifest: OllamaManifest, ownership: Ownership) -> None:
        relative = self.manifest_path(ref)
        path = self.inside(relative)
        try:
            if read_manifest(path) == manifest.content:
                adopt(path, ownership, renew=False)
                return
        except (FileNotFoundError, IsADirectoryError):
            pass
        # Written below our own folder: a file that a kill leaves below manifests/ would turn the server's tidying off.
        own = self.inside(OWN_FOLDER)
        temporary = os.path.join(own, temporary_name())
        uid, gid = ownership.ids
        write_atomic(temporary, manifest.content, ownership.file_mode, uid, gid)
        tries = 0
        while True:
            make_owned_folder(os.path.dirname(path), ownership, own)
            try:
                os.replace(temporary, path)
                break
            except FileNotFoundError:
                tries += 1
                if tries >= _MANIFEST_TRIES:
                    raise
        fsync_folder(os.path.dirname(path))

    def remove(self, ref: ModelRef, keep: t.Collection[Digest] = ()) -> int:
        """Remove a model's manifest, the folders that become empty, and its blobs that no manifest uses. Returns the bytes freed.

        ``keep`` are blobs that a model about to be published counts on.
        While any manifest cannot be read, its blobs are unknown, so no blob is removed and ``warnings`` says so.
        """
        path = self.inside(self.manifest_path(ref))
        try:
            manifest = self.read(ref)
        except VenomError:
            manifest = None
            self.warnings.append(f"The manifest of {ref} made no sense, so its blobs are not known; the server removes them when it starts.")
        if not remove_if_there(path):
            return 0
        fsync_folder(os.path.dirname(path))
        folder = os.path.dirname(path)
        while folder != self.manifests_root:
            remove_if_empty(folder)
            folder = os.path.dirname(folder)
        freed = self.collect(ref, manifest, keep) if manifest is not None else 0
        self.clean()
        return freed

    def collect(self, ref: ModelRef, manifest: OllamaManifest, keep: t.Collection[Digest] = ()) -> int:
        """Remove the blobs of a manifest that was removed or replaced, unless another one names them. Returns the bytes freed."""
        used, unreadable = self._used()
        if unreadable:
            self.warnings.append(f"The blobs of {ref} were kept: {unreadable[0]} in {self.root} cannot be read, so it may use them.")
            return 0
        freed = 0
        for digest in manifest.blobs:
            if digest in used or digest in keep:
                continue
            for path in (self.published_path(digest), self.staged_path(digest)):
                size = size_of(path)
                if size is not None and remove_if_there(path):
                    freed += size
        if os.path.isdir(self.inside("blobs")):
            fsync_folder(self.inside("blobs"))
        return freed

    # The whole

    def usage(self) -> int:
        """Bytes of everything below the root, a file with several names counted once, as is a layer that models share."""
        return measure_usage(self.root)

    def staged(self, keep: t.Collection[Digest] = ()) -> t.Iterator[tuple[str, int, float]]:
        """Path, bytes and time of what runs that never published left staged, those of ``keep`` left out."""
        names = {blob_name(digest) for digest in keep}
        for name in _names(self.staged_root):
            path = os.path.join(self.staged_root, name)
            if name not in names and os.path.isfile(path) and not os.path.islink(path):
                status = os.lstat(path)
                yield path, status.st_size, status.st_mtime

    def clean(self, keep: t.Collection[Digest] | None = None, older_than: float = 0.0) -> None:
        """Remove what killed runs left unfinished, and our own folders that are empty. Partial files are left for the next run.

        Staged blobs are verified, so they are kept as well: all, or with ``keep`` those, and others for ``older_than`` seconds.
        """
        own = self.inside(OWN_FOLDER)
        for folder in (own, self.staged_root):
            for name in _names(folder):
                path = os.path.join(folder, name)
                is_unwanted = folder != own and keep is not None and not any(name == blob_name(digest) for digest in keep)
                is_unwanted = is_unwanted and _age(path) >= older_than
                if name.startswith(TEMPORARY_PREFIX) and os.path.isdir(path) and not os.path.islink(path):
                    remove_if_empty(path)
                elif name.startswith(TEMPORARY_PREFIX) or is_unwanted:
                    remove_if_there(path)
        for folder in (self.staged_root, self.partial_root, own):
            remove_if_empty(folder)


def _is_same_file(path: str, other: str) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.lstat(other))
    except FileNotFoundError:
        return False


def _age(path: str) -> float:
    try:
        return time.time() - os.lstat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
