# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict as a value: what of an untrusted answer is taken, and how two templates make one verdict."""
from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.templates.verdict import TemplateCapabilities

ANSWER: dict[str, t.Any] = {
    "supports_system_role": False,
    "system_handling": "rejected",
    "system_role_error": "No",
    "allowed_roles": ["assistant", "user"],
    "requires_alternation": True,
    "supports_tools": None,
}


def test_an_answer_becomes_a_value() -> None:
    able = TemplateCapabilities.from_answer(ANSWER)
    assert able.allowed_roles == ("user", "assistant") and able.system_role_error == "No" and able.supports_tools is None
    assert able.detected() == {
        "supports_system_role": False,
        "system_handling": "rejected",
        "system_role_error": "No",
        "allowed_roles": ["user", "assistant"],
        "requires_alternation": True,
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        able.supports_tools = True  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        {"supports_tools": "yes"},
        {"supports_system_role": 1},
        {"system_handling": "eaten"},
        {"allowed_roles": "user"},
        {"allowed_roles": ["root"]},
        {"allowed_roles": [["user"]]},
    ],
)
def test_an_answer_of_other_types_is_refused(change: dict[str, t.Any]) -> None:
    with pytest.raises(ValueError, match="it|verdict"):
        TemplateCapabilities.from_answer({**ANSWER, **change})


def test_no_mapping_is_no_answer_and_texts_are_cut() -> None:
    with pytest.raises(ValueError, match="no mapping"):
        TemplateCapabilities.from_answer([])
    assert len(TemplateCapabilities.from_answer({"warning": "x" * 9999}).warning or "") == 300
    assert TemplateCapabilities.from_answer({"warning": "\ud800", "system_role_error": "a\udc00"}).system_role_error == "a\ufffd"


def test_a_template_for_tools_adds_tools_and_their_results() -> None:
    own = TemplateCapabilities(True, ("system", "user"), False, False, False)
    other = TemplateCapabilities(False, ("user", "tool"), True, True, True)
    assert own.with_tool_template(other) == TemplateCapabilities(True, ("system", "user", "tool"), False, True, False)
    assert own.with_tool_template(TemplateCapabilities(warning="broken")) == own
    assert own.with_tool_template(TemplateCapabilities(supports_tools=False, allowed_roles=("user",))) == own
    # A request with tools never gets to the first template.
    able = own.replace(supports_tools=True)
    assert able.with_tool_template(TemplateCapabilities(supports_tools=False, allowed_roles=("user",))) == own
