# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role verify repairs, what it leaves to tell, and what it says of runtimes that were stopped on purpose."""
from __future__ import annotations

import typing as t
from pathlib import Path

import yaml

from ansible_collections.venom.llm.tests.unit.consistency import templating

ROLE = Path(__file__).resolve().parents[3] / "roles" / "verify"
DOWN = {"kind": "not_running", "wanted": "a server", "found": "it is stopped", "repairable": True}
DAMAGED = {"kind": "model_damaged", "wanted": "files", "found": "none", "repairable": False}


def judged(name: str, check: bool = False, profile: t.Sequence[str] = ("ollama", "vllm"), active: t.Any = None, **drift: t.Any) -> t.Any:
    """A variable of the role for a host with these differences; a runtime of None is one that was stopped on purpose."""
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
    runtimes = {key: {"drift": value or [], "set_aside": value is None, "active_model": "m", "alias": "a"} for key, value in drift.items()}
    given = {"venom_report": {"runtimes": runtimes}, "venom_active": active or {}, "_venom_runtimes": list(profile)}
    known = {**templating.trusted(variables), **given, "ansible_check_mode": check, "venom_verify_repair": True}
    return templating.render(variables[name], known)


def test_a_repair_starts_nothing_that_the_profile_leaves_out() -> None:
    assert sorted(judged("_venom_verify_repairable", ollama=[DOWN], vllm=[DAMAGED, DOWN])) == ["ollama", "vllm"]
    assert judged("_venom_verify_repairable", profile=["ollama"], ollama=[DOWN], vllm=[DOWN]) == ["ollama"]
    assert judged("_venom_verify_repairable", profile=[], ollama=[DOWN]) == []


def test_a_check_of_a_repair_leaves_what_the_repair_would_leave() -> None:
    left = judged("_venom_verify_left", check=True, profile=["ollama"], ollama=[DOWN, DAMAGED], vllm=[DOWN])
    assert [(each["runtime"], each["kind"]) for each in left] == [("ollama", "model_damaged"), ("vllm", "not_running")]
    assert len(judged("_venom_verify_left", profile=["ollama"], ollama=[DOWN, DAMAGED], vllm=[DOWN])) == 3


def test_what_was_stopped_on_purpose_is_told_where_the_inventory_wants_it() -> None:
    for active in ({}, {"ollama": "m"}):
        assert judged("_venom_verify_resting", active=active, ollama=[], vllm=None) == []
    assert judged("_venom_verify_resting", active={"ollama": "m", "vllm": "m"}, ollama=[], vllm=None) == ["vllm"]
