# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server as a systemd unit, through systemctl. Waits are ours, so every job is queued with --no-block."""
from __future__ import annotations

import hashlib
import os
import subprocess
import time
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.supervisors import base, ipc

PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "MainPID",
    "NRestarts",
    "ExecMainStatus",
    "ExecMainCode",
    "ExecMainStartTimestampMonotonic",
    "Result",
    "UnitFileState",
    "ControlGroup",
    "NeedDaemonReload",
    "Job",
    "FragmentPath",
    "DropInPaths",
)

#: ActiveState of systemd(1) to the states of ``ServiceState``.
_ACTIVE = {
    "active": "running",
    "reloading": "running",
    "refreshing": "running",
    "activating": "starting",
    "deactivating": "stopping",
    "inactive": "stopped",
    "failed": "failed",
    "maintenance": "stopping",
}
_DENIED = ("access denied", "interactive authentication required", "permission denied", "operation not permitted")
_COMMAND_TIMEOUT = 60
#: Seconds that processes get to vanish after SIGKILL.
_KILL_TIMEOUT = 15.0
#: CLD_KILLED and CLD_DUMPED of waitid(2): ExecMainStatus is then a signal number.
_ENDED_BY_SIGNAL = ("2", "3")

Run = t.Callable[[t.Sequence[str]], "subprocess.CompletedProcess[str]"]


def run_command(argv: t.Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run systemctl in the C locale and without a pager. Raises ``supervisor_failed`` when it hangs or is not there."""
    try:
        return subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMMAND_TIMEOUT,
            check=False,
            env=dict(os.environ, LC_ALL="C", SYSTEMD_PAGER="", SYSTEMD_COLORS="0"),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VenomError(
            "supervisor_failed", wanted=" ".join(argv), found=str(error), todo="see whether systemd answers on this host"
        ) from error


def parse_show(text: str) -> dict[str, str]:
    """The properties in the output of ``systemctl show``: one ``Name=value`` a line."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, separator, value in pairs if separator}


def state_from(properties: t.Mapping[str, str], monotonic: float) -> base.ServiceState:
    """The state that the properties tell; ``monotonic`` is CLOCK_MONOTONIC in seconds."""
    if properties.get("LoadState") == "not-found":
        return base.ServiceState("stopped", installed=False, detail="the unit is not installed")
    active = _ACTIVE.get(properties.get("ActiveState", ""), "failed")
    sub = properties.get("SubState", "")
    # A queued start has not touched the state of the last run yet.
    if active in ("stopped", "failed") and properties.get("Job", "") not in ("", "0"):
        active = "starting"
    # The last start died and systemd will try again: whoever waits for that start has to hear of the death.
    if sub.startswith("auto-restart"):
        active = "restarting"
    pid = int(properties.get("MainPID") or 0) or None
    started = int(properties.get("ExecMainStartTimestampMonotonic") or 0) / 1e6
    status = int(properties.get("ExecMainStatus") or 0)
    ended = pid is None and properties.get("ExecMainCode", "0") != "0"
    detail = f"{properties.get('ActiveState', '?')} ({sub}), result {properties.get('Result', '?')}"
    loaded = properties.get("LoadState", "loaded")
    unstartable = "" if loaded == "loaded" else loaded
    if unstartable:
        detail += f", unit {unstartable}"
    return base.ServiceState(
        active=active,
        pid=pid,
        uptime_seconds=round(max(0.0, monotonic - started), 1) if pid and started else None,
        restarts=int(properties.get("NRestarts") or 0),
        exit_status=(-status if properties.get("ExecMainCode") in _ENDED_BY_SIGNAL else status) if ended else None,
        enabled=properties.get("UnitFileState", "").startswith("enabled"),
        installed=True,
        needs_reload=properties.get("NeedDaemonReload") == "yes",
        detail=detail,
        unstartable=unstartable,
    )


class SystemdSupervisor:
    """The unit ``unit`` of the system manager."""

    name = "systemd"
    can_enable = True

    def __init__(self, unit: str, log_path: str, run: Run = run_command, cgroup_root: str = "/sys/fs/cgroup") -> None:
        self.unit = unit
        self.log_path = log_path
        self._run = run
        self._cgroup_root = cgroup_root

    def status(self) -> base.ServiceState:
        """See ``Supervisor``."""
        return state_from(self._show(), time.clock_gettime(time.CLOCK_MONOTONIC))

    def pids(self) -> list[int]:
        """Every process in the unit's control group; of the unified hierarchy, else of systemd's own one."""
        properties = self._show()
        group = properties.get("ControlGroup", "").lstrip("/")
        found = {int(properties.get("MainPID") or 0)} - {0}
        for hierarchy in ("", "systemd", "unified"):
            folder = os.path.join(self._cgroup_root, hierarchy, group)
            if group and os.path.isdir(folder):
                for folders in os.walk(folder):
                    found |= _read_pids(os.path.join(folders[0], "cgroup.procs"))
                break
        return sorted(found)

    def fingerprint(self) -> str:
        """Digest of the unit file and its drop-ins: a running server knows only those it was started with."""
        properties = self._show()
        digest = hashlib.sha256()
        for path in (properties.get("FragmentPath", ""), *properties.get("DropInPaths", "").split()):
            try:
                with open(path, "rb") as stream:
                    digest.update(stream.read() + b"\0")
            except OSError:
                digest.update(b"-\0")
        return digest.hexdigest()

    def start(self) -> None:
        """See ``Supervisor``. A start that an operator asked for is not refused for the crashes before it."""
        state = self.status()
        if state.active == "running" and not state.needs_reload:
            return
        if state.needs_reload:
            self._systemctl("daemon-reload")
        # It fails for units that systemd has not loaded yet, and these have no counter to reset.
        self._run(["systemctl", "reset-failed", self.unit])
        self._systemctl("start", "--no-block", self.unit)

    def stop(self, timeout: float) -> None:
        """See ``Supervisor``."""
        if not self.status().installed:
            return
        held = ipc.held_by(self.pids())
        self._systemctl("stop", "--no-block", self.unit)
        if not base.wait_until_stopped(self, timeout):
            self._systemctl("kill", "--signal=SIGKILL", self.unit)
            if not base.wait_until_stopped(self, _KILL_TIMEOUT):
                raise base.stop_failed(self.unit, timeout, self.pids())
        # A unit of ours has a /dev/shm of its own, which ends with it; one that an operator wrote may not.
        ipc.remove(held)
        # A server that was killed leaves the unit failed; it was stopped on purpose, so nothing has failed.
        self._run(["systemctl", "reset-failed", self.unit])

    def enable(self) -> bool:
        """See ``Supervisor``."""
        return self._switch("enable", wanted=True)

    def disable(self) -> bool:
        """See ``Supervisor``."""
        return self._switch("disable", wanted=False)

    def _switch(self, verb: str, wanted: bool) -> bool:
        state = self.status()
        if not state.installed or state.enabled == wanted:
            return False
        self._systemctl(verb, self.unit)
        return True

    def _show(self) -> dict[str, str]:
        done = self._systemctl("show", "--no-pager", f"--property={','.join(PROPERTIES)}", self.unit)
        return parse_show(done.stdout)

    def _systemctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self._run(["systemctl", *arguments])
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout or "").split())[:500]
            denied = any(text in said.lower() for text in _DENIED)
            raise VenomError(
                "permission_denied" if denied else "supervisor_failed",
                wanted=f"systemctl {' '.join(arguments)}",
                found=f"exit status {done.returncode}: {said or 'no message'}",
                todo="run with become" if denied else f"see systemctl status {self.unit} on the host",
                unit=self.unit,
            )
        return done


def _read_pids(path: str) -> set[int]:
    try:
        with open(path, encoding="ascii") as stream:
            return {int(line) for line in stream if line.strip().isdigit()}
    except OSError:
        return set()
