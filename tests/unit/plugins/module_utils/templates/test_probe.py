# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a template can do, found by rendering: small templates in the manners of real ones."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.templates.jinja_template import JinjaTemplate
from ansible_collections.venom.llm.plugins.module_utils.templates.probe import (
    Conversation,
    Rendering,
    RenderingFailed,
    TooExpensive,
    find_capabilities,
)

#: Every message as it is.
PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
#: Users and assistants in turn, and nobody else.
TURNS = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}[U]{{ m.content }}[/U]{% elif m.role == 'assistant' %}{{ m.content }}{{ eos_token }}"
    "{% else %}{{ raise_exception('Who?') }}{% endif %}{% endfor %}"
)
#: A system message first, then as before.
FIRST = "{% if messages[0].role == 'system' %}{% set head = messages[0].content %}{% set messages = messages[1:] %}{% else %}{% set head = '' %}{% endif %}"
TOOLS = "{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}"
RESULTS = (
    "{% for m in messages %}{% if m.role == 'tool' %}{% if m.tool_call_id | length != 9 %}{{ raise_exception('id') }}{% endif %}"
    "{% if messages[loop.index0 - 1].role != 'assistant' or not messages[loop.index0 - 1].tool_calls %}{{ raise_exception('order') }}{% endif %}"
    "R {{ m.content }}{% elif m.tool_calls %}{% for c in m.tool_calls %}{{ ARGUMENTS }}{% endfor %}{% else %}{{ m.role }} {{ m.content }}{% endif %}"
    "{% endfor %}"
)

Verdicts = dict[str, t.Any]


def found(text: str, **tokens: str) -> Verdicts:
    return find_capabilities(JinjaTemplate(text, tokens))


def test_whoever_speaks_is_heard() -> None:
    assert found(PLAIN) == {
        "supports_system_role": True,
        "system_handling": "separate",
        "allowed_roles": ["system", "user", "assistant", "tool", "developer"],
        "requires_alternation": False,
        "supports_tools": False,
        "supports_thinking": False,
    }


def test_a_system_message_is_refused_in_the_templates_own_words() -> None:
    verdicts = found("{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system here') }}{% endif %}" + TURNS)
    assert verdicts["supports_system_role"] is False and verdicts["system_handling"] == "rejected"
    assert verdicts["system_role_error"] == "No system here"
    assert verdicts["allowed_roles"] == ["user", "assistant"] and verdicts["requires_alternation"] is True


def test_a_refusal_that_is_none_of_its_words_is_one_all_the_same() -> None:
    verdicts = found("{% if messages[0].role == 'system' %}{{ messages[0].content + 1 }}{% endif %}" + PLAIN)
    assert verdicts["system_handling"] == "rejected" and verdicts["system_role_error"].startswith("TypeError")


@pytest.mark.parametrize(
    ("text", "handling"),
    [
        ("{% for m in messages if m.role != 'system' %}[{{ m.role }}] {{ m.content }}\n{% endfor %}", "dropped"),
        (FIRST + TURNS, "dropped"),
        (FIRST + "{% for m in messages %}[{{ m.role }}] {% if loop.first %}{{ head }}\n\n{% endif %}{{ m.content }} [end]{% endfor %}", "merged"),
        (FIRST + "{% for m in messages %}<s>[{{ m.role }}] {% if loop.first %}<<{{ head or 'You help.' }}>>{% endif %}{{ m.content }}{% endfor %}", "merged"),
        (FIRST + "{{ head }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}", "separate"),
        (FIRST + "<|system|>{{ head or 'You help.' }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}", "separate"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "separate"),
        ("{% for m in messages %}USER: {{ m.content }}\n{% endfor %}", "separate"),
        ("{{ messages[-1].content }}", "dropped"),
    ],
)
def test_what_becomes_of_a_system_message(text: str, handling: str) -> None:
    verdicts = found(text)
    assert verdicts["system_handling"] == handling
    assert verdicts["supports_system_role"] is (handling != "dropped") is ("system" in verdicts["allowed_roles"])


def test_the_developer_may_stand_for_the_system() -> None:
    text = "{% for m in messages %}{% if m.role in ('system', 'developer') %}S {{ m.content }}{% elif m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
    assert found(text)["allowed_roles"] == ["system", "user", "developer"]


@pytest.mark.parametrize("arguments", ["c.function.arguments.items() | list", "'x' ~ c.function.arguments.city", "'x' + c.function.arguments"])
def test_results_of_tools_in_strict_order(arguments: str) -> None:
    """Some templates want arguments as a mapping, some as text, and ids of nine characters."""
    verdicts = found(RESULTS.replace("ARGUMENTS", arguments))
    assert "tool" in verdicts["allowed_roles"] and verdicts["supports_tools"] is False


def test_results_that_are_data() -> None:
    assert "tool" in found(PLAIN.replace("m.content }}", "(m.content.result if m.role == 'tool' else m.content) }}", 1))["allowed_roles"]


def test_a_result_without_a_call_counts() -> None:
    text = TURNS.replace("{% else %}{{ raise_exception('Who?') }}", "{% else %}T {{ m.content }}")
    assert found(text)["allowed_roles"] == ["user", "assistant", "tool"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TOOLS + PLAIN, True),
        (PLAIN + "{% if tools %}You have tools.{% endif %}", False),
        ("{% if messages[0].role == 'system' %}" + TOOLS + "{% endif %}" + PLAIN, True),
        ("{% if messages | length > 2 %}" + TOOLS + "{% endif %}" + PLAIN, True),
        (PLAIN + "{% if custom_tools is defined %}{{ custom_tools }}{% endif %}", False),
        (PLAIN + "{% if tools %}{{ raise_exception('No tools') }}{% endif %}", False),
    ],
)
def test_tools_are_named_in_the_prompt(text: str, expected: bool) -> None:
    assert found(text)["supports_tools"] is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLAIN + "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}", True),
        (PLAIN + "{% if thinking %}<think>{% endif %}", True),
        (PLAIN + "{{ reasoning_effort or 'medium' }}", True),
        ("{% for m in messages %}{{ m.reasoning_content or '' }}{{ m.content }}{% endfor %}", True),
        ("{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}", False),
        (PLAIN + "{{ strftime_now('%d %b %Y %H:%M:%S.%f') }}", False),
    ],
)
def test_thinking(text: str, expected: bool) -> None:
    assert found(text)["supports_thinking"] is expected


def test_content_as_a_list_of_parts() -> None:
    text = "{% for m in messages %}{{ m.role }}:{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
    assert found(text)["allowed_roles"] == ["system", "user", "assistant", "tool", "developer"]


def test_one_message_at_most() -> None:
    verdicts = found("{% if messages | length > 1 %}{{ raise_exception('One at a time') }}{% endif %}{{ messages[0].content }}")
    assert verdicts["allowed_roles"] == ["user"] and verdicts["system_role_error"] == "One at a time" and verdicts["requires_alternation"]


@pytest.mark.parametrize(
    "condition",
    [
        "tools is not defined",
        "tools",
        "documents",
        "documents and tools",
        "lang is string",
        "lang is sequence and lang is not string",
        "lang is true",
        "messages[0].role == 'system'",
        "messages[0].role == 'functions' or messages[1].role | upper == 'FUNCTIONS'",
    ],
)
def test_templates_that_refuse_everything_without_something(condition: str) -> None:
    verdicts = found(f"{{% if not ({condition}) %}}{{{{ raise_exception('missing') }}}}{{% endif %}}" + PLAIN)
    assert verdicts["supports_system_role"] is True and verdicts["allowed_roles"][:3] == ["system", "user", "assistant"]


def test_a_template_that_is_for_something_else() -> None:
    verdicts = found("Query: {{ query }}")
    assert verdicts["allowed_roles"] == [] and verdicts["system_handling"] == "dropped"


def test_a_template_that_refuses_everything_has_no_verdicts() -> None:
    assert found("{{ raise_exception('never') }}") == {"warning": "the chat template refuses every conversation: never"}


def test_the_number_of_renderings_is_bounded() -> None:
    class Stubborn(Rendering):
        count = 0

        def render(self, conversation: Conversation) -> str:
            self.count += 1
            if conversation.messages[0]["role"] == "word9999":
                return "never"
            raise RenderingFailed("no")

    rendering = Stubborn()
    rendering.words = tuple(f"word{number}" for number in range(9999))
    with pytest.raises(TooExpensive, match="refuses almost everything"):
        find_capabilities(rendering)
    assert rendering.count == 600


def test_no_template_sees_what_another_rendering_left() -> None:
    seen: list[t.Any] = []

    class Vandal(Rendering):
        def render(self, conversation: Conversation) -> str:
            seen.append([message["role"] for message in conversation.messages])
            conversation.messages.clear()
            return "zquser7"

    find_capabilities(Vandal())
    assert [] not in seen
