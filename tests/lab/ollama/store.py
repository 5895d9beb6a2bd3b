# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OLLAMA_MODELS on disk: manifests, blobs, and what the start removes from it."""
from __future__ import annotations

import hashlib
import os
import re
import stat
import time
import typing as t
from dataclasses import dataclass

from lab.ollama import gojson
from lab.ollama.errors import GoError, path_error
from lab.ollama.names import Name

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.ollama.image."
DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}", re.ASCII)
#: Younger files without a manifest are left alone by the start.
GRACE = 3600.0
CHUNK = 1 << 20


@dataclass(frozen=True)
class Layer:
    """An entry of a manifest."""

    media_type: str
    digest: str
    size: int
    parent: str = ""

    @property
    def kind(self) -> str:
        """model, template, system, license, params."""
        return self.media_type.rpartition(".")[2]


@dataclass(frozen=True)
class Manifest:
    """A manifest as its bytes say."""

    content: bytes
    layers: tuple[Layer, ...]
    config: Layer | None
    modified: float = 0.0

    @property
    def digest(self) -> str:
        """sha256 of the bytes, hex only: what /api/tags calls digest."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def all(self) -> tuple[Layer, ...]:
        """Layers in their order, the config last."""
        return (*self.layers, self.config) if self.config is not None else self.layers

    @property
    def size(self) -> int:
        """Sum of the sizes it names, whatever lies on the disk."""
        return sum(layer.size for layer in self.all)

    def find(self, kind: str) -> Layer | None:
        """The first layer of a kind."""
        return next((layer for layer in self.layers if layer.kind == kind), None)


def parse_manifest(content: bytes, modified: float = 0.0) -> Manifest:
    """GoError in the words of Go's decoder for what is no JSON; anything else passes."""
    data = gojson.loads(content.decode("utf-8", "replace"))
    if not isinstance(data, dict):
        raise GoError(f"json: cannot unmarshal {gojson.kind(data)} into Go value of type manifest.Manifest")
    layers = tuple(_layer(item) for item in data.get("layers") or [] if isinstance(item, dict))
    config = _layer(data.get("config") or {})
    return Manifest(content, layers, config if config.digest else None, modified)


def _layer(item: t.Mapping[str, t.Any]) -> Layer:
    size = item.get("size", 0)
    return Layer(str(item.get("mediaType", "")), str(item.get("digest", "")), size if isinstance(size, int) else 0, str(item.get("from", "")))


class Store:
    """The folder; nothing is remembered, so what other programs write shows at once."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.blobs = os.path.join(root, "blobs")
        self.manifests = os.path.join(root, "manifests")

    def blob(self, digest: str) -> str:
        """The path of a blob; GoError for what is no digest."""
        if not DIGEST.fullmatch(digest):
            raise GoError("invalid digest format")
        return os.path.join(self.blobs, digest.replace(":", "-"))

    def manifest_path(self, name: Name) -> str:
        """Where the manifest of a name lies."""
        return os.path.join(self.manifests, *name.parts)

    def names(self) -> list[Name]:
        """Names of the files four levels below manifests/, those with bad names left out."""
        found = [Name(*parts) for parts in self._four_levels()]
        return [name for name in found if name.is_valid]

    def bad_names(self) -> list[str]:
        """Files four levels below manifests/ that cannot be models."""
        return ["/".join(parts) for parts in self._four_levels() if not Name(*parts).is_valid]

    def _four_levels(self) -> t.Iterator[tuple[str, str, str, str]]:
        for host in _list(self.manifests):
            for namespace in _list(os.path.join(self.manifests, host)):
                for model in _list(os.path.join(self.manifests, host, namespace)):
                    folder = os.path.join(self.manifests, host, namespace, model)
                    for tag in _list(folder):
                        if os.path.isfile(os.path.join(folder, tag)):
                            yield host, namespace, model, tag

    def existing(self, name: Name) -> Name:
        """The name as it is spelled on disk."""
        return name.like(self.names())

    def read(self, name: Name) -> Manifest:
        """The manifest of a name; GoError, ``missing`` if it is not there."""
        path = self.manifest_path(name)
        try:
            with open(path, "rb") as file:
                content = file.read()
                modified = os.fstat(file.fileno()).st_mtime_ns
        except OSError as exc:
            raise path_error("open", path, exc) from None
        return parse_manifest(content, modified / 1e9)

    def readable(self) -> list[tuple[Name, Manifest]]:
        """Every model whose manifest can be read."""
        found = []
        for name in self.names():
            try:
                found.append((name, self.read(name)))
            except GoError:
                continue
        return found

    def modified_ns(self, name: Name) -> int:
        """Time of the manifest file."""
        return os.stat(self.manifest_path(name)).st_mtime_ns

    def write(self, name: Name, content: bytes) -> None:
        """Write in place, as the real server does: a crash can leave half of it."""
        path = self.manifest_path(name)
        try:
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        except OSError as exc:
            raise path_error("mkdir", exc.filename or os.path.dirname(path), exc) from None
        write_file(path, content)

    def put_blob(self, data: bytes) -> tuple[str, bool]:
        """Keep bytes under their digest; says whether they are new."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        path = self.blob(digest)
        if os.path.exists(path):
            return digest, False
        write_file(path, data)
        return digest, True

    def remove(self, name: Name) -> None:
        """The manifest, the folders it leaves empty, then the blobs that no readable manifest names."""
        manifest = self.read(name)
        path = self.manifest_path(name)
        try:
            os.remove(path)
        except OSError as exc:
            raise path_error("remove", path, exc) from None
        self.prune_folders()
        self.remove_unused({layer.digest for layer in manifest.all})

    def remove_unused(self, digests: t.Collection[str]) -> None:
        """Remove those blobs that no readable manifest names."""
        unused = set(digests) - {layer.digest for dummy, manifest in self.readable() for layer in manifest.all}
        for digest in sorted(unused):
            path = self.blob(digest)
            try:
                os.remove(path)
            except FileNotFoundError:
                continue
            except OSError as exc:
                raise path_error("remove", path, exc) from None

    def prune_folders(self) -> None:
        """Remove empty folders below manifests/."""
        for folder, dummy, dummy_files in os.walk(self.manifests, topdown=False):
            if folder != self.manifests:
                try:
                    os.rmdir(folder)
                except OSError:
                    continue

    def fix_blobs(self) -> None:
        """Rename blobs of old releases, which have a colon in their name."""
        for name in _list(self.blobs):
            if name.startswith("sha256:"):
                os.rename(os.path.join(self.blobs, name), os.path.join(self.blobs, name.replace(":", "-", 1)))

    def corrupt(self) -> str | None:
        """Why nothing may be pruned: the first manifest that is broken, or a file that is no manifest."""
        for bad in self.bad_names():
            return f"invalid name: {bad}"
        for name in self.names():
            try:
                self.read(name)
            except GoError as exc:
                return f"{name.full} {exc.text}"
        return None

    def prune(self, now: float | None = None) -> tuple[int, int]:
        """What the start removes; counts of blobs and of files removed."""
        now = time.time() if now is None else now
        used = {layer.digest.replace(":", "-") for dummy, manifest in self.readable() for layer in manifest.all}
        total = removed = 0
        for name in _list(self.blobs):
            path = os.path.join(self.blobs, name)
            found = os.lstat(path)
            if stat.S_ISDIR(found.st_mode):
                continue
            total += 1
            if name not in used and now - found.st_mtime > GRACE:
                os.remove(path)
                removed += 1
        self.prune_folders()
        return total, removed


def write_file(path: str, content: bytes) -> None:
    """Create or overwrite with 0644 less the umask."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    except OSError as exc:
        raise path_error("open", path, exc) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
    except OSError as exc:
        raise path_error("write", path, exc) from None


def hash_file(path: str) -> str:
    """sha256 of a file, with its prefix."""
    found = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(CHUNK), b""):
                found.update(block)
    except OSError as exc:
        raise path_error("open", path, exc) from None
    return "sha256:" + found.hexdigest()


def _list(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
