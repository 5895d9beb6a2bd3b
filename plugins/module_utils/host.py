# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host around the runtimes: processors, memory, disk of the models, operating system."""
from __future__ import annotations

import os
import platform
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.gpus import Gpu

MIB = 1024 * 1024
GB = 10**9


def megabytes(count: float | None) -> int | None:
    """Bytes as whole MiB, which is what every ``*_mb`` key of the collection counts in."""
    return None if count is None else round(count / MIB)


def percent(part: float | None, whole: float | None) -> float | None:
    """``part`` of ``whole`` with one decimal, or None when either is not known."""
    return round(100.0 * part / whole, 1) if part is not None and whole else None


@dataclass(frozen=True)
class Memory:
    """Bytes of main memory; ``available`` is the kernel's own estimate of what a new program may take (proc(5))."""

    total: int
    available: int

    @property
    def used(self) -> int:
        """Bytes that cannot be had."""
        return self.total - self.available


def read_memory(path: str = "/proc/meminfo") -> Memory:
    """From /proc/meminfo. Raises ``OSError``."""
    values: dict[str, int] = {}
    with open(path, encoding="ascii") as stream:
        for line in stream:
            name, dummy, rest = line.partition(":")
            values[name] = int(rest.split()[0]) * 1024
    return Memory(values["MemTotal"], values.get("MemAvailable", values.get("MemFree", 0)))


def _busy_and_total(path: str) -> tuple[int, int]:
    with open(path, encoding="ascii") as stream:
        ticks = [int(field) for field in stream.readline().split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def cpu_percent(interval: float = 0.1, path: str = "/proc/stat", sleep: t.Callable[[float], None] = time.sleep) -> float:
    """Share of all processors that was busy during ``interval`` seconds; 100 is every processor."""
    busy, total = _busy_and_total(path)
    sleep(interval)
    busy_then, total_then = _busy_and_total(path)
    return percent(busy_then - busy, total_then - total) or 0.0


def folder_bytes(path: str) -> int:
    """Bytes of all files below the folder, hard links counted once. 0 without the folder."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for folder in os.walk(path):
        for name in folder[2]:
            try:
                status = os.lstat(os.path.join(folder[0], name))
            except OSError:
                continue
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    return total


def disk(path: str) -> dict[str, t.Any]:
    """Total and free bytes of the file system that holds the path, or would hold it."""
    existing = os.path.abspath(path)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    status = os.statvfs(existing)
    return {"total_bytes": status.f_blocks * status.f_frsize, "free_bytes": status.f_bavail * status.f_frsize}


def os_release(path: str = "/etc/os-release") -> str:
    """The distribution's own name with its version."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            values = dict(line.rstrip().split("=", 1) for line in stream if "=" in line)
    except OSError:
        values = {}
    return values.get("PRETTY_NAME", platform.system()).strip('"')


def describe_cpu() -> dict[str, t.Any]:
    """Processors that we may use, load averages, and the busy share."""
    return {"count": len(os.sched_getaffinity(0)), "load": [round(value, 2) for value in os.getloadavg()], "percent": cpu_percent()}


def describe_memory(memory: Memory) -> dict[str, t.Any]:
    """Memory in MiB."""
    return {
        "total_mb": megabytes(memory.total),
        "available_mb": megabytes(memory.available),
        "used_mb": megabytes(memory.used),
        "used_percent": percent(memory.used, memory.total),
    }


def describe_gpu(gpu: Gpu) -> dict[str, t.Any]:
    """A GPU in MiB, percent and degrees Celsius."""
    return {
        "index": gpu.index,
        "name": gpu.name,
        "uuid": gpu.uuid,
        "mig": gpu.mig,
        "memory_total_mb": megabytes(gpu.memory_total),
        "memory_used_mb": megabytes(gpu.memory_used),
        "memory_used_percent": percent(gpu.memory_used, gpu.memory_total),
        "utilization_percent": gpu.utilization_percent,
        "temperature_c": gpu.temperature_c,
        "compute_capability": gpu.compute_capability,
        "processes": [{"pid": process.pid, "memory_mb": megabytes(process.memory)} for process in gpu.processes],
    }


def describe_disk(models_dir: str, limit_gb: float | None = None) -> dict[str, t.Any]:
    """The models folder and its file system; ``limit_gb`` in GB of 10^9 bytes is the quota, of which the used share is told."""
    space = disk(models_dir)
    used = folder_bytes(models_dir)
    limit = None if limit_gb is None else int(limit_gb * GB)
    return {
        "models_dir": models_dir,
        "total_gb": round(space["total_bytes"] / GB, 2),
        "free_gb": round(space["free_bytes"] / GB, 2),
        "models_bytes": used,
        "models_gb": round(used / GB, 3),
        "limit_gb": limit_gb,
        "limit_used_percent": percent(used, limit),
    }
