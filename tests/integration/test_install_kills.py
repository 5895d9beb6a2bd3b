# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs that are killed again and again, at seeded moments: the next run goes on, and the host tells the truth all the time."""
from __future__ import annotations

import json
import random
import shutil
import signal
import typing as t
from pathlib import Path

import pytest
from integration.install_checks import Chain, HostCheck, Sha256s, check_journal
from integration.install_support import (
    call,
    freeze,
    kill_all,
    make_model,
    signal_all,
    started,
    users_of,
    wait_until,
)
from integration.models_support import install
from integration.operations_support import Controller, task, workers

from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.store.partials import kept_bytes
from lab.hub import Hub
from lab.models import ollama_layers
from lab.registry import Registry

huggingface_hub = pytest.importorskip("huggingface_hub")

NAME = "a/b"
#: Shards in MiB; with a text of 8 MiB outside of LFS it is a GiB.
SHARDS = (600, 250, 100, 50, 16)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Hub]:
    folder = tmp_path_factory.mktemp("gib")
    with Hub(cdn_host="127.0.0.2") as running:
        running.add_repo(NAME, make_model(folder / "one", 1, 12, 4), tag="v1", copy=False)
        running.add_repo(NAME, make_model(folder / "two", 2, *SHARDS, text_mib=8), tag="v2", copy=False)
        yield running
    shutil.rmtree(folder)


@pytest.fixture
def folder(tmp_path: Path) -> t.Iterator[Path]:
    """A host's folder that takes no GiB of the disk when the test is over."""
    yield tmp_path / "host"
    shutil.rmtree(tmp_path / "host")


def begin(folder: Path, hub: Hub, streams: int, seed: int) -> tuple[Chain, HostCheck]:
    """An earlier revision on a host, and what comes beside it."""
    install(folder, hub, name=NAME, revision="v1")
    tags = hub.store.repos[NAME].tags
    host = HostCheck(folder, hub, NAME, tags["v1"], tags["v2"])
    assert host.size > 1024 * 1024 * 1024
    return Chain(folder / "models", hub, host, streams, seed), host


def completed(chain: Chain, host: HostCheck) -> None:
    """All is there and right, also for the Hub's own library; then it is removed for the next install."""
    host.check_complete()
    chain.completed()
    revision = host.later.id
    api = huggingface_hub.HfApi(endpoint=host.hub.url)
    found = api.verify_repo_checksums(NAME, revision=revision, local_dir=host.snapshot(revision), token=False)
    assert found.checked_count == len(host.later.files)
    assert (found.mismatches, found.missing_paths, found.extra_paths) == ([], [], [])
    install(host.models.parent, None, name=NAME, revision=revision, state="absent")
    host.check()
    chain.begin()


@pytest.mark.parametrize(("streams", "kills"), [(8, 16), (2, 14), (1, 11)])
def test_killed_processes(folder: Path, hub: Hub, streams: int, kills: int) -> None:
    chain, host = begin(folder, hub, streams, seed=streams)
    options = call(folder, hub, name=NAME, revision="v2", max_parallel=streams)
    while chain.kills < kills:
        moment = chain.moment()
        with started(options) as (process,):
            if wait_until(moment, process.has_ended):
                process.kill()
            if process.process.wait() == -signal.SIGKILL:
                chain.killed()
            else:
                assert process.result()["models"][0]["revision"] == host.later.id
                completed(chain, host)
    chain.moment()
    with started(options) as (process,):
        assert process.result()["models"][0]["revision"] == host.later.id
    completed(chain, host)


@pytest.mark.parametrize(("streams", "kills"), [(8, 6), (4, 3)])
def test_killed_plays(folder: Path, tmp_path: Path, hub: Hub, streams: int, kills: int) -> None:
    """A third of the kills hit all processes, a third the play alone, whose worker has to notice, a third the worker alone."""
    chain, host = begin(folder, hub, streams, seed=100 + streams)
    ansible = Controller(tmp_path, ANSIBLE_REMOTE_TEMP=str(tmp_path / "remote"), ANSIBLE_LOCAL_TEMP=str(tmp_path / "local"))
    options = ansible.options(hub, name=NAME, revision="v2", max_parallel=streams, operation_lease=3, retries=3)
    options["allowed_hosts"] = [str(hub.cdn_url).rpartition("//")[2]]
    victims = ["all", "play", "worker"] * (kills // 3)
    random.Random(streams).shuffle(victims)
    while True:
        (tmp_path / "localhost.json").unlink(missing_ok=True)
        with ansible.running(task(options)) as play:
            is_killed = interrupt(chain, play.pid, lambda: play.poll() is not None, victims)  # noqa: B023 - used at once
            play.wait(120)
        if is_killed:
            continue
        result = json.loads((tmp_path / "localhost.json").read_text())
        if not result.get("failed"):
            assert result["models"][0]["revision"] == host.later.id
            completed(chain, host)
            if not victims:
                return
        else:
            # It is started once more, and then that is that. A busy machine may also let the short lease run out.
            assert result.get("worker_died") or result["reason_code"] == "cancelled", result


def interrupt(chain: Chain, play: int, has_ended: t.Callable[[], bool], victims: list[str]) -> bool:
    """Kill what belongs to a play until it ends, or is itself killed, which is told."""
    while victims:
        moment = chain.moment()
        if not wait_until(lambda: moment() and (victims[-1] != "worker" or workers(chain.models)), has_ended):  # noqa: B023
            return False
        victim = victims.pop()
        family = freeze(play)
        if victim == "worker":
            # The play would start another one before anybody could look.
            kill_all(workers(chain.models))
            chain.killed(is_idle=False)
            signal_all(family, signal.SIGCONT)
            continue
        kill_all([*family, *(workers(chain.models) if victim == "all" else [])])
        wait_until(lambda: not users_of(chain.models))
        chain.killed()
        return True
    return False


class StoreCheck:
    """One Ollama store with a tag that moves from one model to another."""

    def __init__(self, store: Path, models: Path, registry: Registry, digests: t.Sequence[str]) -> None:
        self.store = store
        self.models = models
        self.digests = digests
        self.contents = {registry.manifest("library/tiny", digest): digest for digest in digests}
        (self._blobs,) = [_blobs(content) for content, digest in self.contents.items() if digest == digests[-1]]
        self._hashes = Sha256s()

    @property
    def size(self) -> int:
        """Bytes of the later model."""
        return sum(self._blobs.values())

    def kept(self) -> int:
        """Bytes of it that are here and will not be fetched again."""
        total = 0
        for digest, size in self._blobs.items():
            name = digest.replace(":", "-")
            is_whole = any((self.store / folder / name).exists() for folder in ("blobs", ".venom/staged"))
            total += size if is_whole else kept_bytes(str(self.store / ".venom/partial"), digest, size)
        return total

    def published(self) -> str:
        """The digest of the one manifest that the server would find; all its blobs are there and right."""
        (path,) = [path for path in (self.store / "manifests").rglob("*") if path.is_file()]
        content = path.read_bytes()
        for digest, size in _blobs(content).items():
            blob = self.store / "blobs" / digest.replace(":", "-")
            assert blob.stat().st_size == size
        return self.contents[content]

    def check(self) -> None:
        """The server and our manifest see one of the two models in full, and nothing unverified."""
        for folder in ("blobs", ".venom/staged"):
            for path in (self.store / folder).glob("[!.]*"):
                assert f"sha256-{self._hashes.of(path)}" == path.name
        published = self.published()
        manifest = Manifest.load(str(self.models))
        assert manifest.warnings == ()
        (entry,) = manifest.models
        # The store is changed first, and the next run finds out.
        assert entry.revision in (published, self.digests[0])
        check_journal(self.models)


def _blobs(content: bytes) -> dict[str, int]:
    manifest = json.loads(content)
    return {layer["digest"]: layer["size"] for layer in (*manifest["layers"], manifest["config"])}


def test_killed_installs_into_an_ollama_store(tmp_path: Path, folder: Path) -> None:
    streams, kills = 4, 10
    with Registry() as registry:
        options = call(folder, registry=registry.url, allowed_hosts=[str(registry.cdn_url).rpartition("//")[2]], max_parallel=streams)
        options.update(ollama_models_dir=str(folder / "store"), ollama_method="store", ollama_url="http://127.0.0.1:9", state="latest")
        options.update(name="tiny:mini")
        digests = []
        for seed, size in ((1, 20), (2, 180)):
            config, layers = ollama_layers(tmp_path / f"model{seed}", size, seed)
            digests.append(registry.add("library/tiny", "mini", layers, config))
            if seed == 1:
                with started(options) as (process,):
                    process.result()
        host = StoreCheck(folder / "store", folder / "models", registry, digests)
        chain = Chain(folder / "models", registry, host, streams, seed=7)
        while True:
            moment = chain.moment()
            with started(options) as (process,):
                if chain.kills < kills and wait_until(moment, process.has_ended):
                    process.kill()
                if process.process.wait() == -signal.SIGKILL:
                    chain.killed()
                    continue
                assert process.result()["models"][0]["revision"] == digests[1]
            assert host.published() == digests[1]
            host.check()
            chain.completed()
            assert [path.name for path in (folder / "store" / ".venom").iterdir()] == ["models.lock"], "nothing unfinished"
            if chain.kills >= kills:
                return
            # Back to the earlier model, and once more.
            registry.move_tag("library/tiny", "mini", digests[0])
            with started(options) as (process,):
                assert process.result()["models"][0]["revision"] == digests[0]
            registry.move_tag("library/tiny", "mini", digests[1])
            for digest in _blobs(registry.manifest("library/tiny", digests[1])):
                if digest not in _blobs(registry.manifest("library/tiny", digests[0])):
                    (folder / "store" / "blobs" / digest.replace(":", "-")).unlink(missing_ok=True)
            chain.begin()
