# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model is, as manifests, config blobs and GGUF headers say."""
from __future__ import annotations

import datetime
import json
import os
import threading
import typing as t

from lab.ollama import gguf
from lab.ollama.errors import GoError, path_error
from lab.ollama.names import Name
from lab.ollama.store import Layer, Manifest, Store

#: What a listing takes from a GGUF: lengths, capabilities.
Known = tuple[dict[str, int], list[str]]
_headers: dict[tuple[str, int, int], gguf.Header] = {}
_lock = threading.Lock()


def header(path: str) -> gguf.Header:
    """The GGUF header of a blob, read once for each content."""
    try:
        found = os.stat(path)
        if not os.access(path, os.R_OK):
            raise PermissionError(13, "Permission denied", path)
    except OSError as exc:
        raise path_error("open", path, exc) from None
    key = (path, found.st_mtime_ns, found.st_size)
    with _lock:
        if key not in _headers:
            _headers[key] = gguf.read(path)
        return _headers[key]


def stamp(nanoseconds: int) -> str:
    """A time as Go writes it into JSON, in UTC."""
    whole, part = divmod(nanoseconds, 10**9)
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=whole)
    digits = f"{part:09d}".rstrip("0")
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{digits}" if digits else "") + "Z"


class Model:
    """A model of the store, as it is on disk now."""

    def __init__(self, store: Store, name: Name, manifest: Manifest) -> None:
        self.store, self.name, self.manifest = store, name, manifest
        self.layer = manifest.find("model")

    @property
    def path(self) -> str:
        """The GGUF; GoError for a model without one."""
        if self.layer is None:
            raise GoError("no model layer", missing=True)
        return self.store.blob(self.layer.digest)

    @property
    def config(self) -> dict[str, t.Any]:
        """The config blob; GoError if it cannot be read."""
        return self._json(self.manifest.config)

    @property
    def parameters(self) -> dict[str, t.Any]:
        """The params layer."""
        return self._json(self.manifest.find("params"))

    def _json(self, layer: Layer | None) -> dict[str, t.Any]:
        if layer is None:
            return {}
        try:
            data = json.loads(self.read(layer))
        except ValueError:
            raise GoError("unexpected EOF") from None
        return data if isinstance(data, dict) else {}

    def read(self, layer: Layer) -> str:
        """The text of a layer."""
        path = self.store.blob(layer.digest)
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError as exc:
            raise path_error("open", path, exc) from None

    def text(self, kind: str) -> str:
        """The texts of all layers of a kind."""
        return "\n".join(self.read(layer) for layer in self.manifest.layers if layer.kind == kind)

    def details(self) -> dict[str, t.Any]:
        """The details that every answer has."""
        config = self.config
        return {
            "parent_model": next((layer.parent for layer in self.manifest.layers if layer.parent), ""),
            "format": config.get("model_format", ""),
            "family": config.get("model_family", ""),
            "families": config.get("model_families"),
            "parameter_size": config.get("model_type", ""),
            "quantization_level": config.get("file_type", ""),
        }

    def lengths(self) -> dict[str, int]:
        """context_length and embedding_length, as far as the GGUF can be read."""
        try:
            found = header(self.path)
        except GoError:
            return {}
        pairs = {key: found.of_architecture(key) for key in ("context_length", "embedding_length")}
        return {key: int(value) for key, value in pairs.items() if value}

    def capabilities(self) -> list[str]:
        """Nothing for a GGUF that cannot be opened; a cut one is not noticed here."""
        try:
            with open(self.path, "rb") as file:
                if file.read(4) != gguf.MAGIC:
                    return []
        except (OSError, GoError):
            return []
        try:
            return ["embedding"] if header(self.path).of_architecture("pooling_type") is not None else ["completion"]
        except GoError:
            return ["completion"]

    def read_header(self) -> Known:
        """What /api/tags says from the GGUF."""
        return self.lengths(), self.capabilities()

    def listed(self, known: Known) -> dict[str, t.Any]:
        """The entry of /api/tags; GoError if it is to be left out."""
        lengths, capabilities = known
        entry = {
            "name": self.name.shortest,
            "model": self.name.shortest,
            "modified_at": stamp(self.store.modified_ns(self.name)),
            "size": self.manifest.size,
            "digest": self.manifest.digest,
            "details": {**self.details(), **lengths},
        }
        if capabilities:
            entry["capabilities"] = capabilities
        return entry

    def check_whole(self) -> gguf.Header:
        """What loading finds out: GoError for a GGUF that is cut, in its header or behind it."""
        found = header(self.path)
        if os.stat(self.path).st_size < found.end:
            raise GoError("unexpected EOF")
        return found


def find(store: Store, name: Name) -> Model:
    """The model of a name, in whatever spelling; GoError, ``missing`` if there is none."""
    existing = store.existing(name)
    return Model(store, existing, store.read(existing))


def tags(store: Store) -> list[Model]:
    """All models whose manifest and config can be read, newest first, by the second."""
    found = []
    for name, manifest in store.readable():
        model = Model(store, name, manifest)
        try:
            model.details()
            found.append((store.modified_ns(name) // 10**9, model))
        except (GoError, OSError):
            continue
    return [model for dummy, model in sorted(found, key=lambda pair: -pair[0])]
