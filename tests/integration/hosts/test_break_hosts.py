# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Activations broken on purpose under a real systemd of Debian 12 and 13, with stand-in servers of both runtimes on each host.

The power goes while both runtimes are activated, at each step in turn; disks fill up, ports are taken, two activations meet. What was
seen is the part "Hosts with systemd" of ``docs/failures.md``.
"""
from __future__ import annotations

import json
import subprocess
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
from break_units import CONDITIONS, HERE, PYTHONPATH, UNIT
from integration import breaks, failures_page
from integration.break_stage import TARGET, whose
from integration.breaks import BEFORE, LABELS, MODEL, NOTHING, POWER_CUTS, Break
from integration.failures_page import Outcome

from lab.hosts import Lab
from lab.settings import CHECKOUT

pytestmark = pytest.mark.hosts

DRIVER = f"{HERE}/tests/integration/hosts/break_driver.py"
ALIAS = "chat"


class Host:
    """One host of the lab and what is known of it: which model of each runtime serves."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name
        self.before: dict[str, str] = {}

    def shell(self, script: str) -> str:
        return self.lab.run(self.name, ["sh", "-c", script]).stdout.strip()

    def argv(self, orders: t.Sequence[dict[str, t.Any]]) -> list[str]:
        environment = ["env", f"PYTHONPATH={PYTHONPATH}", "PYTHONPYCACHEPREFIX=/var/cache/python"]
        return [*environment, "python3", DRIVER, json.dumps(orders)]

    def tell(self, *orders: dict[str, t.Any]) -> list[t.Any]:
        """What came of each order."""
        done = self.lab.run(self.name, self.argv(orders))
        return t.cast("list[t.Any]", json.loads(done.stdout))

    def begin(self, *orders: dict[str, t.Any]) -> subprocess.Popen[str]:
        """The same, without waiting for it."""
        # ssh hands one string to a shell of the host.
        argv = " ".join(f"'{word}'" for word in self.argv(orders))
        return subprocess.Popen([*self.lab.ssh_argv(self.name), argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def look(self, runtime: str, wait: float = 0.0) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", self.tell({"what": "look", "runtime": runtime, "wait": wait})[0])

    def main_pid(self, runtime: str) -> int:
        return int(self.shell(f"systemctl show -P MainPID venom-{runtime}.service"))

    def next_orders(self, runtime: str) -> list[dict[str, t.Any]]:
        """Whole again, and the other good model activated."""
        name = "two" if self.before.get(runtime) == "one" else "one"
        repair = {"what": "repair", "runtime": runtime}
        return [repair, activate(runtime, name), {"what": "look", "runtime": runtime}]

    def go_on(self, *runtimes: str) -> None:
        """The next activation of a good model works, and the record agrees with what serves."""
        for runtime in set(runtimes) - set(self.before):
            # Nothing yet, or what a test that failed has left.
            self.before[runtime] = str(self.look(runtime)["serving"])
        orders = [order for runtime in runtimes for order in self.next_orders(runtime)]
        answers = self.tell(*orders)
        for number, runtime in enumerate(runtimes):
            dummy, result, seen = answers[3 * number : 3 * number + 3]
            name = orders[3 * number + 1]["name"]
            assert result.get("changed"), result
            check_agreement(runtime, seen, name)
            self.before[runtime] = name


def activate(runtime: str, name: str, **options: t.Any) -> dict[str, t.Any]:
    """An order. Clients of Ollama know every model by one alias; vLLM's have a name each."""
    alias = {"alias": ALIAS} if runtime == "ollama" else {}
    return {"what": "activate", "runtime": runtime, "name": name, **alias, **options}


def check_agreement(runtime: str, seen: dict[str, t.Any], name: str) -> None:
    """A model serves, the record and the status name it, and its unit is the one that runs."""
    # A restart by systemd is told for ten minutes.
    assert seen["serving"] == name and (seen["status"] == "online" or "restarted" in seen["error_message"]), seen
    assert seen["active_model"].rpartition("/")[2] == name and seen["committed"] == (name if runtime == "vllm" else ALIAS), seen
    assert seen["pid"] == seen["unit_pid"] != 0


@pytest.fixture(scope="module")
def lab() -> t.Iterator[Lab]:
    """One host of each suite, in a lab beside that of the other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VENOM_LAB_BRIDGE", "venomlabB")
        patch.setenv("VENOM_LAB_NETWORK", "10.218.100.1/24")
        hosts = Lab(CHECKOUT / ".lab" / "breaks")
        hosts.down()
        try:
            hosts.up(2, "mixed", binds_ro=[f"{CHECKOUT}:{HERE}"])
            yield hosts
        finally:
            hosts.down()


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> dict[str, Host]:
    """Both runtimes on each, nothing activated yet."""
    made = {name: Host(lab, name) for name in ("lab1", "lab2")}
    template = (CHECKOUT / "templates" / "venom-vllm.service.j2").read_text(encoding="utf-8")
    line = next(line for line in template.splitlines() if line.startswith("ExecStart="))
    commands = {
        "vllm": line.replace("{{ _venom_vllm_current }}", "/srv/venom/venv"),
        "ollama": "ExecStart=/srv/venom/ollama/current/bin/ollama serve",
    }
    for host in made.values():
        host.tell()
        for runtime, command in commands.items():
            unit = UNIT.format(runtime=runtime, command=command, conditions=CONDITIONS if runtime == "vllm" else "")
            lab.run(host.name, ["tee", f"/etc/systemd/system/venom-{runtime}.service"], stdin=unit)
        host.shell("systemctl daemon-reload")
    return made


def case_of(name: str, before: str = MODEL) -> Break:
    """The row of the catalogue."""
    return next(case for case in breaks.of("hosts") if case.name == name and case.before == before)


def judge(case: Break, host: Host, runtime: str, result: dict[str, t.Any], seen: dict[str, t.Any]) -> None:
    """The result is as the catalogue says, and so is what serves."""
    reason = result.get("reason_code", "")
    step = result.get("step", "refused" if reason else "")
    outcome = Outcome(
        step, reason, result.get("cause", result.get("found", "")) if reason else "", tuple(result.get("log_tail", ())) if reason else (),
        result.get("rolled_back"), whose(seen["serving"], host.before.get(runtime)),
    )  # fmt: skip
    assert (outcome.step, outcome.reason, outcome.serves, outcome.rolled_back) == (case.step, case.reason, case.serves, case.rolled_back), result
    assert case.said in outcome.cause
    if case.serves == BEFORE:
        check_agreement(runtime, seen, host.before[runtime])
    failures_page.check(case, outcome)


@pytest.mark.parametrize("runtime", LABELS)
def test_a_unit_has_the_port(hosts: dict[str, Host], runtime: str) -> None:
    host, port = hosts["lab1"], {"vllm": 8001, "ollama": 11500}[runtime]
    host.shell(f"systemd-run --quiet --unit=taker python3 -m http.server --bind 127.0.0.1 {port}")
    try:
        host.shell(f"until ss -ltn | grep -q :{port}; do sleep 0.05; done")
        result, = host.tell(activate(runtime, TARGET))
        taker = int(host.shell("systemctl show -P MainPID taker.service"))
        assert result.get("listener", {}).get("pid") == taker, result
    finally:
        host.shell("systemctl stop taker.service")
    judge(case_of(f"{LABELS[runtime]}: a unit has the port", breaks.NONE), host, runtime, result, host.look(runtime))


@pytest.mark.parametrize("before", [breaks.NONE, MODEL])
def test_a_model_that_does_not_load_does_not_loop(hosts: dict[str, Host], before: str) -> None:
    host = hosts["lab1"]
    case = case_of("vLLM: weights that do not load", before)
    if before == MODEL and "vllm" not in host.before:
        host.go_on("vllm")
    dummy, result, seen = host.tell({"what": "prepare", "runtime": "vllm", **case.do}, activate("vllm", TARGET), {"what": "look", "runtime": "vllm"})
    judge(case, host, "vllm", result, seen)
    if case.serves == NOTHING:
        # Longer than systemd waits before it starts a failed server again.
        host.shell("sleep 0.7")
        later = host.look("vllm")
        assert (later["service"], later["pids"], later["unit_pid"]) == ("stopped", [], 0)
    host.go_on("vllm")


def test_twice_is_once_and_a_reboot_serves_the_committed_model(hosts: dict[str, Host]) -> None:
    host = hosts["lab1"]
    host.go_on("vllm", "ollama")
    orders = [order for runtime in LABELS for order in (activate(runtime, host.before[runtime]), {"what": "look", "runtime": runtime})]
    pids = {runtime: host.main_pid(runtime) for runtime in LABELS}
    answers = host.tell(*orders)
    for number, runtime in enumerate(LABELS):
        again, seen = answers[2 * number : 2 * number + 2]
        assert not again["changed"] and again["steps"] == [] and seen["pid"] == pids[runtime]
    host.lab.reboot(host.name)
    for runtime in LABELS:
        judge(case_of(f"{LABELS[runtime]}: the host is rebooted"), host, runtime, {}, host.look(runtime, wait=60.0))


@pytest.mark.parametrize("runtime", LABELS)
def test_a_full_disk(hosts: dict[str, Host], runtime: str) -> None:
    host = hosts["lab1"]
    pid = host.main_pid(runtime)
    config = "/srv/venom/config"
    host.shell(f"cp -a {config} /srv/kept && mount -t tmpfs -o size=128k tmpfs {config} && cp -a /srv/kept/. {config}/")
    try:
        host.shell(f"cat /dev/zero > {config}/filler 2>/dev/null || true")
        result, = host.tell(activate(runtime, TARGET))
        seen = host.look(runtime)
        assert seen["pid"] == pid, "what serves was not touched"
        judge(case_of(f"{LABELS[runtime]}: the disk with the configuration is full"), host, runtime, result, seen)
        host.shell(f"rm {config}/filler")
        host.go_on(runtime)
    finally:
        host.shell(f"rm -rf {config}/filler /srv/kept && cp -a {config} /srv/kept && umount {config}")
        host.shell(f"cp -a /srv/kept/. {config}/ && rm -rf /srv/kept")


@pytest.mark.parametrize("runtime", LABELS)
def test_two_activations_at_once(hosts: dict[str, Host], runtime: str) -> None:
    host = hosts["lab2"]
    host.go_on(runtime)
    other = "two" if host.before[runtime] == "one" else "one"
    running = [host.begin(activate(runtime, name, lock_timeout=30.0)) for name in (TARGET, other)]
    for process in running:
        out, error = process.communicate(timeout=180)
        result = json.loads(out)[0] if process.returncode == 0 else error
        assert result["changed"], result
    seen = host.look(runtime)
    last = seen["active_model"].rpartition("/")[2]
    assert last in (TARGET, other)
    check_agreement(runtime, seen, last)
    judge(case_of(f"{LABELS[runtime]}: two activations at once"), host, runtime, {}, dict(seen, serving=TARGET))
    host.before[runtime] = last
    host.go_on(runtime)


@pytest.mark.parametrize("runtime", LABELS)
def test_a_server_that_is_killed_comes_back(hosts: dict[str, Host], runtime: str) -> None:
    host = hosts["lab2"]
    pid = host.main_pid(runtime)
    host.shell(f"kill -9 {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.05; done; sleep 0.6")
    seen = host.look(runtime, wait=60.0)
    assert seen["pid"] != pid and seen["restarts"] == 1 and "restarted" in seen["error_message"]
    judge(case_of(f"{LABELS[runtime]}: the server is killed while it serves"), host, runtime, {}, seen)


@pytest.mark.parametrize("step", POWER_CUTS)
def test_the_power_goes(hosts: dict[str, Host], step: str) -> None:
    """At one step of an activation of each runtime, both at once; the host boots, and serves what was committed."""
    host = hosts["lab1" if list(POWER_CUTS).index(step) % 2 else "lab2"]
    runtimes = [runtime for runtime in LABELS if breaks.has_moment(runtime, step)]
    if set(runtimes) - set(host.before):
        host.go_on(*runtimes)
    running = [host.begin({"what": "hold", "runtime": runtime, "at": step}, activate(runtime, TARGET)) for runtime in runtimes]
    held = " && ".join(f"[ -e /run/venom-held.{runtime} ]" for runtime in runtimes)
    arrived = host.shell(f"for dummy in $(seq 1800); do {held} && echo yes && exit; sleep 0.05; done")
    before = dict(host.before)
    host.before.clear()
    assert arrived, [process.communicate(timeout=180) for process in running]
    host.lab.power_cut(host.name)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda process: process.communicate(timeout=180), running))
    host.lab.boot(host.name)
    looks = host.tell(*[{"what": "look", "runtime": runtime, "wait": 10.0} for runtime in runtimes])
    for runtime, seen in zip(runtimes, looks):
        case = breaks.power_cut(runtime, step)
        serves = whose(seen["serving"], before[runtime])
        assert serves == case.serves and seen["status"] == "online" and seen["active_model"].rpartition("/")[2] == seen["serving"], seen
        assert seen["pid"] == seen["unit_pid"] != 0
        failures_page.check(case, Outcome("cut", "", "", (), None, serves))
    host.before.update(before)
    host.go_on(*runtimes)
