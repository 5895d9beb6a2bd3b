# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A short, real completion: what counts as an answer."""
from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.http_probe import Answer
from ansible_collections.venom.llm.plugins.module_utils.runtimes import openai_chat
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Completion, CompletionFailed


def ask(*answers: tuple[int, t.Any]) -> Completion:
    left = list(answers)

    def post(path: str, body: dict[str, t.Any]) -> Answer:
        status, content = left.pop(0)
        if body["model"] != "a" or ("messages" in body) is not (path == "/v1/chat/completions"):
            raise AssertionError(body)
        return Answer(status, json.dumps(content).encode(), 0.1)

    return openai_chat.complete(post, "a")


@pytest.mark.parametrize("message", [{"content": "Hi"}, {"content": None, "reasoning_content": "Hi"}, {"content": "", "reasoning": "Hi"}])
def test_text_in_any_form_is_an_answer(message: dict[str, t.Any]) -> None:
    assert ask((200, {"choices": [{"message": message}]})).text == "Hi"


def test_without_a_chat_template_it_completes_plainly() -> None:
    found = ask((400, {"error": {"message": "you must provide a chat template"}}), (200, {"choices": [{"text": "Hi"}]}))
    assert (found.text, found.endpoint) == ("Hi", "/v1/completions") and "no chat template" in found.remark


@pytest.mark.parametrize("content", [{}, [], {"choices": []}, {"choices": [3]}, {"choices": [{"message": {"content": "  "}}]}])
def test_what_is_no_answer(content: t.Any) -> None:
    with pytest.raises(CompletionFailed):
        ask((200, content))


def test_an_error_is_none() -> None:
    with pytest.raises(CompletionFailed) as caught:
        ask((500, {"error": "no"}))
    assert "answered 500" in str(caught.value)
