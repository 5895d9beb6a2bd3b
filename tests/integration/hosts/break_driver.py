# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host with systemd and stand-in servers: does what its argument tells it as JSON, one thing after the other, and prints the results."""
from __future__ import annotations

import json
import os
import sys
import time
import typing as t
from pathlib import Path

from integration.break_stage import OllamaStage, Stage, VllmStage, pid_of_unit, says, stop_at
from integration.runtime_support import TwoRuntimes

from ansible_collections.venom.llm.plugins.module_utils import envfile
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

ROOT = Path("/srv/venom")
#: Says that an activation has come to the step at which it is to wait for its end.
HELD = Path("/run/venom-held")
PORTS = {"vllm": 8001, "ollama": 11500}


class SystemdHost(TwoRuntimes):
    """Both runtimes as units; what runs has its folder in /run, which a boot empties."""

    def __init__(self, fresh: bool) -> None:
        if fresh:
            super().__init__(ROOT)
        self.root, self.warnings, self.python, self.store_dir = ROOT, [], ROOT / "venv" / "bin" / "python", ROOT / "store"
        self.port, self.ollama_port = PORTS["vllm"], PORTS["ollama"]
        if fresh:
            self.write_settings()
            self.write_ollama(LAB_OLLAMA_TIME_SCALE="0.01")

    def params(self, **options: t.Any) -> dict[str, t.Any]:
        return super().params(**{"supervisor": "auto", "run_dir": "/run/venom", **options})


def look(stage: Stage, wait: float = 0.0) -> dict[str, t.Any]:
    """A runtime from outside and from inside: what serves, what is recorded, what the status says. ``wait`` in seconds until something serves."""
    deadline = time.monotonic() + wait
    while stage.serving() is None and time.monotonic() < deadline:
        # Ollama has nothing in memory until somebody asks for the name that the configuration tells clients.
        alias = (envfile.read(str(ROOT / "config" / f"{stage.runtime}.active.env")) or {}).get("LLM_MODEL_NAME")
        if stage.runtime == "ollama" and alias is not None:
            says(stage.port, alias)
        time.sleep(0.1)
    status = stage.status()
    said = {key: status[key] for key in ("status", "service", "active_model", "pid", "pids", "restarts", "error_message")}
    return {"serving": stage.serving(), "committed": stage.committed(), "unit_pid": pid_of_unit(stage.runtime), **said}


def hold(runtime: str) -> None:
    """Wait for the end, and say so."""
    HELD.with_suffix(f".{runtime}").touch()
    time.sleep(600)


def do(stages: dict[str, Stage], what: str, runtime: str, **options: t.Any) -> t.Any:
    """One thing."""
    stage = stages[runtime]
    if what == "look":
        return look(stage, **options)
    if what == "prepare":
        return stage.prepare(options, options.pop("before", None))
    if what == "repair":
        return stage.repair()
    if what == "hold":
        return stop_at(options["at"], lambda: hold(runtime))
    try:
        return stage.activate(options.pop("name"), **options)
    except VenomError as error:
        return error.to_result()


def main() -> None:
    fresh = not ROOT.exists()
    if fresh:
        ROOT.mkdir()
    os.makedirs("/run/venom", exist_ok=True)
    host = SystemdHost(fresh)
    stages: dict[str, Stage] = {"vllm": VllmStage(host, fresh), "ollama": OllamaStage(host, fresh)}
    print(json.dumps([do(stages, **order) for order in json.loads(sys.argv[1])]))


if __name__ == "__main__":
    main()
