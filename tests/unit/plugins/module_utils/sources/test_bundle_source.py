# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle as a source: what it answers, and that a damaged or hostile one is refused."""
from __future__ import annotations

import json
import os
import random
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.bundles import export_bundle
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.sources.bundle import BundleSource
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.bundle_samples import hub_model, ollama_model, sha256

REF = ModelRef.parse("a/b")
WEIGHTS, CONFIG = b"weights" * 1000, b"{}"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    old = hub_model(models, {"model.safetensors": b"old", "config.json": CONFIG}, commit="1" * 40, requested_revision="v1")
    new = hub_model(
        models, {"model.safetensors": WEIGHTS, "config.json": CONFIG}, commit="2" * 40, installed_at="2026-02-01T00:00:00+00:00"
    )
    newest = hub_model(models, {"x.gguf": b"x"}, commit="3" * 40, installed_at="2026-03-01T00:00:00+00:00", requested_revision="dev")
    part = hub_model(models, {"config.json": CONFIG}, name="c/d", commit="4" * 40, include=("*.json",), requested_revision="v2")
    phi = ollama_model(tmp_path / "ollama", [b"layer", b"config"])
    export_bundle(str(models), [old, new, newest, part, phi], str(tmp_path / "bundle"))
    return tmp_path / "bundle"


def refused(code: str, call: t.Callable[[], object]) -> VenomError:
    with pytest.raises(VenomError) as caught:
        call()
    assert caught.value.reason_code == code
    return caught.value


def content_of(source: BundleSource, file: RemoteFile, offset: int = 0, length: int | None = None) -> bytes:
    stream = source.open(file, offset, length)
    try:
        assert stream.offset == offset
        return b"".join(stream)
    finally:
        stream.close()


@pytest.mark.parametrize(
    ("revision", "commit"),
    [("v1", "1" * 40), ("main", "2" * 40), (None, "2" * 40), ("dev", "3" * 40), ("1" * 40, "1" * 40), ("3" * 40, "3" * 40)],
)
def test_a_revision_means_what_it_meant_at_the_export(bundle: Path, revision: str | None, commit: str) -> None:
    source = BundleSource(str(bundle))
    assert source.find_commit(REF, revision) == commit
    assert source.resolve(REF, revision, (), ()).revision == commit


def test_without_the_default_branch_the_newest_is_meant(bundle: Path) -> None:
    assert BundleSource(str(bundle)).find_commit(ModelRef.parse("c/d"), "main") == "4" * 40


def test_what_the_bundle_lacks_is_named_with_what_it_has(bundle: Path) -> None:
    source = BundleSource(str(bundle))
    assert "a/b v1 " + "1" * 40 in refused("not_found", lambda: source.find_commit(ModelRef.parse("x/y"), "main")).found
    assert "phi3:mini" in refused("not_found", lambda: source.find_commit(ModelRef.parse("mistral"), None)).found
    refused("revision_not_found", lambda: source.find_commit(REF, "v9"))
    refused("revision_not_found", lambda: source.resolve(REF, "9" * 40, (), ()))
    refused("revision_not_found", lambda: source.find_commit(ModelRef.parse("phi3:large"), None))
    refused("revision_not_found", lambda: source.find_commit(ModelRef.parse("phi3:mini"), "sha256:" + "0" * 64))


def test_a_plan_has_the_files_with_both_digests(bundle: Path) -> None:
    plan = BundleSource(str(bundle)).resolve(REF, "main", (), ())
    assert (plan.ref, plan.requested_revision, plan.manifest) == (REF, "main", None)
    assert [(file.path, file.size, file.sha256) for file in plan.files] == [
        ("config.json", len(CONFIG), sha256(CONFIG)),
        ("model.safetensors", len(WEIGHTS), sha256(WEIGHTS)),
    ]
    assert len(str(plan.files[0].git_sha1)) == 40
    chosen = BundleSource(str(bundle)).resolve(REF, "main", ("*.safetensors",), ())
    assert [file.path for file in chosen.files] == ["model.safetensors"]


def test_a_part_of_a_model_is_not_given_for_the_whole(bundle: Path) -> None:
    source = BundleSource(str(bundle))
    ref = ModelRef.parse("c/d")
    assert [file.path for file in source.resolve(ref, "v2", ("*.json",), ()).files] == ["config.json"]
    assert "*.json" in refused("invalid_option", lambda: source.resolve(ref, "v2", (), ())).found


def test_an_ollama_model_comes_with_its_manifest(bundle: Path) -> None:
    source = BundleSource(str(bundle))
    digest = source.find_commit(ModelRef.parse("phi3:mini"), None)
    for name, revision in (("phi3:mini", None), ("Phi3:MINI", None), ("phi3", "mini"), ("phi3:other", digest), ("library/phi3:mini", digest)):
        plan = source.resolve(ModelRef.parse(name, "ollama"), revision, (), ())
        assert plan.revision == digest
        manifest = source.find_manifest(ModelRef.parse(name, "ollama"), revision)
        assert (manifest.digest, manifest.content) == (digest, plan.manifest)
        assert {source.file_for(plan.ref, layer) for layer in manifest.layers} == set(plan.files)
        assert {file.path for file in plan.files} == {f"blobs/sha256-{layer.digest.hex}" for layer in manifest.layers}
        assert b"layer" in [content_of(source, file) for file in plan.files]


def test_a_model_of_a_hub_has_no_manifest(bundle: Path) -> None:
    refused("not_found", lambda: BundleSource(str(bundle)).find_manifest(REF, "main"))


def test_bytes_come_from_any_offset(bundle: Path) -> None:
    source = BundleSource(str(bundle))
    file = source.resolve(REF, "main", (), ()).files[1]
    assert content_of(source, file) == WEIGHTS
    assert content_of(source, file, 10) == WEIGHTS[10:]
    assert content_of(source, file, 10, 5) == WEIGHTS[10:15]
    assert content_of(source, file, len(WEIGHTS)) == b""
    assert content_of(source, file, 6990, 100) == WEIGHTS[6990:]


def test_a_file_that_a_hub_announced_is_found_by_either_digest(bundle: Path) -> None:
    source = BundleSource(str(bundle))
    config = source.resolve(REF, "main", (), ()).files[0]
    assert content_of(source, RemoteFile("other/name.json", 2, None, config.git_sha1, "https://hub.test/x")) == CONFIG
    assert content_of(source, RemoteFile("weights", len(WEIGHTS), sha256(WEIGHTS), None, "")) == WEIGHTS
    for unknown in (RemoteFile("x", 1, "f" * 64, None, ""), RemoteFile("x", 1, None, "f" * 40, ""), RemoteFile("x", 1, None, None, "")):
        with pytest.raises(VenomError) as caught:
            source.open(unknown)
        assert caught.value.reason_code == "not_found"


def test_a_small_file_is_read_whole(bundle: Path) -> None:
    source = BundleSource(str(bundle))
    config, weights = source.resolve(REF, "main", (), ()).files
    assert source.read(config, 2) == CONFIG
    refused("unsupported_source", lambda: source.read(weights, 100))


def test_an_aborted_stream_ends(bundle: Path) -> None:
    source = BundleSource(str(bundle))
    stream = source.open(source.resolve(REF, "main", (), ()).files[1])
    stream.abort()
    assert list(stream) == []
    stream.close()


def blob(bundle: Path, content: bytes) -> Path:
    digits = sha256(content)
    return bundle / "blobs" / "sha256" / digits[:2] / digits


def damage(bundle: Path, kind: str) -> None:
    path = blob(bundle, WEIGHTS)
    if kind == "short":
        path.write_bytes(WEIGHTS[:-1])
    elif kind == "long":
        path.write_bytes(WEIGHTS + b"x")
    else:
        content = path.read_bytes()
        path.unlink()
        if kind == "symlink":
            (bundle / "elsewhere").write_bytes(content)
            path.symlink_to(bundle / "elsewhere")
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "symlinked folder":
            path.write_bytes(content)
            path.parent.rename(bundle / "elsewhere")
            path.parent.symlink_to(bundle / "elsewhere")


@pytest.mark.parametrize("kind", ["missing", "short", "long", "symlink", "pipe", "folder", "symlinked folder"])
def test_a_damaged_blob_is_refused(bundle: Path, kind: str) -> None:
    damage(bundle, kind)
    source = BundleSource(str(bundle))
    file = source.resolve(REF, "main", (), ()).files[1]
    error = refused("bundle_invalid", lambda: source.open(file))
    assert sha256(WEIGHTS)[:2] in error.found
    assert source.read(source.resolve(REF, "main", (), ()).files[0], 10) == CONFIG


def test_a_blob_that_shrinks_while_it_is_read(bundle: Path) -> None:
    source = BundleSource(str(bundle))
    stream = source.open(source.resolve(REF, "main", (), ()).files[1])
    os.truncate(blob(bundle, WEIGHTS), 100)
    refused("bundle_invalid", lambda: list(stream))
    stream.close()


@pytest.mark.parametrize("kind", ["nothing", "no index", "symlink", "pipe", "folder"])
def test_a_folder_that_is_no_bundle(tmp_path: Path, bundle: Path, kind: str) -> None:
    index = bundle / "bundle.json"
    content = index.read_bytes()
    index.unlink()
    if kind == "nothing":
        bundle = tmp_path / "nowhere"
    elif kind == "symlink":
        (tmp_path / "elsewhere").write_bytes(content)
        index.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(index)
    elif kind == "folder":
        index.mkdir()
    refused("bundle_invalid", lambda: BundleSource(str(bundle)))


Change = t.Callable[[dict[str, t.Any]], object]


def model(data: dict[str, t.Any], name: str = "a/b") -> dict[str, t.Any]:
    return next(item for item in data["models"] if item["name"] == name)


HOSTILE: dict[str, Change] = {
    "schema of the future": lambda data: data.update(schema=2),
    "schema as text": lambda data: data.update(schema="1"),
    "no schema": lambda data: data.pop("schema"),
    "no models": lambda data: data.pop("models"),
    "models as an object": lambda data: data.update(models={}),
    "a model as a number": lambda data: data["models"].append(5),
    "a model twice": lambda data: data["models"].append(model(data)),
    "provider": lambda data: model(data).update(provider="other"),
    "provider list": lambda data: model(data).update(provider=[]),
    "name": lambda data: model(data).update(name="../b"),
    "name as a number": lambda data: model(data).update(name=5),
    "no name": lambda data: model(data).pop("name"),
    "revision": lambda data: model(data).update(revision="main"),
    "revision path": lambda data: model(data).update(revision="../../" + "a" * 34),
    "requested revision": lambda data: model(data).update(requested_revision="a/../b"),
    "alias": lambda data: model(data).update(alias="-x"),
    "include": lambda data: model(data).update(include="*"),
    "include of numbers": lambda data: model(data).update(include=[1]),
    "no files": lambda data: model(data).pop("files"),
    "path out": lambda data: model(data)["files"][0].update(path="../x"),
    "absolute path": lambda data: model(data)["files"][0].update(path="/etc/passwd"),
    "path as a list": lambda data: model(data)["files"][0].update(path=["x"]),
    "one path twice": lambda data: model(data)["files"][0].update(path=model(data)["files"][1]["path"].upper()),
    "digest path": lambda data: model(data)["files"][0].update(sha256="../" * 20 + "abcd"),
    "digest short": lambda data: model(data)["files"][0].update(sha256="abc"),
    "digest none": lambda data: model(data)["files"][0].update(sha256=None),
    "git digest": lambda data: model(data)["files"][0].update(git_sha1="x" * 40),
    "size negative": lambda data: model(data)["files"][0].update(size=-1),
    "size true": lambda data: model(data)["files"][0].update(size=True),
    "size huge": lambda data: model(data)["files"][0].update(size=2**63),
    "size text": lambda data: model(data)["files"][0].update(size="2"),
    "two sizes": lambda data: model(data)["files"][0].update(size=77),
    "manifest for a hub's model": lambda data: model(data).update(manifest="e30="),
    "no manifest": lambda data: model(data, "phi3:mini").update(manifest=None),
    "manifest not base64": lambda data: model(data, "phi3:mini").update(manifest="%%%"),
    "manifest as a number": lambda data: model(data, "phi3:mini").update(manifest=5),
    "manifest of another": lambda data: model(data, "phi3:mini").update(manifest="e30="),
    "revision of another": lambda data: model(data, "phi3:mini").update(revision="sha256:" + "0" * 64),
    "a layer missing": lambda data: model(data, "phi3:mini")["files"].pop(),
    "a layer more": lambda data: model(data, "phi3:mini")["files"].append({"path": "x", "size": 1, "sha256": "0" * 64}),
    "a layer elsewhere": lambda data: model(data, "phi3:mini")["files"][0].update(path="manifests/x"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_index_is_refused(bundle: Path, kind: str) -> None:
    data = json.loads((bundle / "bundle.json").read_bytes())
    HOSTILE[kind](data)
    (bundle / "bundle.json").write_text(json.dumps(data))
    refused("bundle_invalid", lambda: BundleSource(str(bundle)))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"a":' + b"[" * 100_000, b'{"schema":1,"schema":1,"models":[]}', b'{"schema":1e0,"models":[]}'],
)
def test_an_index_that_is_no_index(bundle: Path, content: bytes) -> None:
    (bundle / "bundle.json").write_bytes(content)
    refused("bundle_invalid", lambda: BundleSource(str(bundle)))


def test_an_index_that_is_too_long(bundle: Path) -> None:
    os.truncate(bundle / "bundle.json", 64 * 1024 * 1024 + 1)
    assert "more than" in refused("bundle_invalid", lambda: BundleSource(str(bundle))).found


@pytest.mark.parametrize("seed", range(100))
def test_random_damage_to_the_index_never_ends_otherwise(bundle: Path, seed: int) -> None:
    source = random.Random(seed)
    content = bytearray((bundle / "bundle.json").read_bytes())
    for dummy in range(source.randint(1, 4)):
        place = source.randrange(len(content))
        if source.random() < 0.5:
            content[place] = source.randrange(256)
        else:
            del content[place : place + source.randint(1, 200)]
    (bundle / "bundle.json").write_bytes(bytes(content))
    try:
        read = BundleSource(str(bundle))
        for held in read.index.models:
            for file in read.resolve(held.ref, held.revision, held.include, held.exclude).files:
                content_of(read, file)
    except VenomError as error:
        assert error.reason_code in ("bundle_invalid", "revision_not_found")
