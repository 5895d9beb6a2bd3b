# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a chat template is, and which of several counts."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.templates.locate import ChatTemplate, find_template, named_templates, special_tokens


def find(files: t.Mapping[str, t.Any]) -> ChatTemplate | None:
    """The template of a folder with these files, texts and objects."""

    def read_config(name: str) -> t.Mapping[str, t.Any]:
        value = files.get(name)
        return value if isinstance(value, dict) else {}

    return find_template(lambda name: t.cast("str | None", files.get(name)), read_config, sorted(files))


PICTURES: dict[str, t.Any] = {"preprocessor_config.json": {}}
OF_A_PROCESSOR, OF_A_TOKENIZER = {"chat_template.json": {"chat_template": "C"}}, {"tokenizer_config.json": {"chat_template": "B"}}
NAMED = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}, {"name": "rag", "template": "R"}]


@pytest.mark.parametrize(
    ("files", "text", "file", "tool_text"),
    [
        ({"chat_template.jinja": "A", "tokenizer_config.json": {"chat_template": "B"}}, "A", "chat_template.jinja", None),
        ({"chat_template.jinja": "A", "additional_chat_templates/tool_use.jinja": "T"}, "A", "chat_template.jinja", "T"),
        ({"chat_template.jinja": "", "tokenizer_config.json": {"chat_template": "B"}}, "B", "tokenizer_config.json", None),
        ({"tokenizer_config.json": {"chat_template": NAMED}, "chat_template.json": {"chat_template": "C"}}, "D", "tokenizer_config.json", "T"),
        ({"tokenizer_config.json": {"chat_template": {"default": "D", "tool_use": "T"}}}, "D", "tokenizer_config.json", "T"),
        ({"tokenizer_config.json": {"chat_template": [{"name": "chat", "template": "X"}]}}, "X", "tokenizer_config.json", None),
        ({"tokenizer_config.json": {}, "chat_template.json": {"chat_template": "C"}}, "C", "chat_template.json", None),
        ({"processor_config.json": {"chat_template": "P"}}, "P", "processor_config.json", None),
        # With a processor the server asks it first, and the tokenizer for requests with tools.
        ({**PICTURES, **OF_A_TOKENIZER, **OF_A_PROCESSOR}, "C", "chat_template.json", "B"),
        ({**PICTURES, "tokenizer_config.json": {"chat_template": NAMED}, **OF_A_PROCESSOR}, "C", "chat_template.json", "T"),
        ({**PICTURES, "chat_template.jinja": "A", **OF_A_PROCESSOR}, "C", "chat_template.json", "A"),
        ({**PICTURES, "chat_template.jinja": "A", **OF_A_TOKENIZER}, "A", "chat_template.jinja", None),
        ({**PICTURES, "tokenizer_config.json": {"chat_template": NAMED}}, "D", "tokenizer_config.json", "T"),
        ({**PICTURES, "tokenizer_config.json": {"chat_template": "C"}, **OF_A_PROCESSOR}, "C", "chat_template.json", None),
        ({**PICTURES, **OF_A_TOKENIZER, "chat_template.json": {}}, "B", "tokenizer_config.json", None),
        ({**PICTURES, **OF_A_PROCESSOR}, "C", "chat_template.json", None),
        (
            {"processor_config.json": {"chat_template": "P"}, **OF_A_PROCESSOR, "chat_template.jinja": "A"},
            "P",
            "processor_config.json",
            "A",
        ),
        ({"processor_config.json": {}, **OF_A_PROCESSOR, "chat_template.jinja": "A"}, "C", "chat_template.json", "A"),
        ({"video_preprocessor_config.json": {}, **OF_A_PROCESSOR, "chat_template.jinja": "A"}, "C", "chat_template.json", "A"),
        ({"tokenizer_config.json": {"chat_template": [{"name": "a", "template": "X"}, {"name": "b", "template": "Y"}]}}, None, None, None),
        ({"tokenizer_config.json": {"chat_template": None}}, None, None, None),
        ({"additional_chat_templates/tool_use.jinja": "T"}, None, None, None),
        ({}, None, None, None),
    ],
)
def test_which_template_counts(files: dict[str, t.Any], text: str | None, file: str | None, tool_text: str | None) -> None:
    found = find(files)
    assert (found and (found.text, found.file, found.tool_text)) == (None if text is None else (text, file, tool_text))


@pytest.mark.parametrize("value", [None, "", 3, [], [1], [{"name": 1, "template": "x"}], [{"name": "x"}], {"x": 1}, {"default": ""}])
def test_what_is_no_template_is_none(value: t.Any) -> None:
    assert named_templates(value) == {}


def test_special_tokens() -> None:
    tokenizer = {
        "bos_token": {"content": "<B>", "lstrip": False},
        "eos_token": "<E>",
        "pad_token": None,
        "unk_token": "x" * 9999,
        "extra_special_tokens": {"image_token": "<I>", "no name": "x", "n": 1},
        "chat_template": "x",
    }
    assert special_tokens(tokenizer, {"eos_token": "<old>", "sep_token": "<S>"}) == {
        "bos_token": "<B>",
        "eos_token": "<E>",
        "image_token": "<I>",
        "sep_token": "<S>",
    }
    assert find({"chat_template.jinja": "A", "tokenizer_config.json": tokenizer}).special_tokens["bos_token"] == "<B>"  # type: ignore[union-attr]
