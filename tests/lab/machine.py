# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host as a running machine: its disk, its identity, its nspawn."""
from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from lab import network
from lab.cgroups import Cgroup
from lab.record import HostSpec, Record, write
from lab.settings import Settings
from lab.system import SEARCH_PATH, LabError, Process, call, find_tool, mounts, unmount_under

_NSPAWN_RUN = Path("/run/systemd/nspawn")

#: Arguments: cgroup, log, link, command. A small shell enters the host's cgroup, leaves a keeper there and says its number.
#: With --keep-unit nspawn does not reboot a host itself: it ends with 133 and wants to be started again (EXIT_FORCE_RESTART in
#: nspawn.c, for a unit's RestartForceExitStatus=133). The keeper's parent is init, so no caller collects zombies.
_KEEPER = """
echo 0 > "$1/cgroup.procs" || exit 1
log=$2 link=$3
shift 3
while :; do ip link delete "$link" 2>/dev/null; "$@"; [ $? -eq 133 ] || break; done </dev/null >>"$log" 2>&1 &
echo $!
"""


@dataclass(frozen=True)
class Machine:
    """The machine behind a host. Everything here is found again from the disk and /proc, so any process may pick it up."""

    record: Record
    spec: HostSpec

    @property
    def settings(self) -> Settings:
        return self.record.settings

    @property
    def name(self) -> str:
        """The machine name, unlike any other lab's on this computer."""
        return f"{self.settings.prefix}-{self.spec.name}"

    @property
    def folder(self) -> Path:
        return self.settings.state / "hosts" / self.spec.name

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def upper(self) -> Path:
        """What this host has written: its disk, which survives power cuts and reboots."""
        return self.folder / "disk"

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    @property
    def cgroup(self) -> Cgroup:
        return Cgroup(self.name)

    def keeper(self) -> Process | None:
        """The shell that keeps its nspawn, if it lives. Recorded with its start time: a stranger with its number is not it."""
        try:
            data = json.loads((self.folder / "keeper.json").read_text(encoding="utf-8"))
            found = Process(int(data["pid"]), int(data["started"]))
        except (OSError, ValueError, KeyError):
            return None
        return found if found.is_alive() else None

    def nspawn(self) -> Process | None:
        """Its systemd-nspawn: the keeper's child. Another one after each reboot, and none for a moment in between."""
        keeper = self.keeper()
        for pid in self.cgroup.pids() if keeper else ():
            found = Process.of(pid)
            if found is not None and keeper is not None and found.parent() == keeper.pid:
                return found
        return None

    def is_running(self) -> bool:
        return self.keeper() is not None

    def mount(self) -> None:
        """Stack its disk over its layers and the image. Idempotent."""
        for folder in (self.root, self.upper, self.folder / "work"):
            folder.mkdir(parents=True, exist_ok=True)
        if any(mount.point == self.root for mount in mounts()):
            return
        below = [*self.spec.layers, self.spec.image]
        gone = [folder for folder in below if not Path(folder).is_dir()]
        if gone:
            raise LabError(f"{self.spec.name}: {gone[0]} is gone; its disk means nothing without it: 'lab down', then up")
        options = f"lowerdir={':'.join(below)},upperdir={self.upper},workdir={self.folder / 'work'}"
        call(["mount", "-t", "overlay", "-o", options, f"venomlab-{self.name}", str(self.root)])

    def identify(self) -> None:
        """Write what makes it this host: name, machine-id, address, keys. Over whatever a layer brought along."""
        settings, root = self.settings, self.root
        address, hub = settings.address(self.spec.index), settings.network.ip
        files = {
            "etc/hostname": f"{self.spec.name}\n",
            # Empty: systemd makes a fresh one at the first boot, machine-id(5).
            "etc/machine-id": "",
            "etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{address.ip} {self.spec.name}\n{hub} hub hub.lab\n",
            "etc/systemd/network/50-host0.network": (
                f"[Match]\nName=host0\n\n[Network]\nAddress={address}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
            ),
            "root/.ssh/authorized_keys": (settings.state / "id_ed25519.pub").read_text(encoding="utf-8"),
        }
        (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            write(root / name, text)
        write(root / "etc/ssh/ssh_host_ed25519_key", (settings.state / "host_ed25519").read_text(encoding="utf-8"), 0o600)

    def start(self) -> None:
        """Boot it; returns at once. Idempotent."""
        if self.is_running():
            return
        self.reap()
        self.mount()
        if not (self.folder / "identified").exists():
            self.identify()
            write(self.folder / "identified", "")
        program = find_tool("systemd-nspawn") or "systemd-nspawn"
        argv = [
            program, "-q", "-D", str(self.root), "-M", self.name, f"--hostname={self.spec.name}",
            "--register=no", "--keep-unit", "-b", f"--network-bridge={self.settings.bridge}", "--console=read-only",
            "--link-journal=no", "--resolv-conf=off", "--timezone=off",
            *(f"--bind-ro={bind}" for bind in self.spec.binds_ro),
            *(f"--tmpfs={_tmpfs(text)}" for text in self.spec.tmpfs),
        ]  # fmt: skip
        env = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "PATH": SEARCH_PATH}
        link = network.link_name(self.name)
        done = call(["setsid", "--wait", "sh", "-c", _KEEPER, "sh", str(self.cgroup.create()), str(self.console), link, *argv], env=env)
        keeper = Process.of(int(done.stdout))
        if keeper is None:
            raise LabError(f"{self.spec.name}: systemd-nspawn ended at once; its last words:\n{self.last_words()}")
        write(self.folder / "keeper.json", json.dumps({"pid": keeper.pid, "started": keeper.started, "argv": argv}, indent=2) + "\n")

    def stop(self, timeout: float = 20) -> bool:
        """Shut it down as a machine is shut down; False when it did not end within ``timeout`` seconds and was killed."""
        nspawn = self.nspawn()
        if nspawn is not None:
            # systemd-nspawn(1) --kill-signal: on SIGTERM nspawn tells the host's PID 1 to power off.
            nspawn.signal(signal.SIGTERM)
            deadline = time.monotonic() + timeout
            while self.is_running() and time.monotonic() < deadline:
                time.sleep(0.05)
        clean = not self.is_running()
        self.reap()
        return clean

    def power_cut(self) -> None:
        """SIGKILL to its nspawn and everything in it, all at once. What the disk holds stays; nothing else is dropped."""
        if not self.is_running():
            raise LabError(f"{self.spec.name} does not run: there is no power to cut")
        self.reap()

    def reap(self) -> None:
        """Kill whatever is left of it and take away its cgroup, its link and nspawn's leftovers. Idempotent."""
        self.cgroup.kill()
        self.cgroup.remove()
        network.delete_link(self.name)
        for folder in ("propagate", "unix-export"):
            if (_NSPAWN_RUN / folder / self.name).exists():
                unmount_under(_NSPAWN_RUN / folder / self.name)
                shutil.rmtree(_NSPAWN_RUN / folder / self.name)
        if self.root.exists():
            found = self.root.stat()
            (_NSPAWN_RUN / "locks" / f"inode-{found.st_dev}:{found.st_ino}").unlink(missing_ok=True)
        (self.folder / "keeper.json").unlink(missing_ok=True)

    def unmount(self) -> None:
        unmount_under(self.folder)

    def last_words(self, lines: int = 25) -> str:
        """The end of its console log."""
        try:
            text = self.console.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "(no console log)"
        return "\n".join(text.splitlines()[-lines:])


def check_bind(text: str) -> str:
    """SRC:DST or one path for both, checked; returns SRC:DST with SRC absolute. Raises ``LabError``."""
    source, dummy, target = text.partition(":")
    source = os.path.abspath(os.path.expanduser(source))
    target = target or source
    if not os.path.exists(source) or not target.startswith("/") or ":" in target:
        raise LabError(f"--bind-ro {text}: wanted SRC:DST with an existing SRC and an absolute DST")
    return f"{source}:{target}"


def check_tmpfs(text: str) -> str:
    """PATH:SIZE, such as /var/lib/venom/models:64M. Raises ``LabError``."""
    path, dummy, size = text.partition(":")
    if not path.startswith("/") or not size.rstrip("kKmMgG%").isdigit():
        raise LabError(f"--tmpfs {text}: wanted PATH:SIZE, such as /srv/small:64M")
    return text


def _tmpfs(text: str) -> str:
    path, dummy, size = text.partition(":")
    return f"{path}:mode=755,size={size}"
