# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lab hosts, really booted: two side by side, over ssh and Ansible, cut off, without power, rebooted, and gone without a trace.

Needs root; without it these tests fail, unless VENOM_TEST_NO_ROOT=1 says that nobody expects them to run.
The lab of this test has a state folder, a bridge and a subnet of its own, so it runs beside any other.
"""
from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from lab import images, layers, network
from lab.cgroups import Cgroup
from lab.hosts import TOOLS, Lab
from lab.hub import Hub
from lab.settings import CHECKOUT
from lab.system import LabError, NotReady, Process, call, mounts, require

pytestmark = pytest.mark.hosts
BRIDGE = "venomlabT"
# In the checkout, because /tmp may be a tmpfs and hosts need a real disk.
STATE, OTHER_STATE = CHECKOUT / ".lab/selftest", CHECKOUT / ".lab/selftest-other"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lab]:
    """Two hosts, Debian 12 and 13, with a folder of this machine, a small disk and no way out."""
    try:
        require(*TOOLS, "mmdebstrap")
    except NotReady as exc:
        if os.environ.get("VENOM_TEST_NO_ROOT") == "1":
            pytest.skip(f"VENOM_TEST_NO_ROOT=1: {exc}")
        pytest.fail(f"{exc} (VENOM_TEST_NO_ROOT=1 skips the tests of lab hosts)")
    folder = tmp_path_factory.mktemp("shown")
    (folder / "greeting").write_text("from outside\n", encoding="utf-8")
    state = STATE
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VENOM_LAB_BRIDGE", BRIDGE)
        patch.setenv("VENOM_LAB_NETWORK", "10.213.250.1/24")
        patch.setenv("VENOM_LAB_STATE", str(state))
        made = Lab()
        made.down()
        try:
            began = time.monotonic()
            made.up(2, "mixed", binds_ro=[f"{folder}:/mnt/shown"], tmpfs=["/srv/small:4M"])
            print(f"two hosts up in {time.monotonic() - began:.1f} s")
            yield made
        finally:
            made.down()
            with contextlib.suppress(OSError):
                STATE.parent.rmdir()


def boot_id(lab: Lab, host: str) -> str:
    return lab.run(host, ["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip()


def ansible(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("ansible", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert program, "ansible is not installed beside this Python"
    return subprocess.run(
        [program, "-i", str(lab.inventory), *words], capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}
    )


def test_the_hosts_are_what_was_asked_for(lab: Lab) -> None:
    releases = [lab.run(host, ["cat", "/etc/debian_version"]).stdout.split(".")[0] for host in ("lab1", "lab2")]
    assert releases == ["12", "13"]
    for host in ("lab1", "lab2"):
        assert lab.run(host, ["ps", "-o", "comm=", "-p", "1"]).stdout.strip() == "systemd"
        assert lab.run(host, ["hostname"]).stdout.strip() == host
        assert lab.run(host, ["cat", "/mnt/shown/greeting"]).stdout == "from outside\n"
        assert lab.run(host, ["touch", "/mnt/shown/mine"], check=False).returncode != 0
        assert lab.run(host, ["getent", "hosts", "localhost"]).returncode == 0
    ids = {lab.run(host, ["cat", "/etc/machine-id"]).stdout for host in ("lab1", "lab2")}
    assert len(ids) == 2


def test_arguments_arrive_as_they_are(lab: Lab) -> None:
    words = ["printf", "%s|", "a b", "$HOME", "it's", "", "x;y"]
    assert lab.run("lab1", words).stdout == "a b|$HOME|it's||x;y|"
    with pytest.raises(LabError, match="exit status 3"):
        lab.run("lab1", ["sh", "-c", "exit 3"])


def test_a_small_disk_is_soon_full(lab: Lab) -> None:
    filled = lab.run("lab1", ["dd", "if=/dev/zero", "of=/srv/small/file", "bs=1M", "count=8"], check=False)
    assert filled.returncode != 0
    assert "No space left on device" in filled.stderr


def test_units_of_two_hosts_do_not_meet(lab: Lab) -> None:
    """In one cgroup the unit of one host would be the unit of the other: freezing it, or limiting it, would hit both."""
    for host in ("lab1", "lab2"):
        lab.run(host, ["systemd-run", "--unit=same-name", "sleep", "3600"])
    lab.run("lab1", ["systemctl", "freeze", "same-name"])
    frozen = [lab.run(host, ["cat", "/sys/fs/cgroup/system.slice/same-name.service/cgroup.freeze"]).stdout.strip() for host in ("lab1", "lab2")]
    assert frozen == ["1", "0"]
    lab.run("lab1", ["systemctl", "thaw", "same-name"])
    for host in ("lab1", "lab2"):
        lab.run(host, ["systemctl", "stop", "same-name"])


def test_python311_makes_a_venv_on_both(lab: Lab) -> None:
    programs = {"lab1": "/usr/bin/python3.11", "lab2": "/opt/python3.11/usr/bin/python3.11"}
    for host, python in programs.items():
        lab.run(host, [python, "-c", "import ssl, ctypes, sqlite3, lzma"])
        lab.run(host, [python, "-m", "venv", "/tmp/proof"])
        assert "python 3.11" in lab.run(host, ["/tmp/proof/bin/pip", "--version"]).stdout


def test_ansible_reaches_all_through_the_inventory(lab: Lab) -> None:
    done = ansible(lab, "venom", "-m", "ansible.builtin.ping")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"ping": "pong"') == 2


def test_ansible_reboots_a_host(lab: Lab) -> None:
    """nspawn ends when a host reboots itself; the keeper must start it again."""
    before = boot_id(lab, "lab1")
    done = ansible(lab, "lab1", "-m", "ansible.builtin.reboot", "-a", "reboot_timeout=60")
    assert done.returncode == 0, done.stdout + done.stderr
    assert boot_id(lab, "lab1") != before
    assert lab.status()[0].state == "running"


def test_a_power_cut_ends_everything_and_the_disk_stays(lab: Lab) -> None:
    machine = lab.machine("lab1")
    write = "import os; f = open('/var/kept', 'w'); f.write('kept'); f.flush(); os.fsync(f.fileno())"
    lab.run("lab1", ["python3", "-c", write])
    lab.run("lab1", ["systemd-run", "--unit=victim", "-p", "ExecStop=/bin/touch /var/stopped-cleanly", "sleep", "3600"])
    # Half a GB takes a moment to die, longer than the list of processes shows it.
    lab.run("lab1", ["systemd-run", "--unit=heavy", "python3", "-c", "import time; held = b'x' * 500_000_000; time.sleep(3600)"])
    time.sleep(1)
    before, inside = boot_id(lab, "lab1"), [process for pid in machine.cgroup.pids() if (process := Process.of(pid))]
    assert len(inside) > 5
    ansible(lab, "lab1", "-m", "ansible.builtin.ping")  # leaves a connection open, which must not hang anyone later
    lab.power_cut("lab1")
    assert not [process for process in inside if process.is_alive()]
    assert [host.state for host in lab.status()] == ["stopped", "running"]
    with pytest.raises(LabError, match="does not run"):
        lab.power_cut("lab1")
    assert lab.boot("lab1") in ("running", "degraded")
    assert boot_id(lab, "lab1") != before
    assert lab.run("lab1", ["cat", "/var/kept"]).stdout == "kept"
    assert lab.run("lab1", ["test", "-e", "/var/stopped-cleanly"], check=False).returncode == 1
    assert ansible(lab, "lab1", "-m", "ansible.builtin.ping").returncode == 0


def test_a_reboot_is_clean(lab: Lab) -> None:
    lab.run("lab2", ["systemd-run", "--unit=victim", "-p", "ExecStop=/bin/touch /var/stopped-cleanly", "sleep", "3600"])
    assert lab.reboot("lab2") in ("running", "degraded")
    assert lab.run("lab2", ["test", "-e", "/var/stopped-cleanly"], check=False).returncode == 0


def test_a_cut_host_is_away_and_runs_on(lab: Lab) -> None:
    before = boot_id(lab, "lab2")
    lab.cut("lab2")
    assert lab.status()[1].state == "cut"
    assert lab.run("lab2", ["true"], check=False).returncode == 255
    assert lab.run("lab1", ["true"]).returncode == 0
    lab.heal("lab2")
    assert boot_id(lab, "lab2") == before


def test_a_port_that_is_blocked_falls_silent_for_one_host_and_nothing_else_does(lab: Lab) -> None:
    with Hub(str(lab.settings.network.ip)) as hub, Hub(str(lab.settings.network.ip)) as other:
        fetch = "import sys,urllib.request as u; u.urlopen(sys.argv[1] + '/_lab/repos', timeout=3)"

        def answers(host: str, url: str) -> bool:
            return lab.run(host, ["python3", "-c", fetch, url], check=False).returncode == 0

        port = int(hub.url.rpartition(":")[2])
        lab.block("lab1", port)
        lab.block("lab1", port)
        assert [answers("lab1", hub.url), answers("lab1", other.url), answers("lab2", hub.url)] == [False, True, True]
        lab.unblock("lab1")
        assert answers("lab1", hub.url)
        lab.unblock("lab1")


def test_up_again_changes_nothing_and_adds_what_is_missing(lab: Lab) -> None:
    before = {host.name: host.pid for host in lab.status()}
    lab.up(2, "bookworm")
    assert {host.name: host.pid for host in lab.status()} == before
    lab.up(3)
    assert [host.name for host in lab.status()] == ["lab1", "lab2", "lab3"]
    assert {host.name: host.pid for host in lab.status()[:2]} == before
    assert lab.run("lab3", ["hostname"]).stdout.strip() == "lab3"


def test_a_layer_gives_a_new_host_what_another_installed(lab: Lab) -> None:
    lab.up(3)
    lab.run("lab3", ["sh", "-c", "mkdir /opt/heavy && echo tool > /opt/heavy/tool && rm /etc/motd && useradd venom"])
    lab.save_layer("selftest", "lab3")
    try:
        assert lab.run("lab3", ["cat", "/opt/heavy/tool"]).stdout == "tool\n"
        lab.up(5, layer="selftest")
        assert lab.run("lab5", ["cat", "/opt/heavy/tool"]).stdout == "tool\n"
        assert lab.run("lab5", ["hostname"]).stdout.strip() == "lab5"
        assert lab.run("lab5", ["id", "-un", "venom"]).stdout.strip() == "venom"
        assert lab.run("lab5", ["test", "-e", "/etc/motd"], check=False).returncode == 1
        lab.run("lab5", ["rm", "-r", "/opt/heavy"])
        assert lab.run("lab4", ["cat", "/opt/heavy/tool"]).stdout == "tool\n"
        ids = {lab.run(host, ["cat", "/etc/machine-id"]).stdout for host in ("lab3", "lab4", "lab5")}
        assert len(ids) == 3
    finally:
        lab.down()
        assert layers.remove(lab.settings, "selftest", "bookworm")
        lab.up(2, "mixed")


def test_a_strangers_bridge_is_left_alone(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Lab(OTHER_STATE)
    try:
        with pytest.raises(LabError, match="is not this lab's"):
            other.up(1)
        monkeypatch.setenv("VENOM_LAB_BRIDGE", "venomlabU")
        with pytest.raises(LabError, match="is in use on venomlabT"):
            Lab(OTHER_STATE).up(1)
    finally:
        other.down()
    assert network.exists(BRIDGE)
    assert lab.run("lab1", ["true"]).returncode == 0


def test_two_labs_live_side_by_side(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENOM_LAB_BRIDGE", "venomlabU")
    monkeypatch.setenv("VENOM_LAB_NETWORK", "10.213.251.1/24")
    other = Lab(OTHER_STATE)
    try:
        other.up(1)
        assert other.run("lab1", ["hostname", "-I"]).stdout.split() == ["10.213.251.11"]
        assert lab.run("lab1", ["hostname", "-I"]).stdout.split() == ["10.213.250.11"]
    finally:
        other.down()
    assert lab.run("lab1", ["true"]).returncode == 0
    assert not network.exists("venomlabU")


def test_down_leaves_nothing_even_after_a_crash(lab: Lab) -> None:
    """The keeper and nspawn of one host are killed behind the lab's back; its processes live on, and down must still find them."""
    lab.up(2, "mixed")
    state, run, names = lab.settings.state, lab.settings.run, [lab.machine(host).name for host in ("lab1", "lab2")]
    ansible(lab, "venom", "-m", "ansible.builtin.ping")
    keeper, nspawn = lab.machine("lab1").keeper(), lab.machine("lab1").nspawn()
    assert keeper
    assert nspawn
    keeper.signal(signal.SIGKILL)
    nspawn.signal(signal.SIGKILL)
    inside = [pid for name in names for pid in Cgroup(name).pids()]
    assert len(inside) > 5
    lab.down()
    assert not [mount.point for mount in mounts() if mount.point.is_relative_to(state) or any(name in str(mount.point) for name in names)]
    assert not [name for name in names if Cgroup(name).path.exists()]
    assert not [name for name in os.listdir("/sys/class/net") if name == BRIDGE or name[3:] in names]
    assert not _processes_naming(str(state))
    assert not state.exists()
    assert not run.exists()
    lab.down()


def test_a_killed_build_is_cleared_away_but_not_what_is_mounted_in_it(tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """mmdebstrap mounts this machine's /dev, /proc and /sys into the root that it builds; clearing that away must not follow them."""
    (tmp_path / "machine").mkdir()
    (tmp_path / "machine/precious").write_text("kept", encoding="utf-8")
    settings = replace(lab.settings, cache=tmp_path / "cache")
    image = images.path(settings, "bookworm")
    inside = image.with_suffix(".building") / "dev"
    inside.mkdir(parents=True)
    call(["mount", "--bind", str(tmp_path / "machine"), str(inside)])
    monkeypatch.setattr(images, "_build", lambda settings, suite, root: root.mkdir())
    assert images.ensure(settings, "bookworm", lambda text: None) == image
    assert list(image.iterdir()) == []
    assert (tmp_path / "machine/precious").read_text(encoding="utf-8") == "kept"


def _processes_naming(text: str) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and file.parent.name != str(os.getpid()):
            found.append(line)
    return found
