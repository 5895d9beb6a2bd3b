# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of an Ollama server as it is found: spellings, hostile names, symlinks, and what other programs left."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.store.ollama import OllamaStore
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.store.ollama_models import OTHER, REF, WEIGHTS, digest_of, install, listing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    return folder


@pytest.fixture
def store(root: Path) -> OllamaStore:
    return OllamaStore(str(root))


def test_a_spelling_in_another_case_that_exists_is_the_model(root: Path, store: OllamaStore) -> None:
    (root / "manifests/registry.ollama.ai/library/Phi3").mkdir(parents=True)
    (root / "manifests/registry.ollama.ai/library/Phi3/other").write_bytes(b"{}")
    assert store.manifest_path(REF) == "manifests/registry.ollama.ai/library/Phi3/mini"
    (root / "manifests/registry.ollama.ai/library/PHI3").mkdir()
    (root / "manifests/registry.ollama.ai/library/Phi3/MINI").write_bytes(b"{}")
    assert store.manifest_path(REF) == "manifests/registry.ollama.ai/library/Phi3/MINI"
    manifest = install(store, REF, WEIGHTS)
    assert (root / "manifests/registry.ollama.ai/library/Phi3/MINI").read_bytes() == manifest.content
    assert sum(relative.endswith(("mini", "MINI")) for relative in listing(root)) == 1
    (root / "manifests/registry.ollama.ai/library/phi3").mkdir()
    (root / "manifests/registry.ollama.ai/library/phi3/mini").write_bytes(manifest.content)
    assert store.manifest_path(REF) == "manifests/registry.ollama.ai/library/phi3/mini"


@pytest.mark.parametrize(
    "digest", [Digest("sha256", "../../etc/passwd"), Digest("sha256", "a" * 63), Digest("sha256", "a" * 64 + "\n"), Digest("sha1", "a" * 40)]
)
def test_a_digest_that_is_none_becomes_no_path(store: OllamaStore, digest: Digest) -> None:
    for use in (store.path, store.discard, lambda value: store.has(value, 1), lambda value: store.verify(value, 1)):
        with pytest.raises(VenomError) as caught:
            use(digest)
        assert caught.value.reason_code == "invalid_name"


@pytest.mark.parametrize("place", ["blobs", "manifests", "manifests/registry.ollama.ai", "manifests/registry.ollama.ai/library/phi3", ".venom"])
def test_nothing_is_written_through_a_symlink(root: Path, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).symlink_to(outside)
    with pytest.raises(VenomError) as caught:
        install(OllamaStore(str(root)), REF, WEIGHTS)
    assert caught.value.reason_code == "invalid_name"
    assert list(outside.iterdir()) == []


def test_a_blob_that_is_a_symlink_is_neither_used_nor_followed(root: Path, store: OllamaStore, tmp_path: Path) -> None:
    (root / "blobs").mkdir()
    (tmp_path / "elsewhere").write_bytes(WEIGHTS)
    (root / "blobs" / f"sha256-{digest_of(WEIGHTS).hex}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VenomError) as caught:
        store.has(digest_of(WEIGHTS), len(WEIGHTS))
    assert caught.value.reason_code == "invalid_name"


# Reading


@pytest.mark.parametrize("content", [b"", b"{}", b'{"schemaVersion":2', b"<html>"])
def test_a_manifest_without_sense_is_said_to_be_one(root: Path, store: OllamaStore, content: bytes) -> None:
    install(store, REF, WEIGHTS)
    (root / store.manifest_path(REF)).write_bytes(content)
    with pytest.raises(VenomError) as caught:
        store.read(REF)
    assert caught.value.reason_code == "unsupported_source"
    assert list(store.walk()) == [(store.manifest_path(REF), None)]


def test_the_walk_sees_what_the_server_sees(root: Path, store: OllamaStore) -> None:
    manifest = install(store, REF, WEIGHTS)
    folder = root / "manifests/registry.ollama.ai/library/phi3"
    (folder / ".latest.tmp").write_bytes(b"unfinished")
    (folder / "folder").mkdir()
    (root / "manifests/stray").write_bytes(b"not four levels down")
    os.mkfifo(folder / "pipe")
    private = root / "manifests/127.0.0.1:5055/library/tiny"
    private.mkdir(parents=True)
    (private / "latest").write_bytes(manifest.content)
    (private / "linked").symlink_to(folder / "mini")
    (private / "dangling").symlink_to(folder / "nowhere")
    assert list(store.walk()) == [
        ("manifests/127.0.0.1:5055/library/tiny/dangling", None),
        ("manifests/127.0.0.1:5055/library/tiny/latest", manifest),
        ("manifests/127.0.0.1:5055/library/tiny/linked", manifest),
        ("manifests/registry.ollama.ai/library/phi3/mini", manifest),
        ("manifests/registry.ollama.ai/library/phi3/pipe", None),
    ]


def test_a_folder_that_cannot_be_listed_hides_something(root: Path, store: OllamaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    install(store, REF, WEIGHTS)
    install(store, OTHER, WEIGHTS)
    listdir = os.listdir

    def refuse(path: str) -> list[str]:
        if os.path.basename(path.rstrip("/")) == "other":
            raise PermissionError(13, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert dict(store.walk())["manifests/registry.ollama.ai/user/other"] is None
    assert store.remove(REF) == 0
    assert "user/other" in store.warnings[0]


def test_an_empty_folder_holds_nothing(root: Path, store: OllamaStore) -> None:
    assert store.exists()
    assert list(store.walk()) == []
    assert store.usage() == 0
    assert store.remove(REF) == 0
    store.clean()
    assert listing(root) == set()
