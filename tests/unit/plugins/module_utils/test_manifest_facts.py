# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of facts: who wins, and what comes back when the winner is taken away."""
from __future__ import annotations

import itertools
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.capabilities import CAPABILITY_TYPES
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.manifest_facts import with_facts
from ansible_collections.venom.llm.plugins.module_utils.system_role import Correction, corrected
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.manifest_samples import MODELS_DIR, entry

ROLE = "supports_system_role"
#: Spelled out, so that another order in the code is noticed.
SOURCES = ("declared", "probed", "detected")


@pytest.mark.parametrize("present", [subset for size in range(4) for subset in itertools.combinations(SOURCES, size)])
def test_declared_wins_over_probed_wins_over_detected(present: tuple[str, ...]) -> None:
    values: dict[str, dict[str, t.Any]] = {source: {ROLE: f"by {source}"} if source in present else {} for source in SOURCES}
    known = with_facts(entry(), values["declared"], values["detected"], values["probed"])
    best = present[0] if present else None
    assert known.capabilities[ROLE] == {"value": f"by {best}" if best else None, "source": best}
    assert known.overridden.get(ROLE, {}) == {source: f"by {source}" for source in present[1:]}
    assert {source: known.facts_from(source) for source in SOURCES} == values
    again = Entry.from_dict(known.to_dict(), MODELS_DIR)
    assert again == known and with_facts(again, values["declared"]) == known


def test_what_was_overridden_is_back_when_the_better_word_is_taken_back() -> None:
    probed = with_facts(entry(), {ROLE: True}, {ROLE: True}, {ROLE: False})
    assert with_facts(probed, {}).capabilities[ROLE] == {"value": False, "source": "probed"}
    assert with_facts(probed, {}, probed={}).capabilities[ROLE] == {"value": True, "source": "detected"}
    assert with_facts(probed, {}, detected={}, probed={}).capabilities[ROLE] == {"value": None, "source": None}
    assert with_facts(probed, {}).overridden == {ROLE: {"detected": True}}


def test_what_a_live_server_was_found_to_do_lies_over_the_files_and_under_the_operator() -> None:
    known = with_facts(entry(), {"supports_tools": True}, {ROLE: True, "supports_tools": True})
    found = corrected(known, Correction({ROLE: False, "supports_tools": False}))
    assert found.capabilities[ROLE] == {"value": False, "source": "probed"}
    assert found.capabilities["supports_tools"] == {"value": True, "source": "declared"}
    assert found.overridden == {ROLE: {"detected": True}, "supports_tools": {"probed": False, "detected": True}}
    assert corrected(found, Correction({ROLE: True})).facts_from("probed") == {ROLE: True, "supports_tools": False}


def test_false_is_a_fact_and_null_is_none() -> None:
    known = with_facts(entry(), {ROLE: False, "supports_tools": None}, {ROLE: True, "supports_tools": True})
    assert known.capabilities[ROLE]["value"] is False
    assert known.capabilities["supports_tools"] == {"value": True, "source": "detected"}


def test_every_capability_is_listed_and_unheard_of_ones_are_kept() -> None:
    known = with_facts(entry(), {}, {"invented_later": [1]})
    assert set(known.capabilities) == {*CAPABILITY_TYPES, "invented_later"}
    assert known.facts_from("detected") == {"invented_later": [1]}


@pytest.mark.parametrize(
    "capabilities", [None, [], "x", {ROLE: True}, {ROLE: {}}, {ROLE: {"source": "declared"}}, {ROLE: {"value": 1, "source": "rumour"}}]
)
def test_facts_that_make_no_sense_are_not_taken_over(capabilities: t.Any) -> None:
    assert entry(capabilities=capabilities, overridden=capabilities).facts_from("declared") == {}
    assert entry(capabilities=capabilities).capabilities == {}
