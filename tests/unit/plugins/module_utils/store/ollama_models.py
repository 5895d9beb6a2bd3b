# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small Ollama models for tests of the store, and how a server would see them."""
from __future__ import annotations

import hashlib
import json
import typing as t
from pathlib import Path

from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import OllamaManifest
from ansible_collections.venom.llm.plugins.module_utils.store.ollama import OllamaStore

REF = ModelRef.parse("phi3:mini", "ollama")
OTHER = ModelRef.parse("user/other", "ollama")
LICENSE, WEIGHTS, NEW_WEIGHTS = b"licence text", b"weights " * 100, b"newer weights " * 100


def digest_of(content: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(content).hexdigest())


def model(*contents: bytes) -> tuple[OllamaManifest, dict[Digest, bytes]]:
    """A manifest over layers, with a configuration of its own, and the bytes of all its blobs."""
    config = json.dumps({"layers": [digest_of(content).hex for content in contents]}).encode()

    def describe(content: bytes) -> dict[str, t.Any]:
        return {"mediaType": "application/vnd.ollama.image.x", "digest": str(digest_of(content)), "size": len(content)}

    document = {"schemaVersion": 2, "config": describe(config), "layers": [describe(content) for content in contents]}
    blobs = {digest_of(content): content for content in (*contents, config)}
    return OllamaManifest.parse(json.dumps(document).encode()), blobs


def put(store: OllamaStore, content: bytes) -> None:
    store.prepare()
    partial = Path(store.partial_root, "arriving")
    partial.write_bytes(content)
    store.put(str(partial), digest_of(content))


def install(store: OllamaStore, ref: ModelRef, *contents: bytes) -> OllamaManifest:
    manifest, blobs = model(*contents)
    for digest, content in blobs.items():
        if not store.has(digest, len(content)):
            put(store, content)
    store.publish(ref, manifest)
    return manifest


def listing(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def is_whole(root: Path, ref: ModelRef, manifest: OllamaManifest) -> bool:
    """Whether a server would find this manifest with the right bytes of every blob; our own folder does not count."""
    path = root / "manifests" / ref.host / ref.repository / str(ref.tag)
    if not path.is_file() or path.read_bytes() != manifest.content:
        return False
    blobs = (root / "blobs" / f"sha256-{digest.hex}" for digest in manifest.blobs)
    return all(blob.is_file() and hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name[7:] for blob in blobs)
