# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama's way with its templates: what they get, the older ones' turns, and what they can do."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.templates.ollama_template import OllamaTemplate
from ansible_collections.venom.llm.plugins.module_utils.templates.probe import TOOL, Conversation, RenderingFailed, TooExpensive, find_capabilities, say

OLD = "{{ if .System }}<S>{{ .System }}{{ end }}{{ if .Prompt }}<U>{{ .Prompt }}{{ end }}<A>{{ .Response }}<E>"
EACH = "{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ end }}"
STRICT = (
    '{{ range $i, $m := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}{{ if eq .Role "user" }}{{ if and $last $.System }}{{ $.System }} '
    '{{ end }}{{ if and $last $.Tools }}[T]{{ $.Tools }}[/T]{{ end }}{{ .Content }}{{ else if eq .Role "assistant" }}{{ range .ToolCalls }}'
    '{"{{ .Function.Name }}": {{ .Function.Arguments }}}{{ end }}{{ .Content }}{{ else if eq .Role "tool" }}R {{ .Content }}{{ end }}{{ end }}'
)


def made(text: str, *messages: dict[str, t.Any], **variables: t.Any) -> str:
    return OllamaTemplate(text).render(Conversation(list(messages), variables))


def test_an_older_template_is_run_once_for_each_exchange() -> None:
    conversation = [say("system", "s"), say("user", "u1"), say("assistant", "a1"), say("user", "u2")]
    assert made(OLD, *conversation) == "<S>s<U>u1<A>a1<E><U>u2<A>"
    assert made(OLD, *conversation[1:3]) == "<U>u1<A>a1"
    assert made(OLD, say("user", "u"), say("system", "s"), say("user", "v")) == "<U>u<A><E><S>s<U>v<A>"
    assert made("{{ .System }}|{{ .Prompt }}", *conversation) == "s|u1a1|u2"


def test_neighbours_of_one_role_are_one_message() -> None:
    assert made(EACH, say("user", "a"), say("user", "b"), say("tool", "c"), say("tool", "d")) == "<user>a\n\nb<tool>c<tool>d"
    assert made("{{ .System }}{{ range .Messages }}{{ end }}", say("system", "a"), say("user", "x"), say("system", "b")) == "a\n\nb"


def test_values_of_a_message() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    text = "{{ range .Messages }}{{ range .ToolCalls }}{{ .Function.Name }}{{ .Function.Arguments }}{{ json . }}{{ end }}{{ .ToolName }}{{ .Thinking }}{{ end }}"
    shown = made(text, say("assistant", None, tool_calls=[call], thinking="hm"), say("tool", {"r": 1}, name="f"))
    assert shown == 'f{"a":1}{"ID":"1","Function":{"Index":0,"Name":"f","Arguments":{"a":1}}}hmf'


def test_tools_as_text_and_as_values() -> None:
    user = say("user", "u")
    assert '"name":"zqtool7"' in made("{{ .Tools }}{{ range .Messages }}{{ end }}", user, tools=[TOOL])
    text = (
        "{{ range .Tools }}{{ .Function.Name }} {{ range $k, $v := .Function.Parameters.Properties }}{{ $k }}:{{ $v.Type }} {{ end }}{{ end }}"
        "{{ range .Messages }}{{ end }}"
    )
    assert made(text, user, tools=[TOOL]) == "zqtool7 city:string days:integer "
    assert made("{{ if .Tools }}yes{{ else }}no{{ end }}{{ range .Messages }}{{ end }}", user) == "no"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OLD, (True, ["system", "user", "assistant"], False, False)),
        (EACH, (True, ["system", "user", "assistant", "tool", "developer"], False, False)),
        (STRICT, (True, ["system", "user", "assistant", "tool"], True, False)),
        ("{{ .Prompt }}{{ .Response }}", (False, ["user", "assistant"], False, False)),
        ("{{ range .Messages }}{{ if eq .Role `user` }}{{ .Content }}{{ end }}{{ end }}", (False, ["user"], False, False)),
        (EACH + "{{ if and .IsThinkSet .Think }}<think>{{ end }}", (True, ["system", "user", "assistant", "tool", "developer"], False, True)),
    ],
)
def test_what_they_can_do(text: str, expected: tuple[bool, list[str], bool, bool]) -> None:
    verdicts = find_capabilities(OllamaTemplate(text))
    found = tuple(verdicts[name] for name in ("supports_system_role", "allowed_roles", "supports_tools", "supports_thinking"))
    assert found == expected and verdicts["requires_alternation"] is False


def test_refusals() -> None:
    with pytest.raises(RenderingFailed, match="cannot be parsed"):
        OllamaTemplate("{{ if }}")
    with pytest.raises(RenderingFailed, match="can't evaluate field 'Nothing'"):
        made("{{ range .Messages }}{{ .Nothing }}{{ end }}", say("user", "u"))
    with pytest.raises(TooExpensive, match="steps"):
        made("{{ range 200000 }}{{ range 200000 }}{{ end }}{{ end }}", say("user", "u"))
