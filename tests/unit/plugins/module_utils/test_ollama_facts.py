# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama models, from the store and from what a registry gives before."""
from __future__ import annotations

import hashlib
import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.ollama_facts import config_facts, read_store_facts
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import OllamaManifest
from lab import models

PREFIX = "application/vnd.ollama.image."
CONFIG = {"model_format": "gguf", "model_family": "llama", "model_type": "3.2B", "file_type": "Q4_K_M"}
PATH = "manifests/registry.ollama.ai/library/tiny/latest"


def store(root: Path, layers: dict[str, bytes], config: t.Any = None) -> OllamaManifest:
    """A store with one model; the layers by the last word of their media type."""
    (root / "blobs").mkdir(parents=True)

    def put(kind: str, content: bytes) -> dict[str, t.Any]:
        digest = hashlib.sha256(content).hexdigest()
        (root / "blobs" / f"sha256-{digest}").write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    listed = [put(PREFIX + kind, content) for kind, content in layers.items()]
    document = {
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": put("application/vnd.docker.container.image.v1+json", json.dumps(CONFIG if config is None else config).encode()), "layers": listed,
    }  # fmt: skip
    content = json.dumps(document).encode()
    (root / PATH).parent.mkdir(parents=True)
    (root / PATH).write_bytes(content)
    return OllamaManifest.parse(content)


@pytest.fixture()
def gguf(tmp_path: Path) -> bytes:
    return (models.gguf(tmp_path / "model") / "tiny.gguf").read_bytes()


def test_from_the_store(tmp_path: Path, gguf: bytes) -> None:
    store(tmp_path / "store", {"model": gguf, "params": b'{"temperature": 0.3, "stop": ["x"]}', "projector": b"picture"})
    facts = read_store_facts(str(tmp_path / "store"), PATH)
    assert facts is not None and facts.modality == "vision"
    assert facts.weight_bytes == len(gguf) + len(b"picture")
    assert facts.context is not None and facts.context.maximum == 512 and facts.shape is not None
    assert facts.generation["temperature"]["default"] == 0.3


def test_what_cannot_be_read_is_not_known(tmp_path: Path, gguf: bytes) -> None:
    root = str(tmp_path / "store")
    assert read_store_facts(root, PATH) is None
    store(tmp_path / "store", {"params": b"{}"})
    assert read_store_facts(root, PATH) is None
    store(tmp_path / "other", {"model": gguf[:100], "params": b"{"})
    assert read_store_facts(str(tmp_path / "other"), PATH) is None
    (tmp_path / "other" / PATH).write_bytes(b"{")
    assert read_store_facts(str(tmp_path / "other"), PATH) is None
    os.truncate(tmp_path / "store" / PATH, 0)
    assert read_store_facts(root, PATH) is None


def test_before_it_is_there(tmp_path: Path, gguf: bytes) -> None:
    manifest = store(tmp_path / "store", {"model": gguf})
    facts = config_facts(manifest, json.dumps(CONFIG).encode())
    assert (facts.parameters, facts.weight_bytes, facts.architectures) == (3_200_000_000, len(gguf), ("llama",))
    assert facts.quantization is not None and facts.quantization.scheme == "Q4_K_M"
    for content in (b"", b"{", b"[]", b'{"model_type": 5, "file_type": []}', b'{"model_type": "very large"}'):
        poor = config_facts(manifest, content)
        assert poor.weight_bytes == len(gguf) and poor.parameters is None and poor.quantization is None


def test_half_a_surrogate_pair_from_a_registry_is_replaced(tmp_path: Path, gguf: bytes) -> None:
    manifest = store(tmp_path / "store", {"model": gguf})
    facts = config_facts(manifest, json.dumps(dict.fromkeys(CONFIG, "\ud800")).encode())
    assert facts.formats == ("\ufffd",)
    json.dumps(facts.to_dict(), ensure_ascii=False).encode("utf-8")
