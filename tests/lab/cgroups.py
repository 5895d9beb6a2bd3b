# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One cgroup for each host.

systemd-nspawn with ``--keep-unit`` makes its ``payload`` group inside the group it was started in. Hosts started from one
shell would share that ``payload``: ``system.slice/x.service`` of one host would be the other's too, and freezing or limiting
the one would hit both (seen with systemd 252). A group of its own for each host keeps them
apart, and makes a power cut one write: ``cgroup.kill`` (Linux 5.14, cgroup-v2.rst) ends all of it at once.
"""
from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from lab.system import LabError, mounts


@dataclass(frozen=True)
class Cgroup:
    """The cgroup of one host, by the name of its machine."""

    machine: str

    @property
    def path(self) -> Path:
        for mount in mounts():
            # /sys/fs/cgroup on machines of today, /sys/fs/cgroup/unified where the old kind is mounted beside it.
            if mount.kind == "cgroup2":
                return mount.point / f"venomlab-{self.machine}"
        raise LabError("no cgroup2 file system is mounted: systemd-nspawn cannot boot a host here")

    def create(self) -> Path:
        self.path.mkdir(exist_ok=True)
        return self.path

    def pids(self) -> tuple[int, ...]:
        """Every process of the host and its nspawn, by the numbers of this machine."""
        found: list[int] = []
        for procs in self.path.rglob("cgroup.procs"):
            try:
                found += [int(line) for line in procs.read_text(encoding="ascii").split()]
            except OSError:
                continue  # the group went away under us, and its processes with it
        return tuple(found)

    def is_populated(self) -> bool:
        """Is there a process in the group or below, cgroup-v2.rst ``cgroup.events``? One that is dying still counts here, though it is
        listed no more: a vLLM takes a moment to give its gigabyte back, and until then the group cannot be removed."""
        try:
            return "populated 1" in (self.path / "cgroup.events").read_text(encoding="ascii")
        except OSError:
            return False

    def kill(self, timeout: float = 30) -> None:
        """SIGKILL everything in the group and wait, at most ``timeout`` seconds, until nothing is left."""
        deadline = time.monotonic() + timeout
        while self.is_populated():
            if (self.path / "cgroup.kill").exists():
                (self.path / "cgroup.kill").write_text("1", encoding="ascii")
            else:
                for pid in self.pids():
                    _kill(pid)
            if time.monotonic() > deadline:
                raise LabError(f"{self.machine}: processes survive SIGKILL for {timeout:g} s: {self.pids()}")
            time.sleep(0.05)

    def remove(self) -> None:
        """Remove the group with its children; it must be empty."""
        if not self.path.exists():
            return
        for entry in os.walk(self.path, topdown=False):
            Path(entry[0]).rmdir()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
