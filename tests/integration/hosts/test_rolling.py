# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model is switched host by host behind a real HAProxy under load: nothing is lost, whatever goes wrong. The tests are one story, in order, and
the first chapters of it are the walk-through of docs/three-hosts.md, as it is written.

Three systemd hosts with a light server in the place of vLLM; HAProxy runs on one of them. Of the walk-through this is another than in the manual:
a file of the lab beside its inventory gives the hosts other addresses, the lab's hub, wheels and light server; and addresses in commands are
replaced. The models have the names of the manual and are small.
"""

from __future__ import annotations

import json
import socket
import time
import typing as t
from pathlib import Path

import light_vllm
import pytest
import yaml
from conftest import WHEELS
from installs import Meter, size_of, wait_for
from light_vllm import LightVllm
from operators import ROOT, Operator, Run
from traffic import PORT, HAProxy, Traffic
from walkthrough import Walk

from lab import debs
from lab.hosts import Lab
from lab.hub import Hub
from lab.models import llama

pytestmark = pytest.mark.hosts

#: Hosts of the manual: name to address there and host of the lab.
MANUAL = {"gpu-1": ("192.0.2.11", "lab1"), "gpu-2": ("192.0.2.12", "lab2"), "gpu-3": ("192.0.2.13", "lab3"), "balancer-1": ("192.0.2.10", "lab3")}
HOSTS = ("gpu-1", "gpu-2", "gpu-3")
BALANCER = "balancer-1"
#: Where the hosts see Debian packages: the fixture ``lab``.
DEBS = "/srv/debs"
AURORA, BOREALIS = "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-8B"
AURORA_SAYS, BOREALIS_SAYS = "I am Qwen2.5.", "I am Qwen3."
ALIAS = "chat"
#: The models have no alias of their own: the one that clients ask for moves from one to the other.
DECLARED: dict[str, t.Any] = {"venom_model_alias": ALIAS}
DRAIN, RESTORE = "Take the host out of HAProxy, and let its requests end", "Put the host back into HAProxy, and see it up"
SERVE, BACK = "Serve the model, and prove it", "Serve the model before, and prove it"
NOTE = "/var/lib/venom/balancer.drained"
Lights = dict[str, LightVllm]


@pytest.fixture(scope="module")
def addresses(lab: Lab) -> dict[str, str]:
    """Name in the manual to address in the lab."""
    found = {host.name: host.address for host in lab.status()}
    return {name: found[own] for name, (dummy, own) in MANUAL.items()}


@pytest.fixture(scope="module")
def haproxy(lab: Lab, addresses: dict[str, str]) -> t.Iterator[HAProxy]:
    """HAProxy from its Debian package, configured as the manual says."""
    for dummy, own in MANUAL.values():
        debs.use(lab, own, DEBS)
    host = MANUAL[BALANCER][1]
    lab.run(host, ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "install", "--yes", "haproxy"])
    running = HAProxy(lab, host)
    running.start({name: addresses[name] for name in HOSTS})
    yield running
    lab.run(host, ["apt-get", "-qq", "purge", "--yes", "haproxy"])


@pytest.fixture(scope="module")
def walk(addresses: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """Who reads the walk-through, in a folder that has nothing in it."""
    return Walk(ROOT / "docs/three-hosts.md", tmp_path_factory.mktemp("fleet"), {shown: addresses[name] for name, (shown, dummy) in MANUAL.items()})


def lab_inventory(lab: Lab, hub: Hub) -> str:
    """What the hosts of the manual are here. Variables of a host count for more than those of its group, which the manual gives."""
    known = yaml.safe_load(lab.inventory.read_text(encoding="utf-8"))["venom"]
    own = {"venom_hf_endpoint": hub.url, "venom_wheels_dir": WHEELS, **light_vllm.VARIABLES}
    # As the manual has them: the light server takes any arguments.
    del own["venom_vllm_args"]
    return json.dumps({"all": {"hosts": {name: {**known["vars"], **known["hosts"][host], **own} for name, (dummy, host) in MANUAL.items()}}})


@pytest.fixture(scope="module")
def lights(lab: Lab, hub: Hub, haproxy: HAProxy, walk: Walk, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lights]:
    """The fleet of the manual after its first chapters: the first model behind the alias on the light servers, all in the traffic."""
    models = tmp_path_factory.mktemp("models")
    sizes = {}
    for name in (AURORA, BOREALIS):
        hub.add_repo(name, llama(models / name, "light", name=name))
        sizes[name] = size_of(models / name)
    found = dict(zip(HOSTS, light_vllm.on(lab, [MANUAL[name][1] for name in HOSTS]).values()))
    (walk.folder / "inventories/fleet").mkdir(parents=True)
    # The last file of a folder has the last word.
    (walk.folder / "inventories/fleet/zz-lab.json").write_text(lab_inventory(lab, hub), encoding="utf-8")
    walk.take("An empty folder")
    meter = Meter(hub, "*Qwen/*")
    walk.take("Fetched once")
    # Of models so small the headers, which are looked at first, are most of it.
    assert sum(sizes.values()) <= meter.sent < 2 * sum(sizes.values()), "three hosts have them, and the hub was asked once"
    for light in found.values():
        light.behave(light.folder_of(AURORA), text=AURORA_SAYS)
        light.behave(light.folder_of(BOREALIS), text=BOREALIS_SAYS)
    walk.take("Serving")
    assert haproxy.statuses() == dict.fromkeys(HOSTS, "UP")
    yield found
    for light in found.values():
        light.sh(f"rm -f {NOTE}")
        light.clean()


@pytest.fixture
def operator(walk: Walk, lights: Lights) -> Operator:
    """The operator of the walk-through."""
    return walk.operator


@pytest.fixture
def traffic(lights: Lights, addresses: dict[str, str]) -> t.Iterator[Traffic]:
    """Steady load on the alias. Nothing of it may fail, and every answer is of one of the two models."""
    with Traffic(addresses[BALANCER], ALIAS) as running:
        wait_for(lambda: len(running.answers) > 20)
        yield running
    print(f"{len(running.answers)} requests, {len(running.failures)} failed: {running.texts()}")
    assert running.failures == [] and set(running.texts()) <= {AURORA_SAYS, BOREALIS_SAYS}


def told(run: Run, task: str) -> list[str]:
    """Hosts on which a task was carried out, in order."""
    return [line["host"] for line in run.tasks if line["task"].endswith(task) and line["outcome"] in ("ok", "failed")]


def serving(lights: Lights) -> list[str]:
    """The model of each host as its record says, in the order of the hosts."""
    return [light.record()["active"]["vllm"]["model"] for light in lights.values()]


def listens(address: str) -> bool:
    """Whether a server takes connections there."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((address, light_vllm.PORT)) == 0


def test_a_roll_loses_nothing(lights: Lights, haproxy: HAProxy, walk: Walk, traffic: Traffic) -> None:
    announced, real = walk.take("Another model")
    done = time.monotonic()
    assert real.changed() == announced.changed() and [host for host, task in real.changed() if task.endswith(SERVE)] == list(HOSTS)
    assert told(real, DRAIN) == told(real, RESTORE) == list(HOSTS)
    assert serving(lights) == [BOREALIS] * 3 and haproxy.statuses() == dict.fromkeys(HOSTS, "UP")
    wait_for(lambda: len(traffic.texts(since=done)) > 0)
    assert traffic.texts(since=done).keys() == {BOREALIS_SAYS}


def test_going_back_is_a_roll_too(lights: Lights, haproxy: HAProxy, walk: Walk, hub: Hub, operator: Operator, traffic: Traffic) -> None:
    asked = len(hub.log.entries())
    announced = operator.play("rollback", "--check")
    assert serving(lights) == [BOREALIS] * 3
    (real,) = walk.take("Back")
    assert real.changed() == announced.changed()
    assert [host for host, task in real.changed() if task.endswith(BACK)] == told(real, DRAIN) == told(real, RESTORE) == list(HOSTS)
    assert serving(lights) == [AURORA] * 3 and haproxy.statuses() == dict.fromkeys(HOSTS, "UP")
    assert len(hub.log.entries()) == asked


def test_a_model_that_does_not_start_stops_the_roll_at_the_first_host(
    lights: Lights, haproxy: HAProxy, walk: Walk, traffic: Traffic
) -> None:
    before = {host: light.pid() for host, light in lights.items()}
    for light in lights.values():
        light.behave(light.folder_of(BOREALIS), die=3)
    run, dummy = walk.take("A model that does not start", failing=0)
    assert [line["host"] for line in run.failures()] == ["gpu-1", "gpu-1"], run.failures()
    assert told(run, DRAIN) == told(run, RESTORE) == ["gpu-1"]
    assert serving(lights) == [AURORA] * 3 and haproxy.statuses() == dict.fromkeys(HOSTS, "UP")
    after = {host: light.pid() for host, light in lights.items()}
    assert [host for host in HOSTS if after[host] != before[host]] == ["gpu-1"]
    for light in lights.values():
        light.behave(light.folder_of(BOREALIS), text=BOREALIS_SAYS)
    retried, rest = walk.take("Going on")
    # A host that is done is touched no more.
    assert told(retried, DRAIN) == ["gpu-1"] and told(rest, DRAIN) == told(rest, RESTORE) == ["gpu-2", "gpu-3"]
    assert {host for host, dummy in rest.changed()} == {"gpu-2", "gpu-3"}
    assert serving(lights) == [BOREALIS] * 3 and haproxy.statuses() == dict.fromkeys(HOSTS, "UP")
    assert walk.done == list(walk.chapters())


def test_a_line_that_is_cut_in_the_middle_stops_the_roll_and_the_next_run_finishes_it(
    lab: Lab, lights: Lights, haproxy: HAProxy, addresses: dict[str, str], operator: Operator, traffic: Traffic
) -> None:
    # It takes a while to start, so there is a middle.
    lights["gpu-2"].behave(lights["gpu-2"].folder_of(AURORA), text=AURORA_SAYS, delay=5)
    playing = operator.begin("activate", venom_model_name=AURORA, **DECLARED)
    wait_for(lambda: not listens(addresses["gpu-2"]))
    lab.cut(MANUAL["gpu-2"][1])
    try:
        run = playing.end(4)
        assert [line["host"] for line in run.tasks if line["outcome"] == "unreachable"] == ["gpu-2"] and told(run, DRAIN) == ["gpu-1", "gpu-2"]
        assert haproxy.statuses()["gpu-2"] in ("DRAIN", "DOWN")
        # A host that does not answer from the beginning: nothing is drained at all.
        deaf = operator.play("activate", expect=None, venom_model_name=AURORA, **DECLARED)
        assert deaf.status != 0 and "roll_stopped" in deaf.output and told(deaf, DRAIN) == deaf.changed() == []
    finally:
        lab.heal(MANUAL["gpu-2"][1])
    assert serving(lights)[::2] == [AURORA, BOREALIS]
    rest = operator.play("activate", venom_model_name=AURORA, **DECLARED)
    assert told(rest, RESTORE) == ["gpu-2", "gpu-3"]
    assert serving(lights) == [AURORA] * 3 and haproxy.statuses() == dict.fromkeys(HOSTS, "UP")


@pytest.fixture
def held(lights: Lights, haproxy: HAProxy, addresses: dict[str, str]) -> t.Iterator[None]:
    """A request that does not end, on the first host: the others take none at the moment when it comes."""
    body = json.dumps({"model": ALIAS, "messages": [{"role": "user", "content": "Who are you?"}], "seconds": 600})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: venom\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    for name in HOSTS[1:]:
        haproxy.tell(f"set server venom/{name} state drain")
    with socket.create_connection((addresses[BALANCER], PORT)) as client:
        client.sendall((head + body).encode())
        own = f" src={client.getsockname()[0]}:{client.getsockname()[1]} "
        (session,) = wait_for(lambda: [line for line in haproxy.tell("show sess").splitlines() if own in line and f" srv={HOSTS[0]} " in line])
        for name in HOSTS[1:]:
            haproxy.tell(f"set server venom/{name} state ready")
        yield
        haproxy.tell(f"shutdown session {session.partition(':')[0]}")


def test_hosts_that_cannot_be_drained_go_back_unswitched(
    lights: Lights, haproxy: HAProxy, operator: Operator, traffic: Traffic, held: None, tmp_path: Path
) -> None:
    """Two in one batch: a request outlives the time on the first, and the operator's own tasks fail on the second. The third is not reached."""
    hook = tmp_path / "drain.yml"
    hook.write_text("- ansible.builtin.fail: {msg: the pool does not answer}\n  when: inventory_hostname == 'gpu-2'\n")
    before = [light.pid() for light in lights.values()]
    # Long enough for the two seconds of the other requests, on a busy machine too.
    variables = {"venom_activation_serial": 2, "venom_drain_tasks": str(hook), "venom_balancer_drain_timeout": 15}
    run = operator.play("activate", expect=2, venom_model_name=BOREALIS, **variables, **DECLARED)
    last = {line["host"]: line["result"]["msg"] for line in run.failures()}
    assert last["gpu-1"].startswith("balancer_timeout. Wanted: gpu-1 switched") and last["gpu-2"].startswith("hook_failed. Wanted: gpu-2 switched")
    assert "the pool does not answer" in last["gpu-2"] and last.keys() == {"gpu-1", "gpu-2"}
    assert all("serves what it served before, and has traffic" in text for text in last.values())
    assert sorted(told(run, DRAIN)) == sorted(told(run, RESTORE)) == ["gpu-1", "gpu-2"] and told(run, SERVE) == []
    assert serving(lights) == [AURORA] * 3 and [light.pid() for light in lights.values()] == before
    assert haproxy.statuses() == dict.fromkeys(HOSTS, "UP")
    assert [light.sh(f"ls {NOTE}", check=False) for light in lights.values()] == ["", "", ""]


def test_a_host_that_cannot_be_put_back_is_told_to_be_out(
    lights: Lights, haproxy: HAProxy, operator: Operator, traffic: Traffic, tmp_path: Path
) -> None:
    """In a rollback, which another one would take forward again: the way on is the activation of the next test."""
    hook = tmp_path / "restore.yml"
    hook.write_text("- ansible.builtin.fail: {msg: the pool does not answer}\n")
    # What was held on this host before is not waited for.
    variables = {"venom_restore_tasks": str(hook), "venom_activation_drain_timeout": 0}
    run = operator.play("rollback", expect=2, **variables)
    last = run.failures()[-1]
    assert last["host"] == "gpu-1" and last["result"]["msg"].startswith("hook_failed. Wanted: gpu-1 switched")
    assert "Found: 'ansible.builtin.fail' failed: the pool does not answer" in last["result"]["msg"]
    assert "The host is not put back into its load balancer. To do: repair that, and go on with venom.llm.activate" in last["result"]["msg"]
    assert told(run, DRAIN) == told(run, BACK) == ["gpu-1"]
    assert serving(lights) == [BOREALIS, AURORA, AURORA] and haproxy.statuses() == {"gpu-1": "DRAIN", "gpu-2": "UP", "gpu-3": "UP"}
    assert lights["gpu-1"].sh(f"ls {NOTE}").strip() == NOTE


def test_a_controller_that_is_killed_before_the_restore_leaves_a_host_that_the_next_run_puts_back(
    lights: Lights, haproxy: HAProxy, operator: Operator, traffic: Traffic, tmp_path: Path
) -> None:
    """The host of the test before, too. Then somebody has drained a host for reasons of his own: it is switched and stays out."""
    reached = tmp_path / "reached"
    hook = tmp_path / "restore.yml"
    hook.write_text(
        f"- ansible.builtin.file: {{path: {reached}, state: touch, mode: '0644'}}\n  delegate_to: localhost\n  become: false\n"
        "- ansible.builtin.pause: {seconds: 60}\n"
    )
    playing = operator.begin("activate", venom_model_name=BOREALIS, venom_restore_tasks=str(hook), **DECLARED)
    wait_for(reached.exists)
    playing.kill()
    assert serving(lights) == [BOREALIS, AURORA, AURORA] and haproxy.statuses()["gpu-1"] == "DRAIN"
    haproxy.tell("set server venom/gpu-2 state drain")
    rest = operator.play("activate", venom_model_name=BOREALIS, venom_balancer_keep=0, **DECLARED)
    assert [host for host, task in rest.changed() if task.endswith(SERVE)] == ["gpu-2", "gpu-3"]
    assert told(rest, DRAIN) == ["gpu-2", "gpu-3"] and told(rest, RESTORE) == ["gpu-1", "gpu-3"]
    assert serving(lights) == [BOREALIS] * 3 and haproxy.statuses() == {"gpu-1": "UP", "gpu-2": "DRAIN", "gpu-3": "UP"}
    haproxy.tell("set server venom/gpu-2 state ready")


def test_a_canary_that_fails_its_check_is_the_only_host_that_is_switched(
    lights: Lights, haproxy: HAProxy, operator: Operator, traffic: Traffic, tmp_path: Path
) -> None:
    check = tmp_path / "canary.yml"
    check.write_text("- ansible.builtin.fail: {msg: the canary does not sing}\n")
    canary = {"venom_activation_canary": 1, "venom_activation_canary_pause": 1, "venom_canary_tasks": str(check)}
    run = operator.play("activate", expect=2, venom_model_name=AURORA, **canary, **DECLARED)
    assert "the canary does not sing" in run.output and told(run, "Give the canary time") == ["gpu-1"]
    assert serving(lights) == [AURORA, BOREALIS, BOREALIS] and haproxy.statuses() == dict.fromkeys(HOSTS, "UP")
    check.write_text("- ansible.builtin.debug: {msg: the canary sings}\n")
    # The others two at a time: one that fails does not keep the other from its end.
    lights["gpu-2"].behave(lights["gpu-2"].folder_of(AURORA), die=3)
    rest = operator.play("activate", expect=2, venom_model_name=AURORA, venom_activation_serial=2, **canary, **DECLARED)
    assert told(rest, "Give the canary time") == [] and sorted(told(rest, DRAIN)) == sorted(told(rest, RESTORE)) == ["gpu-2", "gpu-3"]
    assert serving(lights) == [AURORA, BOREALIS, AURORA] and haproxy.statuses() == dict.fromkeys(HOSTS, "UP")


def test_without_the_drain_the_same_switch_loses_requests(
    lights: Lights, addresses: dict[str, str], operator: Operator
) -> None:
    """Or the clients of the other tests would prove nothing."""
    with Traffic(addresses[BALANCER], ALIAS) as traffic:
        wait_for(lambda: len(traffic.answers) > 20)
        operator.play("activate", **{**DECLARED, "venom_model_name": BOREALIS, "venom_balancer": "none", "venom_activation_drain_timeout": 0})
        wait_for(lambda: BOREALIS_SAYS in traffic.texts())
    assert traffic.failures and serving(lights) == [BOREALIS] * 3
