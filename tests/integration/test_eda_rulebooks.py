# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rulebooks, run by ansible-rulebook: what they answer and what not, how often, and a server that is down and comes back."""
from __future__ import annotations

import os
import re
import signal
import sys
import typing as t
from pathlib import Path

import pytest
from integration.aap_checks import taken_by
from integration.automation_support import aap_data, dummy_collection, load, playbooks
from integration.rulebook_support import FakeAwx, Rulebook, alert

from ansible_collections.venom.llm.plugins.module_utils.drift import KINDS
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeHost, wait_until
from lab.settings import CHECKOUT

RULEBOOKS = {path.stem: path for path in sorted((CHECKOUT / "extensions/eda/rulebooks").glob("*.yml"))}
RULES = CHECKOUT / "roles/monitoring/files/venom.rules.yml"
INVENTORY = """
[venom]
gpu-1
gpu-2
gpu-3
last
[other]
elsewhere
[all:vars]
ansible_connection=local
"""
#: Instead of a playbook of the collection: a line for each host that it runs on, with what it was given.
NOTING = """
- name: Note
  hosts: "{{ venom_hosts | default('venom') }}"
  gather_facts: false
  tasks:
    - name: Note
      ansible.builtin.raw: echo NAME {{ inventory_hostname }} {{ venom_verify_repair | default(false) }} >> PLACE
      changed_when: true
"""


class Noted(t.NamedTuple):
    """A collection whose playbooks only note that they ran, and where they do."""

    collections: Path
    place: Path

    def lines(self) -> list[str]:
        return self.place.read_text().splitlines() if self.place.exists() else []


@pytest.fixture
def noted(tmp_path: Path) -> Noted:
    place = tmp_path / "noted"
    texts = {name.rpartition(".")[2]: NOTING.replace("NAME", name).replace("PLACE", str(place)) for name in playbooks()}
    return Noted(dummy_collection(tmp_path, texts), place)


def rules(name: str) -> list[dict[str, t.Any]]:
    """The rules of a rulebook."""
    return [rule for ruleset in load(RULEBOOKS[name]) for rule in ruleset["rules"]]


def condition(rule: dict[str, t.Any]) -> str:
    return " ".join(rule["condition"].split())


@pytest.mark.parametrize("name", RULEBOOKS)
def test_every_action_is_one_that_there_is(name: str) -> None:
    for rule in rules(name):
        assert rule["throttle"]["once_within"] and rule["throttle"]["group_by_attributes"], rule["name"]
        (kind, action), = rule["action"].items()
        if kind == "run_playbook":
            assert set(action["extra_vars"]) <= set(taken_by(action["name"])), rule["name"]
        else:
            (template,) = [each for each in aap_data()["controller_templates"] if each["name"] == action["name"]]
            assert kind == "run_job_template" and template["ask_limit_on_launch"] and set(action["job_args"]) == {"limit"}


def test_alerts_are_those_of_the_alert_rules_and_kinds_those_that_repair_mends() -> None:
    known = {rule["alert"] for group in load(RULES)["groups"] for rule in group["rules"]}
    for name in ("alerts", "alerts_awx"):
        answered = {alert for rule in rules(name) for alert in re.findall(r'"(Venom\w+)"', rule["condition"])}
        assert answered == {"VenomAliasMismatch", "VenomRuntimeDown", "VenomRestartStorm"} and answered <= known
    (kinds,) = [re.findall(r'"(\w+)"', re.findall(r"kind in \[(.*?)\]", rule["condition"])[0]) for rule in rules("webhook")]
    assert kinds and all(KINDS[kind] for kind in kinds)


def test_both_ways_to_answer_alerts_have_the_same_conditions() -> None:
    def of(name: str) -> list[t.Any]:
        return [(rule["name"], condition(rule), rule["throttle"]) for rule in rules(name)]

    assert of("alerts") == of("alerts_awx")
    assert load(RULEBOOKS["alerts"])[0]["sources"] == load(RULEBOOKS["alerts_awx"])[0]["sources"]


def test_the_documentation_says_of_every_alert_what_happens() -> None:
    text = (CHECKOUT / "docs/eda.md").read_text(encoding="utf-8")
    known = {rule["alert"] for group in load(RULES)["groups"] for rule in group["rules"]}
    assert set(re.findall(r"^\| `(Venom\w+)`", text, re.MULTILINE)) == known


def test_a_storm_of_alerts_is_one_repair_of_each_host(noted: Noted, tmp_path: Path) -> None:
    with Rulebook(tmp_path, "alerts", noted.collections, INVENTORY) as rulebook:
        # Not ours, not firing, not a name: patterns that would reach further than one host, and templates.
        assert rulebook.post({"alerts": [alert("VenomRuntimeDown", "gpu-3:9100")]}, token="a guess") == 401
        assert rulebook.post({"alerts": [alert("VenomRuntimeDown", "gpu-3:9100")]}, token=None) == 401
        assert rulebook.post({"no": "alerts"}) == 200
        rulebook.alert(alert("NodeDown", "gpu-3:9100"), alert("VenomRuntimeDown", "gpu-3:9100", status="resolved"), alert("VenomDrift", "gpu-3:9100"))
        hostile = ("*", "gpu-2,gpu-3", "!gpu-1", "venom:gpu-1", "{{ 'gpu-3' }}", "~gpu", "", "gpu-3 -e a=b", "gpu-3\ngpu-2", "[::1]:9100")
        rulebook.alert(*(alert("VenomRuntimeDown", name) for name in hostile))
        for dummy in range(50):
            rulebook.alert(alert("VenomAliasMismatch", "gpu-1:9100", runtime="vllm"), alert("VenomRuntimeDown", "gpu-1:9100", runtime="ollama"))
        rulebook.alert(alert("VenomRuntimeDown", "elsewhere:9100"), alert("VenomRuntimeDown", "gpu-2"))
        rulebook.alert(*(alert("VenomRestartStorm", "gpu-1:9100") for dummy in range(20)))
        # Actions come one after the other, so this one's trace shows that all before it have had their turn.
        rulebook.alert(alert("VenomAliasMismatch", "last:9100"))
        wait_until(lambda: any(" last " in line for line in noted.lines()), 120)
    assert noted.lines() == [
        "venom.llm.verify gpu-1 True",
        "venom.llm.verify gpu-2 True",
        "venom.llm.diagnose gpu-1 False",
        "venom.llm.verify last True",
    ]  # fmt: skip


def test_job_templates_are_started_once_for_a_storm_and_for_that_host(noted: Noted, tmp_path: Path) -> None:
    awx = FakeAwx(aap_data()["controller_templates"], token="token-of-awx")
    with awx.serving() as url:
        options = ("--controller-url", url, "--controller-token", "token-of-awx")
        with Rulebook(tmp_path, "alerts_awx", noted.collections, INVENTORY, *options) as rulebook:
            rulebook.alert(*(alert("VenomRuntimeDown", "gpu-1:9100") for dummy in range(100)))
            rulebook.alert(alert("VenomRestartStorm", "gpu-2:9100"), alert("VenomRuntimeDown", "gpu-1,gpu-2"))
            rulebook.alert(alert("VenomRuntimeDown", "last:9100"))
            wait_until(lambda: len(awx.launched) >= 3, 60)
    assert awx.launched == [
        ("venom repair", {"limit": "gpu-1"}),
        ("venom diagnose", {"limit": "gpu-2"}),
        ("venom repair", {"limit": "last"}),
    ]  # fmt: skip
    assert awx.ignored == [] and noted.lines() == []


def test_other_watchers_are_heard_with_the_token_alone(noted: Noted, tmp_path: Path) -> None:
    with Rulebook(tmp_path, "webhook", noted.collections, INVENTORY) as rulebook:
        assert rulebook.post({"kind": "not_running", "host": "gpu-3"}, token="a guess") == 401
        for kind, host in (("model_damaged", "gpu-3"), ("unknown", "gpu-3"), ("not_running", "gpu-2,gpu-3"), ("not_running", "elsewhere")):
            assert rulebook.post({"kind": kind, "host": host}) == 200
        assert rulebook.post(["no", "mapping"]) == rulebook.post({"host": "gpu-3"}) == 200
        for number in range(100):
            assert rulebook.post({"kind": ("alias_mismatch", "not_running", "not_answering")[number % 3], "host": "gpu-1"}) == 200
        assert rulebook.post({"kind": "not_running", "host": "last"}) == 200
        wait_until(lambda: any(" last " in line for line in noted.lines()), 120)
    assert noted.lines() == ["venom.llm.verify gpu-1 True", "venom.llm.verify last True"]


def test_without_a_token_nobody_is_let_in(noted: Noted, tmp_path: Path) -> None:
    with Rulebook(tmp_path, "webhook", noted.collections, INVENTORY, venom_eda_token=None) as rulebook:
        event = {"kind": "not_running", "host": "gpu-1"}
        assert all(rulebook.post(event, token) >= 400 for token in (None, "", "None", "{{ venom_eda_token }}", "undefined"))


def test_a_server_that_is_down_is_started_again_by_the_real_playbook(tmp_path: Path) -> None:
    host = FakeHost(tmp_path / "host")
    host.install("lab/a")
    host.activate("lab/a")
    variables = {f"venom_{name}_dir": str(host.root / name) for name in ("config", "models", "log", "run")}
    variables |= {"venom_become": "false", "venom_supervisor": "process", "venom_manage_account": "false", "venom_account": str(os.geteuid())}
    variables["ansible_python_interpreter"] = sys.executable
    inventory = "[venom]\ngpu-1 ansible_connection=local " + " ".join(f"{key}={value}" for key, value in variables.items())
    try:
        os.killpg(host.status()["pid"], signal.SIGKILL)
        wait_until(lambda: host.status()["status"] != "online")
        with Rulebook(tmp_path, "alerts", CHECKOUT / "collections", inventory) as rulebook:
            rulebook.alert(alert("VenomRuntimeDown", "gpu-1:9100", runtime="vllm"))
            wait_until(lambda: host.status()["status"] == "online" or "failed=1" in rulebook.printed(), 120)
            assert host.status()["status"] == "online", rulebook.printed()
    finally:
        host.call(state="stopped")
