# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``Lab``: hosts that are really booted, reached over ssh, cut off and brought back. The command line and the tests use this class."""
from __future__ import annotations

import contextlib
import fcntl
import shlex
import shutil
import subprocess
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab import images, layers, network, record
from lab.machine import Machine, check_bind, check_tmpfs
from lab.record import HostSpec, Record
from lab.settings import Settings
from lab.system import LabError, call, mounts, require, unmount_under

#: What ``systemctl is-system-running`` says, systemctl(1). Anything not named here is a failure.
GOOD = frozenset({"running", "degraded"})
WAITING = frozenset({"initializing", "starting"})
TOOLS = ("ip", "mount", "ssh", "ssh-keygen", "systemd-nspawn")


@dataclass(frozen=True)
class HostStatus:
    """What is true of a host now. ``state``: running, cut (runs, its link is down), stopped."""

    name: str
    suite: str
    address: str
    state: str
    pid: int | None
    layers: tuple[str, ...]


class Lab:
    """One lab, found by its state folder (default: the environment's, else ``.lab`` in the checkout)."""

    def __init__(self, state: Path | str | None = None, say: t.Callable[[str], None] = print) -> None:
        self._settings = Settings.from_env(Path(state) if state else None)
        self._say = say

    @property
    def record(self) -> Record:
        return Record.load(self._settings)

    @property
    def settings(self) -> Settings:
        """As the living lab was made, else as the environment says."""
        return self.record.settings

    @property
    def inventory(self) -> Path:
        return self._settings.state / "inventory.yml"

    def machine(self, host: str) -> Machine:
        known = self.record
        return Machine(known, known.host(host))

    def up(
        self,
        hosts: int = 1,
        suite: str = "bookworm",
        *,
        binds_ro: t.Sequence[str] = (),
        tmpfs: t.Sequence[str] = (),
        layer: str | None = None,
        timeout: float = 60,
    ) -> dict[str, str]:
        """Boot lab1..labN side by side and wait until each is reachable: name -> its systemd state. Hosts that run are left alone.

        ``suite`` is bookworm, trixie, or mixed (in turn). ``timeout`` in seconds, for each host. Raises ``LabError``; hosts that
        were started then stay, for a look at them.
        """
        require(*TOOLS)
        self._settings.check_disk()
        if not 1 <= hosts <= 99:
            raise LabError(f"{hosts} hosts: a lab has 1 to 99")
        settings = self.settings
        with self._locked():
            known = self.record
            binds, small = tuple(map(check_bind, binds_ro)), tuple(map(check_tmpfs, tmpfs))
            for index in range(1, hosts + 1):
                if any(host.index == index for host in known.hosts):
                    continue
                own = suite if suite != "mixed" else images.SUITES[(index - 1) % len(images.SUITES)]
                image = images.ensure(settings, own, self._say)
                stack = layers.find(settings, layer, own).stack if layer else ()
                known = known.with_host(HostSpec(index, own, str(image), stack, binds, small))
            # Before the record: a lab that got no bridge has not been made, and the next try may name another.
            network.ensure_bridge(settings)
            record.ensure_keys(settings)
            settings.run.mkdir(parents=True, exist_ok=True, mode=0o700)
            known.save()
            return self._boot([Machine(known, host) for host in known.hosts], timeout)

    def boot(self, host: str, timeout: float = 60) -> str:
        """Power on one host that was cut or stopped, also after this computer itself was restarted. Returns its systemd state."""
        machine = self.machine(host)
        with self._locked():
            network.ensure_bridge(machine.settings)
            return self._boot([machine], timeout)[host]

    def stop(self, host: str, timeout: float = 20) -> bool:
        """Shut one host down; False when it had to be killed after ``timeout`` seconds."""
        machine = self.machine(host)
        with self._locked():
            self.close_connections()
            return machine.stop(timeout)

    def power_cut(self, host: str) -> None:
        machine = self.machine(host)
        with self._locked():
            machine.power_cut()
            self.close_connections()

    def reboot(self, host: str, timeout: float = 60) -> str:
        """A clean reboot: stop, then boot. Returns its systemd state."""
        if not self.stop(host):
            raise LabError(f"{host} did not shut down in time and was killed:\n{self.machine(host).last_words()}")
        return self.boot(host, timeout)

    def cut(self, host: str) -> None:
        """Take the host off the network; it runs on. Booting it heals it."""
        network.set_link(self.machine(host).name, up=False)

    def heal(self, host: str) -> None:
        network.set_link(self.machine(host).name, up=True)

    def block(self, host: str, port: int) -> None:
        """Let nothing from this port of any other machine reach the host: packets are dropped, no connection is told. A boot ends it."""
        require("tc")
        network.block(self.machine(host).name, port)

    def unblock(self, host: str) -> None:
        network.unblock(self.machine(host).name)

    def limit(self, port: int, rate: str) -> None:
        """Let a server on the bridge send at most so much to all hosts together, such as 100mbit. It ends with the lab."""
        require("tc")
        network.limit(self.settings, port, rate)

    def unlimit(self) -> None:
        network.unlimit(self.settings)

    def status(self) -> tuple[HostStatus, ...]:
        found = []
        known = self.record
        for spec in known.hosts:
            machine = Machine(known, spec)
            nspawn = machine.nspawn()
            state = "stopped" if not machine.is_running() else "cut" if network.is_cut(machine.name) else "running"
            names = tuple(Path(folder).parent.parent.name for folder in spec.layers)
            found.append(HostStatus(spec.name, spec.suite, known.address(spec), state, nspawn.pid if nspawn else None, names))
        return tuple(found)

    def run(
        self, host: str, argv: t.Sequence[str], *, stdin: str | None = None, check: bool = True, timeout: float | None = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host as root over ssh. ``timeout`` in seconds. Raises ``LabError`` when ``check`` and it fails."""
        self.record.host(host)
        return call([*self.ssh_argv(host), shlex.join(argv)], stdin=stdin, check=check, timeout=timeout)

    def ssh_argv(self, host: str) -> list[str]:
        return ["ssh", "-F", str(self._settings.state / "ssh_config"), host]

    def save_layer(self, name: str, host: str) -> layers.Layer:
        """Stop the host, keep what it has written as a layer, and let it boot again on top of that layer."""
        machine = self.machine(host)
        if not self.stop(host):
            raise LabError(f"{host} did not shut down cleanly: its disk is not fit for a layer")
        with self._locked():
            machine.unmount()
            layer = layers.save(machine, name)
            self.record.with_host(layers.rebase(machine.spec, layer)).save()
        self.boot(host)
        return layer

    def down(self, timeout: float = 10) -> None:
        """Stop all hosts, cleanly within ``timeout`` seconds, else by force; leave nothing of the lab. Also after a crash. Idempotent."""
        require("ip", "mount")
        state = self._settings.state
        if not state.exists():
            return
        known = self._record_to_tear_down()
        with self._locked():
            self.close_connections(known.settings)
            machines = [Machine(known, spec) for spec in known.hosts]
            with ThreadPoolExecutor(max_workers=16) as pool:
                list(pool.map(lambda machine: machine.stop(timeout), machines))
            unmount_under(state / "hosts")
            network.delete_bridge(known.settings)
            shutil.rmtree(known.settings.run, ignore_errors=True)
            with contextlib.suppress(OSError):
                known.settings.run.parent.rmdir()
            # Ours by name: the folder may be the hub's too, or not a lab's at all.
            shutil.rmtree(state / "hosts", ignore_errors=True)
            for name in (*record.FILES, "lock"):
                (state / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            state.rmdir()

    def clean(self) -> None:
        """Down, and the cache of images, layers, wheels and packages too. Raises ``LabError`` while another lab stands on it."""
        self.down()
        cache = self._settings.cache
        for mount in mounts():
            if mount.kind == "overlay" and str(cache) in mount.options:
                raise LabError(f"the cache {cache} is in use by another lab: {mount.point}")
        for folder in ("images", "layers", "wheels", "debs"):
            shutil.rmtree(cache / folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            cache.rmdir()

    def close_connections(self, settings: Settings | None = None) -> None:
        """End the ssh connections that Ansible keeps open to the hosts: one that outlives its host hangs the next task."""
        run = (settings or self.settings).run
        for socket in run.iterdir() if run.exists() else ():
            call(["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "lab"], check=False, timeout=10)
            socket.unlink(missing_ok=True)

    def _record_to_tear_down(self) -> Record:
        try:
            return self.record
        except LabError:
            # An unreadable record: every folder of a host still says which machine it was.
            names = [folder.name for folder in (self._settings.state / "hosts").glob("lab*")]
            return Record(self._settings, tuple(HostSpec(int(name[3:]), "", "") for name in names if name[3:].isdigit()))

    def _boot(self, machines: t.Sequence[Machine], timeout: float) -> dict[str, str]:
        """Start side by side: the kernel and systemd do the work, a thread for each host only waits."""

        def start(machine: Machine) -> str:
            machine.start()
            return self._wait(machine, timeout)

        with ThreadPoolExecutor(max_workers=16) as pool:
            states = list(pool.map(start, machines))
        return {machine.spec.name: state for machine, state in zip(machines, states)}

    def _wait(self, machine: Machine, timeout: float) -> str:
        """Wait until ssh answers and systemd has come to rest."""
        name = machine.spec.name
        deadline = time.monotonic() + timeout
        seen = "no answer"
        while time.monotonic() < deadline:
            if not machine.is_running():
                raise LabError(f"{name}: systemd-nspawn has ended; the end of {machine.console}:\n{machine.last_words()}")
            done = call([*self.ssh_argv(name), "systemctl is-system-running"], check=False, timeout=30)
            # 255 is ssh's own failure, ssh(1): not there yet.
            seen = (done.stderr.strip() or "no answer") if done.returncode == 255 else done.stdout.strip()
            if done.returncode != 255 and seen in GOOD:
                return seen
            if done.returncode != 255 and seen not in WAITING:
                break
            time.sleep(0.2)
        raise LabError(f"{name}: not up ({seen}) within {timeout:g} s; the end of {machine.console}:\n{machine.last_words()}")

    @contextlib.contextmanager
    def _locked(self) -> t.Iterator[None]:
        """One change at a time; the lock goes with the process that holds it."""
        self._settings.state.mkdir(parents=True, exist_ok=True)
        with open(self._settings.state / "lock", "w", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield
