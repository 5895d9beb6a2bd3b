# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Export into a bundle: verified bytes only, whole at every moment, and never twice the same work."""
from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import bundles
from ansible_collections.venom.llm.plugins.module_utils.bundle_index import BundleIndex
from ansible_collections.venom.llm.plugins.module_utils.bundles import export_bundle
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import Lock
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.bundle_samples import hub_model, ollama_model, sha256

CONFIG, WEIGHTS, SHARED = b"{}", b"w" * 3_000_000, b"tokens" * 100


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def entry(models: Path) -> Entry:
    return hub_model(models, {"model.safetensors": WEIGHTS, "config.json": CONFIG, "sub/tokenizer.json": SHARED}, alias="bee")


def blob(bundle: Path, content: bytes) -> Path:
    digits = sha256(content)
    return bundle / "blobs" / "sha256" / digits[:2] / digits


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(code: str, models: Path, entries: t.Sequence[Entry], bundle: Path) -> VenomError:
    with pytest.raises(VenomError) as caught:
        export_bundle(str(models), entries, str(bundle))
    assert caught.value.reason_code == code
    return caught.value


def test_an_export_holds_index_and_blobs(tmp_path: Path, models: Path, entry: Entry) -> None:
    bundle = tmp_path / "bundle"
    seen: list[tuple[int, int]] = []
    report = export_bundle(str(models), [entry], str(bundle), lambda done, total: seen.append((done, total)))
    size = len(WEIGHTS) + len(CONFIG) + len(SHARED)
    assert (report.copied, report.kept, report.changed) == (size, 0, True)
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)
    assert [blob(bundle, content).read_bytes() for content in (CONFIG, WEIGHTS, SHARED)] == [CONFIG, WEIGHTS, SHARED]
    assert sorted(path.name for path in bundle.iterdir()) == ["blobs", "bundle.json", "bundle.lock"]
    data = json.loads((bundle / "bundle.json").read_bytes())
    assert data["schema"] == 1
    (model,) = data["models"]
    assert (model["name"], model["revision"], model["requested_revision"], model["alias"]) == ("a/b", "1" * 40, "main", "bee")
    assert [file["path"] for file in model["files"]] == ["config.json", "model.safetensors", "sub/tokenizer.json"]
    assert model["files"][1] == {"path": "model.safetensors", "size": len(WEIGHTS), "sha256": sha256(WEIGHTS), "git_sha1": None}
    assert len(model["files"][0]["git_sha1"]) == 40
    assert report.index == BundleIndex.read(str(bundle))


def test_a_second_export_changes_nothing(tmp_path: Path, models: Path, entry: Entry) -> None:
    bundle = tmp_path / "bundle"
    first = export_bundle(str(models), [entry], str(bundle))
    before = {path: os.lstat(path).st_mtime_ns for path in (bundle / "bundle.json", blob(bundle, WEIGHTS))}
    again = export_bundle(str(models), [entry], str(bundle))
    assert (again.copied, again.kept, again.changed) == (0, first.copied, False)
    assert before == {path: os.lstat(path).st_mtime_ns for path in before}


def test_models_share_blobs_and_a_later_export_adds(tmp_path: Path, models: Path, entry: Entry) -> None:
    bundle = tmp_path / "bundle"
    other = hub_model(models, {"model.safetensors": b"other", "config.json": CONFIG, "tokenizer.json": SHARED}, name="a/a", commit="2" * 40)
    export_bundle(str(models), [entry], str(bundle))
    report = export_bundle(str(models), [other], str(bundle))
    assert (report.copied, report.kept) == (len(b"other"), len(CONFIG) + len(SHARED))
    assert [model.name for model in report.index.models] == ["a/a", "a/b"]
    assert len(list((bundle / "blobs").rglob("*/*/*"))) == 4
    together = tmp_path / "together"
    export_bundle(str(models), [entry, other], str(together))
    made = json.loads((together / "bundle.json").read_bytes())
    assert dict(made, created_at="") == dict(json.loads((bundle / "bundle.json").read_bytes()), created_at="")


def test_a_model_that_is_exported_again_is_replaced(tmp_path: Path, models: Path, entry: Entry) -> None:
    bundle = tmp_path / "bundle"
    export_bundle(str(models), [entry], str(bundle))
    report = export_bundle(str(models), [entry.replace(alias="cee")], str(bundle))
    assert [model.alias for model in report.index.models] == ["cee"]
    assert (report.copied, report.changed) == (0, True)


def test_an_ollama_model_keeps_its_manifest(tmp_path: Path, models: Path, entry: Entry) -> None:
    root = tmp_path / "ollama"
    phi = ollama_model(root, [b"weights", b"template", b"config"])
    report = export_bundle(str(models), [phi, entry], str(tmp_path / "bundle"))
    model = next(item for item in report.index.models if item.provider == "ollama")
    assert model.manifest == (root / "manifests/registry.ollama.ai/library/phi3/mini").read_bytes()
    assert model.revision == f"sha256:{sha256(model.manifest)}"
    assert {file.path for file in model.files} == {f"blobs/sha256-{sha256(content)}" for content in (b"weights", b"template", b"config")}
    assert blob(tmp_path / "bundle", b"weights").read_bytes() == b"weights"


def test_an_ollama_model_whose_tag_moved_is_refused(tmp_path: Path, models: Path) -> None:
    phi = ollama_model(tmp_path / "ollama", [b"weights", b"config"])
    ollama_model(tmp_path / "ollama", [b"other weights", b"config"])
    assert refused("digest_mismatch", models, [phi], tmp_path / "bundle").details["expected"] == phi.revision


def test_an_ollama_model_of_a_server_that_keeps_it_for_itself(tmp_path: Path, models: Path) -> None:
    phi = ollama_model(tmp_path / "ollama", [b"weights", b"config"])
    refused("not_installed", models, [phi.replace(local_path="", files=())], tmp_path / "bundle")
    refused("not_installed", models, [phi.replace(local_path=str(tmp_path / "nowhere"))], tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_wrong_bytes_in_the_store_are_not_exported(tmp_path: Path, models: Path, entry: Entry) -> None:
    bundle = tmp_path / "bundle"
    stored = Path(Blobs(str(models)).path(Digest("sha256", sha256(WEIGHTS))))
    stored.write_bytes(b"x" + WEIGHTS[1:])
    error = refused("digest_mismatch", models, [entry], bundle)
    assert error.details["file"] == "model.safetensors"
    assert not blob(bundle, WEIGHTS).exists()
    assert not (bundle / "bundle.json").exists()
    stored.write_bytes(WEIGHTS)
    assert export_bundle(str(models), [entry], str(bundle)).kept == len(CONFIG)


def test_a_missing_blob_or_a_symlink_in_its_place(tmp_path: Path, models: Path, entry: Entry) -> None:
    stored = Path(Blobs(str(models)).path(Digest("sha256", sha256(WEIGHTS))))
    stored.rename(tmp_path / "elsewhere")
    refused("not_installed", models, [entry], tmp_path / "bundle")
    stored.symlink_to(tmp_path / "elsewhere")
    refused("not_installed", models, [entry], tmp_path / "bundle")


def test_a_damaged_blob_of_the_bundle_is_replaced(tmp_path: Path, models: Path, entry: Entry) -> None:
    bundle = tmp_path / "bundle"
    export_bundle(str(models), [entry], str(bundle))
    for damaged in (b"x" + WEIGHTS[1:], WEIGHTS[:-1]):
        blob(bundle, WEIGHTS).write_bytes(damaged)
        report = export_bundle(str(models), [entry], str(bundle))
        assert (report.copied, report.changed) == (len(WEIGHTS), True)
        assert blob(bundle, WEIGHTS).read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("left", "copied"), [(WEIGHTS[:1_000_000], 2_000_000), (b"x" * 1_000_000, 3_000_000), (WEIGHTS + b"x", 3_000_000), (WEIGHTS, 0)]
)
def test_what_an_interrupted_copy_left_is_used_if_it_is_right(tmp_path: Path, models: Path, entry: Entry, left: bytes, copied: int) -> None:
    bundle = tmp_path / "bundle"
    (bundle / "partial").mkdir(parents=True)
    (bundle / "partial" / sha256(WEIGHTS)).write_bytes(left)
    seen: list[int] = []
    report = export_bundle(str(models), [entry], str(bundle), lambda done, total: seen.append(done))
    assert report.copied == copied + len(CONFIG) + len(SHARED)
    assert report.copied + report.kept == entry.size_bytes
    assert seen == sorted(seen)
    assert blob(bundle, WEIGHTS).read_bytes() == WEIGHTS
    assert not (bundle / "partial").exists()


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[4])
from pathlib import Path
from ansible_collections.venom.llm.plugins.module_utils.bundles import export_bundle
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
def progress(done, total):
    if done >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
export_bundle(sys.argv[1], Manifest.load(sys.argv[1]).models, sys.argv[2], progress)
"""


@pytest.mark.parametrize("moment", [1, 1_500_000, 2_999_999, 3_000_010, 3_000_700, 4_100_000])
def test_an_export_that_is_killed_goes_on(tmp_path: Path, models: Path, entry: Entry, moment: int) -> None:
    bundle = tmp_path / "bundle"
    other = hub_model(models, {"model.safetensors": b"o" * 1_200_000, "config.json": CONFIG}, name="c/d", commit="2" * 40)
    records = {"schema": 1, "models": [item.to_dict() for item in (entry, other)]}
    (models / "manifest.json").write_text(json.dumps(records))
    root = str(Path(bundles.__file__).resolve())
    package = root.partition("/plugins/module_utils/")[0]
    space = tmp_path / "space" / "ansible_collections" / "venom"
    space.mkdir(parents=True)
    (space / "llm").symlink_to(package)
    command = [sys.executable, "-c", KILLED, str(models), str(bundle), str(moment), str(tmp_path / "space")]
    process = subprocess.run(command, stderr=subprocess.PIPE, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    held = BundleIndex.read(str(bundle)) if (bundle / "bundle.json").exists() else BundleIndex()
    assert all(blob(bundle, b"").parent.parent.joinpath(file.sha256[:2], file.sha256).exists() for model in held.models for file in model.files)
    for path in (bundle / "blobs").rglob("*"):
        assert path.is_dir() or sha256(path.read_bytes()) == path.name
    report = export_bundle(str(models), [entry, other], str(bundle))
    assert report.kept > 0 or moment == 1
    assert [model.name for model in report.index.models] == ["a/b", "c/d"]
    whole = tmp_path / "whole"
    export_bundle(str(models), [entry, other], str(whole))
    assert everything(bundle / "blobs") == everything(whole / "blobs")


def test_a_full_disk_is_seen_before_anything_is_written(tmp_path: Path, models: Path, entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "measure_free", lambda path: entry.size_bytes - 1)
    error = refused("disk_full", models, [entry], tmp_path / "bundle")
    assert error.details["bytes_needed"] == entry.size_bytes
    assert not (tmp_path / "bundle" / "blobs").exists()
    monkeypatch.setattr(bundles, "measure_free", lambda path: entry.size_bytes)
    export_bundle(str(models), [entry], str(tmp_path / "bundle"))
    monkeypatch.setattr(bundles, "measure_free", lambda path: 0)
    export_bundle(str(models), [entry], str(tmp_path / "bundle"))


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT"])
def test_a_disk_that_becomes_full(tmp_path: Path, models: Path, entry: Entry, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    import errno

    def fail(descriptor: int) -> None:
        raise OSError(getattr(errno, number), "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        (tmp_path / "bundle" / "partial").mkdir(parents=True)
        refused("disk_full", models, [entry], tmp_path / "bundle")
    assert export_bundle(str(models), [entry], str(tmp_path / "bundle")).kept == len(CONFIG)


def test_a_file_system_that_takes_no_file_so_large(tmp_path: Path, models: Path, entry: Entry) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        error = refused("io_error", models, [entry], tmp_path / "bundle")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "FAT32" in error.found
    assert export_bundle(str(models), [entry], str(tmp_path / "bundle")).kept == 1_000_000 + len(CONFIG)


def test_one_export_at_a_time(tmp_path: Path, models: Path, entry: Entry) -> None:
    (tmp_path / "bundle").mkdir()
    with Lock(str(tmp_path / "bundle" / "bundle.lock"), 0.0):
        refused("locked", models, [entry], tmp_path / "bundle")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema":2,"models":[]}'])
def test_a_foreign_index_is_left_alone(tmp_path: Path, models: Path, entry: Entry, content: bytes) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_bytes(content)
    refused("bundle_invalid", models, [entry], tmp_path / "bundle")
    assert (tmp_path / "bundle" / "bundle.json").read_bytes() == content
    assert not (tmp_path / "bundle" / "blobs").exists()


@pytest.mark.parametrize("name", ["blobs", "partial", "bundle.lock"])
def test_a_symlink_in_the_target_is_not_followed(tmp_path: Path, models: Path, entry: Entry, name: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / name).symlink_to(victim)
    refused("invalid_name", models, [entry], tmp_path / "bundle")
    assert list(victim.iterdir()) == []


def test_hostile_names_in_a_record_are_not_exported(tmp_path: Path, models: Path) -> None:
    refused("invalid_name", models, [hub_model(models, {"../x": b"x"})], tmp_path / "bundle")
    refused("not_installed", models, [hub_model(models, {})], tmp_path / "bundle")
