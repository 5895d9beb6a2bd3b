# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text format, read back by a parser of its own, and what is told of runtimes and hosts in every state."""
from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils import metrics

LINE = re.compile(r'\A([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)+)\})? (-?[0-9][0-9.e+-]*)\Z')
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')
ONLINE: dict[str, t.Any] = {
    "name": "vllm", "status": "online", "supervisor": "systemd", "pid": 1, "uptime_seconds": 12.5, "memory_mb": 1024, "vram_mb": None,
    "cpu_percent": 150.0, "latency_ms": 4.5, "endpoint": "http://127.0.0.1:8001", "served_models": ["a"], "active_model": "lab/a",
    "active_revision": "0" * 40, "alias": "a", "alias_ok": True, "restarts": 2, "alerts": [], "drift": [],
    "set_aside": False,
}  # fmt: skip
OFFLINE = dict(
    ONLINE, status="offline", uptime_seconds=None, memory_mb=None, cpu_percent=None, latency_ms=None, served_models=[], alias_ok=None,
    drift=[{"kind": "not_running"}, {"kind": "not_enabled"}],
)  # fmt: skip
HOST: dict[str, t.Any] = {
    "memory": {"total_mb": 1000, "used_mb": 250},
    "disk": {"total_gb": 100.0, "free_gb": 60.5, "models_bytes": 7, "limit_gb": 50.0},
    "models": {"count": 1, "installed": [{"name": "lab/a", "revision": "0" * 40, "runtime": "vllm", "size_bytes": 7}]},
    "gpus": [{"index": "0", "name": "H100", "uuid": "GPU-1", "memory_total_mb": 80, "memory_used_mb": 40, "utilization_percent": 97,
              "temperature_c": 63},
             {"index": "0:1", "name": "H100 MIG", "uuid": None, "memory_total_mb": 10, "memory_used_mb": 1, "utilization_percent": None,
              "temperature_c": None}],
    "gpu_reason": None,
}  # fmt: skip


def parse(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The samples of a text, and a failure for everything that the format does not allow."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    helped: set[str] = set()
    typed: list[str] = []
    assert text.endswith("\n")
    for line in text.splitlines():
        words = line.split(" ", 3)
        if words[:2] == ["#", "HELP"]:
            assert words[2] not in helped
            helped.add(words[2])
        elif words[:2] == ["#", "TYPE"]:
            assert words[3] in ("gauge", "counter")
            typed.append(words[2])
        else:
            matched = LINE.match(line)
            assert matched, line
            name, labels, value = matched.groups()
            assert typed[-1] == name and name in helped, "samples of one metric stand together under its type"
            pairs = tuple((key, re.sub(r"\\(.)", _plain, text)) for key, text in LABEL.findall(labels or ""))
            assert (name, pairs) not in found, f"{line} is there twice"
            found[(name, pairs)] = float(value)
    assert len(typed) == len(set(typed))
    return found


def _plain(escaped: re.Match[str]) -> str:
    return "\n" if escaped[1] == "n" else escaped[1]


def values(samples: t.Iterable[metrics.Sample], name: str) -> list[float]:
    return [value for (found, dummy), value in parse(metrics.render(samples)).items() if found == name]


def test_a_server_that_is_online() -> None:
    found = parse(metrics.render(metrics.of_runtime(ONLINE)))
    vllm = ("runtime", "vllm")
    assert found[("venom_runtime_up", (vllm,))] == 1 and found[("venom_runtime_alias_ok", (vllm,))] == 1
    assert found[("venom_runtime_memory_bytes", (vllm,))] == 1024**3 and found[("venom_runtime_cpu_ratio", (vllm,))] == 1.5
    assert found[("venom_runtime_latency_seconds", (vllm,))] == 0.0045 and found[("venom_runtime_restarts_total", (vllm,))] == 2
    assert found[("venom_runtime_status", (vllm, ("status", "online")))] == 1 and found[("venom_runtime_status", (vllm, ("status", "degraded")))] == 0
    (info,) = [dict(labels) for (name, labels) in found if name == "venom_runtime_info"]
    assert (info["model"], info["alias"], info["endpoint"]) == ("lab/a", "a", "http://127.0.0.1:8001")
    assert not [name for (name, dummy) in found if name in ("venom_runtime_gpu_memory_bytes", "venom_runtime_drift")], "unknown is not 0"


def test_a_server_that_is_down_though_a_model_is_active() -> None:
    samples = metrics.of_runtime(OFFLINE)
    assert values(samples, "venom_runtime_up") == [0] and values(samples, "venom_runtime_expected") == [1]
    assert values(samples, "venom_runtime_alias_ok") == [] and values(samples, "venom_runtime_uptime_seconds") == []
    assert sorted(sample.labels["kind"] for sample in samples if sample.name == "venom_runtime_drift") == ["not_enabled", "not_running"]


def test_a_runtime_that_nobody_uses_is_not_expected() -> None:
    samples = metrics.of_runtime(dict(OFFLINE, active_model=None, drift=[]))
    assert values(samples, "venom_runtime_expected") == [0] and values(samples, "venom_runtime_info") == []


def test_a_wrong_alias_is_zero() -> None:
    assert values(metrics.of_runtime(dict(ONLINE, alias_ok=False, status="degraded")), "venom_runtime_alias_ok") == [0]


def test_host_models_and_gpus() -> None:
    samples = metrics.of_host(HOST)
    assert values(samples, "venom_disk_free_bytes") == [60_500_000_000] and values(samples, "venom_models_limit_bytes") == [50e9]
    assert values(samples, "venom_gpu_utilization_ratio") == [0.97], "a MIG slice has none"
    assert values(samples, "venom_gpu_memory_used_bytes") == [40 * 1024**2, 1024**2]
    assert values(metrics.of_host(dict(HOST, disk=dict(HOST["disk"], limit_gb=None))), "venom_models_limit_bytes") == []


@pytest.mark.parametrize(
    ("gpus", "reason", "readable"),
    [
        ([], "no NVIDIA driver on this host", 1), ([], None, 1), (HOST["gpus"], None, 1), ([], "NVML: no answer within 10 s", 0),
        (HOST["gpus"], "the Python library nvidia-ml-py is not installed", 0),
    ],
)  # fmt: skip
def test_gpus_in_trouble_are_told_from_none(gpus: list[t.Any], reason: str | None, readable: int) -> None:
    assert values(metrics.of_host(dict(HOST, gpus=gpus, gpu_reason=reason)), "venom_gpu_readable") == [readable]


@pytest.mark.parametrize("name", ['quote"d', "back\\slash", "line\nfeed", "\\n", 'all\\"\n', "ümläut", ""])
def test_any_label_survives_the_format(name: str) -> None:
    samples = metrics.of_runtime(dict(ONLINE, served_models=[name]))
    found = [dict(labels) for (metric, labels) in parse(metrics.render(samples)) if metric == "venom_runtime_served_model"]
    assert found == [{"runtime": "vllm", "model": name}]


def test_two_runtimes_share_one_head() -> None:
    samples = [*metrics.of_runtime(ONLINE), *metrics.of_runtime(dict(OFFLINE, name="ollama"))]
    text = metrics.render(samples)
    assert text.count("# TYPE venom_runtime_up gauge\n") == 1 and values(samples, "venom_runtime_up") == [1, 0]


def test_an_unknown_metric_is_a_defect() -> None:
    with pytest.raises(KeyError):
        metrics.render([metrics.Sample("venom_surprise", 1, {})])


def test_every_metric_there_is_can_be_emitted() -> None:
    samples = [
        *metrics.of_runtime(dict(ONLINE, vram_mb=5, drift=[{"kind": "not_enabled"}])),
        *metrics.of_host(HOST),
        *metrics.of_scrape(True, 1.5, 0.1, 85.0),
    ]
    assert {sample.name for sample in samples} == set(metrics.FAMILIES)
    assert values(samples, "venom_scrape_timestamp_seconds") == [1.5] and values(samples, "venom_alert_threshold_ratio") == [0.85]
