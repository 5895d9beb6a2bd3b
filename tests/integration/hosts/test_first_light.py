# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job on a real systemd host with the real vLLM: from bare to served, again, crashed, rebooted, switched, stopped, removed.

The tests of this file are one story on one host, in order; each says what it found on the host before it goes on. The first install
is played without pipelining, as Ansible does by default.
"""

from __future__ import annotations

import json
import re
import time
import typing as t
from dataclasses import replace

import backend_on_host
import pytest
from operators import Operator

from lab.hosts import Lab
from lab.hub import Hub
from lab.hub.demo import DEMO

pytestmark = [pytest.mark.hosts, pytest.mark.vllm]

HOST = "lab1"
AURORA, BOREALIS = "demo/tiny-aurora", "demo/tiny-borealis"
ENDPOINT = "http://127.0.0.1:8001"
UNIT = "venom-vllm.service"
#: What a play may leave outside the collection's own folders: Ansible's own scratch, logs of ssh and sudo, clocks.
NOISE = re.compile(r"^/(root/\.ansible|tmp|var/tmp|var/log/(wtmp|lastlog|btmp|journal)|var/lib/(systemd|dbus)|run|proc|sys|dev|etc/machine-id)")

#: Where the server may write: its own folder, and what it sees of /tmp, /var/tmp and /dev/shm, which are its own too.
WRITABLE = ("/var/lib/venom/vllm", "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108
#: Runs as the service, in the namespaces of its main process; prints what it can reach.
INSIDE = """
import json, os
dirs, files = [], []
for folder, names, found in os.walk("/"):
    names[:] = [name for name in names if os.path.join(folder, name) not in ("/proc", "/sys")]
    dirs += [folder] if os.access(folder, os.W_OK) else []
    paths = (os.path.join(folder, name) for name in found)
    files += [path for path in paths if os.path.isfile(path) and not os.path.islink(path) and os.access(path, os.W_OK)]
def readable(path):
    try:
        return os.listdir(path) if os.path.isdir(path) else open(path).read()
    except OSError as error:
        return type(error).__name__
seen = ("/root", "/home", "/home/anna/letter", "/etc/venom/credentials", "/etc/shadow", "/tmp/of-anna", "/dev/shm/of-anna")
owners = {os.stat(f"/proc/{name}").st_uid for name in os.listdir("/proc") if name.isdigit()}
ids = [os.getuid(), os.getgid(), os.getgroups()]
print(json.dumps({"dirs": dirs, "files": files, "read": {path: readable(path) for path in seen}, "owners": sorted(owners), "ids": ids}))
"""
#: Runs on the host: starts the unit, kills one of its processes by SIGKILL while the model loads, stops it; prints what is left.
CUT_OFF = """
import json, os, signal, sys, time
from ansible_collections.venom.llm.plugins.module_utils import processes
from ansible_collections.venom.llm.plugins.module_utils.supervisors.systemd import SystemdSupervisor
supervisor = SystemdSupervisor("venom-vllm.service", "/var/log/venom/vllm.log")
seen, left = {}, []
for victim in (0, -1):
    supervisor.start()
    deadline = time.monotonic() + 120
    while len(supervisor.pids()) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    seen.update({pid: processes.start_ticks(pid) for pid in supervisor.pids()})
    os.kill(supervisor.pids()[victim], signal.SIGKILL)
    supervisor.stop(10)
    left += supervisor.pids() + processes.listeners(8001) + [name for name in os.listdir("/dev/shm")]
    left += [] if supervisor.status().active == "stopped" else [supervisor.status().detail]
    left += [pid for pid, ticks in seen.items() if ticks is not None and processes.start_ticks(pid) == ticks]
print(json.dumps({"seen": len(seen), "left": [str(item) for item in left]}))
"""


def declared(*names: str, active: str) -> dict[str, t.Any]:
    """Variables that declare models under the last part of their names, one of them active."""
    return {"venom_models": [{"name": name, "alias": name.rpartition("/")[2]} for name in names], "venom_active": {"vllm": active}}


def files_of(lab: Lab) -> dict[str, str]:
    """Every path of the host that a play could have made, with type, size and time."""
    found = lab.run(HOST, ["find", "/", "-xdev", "-printf", "%p\\t%y %s %T@ %m\\n"]).stdout
    lines = (line.rpartition("\t")[::2] for line in found.splitlines())
    # The time and size of a folder change when Ansible makes and removes its own scratch below /root.
    return {path: facts for path, facts in lines if not NOISE.match(path) and path not in ("/", "/root", "/etc", "/var/log")}


def request(lab: Lab, path: str, body: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
    """One request to the server, made on its own host: it listens on loopback only."""
    script = (
        "import json,sys,urllib.request as u;a=sys.argv;h={'Content-Type':'application/json'};"
        "print(u.urlopen(u.Request(a[1],a[2].encode() or None,h),timeout=60).read().decode())"
    )
    answer: dict[str, t.Any] = json.loads(lab.run(HOST, ["python3", "-c", script, ENDPOINT + path, json.dumps(body) if body else ""]).stdout)
    return answer


def says(lab: Lab, alias: str) -> str:
    """What the served model answers."""
    body = {"model": alias, "messages": [{"role": "user", "content": "Who are you?"}], "temperature": 0, "max_tokens": 32}
    return str(request(lab, "/v1/chat/completions", body)["choices"][0]["message"]["content"]).strip()


def main_pid(lab: Lab) -> int:
    """Pid of the server as systemd knows it; 0 when it does not run."""
    return int(lab.run(HOST, ["systemctl", "show", "-p", "MainPID", "--value", UNIT]).stdout)


def wait_until_served(lab: Lab, alias: str) -> str:
    """What the model says as soon as the server answers; the server needs some twenty seconds on two cores."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        if _answers(lab):
            return says(lab, alias)
        time.sleep(1)
    raise AssertionError(f"no answer on {ENDPOINT}: {lab.run(HOST, ['systemctl', 'status', UNIT], check=False).stdout}")


def _answers(lab: Lab) -> bool:
    script = f"import urllib.request as u;u.urlopen('{ENDPOINT}/v1/models',timeout=5)"
    return lab.run(HOST, ["python3", "-c", script], check=False).returncode == 0


@pytest.fixture(scope="module")
def runs() -> dict[str, t.Any]:
    """What the earlier chapters of the story left for the later ones."""
    return {}


def test_check_mode_on_a_bare_host_writes_nothing(lab: Lab, operator: Operator, runs: dict[str, t.Any]) -> None:
    before = files_of(lab)
    runs["check"] = operator.play("site", "--check", "--diff", "--limit", HOST, **declared(AURORA, active=AURORA))
    after = files_of(lab)
    assert {path: facts for path, facts in after.items() if before.get(path) != facts} == {}
    assert runs["check"].changed(), "a check on a bare host must announce changes"


def test_the_real_run_changes_what_the_check_announced(lab: Lab, operator: Operator, runs: dict[str, t.Any]) -> None:
    run = replace(operator, pipelining=False).play("site", "--limit", HOST, **declared(AURORA, active=AURORA))
    assert run.changed() == runs["check"].changed()
    served = request(lab, "/v1/models")["data"]
    assert [model["id"] for model in served] == ["tiny-aurora"]
    assert served[0]["root"].startswith("/var/lib/venom/models/hf/demo--tiny-aurora@")
    assert says(lab, "tiny-aurora") == DEMO[AURORA][0]


def test_the_second_run_changes_nothing_and_asks_no_hub(lab: Lab, operator: Operator, hub: Hub) -> None:
    pid, asked = main_pid(lab), len(hub.log.entries())
    assert operator.play("site", "--limit", HOST, **declared(AURORA, active=AURORA)).changed() == []
    assert operator.play("site", "--check", "--limit", HOST, **declared(AURORA, active=AURORA)).changed() == []
    assert main_pid(lab) == pid, "a run that changes nothing must not restart the server"
    assert len(hub.log.entries()) == asked


def test_the_unit_is_hardened_while_it_serves(lab: Lab) -> None:
    assert says(lab, "tiny-aurora") == DEMO[AURORA][0]
    verdict = lab.run(HOST, ["systemd-analyze", "security", "--no-pager", UNIT]).stdout
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", verdict)
    assert exposure and float(exposure.group(1)) <= 1.4, verdict[-300:]
    limits = lab.run(HOST, ["cat", f"/proc/{main_pid(lab)}/limits"]).stdout
    assert re.search(r"Max core file size\s+0\s+0\s", limits), limits
    assert lab.run(HOST, ["ps", "-o", "user=", "-p", str(main_pid(lab))]).stdout.strip() == "venom"
    listening = lab.run(HOST, ["ss", "-Hltn", "sport = :8001"]).stdout
    assert "127.0.0.1:8001" in listening and "0.0.0.0:8001" not in listening


def test_the_server_reaches_nothing_outside_its_folders(lab: Lab) -> None:
    lab.run(HOST, ["sh", "-c", "mkdir -p /home/anna; for it in /home/anna/letter /tmp/of-anna /dev/shm/of-anna; do echo secret > $it; done"])
    account = lab.run(HOST, ["sh", "-c", "id -u venom; id -g venom"]).stdout.split()
    enter = ["nsenter", "--target", str(main_pid(lab)), "--mount", "--ipc", "--user", "--uts", "--cgroup"]
    who = [f"--setuid={account[0]}", f"--setgid={account[1]}"]
    inside = json.loads(lab.run(HOST, [*enter, *who, "python3", "-c", INSIDE]).stdout)
    lab.run(HOST, ["rm", "-r", "/home/anna", "/tmp/of-anna", "/dev/shm/of-anna"])
    assert inside["ids"] == [int(account[0]), int(account[1]), []]
    outside = [path for path in inside["dirs"] + inside["files"] if not path.startswith(WRITABLE)]
    # Devices such as /dev/null are no files, and the folder of message queues is that of the unit's own namespace.
    assert [path for path in outside if not path.startswith("/dev/mqueue")] == []
    assert any(path.startswith("/var/lib/venom/vllm") for path in inside["dirs"]), "it must be able to write somewhere"
    assert "secret" not in json.dumps(inside["read"]) and inside["read"]["/home"] in ([], "PermissionError"), inside["read"]
    for path in ("/root", "/etc/venom/credentials", "/etc/shadow"):
        assert inside["read"][path] in ("PermissionError", "FileNotFoundError", []), inside["read"]
    assert inside["owners"] == [int(account[0])], "processes of others are visible"
    group = lab.run(HOST, ["find", "/sys/fs/cgroup", "-path", f"*/{UNIT}/cgroup.procs", "-exec", "cat", "{}", "+"]).stdout.split()
    assert set(lab.run(HOST, ["ps", "-o", "user=", "-p", ",".join(group)]).stdout.split()) == {"venom"}


def test_a_crash_leaves_no_core_and_the_server_comes_back(lab: Lab) -> None:
    pid = main_pid(lab)
    # A kernel that writes cores to files is what LimitCORE=0 has to stop.
    assert not lab.run(HOST, ["cat", "/proc/sys/kernel/core_pattern"]).stdout.startswith("|")
    lab.run(HOST, ["touch", "/root/before-the-crash"])
    lab.run(HOST, ["kill", "-SEGV", str(pid)])
    answer = wait_until_served(lab, "tiny-aurora")
    assert answer == DEMO[AURORA][0]
    assert main_pid(lab) not in (0, pid)
    lab.run(HOST, ["journalctl", "--sync"])
    assert "status=11/SEGV" in lab.run(HOST, ["journalctl", "--no-pager", "-u", UNIT]).stdout
    cores = lab.run(HOST, ["find", "/", "-xdev", "-type", "f", "-newer", "/root/before-the-crash", "-name", "*core*"]).stdout
    assert cores.split() == []


def test_a_power_cut_ends_in_the_same_model_without_a_playbook(lab: Lab) -> None:
    lab.power_cut(HOST)
    lab.boot(HOST)
    assert wait_until_served(lab, "tiny-aurora") == DEMO[AURORA][0]


def test_the_switch_to_a_second_model(lab: Lab, operator: Operator) -> None:
    both = declared(AURORA, BOREALIS, active=BOREALIS)
    announced = operator.play("site", "--check", "--limit", HOST, **both)
    assert says(lab, "tiny-aurora") == DEMO[AURORA][0], "a check must not switch"
    run = operator.play("site", "--limit", HOST, **both)
    assert run.changed() == announced.changed()
    assert [model["id"] for model in request(lab, "/v1/models")["data"]] == ["tiny-borealis"]
    assert says(lab, "tiny-borealis") == DEMO[BOREALIS][0]
    assert "tiny-borealis" in operator.play("verify", "--limit", HOST, **both).output


def test_the_active_model_is_not_removed(lab: Lab, operator: Operator) -> None:
    run = operator.play("remove", "--limit", HOST, expect=2, venom_model_name=BOREALIS)
    assert run.reason_codes() == ["model_active"]
    assert says(lab, "tiny-borealis") == DEMO[BOREALIS][0]


def test_another_model_is_removed_twice(lab: Lab, operator: Operator) -> None:
    first = operator.play("remove", "--limit", HOST, venom_model_name=AURORA)
    assert first.changed()
    assert lab.run(HOST, ["ls", "/var/lib/venom/models/hf"]).stdout.count("tiny-aurora") == 0
    assert operator.play("remove", "--limit", HOST, venom_model_name=AURORA).changed() == []
    assert says(lab, "tiny-borealis") == DEMO[BOREALIS][0]


def test_stop_ends_every_process_and_again_changes_nothing(lab: Lab, operator: Operator) -> None:
    assert operator.play("stop", "--limit", HOST).changed()
    assert main_pid(lab) == 0
    assert lab.run(HOST, ["ss", "-Hltn", "sport = :8001"]).stdout == ""
    processes = lab.run(HOST, ["ps", "-eo", "args="]).stdout
    assert "vllm" not in processes.lower()
    assert operator.play("stop", "--limit", HOST).changed() == []


def test_a_start_that_is_cut_off_by_a_kill_leaves_nothing(lab: Lab) -> None:
    backend_on_host.put(lab, HOST)
    told = json.loads(backend_on_host.run(lab, HOST, CUT_OFF))
    assert told["left"] == [] and told["seen"] > 2


def test_everything_is_removed(lab: Lab, operator: Operator) -> None:
    everything = {"venom_remove_all": True, "venom_remove_models": True, "venom_remove_confirm": "remove everything"}
    assert operator.play("remove", "--limit", HOST, **everything).changed()
    names = ["-name", "*venom*", "-o", "-name", "*vllm*", "-o", "-name", "*torch*"]
    # Wheels of the lab, and the backend that the test of a start that is cut off has put there.
    skipped = ["(", "-path", "/srv", "-o", "-path", backend_on_host.CODE, ")", "-prune"]
    assert lab.run(HOST, ["find", "/", "-xdev", *skipped, "-o", "(", *names, ")", "-print"]).stdout.split() == []
