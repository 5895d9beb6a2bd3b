# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the registry holds: repositories, their tags, manifests and blobs."""
from __future__ import annotations

import hashlib
import json
import threading
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from lab.models.ollama import CONFIG_TYPE, ollama_config

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Blob:
    """A file that is served in place; ``digest`` is sha256:<hex>, ``size`` is in bytes."""

    digest: str
    size: int
    path: Path


@dataclass(frozen=True)
class Manifest:
    """The bytes of a manifest, as they were added."""

    content: bytes
    media_type: str

    @property
    def digest(self) -> str:
        """sha256:<hex> of the bytes."""
        return digest_of(self.content)


@dataclass
class Repository:
    """A repository: tag to digest, digest to manifest, digest to blob."""

    tags: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    blobs: dict[str, Blob] = field(default_factory=dict)

    def find(self, reference: str) -> Manifest | None:
        """The manifest of a tag or a digest."""
        return self.manifests.get(self.tags.get(reference, reference))


def digest_of(content: bytes) -> str:
    """sha256:<hex>."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _file_digest(path: Path) -> str:
    sha256 = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            sha256.update(block)
    return "sha256:" + sha256.hexdigest()


def compact(data: t.Any) -> bytes:
    """JSON as Ollama writes its manifests: no blanks."""
    return json.dumps(data, separators=(",", ":")).encode()


class ImageStore:
    """All repositories. Layers given as bytes are kept in a folder; files are served where they are and must not change."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests: dict[tuple[str, int, int], str] = {}
        self.repositories: dict[str, Repository] = {}
        self.lock = threading.RLock()

    def blob(self, source: bytes | Path | str) -> Blob:
        """A blob of bytes or of a file; a file that did not change is read once."""
        if isinstance(source, bytes):
            digest = digest_of(source)
            path = self._folder / digest.replace(":", "-")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source)
            return Blob(digest, len(source), path)
        path = Path(source).resolve()
        status = path.stat()
        key = (str(path), status.st_size, status.st_mtime_ns)
        if key not in self._digests:
            self._digests[key] = _file_digest(path)
        return Blob(self._digests[key], status.st_size, path)

    def add(
        self,
        repository: str,
        tag: str,
        layers: t.Sequence[tuple[str, bytes | Path | str]],
        config: bytes | t.Mapping[str, t.Any] | None,
        media_type: str,
    ) -> str:
        """Add a manifest made of these layers, and point the tag at it; return its digest."""
        blobs = [(kind, self.blob(source)) for kind, source in layers]
        if config is None:
            config = ollama_config(blob.digest for dummy, blob in blobs)
        content = config if isinstance(config, bytes) else compact(config)
        described = [
            {"mediaType": kind, "digest": blob.digest, "size": blob.size} for kind, blob in [(CONFIG_TYPE, self.blob(content)), *blobs]
        ]
        manifest = compact({"schemaVersion": 2, "mediaType": media_type, "config": described[0], "layers": described[1:]})
        return self.put(repository, tag, manifest, media_type, [self.blob(content), *(blob for dummy, blob in blobs)])

    def put(self, repository: str, tag: str, content: bytes, media_type: str = MANIFEST_TYPE, blobs: t.Iterable[Blob] = ()) -> str:
        """Add a manifest as it is, whatever it says; return its digest. No tag for ''."""
        manifest = Manifest(content, media_type)
        with self.lock:
            held = self.repositories.setdefault(repository, Repository())
            held.blobs.update((blob.digest, blob) for blob in blobs)
            held.manifests[manifest.digest] = manifest
            if tag:
                held.tags[tag] = manifest.digest
        return manifest.digest

    def add_models(self, folder: Path) -> int:
        """Add everything of an Ollama models folder (OLLAMA_MODELS), whatever host its names have; return how many manifests."""
        files = [path for path in sorted(folder.glob("manifests/*/*/*/*")) if path.is_file() and not path.name.startswith(".")]
        for path in files:
            content = path.read_bytes()
            data = json.loads(content)
            described = [data["config"], *data["layers"]]
            blobs = [Blob(item["digest"], item["size"], folder / "blobs" / item["digest"].replace(":", "-")) for item in described]
            namespace, model, tag = path.parts[-3:]
            self.put(f"{namespace}/{model}", tag, content, data.get("mediaType", MANIFEST_TYPE), blobs)
        return len(files)
