# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages folded into what a model takes; no word is ever lost."""
from __future__ import annotations

import random
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.chat_folding import fold, known_value
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

REFUSED: dict[str, t.Any] = {"supports_system_role": False, "allowed_roles": ["user", "assistant"], "requires_alternation": True}
SYSTEM, USER, ANSWER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes?"}


def test_a_refused_system_role_keeps_its_words() -> None:
    assert fold([SYSTEM, USER], REFUSED) == [{"role": "user", "content": "Instructions: Be brief.\n\nHi."}]
    assert fold([SYSTEM, USER], {"system_handling": "dropped"}) == [{"role": "user", "content": "Instructions: Be brief.\n\nHi."}]
    two = [SYSTEM, {"role": "system", "content": "In Latin."}, USER, ANSWER]
    assert fold(two, REFUSED)[0]["content"] == "Instructions: Be brief.\n\nIn Latin.\n\nHi."
    assert fold([SYSTEM], REFUSED) == [{"role": "user", "content": "Instructions: Be brief."}]
    assert fold([SYSTEM, ANSWER, USER], {"supports_system_role": False})[1] == {"role": "user", "content": "Instructions: Be brief.\n\nHi."}


@pytest.mark.parametrize("capabilities", [None, {}, {"supports_system_role": True}, {"supports_system_role": None, "allowed_roles": None}, "x"])
def test_what_is_not_known_changes_nothing(capabilities: t.Any) -> None:
    messages = [SYSTEM, USER, USER, ANSWER]
    assert fold(messages, capabilities) == messages
    assert fold(messages, capabilities)[0] is not messages[0]


def test_records_of_the_manifest_are_understood() -> None:
    record = {"name": "a/b", "capabilities": {"supports_system_role": {"value": False, "source": "detected"}}}
    assert fold([SYSTEM, USER], record)[0]["role"] == "user"
    assert known_value(record, "supports_system_role") is False and known_value(record, "other") is None


def test_a_developer_becomes_the_system_where_there_is_one() -> None:
    said = [{"role": "developer", "content": "Be brief."}, USER]
    assert fold(said, {"allowed_roles": ["system", "user", "assistant"]}) == [SYSTEM, USER]
    assert fold(said, REFUSED) == [{"role": "user", "content": "Instructions: Be brief.\n\nHi."}]


def sourced(**known: tuple[t.Any, str | None]) -> dict[str, t.Any]:
    """A record of the manifest: each capability with value and source."""
    return {"capabilities": {name: {"value": value, "source": source} for name, (value, source) in known.items()}}


@pytest.mark.parametrize("handling", ["rejected", "dropped", "separate"])
@pytest.mark.parametrize("roles", [["user", "assistant"], ["system", "user", "assistant"]])
def test_the_operators_word_on_the_system_role_wins(handling: str, roles: list[str]) -> None:
    seen = {"system_handling": (handling, "detected"), "allowed_roles": (roles, "detected")}
    assert fold([SYSTEM, USER], sourced(supports_system_role=(True, "declared"), **seen)) == [SYSTEM, USER]
    assert fold([SYSTEM, USER], sourced(supports_system_role=(False, "declared"), **seen))[0]["role"] == "user"
    merged = dict(sourced(**seen)["capabilities"], supports_system_role=True)
    assert fold([SYSTEM, USER], merged) == [SYSTEM, USER], "a plain value is what somebody wrote into a playbook"
    developer = [{"role": "developer", "content": "Be brief."}, USER]
    assert fold(developer, sourced(supports_system_role=(True, "declared"), **seen))[0]["role"] == "system"


@pytest.mark.parametrize(
    ("record", "is_kept"),
    [
        (sourced(supports_system_role=(False, "detected"), system_handling=("separate", "declared")), True),
        (sourced(supports_system_role=(False, "detected"), allowed_roles=(["system", "user"], "declared")), True),
        (sourced(supports_system_role=(True, "probed"), allowed_roles=(["user"], "declared")), False),
        (sourced(supports_system_role=(True, "probed"), system_handling=("rejected", "detected")), True),
        (sourced(supports_system_role=(False, "probed"), allowed_roles=(["system", "user"], "detected")), False),
        (sourced(supports_system_role=(None, None), system_handling=("dropped", "detected")), False),
        (sourced(supports_system_role=(True, "somebody"), system_handling=("dropped", "detected")), False),
    ],
)
def test_the_better_source_decides(record: dict[str, t.Any], is_kept: bool) -> None:
    assert (fold([SYSTEM, USER], record) == [SYSTEM, USER]) is is_kept


def test_neighbours_become_one_where_roles_take_turns() -> None:
    said = [USER, USER, ANSWER, ANSWER, USER]
    assert [message["content"] for message in fold(said, REFUSED)] == ["Hi.\n\nHi.", "Yes?\n\nYes?", "Hi."]
    assert fold([ANSWER, USER], REFUSED)[0] == {"role": "user", "content": ""}
    late = [USER, SYSTEM, USER, ANSWER]
    assert fold(late, REFUSED) == [{"role": "user", "content": "Hi.\n\nInstructions: Be brief.\n\nHi."}, ANSWER]


def test_parts_and_calls_of_tools_stay_what_they_are() -> None:
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}, "look"]}
    folded = fold([SYSTEM, picture], REFUSED)[0]["content"]
    assert folded[0] == {"type": "text", "text": "Instructions: Be brief."} and folded[1]["type"] == "image_url"
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    answers = [{"role": "tool", "tool_call_id": str(number), "content": "4"} for number in range(2)]
    assert fold([USER, call, *answers, ANSWER], {"requires_alternation": True}) == [USER, call, *answers, ANSWER]
    assert fold([{"role": "system", "content": ""}, USER], REFUSED) == [USER]


@pytest.mark.parametrize("messages", ["text", 5, None, ["text"], [{"content": "x"}], [{"role": 5}], [{"role": "user", "content": 5}]])
def test_what_is_no_chat_is_refused(messages: t.Any) -> None:
    with pytest.raises(VenomError) as caught:
        fold(messages, REFUSED)
    assert caught.value.reason_code == "invalid_option"


def test_no_text_is_lost_in_a_thousand_chats() -> None:
    source = random.Random(226)
    for dummy in range(1000):
        said = [
            {"role": source.choice(["system", "developer", "user", "assistant"]), "content": f"text {number}."}
            for number in range(source.randrange(9))
        ]
        capabilities = {
            "supports_system_role": source.choice([True, False, None]),
            "requires_alternation": source.choice([True, False, None]),
            "system_handling": source.choice(["separate", "merged", "dropped", "rejected", None]),
            "allowed_roles": source.choice([None, ["user", "assistant"], ["system", "user", "assistant"]]),
        }
        told = fold(said, capabilities)
        text = "\n".join(message["content"] for message in told)
        assert all(f"text {number}." in text for number in range(len(said)))
        roles = [message["role"] for message in told]
        if capabilities["requires_alternation"] and "developer" not in roles:
            assert all(one != other for one, other in zip(roles, roles[1:]))
        if capabilities["supports_system_role"] is False:
            assert "system" not in roles
