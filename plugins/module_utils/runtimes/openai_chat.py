# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A short, real completion over the interface that every runtime here shares with OpenAI."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.http_probe import Answer, ProbeFailed
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Completion, CompletionFailed

_PROOF_PROMPT = "Hello"
_PROOF_TOKENS = 16

#: Sends a body to a path and gives the answer. Raises ``CompletionFailed`` when none comes.
Post = t.Callable[[str, "dict[str, t.Any]"], Answer]


def complete(post: Post, model: str) -> Completion:
    """Have the model answer. Without a chat template it completes plainly, and the remark says so. Raises ``CompletionFailed``."""
    asked: dict[str, t.Any] = {"model": model, "temperature": 0, "max_tokens": _PROOF_TOKENS}
    answer = post("/v1/chat/completions", dict(asked, messages=[{"role": "user", "content": _PROOF_PROMPT}]))
    endpoint, remark = "/v1/chat/completions", ""
    if answer.status == 400 and "chat template" in answer.text(1000).lower():
        endpoint, remark = "/v1/completions", "the model has no chat template, so a plain completion proved it"
        answer = post(endpoint, dict(asked, prompt=_PROOF_PROMPT))
    if answer.status != 200:
        raise CompletionFailed(f"POST {endpoint} answered {answer.status} {answer.text(300)}".rstrip())
    text = _text_of(answer)
    if not text.strip():
        raise CompletionFailed(f"POST {endpoint} answered 200 without any text")
    return Completion(text, endpoint, answer.seconds, remark)


def _text_of(answer: Answer) -> str:
    """The text of a chat or plain completion; a thinking model may spend all its tokens on reasoning, which is text too."""
    try:
        choice = answer.json()["choices"][0]
        message = choice.get("message") or {}
        return str(choice.get("text") or message.get("content") or message.get("reasoning_content") or message.get("reasoning") or "")
    except (ProbeFailed, LookupError, TypeError, AttributeError) as error:
        raise CompletionFailed(f"the answer is no completion: {answer.text(200)}") from error
