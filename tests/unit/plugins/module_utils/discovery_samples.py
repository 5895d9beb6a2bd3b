# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models on a disk that nobody recorded: snapshots of hard links, and models in the store of an Ollama server."""
from __future__ import annotations

import hashlib
import json
import os
import typing as t
from pathlib import Path

from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.store.snapshots import Snapshots
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.header_samples import gguf

ONE, TWO = "1" * 40, "2" * 40
CONFIG = json.dumps({"max_position_embeddings": 64}).encode()
LIBRARY = "registry.ollama.ai/library"
OLLAMA_CONFIG = {"model_format": "gguf", "model_family": "llama", "model_type": "3.8B", "file_type": "Q4_0"}
PARAMETERS = {"temperature": 0.6, "stop": ["</s>"], "invented": 1}
TEMPLATE = b"{{ .System }}{{ .Prompt }}"


def publish(root: Path, commit: str = ONE, name: str = "a--b", **contents: bytes) -> Path:
    """A snapshot of hard links, as an install leaves it."""
    blobs = Blobs(str(root))
    digests = {}
    for file, content in (contents or {"config": CONFIG}).items():
        digest = digests[f"{file}.json"] = Digest("sha256", hashlib.sha256(content).hexdigest())
        if not blobs.has(digest, len(content)):
            partial = blobs.new_partial()
            Path(partial).write_bytes(content)
            blobs.put(partial, digest)
    return Path(Snapshots(str(root / "hf"), blobs).publish(f"{name}@{commit}", digests))


def damage(path: Path) -> None:
    """Another byte of the same size, at the same time, in the same file."""
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def blob(root: Path, content: bytes, kind: str) -> dict[str, t.Any]:
    digest = hashlib.sha256(content).hexdigest()
    path = root / "blobs" / f"sha256-{digest}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(content)
    return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}


def model(root: Path, path: str = f"{LIBRARY}/phi3/mini", weights: bytes | None = None, config: t.Any = None, **layers: bytes) -> Path:
    """A model in a store as a server that pulled it leaves it. Returns the path of its weights."""
    weights = gguf() if weights is None else weights
    config = OLLAMA_CONFIG if config is None else config
    listed = [blob(root, weights, "model"), *(blob(root, content, kind) for kind, content in layers.items())]
    content = config if isinstance(config, bytes) else json.dumps(config).encode()
    described = dict(blob(root, content, "x"), mediaType="application/vnd.docker.container.image.v1+json")
    document = {"schemaVersion": 2, "config": described, "layers": listed}
    target = root / "manifests" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document))
    return root / "blobs" / listed[0]["digest"].replace(":", "-")
