# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of somebody else: found with their units, ended only by themselves."""
from __future__ import annotations

import dataclasses
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import processes, rivals
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.observation import Observation
from ansible_collections.venom.llm.plugins.module_utils.processes import Listener
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama import OllamaRuntime
from ansible_collections.venom.llm.plugins.module_utils.supervisors.base import ServiceState
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeSupervisor, is_alive

#: As systemctl of Debian 13 prints them (systemd 257).
UNITS = "cron.service enabled enabled\nollama.service enabled enabled\nvenom-ollama.service enabled enabled\nollama-b.service enabled enabled\n"
UNITS += "ollama-exporter.service enabled enabled\n"
SHOWN = {
    "ollama.service": "Environment=PATH=/usr/bin\nExecStart={ path=/usr/local/bin/ollama ; argv[]=/usr/local/bin/ollama serve ; ignore_errors=no }\n",
    "ollama-exporter.service": "Environment=\nExecStart={ path=/usr/bin/ollama-exporter ; argv[]=/usr/bin/ollama-exporter --listen :9000 }\n",
    "ollama-b.service": "Environment=OLLAMA_HOST=127.0.0.1:11999 A=b\nExecStart={ path=/usr/local/bin/ollama ; argv[]=ollama serve }\n",
}
STOPPED = Observation(True, None, ServiceState("stopped"))
STRANGER = Listener("127.0.0.1", 11434, 99, "/usr/local/bin/ollama serve", "ollama.service")


class Systemctl:
    """Answers as recorded, and remembers what it was told."""

    def __init__(self, fails: bool = False) -> None:
        self.calls: list[list[str]] = []
        self.fails = fails

    def __call__(self, argv: t.Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.calls.append(list(argv[1:]))
        out = UNITS if argv[1] == "list-unit-files" else SHOWN.get(argv[-1], "")
        return subprocess.CompletedProcess(argv, 1 if self.fails and argv[1] in ("disable", "stop") else 0, out, "Access denied")


@pytest.fixture()
def runtime(tmp_path: Path) -> OllamaRuntime:
    made = OllamaRuntime(str(tmp_path))
    Path(made.settings_path).write_text("OLLAMA_HOST=127.0.0.1:11434\nVENOM_OLLAMA_BINARY=/opt/venom/ollama/current/bin/ollama\n")
    return made


def find(runtime: OllamaRuntime, seen: Observation, run: Systemctl) -> list[rivals.Rival]:
    supervisor = FakeSupervisor(ServiceState("stopped"))
    supervisor.unit = runtime.unit
    return rivals.find_rivals(seen, runtime, supervisor, run)


def test_an_enabled_unit_that_would_take_the_port_at_boot(runtime: OllamaRuntime) -> None:
    run = Systemctl()
    (found,) = find(runtime, STOPPED, run)
    error = rivals.rival_conflict(found, runtime)
    assert error.reason_code == "duplicate_server" and error.details["unit"] == "ollama.service" and "next boot" in error.found
    assert found.end(1.0) == "ollama.service is disabled" and run.calls[-1] == ["disable", "--now", "ollama.service"]


def test_a_unit_on_another_port_is_nobodys_rival(runtime: OllamaRuntime) -> None:
    Path(runtime.settings_path).write_text("OLLAMA_HOST=127.0.0.1:11600\nVENOM_OLLAMA_BINARY=/opt/venom/ollama/current/bin/ollama\n")
    assert find(runtime, STOPPED, Systemctl()) == []
    Path(runtime.settings_path).write_text("OLLAMA_HOST=127.0.0.1:11999\nVENOM_OLLAMA_BINARY=/opt/venom/ollama/current/bin/ollama\n")
    assert [rival.unit for rival in find(runtime, STOPPED, Systemctl())] == ["ollama-b.service"]


@pytest.mark.parametrize(
    "command",
    [
        "/usr/bin/snap run ollama.listener",
        "/usr/bin/podman run --rm -p 11434:11434 docker.io/ollama/ollama:0.16.2",
        "/usr/bin/env ollama  serve",
    ],
)
def test_servers_in_other_clothes(runtime: OllamaRuntime, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setitem(SHOWN, "ollama.service", f"Environment=\nExecStart={{ path=/x ; argv[]={command} ; ignore_errors=no }}\n")
    assert [rival.unit for rival in find(runtime, STOPPED, Systemctl())] == ["ollama.service"]


def test_a_listener_is_named_once_with_its_unit(runtime: OllamaRuntime) -> None:
    seen = dataclasses.replace(STOPPED, listeners=(STRANGER,))
    (found,) = find(runtime, seen, Systemctl())
    assert found == rivals.Rival(STRANGER, "ollama.service", found.run)
    assert all(word in rivals.describe([found], runtime) for word in ("pid 99", "ollama.service", "serve", "11434"))
    # The service of somebody's login is no server: only the process is.
    seen = dataclasses.replace(STOPPED, listeners=(dataclasses.replace(STRANGER, unit="user@1000.service"),))
    assert [rival.unit for rival in find(runtime, seen, Systemctl())] == [None, "ollama.service"]


def test_systemd_that_refuses_is_told(runtime: OllamaRuntime) -> None:
    (found,) = find(runtime, STOPPED, Systemctl(fails=True))
    with pytest.raises(VenomError) as caught:
        found.end(1.0)
    assert caught.value.reason_code == "supervisor_failed" and "Access denied" in caught.value.found


def test_a_process_is_ended_with_its_children_even_if_it_ignores_sigterm() -> None:
    ignore = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    child = "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True); time.sleep(600)"
    server = subprocess.Popen([sys.executable, "-c", ignore + child], stdout=subprocess.PIPE, text=True)
    if server.stdout is None:
        raise AssertionError
    pid = int(server.stdout.readline())
    rival = rivals.Rival(Listener("127.0.0.1", 1, server.pid, "stray", None), None)
    assert rival.end(0.2) == f"ended pid {server.pid} (stray)"
    assert server.wait(60) != 0 and not is_alive(pid) and processes.start_ticks(server.pid) is None
    server.stdout.close()


def test_a_hidden_process_needs_more_rights() -> None:
    with pytest.raises(VenomError) as caught:
        rivals.Rival(Listener("127.0.0.1", 1, None, "", None), None).end(0.1)
    assert caught.value.reason_code == "permission_denied"
