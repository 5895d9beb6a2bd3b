# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Eight at once on one host: each model is fetched once, all succeed, whoever dies holds up nobody."""
from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from integration.install_checks import BOUND, START_COST, Sha256s, check_idle, check_journal
from integration.install_support import (
    MIB,
    Install,
    call,
    commit_of,
    make_model,
    started,
    wait_until,
)
from integration.models_support import install
from integration.operations_support import Controller, task

from ansible_collections.venom.llm.plugins.module_utils.files import Lock
from ansible_collections.venom.llm.plugins.module_utils.lock_holders import read_holders
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.models import lock_path
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.store.ollama import OllamaStore
from lab.hub import Hub
from lab.models import ollama_layers
from lab.registry import Registry

pytest.importorskip("huggingface_hub")

EIGHT = range(8)
#: The common one is large enough that 2 % of it are more than nine readings of its headers.
COMMON = "many/common"
ONE_MIB, TWO_MIB = 260, 60


@dataclass
class Sites:
    """A hub with a common model and eight others, a registry with eight more."""

    hub: Hub
    registry: Registry

    def hub_names(self) -> list[str]:
        return [f"many/model{number}" for number in EIGHT]

    def tags(self) -> list[str]:
        return [f"tiny:m{number}" for number in EIGHT]

    def call(self, folder: Path, **options: t.Any) -> dict[str, t.Any]:
        """Parameters for one host's folder."""
        hosts = [str(site.cdn_url).rpartition("//")[2] for site in (self.hub, self.registry)]
        store = {"ollama_models_dir": str(folder / "store"), "ollama_method": "store", "ollama_url": "http://127.0.0.1:9"}
        return call(folder, self.hub, **{"allowed_hosts": hosts, "registry": self.registry.url, **store, **options})

    def clear(self) -> None:
        self.hub.log.clear()
        self.registry.log.clear()
        self.hub.faults.clear()

    def sizes(self, names: t.Iterable[str]) -> int:
        """Bytes of models of the hub, those that they share counted once."""
        contents = {file.sha256: file.size for name in names for file in commit_of(self.hub, name).files.values()}
        return sum(contents.values())

    def sizes_of_tags(self, tags: t.Iterable[str]) -> int:
        contents: dict[str, int] = {}
        for tag in tags:
            manifest = json.loads(self.registry.manifest("library/tiny", tag.rpartition(":")[2]))
            contents.update({layer["digest"]: layer["size"] for layer in (*manifest["layers"], manifest["config"])})
        return sum(contents.values())

    def check(self, folder: Path, names: t.Collection[str], tags: t.Collection[str] = ()) -> None:
        """These models are there in full, no other, and nothing is left over."""
        models, hashes = folder / "models", Sha256s()
        manifest = Manifest.load(str(models))
        assert manifest.warnings == ()
        assert sorted(entry.name for entry in manifest.models) == sorted([*names, *tags])
        for entry in manifest.models:
            for record in entry.files:
                path = Path(entry.local_path, record.path)
                assert hashes.of(path) == record.digest.hex
            if entry.name in names:
                announced = {path: file.sha256 for path, file in commit_of(self.hub, entry.name).files.items()}
                assert {record.path: record.digest.hex for record in entry.files} == announced
        found = {path.name for path in (models / "hf").iterdir()} if names else set()
        assert found == {f"{name.replace('/', '--')}@{commit_of(self.hub, name).id}" for name in names}
        assert not (models / "partial").exists()
        blobs = {path.name for path in (models / "blobs").rglob("*") if path.is_file()}
        assert blobs == {file.sha256 for name in names for file in commit_of(self.hub, name).files.values()}
        if tags:
            assert len([manifest for dummy, manifest in OllamaStore(str(folder / "store")).walk() if manifest]) == len(tags)
            assert [path.name for path in (folder / "store" / ".venom").iterdir()] == ["models.lock"], "nothing unfinished"
        check_journal(models)
        check_idle(models)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Sites]:
    folder = tmp_path_factory.mktemp("models")
    with Hub(cdn_host="127.0.0.2") as hub, Registry() as registry:
        sites = Sites(hub, registry)
        hub.add_repo(COMMON, make_model(folder / "common", 100, ONE_MIB, TWO_MIB, text_mib=3), copy=False)
        for number, name in enumerate(sites.hub_names()):
            # One shard of two is in all of them.
            model = make_model(folder / name, number, 10, 5)
            shutil.copyfile(folder / "many/model0" / "model-00001-of-00002.safetensors", folder / "shared") if number == 0 else None
            shutil.copyfile(folder / "shared", model / "model-00001-of-00002.safetensors")
            hub.add_repo(name, model, copy=False)
            config, layers = ollama_layers(folder / f"tiny{number}", 8, number)
            registry.add("library/tiny", f"m{number}", layers, config)
        yield sites
    shutil.rmtree(folder)


@pytest.fixture
def sites(made: Sites) -> Sites:
    made.clear()
    return made


@pytest.fixture
def folder(tmp_path: Path) -> t.Iterator[Path]:
    """A host's folder that does not stay on the disk."""
    (tmp_path / "host" / "store").mkdir(parents=True)
    yield tmp_path / "host"
    shutil.rmtree(tmp_path / "host")


def test_the_same_model(folder: Path, sites: Sites) -> None:
    with started(*(sites.call(folder, name=COMMON) for dummy in EIGHT)) as processes:
        results = [process.result() for process in processes]
    assert [result for result in results if result.get("failed")] == []
    assert sorted(result["changed"] for result in results) == [False] * 7 + [True]
    assert {result["models"][0]["revision"] for result in results} == {commit_of(sites.hub, COMMON).id}
    assert len({json.dumps(result["models"]) for result in results}) == 1
    (fetched,) = [result["bytes_fetched"] for result in results if result["changed"]]
    assert [result["bytes_fetched"] for result in results if not result["changed"]] == [0] * 7
    size = sites.sizes([COMMON])
    assert fetched <= size
    assert sites.hub.log.sent() <= 1.02 * size
    sites.check(folder, [COMMON])


def test_the_same_model_by_eight_plays(folder: Path, tmp_path: Path, sites: Sites) -> None:
    plays = []
    for number in EIGHT:
        own = tmp_path / f"controller{number}"
        own.mkdir()
        ansible = Controller(own, ANSIBLE_REMOTE_TEMP=str(own / "remote"), ANSIBLE_LOCAL_TEMP=str(own / "local"))
        wanted = sites.call(folder, name=COMMON)
        options = ansible.options(sites.hub, **{key: wanted[key] for key in ("name", "models_dir", "config_dir", "allowed_hosts")})
        play = subprocess.Popen(
            ansible.write(task(options)), cwd=own, env=ansible.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        plays.append((own, play))
    results = []
    for own, play in plays:
        output = play.communicate(timeout=300)[0]
        results.append(json.loads((own / "localhost.json").read_text()))
        assert not results[-1].get("failed"), output
    assert sorted(result["changed"] for result in results) == [False] * 7 + [True]
    assert sites.hub.log.sent() <= 1.02 * sites.sizes([COMMON])
    assert list((folder / "models").glob("calls/*")) == []
    sites.check(folder, [COMMON])


def test_different_models(folder: Path, sites: Sites) -> None:
    with started(*(sites.call(folder, name=name) for name in sites.hub_names())) as processes:
        results = [process.result() for process in processes]
    assert [result["changed"] for result in results] == [True] * 8
    assert sites.hub.log.sent() <= sites.sizes(sites.hub_names()) + 8 * START_COST
    assert sum(result["bytes_fetched"] for result in results) <= sites.sizes(sites.hub_names())
    sites.check(folder, sites.hub_names())


def test_mixed_lists_in_different_orders(folder: Path, sites: Sites) -> None:
    """Of two runtimes, so that each call takes two locks; all have the same wish in the end, and nobody waits for ever."""
    wanted = [*sites.hub_names()[:4], *sites.tags()[:4]]
    lists = []
    for number in EIGHT:
        random.Random(number).shuffle(wanted)
        lists.append(sites.call(folder, models=[{"name": name} for name in wanted]))
    with started(*lists) as processes:
        results = [process.result() for process in processes]
    assert [result for result in results if result.get("failed")] == []
    assert sorted(result["changed"] for result in results) == [False] * 7 + [True]
    names, tags = sites.hub_names()[:4], sites.tags()[:4]
    assert sites.hub.log.sent() <= sites.sizes(names) + 8 * START_COST
    assert sites.registry.log.sent() <= sites.sizes_of_tags(tags) + 8 * START_COST
    sites.check(folder, names, tags)


def test_models_of_both_kinds_do_not_wait_for_each_other(folder: Path, sites: Sites) -> None:
    """One writer per runtime: an install for Ollama goes through while one for vLLM goes on."""
    slow = sites.hub.fault("slow", path="*/model-00001*", rate=MIB)
    with started(sites.call(folder, name=COMMON)) as (process,):
        wait_until(lambda: slow.hits, process.has_ended)
        with started(*(sites.call(folder, name=tag) for tag in sites.tags())) as others:
            assert [other.result()["changed"] for other in others] == [True] * 8
        assert not process.has_ended()
        process.kill()
    sites.hub.faults.clear()
    assert sites.registry.log.sent() <= sites.sizes_of_tags(sites.tags()) + 8 * START_COST


def holder_of(folder: Path, runtime: str) -> int | None:
    """Pid of who holds the lock."""
    found = [item["holder"]["pid"] for item in read_holders(str(folder / "models")) if item["name"] == f"models-{runtime}.lock"]
    return found[0] if found else None


def kill_holder(folder: Path, runtime: str, processes: t.Sequence[Install]) -> Install:
    """SIGKILL to the one of the processes that holds the lock."""
    pid = holder_of(folder, runtime)
    (victim,) = [process for process in processes if process.pid == pid]
    victim.kill()
    return victim


def test_a_killed_holder_holds_up_nobody(folder: Path, sites: Sites) -> None:
    """Those who wait made their plans before the holder completed one of two shards, and half of the other."""
    size, streams = sites.sizes([COMMON]), 2
    shards = [file for file in commit_of(sites.hub, COMMON).files.values() if file.path.endswith(".safetensors")]
    smaller, larger = sorted(shards, key=lambda file: file.size)
    blob = folder / "models" / "blobs" / "sha256" / smaller.sha256[:2] / smaller.sha256
    sites.hub.fault("slow", path="/lfs/*", rate=2 * MIB)
    with started(*(sites.call(folder, name=COMMON, max_parallel=streams) for dummy in EIGHT)) as processes:
        wait_until(lambda: all(process.has_planned() for process in processes))
        assert not blob.exists()
        sites.hub.faults.clear()
        sites.hub.fault("slow", path=f"/lfs/*{larger.sha256}*", rate=8 * MIB)
        wait_until(blob.exists)
        victim = kill_holder(folder, "vllm", processes)
        sites.hub.faults.clear()
        results = [process.result() for process in processes if process is not victim]
    assert [result for result in results if result.get("failed")] == []
    assert sorted(result["changed"] for result in results) == [False] * 6 + [True]
    assert sites.hub.log.sent() <= 1.02 * size + streams * BOUND
    sites.check(folder, [COMMON])


def test_holders_that_are_killed_one_after_the_other(folder: Path, sites: Sites) -> None:
    """Seven of eight die with the lock in their hands; the last one has all that they had fetched."""
    size, streams = sites.sizes([COMMON]), 2
    with started(*(sites.call(folder, name=COMMON, max_parallel=streams) for dummy in EIGHT)) as processes:
        living = list(processes)
        sites.hub.fault("slow", path="/lfs/*", rate=60 * MIB)
        while len(living) > 1:
            before = sites.hub.log.sent()
            wait_until(lambda: sites.hub.log.sent() - before > size / 10 and holder_of(folder, "vllm"))  # noqa: B023
            living.remove(kill_holder(folder, "vllm", living))
        result = living[0].result()
    assert result["changed"] is True
    assert sites.hub.log.sent() <= size + 7 * streams * BOUND + 8 * START_COST
    sites.check(folder, [COMMON])


def test_who_does_not_wait_is_told_for_whom(folder: Path, sites: Sites) -> None:
    slow = sites.hub.fault("slow", path="/lfs/*", rate=2 * MIB)
    with started(sites.call(folder, name=COMMON)) as (holder,):
        wait_until(lambda: slow.hits and holder_of(folder, "vllm"), holder.has_ended)
        with started(*(sites.call(folder, name=name, lock_timeout=0) for name in (COMMON, *sites.hub_names()[:2]))) as others:
            results = [other.result() for other in others]
        holder.kill()
    assert {result["reason_code"] for result in results} == {"locked"}
    assert {result["holder"]["pid"] for result in results} == {holder.pid}
    assert {tuple(result["holder"]["models"]) for result in results} == {(COMMON,)}
    assert all(f"pid {holder.pid}" in result["msg"] for result in results)
    sites.hub.faults.clear()
    with started(sites.call(folder, name=COMMON)) as (process,):
        assert process.result()["changed"] is True
    sites.check(folder, [COMMON])


def leave_unused(folder: Path, sites: Sites, name: str) -> Blobs:
    """Blobs as a run leaves them that ended before it published: there, and nobody's."""
    install(folder, None, **{**sites.call(folder, name=name), "models_dir": str(folder / "models")})
    blobs = Blobs(str(folder / "models"))
    (folder / "kept").mkdir()
    for digest, item in blobs.walk():
        os.link(item.path, folder / "kept" / digest.hex)
    install(folder, None, **{**sites.call(folder, name=name, state="absent"), "models_dir": str(folder / "models")})
    shutil.rmtree(folder / "kept")
    assert len(list(blobs.unused())) > 5
    sites.hub.log.clear()
    return blobs


def test_what_a_holder_collects_after_the_plan_was_made(folder: Path, sites: Sites) -> None:
    """The plan counts on blobs that are gone when its turn comes, and the manifest is what it was."""
    first, second = sites.hub_names()[:2]
    blobs = leave_unused(folder, sites, first)
    with started(sites.call(folder, name=second)) as (process,):
        with Lock(lock_path(str(folder / "models"), "vllm"), 0):
            wait_until(process.has_planned, process.has_ended)
            blobs.collect()
        result = process.result()
    assert not result.get("failed"), result
    sites.check(folder, [second])


def test_what_a_holder_collects_while_a_plan_is_made(folder: Path, sites: Sites) -> None:
    """Planning reads small files from blobs, without a lock; one that is gone meanwhile comes from the hub."""
    first, second = sites.hub_names()[:2]
    blobs = leave_unused(folder, sites, first)
    hang = sites.hub.fault("hang", path=f"*{second}/resolve/*/config.json", when="headers", seconds=2, times=1)
    with started(sites.call(folder, name=second)) as (process,):
        wait_until(lambda: hang.hits, process.has_ended)
        blobs.collect()
        result = process.result()
    assert not result.get("failed"), result
    sites.check(folder, [second])


def test_a_crowd_that_installs_and_removes(folder: Path, sites: Sites) -> None:
    """Eight with seeded lists of wishes that contradict each other and models that share a shard: none of them fails over another."""
    lists = []
    for number in EIGHT:
        source = random.Random(f"crowd {number}")
        names = [*sites.hub_names()[:3], *sites.tags()[:2]]
        wishes = [(source.choice(names), source.choice(["present", "present", "latest", "verified", "absent"])) for dummy in range(16)]
        lists.append([sites.call(folder, name=name, state=state) for name, state in wishes])
    with started(*lists) as processes:
        results = [result for process in processes for result in process.results()]
    assert [result for result in results if result.get("failed")] == []
    assert len(results) == 128
    with started(sites.call(folder, models=[{"name": name} for name in (*sites.hub_names()[:3], *sites.tags()[:2])])) as (process,):
        process.result()
    sites.check(folder, sites.hub_names()[:3], sites.tags()[:2])
