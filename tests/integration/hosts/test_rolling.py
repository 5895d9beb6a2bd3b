# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model is switched host by host behind a real HAProxy under load: nothing is lost, whatever goes wrong. The tests are one story, in order.

Three systemd hosts with a light server in the place of vLLM; HAProxy runs on one of them.
"""

from __future__ import annotations

import socket
import time
import typing as t
from pathlib import Path

import light_vllm
import pytest
from installs import wait_for
from light_vllm import LightVllm
from operators import Operator, Run
from traffic import HAProxy, Traffic

from lab import debs
from lab.hosts import Lab
from lab.hub import Hub

pytestmark = pytest.mark.hosts

HOSTS = ("lab1", "lab2", "lab3")
BALANCER = "lab3"
#: Where the hosts see Debian packages: the fixture ``lab``.
DEBS = "/srv/debs"
LIMIT = ("--limit", ",".join(HOSTS))
AURORA, BOREALIS = "demo/tiny-aurora", "demo/tiny-borealis"
AURORA_SAYS, BOREALIS_SAYS = "I am aurora", "I am borealis"
ALIAS = "chat"
#: The models have no alias of their own: the one that clients ask for moves from one to the other.
DECLARED: dict[str, t.Any] = {
    "venom_models": [{"name": AURORA}, {"name": BOREALIS}],
    "venom_model_alias": ALIAS,
    "venom_ollama_managed": False,
    **light_vllm.VARIABLES,
    "venom_vllm_host": "{{ ansible_host }}",
    "venom_balancer": "haproxy",
    "venom_balancer_hosts": [BALANCER],
}
DRAIN, RESTORE = "Take the host out of HAProxy, and let its requests end", "Put the host back into HAProxy, and see it up"
SERVE = "Serve the model, and prove it"
NOTE = "/var/lib/venom/balancer.drained"
Lights = dict[str, LightVllm]


@pytest.fixture(scope="module")
def addresses(lab: Lab) -> dict[str, str]:
    """Host name to address."""
    return {host.name: host.address for host in lab.status()}


@pytest.fixture(scope="module")
def haproxy(lab: Lab, addresses: dict[str, str]) -> t.Iterator[HAProxy]:
    """HAProxy from its Debian package, configured as the manual says."""
    debs.use(lab, BALANCER, DEBS)
    lab.run(BALANCER, ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "install", "--yes", "haproxy"])
    running = HAProxy(lab, BALANCER)
    running.start({host: addresses[host] for host in HOSTS})
    yield running
    lab.run(BALANCER, ["apt-get", "-qq", "purge", "--yes", "haproxy"])


@pytest.fixture(scope="module")
def lights(lab: Lab, hub: Hub, haproxy: HAProxy, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lights]:
    """The light server on each host, aurora behind the alias, all in the traffic."""
    found = light_vllm.on(lab, HOSTS)
    operator = Operator(lab.inventory, tmp_path_factory.mktemp("first"), {"venom_hf_endpoint": hub.url, "venom_wheels_dir": "/srv/wheels"})
    operator.play("site", "--tags", "host,vllm,models", *LIMIT, **{**DECLARED, "venom_model_alias": ""})
    for light in found.values():
        light.behave(light.folder_of(AURORA), text=AURORA_SAYS)
        light.behave(light.folder_of(BOREALIS), text=BOREALIS_SAYS)
    operator.play("activate", *LIMIT, venom_model_name=AURORA, **DECLARED)
    assert haproxy.statuses() == dict.fromkeys(HOSTS, "UP")
    yield found
    for light in found.values():
        light.sh(f"rm -f {NOTE}")
        light.clean()


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


def test_a_roll_loses_nothing_and_a_second_one_touches_nothing(
    lights: Lights, haproxy: HAProxy, operator: Operator, traffic: Traffic
) -> None:
    wanted = {**DECLARED, "venom_model_name": BOREALIS}
    announced = operator.play("activate", "--check", *LIMIT, **wanted)
    assert traffic.texts().keys() == {AURORA_SAYS} and serving(lights) == [AURORA] * 3
    real = operator.play("activate", *LIMIT, **wanted)
    done = time.monotonic()
    assert real.changed() == announced.changed() and [host for host, task in real.changed() if task.endswith(SERVE)] == list(HOSTS)
    assert told(real, DRAIN) == told(real, RESTORE) == list(HOSTS)
    again = operator.play("activate", *LIMIT, **wanted)
    assert again.changed() == [] and told(again, DRAIN) == told(again, RESTORE) == []
    assert serving(lights) == [BOREALIS] * 3 and haproxy.statuses() == dict.fromkeys(HOSTS, "UP")
    wait_for(lambda: len(traffic.texts(since=done)) > 0)
    assert traffic.texts(since=done).keys() == {BOREALIS_SAYS}


def test_a_model_that_does_not_start_stops_the_roll_at_the_first_host(
    lights: Lights, haproxy: HAProxy, operator: Operator, traffic: Traffic
) -> None:
    before = {host: light.pid() for host, light in lights.items()}
    for light in lights.values():
        light.behave(light.folder_of(AURORA), die=3)
    run = operator.play("activate", *LIMIT, expect=2, venom_model_name=AURORA, **DECLARED)
    assert [line["host"] for line in run.failures()] == ["lab1", "lab1"], run.failures()
    assert "activation_failed. Wanted: lab1" in run.output and "serves what it served before, and has traffic" in run.output
    assert told(run, DRAIN) == told(run, RESTORE) == ["lab1"]
    assert serving(lights) == [BOREALIS] * 3 and haproxy.statuses() == dict.fromkeys(HOSTS, "UP")
    after = {host: light.pid() for host, light in lights.items()}
    assert [host for host in HOSTS if after[host] != before[host]] == ["lab1"]
    for light in lights.values():
        light.behave(light.folder_of(AURORA), text=AURORA_SAYS)


def test_a_line_that_is_cut_in_the_middle_stops_the_roll_and_the_next_run_finishes_it(
    lab: Lab, lights: Lights, haproxy: HAProxy, addresses: dict[str, str], operator: Operator, traffic: Traffic
) -> None:
    # It takes a while to start, so there is a middle.
    lights["lab2"].behave(lights["lab2"].folder_of(AURORA), text=AURORA_SAYS, delay=5)
    playing = operator.begin("activate", *LIMIT, venom_model_name=AURORA, **DECLARED)
    wait_for(lambda: not listens(addresses["lab2"]))
    lab.cut("lab2")
    try:
        run = playing.end(4)
        assert [line["host"] for line in run.tasks if line["outcome"] == "unreachable"] == ["lab2"] and told(run, DRAIN) == ["lab1", "lab2"]
        assert haproxy.statuses()["lab2"] in ("DRAIN", "DOWN")
        # A host that does not answer from the beginning: nothing is drained at all.
        deaf = operator.play("activate", *LIMIT, expect=None, venom_model_name=AURORA, **DECLARED)
        assert deaf.status != 0 and "roll_stopped" in deaf.output and told(deaf, DRAIN) == deaf.changed() == []
    finally:
        lab.heal("lab2")
    assert serving(lights)[::2] == [AURORA, BOREALIS]
    rest = operator.play("activate", *LIMIT, venom_model_name=AURORA, **DECLARED)
    assert told(rest, RESTORE) == ["lab2", "lab3"]
    assert serving(lights) == [AURORA] * 3 and haproxy.statuses() == dict.fromkeys(HOSTS, "UP")


def test_a_controller_that_is_killed_before_the_restore_leaves_a_host_that_the_next_run_puts_back(
    lights: Lights, haproxy: HAProxy, operator: Operator, traffic: Traffic, tmp_path: Path
) -> None:
    """Then somebody has drained a host for reasons of his own: it is switched and stays out."""
    reached = tmp_path / "reached"
    hook = tmp_path / "restore.yml"
    hook.write_text(
        f"- ansible.builtin.file: {{path: {reached}, state: touch, mode: '0644'}}\n  delegate_to: localhost\n  become: false\n"
        "- ansible.builtin.pause: {seconds: 60}\n"
    )
    playing = operator.begin("activate", *LIMIT, venom_model_name=BOREALIS, venom_restore_tasks=str(hook), **DECLARED)
    wait_for(reached.exists)
    playing.kill()
    assert serving(lights) == [BOREALIS, AURORA, AURORA] and haproxy.statuses()["lab1"] == "DRAIN"
    haproxy.tell("set server venom/lab2 state drain")
    rest = operator.play("activate", *LIMIT, venom_model_name=BOREALIS, venom_balancer_keep=0, **DECLARED)
    assert [host for host, task in rest.changed() if task.endswith(SERVE)] == ["lab2", "lab3"]
    assert told(rest, DRAIN) == ["lab2", "lab3"] and told(rest, RESTORE) == ["lab1", "lab3"]
    assert serving(lights) == [BOREALIS] * 3 and haproxy.statuses() == {"lab1": "UP", "lab2": "DRAIN", "lab3": "UP"}
    haproxy.tell("set server venom/lab2 state ready")


def test_a_canary_that_fails_its_check_is_the_only_host_that_is_switched(
    lights: Lights, haproxy: HAProxy, operator: Operator, traffic: Traffic, tmp_path: Path
) -> None:
    check = tmp_path / "canary.yml"
    check.write_text("- ansible.builtin.fail: {msg: the canary does not sing}\n")
    canary = {"venom_activation_canary": 1, "venom_activation_canary_pause": 1, "venom_canary_tasks": str(check)}
    run = operator.play("activate", *LIMIT, expect=2, venom_model_name=AURORA, **canary, **DECLARED)
    assert "the canary does not sing" in run.output and told(run, "Give the canary time") == ["lab1"]
    assert serving(lights) == [AURORA, BOREALIS, BOREALIS] and haproxy.statuses() == dict.fromkeys(HOSTS, "UP")
    check.write_text("- ansible.builtin.debug: {msg: the canary sings}\n")
    # The others two at a time: one that fails does not keep the other from its end.
    lights["lab2"].behave(lights["lab2"].folder_of(AURORA), die=3)
    rest = operator.play("activate", *LIMIT, expect=2, venom_model_name=AURORA, venom_activation_serial=2, **canary, **DECLARED)
    assert told(rest, "Give the canary time") == [] and sorted(told(rest, DRAIN)) == sorted(told(rest, RESTORE)) == ["lab2", "lab3"]
    assert serving(lights) == [AURORA, BOREALIS, AURORA] and haproxy.statuses() == dict.fromkeys(HOSTS, "UP")


def test_without_the_drain_the_same_switch_loses_requests(
    lights: Lights, addresses: dict[str, str], operator: Operator
) -> None:
    """Or the clients of the other tests would prove nothing."""
    with Traffic(addresses[BALANCER], ALIAS) as traffic:
        wait_for(lambda: len(traffic.answers) > 20)
        operator.play("activate", *LIMIT, **{**DECLARED, "venom_model_name": BOREALIS, "venom_balancer": "none", "venom_activation_drain_timeout": 0})
        wait_for(lambda: BOREALIS_SAYS in traffic.texts())
    assert traffic.failures and serving(lights) == [BOREALIS] * 3
