# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The AWX objects of extensions/aap name what there is: playbooks, variables, choices, templates, nodes. And a wrong name is found."""
from __future__ import annotations

import copy
import json
import subprocess
import typing as t

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from integration.aap_checks import PROJECT, problems
from integration.automation_support import aap_data, load, tools

from lab.settings import CHECKOUT

FOLDER = CHECKOUT / "extensions/aap"
FIRST_TIMES = "import sys, json; from dateutil.rrule import rrulestr; print(json.dumps([rrulestr(r)[0].isoformat() for r in json.load(sys.stdin)]))"


@pytest.fixture(scope="module")
def data() -> dict[str, t.Any]:
    return aap_data()


def named(data: t.Mapping[str, t.Any], kind: str, name: str) -> t.Any:
    """One object of a kind."""
    (found,) = [each for each in data[f"controller_{kind}"] if each["name"] == name]
    return found


def node(data: t.Mapping[str, t.Any], identifier: str) -> t.Any:
    """One node of the workflow."""
    (found,) = [each for each in data["controller_workflows"][0]["simplified_workflow_nodes"] if each["identifier"] == identifier]
    return found


def question(data: t.Mapping[str, t.Any], template: str, variable: str) -> t.Any:
    """One question of a template's survey."""
    (found,) = [each for each in named(data, "templates", template)["survey_spec"]["spec"] if each["variable"] == variable]
    return found


def test_everything_that_is_named_exists(data: dict[str, t.Any]) -> None:
    assert problems(data) == []


def test_there_is_a_template_for_every_playbook(data: dict[str, t.Any]) -> None:
    assert {each["playbook"] for each in data["controller_templates"]} == {path.name for path in PROJECT.glob("*.yml")}


#: What could go wrong in the files, and what is to be said of it.
MUTATIONS: list[tuple[str, t.Callable[[dict[str, t.Any]], object]]] = [
    ("no key of it", lambda data: named(data, "templates", "venom site").update(ask_limit=True)),
    ("the project has no", lambda data: named(data, "templates", "venom site").update(playbook="sites.yml")),
    ("does not exist", lambda data: named(data, "templates", "venom site").update(project="venoms")),
    ("does not exist", lambda data: named(data, "inventory_sources", "venom").update(inventory="venoms")),
    ("nothing that venom.llm.verify takes", lambda data: named(data, "templates", "venom repair").update(extra_vars={"venom_verify_mend": True})),
    ("is given 'true'", lambda data: named(data, "templates", "venom repair").update(extra_vars={"venom_verify_repair": "true"})),
    ("nothing that the playbook takes", lambda data: question(data, "venom rollback", "venom_rollback_runtimes").update(variable="venom_runtimes")),
    ("the choices are", lambda data: question(data, "venom install", "venom_model_provider").update(choices="auto\nhub\nollama")),
    ("the choices are", lambda data: question(data, "venom stop", "venom_stop_disable").update(choices="no\nyes", default="no")),
    ("is no choice", lambda data: question(data, "venom install", "venom_models_verify").update(default="fast")),
    ("and the role's is", lambda data: question(data, "venom install", "venom_models_verify").update(default="full")),
    ("and the role's is", lambda data: question(data, "venom install", "venom_model_revision").update(default="main")),
    ("asked for as", lambda data: question(data, "venom stop", "venom_stop_runtimes").update(type="text")),
    ("not what AWX takes", lambda data: question(data, "venom stop", "venom_stop_disable").update(default=False)),
    ("no limits", lambda data: question(data, "venom install", "venom_model_name").pop("max")),
    ("is there twice", lambda data: data["controller_templates"].append(data["controller_templates"][0])),
    ("there is no template", lambda data: node(data, "roll").update(unified_job_template="venom activates")),
    ("which is no node", lambda data: node(data, "roll").update(success_nodes=["verified"])),
    ("goes in a circle", lambda data: node(data, "verify").update(success_nodes=["canary"])),
    ("ends as a success", lambda data: node(data, "diagnose").pop("always_nodes")),
    ("begins at", lambda data: node(data, "canary").update(success_nodes=[])),
    ("no job of it takes", lambda data: data["controller_workflows"][0]["survey_spec"]["spec"][0].update(variable="venom_model")),
    ("asks for no limit", lambda data: named(data, "templates", "venom rollback").update(ask_limit_on_launch=False)),
    ("there is no template", lambda data: data["controller_schedules"][0].update(unified_job_template="venom verifies")),
    ("no answer to the survey", lambda data: data["controller_schedules"][2].update(extra_data={"venom_models_verify": "deep"})),
    ("asks for no job_type", lambda data: data["controller_schedules"][0].update(job_type="check")),
    ("AWX takes no", lambda data: data["controller_schedules"][0].update(rrule="DTSTART:20260101T013000Z RRULE:FREQ=DAILY")),
]


@pytest.mark.parametrize(("said", "change"), MUTATIONS, ids=[str(number) for number in range(len(MUTATIONS))])
def test_a_wrong_name_is_found(data: dict[str, t.Any], said: str, change: t.Callable[[dict[str, t.Any]], object]) -> None:
    # Through JSON, so that what YAML shares between templates is not shared here.
    wrong = json.loads(json.dumps(copy.deepcopy(data)))
    change(wrong)
    assert any(said in problem for problem in problems(wrong)), problems(wrong)


def test_rules_of_recurrence_mean_what_their_names_say(data: dict[str, t.Any]) -> None:
    rules = [each["rrule"] for each in data["controller_schedules"]]
    argv = [str(tools() / "python"), "-c", FIRST_TIMES]
    done = subprocess.run(argv, input=json.dumps([rule.replace(" RRULE", "\nRRULE") for rule in rules]), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["2026-01-01T01:30:00+00:00", "2026-01-05T02:30:00+00:00", "2026-01-04T03:30:00+00:00"]


def test_the_canary_is_one_host(data: dict[str, t.Any]) -> None:
    inventory = InventoryManager(loader=DataLoader(), sources=[str(CHECKOUT / "inventories/fleet/hosts.yml")])
    everyone = [host.name for host in inventory.list_hosts("venom")]
    limits = {each.get("limit") for each in data["controller_workflows"][0]["simplified_workflow_nodes"]}
    assert limits == {None, "venom[0]"}
    inventory.subset("venom[0]")
    assert [host.name for host in inventory.list_hosts("venom")] == everyone[:1] and len(everyone) > 1


def test_settings_reach_every_object(data: dict[str, t.Any]) -> None:
    other = aap_data(venom_aap_organization="LLM", venom_aap_credentials=["a", "b"], venom_aap_image="registry.example.com/other:2")
    for kind in data:
        for each in other[kind] if kind.startswith("controller_") else []:
            assert each.get("organization", "LLM") == "LLM" and each.get("credentials", ["a", "b"]) == ["a", "b"]
    assert named(other, "execution_environments", "venom")["image"] == "registry.example.com/other:2"
    assert not any("{{" in json.dumps(each) for each in (data, other))


def test_all_files_are_applied() -> None:
    (play,) = load(FOLDER / "apply.yml")
    assert {path.rpartition("/")[2] for path in play["vars_files"]} == {path.name for path in (FOLDER / "configuration").glob("*.yml")}
