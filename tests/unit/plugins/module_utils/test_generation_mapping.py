# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One set of parameters in three languages."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.generation_mapping import map_parameters

NUMBERS = {"temperature": 0.2, "max_tokens": 20, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repeat_penalty": 1.1, "seed": 7}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": SCHEMA}}


def test_vllm() -> None:
    mapped = map_parameters(dict(NUMBERS, stop="###", format=SCHEMA, tools=[TOOL], tool_choice="auto", think=False), "vllm")
    assert mapped.warnings == ()
    assert mapped.body == {
        "temperature": 0.2, "max_tokens": 20, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "seed": 7, "stop": ["###"],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}, "tools": [TOOL], "tool_choice": "auto",
        "chat_template_kwargs": {"enable_thinking": False, "thinking": False},
    }  # fmt: skip


def test_ollama() -> None:
    wanted = dict(NUMBERS, stop=["a", "b"], response_format={"type": "json_object"}, tools=[TOOL], tool_choice="required", think="low")
    mapped = map_parameters(wanted, "ollama")
    assert mapped.body == {
        "options": {
            "temperature": 0.2, "num_predict": 20, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repeat_penalty": 1.1, "seed": 7, "stop": ["a", "b"],
        },
        "format": "json", "tools": [TOOL], "think": "low",
    }  # fmt: skip
    assert mapped.warnings == ("tool_choice is left out: Ollama lets the model choose",)
    assert map_parameters({"stop": "x"}, "ollama").body == {"options": {"stop": ["x"]}}
    assert map_parameters({}, "ollama").body == {}


def test_openai() -> None:
    named = {"type": "json_schema", "json_schema": {"name": "mine", "strict": True, "schema": SCHEMA}}
    mapped = map_parameters(dict(NUMBERS, response_format=named, think="high"), "openai")
    assert mapped.body == {
        "temperature": 0.2, "max_completion_tokens": 20, "top_p": 0.9, "seed": 7, "response_format": named, "reasoning_effort": "high",
    }  # fmt: skip
    assert [text.partition(" ")[0] for text in mapped.warnings] == ["top_k", "min_p", "repeat_penalty"]
    assert "think is left out" in map_parameters({"think": True}, "openai").warnings[0]


@pytest.mark.parametrize("server", ["vllm", "ollama", "openai"])
@pytest.mark.parametrize(
    "wanted",
    [
        {"temperature": 2.5}, {"temperature": "hot"}, {"max_tokens": 0}, {"top_p": 0}, {"top_k": -1}, {"min_p": 1.5}, {"repeat_penalty": 0},
        {"seed": 2**70}, {"max_tokens": 2**70}, {"stop": ""}, {"stop": [""]}, {"stop": 5}, {"format": "yaml"},
        {"format": "json", "response_format": {"type": "text"}},
        {"response_format": {"type": "xml"}}, {"response_format": {"type": "json_schema"}}, {"tools": [{}]}, {"tools": "add"},
        {"tools": [TOOL], "tool_choice": "add"}, {"tool_choice": "required"}, {"think": "hard"}, {"temprature": 1}, {"num_ctx": 4096},
    ],
    ids=str,
)  # fmt: skip
def test_out_of_range_is_refused(wanted: dict[str, t.Any], server: str) -> None:
    with pytest.raises(VenomError) as caught:
        map_parameters(wanted, server)
    assert caught.value.reason_code == "invalid_option"
    assert caught.value.details["option"] in caught.value.wanted


def test_further_refusals() -> None:
    for wanted, server, capabilities in (
        ({"max_tokens": 5000}, "vllm", {"max_context_length": 4096}),
        ({"seed": 2**40}, "ollama", None),
        ({"stop": list("abcde")}, "openai", None),
        ({"stop": list("abcde")}, "vllm", None),
        ({}, "grok", None),
        ("text", "vllm", None),
    ):
        with pytest.raises(VenomError):
            map_parameters(wanted, server, capabilities)  # type: ignore[arg-type]
    assert map_parameters({"seed": 2**40}, "vllm").body == {"seed": 2**40}


@pytest.mark.parametrize("server", ["vllm", "ollama", "openai"])
def test_what_a_model_cannot_do_is_left_out_with_a_warning(server: str) -> None:
    cannot = {name: {"value": False, "source": "detected"} for name in ("supports_tools", "supports_thinking", "supports_structured_outputs")}
    mapped = map_parameters({"tools": [TOOL], "think": True, "format": SCHEMA}, server, {"capabilities": cannot})
    assert mapped.body == {} and len(mapped.warnings) == 3
    assert map_parameters({"think": False}, server, {"capabilities": cannot}).warnings == ()


def test_null_is_not_given_and_none_chooses_no_tool() -> None:
    assert map_parameters(dict.fromkeys((*NUMBERS, "stop", "tools", "think")), "vllm").body == {}
    assert map_parameters({"tools": [TOOL], "tool_choice": "none"}, "ollama").body == {}
    assert map_parameters({"tools": [TOOL], "tool_choice": "none"}, "vllm").body["tool_choice"] == "none"
    assert map_parameters({"response_format": {"type": "text"}}, "vllm").body == {}
    assert map_parameters({"tools": [TOOL], "tool_choice": TOOL}, "vllm").body["tool_choice"] == TOOL
    assert map_parameters({"think": "low"}, "vllm").body == {"reasoning_effort": "low"}
