# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One server under its supervisor: what draining and stopping mean for a server that changes models while it runs."""
from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.activation_server import Limits, Server, StepFailed
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.record import RuntimeRecord
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Health, ServedModel
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama import OllamaRuntime
from ansible_collections.venom.llm.plugins.module_utils.runtimes.vllm import VllmRuntime
from ansible_collections.venom.llm.plugins.module_utils.supervisors.base import ServiceState
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeSupervisor

LIMITS = Limits(health_timeout=5.0, drain_timeout=0.1)
RUNNING = ServiceState("running", pid=1)


@dataclass
class Memory:
    """What a server has in memory; a busy model does not leave."""

    models: list[ServedModel]
    busy: tuple[str, ...] = ()
    nameless: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)
    keeps_models: bool = True

    def listed(self) -> tuple[ServedModel, ...]:
        return tuple(model for model in self.models if model.root not in self.nameless)

    def loaded(self) -> tuple[ServedModel, ...]:
        return tuple(self.models)

    def sharing(self, name: str) -> tuple[ServedModel, ...]:
        raise AssertionError(name)

    def load(self, name: str, timeout: float) -> None:
        raise AssertionError(name)

    def unload(self, paths: t.Collection[str], timeout: float) -> None:
        self.asked += paths
        self.models = [model for model in self.models if model.root not in paths or model.root in self.busy]
        if any(model.root in paths for model in self.models):
            raise VenomError("model_active", wanted="gone", found="it is still in memory", todo="wait")

    def copy(self, source: str, name: str) -> None:
        raise AssertionError(source)

    def remove(self, name: str) -> None:
        raise AssertionError(name)


@dataclass
class Twins(Memory):
    """A server that tells no weights: the wanted model comes into memory when the twin is gone."""

    twin: str = ""
    loads: int = 0

    def sharing(self, name: str) -> tuple[ServedModel, ...]:
        return self.loaded()

    def load(self, name: str, timeout: float) -> None:
        self.loads += 1
        if self.twin not in [model.root for model in self.models]:
            self.models.append(ServedModel(name, "sha256:wanted"))


class Answering(OllamaRuntime):
    """Ollama without a server."""

    memory = Memory([])

    def health(self, timeout: float = 5.0) -> Health:
        return Health("ready", 0.01)

    def live(self) -> Memory:  # type: ignore[override]
        return self.memory


@pytest.fixture()
def server(tmp_path: Path) -> Server:
    program = tmp_path / "ollama"
    program.touch(0o755)
    runtime = Answering(str(tmp_path), str(tmp_path / "run"))
    runtime.memory = Memory([ServedModel("phi", "sha256:a"), ServedModel("other", "sha256:b")])
    Path(runtime.settings_path).write_text(f"OLLAMA_HOST=127.0.0.1:1\nVENOM_OLLAMA_BINARY={program}\n")
    return Server(runtime, FakeSupervisor(RUNNING), str(tmp_path / "runtime.json"))


def memory(server: Server) -> Memory:
    return t.cast(Memory, server.runtime.live())


def test_a_server_that_runs_on_is_not_drained_and_one_that_stops_is_emptied(server: Server) -> None:
    assert "counts no requests" in server.drain(LIMITS, will_stop=False) and memory(server).asked == []
    assert server.drain(LIMITS, will_stop=True) == "unloaded phi, other" and memory(server).models == []
    assert server.drain(LIMITS, will_stop=True) == "no model is loaded"
    assert replace(server, supervisor=FakeSupervisor(ServiceState("stopped"))).drain(LIMITS, will_stop=True) == "nothing serves"


def test_a_busy_model_goes_by_the_policy(server: Server) -> None:
    memory(server).busy = ("sha256:a",)
    assert server.unload(["sha256:a"], LIMITS) == "it is still in memory, went on"
    with pytest.raises(StepFailed):
        server.unload(["sha256:a"], replace(LIMITS, drain_policy="fail"))
    assert server.unload(["sha256:none"], LIMITS) == ""


@pytest.mark.parametrize("call", ["loaded", "unload"])
def test_a_server_that_is_to_stop_and_gives_no_answer_goes_by_the_policy(server: Server, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*dummies: object) -> t.NoReturn:
        raise VenomError(code, wanted="gone", found="no answer", todo="see its log")

    monkeypatch.setattr(memory(server), call, fail)
    code = "server_unreachable"
    assert server.drain(LIMITS, will_stop=True) == "no answer, went on"
    with pytest.raises(StepFailed):
        server.drain(replace(LIMITS, drain_policy="fail"), will_stop=True)
    code = "io_error"
    with pytest.raises(VenomError):
        server.drain(LIMITS, will_stop=True)


@pytest.mark.parametrize(
    ("twin", "busy", "left"),
    [
        # Known by nothing, they go one after the other, until it was the one.
        ("sha256:a", (), ["sha256:b", "sha256:wanted"]),
        ("sha256:b", ("sha256:a",), ["sha256:a", "sha256:wanted"]),
        # It has left by itself meanwhile.
        ("sha256:c", (), ["sha256:wanted"]),
    ],
)
def test_only_what_is_in_the_place_of_a_model_makes_room(server: Server, twin: str, busy: tuple[str, ...], left: list[str]) -> None:
    live = Twins([] if twin == "sha256:c" else memory(server).models, busy, twin=twin)
    t.cast(Answering, server.runtime).memory = live
    said = server.load_anew(live, "phi:1b", "sha256:wanted", LIMITS)
    assert [model.root for model in live.models] == left and live.loads == 1 and "ready again" not in said[-1]


def test_what_is_in_memory_without_a_name_is_seen_on_a_server_that_answers(server: Server, tmp_path: Path) -> None:
    assert not server.holds_nameless(["sha256:a", "sha256:b"])
    memory(server).nameless = ("sha256:a",)
    assert server.holds_nameless(["sha256:a", "sha256:b"]) and not server.holds_nameless(["sha256:b"])
    assert not replace(server, supervisor=FakeSupervisor(ServiceState("stopped"))).holds_nameless(["sha256:a"])
    assert not counting(tmp_path, [0], READY).holds_nameless(["sha256:a"])


def test_a_server_that_is_stopped_is_emptied_and_stopped_whatever_happens(server: Server) -> None:
    assert server.empty(LIMITS) == "unloaded phi, other" and server.empty(LIMITS) == ""
    memory(server).models, memory(server).busy = [ServedModel("phi", "sha256:a")], ("sha256:a",)
    assert server.empty(replace(LIMITS, drain_policy="fail")) == "it is still in memory, went on"
    memory(server).asked.clear()
    assert replace(server, supervisor=FakeSupervisor(ServiceState("failed"))).empty(LIMITS) == ""
    Path(server.runtime.settings_path).write_text("OLLAMA_HOST=127.0.0.1:1\n")
    without_sense = replace(server, runtime=OllamaRuntime(str(Path(server.runtime.settings_path).parent)))
    assert without_sense.empty(LIMITS).startswith("models not unloaded: VENOM_OLLAMA_BINARY") and memory(server).asked == []


def test_it_restarts_only_for_what_it_was_started_with(server: Server) -> None:
    assert server.must_restart()
    digest = server.runtime.digest("unit")
    RuntimeRecord().with_started("ollama", digest).save(server.record_path)
    assert not server.must_restart()
    # Another model is nothing that it was started with.
    Path(server.runtime.active_path).write_text("LLM_MODEL_NAME=a\nVENOM_OLLAMA_MODEL=a\nVENOM_OLLAMA_DIGEST=" + "c" * 64 + "\n")
    assert not server.must_restart()
    for service in (ServiceState("stopped"), replace(RUNNING, needs_reload=True), ServiceState("starting")):
        assert replace(server, supervisor=FakeSupervisor(service)).must_restart()
    supervisor = FakeSupervisor(RUNNING)
    supervisor.print = "a drop-in"
    assert replace(server, supervisor=supervisor).must_restart()


def test_gpu_memory_that_is_not_given_back_is_a_failure(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.venom.llm.plugins.module_utils import activation_server

    monkeypatch.setattr(activation_server, "_GPU_RELEASE_TIMEOUT", 0.1)
    monkeypatch.setattr(FakeSupervisor, "pids", lambda self: [4711])
    assert replace(server, gpu_pids=lambda: {1}).stop(LIMITS) == "stopped 1 processes"
    with pytest.raises(StepFailed) as caught:
        replace(server, gpu_pids=lambda: {4711}).stop(LIMITS)
    assert "GPU memory" in str(caught.value) and "held by pid 4711" in str(caught.value)


def test_a_death_while_it_starts_is_seen_at_once_with_its_exit_status(server: Server) -> None:
    supervisor = FakeSupervisor(ServiceState("starting"), ServiceState("starting"), ServiceState("failed", exit_status=-9, detail="result signal"))
    with pytest.raises(StepFailed) as caught:
        replace(server, supervisor=supervisor).wait_ready(replace(LIMITS, health_timeout=3600.0))
    assert "signal 9" in str(caught.value)


class Counting(VllmRuntime):
    """vLLM without a server: what it says of its requests and of its health, in turn, the last word for ever."""

    counts: list[int | None]
    healths: list[Health]

    def in_flight(self, timeout: float = 5.0) -> int | None:
        return self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]

    def health(self, timeout: float = 5.0) -> Health:
        return self.healths.pop(0) if len(self.healths) > 1 else self.healths[0]


READY, NO_ANSWER = Health("ready", 0.01), Health("loading", detail="no complete answer within 5 s")
UNWELL = Health("broken", 0.01, "GET /health answered 500")


def counting(tmp_path: Path, counts: list[int | None], *healths: Health) -> Server:
    runtime = Counting(str(tmp_path), str(tmp_path / "run"))
    runtime.counts, runtime.healths = counts, list(healths)
    return Server(runtime, FakeSupervisor(RUNNING), str(tmp_path / "runtime.json"))


@pytest.mark.parametrize("health", [READY, NO_ANSWER], ids=["well", "too busy"])
@pytest.mark.parametrize("counts", [[None], [5, None]], ids=["never", "no more"])
def test_a_server_that_does_not_say_how_many_requests_it_has_may_have_some(tmp_path: Path, counts: list[int | None], health: Health) -> None:
    said = "how many requests are in flight is not known after 0.1 s"
    assert counting(tmp_path, list(counts), health).drain(LIMITS, will_stop=True) == f"{said}, went on"
    with pytest.raises(StepFailed) as caught:
        counting(tmp_path, list(counts), health).drain(replace(LIMITS, drain_policy="fail"), will_stop=True)
    assert str(caught.value) == said


def test_a_count_that_comes_back_and_a_server_that_goes_down_end_the_wait(tmp_path: Path) -> None:
    patient = replace(LIMITS, drain_timeout=3600.0, drain_policy="fail")
    assert counting(tmp_path, [None, 2, None, 0], READY).drain(patient, will_stop=True) == "no request in flight"
    assert counting(tmp_path, [3, None], UNWELL).drain(patient, will_stop=True) == "nothing serves"
    ended = FakeSupervisor(RUNNING, RUNNING, ServiceState("failed"))
    assert replace(counting(tmp_path, [None], READY), supervisor=ended).drain(patient, will_stop=True) == "nothing serves"
