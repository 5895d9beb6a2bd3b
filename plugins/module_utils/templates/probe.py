# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a template can do, found by rendering small conversations whose texts are unmistakable, and looking for them in the prompt.

Nothing is concluded from the template's own text. Where a plain conversation does not render, the manners are tried in which templates
like to be called: content as a list of parts, tools or documents given, variables set, a first message of some further role.
"""
from __future__ import annotations

import copy
import os.path
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils.templates.verdict import ROLES

Message = dict[str, t.Any]

#: Bounds the work on a template that refuses whatever it is given; an honest one needs some fifty.
MAX_RENDERINGS = 600

_SYSTEM, _USER, _SECOND, _ASSISTANT, _TOOL_RESULT = "zqsystem7", "zquser7", "zqsecond7", "zqassistant7", "zqresult7"
_DEVELOPER, _THOUGHT, _TOOL_NAME = "zqdeveloper7", "zqthought7", "zqtool7"
#: Mistral's templates want ids of exactly nine letters and digits.
_CALL_ID = "abcdef123"

TOOL = {
    "type": "function",
    "function": {
        "name": _TOOL_NAME,
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Where."}, "days": {"type": "integer", "description": "How many."}},
            "required": ["city"],
        },
    },
}
_DOCUMENT = {"title": "Title", "text": "Text.", "contents": "Text.", "content": "Text.", "doc_id": "1", "source": "here"}
_ARGUMENTS: tuple[t.Any, ...] = ({"city": "Gdynia"}, '{"city": "Gdynia"}')
_SWITCHES: tuple[tuple[str, t.Any, t.Any], ...] = (
    ("enable_thinking", True, False),
    ("thinking", True, False),
    ("reasoning_effort", "low", "high"),
)


class RenderingFailed(Exception):
    """The template refuses the conversation; the text is the template's own."""


class TooExpensive(Exception):
    """The template wants more than an honest one needs: no verdict."""


@dataclass(frozen=True)
class Conversation:
    """What is rendered. ``variables`` are those beside messages and add_generation_prompt: tools, documents, switches."""

    messages: list[Message]
    variables: t.Mapping[str, t.Any] = field(default_factory=dict)
    add_generation_prompt: bool = True


class Rendering:
    """A template of some kind, ready to be rendered."""

    #: Variables that it reads and no server sets by itself.
    unknown_names: tuple[str, ...] = ()
    #: Words in it that may be names of roles.
    words: tuple[str, ...] = ()

    def render(self, conversation: Conversation) -> str:
        """The prompt. Raises ``RenderingFailed``, ``TooExpensive``."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Manner:
    """How a template wants to be called."""

    variables: t.Mapping[str, t.Any] = field(default_factory=dict)
    #: Content as a list of parts.
    is_typed: bool = False
    #: A message that has to come first, or right behind the system's.
    lead: Message | None = None

    def arrange(self, messages: t.Sequence[Message]) -> list[Message]:
        """The messages in this manner."""
        arranged = copy.deepcopy(list(messages))
        if self.lead is not None and not any(message["role"] == self.lead["role"] for message in arranged):
            behind = 1 if self.lead["role"] != "system" and arranged and arranged[0]["role"] == "system" else 0
            arranged.insert(behind, dict(self.lead))
        if self.is_typed:
            for message in arranged:
                if isinstance(message.get("content"), str):
                    message["content"] = [{"type": "text", "text": message["content"]}]
        return arranged


def find_capabilities(rendering: Rendering) -> dict[str, t.Any]:
    """The verdicts by the names of ``TemplateCapabilities``, as JSON data. Raises ``TooExpensive``."""
    return _Probe(rendering).verdicts()


def say(role: str, content: t.Any, **more: t.Any) -> Message:
    """A message."""
    return dict({"role": role, "content": content}, **more)


class _Probe:
    """One investigation."""

    def __init__(self, rendering: Rendering) -> None:
        self._rendering = rendering
        self._left = MAX_RENDERINGS
        self._manner = _Manner()
        self._error = ""

    def verdicts(self) -> dict[str, t.Any]:
        """All of them; without any, ``warning`` says why."""
        user = [say("user", _USER)]
        renders: _Manner | None = None
        for manner in self._manners():
            self._manner = manner
            text = self._render(user)
            if text is not None:
                renders = renders or manner
                if _USER in text:
                    break
        else:
            if renders is None:
                return {"warning": f"the chat template refuses every conversation: {self._error}"}
            # It renders, but never what the user says: a template for something else than a chat.
            self._manner = renders
        system = self._system()
        tests = {
            "system": lambda: bool(system["supports_system_role"]),
            "user": lambda: self._shows(_USER, user),
            "assistant": self._shows_assistant,
            "tool": self._shows_tool,
            "developer": lambda: self._shows(_DEVELOPER, [say("developer", _DEVELOPER), *user]),
        }
        return dict(
            system,
            allowed_roles=[role for role in ROLES if tests[role]()],
            requires_alternation=self._render([*user, say("user", _SECOND)]) is None,
            supports_tools=self._supports_tools(),
            supports_thinking=self._supports_thinking(),
        )

    def _manners(self) -> t.Iterator[_Manner]:
        plain: dict[str, t.Any] = {"tools": None, "documents": None}
        yield _Manner(plain)
        yield _Manner(plain, is_typed=True)
        variants: list[dict[str, t.Any]] = [
            {},
            dict(plain, tools=[TOOL]),
            dict(plain, documents=[_DOCUMENT]),
            dict(plain, tools=[TOOL], documents=[_DOCUMENT]),
        ]
        if self._rendering.unknown_names:
            values: tuple[t.Any, ...] = (True, "text", [], {}, 1)
            variants += [dict(plain, **dict.fromkeys(self._rendering.unknown_names, value)) for value in values]
        for is_typed in (False, True):
            for variables in variants:
                yield _Manner(variables, is_typed)
        for is_typed in (False, True):
            for variables in [plain, *variants]:
                yield _Manner(variables, is_typed, say("system", "You help."))
        for word in self._rendering.words:
            if word not in ROLES:
                yield _Manner(plain, lead=say(word, "[]"))

    def _render(self, messages: t.Sequence[Message], **variables: t.Any) -> str | None:
        """The prompt with or without the beginning of an answer, in small letters; None when both are refused."""
        arranged = self._manner.arrange(messages)
        # A conversation that the assistant ends is complete; others ask for an answer.
        first = arranged[-1]["role"] != "assistant" if arranged else True
        for add_generation_prompt in (first, not first):
            if self._left <= 0:
                raise TooExpensive("it refuses almost everything")
            self._left -= 1
            try:
                conversation = Conversation(copy.deepcopy(arranged), dict(self._manner.variables, **variables), add_generation_prompt)
                return self._rendering.render(conversation).lower()
            except RenderingFailed as error:
                self._error = str(error)
        return None

    def _shows(self, mark: str, messages: t.Sequence[Message], **variables: t.Any) -> bool:
        return mark in (self._render(messages, **variables) or "")

    def _system(self) -> dict[str, t.Any]:
        user = say("user", _USER)
        text = self._render([say("system", _SYSTEM), user])
        if text is None:
            return {"supports_system_role": False, "system_handling": "rejected", "system_role_error": self._error}
        if _SYSTEM not in text:
            return {"supports_system_role": False, "system_handling": "dropped"}
        return {"supports_system_role": True, "system_handling": self._handling(text, self._render([user]) or "")}

    def _handling(self, text: str, alone: str) -> str:
        """Whether the system's text has a turn of its own, or the user's turn holds both: then nothing that opens a turn stands between."""
        user, answer = say("user", _USER), say("assistant", _ASSISTANT)
        later = (self._render([user, answer, say("user", _SECOND)]) or "").partition(_ASSISTANT)[2]
        opening = later.partition(_SECOND)[0] if _SECOND in later else alone.partition(_USER)[0]
        between, found, dummy = text.partition(_SYSTEM)[2].partition(_USER)
        if not found or not opening.strip():
            return "separate"
        begin = os.path.commonprefix([between[::-1], opening[::-1]])
        return "separate" if any(character.isalnum() for character in begin) else "merged"

    def _shows_assistant(self) -> bool:
        user, answer = say("user", _USER), say("assistant", _ASSISTANT)
        conversations = ([user, answer], [user, answer, say("user", _SECOND)], [say("system", _SYSTEM), user, answer, say("user", _SECOND)])
        return any(self._shows(_ASSISTANT, conversation) for conversation in conversations)

    def _shows_tool(self) -> bool:
        """Whether a tool's result gets in: in the usual order first, then as templates without tools may take it."""
        user, answer = say("user", _USER), say("assistant", _ASSISTANT)
        results = [_tool_message(content) for content in (_TOOL_RESULT, f'{{"result": "{_TOOL_RESULT}"}}', {"result": _TOOL_RESULT})]
        for tools in (None, [TOOL]):
            given = {"tools": tools} if tools is not None else {}
            for arguments in _ARGUMENTS:
                for content in ("", None):
                    call = _calling(arguments, content)
                    for result in results:
                        if self._shows(_TOOL_RESULT, [user, call, result], **given):
                            return True
                        if self._shows(_TOOL_RESULT, [user, call, result, answer, say("user", _SECOND)], **given):
                            return True
        result = results[0]
        conversations = ([user, result], [user, answer, result], [user, answer, result, say("user", _SECOND)], [user, result, answer])
        return any(self._shows(_TOOL_RESULT, conversation) for conversation in conversations)

    def _supports_tools(self) -> bool:
        user = say("user", _USER)
        conversations = (
            [user],
            [say("system", _SYSTEM), user],
            [user, say("assistant", _ASSISTANT), say("user", _SECOND)],
        )
        return any(self._shows(_TOOL_NAME, conversation, tools=[TOOL]) for conversation in conversations)

    def _supports_thinking(self) -> bool:
        user = say("user", _USER)
        for name, on, off in _SWITCHES:
            if self._render([user], **{name: on}) != self._render([user], **{name: off}):
                return True
        thoughts = {"reasoning_content": _THOUGHT, "reasoning": _THOUGHT, "thinking": _THOUGHT}
        answer = say("assistant", _ASSISTANT, **thoughts)
        calling = dict(_calling(_ARGUMENTS[0], ""), **thoughts)
        conversations = ([user, answer], [user, answer, say("user", _SECOND)], [user, calling, _tool_message(_TOOL_RESULT)])
        return any(self._shows(_THOUGHT, conversation) for conversation in conversations)


def _tool_message(content: t.Any) -> Message:
    return say("tool", content, name=_TOOL_NAME, tool_call_id=_CALL_ID)


def _calling(arguments: t.Any, content: str | None) -> Message:
    call = {"id": _CALL_ID, "type": "function", "function": {"name": _TOOL_NAME, "arguments": arguments}}
    return say("assistant", content, tool_calls=[call])
