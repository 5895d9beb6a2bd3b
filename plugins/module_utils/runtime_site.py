# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtimes that this collection knows, and each of them on this host with everything that decides about it."""
from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import gpus
from ansible_collections.venom.llm.plugins.module_utils.activation_server import Server
from ansible_collections.venom.llm.plugins.module_utils.observation import Observation
from ansible_collections.venom.llm.plugins.module_utils.record import RuntimeRecord
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Runtime
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama import OllamaRuntime
from ansible_collections.venom.llm.plugins.module_utils.runtimes.vllm import VllmRuntime
from ansible_collections.venom.llm.plugins.module_utils.supervisors.base import Supervisor
from ansible_collections.venom.llm.plugins.module_utils.supervisors.process import Command, ProcessSupervisor
from ansible_collections.venom.llm.plugins.module_utils.supervisors.select import choose
from ansible_collections.venom.llm.plugins.module_utils.supervisors.systemd import SystemdSupervisor

RUNTIMES: dict[str, t.Callable[..., Runtime]] = {"ollama": OllamaRuntime, "vllm": VllmRuntime}


@dataclass(frozen=True)
class Site:
    """One runtime on this host with everything that decides about it. ``neighbours`` are the other runtimes that are configured here."""

    runtime: Runtime
    supervisor: Supervisor
    record_path: str
    models_dir: str
    run_dir: str
    neighbours: tuple[Site, ...] = ()

    @property
    def server(self) -> Server:
        """The same as the steps of an activation take it."""
        return Server(self.runtime, self.supervisor, self.record_path, gpu_pids)

    @property
    def lock_path(self) -> str:
        """Who changes the runtime holds this lock."""
        return os.path.join(self.run_dir, f"{self.runtime.name}.lock")

    def record(self) -> RuntimeRecord:
        """``runtime.json`` as it is now."""
        return RuntimeRecord.load(self.record_path)

    def observe(self) -> Observation:
        """The runtime as it is now."""
        return self.server.observe()


def make_site(params: t.Mapping[str, t.Any]) -> Site:
    """The runtime, its supervisor, its files and its neighbours from module parameters."""
    others = tuple(_make_one(params, name) for name in sorted(RUNTIMES) if name != params["name"])
    return _make_one(params, params["name"], tuple(site for site in others if site.runtime.is_configured()))


def _make_one(params: t.Mapping[str, t.Any], name: str, neighbours: tuple[Site, ...] = ()) -> Site:
    runtime = RUNTIMES[name](params["config_dir"], params["run_dir"])
    log_path = os.path.join(params["log_dir"], runtime.log_name)

    def command() -> Command:
        return Command(runtime.command(), runtime.environment())

    supervisor: Supervisor
    if choose(params["supervisor"]) == "systemd":
        supervisor = SystemdSupervisor(runtime.unit, log_path)
    else:
        supervisor = ProcessSupervisor(runtime.unit.rsplit(".", 1)[0], log_path, params["run_dir"], command, params["account"])
    return Site(
        runtime, supervisor, os.path.join(params["config_dir"], "runtime.json"), params["models_dir"], params["run_dir"], neighbours
    )


def gpu_pids() -> set[int] | None:
    """The processes that hold GPU memory, or None when NVML does not say."""
    memory = gpus.read_gpus().process_memory
    return None if memory is None else set(memory)
