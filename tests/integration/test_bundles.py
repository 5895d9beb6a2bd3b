# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models across an air gap: installed from a hub or a registry, exported, imported where neither can be reached."""
from __future__ import annotations

import hashlib
import os
import shutil
import socket
import typing as t
from pathlib import Path

import pytest
from integration.models_support import FakeContext, defaults, install, small_model

from ansible_collections.venom.llm.plugins.module_utils.bundle_making import run_bundle
from ansible_collections.venom.llm.plugins.module_utils.bundles import export_bundle
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord, snapshot_sha256
from ansible_collections.venom.llm.plugins.module_utils.models_options import bundle_spec
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import OllamaManifest
from ansible_collections.venom.llm.plugins.module_utils.policy import check_code, check_indexes, select_files
from ansible_collections.venom.llm.plugins.module_utils.policy_headers import check_headers, check_weights
from ansible_collections.venom.llm.plugins.module_utils.sources.base import ModelPlan
from ansible_collections.venom.llm.plugins.module_utils.sources.bundle import BundleSource
from ansible_collections.venom.llm.plugins.module_utils.sources.hub import HubSource
from ansible_collections.venom.llm.plugins.module_utils.sources.ranges import RangeReader
from ansible_collections.venom.llm.plugins.module_utils.sources.registry import RegistrySource
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.store.ollama import OllamaStore
from ansible_collections.venom.llm.plugins.module_utils.store.snapshots import Snapshots
from ansible_collections.venom.llm.plugins.module_utils.transfer.engine import TransferOptions, fetch
from lab.hub import Hub
from lab.models import llama, ollama_layers
from lab.registry import Registry

pytest.importorskip("huggingface_hub")

REF = ModelRef.parse("a/b")
POLICY = RetryPolicy(retries=1, base=0.01, cap=0.02)
OPTIONS = TransferOptions(max_parallel=4, retry_policy=POLICY, stall_timeout=5.0)


@pytest.fixture
def hub(tmp_path: Path) -> t.Iterator[Hub]:
    with Hub(cdn_host="127.0.0.2") as running:
        running.add_repo("a/b", llama(tmp_path / "repo", shards=2, pad_mb=6))
        running.add_repo("c/d", small_model(tmp_path / "other", 2))
        yield running


@pytest.fixture
def installed(tmp_path: Path, hub: Hub) -> list[Entry]:
    install(tmp_path / "connected", hub, models=[{"name": "a/b", "alias": "bee"}, {"name": "c/d"}])
    return list(Manifest.load(models_dir(tmp_path)).models)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[], None]:
    """Called once everything is there: from then on nothing connects to anywhere."""

    def cut() -> None:
        def refuse(*dummy: object) -> t.NoReturn:
            raise AssertionError("an import asked the network")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)

    return cut


def models_dir(folder: Path, host: str = "connected") -> str:
    return str(folder / host / "models")


def contents(folder: str | Path) -> dict[str, str]:
    """Every file below a folder with the digest of its bytes."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(folder).rglob("*") if path.is_file()}


def quiet(dummy_done: int, dummy_total: int) -> None:
    """Nobody watches."""


def judge(source: BundleSource, plan: ModelPlan) -> None:
    """The policy has the same say as for a hub: a bundle comes from elsewhere, too."""
    assert select_files(plan.ref, plan.files, (), False) == plan.files

    def read(file: t.Any) -> bytes:
        return source.read(file, 1_000_000)

    check_code(plan.ref, plan.files, read, False)
    check_headers(plan.ref, plan.files, RangeReader(source, POLICY), (), check_indexes(plan.ref, plan.files, read))


def import_snapshot(source: BundleSource, ref: ModelRef, revision: str, target: str) -> str:
    """Plan, judge, fetch and publish, as an install does. Returns the snapshot's path."""
    plan = source.resolve(ref, revision, (), ())
    judge(source, plan)
    blobs = Blobs(target)
    report = fetch([source], plan.files, blobs, OPTIONS, quiet)
    for file in plan.files:
        check_weights(ref, file.path, blobs.path(report.digests[file.announced]))
    snapshots = Snapshots(os.path.join(target, "hf"), blobs)
    return snapshots.publish(ref.folder(plan.revision), {file.path: report.digests[file.announced] for file in plan.files})


def test_a_model_crosses_the_gap(tmp_path: Path, hub: Hub, installed: list[Entry], no_network: t.Callable[[], None]) -> None:
    bundle = tmp_path / "bundle"
    export_bundle(models_dir(tmp_path), installed, str(bundle))
    carried = tmp_path / "stick"
    shutil.copytree(bundle, carried)
    shutil.rmtree(bundle)
    hub.down()
    no_network()
    source = BundleSource(str(carried))
    for entry in installed:
        path = import_snapshot(source, entry.ref, "main", models_dir(tmp_path, "isolated"))
        assert contents(path) == contents(entry.local_path)
        assert path.endswith(entry.ref.folder(entry.revision))
    assert source.find(REF).alias == "bee"


def test_a_damaged_bundle_ends_in_a_refusal(tmp_path: Path, installed: list[Entry]) -> None:
    bundle, target = tmp_path / "bundle", models_dir(tmp_path, "isolated")
    export_bundle(models_dir(tmp_path), installed, str(bundle))
    source = BundleSource(str(bundle))
    plan = source.resolve(REF, "main", (), ())
    large = max(plan.files, key=lambda file: file.size)
    blob = bundle / "blobs" / "sha256" / str(large.sha256)[:2] / str(large.sha256)
    good = blob.read_bytes()
    # The flipped byte lies among the weights, where no header tells of it.
    blob.write_bytes(good[:-1000] + bytes([good[-1000] ^ 1]) + good[-999:])
    with pytest.raises(VenomError) as caught:
        import_snapshot(source, REF, "main", target)
    assert caught.value.reason_code == "digest_mismatch"
    assert caught.value.details["file"] == large.path
    for content, code in ((good[:-1], "bundle_invalid"), (None, "bundle_invalid")):
        blob.unlink()
        if content is not None:
            blob.write_bytes(content)
        with pytest.raises(VenomError) as caught:
            fetch([source], plan.files, Blobs(target), OPTIONS, quiet)
        assert caught.value.reason_code == code
    assert not os.path.exists(os.path.join(target, "hf"))
    assert str(large.sha256) not in {os.path.basename(path) for path in contents(target)}
    # The same folder, exported again, is whole again, and the import takes it.
    assert export_bundle(models_dir(tmp_path), installed, str(bundle)).copied == large.size
    assert contents(import_snapshot(source, REF, "main", target)) == contents(installed[0].local_path)


def test_a_hub_helps_out_where_the_bundle_is_damaged(tmp_path: Path, hub: Hub, installed: list[Entry]) -> None:
    bundle = tmp_path / "bundle"
    export_bundle(models_dir(tmp_path), installed, str(bundle))
    origin = HubSource(hub.url, allowed_hosts=[str(hub.cdn_url).rpartition("//")[2]], retry_policy=POLICY)
    plan = origin.resolve(REF, "main", (), ())
    large = max(plan.files, key=lambda file: file.size)
    blob = bundle / "blobs" / "sha256" / str(large.sha256)[:2] / str(large.sha256)
    blob.write_bytes(bytes(large.size))
    hub.log.clear()
    report = fetch([BundleSource(str(bundle)), origin], plan.files, Blobs(models_dir(tmp_path, "isolated")), OPTIONS, quiet)
    assert set(report.digests) == {file.announced for file in plan.files}
    assert {entry.path.rpartition("/")[2] for entry in hub.log.entries()} == {large.path}


def test_wrong_bytes_in_the_store_do_not_leave_the_host(tmp_path: Path, installed: list[Entry]) -> None:
    record = max(installed[0].files, key=lambda item: item.size)
    stored = Blobs(models_dir(tmp_path)).path(record.digest)
    os.chmod(stored, 0o644)
    with open(stored, "r+b") as stream:
        stream.seek(record.size - 10)
        stream.write(b"wrong")
    with pytest.raises(VenomError) as caught:
        export_bundle(models_dir(tmp_path), installed, str(tmp_path / "bundle"))
    assert caught.value.reason_code == "digest_mismatch"
    assert caught.value.details["file"] == record.path


class Interrupted(Exception):
    """What the operator's Ctrl-C becomes."""


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.99])
def test_an_interrupted_export_goes_on(tmp_path: Path, installed: list[Entry], share: float) -> None:
    bundle, total = tmp_path / "bundle", len({record.digest: 0 for entry in installed for record in entry.files})

    def stop(done: int, size: int) -> None:
        if done >= share * size:
            raise Interrupted

    with pytest.raises(Interrupted):
        export_bundle(models_dir(tmp_path), installed, str(bundle), stop)
    if (bundle / "bundle.json").exists():
        for model in BundleSource(str(bundle)).index.models:
            judge(BundleSource(str(bundle)), BundleSource(str(bundle)).resolve(model.ref, "main", (), ()))
    report = export_bundle(models_dir(tmp_path), installed, str(bundle))
    size = sum({record.digest: record.size for entry in installed for record in entry.files}.values())
    assert report.copied + report.kept == size
    assert report.copied <= (1 - share) * size + 1
    assert len([path for path in (bundle / "blobs").rglob("*") if path.is_file()]) == total
    assert contents(import_snapshot(BundleSource(str(bundle)), REF, "main", models_dir(tmp_path, "isolated"))) == contents(installed[0].local_path)


def test_an_ollama_model_crosses_the_gap(tmp_path: Path, no_network: t.Callable[[], None]) -> None:
    ref = ModelRef.parse("tiny:latest")
    config, layers = ollama_layers(tmp_path / "layers", pad_mb=2)
    connected, isolated = OllamaStore(str(tmp_path / "connected")), OllamaStore(str(tmp_path / "isolated"))
    with Registry() as registry:
        digest = registry.add("library/tiny", "latest", layers, config)
        origin = RegistrySource(registry.url, allowed_hosts=[str(registry.cdn_url).rpartition("//")[2]], retry_policy=POLICY)
        plan = origin.resolve(ref, "")
        fetch([origin], plan.files, connected, OPTIONS, quiet)
        connected.publish(ref, OllamaManifest.parse(plan.manifest or b""))
    export_bundle(str(tmp_path / "unused"), [ollama_entry(connected, ref)], str(tmp_path / "bundle"))
    no_network()
    source = BundleSource(str(tmp_path / "bundle"))
    assert source.find_commit(ref) == digest
    plan = source.resolve(ref, None, (), ())
    check_headers(ref, plan.files, RangeReader(source, POLICY), formats={plan_path(plan, layers[0][1]): "gguf"})
    fetch([source], plan.files, isolated, OPTIONS, quiet)
    isolated.publish(ref, OllamaManifest.parse(plan.manifest or b""))
    found = isolated.read(ref)
    assert found is not None
    assert found.digest == digest
    assert contents(tmp_path / "isolated") == contents(tmp_path / "connected")


def make_bundle(folder: Path, models: str) -> str:
    """A bundle by the operation of ``venom_bundle``."""
    params = defaults(bundle_spec())
    result = run_bundle(dict(params, path=str(folder / "bundle"), models_dir=models), FakeContext())
    assert result["changed"]
    return str(folder / "bundle")


def test_venom_model_takes_a_bundle_for_a_hub(
    tmp_path: Path, hub: Hub, installed: list[Entry], no_network: t.Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path, models_dir(tmp_path))
    hub.down()
    no_network()
    # Neither the library of the hub, nor a token, nor the folder that the backend would be in.
    monkeypatch.setattr(FakeContext, "has_library", lambda *dummy: False)
    wanted: dict[str, t.Any] = {"models": [{"name": "a/b", "alias": "bee"}, {"name": "c/d", "state": "latest"}], "bundle": bundle}
    wanted.update(token_file=str(tmp_path / "no-token"), endpoint="https://hub.invalid")
    check = install(tmp_path / "isolated", None, check=True, **wanted)
    assert not (tmp_path / "isolated").exists()
    real = install(tmp_path / "isolated", None, **wanted)
    assert (check["changed"], check["diff"]) == (real["changed"], real["diff"])
    assert real["bytes_fetched"] == check["bytes_to_fetch"] > 0
    assert sorted(entry["revision"] for entry in real["models"]) == sorted(entry.revision for entry in installed)
    for entry in Manifest.load(models_dir(tmp_path, "isolated")).models:
        before = next(item for item in installed if item.name == entry.name)
        assert contents(entry.local_path) == contents(before.local_path)
        assert entry.facts == before.facts
    again = install(tmp_path / "isolated", None, **wanted)
    assert (again["changed"], again["bytes_fetched"]) == (False, 0)
    with pytest.raises(VenomError) as caught:
        install(tmp_path / "isolated", None, name="e/f", bundle=bundle)
    assert caught.value.reason_code == "not_found"
    large = max(installed[0].files, key=lambda record: record.size)
    blob = Path(bundle, "blobs", "sha256", large.digest.hex[:2], large.digest.hex)
    good = blob.read_bytes()
    blob.write_bytes(good[:-1000] + bytes([good[-1000] ^ 1]) + good[-999:])
    with pytest.raises(VenomError) as caught:
        install(tmp_path / "another", None, **wanted)
    assert caught.value.reason_code == "digest_mismatch"
    blob.write_bytes(good)
    assert install(tmp_path / "another", None, **wanted)["changed"]


def test_venom_model_takes_a_bundle_for_a_registry(tmp_path: Path) -> None:
    config, layers = ollama_layers(tmp_path / "layers", pad_mb=2)
    with Registry() as registry:
        digest = registry.add("library/tiny", "latest", layers, config)
        options: dict[str, t.Any] = {"name": "tiny", "fit": "warn", "ollama_url": "http://127.0.0.1:9"}
        first = dict(options, registry=registry.url, allowed_hosts=[str(registry.cdn_url).rpartition("//")[2]], ollama_method="store")
        install(tmp_path / "connected", None, ollama_models_dir=str(tmp_path / "connected" / "store"), **first)
    bundle = make_bundle(tmp_path, models_dir(tmp_path))
    wanted = dict(options, registry="http://127.0.0.1:9", bundle=bundle, ollama_models_dir=str(tmp_path / "isolated" / "store"), alias="small")
    with pytest.raises(VenomError) as caught:
        install(tmp_path / "isolated", None, ollama_method="cli", **wanted)
    assert caught.value.reason_code == "invalid_option"
    found = install(tmp_path / "isolated", None, **wanted, ollama_method="store")
    assert [(entry["revision"], entry["alias"]) for entry in found["models"]] == [(digest, "small")]
    assert contents(tmp_path / "isolated" / "store") == contents(tmp_path / "connected" / "store")
    assert install(tmp_path / "isolated", None, **wanted)["changed"] is False


def plan_path(plan: ModelPlan, content: Path) -> str:
    """The path that a plan gives to some content."""
    digest = hashlib.sha256(content.read_bytes()).hexdigest()
    return next(file.path for file in plan.files if file.sha256 == digest)


def ollama_entry(store: OllamaStore, ref: ModelRef) -> Entry:
    """The record of a model in a store."""
    manifest = store.read(ref)
    if manifest is None:
        raise AssertionError(f"{ref} is not in the store")
    records = [FileRecord(f"blobs/sha256-{layer.digest.hex}", layer.size, layer.digest) for layer in manifest.layers]
    records.append(FileRecord(store.manifest_path(ref), len(manifest.content), Digest.parse(manifest.digest)))
    return Entry(
        name=str(ref),
        provider="ollama",
        runtime="ollama",
        revision=manifest.digest,
        requested_revision=ref.tag,
        alias=None,
        local_path=store.root,
        size_bytes=sum(record.size for record in records),
        files=tuple(records),
        sha256=snapshot_sha256(records),
        installed_at="2026-01-01T00:00:00+00:00",
    )
