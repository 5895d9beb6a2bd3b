# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Status of runtimes and host as Prometheus metrics, in the text format 0.0.4 that node_exporter's textfile collector reads."""
from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.host import GB, MIB

STATUSES = ("online", "degraded", "offline")


@dataclass(frozen=True)
class Family:
    """One metric: its type and what it tells."""

    kind: str
    text: str


#: Every metric there is. Rules and dashboard use no other name.
FAMILIES: dict[str, Family] = {
    "venom_scrape_success": Family("gauge", "Whether the host could be read; without it no other metric is current."),
    "venom_scrape_timestamp_seconds": Family("gauge", "When this file was written."),
    "venom_scrape_duration_seconds": Family("gauge", "What reading took."),
    "venom_alert_threshold_ratio": Family("gauge", "Share of memory above which there is an alert."),
    "venom_runtime_up": Family("gauge", "Whether the server answers."),
    "venom_runtime_expected": Family("gauge", "Whether a model is active by decision and its server was not stopped on purpose: it should answer."),
    "venom_runtime_status": Family("gauge", "1 for the present status, 0 for the others."),
    "venom_runtime_alias_ok": Family("gauge", "Whether the server lists the active model under its alias; absent when it gives no list."),
    "venom_runtime_info": Family("gauge", "The active model by decision; always 1."),
    "venom_runtime_served_model": Family("gauge", "A model that the server lists; always 1."),
    "venom_runtime_drift": Family("gauge", "A difference from the host's record, by kind; always 1."),
    "venom_runtime_alerts": Family("gauge", "Memory alerts that the status has."),
    "venom_runtime_restarts_total": Family("counter", "Restarts by the supervisor since the last start on purpose."),
    "venom_runtime_uptime_seconds": Family("gauge", "Age of the server's main process."),
    "venom_runtime_memory_bytes": Family("gauge", "Main memory of all processes of the server."),
    "venom_runtime_gpu_memory_bytes": Family("gauge", "GPU memory of all processes of the server."),
    "venom_runtime_cpu_ratio": Family("gauge", "Processor time of all processes of the server; 1 is one processor."),
    "venom_runtime_latency_seconds": Family("gauge", "Time of the health request."),
    "venom_host_memory_total_bytes": Family("gauge", "Main memory of the host."),
    "venom_host_memory_used_bytes": Family("gauge", "Main memory that a new program could not have."),
    "venom_disk_total_bytes": Family("gauge", "Size of the file system of the models."),
    "venom_disk_free_bytes": Family("gauge", "Free bytes of the file system of the models."),
    "venom_models_bytes": Family("gauge", "Bytes of everything below the models folder."),
    "venom_models_limit_bytes": Family("gauge", "Quota of the models folder."),
    "venom_models_installed": Family("gauge", "Number of installed models."),
    "venom_model_size_bytes": Family("gauge", "Bytes of an installed model."),
    "venom_gpu_readable": Family("gauge", "Whether the GPUs could be asked, or the host has none; 0 is a driver in trouble."),
    "venom_gpu_memory_total_bytes": Family("gauge", "Memory of a GPU or of a MIG slice."),
    "venom_gpu_memory_used_bytes": Family("gauge", "Memory of a GPU or of a MIG slice that is in use."),
    "venom_gpu_utilization_ratio": Family("gauge", "Share of time in which the GPU computed."),
    "venom_gpu_temperature_celsius": Family("gauge", "Temperature of the GPU."),
}


@dataclass(frozen=True)
class Sample:
    """One line of the file. Labels without a value are left out of it."""

    name: str
    value: float
    labels: t.Mapping[str, t.Any]


def _sample(metric: str, value: float | None, scale: float = 1, /, **labels: t.Any) -> list[Sample]:
    """A sample in a list; an empty one when the value is not known, since 0 would be a statement."""
    return [] if value is None else [Sample(metric, value * scale, labels)]


def of_runtime(status: t.Mapping[str, t.Any]) -> list[Sample]:
    """Metrics of one status of ``venom_runtime_info``."""
    runtime = status["name"]
    found = [
        *_sample("venom_runtime_up", status["status"] != "offline", runtime=runtime),
        *_sample("venom_runtime_expected", status["active_model"] is not None and not status["set_aside"], runtime=runtime),
        *_sample("venom_runtime_alias_ok", status["alias_ok"], runtime=runtime),
        *_sample("venom_runtime_alerts", len(status["alerts"]), runtime=runtime),
        *_sample("venom_runtime_restarts_total", status["restarts"], runtime=runtime),
        *_sample("venom_runtime_uptime_seconds", status["uptime_seconds"], runtime=runtime),
        *_sample("venom_runtime_memory_bytes", status["memory_mb"], MIB, runtime=runtime),
        *_sample("venom_runtime_gpu_memory_bytes", status["vram_mb"], MIB, runtime=runtime),
        *_sample("venom_runtime_cpu_ratio", status["cpu_percent"], 0.01, runtime=runtime),
        *_sample("venom_runtime_latency_seconds", status["latency_ms"], 0.001, runtime=runtime),
    ]
    for name in STATUSES:
        found += _sample("venom_runtime_status", status["status"] == name, runtime=runtime, status=name)
    if status["active_model"] is not None:
        labels = {"model": status["active_model"], "revision": status["active_revision"], "alias": status["alias"]}
        found += _sample("venom_runtime_info", 1, runtime=runtime, supervisor=status["supervisor"], endpoint=status["endpoint"], **labels)
    for name in sorted(set(status["served_models"])):
        found += _sample("venom_runtime_served_model", 1, runtime=runtime, model=name)
    for kind in sorted({difference["kind"] for difference in status["drift"]}):
        found += _sample("venom_runtime_drift", 1, runtime=runtime, kind=kind)
    return found


def of_host(host: t.Mapping[str, t.Any]) -> list[Sample]:
    """Metrics of the result of ``venom_host_info``."""
    disk, memory = host["disk"], host["memory"]
    found = [
        *_sample("venom_host_memory_total_bytes", memory["total_mb"], MIB),
        *_sample("venom_host_memory_used_bytes", memory["used_mb"], MIB),
        *_sample("venom_disk_total_bytes", disk["total_gb"], GB),
        *_sample("venom_disk_free_bytes", disk["free_gb"], GB),
        *_sample("venom_models_bytes", disk["models_bytes"]),
        *_sample("venom_models_limit_bytes", disk["limit_gb"], GB),
        *_sample("venom_models_installed", host["models"]["count"]),
        *_sample("venom_gpu_readable", host["gpu_reason"] is None or not host["gpus"] and not host["gpu_reason"].startswith("NVML")),
    ]
    for model in host["models"]["installed"]:
        labels = {"model": model["name"], "revision": model["revision"], "runtime": model["runtime"]}
        found += _sample("venom_model_size_bytes", model["size_bytes"], **labels)
    for gpu in host["gpus"]:
        labels = {"gpu": gpu["index"], "name": gpu["name"], "uuid": gpu["uuid"]}
        found += _sample("venom_gpu_memory_total_bytes", gpu["memory_total_mb"], MIB, **labels)
        found += _sample("venom_gpu_memory_used_bytes", gpu["memory_used_mb"], MIB, **labels)
        found += _sample("venom_gpu_utilization_ratio", gpu["utilization_percent"], 0.01, **labels)
        found += _sample("venom_gpu_temperature_celsius", gpu["temperature_c"], **labels)
    return found


def of_scrape(success: bool, now: float, seconds: float, threshold_percent: float) -> list[Sample]:
    """Metrics of the reading itself: ``now`` in seconds since 1970."""
    return [
        *_sample("venom_scrape_success", success),
        *_sample("venom_scrape_timestamp_seconds", now),
        *_sample("venom_scrape_duration_seconds", seconds),
        *_sample("venom_alert_threshold_ratio", threshold_percent, 0.01),
    ]


def render(samples: t.Iterable[Sample]) -> str:
    """The text format: metrics in the order of ``FAMILIES``, each once with its help and type. Raises ``KeyError`` for an unknown name."""
    lines: dict[str, list[str]] = {}
    for sample in samples:
        FAMILIES[sample.name]  # noqa: B018 - an unknown name is a defect here, and not a metric that no rule knows
        labels = ",".join(f'{key}="{escape(str(value))}"' for key, value in sample.labels.items() if value is not None)
        lines.setdefault(sample.name, []).append(f"{sample.name}{'{' + labels + '}' if labels else ''} {_number(sample.value)}\n")
    text = ""
    for name, family in FAMILIES.items():
        if name in lines:
            text += f"# HELP {name} {family.text}\n# TYPE {name} {family.kind}\n" + "".join(lines[name])
    return text


def escape(value: str) -> str:
    """A label's value as the format wants it: backslash, quote and line feed escaped."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    """Whole numbers without a fraction, others as short as they can be read back."""
    return str(int(value)) if float(value).is_integer() else repr(round(value, 6))
