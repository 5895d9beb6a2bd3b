# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A managed host in a temporary folder, with the stand-in server in the place of vLLM, for the tests of the runtime modules."""
from __future__ import annotations

import dataclasses
import json
import os
import socket
import stat
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.venom.llm.plugins.module_utils import control, files, processes
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord, snapshot_path
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef
from ansible_collections.venom.llm.plugins.module_utils.supervisors import base

COMMIT = "0123456789abcdef0123456789abcdef01234567"
STAND_IN = Path(__file__).with_name("stand_in_vllm.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(true: t.Callable[[], t.Any], seconds: float = 60.0) -> None:
    """For things that happen in another process; raises when they never do."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError("it never happened")
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    return processes.start_ticks(pid) is not None


class FakeHost:
    """The folders and settings of one managed host, and calls of ``venom_runtime`` on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.warnings: list[str] = []
        self.python = root / "venv" / "bin" / "python"
        self.python.parent.mkdir(parents=True)
        self.python.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
        self.python.chmod(0o755)
        for name in ("config", "models", "log"):
            (root / name).mkdir()
        self.write_settings()

    def write_settings(self, **more: str) -> None:
        values = {
            "VENOM_VLLM_PYTHON": str(self.python),
            "VENOM_VLLM_HOST": "127.0.0.1",
            "VENOM_VLLM_PORT": str(self.port),
            "VENOM_VLLM_ARGS": "",
        }
        values.update(more)
        self.settings_path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    @property
    def settings_path(self) -> Path:
        return self.root / "config" / "vllm.env"

    @property
    def active_path(self) -> Path:
        return self.root / "config" / "vllm.active.env"

    def install(self, name: str, alias: str | None = "", **behaviour: t.Any) -> Entry:
        """A model that looks installed; its alias is the last part of its name unless another one, or None, is given."""
        ref = ModelRef.parse(name, "huggingface")
        folder = Path(snapshot_path(str(self.root / "models"), ref, COMMIT))
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "config.json").write_text("{}")
        records = []
        for path in sorted(folder.iterdir()):
            status = path.stat()
            records.append(FileRecord(path.name, status.st_size, Digest("sha256", "0" * 64), status.st_mtime_ns, status.st_ino))
        entry = Entry(
            name=name,
            provider="huggingface",
            runtime="vllm",
            revision=COMMIT,
            requested_revision="main",
            alias=name.rpartition("/")[2] if alias == "" else alias,
            local_path=str(folder),
            size_bytes=9,
            files=tuple(records),
            sha256="0" * 64,
            installed_at="2026-01-01T00:00:00+00:00",
        )
        Manifest.load(str(self.root / "models")).merge(entry).save()
        self.behave(entry, **behaviour)
        return entry

    def behave(self, entry: Entry, **behaviour: t.Any) -> None:
        Path(entry.local_path, "behaviour.json").write_text(json.dumps(behaviour))

    def params(self, **options: t.Any) -> dict[str, t.Any]:
        params: dict[str, t.Any] = {
            "name": "vllm",
            "state": "started",
            "model": None,
            "revision": None,
            "alias": None,
            "previous": None,
            "version": None,
            "exclusive": False,
            "adopt": False,
            "enabled": None,
            "supervisor": "process",
            "health_timeout": "20",
            "drain_timeout": 1.0,
            "drain_policy": "proceed",
            "stop_timeout": 5.0,
            "lock_timeout": 5.0,
            "rollback": True,
            "account": "",
        }
        params.update({f"{name}_dir": str(self.root / name) for name in ("config", "models", "log", "run")}, **options)
        return params

    def call(self, check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
        return control.operate(self.params(**options), check_mode, self.warnings.append)

    def activate(self, model: str, **options: t.Any) -> dict[str, t.Any]:
        return self.call(state="active", model=model, **options)

    def status(self) -> dict[str, t.Any]:
        options = {"probe": True, "probe_timeout": 10.0, "alert_percent": 100.0}
        return t.cast("dict[str, t.Any]", control.inspect(self.params(**options))["status"])

    def record(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", files.read_json(str(self.root / "config" / "runtime.json")))

    def tree(self) -> dict[str, tuple[int, bytes]]:
        """Every file of the host with mode and content, to show that nothing was written."""
        found = {}
        for folder in os.walk(self.root):
            for name in folder[2]:
                path = Path(folder[0], name)
                found[str(path.relative_to(self.root))] = (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
        return found


class FakeSupervisor:
    """A supervisor whose states are a script: each ``status`` gives the next one, the last one for ever."""

    name = "systemd"
    unit = "venom-vllm.service"
    can_enable = True

    def __init__(self, *states: base.ServiceState, log_path: str = "/nonexistent") -> None:
        self.states = list(states)
        self.log_path = log_path
        self.calls: list[str] = []
        self.print = "unit"

    def status(self) -> base.ServiceState:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def pids(self) -> list[int]:
        return []

    def fingerprint(self) -> str:
        return self.print

    def start(self) -> None:
        self.calls.append("start")

    def stop(self, timeout: float) -> None:
        self.calls.append("stop")

    def enable(self) -> bool:
        self.calls.append("enable")
        self.states = [dataclasses.replace(state, enabled=True) for state in self.states]
        return True

    def disable(self) -> bool:
        self.calls.append("disable")
        self.states = [dataclasses.replace(state, enabled=False) for state in self.states]
        return True
