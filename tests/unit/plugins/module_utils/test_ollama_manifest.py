# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests of Ollama models: what is one, and what is not."""
from __future__ import annotations

import copy
import hashlib
import json
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import DOCKER_MANIFEST, MAX_MANIFEST_SIZE, OCI_MANIFEST, OllamaManifest

#: As a recorded Ollama 0.32.15 server listed and kept it.
RECORDED: dict[str, t.Any] = {
    "schemaVersion": 2,
    "mediaType": DOCKER_MANIFEST,
    "config": {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "digest": "sha256:b2bfbb2e87eb8998fbfd97da3a0dfc762cf1f3145ec1b495fb7e8b0fae83917f",
        "size": 148,
    },
    "layers": [
        {
            "mediaType": "application/vnd.ollama.image.model",
            "digest": "sha256:8a2bf4f65662afa91240642ccd74aab710df5349aa5afc52ff1b63723dd3e439",
            "size": 248416,
        },
        {
            "mediaType": "application/vnd.ollama.image.template",
            "digest": "sha256:fe7ac77b725cda2ccad03f88a880ecdfd7a33192d6cae08fce2c0ee1455991ed",
            "size": 27,
        },
    ],
}


def encode(document: t.Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def changed(**changes: t.Any) -> dict[str, t.Any]:
    return dict(copy.deepcopy(RECORDED), **changes)


def with_layer(**changes: t.Any) -> dict[str, t.Any]:
    return changed(layers=[dict(RECORDED["layers"][0], **changes)])


def test_a_manifest_keeps_its_bytes_and_its_order() -> None:
    content = encode(RECORDED) + b"\n"
    manifest = OllamaManifest.parse(content)
    assert manifest.content == content
    assert manifest.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert [layer.media_type.rpartition(".")[2] for layer in manifest.layers] == ["model", "template", "v1+json"]
    assert manifest.config.digest == Digest.parse(RECORDED["config"]["digest"])
    assert manifest.size == 148 + 248416 + 27


def test_two_layers_with_the_same_content_are_one_blob() -> None:
    layer = RECORDED["layers"][0]
    manifest = OllamaManifest.parse(encode(changed(layers=[layer, layer])))
    assert len(manifest.layers) == 3
    assert manifest.blobs == {Digest.parse(layer["digest"]): 248416, manifest.config.digest: 148}
    assert manifest.size == 248416 + 148


@pytest.mark.parametrize(
    "document",
    [
        changed(mediaType=OCI_MANIFEST),
        {key: value for key, value in RECORDED.items() if key != "mediaType"},
        changed(layers=None),
        changed(layers=[]),
        changed(annotations={"a": "b"}),
        with_layer(size=0),
        with_layer(annotations={"name": "x"}),
    ],
)
def test_what_the_server_takes_is_taken(document: dict[str, t.Any]) -> None:
    assert OllamaManifest.parse(encode(document)).config.size == 148


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"<html><body>sign in</body></html>",
        b"\xff\xfe{}",
        encode(RECORDED)[:-10],
        b'{"a":' * 100000,
        b'{"schemaVersion":' + b"9" * 3000000 + b"}",
        encode(RECORDED) + b" " * MAX_MANIFEST_SIZE,
        encode(changed(schemaVersion=1, fsLayers=[])),
        encode(changed(schemaVersion="2")),
        encode(changed(Layers=[])),
        encode(changed(CONFIG={})),
        encode(with_layer(Digest="sha256:" + "a" * 64)),
        encode(RECORDED)[:-1] + b',"layers":[]}',
        b"[" * 3000000,
        encode({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}),
        encode(changed(config=None)),
        encode(changed(config={})),
        encode(changed(layers={})),
        encode(changed(layers=["x"])),
        encode(with_layer(digest="sha256:../../../etc/passwd")),
        encode(with_layer(digest="sha256:" + "A" * 64)),
        encode(with_layer(digest="sha256:" + "a" * 64 + "\n")),
        encode(with_layer(digest="sha1:" + "a" * 40)),
        encode(with_layer(digest=None)),
        encode(with_layer(digest=["x"])),
        encode(with_layer(size=-1)),
        encode(with_layer(size=True)),
        encode(with_layer(size=1.0)),
        encode(with_layer(size="1")),
        encode(with_layer(size=2**63)),
        encode(with_layer(mediaType=7)),
        encode(with_layer(digest=RECORDED["config"]["digest"], size=149)),
    ],
    ids=lambda content: content[:40].decode("latin-1"),
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(VenomError) as caught:
        OllamaManifest.parse(content)
    assert caught.value.reason_code == "unsupported_source"
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
