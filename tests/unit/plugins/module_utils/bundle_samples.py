# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installed models made by hand: the store's bytes and the manifest's record, for tests of bundles."""
from __future__ import annotations

import hashlib
import json
import typing as t
from pathlib import Path

from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord, snapshot_sha256
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs


def sha256(content: bytes) -> str:
    """Digest of some bytes as hex."""
    return hashlib.sha256(content).hexdigest()


def hub_model(models_dir: Path, contents: t.Mapping[str, bytes], name: str = "a/b", commit: str = "1" * 40, **changes: t.Any) -> Entry:
    """A Hugging Face model whose blobs are in the store."""
    blobs = Blobs(str(models_dir))
    records = []
    for path, content in contents.items():
        digest = Digest("sha256", sha256(content))
        blob = Path(blobs.path(digest))
        blob.parent.mkdir(parents=True, exist_ok=True)
        if not blob.exists():
            blob.write_bytes(content)
        git_sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() if path.endswith(".json") else None
        records.append(FileRecord(path, len(content), digest, git_sha1=git_sha1))
    return make_entry(ModelRef.parse(name), commit, records, **changes)


def ollama_model(root: Path, layers: t.Sequence[bytes], name: str = "phi3:mini", **changes: t.Any) -> Entry:
    """An Ollama model in a folder as the server keeps it; the last layer is the configuration."""
    ref = ModelRef.parse(name, "ollama")
    records = []
    described = []
    for content in layers:
        path = root / "blobs" / f"sha256-{sha256(content)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        records.append(FileRecord(f"blobs/{path.name}", len(content), Digest("sha256", sha256(content))))
        described.append({"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{sha256(content)}", "size": len(content)})
    manifest = json.dumps({"schemaVersion": 2, "config": described[-1], "layers": described[:-1]}).encode()
    path = root / "manifests" / ref.host / ref.repository / str(ref.tag)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(manifest)
    records.append(FileRecord(str(path.relative_to(root)), len(manifest), Digest("sha256", sha256(manifest))))
    return make_entry(ref, f"sha256:{sha256(manifest)}", records, local_path=str(root), requested_revision=ref.tag, **changes)


def make_entry(ref: ModelRef, revision: str, records: t.Sequence[FileRecord], **changes: t.Any) -> Entry:
    """A record as the manifest of a host has it."""
    values: dict[str, t.Any] = {
        "name": str(ref),
        "provider": ref.provider,
        "runtime": "vllm" if ref.provider == "huggingface" else "ollama",
        "revision": revision,
        "requested_revision": "main",
        "alias": None,
        "local_path": "",
        "size_bytes": sum(record.size for record in records),
        "files": tuple(records),
        "sha256": snapshot_sha256(records),
        "installed_at": "2026-01-01T00:00:00+00:00",
    }
    return Entry(**dict(values, **changes))
