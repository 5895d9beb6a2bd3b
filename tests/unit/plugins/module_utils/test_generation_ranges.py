# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ranges and defaults of generation."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.generation_ranges import PARAMETERS, ranges


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("temperature", [0, 0.0, 2], [-0.1, 2.1, float("nan"), float("inf"), "1", True, None, 10**400]),
        ("max_tokens", [1, 10**9], [0, -1, 1.5, 10**400, 10**5000, -(10**5000)]),
        ("top_p", [0.001, 1], [0, 0.0, 1.1]),
        ("top_k", [0, 100, 2**63], [-1, 1.0, 2**64]),
        ("min_p", [0, 1.0], [-1, 2]),
        ("repeat_penalty", [0.1, 5], [0, -1, 10**400, float("inf")]),
        ("seed", [0, -(2**63), 2**63 - 1], [2**63, 1.0]),
    ],
)
def test_what_a_value_may_be(name: str, good: list[t.Any], bad: list[t.Any]) -> None:
    parameter = PARAMETERS[name]
    assert [parameter.problem(value) for value in good] == [None] * len(good)
    assert all(parameter.problem(value) for value in bad)


@pytest.mark.parametrize("number", [10**400, 10**5000], ids=["400 digits", "5000 digits"])
def test_a_number_of_many_digits_is_said_in_few_words(number: int) -> None:
    for name in PARAMETERS:
        assert len(PARAMETERS[name].problem(number) or "") in range(1, 100)


def test_defaults_come_from_the_files_under_our_names() -> None:
    found = ranges({"temperature": 0.6, "repetition_penalty": 1.05, "max_new_tokens": 2048, "top_p": 7, "eos_token_id": 1}, 4096)
    assert found["temperature"] == {"type": "float", "min": 0.0, "max": 2.0, "default": 0.6}
    assert found["repeat_penalty"]["default"] == 1.05 and found["repeat_penalty"]["exclusive_min"] is True
    assert found["max_tokens"] == {"type": "int", "min": 1, "max": 4096, "default": 2048}
    assert found["top_p"]["default"] is None
    assert set(found) == set(PARAMETERS)
    ollama = ranges({"num_predict": 5, "repeat_penalty": 1.1, "repetition_penalty": 9}, None, "ollama")
    assert (ollama["max_tokens"]["default"], ollama["max_tokens"]["max"], ollama["repeat_penalty"]["default"]) == (5, None, 1.1)
