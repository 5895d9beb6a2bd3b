# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of somebody else: found with their units, ended only by themselves."""
from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import control, control_checks, processes, rivals
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.observation import Observation
from ansible_collections.venom.llm.plugins.module_utils.processes import Listener
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama import OllamaRuntime
from ansible_collections.venom.llm.plugins.module_utils.supervisors.base import ServiceState
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeHost, FakeSupervisor, is_alive

#: As systemctl of Debian 13 prints them (systemd 257).
UNITS = "cron.service enabled enabled\nollama.service enabled enabled\nvenom-ollama.service enabled enabled\nollama-b.service enabled enabled\n"
UNITS += "ollama-exporter.service enabled enabled\n"
SHOWN = {
    "ollama.service": "Environment=PATH=/usr/bin\nExecStart={ path=/usr/local/bin/ollama ; argv[]=/usr/local/bin/ollama serve ; ignore_errors=no }\n",
    "ollama-exporter.service": "Environment=\nExecStart={ path=/usr/bin/ollama-exporter ; argv[]=/usr/bin/ollama-exporter --listen :9000 }\n",
    "docker.service": "Environment=\nExecStart={ path=/usr/bin/dockerd ; argv[]=/usr/bin/dockerd -H fd:// ; ignore_errors=no }\n",
    "models.service": "Environment=\nExecStart={ path=/usr/bin/env ; argv[]=/usr/bin/env ollama serve ; ignore_errors=no }\n",
    "ollama-b.service": "Environment=OLLAMA_HOST=127.0.0.1:11999 A=b\nExecStart={ path=/usr/local/bin/ollama ; argv[]=ollama serve }\n",
}
STOPPED = Observation(True, None, ServiceState("stopped"))
STRANGER = Listener("127.0.0.1", 11434, 99, "/usr/local/bin/ollama serve", "ollama.service")
PROXY = Listener("0.0.0.0", 11434, 777, "/usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 11434", "docker.service")  # noqa: S104
#: As systemctl prints its sockets; the last column is what they start.
SOCKETS = "/run/dbus/system_bus_socket dbus.socket dbus.service\n[::]:22 ssh.socket ssh.service\n127.0.0.1:11434 models.socket models.service\n"


class Systemctl:
    """Answers as recorded, and remembers what it was told."""

    def __init__(self, fails: bool = False) -> None:
        self.calls: list[list[str]] = []
        self.fails = fails

    def __call__(self, argv: t.Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.calls.append(list(argv[1:]))
        out = {"list-unit-files": UNITS, "list-sockets": SOCKETS}.get(argv[1], SHOWN.get(argv[-1], ""))
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


def unadoptable(runtime: OllamaRuntime, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> VenomError:
    """The refusal to end who listens; whoever tries all the same touches nothing."""

    def never(*dummy: object) -> t.NoReturn:
        raise AssertionError("a process was signalled")

    monkeypatch.setattr(rivals.os, "kill", never)
    run = Systemctl()
    found = find(runtime, dataclasses.replace(STOPPED, listeners=(listener,)), run)[0]
    with pytest.raises(VenomError) as caught:
        found.end(0.1)
    assert not [call for call in run.calls if call[0] in ("disable", "stop")]
    error = rivals.rival_conflict(found, runtime)
    assert found.refusal and found.refusal in error.found and found.refusal in caught.value.found and "adopt" not in error.todo
    return error


def test_systemd_itself_is_never_ended_and_its_socket_is_named(runtime: OllamaRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    error = unadoptable(runtime, Listener("127.0.0.1", 11434, 1, "/sbin/init", "init.scope"), monkeypatch)
    assert error.reason_code == "port_in_use" and "models.socket" in error.found and "pid 1" in error.found
    # Nor is the manager of an account, whose sockets the one of the host does not know; a program of a shell may be.
    manager = Listener("127.0.0.1", 11434, 812, "/usr/lib/systemd/systemd --user", "init.scope")
    assert "pid 812" in unadoptable(runtime, manager, monkeypatch).found
    seen = dataclasses.replace(STOPPED, listeners=(dataclasses.replace(manager, command="/usr/bin/ollama serve"),))
    assert find(runtime, seen, Systemctl())[0].refusal == ""


def test_a_unit_that_runs_more_than_a_server_is_never_disabled(runtime: OllamaRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    error = unadoptable(runtime, PROXY, monkeypatch)
    assert "docker.service" in error.found and "/usr/bin/dockerd -H fd://" in error.found and error.details["listener"]["unit"] == "docker.service"
    # A unit that systemd does not tell anything about is no server either.
    assert "kept.service" in unadoptable(runtime, dataclasses.replace(PROXY, unit="kept.service"), monkeypatch).found


@pytest.mark.parametrize("unit", ["models.service", "my-vllm.service", "ollama.service"])
def test_a_unit_that_serves_by_its_command_or_its_name_can_be_adopted(runtime: OllamaRuntime, unit: str) -> None:
    seen = dataclasses.replace(STOPPED, listeners=(dataclasses.replace(STRANGER, unit=unit),))
    assert [(rival.unit, rival.refusal) for rival in find(runtime, seen, Systemctl())][0] == (unit, "")


def test_a_unit_that_comes_to_the_server_by_a_script(runtime: OllamaRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "ExecStart={ path=/opt/llm/start.sh ; argv[]=/opt/llm/start.sh ; ignore_errors=no }\n"
    for main, refusal in ((99, ""), (98, "llm.service is no model server alone: it runs /opt/llm/start.sh")):
        monkeypatch.setitem(SHOWN, "llm.service", f"{script}MainPID={main}\n")
        seen = dataclasses.replace(STOPPED, listeners=(dataclasses.replace(STRANGER, unit="llm.service"),))
        assert [(rival.unit, rival.refusal) for rival in find(runtime, seen, Systemctl())][0] == ("llm.service", refusal)


def test_whoever_this_run_comes_from_is_never_ended(runtime: OllamaRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    for pid in (os.getpid(), os.getppid()):
        error = unadoptable(runtime, Listener("127.0.0.1", 11434, pid, "sshd: admin@notty", "ssh.service"), monkeypatch)
        assert f"pid {pid}" in error.found and "this run" in error.found


def test_a_refusal_to_adopt_comes_before_anything_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = FakeHost(tmp_path)
    site = control.make_site(host.params())
    rival = rivals.Rival(PROXY, "docker.service", Systemctl(), "docker.service runs other things")
    monkeypatch.setattr(control_checks, "find_rivals", lambda *dummy: [rivals.Rival(STRANGER, None), rival])
    seen = dataclasses.replace(STOPPED, service=ServiceState("stopped"))
    with pytest.raises(VenomError) as caught:
        control_checks.refuse_start(site, control.Request("started", adopt=True), seen)
    assert "docker.service runs other things" in caught.value.found


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
