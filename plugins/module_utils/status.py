# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of a runtime in one form for every module: online, degraded or offline, with the reason. Never unknown."""
from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import host, processes
from ansible_collections.venom.llm.plugins.module_utils.gpus import GpuReading
from ansible_collections.venom.llm.plugins.module_utils.observation import Observation
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active, Completion

CPU_SAMPLE_SECONDS = 0.1
#: A healthy server answers GET /health within milliseconds, whatever it computes.
SLOW_SECONDS = 2.0
#: A restart by the supervisor makes a server suspect for this long.
RECENT_RESTART_SECONDS = 600
DEFAULT_ALERT_PERCENT = 85.0


@dataclass(frozen=True)
class Usage:
    """Resources of all processes of a server together. CPU in percent of one processor, memory in bytes."""

    memory: int | None = None
    gpu_memory: int | None = None
    cpu_percent: float | None = None


def measure(pids: t.Collection[int], gpu: GpuReading, sleep: t.Callable[[float], None] = time.sleep) -> Usage:
    """Measure the processes; two looks at their CPU time, 0.1 s apart."""
    if not pids:
        return Usage()
    before, begun = processes.cpu_ticks(pids), time.monotonic()
    sleep(CPU_SAMPLE_SECONDS)
    after, seconds = processes.cpu_ticks(pids), max(time.monotonic() - begun, 0.001)
    spent = sum(ticks - before[pid] for pid, ticks in after.items() if pid in before)
    held = None if gpu.process_memory is None else sum(gpu.process_memory.get(pid, 0) for pid in pids)
    return Usage(processes.memory_bytes(pids), held, round(100.0 * spent / processes.CLOCK_TICKS / seconds, 1))


def memory_alerts(memory: host.Memory, gpu: GpuReading, threshold: float) -> tuple[list[str], list[str]]:
    """Alerts about main memory, and those about GPU memory, over ``threshold`` percent."""
    main, graphics = [], []
    used = host.percent(memory.used, memory.total)
    if used is not None and used > threshold:
        main.append(f"main memory is at {used} %, over {threshold:g} %")
    for device in gpu.gpus:
        held = host.percent(device.memory_used, device.memory_total)
        if held is not None and held > threshold:
            graphics.append(f"memory of GPU {device.index} ({device.name}) is at {held} %, over {threshold:g} %")
    return main, graphics


def _offline_reason(seen: Observation) -> str | None:
    """Why the server cannot answer, or None when it answers."""
    foreign = seen.foreign_listener()
    if not seen.is_up:
        if not seen.configured or not seen.service.installed:
            return "the runtime is not installed on this host"
        if seen.endpoint is None:
            return f"the runtime cannot start: {seen.health.detail}"
        if seen.active is None and seen.digest is None:
            return "no model is activated"
        if seen.set_aside:
            return f"the server is {seen.service.active}, on purpose: nothing but an activation or a start brings it back"
        blocked = f"; its port is held by pid {foreign.pid}" if foreign else ""
        return f"the server is {seen.service.active}: {seen.service.detail}{blocked}"
    if foreign is not None:
        return f"port {foreign.port} is held by pid {foreign.pid} ({foreign.command}), which is not this server"
    if seen.service.active == "starting":
        return f"the server is starting: {seen.service.detail}"
    if seen.served is None:
        return f"the server does not answer: {seen.health.detail}"
    return None


def _faults(seen: Observation, expected: Active | None, alerts: t.Sequence[str], completion_error: str | None) -> list[str]:
    """What makes an answering server degraded."""
    faults = list(alerts)
    if expected is not None:
        mismatch = seen.mismatch(expected)
        faults += [mismatch] if mismatch else []
    if completion_error:
        faults.append(completion_error)
    if seen.health.seconds is not None and seen.health.seconds > SLOW_SECONDS:
        faults.append(f"the health request took {seen.health.seconds:.1f} s")
    uptime = seen.service.uptime_seconds
    if seen.service.restarts and uptime is not None and uptime < RECENT_RESTART_SECONDS:
        faults.append(f"restarted {seen.service.restarts} times, the last time {uptime:.0f} s ago")
    return faults


def supported_verbs(seen: Observation, can_enable: bool) -> list[str]:
    """The states of ``venom_runtime`` that apply to this host now, and ``enabled`` where the supervisor starts servers at boot."""
    verbs = ["stopped"]
    if seen.configured and seen.service.installed:
        verbs.append("active")
        if seen.active is not None or seen.digest is not None:
            verbs += ["started", "restarted", "probed"]
        if can_enable:
            verbs.append("enabled")
    return sorted(verbs)


def describe(
    seen: Observation,
    runtime: str,
    supervisor: str,
    can_enable: bool,
    gpu: GpuReading,
    memory: host.Memory,
    usage: Usage,
    completion: Completion | None = None,
    completion_error: str | None = None,
    alert_percent: float = DEFAULT_ALERT_PERCENT,
) -> dict[str, t.Any]:
    """The status as result keys. ``completion`` and its error are of a real request, when one was made."""
    expected = seen.expected
    main_alerts, gpu_alerts = memory_alerts(memory, gpu, alert_percent)
    reason = _offline_reason(seen)
    # A server of vLLM takes nine tenths of the GPU memory by design, so that alert alone is no fault of the server.
    faults = [] if reason else _faults(seen, expected, main_alerts, completion_error)
    state = "offline" if reason else "degraded" if faults else "online"
    served = seen.served or ()
    return {
        "name": runtime,
        "status": state,
        "service": seen.service.active,
        "supervisor": supervisor,
        "enabled": seen.service.enabled,
        "set_aside": seen.set_aside,
        "pid": seen.service.pid,
        "pids": sorted(seen.pids),
        "uptime_seconds": seen.service.uptime_seconds,
        "memory_mb": host.megabytes(usage.memory),
        "vram_mb": host.megabytes(usage.gpu_memory),
        "vram_reason": gpu.reason,
        "cpu_percent": usage.cpu_percent,
        "latency_ms": None if seen.health.seconds is None else round(seen.health.seconds * 1000, 1),
        "endpoint": seen.endpoint,
        "served_models": [model.id for model in served],
        "served_roots": [model.root for model in served],
        "active_model": seen.committed.model if seen.committed else None,
        "active_revision": seen.committed.revision if seen.committed else None,
        "alias": expected.alias if expected else None,
        "path": expected.path if expected else None,
        "alias_ok": None if seen.served is None or expected is None else seen.mismatch(expected) is None,
        "restarts": seen.service.restarts,
        "alerts": main_alerts + gpu_alerts,
        "error_message": reason or "; ".join(faults) or None,
        "completion": None if completion is None else describe_completion(completion),
        "supports": supported_verbs(seen, can_enable),
    }


def describe_completion(completion: Completion) -> dict[str, t.Any]:
    """A real answer as result keys; the text in full, it is a few tokens long."""
    return {
        "text": completion.text,
        "endpoint": completion.endpoint,
        "seconds": round(completion.seconds, 3),
        "remark": completion.remark,
    }
