# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle as a source of models: what another host exported, for hosts that no hub and no registry can be reached from."""
from __future__ import annotations

import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.bundle_index import (
    BundleFile,
    BundleIndex,
    BundleModel,
    blob_path,
    bundle_invalid,
    open_regular,
)
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import Layer
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile, Stream, check_small
from ansible_collections.venom.llm.plugins.module_utils.sources.indexed import IndexedModels

_CHUNK_SIZE = 1024 * 1024


class BundleStream:
    """The bytes of one blob from an offset on."""

    def __init__(self, root: str, path: str, stream: t.BinaryIO, offset: int, length: int) -> None:
        self.offset = offset
        self._root = root
        self._path = path
        self._stream = stream
        self._left = length
        self._is_aborted = False

    def __iter__(self) -> t.Iterator[bytes]:
        while self._left and not self._is_aborted:
            try:
                chunk = self._stream.read(min(_CHUNK_SIZE, self._left))
            except (OSError, ValueError) as error:
                if self._is_aborted:
                    return
                # A bad sector of a stick is damage, and trying again would not cure it.
                raise bundle_invalid(self._root, f"{self._path} cannot be read ({error})", file=self._path) from error
            if not chunk:
                raise bundle_invalid(self._root, f"{self._path} became shorter while it was read", file=self._path)
            self._left -= len(chunk)
            yield chunk

    def abort(self) -> None:
        """End soon; a read of a local file does not wait for long."""
        self._is_aborted = True

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class BundleSource(IndexedModels):
    """The models of one bundle. Its index is checked when the source is made: raises ``bundle_invalid``."""

    def __init__(self, path: str) -> None:
        self.root = os.path.abspath(path)
        super().__init__(BundleIndex.read(self.root), f"the bundle {self.root}", "export the model into the bundle", path=self.root)
        files = [file for model in self.index.models for file in model.files]
        self._by_sha256: dict[str, BundleFile] = {file.sha256: file for file in files}
        self._by_git_sha1: dict[str, BundleFile] = {file.git_sha1: file for file in files if file.git_sha1 is not None}

    def file_for(self, dummy_ref: ModelRef, layer: Layer) -> RemoteFile:
        """A layer as a file to fetch; its path is the one in the server's store."""
        return RemoteFile(f"blobs/sha256-{layer.digest.hex}", layer.size, layer.digest.hex, None, f"bundle:{layer.digest}")

    def locate(self, dummy_model: BundleModel, file: BundleFile) -> str:
        """Where the bytes of a file are, as a URL."""
        return f"bundle:sha256:{file.sha256}"

    def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> Stream:
        """The bytes of a content that the bundle holds, whichever source announced it. Not verified: whoever takes them does that.

        Raises ``not_found`` for a content that the index does not have, ``bundle_invalid`` for a missing, short or unreadable blob.
        """
        held = self._by_sha256.get(file.sha256) if file.sha256 is not None else self._by_git_sha1.get(str(file.git_sha1))
        if held is None:
            raise VenomError(
                "not_found",
                wanted=f"{ascii(file.path)} with {file.announced}",
                found=f"the bundle {self.root} has no such content",
                todo="export the model into the bundle",
                file=file.path,
            )
        path = self._checked_path(held)
        try:
            stream = open_regular(path)
        except OSError as error:
            raise bundle_invalid(self.root, f"{path} is missing or unreadable ({error.strerror})", file=file.path) from error
        size = os.fstat(stream.fileno()).st_size
        if size != held.size or offset > size:
            stream.close()
            raise bundle_invalid(self.root, f"{path} has {size} bytes instead of {held.size}", file=file.path)
        stream.seek(offset)
        return BundleStream(self.root, path, stream, offset, size - offset if length is None else min(length, size - offset))

    def _checked_path(self, file: BundleFile) -> str:
        try:
            return blob_path(self.root, file.sha256)
        except VenomError as error:
            raise bundle_invalid(self.root, error.found) from error

    def read(self, file: RemoteFile, limit: int) -> bytes:
        """A small file in memory, not verified. Raises ``unsupported_source`` above ``limit`` bytes, else as ``open``."""
        check_small(file, limit)
        stream = self.open(file)
        try:
            return b"".join(stream)
        finally:
            stream.close()
