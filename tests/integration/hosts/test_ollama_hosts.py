# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama models on a host where the server is a service with an account of its own: installed, interrupted, repaired, removed.

The tests of this file are one story on one host, in order. The server is the lab's stand-in.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from installs import MB, PROMISED, STREAMS, ManifestReader, Meter, slow, wait_for
from ollama_service import STORE, URL, OllamaService
from operators import Operator, Run

from lab.hosts import Lab
from lab.models import ollama_layers
from lab.registry import Registry
from lab.system import call

pytestmark = pytest.mark.hosts

HOST = "lab3"
HERE = ("--tags", "models", "--limit", HOST)
TINY, BIG, OWN = "tiny:mini", "big:v1", "own:v1"
#: Our own records; of their own, so that other tests of the session keep their models.
FOLDER = "/var/lib/venom/beside-ollama"
USER, PASSWORD = "lab", "correct-horse-battery"
MODELS_TASK = "Make the models what the list says"


@dataclass(frozen=True)
class Beside:
    """A prepared host: the operator who installs models beside its server, the registry that they come from."""

    operator: Operator
    registry: Registry
    service: OllamaService
    digests: dict[str, str]

    def wanted(self, *names: str, state: str = "present") -> dict[str, t.Any]:
        """Variables that want these models."""
        return {"venom_models": [{"name": name, "state": state} for name in names]}

    def install(self, *arguments: str, **variables: t.Any) -> Run:
        """Play it."""
        return self.operator.play("install", *HERE, *arguments, **variables)

    def blobs(self, name: str) -> dict[str, str]:
        """File name of each blob of a model, with its media type."""
        manifest = json.loads(self.registry.manifest(f"library/{name.partition(':')[0]}", self.digests[name]))
        return {layer["digest"].replace(":", "-"): layer["mediaType"] for layer in (manifest["config"], *manifest["layers"])}

    def weights(self, name: str) -> str:
        """The blob that holds the weights of a model."""
        return next(blob for blob, kind in self.blobs(name).items() if kind.endswith(".model"))


def result_of(run: Run) -> dict[str, t.Any]:
    """What the module said."""
    return next(line["result"] for line in run.tasks if line["task"].endswith(MODELS_TASK))


@pytest.fixture(scope="module")
def registry(lab: Lab) -> t.Iterator[Registry]:
    """A registry on the bridge, plain http, that redirects to another address for the bytes, as the public one does: Ollama insists on it."""
    network, bridge = lab.settings.network, lab.settings.bridge
    other = str(network.ip + 1)
    # It goes with the bridge.
    call(["ip", "address", "replace", f"{other}/{network.network.prefixlen}", "dev", bridge])
    with Registry(str(network.ip), cdn_host=other) as running:
        yield running


@pytest.fixture(scope="module")
def digests(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The models of the registry: name to digest."""
    found = {}
    for seed, (name, size) in enumerate({TINY: 5, BIG: 150, OWN: 1}.items(), 1):
        config, layers = ollama_layers(tmp_path_factory.mktemp("layers"), size, seed)
        repository, dummy, tag = name.partition(":")
        found[name] = registry.add(f"library/{repository}", tag, layers, config)
    return found


@pytest.fixture(scope="module")
def service(lab: Lab, registry: Registry, digests: dict[str, str]) -> t.Iterator[OllamaService]:
    """The server, running, with one model that it has pulled by itself."""
    found = OllamaService(lab, HOST)
    found.install()
    found.ask("POST", "/api/pull", {"model": f"{registry.host}/library/{OWN}", "insecure": True, "stream": False})
    yield found
    found.remove()
    lab.run(HOST, ["rm", "-rf", FOLDER])


@pytest.fixture(scope="module")
def prepared(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The host has the account, the folders and the backend of the collection."""
    Operator(lab.inventory, tmp_path_factory.mktemp("prepare"), {"venom_wheels_dir": "/srv/wheels"}).play("site", "--tags", "host", "--limit", HOST)


@pytest.fixture
def beside(lab: Lab, registry: Registry, service: OllamaService, digests: dict[str, str], prepared: None, tmp_path: Path) -> Beside:
    """The host, and an operator whose variables name the server's store and the registry."""
    variables = {
        "venom_models_dir": FOLDER,
        "venom_models_reserve_gib": 0,
        "venom_models_max_parallel": STREAMS,
        "venom_models_allowed_hosts": [str(registry.cdn_url).rpartition("//")[2]],
        "venom_ollama_registry": registry.url,
        "venom_ollama_registry_username": USER,
        "venom_ollama_registry_password": PASSWORD,
        "venom_ollama_url": URL,
        "venom_ollama_models_dir": STORE,
        "venom_ollama_method": "store",
    }
    return Beside(Operator(lab.inventory, tmp_path, variables), registry, service, digests)


@pytest.fixture
def private(registry: Registry) -> t.Iterator[None]:
    """The registry asks for a password."""
    registry.logins.users = {USER: PASSWORD}
    registry.logins.auth = "basic"
    yield
    registry.logins.auth = "none"


def test_a_model_appears_in_the_store_of_the_running_server(beside: Beside, private: None) -> None:
    pid, wanted = beside.service.pid(), beside.wanted(TINY)
    before = beside.service.tree()
    announced = beside.install("--check", **wanted)
    refused = beside.operator.play("install", *HERE, expect=2, venom_ollama_registry_password="wrong", **wanted)
    assert refused.reason_codes() == ["unauthorized"]
    assert beside.service.tree() == before, "neither writes anything"
    run = beside.install(**wanted)
    assert PASSWORD not in run.output + announced.output
    assert run.changed() == announced.changed() and len(run.changed()) == 1
    assert beside.service.listed()[TINY] == beside.digests[TINY]
    assert beside.service.says(TINY).startswith(" I am ")
    # What we wrote cannot be told from what the server wrote: owner, group and modes.
    after = beside.service.tree()
    assert {(facts.kind, facts.owner, facts.mode) for facts in after.values()} == {("d", "ollama:ollama", "700"), ("f", "ollama:ollama", "600")}
    assert len(after) >= len(before) + 6 and {path for path in after if path.startswith(".venom")} <= {".venom", ".venom/models.lock"}
    assert beside.service.pid() == pid, "nobody restarted the server"


def test_the_second_run_asks_nobody(beside: Beside) -> None:
    meter = Meter(beside.registry, "*")
    assert beside.install(**beside.wanted(TINY)).changed() == []
    assert meter.requests == []


def test_a_flipped_byte_is_repaired_which_the_server_cannot(lab: Lab, beside: Beside) -> None:
    blob = beside.weights(TINY)
    path = f"{STORE}/blobs/{blob}"
    # Neither size nor time tell.
    lab.run(HOST, ["sh", "-c", f"touch -r {path} /tmp/time; printf XX | dd of={path} bs=1 seek=3456789 conv=notrunc; touch -r /tmp/time {path}"])
    answer = beside.service.ask("POST", "/api/pull", {"model": f"{beside.registry.host}/library/{TINY}", "insecure": True, "stream": False})
    assert answer["status"] == "success" and beside.service.wrong_blobs() == [blob], "the server's pull does not look at what it has"
    beside.service.ask("DELETE", "/api/delete", {"model": f"{beside.registry.host}/library/{TINY}"})
    meter = Meter(beside.registry, f"*{blob.replace('-', ':')}")
    announced = beside.install("--check", venom_models_verify="full", **beside.wanted(TINY))
    assert beside.service.wrong_blobs() == [blob]
    run = beside.install(venom_models_verify="full", **beside.wanted(TINY))
    assert run.changed() == announced.changed() and result_of(run)["files_repaired"] == 1
    assert beside.service.wrong_blobs() == []
    assert 5 * MB < meter.sent < 6 * MB, "only what was bad is fetched"
    assert beside.install(**beside.wanted(TINY, state="verified")).changed() == []


def test_a_power_cut_and_a_restart_in_the_middle_lose_nothing(lab: Lab, beside: Beside) -> None:
    blob, wanted = beside.weights(BIG), beside.wanted(TINY, BIG)
    size = 150 * MB
    meter = Meter(beside.registry, f"/cdn/{blob.replace('-', ':')}")
    with slow(beside.registry, "/cdn/*", 5 * MB), ManifestReader(lab, HOST, FOLDER, beside.digests[TINY]):
        playing = beside.operator.begin("install", *HERE, **wanted)
        meter.wait(size / 3)
        lab.power_cut(HOST)
        # The operator's machine hung on the same line.
        playing.kill()
        lab.boot(HOST)
        beside.service.wait()
        assert beside.service.listed() == {TINY: beside.digests[TINY], f"{beside.registry.host}/library/{OWN}": beside.digests[OWN]}
        # A server that starts removes what it does not know, if it is old enough.
        lab.run(HOST, ["sh", "-c", f"find {STORE}/.venom -exec touch -d '2 hours ago' {{}} +"])
        left = beside.service.tree()
        beside.service.restart()
        assert beside.service.tree() == left and [path for path in left if path.startswith(".venom/partial/sha256-")]
        begun = meter.sent
        playing = beside.operator.begin("install", *HERE, **wanted)
        meter.wait(begun + size / 3)
        beside.service.restart()
        run = playing.end()
    assert result_of(run)["bytes_kept"] > size / 5
    print(f"{size} bytes, one power cut, {meter.sent - size} fetched again")
    assert meter.sent <= size + MB + PROMISED
    assert beside.service.listed()[BIG] == beside.digests[BIG] and beside.service.wrong_blobs() == []
    assert beside.service.says(BIG).startswith(" I am ")
    assert {facts.owner for facts in beside.service.tree().values()} == {"ollama:ollama"}
    assert beside.install(**wanted).changed() == []


def test_a_loaded_model_is_unloaded_and_removed(beside: Beside) -> None:
    beside.service.says(BIG, keep_alive=-1)
    assert beside.service.loaded() == [BIG] and beside.service.runners() == 1
    before = set(beside.service.tree())
    announced = beside.install("--check", **beside.wanted(BIG, state="absent"))
    assert beside.service.loaded() == [BIG], "a check unloads nothing"
    run = beside.install(**beside.wanted(BIG, state="absent"))
    assert run.changed() == announced.changed() and len(run.changed()) == 1
    assert beside.service.loaded() == []
    wait_for(lambda: beside.service.runners() == 0)
    assert BIG not in beside.service.listed() and TINY in beside.service.listed()
    gone = {path.rpartition("/")[2] for path in before - set(beside.service.tree()) if path.startswith("blobs/")}
    assert gone == beside.blobs(BIG).keys() - beside.blobs(TINY).keys() - beside.blobs(OWN).keys() and len(gone) == 3
    assert beside.install(**beside.wanted(BIG, state="absent")).changed() == []
    assert beside.service.says(TINY).startswith(" I am ")
