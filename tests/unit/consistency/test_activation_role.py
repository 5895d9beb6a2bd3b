# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which runtime the role activation means by a model that a survey asks for, which ones go back, and in which batches hosts are switched."""
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.venom.llm.tests.unit.consistency import templating

ROLE = Path(__file__).resolve().parents[3] / "roles" / "activation"
DECLARED = [
    {"name": "google/gemma-2b-it", "alias": "gemma"},
    {"name": "phi3:mini", "alias": "chat"},
    {"name": "team/tiny", "provider": "ollama", "alias": "team"},
    {"name": "gpt2", "provider": "huggingface"},
]


def wanted(runtimes: t.Sequence[str] = ("ollama", "vllm"), **asked: str) -> t.Any:
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
    given = {"venom_models": DECLARED, "_venom_runtimes": list(runtimes), "venom_active": {"vllm": "google/gemma-2b-it", "ollama": "phi3:mini"}}
    return templating.render(variables["_venom_activation_wanted"], {**templating.trusted(variables), **given, **asked})


def test_without_a_question_everything_that_is_declared() -> None:
    assert wanted() == {"vllm": "google/gemma-2b-it", "ollama": "phi3:mini"}
    assert wanted(venom_model_name="", venom_model_alias="") == wanted()


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        ("google/gemma-2b-it", "vllm"),
        ("other/model", "vllm"),
        ("gpt2", "vllm"),
        ("phi3:mini", "ollama"),
        ("llama3", "ollama"),
        ("hf.co/a/b:Q4", "ollama"),
        ("team/tiny", "ollama"),
        ("gemma", "vllm"),
    ],
)
def test_a_model_by_name(name: str, runtime: str) -> None:
    assert wanted(venom_model_name=name) == {runtime: name}


@pytest.mark.parametrize(("alias", "runtime"), [("gemma", "vllm"), ("chat", "ollama"), ("team", "ollama"), ("unheard-of", "vllm")])
def test_a_model_by_its_alias(alias: str, runtime: str) -> None:
    assert wanted(venom_model_alias=alias) == {runtime: alias}


def test_what_the_profile_and_the_provider_say() -> None:
    assert wanted(["ollama"], venom_model_alias="unheard-of") == {"ollama": "unheard-of"}
    assert wanted(venom_model_name="a/b", venom_model_provider="ollama") == {"ollama": "a/b"}
    assert wanted(venom_model_name="llama3", venom_model_provider="huggingface") == {"vllm": "llama3"}


def going_back(runtimes: t.Sequence[str] = ("ollama", "vllm"), resting: t.Sequence[str] = (), **given: t.Any) -> t.Any:
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
    active = {"ollama": ("phi3:latest", "small"), "vllm": ("a/b", "chat")}
    found = {
        name: {"previous_model": "before", "set_aside": name in resting, "active_model": model, "alias": alias}
        for name, (model, alias) in active.items()
    }
    known = {**templating.trusted(variables), "_venom_runtimes": list(runtimes), "__venom_rollback": {"runtimes": found}, **given}
    return templating.render(variables["_venom_rollback_targets"], known)


def test_what_was_stopped_on_purpose_goes_back_only_where_it_alone_is_named() -> None:
    both = ["ollama", "vllm"]
    assert going_back() == both and going_back(resting=["vllm"]) == ["ollama"] and going_back(resting=both) == []
    # As a survey asks that has ticked them all.
    for named, found in ((both, ["ollama"]), ("ollama, vllm", ["ollama"]), ("vllm", ["vllm"]), (["vllm"], ["vllm"])):
        assert going_back(resting=["vllm"], venom_rollback_runtimes=named) == found


def test_what_the_profile_leaves_out_does_not_go_back() -> None:
    assert going_back(["ollama"]) == ["ollama"] and going_back(["ollama"], venom_rollback_runtimes="vllm") == [] and going_back([]) == []


@pytest.mark.parametrize(
    ("name", "found"),
    [("", ["ollama", "vllm"]), ("a/b", ["vllm"]), ("chat", ["vllm"]), ("phi3", ["ollama"]), ("Phi3:latest", ["ollama"]), ("A/B", []), ("c/d", [])],
)
def test_a_model_by_name_takes_no_other_runtime_back(name: str, found: list[str]) -> None:
    assert going_back(venom_model_name=name) == found


def batches(used: bool = False, **given: t.Any) -> t.Any:
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    known = {**templating.trusted(variables), **defaults, "_venom_balancer_used": used, **given}
    return {key: templating.render(text, known) for key, text in templating.trusted(variables["_venom_roll_batches"]).items()}


@pytest.mark.parametrize(
    ("used", "given", "serial", "most"),
    [
        (False, {}, ["100%"], "100"),
        (True, {}, ["1"], "0"),
        (False, {"venom_activation_serial": 2}, ["2"], "0"),
        (False, {"venom_activation_serial": "25%"}, ["25%"], "0"),
        (True, {"venom_activation_serial": "100%"}, ["100%"], "0"),
        (False, {"venom_activation_canary": 1}, [1, "100%"], "0"),
        (True, {"venom_activation_canary": "2"}, [2, "1"], "0"),
        (True, {"venom_activation_max_fail_percentage": 30}, ["1"], "30"),
        (False, {"venom_activation_max_fail_percentage": 0}, ["100%"], "0"),
    ],
)
def test_batches_of_hosts(used: bool, given: dict[str, t.Any], serial: list[t.Any], most: str) -> None:
    found = batches(used, **given)
    assert found["serial"] == serial and str(found["max_fail_percentage"]) == most


@pytest.mark.parametrize(("plan", "switch", "count"), [("plan.yml", "activate.yml", 2), ("plan_back.yml", "back.yml", 1)])
def test_the_plan_of_a_roll_asks_what_the_activation_does(plan: str, switch: str, count: int) -> None:
    """Or a host would be drained for nothing, or switched in the traffic. Waits and manners do not decide whether something changes."""
    calls = []
    for name in (plan, switch):
        tasks = yaml.safe_load((ROLE / "tasks" / name).read_text(encoding="utf-8"))
        calls.append([task for task in tasks if "venom.llm.venom_runtime" in task])
    assert len(calls[0]) == len(calls[1]) == count
    for planned, real in zip(*calls):
        asked, done = planned["venom.llm.venom_runtime"], real["venom.llm.venom_runtime"]
        assert asked.items() <= done.items() and planned.get("when") == real.get("when") and planned.get("loop") == real.get("loop")
        assert done.keys() - asked.keys() <= {"health_timeout", "stop_timeout", "drain_timeout", "drain_policy"}
        assert planned["check_mode"] is True
