# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that ``venom_host_info`` tells, put together from the parts that know it."""
from __future__ import annotations

import dataclasses
import platform
import sys
import typing as t

from ansible_collections.venom.llm.plugins.module_utils import gpus, host, processes
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.models_usage import distinct_bytes, usage_by_model
from ansible_collections.venom.llm.plugins.module_utils.runtime_site import RUNTIMES
from ansible_collections.venom.llm.plugins.module_utils.supervisors.select import has_systemd


def describe(models_dir: str, config_dir: str, max_disk_gb: float | None = None) -> dict[str, t.Any]:
    """Host, GPUs, models and listening runtimes as result keys."""
    reading = gpus.read_gpus()
    return {
        "cpu": host.describe_cpu(),
        "memory": host.describe_memory(host.read_memory()),
        "disk": host.describe_disk(models_dir, max_disk_gb),
        "gpus": [host.describe_gpu(gpu) for gpu in reading.gpus],
        "gpu_reason": reading.reason,
        "models": _models(models_dir, config_dir),
        "runtimes": _runtimes(config_dir),
        "system": {
            "os": host.os_release(),
            "kernel": platform.release(),
            "architecture": platform.machine(),
            "python": platform.python_version(),
            "python_path": sys.executable,
            "systemd": has_systemd(),
        },
    }


def _models(models_dir: str, config_dir: str) -> dict[str, t.Any]:
    manifest = Manifest.load(models_dir)
    usages = {(usage.name, usage.revision): usage for usage in usage_by_model(manifest, config_dir)}
    return {
        "count": len(manifest.models),
        "size_bytes": distinct_bytes(manifest),
        "installed": [
            {**usages[(entry.name, entry.revision)].to_dict(), "runtime": entry.runtime, "requires_gpu": entry.requires_gpu}
            for entry in manifest.models
        ],
    }


def _runtimes(config_dir: str) -> list[dict[str, t.Any]]:
    found: list[dict[str, t.Any]] = []
    for name, make in RUNTIMES.items():
        runtime = make(config_dir)
        if not runtime.is_configured():
            continue
        try:
            settings = runtime.settings()
        except VenomError as error:
            found.append({"name": name, "error_message": error.found})
            continue
        found.append(
            {
                "name": name,
                "endpoint": runtime.endpoint(),
                "port": settings.port,
                "listeners": [dataclasses.asdict(listener) for listener in processes.listeners(settings.port)],
            }
        )
    return found
