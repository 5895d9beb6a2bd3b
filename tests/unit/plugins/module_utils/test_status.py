# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Online, degraded, offline: each for its reason."""
from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils import host, status
from ansible_collections.venom.llm.plugins.module_utils.gpus import Gpu, GpuReading
from ansible_collections.venom.llm.plugins.module_utils.observation import Observation
from ansible_collections.venom.llm.plugins.module_utils.processes import Listener
from ansible_collections.venom.llm.plugins.module_utils.record import Activation
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active, Completion, Health, ServedModel
from ansible_collections.venom.llm.plugins.module_utils.supervisors.base import ServiceState

ACTIVE = Active("a", "/models/a")
RUNNING = ServiceState("running", pid=10, uptime_seconds=1000.0)
GOOD = Observation(
    configured=True,
    active=ACTIVE,
    service=RUNNING,
    pids=frozenset({10, 11}),
    listeners=(Listener("127.0.0.1", 8001, 10, "vllm", None),),
    health=Health("ready", 0.004),
    served=(ServedModel("a", "/models/a"),),
    endpoint="http://127.0.0.1:8001",
    committed=Activation("lab/a", "huggingface", "0" * 40, "a", "/models/a"),
)
STRANGER = (Listener("127.0.0.1", 8001, 99, "other thing", "other.service"),)


def describe(seen: Observation, gpu: GpuReading = GpuReading(reason="none"), used: float = 0.5, **more: t.Any) -> dict[str, t.Any]:  # noqa: B008
    memory = host.Memory(1000, 1000 - int(1000 * used))
    usage = status.Usage(memory=5 * host.MIB, cpu_percent=1.0)
    return status.describe(seen, "vllm", "process", True, gpu, memory, usage, **more)


def test_online() -> None:
    found = describe(GOOD, completion=Completion("Hi", "/v1/chat/completions", 0.5))
    assert found["status"] == "online" and found["alias_ok"] is True and found["error_message"] is None
    assert (found["pid"], found["pids"], found["latency_ms"], found["memory_mb"], found["active_model"]) == (10, [10, 11], 4.0, 5, "lab/a")
    assert found["served_models"] == ["a"] and found["completion"]["text"] == "Hi" and found["vram_reason"] == "none"
    assert found["supports"] == ["active", "enabled", "probed", "restarted", "started", "stopped"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"served": (ServedModel("b", "/models/a"),)}, "serves b from /models/a"),
        ({"served": (ServedModel("a", "/models/b"),)}, "serves a from /models/b"),
        ({"served": ()}, "serves no model"),
        ({"health": Health("ready", 3.0)}, "took 3.0 s"),
        ({"service": dataclasses.replace(RUNNING, restarts=2, uptime_seconds=30.0)}, "restarted 2 times"),
    ],
)
def test_degraded(changes: dict[str, t.Any], said: str) -> None:
    found = describe(dataclasses.replace(GOOD, **changes))
    assert found["status"] == "degraded" and said in found["error_message"]
    assert found["alias_ok"] is ("served" not in changes)


def test_degraded_by_memory_and_by_a_failed_completion() -> None:
    assert describe(GOOD, used=0.9)["status"] == "degraded" and "main memory is at 90.0 %" in describe(GOOD, used=0.9)["alerts"][0]
    assert describe(GOOD, used=0.9, alert_percent=95.0)["status"] == "online"
    assert describe(GOOD, completion_error="no completion: 500")["status"] == "degraded"


def test_old_restarts_are_forgiven() -> None:
    service = dataclasses.replace(RUNNING, restarts=2, uptime_seconds=3600.0)
    assert describe(dataclasses.replace(GOOD, service=service))["status"] == "online"


def test_gpu_memory_that_vllm_takes_by_design_alerts_but_does_not_degrade() -> None:
    gpu = GpuReading((Gpu("0", "H200", memory_total=100, memory_used=92),), {})
    found = describe(GOOD, gpu)
    assert found["status"] == "online" and found["alerts"] == ["memory of GPU 0 (H200) is at 92.0 %, over 85 %"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"configured": False, "service": ServiceState("stopped"), "listeners": ()}, "not installed"),
        ({"service": ServiceState("stopped", installed=False), "listeners": ()}, "not installed"),
        ({"endpoint": None, "health": Health("broken", detail="PORT is missing"), "service": ServiceState("stopped")}, "PORT is missing"),
        ({"active": None, "service": ServiceState("stopped"), "listeners": ()}, "no model is activated"),
        ({"service": ServiceState("stopped", detail="down"), "listeners": ()}, "the server is stopped: down"),
        ({"service": ServiceState("stopped"), "pids": frozenset(), "listeners": STRANGER}, "port is held by pid 99"),
        ({"service": ServiceState("failed", detail="exit status 3"), "listeners": ()}, "the server is failed: exit status 3"),
        ({"service": ServiceState("restarting"), "listeners": ()}, "the server is restarting"),
        ({"service": ServiceState("starting"), "listeners": (), "served": None}, "the server is starting"),
        ({"listeners": STRANGER}, "held by pid 99 (other thing)"),
        ({"served": None, "health": Health("loading", detail="nobody listens")}, "does not answer: nobody listens"),
    ],
)
def test_offline(changes: dict[str, t.Any], said: str) -> None:
    found = describe(dataclasses.replace(GOOD, **changes))
    assert found["status"] == "offline" and said in found["error_message"]


def test_a_hidden_owner_of_the_port_counts_as_ours_only_while_ours_runs() -> None:
    hidden = (Listener("127.0.0.1", 8001, None, "", None),)
    assert describe(dataclasses.replace(GOOD, listeners=hidden))["status"] == "online"
    assert dataclasses.replace(GOOD, listeners=hidden, service=ServiceState("stopped")).foreign_listener() == hidden[0]


def test_nothing_is_measured_without_processes() -> None:
    assert status.measure((), GpuReading()) == status.Usage()
