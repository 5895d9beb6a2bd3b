# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of an Ollama model: a registry gives it, the server keeps it, and its exact bytes are the model's identity.

The digest that Ollama shows for a model is the SHA-256 of these bytes (seen with Ollama 0.32.15), so they are never written anew.
"""
from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import load_json
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import Digest

#: Bytes. Registries of the OCI distribution specification take at least this much; a real manifest has one to a few hundred KB.
MAX_MANIFEST_SIZE = 4 * 1024 * 1024
#: Bytes; also the largest file of Linux and the largest int64.
_MAX_LAYER_SIZE = 2**63 - 1

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Layer:
    """One blob of a model; ``size`` in bytes."""

    media_type: str
    digest: Digest
    size: int


@dataclass(frozen=True)
class OllamaManifest:
    """A checked manifest: its bytes as they are, and its layers in their order, the configuration last."""

    content: bytes
    layers: tuple[Layer, ...]

    @classmethod
    def parse(cls, content: bytes) -> OllamaManifest:
        """Check the bytes of a manifest. The media type at the top may be missing or OCI's, as with the server itself.

        Raises ``unsupported_source`` for anything else: not JSON, an index of several manifests, schema 1, no configuration, a
        malformed digest or size, more than ``MAX_MANIFEST_SIZE`` bytes.
        """
        if len(content) > MAX_MANIFEST_SIZE:
            _refuse(f"more than {MAX_MANIFEST_SIZE} bytes")
        try:
            document = load_json(content, is_strict=True)
        except ValueError as error:
            _refuse("a web page" if content.lstrip()[:1] == b"<" else f"something that is not plain JSON: {ascii(str(error))[1:120]}")
        if not isinstance(document, dict):
            _refuse("JSON, but not an object")
        _check_keys(document, ("schemaVersion", "mediaType", "config", "layers", "manifests", "fsLayers"))
        if "manifests" in document:
            _refuse("an index of several manifests, as of a container image for several platforms")
        if document.get("schemaVersion") != 2 or "fsLayers" in document:
            _refuse(f"schema version {document.get('schemaVersion')!r:.40} instead of 2")
        listed = document.get("layers")
        if listed is not None and not isinstance(listed, list):
            _refuse("layers that are no list")
        layers = tuple(_parse_layer(item) for item in [*(listed or []), document.get("config")])
        sizes: dict[Digest, int] = {}
        for layer in layers:
            if sizes.setdefault(layer.digest, layer.size) != layer.size:
                _refuse(f"two sizes for {layer.digest}")
        return cls(content, layers)

    @property
    def digest(self) -> str:
        """The model's identity, ``sha256:<64 hex>`` of the bytes."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @property
    def config(self) -> Layer:
        """The configuration: JSON with the model's family, format and parameters."""
        return self.layers[-1]

    @property
    def blobs(self) -> dict[Digest, int]:
        """Every blob once, with its size in bytes. Two layers may have the same content."""
        return {layer.digest: layer.size for layer in self.layers}

    @property
    def size(self) -> int:
        """Bytes of all blobs, each counted once."""
        return sum(self.blobs.values())


def _parse_layer(item: t.Any) -> Layer:
    if not isinstance(item, dict):
        _refuse("a layer or configuration that is no object, or none at all")
    _check_keys(item, ("mediaType", "digest", "size"))
    media_type, size = item.get("mediaType", ""), item.get("size")
    if not isinstance(media_type, str):
        _refuse("a media type that is no text")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= _MAX_LAYER_SIZE:
        _refuse(f"the size {size!r:.40}")
    try:
        digest = Digest.parse(str(item.get("digest")))
    except VenomError:
        _refuse(f"the digest {ascii(item.get('digest'))[:80]}")
    if digest.algorithm != "sha256":
        _refuse(f"the digest {digest}")
    return Layer(media_type, digest, size)


def _check_keys(document: t.Mapping[str, t.Any], names: t.Sequence[str]) -> None:
    # The server's JSON decoder (Go) takes keys in any case, so "Layers" beside "layers" would mean another model to it than to us.
    folded = {name.casefold() for name in names}
    for key in document:
        if key.casefold() in folded and key not in names:
            _refuse(f"the key {ascii(key)}, which differs from a known one only in case")


def _refuse(found: str) -> t.NoReturn:
    raise VenomError(
        "unsupported_source",
        wanted="the manifest of an Ollama model",
        found=found,
        todo="check the model's name, and that the registry holds Ollama models",
    )
