# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd supervisor on recorded output, and the exact commands it runs."""
from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.supervisors import base, select
from ansible_collections.venom.llm.plugins.module_utils.supervisors.systemd import PROPERTIES, SystemdSupervisor, parse_show, state_from
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeSupervisor
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.supervisors.recorded_systemctl import MONOTONIC, SHOWN

UNIT = "venom-vllm.service"
SHOW = ["systemctl", "show", "--no-pager", f"--property={','.join(PROPERTIES)}", UNIT]


@pytest.mark.parametrize(
    ("name", "active", "more"),
    [
        ("missing", "stopped", {"installed": False}),
        ("never started", "stopped", {"installed": True, "enabled": False, "pid": None, "exit_status": None, "uptime_seconds": None}),
        ("condition not met", "stopped", {"pid": None}),
        ("queued on 257", "starting", {}),
        ("running", "running", {"pid": 131, "uptime_seconds": 0.3, "enabled": True, "restarts": 0, "exit_status": None}),
        ("needs reload on 257", "running", {"needs_reload": True}),
        ("waits for restart", "restarting", {"exit_status": -9, "pid": None}),
        ("restarted", "running", {"restarts": 1, "pid": 158}),
        ("stopped", "stopped", {"exit_status": -15}),
        ("start died", "restarting", {"exit_status": 3}),
        ("start limit hit", "failed", {"exit_status": 3, "restarts": 3}),
        ("masked", "stopped", {"installed": True, "unstartable": "masked", "detail": "inactive (dead), result success, unit masked"}),
    ],
)
def test_states(name: str, active: str, more: dict[str, t.Any]) -> None:
    state = state_from(parse_show(SHOWN[name]), MONOTONIC)
    assert state.active == active and state.active in base.STATES
    assert {key: getattr(state, key) for key in more} == more


class Systemctl:
    """Answers with recorded output, in turn; the last one for ever. Remembers every command."""

    def __init__(self, *shown: str, fail: dict[str, str] | None = None) -> None:
        self.shown = list(shown)
        self.fail = fail or {}
        self.ran: list[list[str]] = []

    def __call__(self, argv: t.Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.ran.append(list(argv))
        if argv[1] in self.fail:
            return subprocess.CompletedProcess(argv, 1, "", self.fail[argv[1]])
        output = ""
        if argv[1] == "show":
            output = SHOWN[self.shown.pop(0) if len(self.shown) > 1 else self.shown[0]]
        return subprocess.CompletedProcess(argv, 0, output, "")

    @property
    def acted(self) -> list[list[str]]:
        return [argv for argv in self.ran if argv[1] != "show"]


def supervisor(systemctl: Systemctl, root: str = "/nonexistent") -> SystemdSupervisor:
    return SystemdSupervisor(UNIT, "/nonexistent.log", systemctl, root)


def test_start_forgets_old_crashes_and_does_not_block() -> None:
    systemctl = Systemctl("start limit hit")
    supervisor(systemctl).start()
    assert systemctl.ran == [SHOW, ["systemctl", "reset-failed", UNIT], ["systemctl", "start", "--no-block", UNIT]]


def test_start_reloads_only_when_it_is_needed() -> None:
    systemctl = Systemctl("needs reload on 257")
    supervisor(systemctl).start()
    assert systemctl.acted[0] == ["systemctl", "daemon-reload"]
    systemctl = Systemctl("running")
    supervisor(systemctl).start()
    assert systemctl.acted == []


def test_stop_waits_until_the_unit_is_down() -> None:
    systemctl = Systemctl("running", "running", "running", "running", "running", "stopped")
    supervisor(systemctl).stop(5)
    assert systemctl.acted == [["systemctl", "stop", "--no-block", UNIT], ["systemctl", "reset-failed", UNIT]]


def test_a_unit_that_is_down_has_stopped_only_when_its_processes_are_gone() -> None:
    class Left(FakeSupervisor):
        def __init__(self, state: base.ServiceState) -> None:
            super().__init__(state)
            self.counts = [1, 1, 0]

        def pids(self) -> list[int]:
            return [7] * self.counts.pop(0)

    left = Left(base.ServiceState("stopped"))
    assert base.wait_until_stopped(left, 5) and left.counts == []
    left = Left(base.ServiceState("stopped"))
    assert not base.wait_until_stopped(left, 0) and left.counts == [1, 0]


def test_stop_ends_a_unit_that_waits_for_its_next_try() -> None:
    systemctl = Systemctl("waits for restart", "stopped")
    supervisor(systemctl).stop(5)
    assert systemctl.acted[0] == ["systemctl", "stop", "--no-block", UNIT]


def test_stop_kills_what_does_not_stop_and_says_so_when_even_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.venom.llm.plugins.module_utils.supervisors.systemd._KILL_TIMEOUT", 0.2)
    systemctl = Systemctl("running")
    with pytest.raises(VenomError) as caught:
        supervisor(systemctl).stop(0.2)
    assert caught.value.reason_code == "stop_failed" and caught.value.details["pids"] == [131]
    assert systemctl.acted[1] == ["systemctl", "kill", "--signal=SIGKILL", UNIT]


def test_a_missing_unit_is_stopped_and_cannot_be_enabled() -> None:
    systemctl = Systemctl("missing")
    supervisor(systemctl).stop(5)
    assert not supervisor(systemctl).enable() and not supervisor(systemctl).disable() and systemctl.acted == []


def test_enable_and_disable_tell_whether_they_changed_anything() -> None:
    systemctl = Systemctl("never started")
    assert supervisor(systemctl).enable() and not supervisor(systemctl).disable()
    assert systemctl.acted == [["systemctl", "enable", UNIT]]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Failed to start venom-vllm.service: Access denied\nSee system logs", "permission_denied"),
        ("Failed to start venom-vllm.service: Interactive authentication required.", "permission_denied"),
        ("Failed to start venom-vllm.service: Unit venom-vllm.service is masked.", "supervisor_failed"),
    ],
)
def test_refusals_of_systemctl(said: str, code: str) -> None:
    with pytest.raises(VenomError) as caught:
        supervisor(Systemctl("never started", fail={"start": said})).start()
    assert caught.value.reason_code == code and said.split("\n")[0] in caught.value.found


@pytest.mark.parametrize("hierarchy", ["", "systemd", "unified"])
def test_pids_come_from_the_control_group_and_below(tmp_path: Path, hierarchy: str) -> None:
    group = tmp_path / hierarchy / "system.slice" / UNIT
    (group / "worker").mkdir(parents=True)
    (group / "cgroup.procs").write_text("131\n140\n")
    (group / "worker" / "cgroup.procs").write_text("150\n")
    assert supervisor(Systemctl("running"), str(tmp_path)).pids() == [131, 140, 150]
    assert supervisor(Systemctl("stopped"), str(tmp_path)).pids() == []


def test_the_fingerprint_follows_unit_and_drop_ins(tmp_path: Path) -> None:
    unit, drop_in = tmp_path / "unit", tmp_path / "drop-in"
    unit.write_text("[Service]\n")
    drop_in.write_text("[Service]\nA=1\n")

    def run(argv: t.Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 0, f"FragmentPath={unit}\nDropInPaths={drop_in}\n", "")

    before = SystemdSupervisor(UNIT, "", run).fingerprint()
    assert before == SystemdSupervisor(UNIT, "", run).fingerprint()
    drop_in.write_text("[Service]\nA=2\n")
    assert before != SystemdSupervisor(UNIT, "", run).fingerprint()


def test_systemd_is_taken_where_it_is_init_and_we_may_command_it(tmp_path: Path) -> None:
    comm = tmp_path / "comm"
    comm.write_text("systemd\n")
    assert select.has_systemd(str(tmp_path), str(comm))
    assert not select.has_systemd(str(tmp_path / "none"), str(comm))
    comm.write_text("bash\n")
    assert not select.has_systemd(str(tmp_path), str(comm)) and not select.has_systemd(str(tmp_path), str(tmp_path / "hidden"))
    assert select.choose("auto", systemd=True, root=True) == "systemd"
    assert select.choose("auto", systemd=True, root=False) == "process" == select.choose("auto", systemd=False, root=True)
    assert select.choose("systemd", systemd=False, root=False) == "systemd"


def test_log_tail_begins_at_the_mark_and_survives_rotation(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    mark = base.log_size(str(log))
    log.write_text("old\nnew 1\nnew 2\n")
    assert base.log_tail(str(log), 1, mark) == ["new 2"] and base.log_tail(str(log), 9, mark) == ["new 1", "new 2"]
    log.write_text("r\n")
    assert base.log_tail(str(log), 9, mark) == ["r"]
    assert base.log_tail(str(tmp_path / "none")) == [] and base.log_size(str(tmp_path / "none")) == 0
