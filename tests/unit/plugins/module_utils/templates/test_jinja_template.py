# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jinja as transformers sets it up, and the limits within one rendering."""
from __future__ import annotations

import datetime

import pytest

from ansible_collections.venom.llm.plugins.module_utils.templates import jinja_template
from ansible_collections.venom.llm.plugins.module_utils.templates.jinja_template import JinjaTemplate, preload
from ansible_collections.venom.llm.plugins.module_utils.templates.probe import Conversation, RenderingFailed, TooExpensive, say

MESSAGES = [say("user", "Hi <b>")]


def render(text: str, **tokens: str) -> str:
    return JinjaTemplate(text, tokens).render(Conversation(MESSAGES, {"tools": None}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  {% if true %}\n  a\n  {% endif %}\nb", "  a\nb"),
        ("{{ messages[0].content }}{{ add_generation_prompt }}{{ tools }}", "Hi <b>TrueNone"),
        ("{{ {'b': 'ü<', 'a': 1} | tojson }}", '{"b": "ü<", "a": 1}'),
        ("{{ [1] | tojson(indent=1) }}", "[\n 1\n]"),
        ("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}", '{"a":2,"b":1}'),
        ("{% for a in [1, 2, 3] %}{% if a == 2 %}{% continue %}{% endif %}{{ a }}{% endfor %}", "13"),
        ("{% for a in [1, 2, 3] %}{% if a == 2 %}{% break %}{% endif %}{{ a }}{% endfor %}", "1"),
        ("a{% generation %}b{{ messages | length }}{% endgeneration %}c", "ab1c"),
        ("{% set n = namespace(v=1) %}{% for a in [1] %}{% set n.v = 2 %}{% endfor %}{{ n.v }}", "2"),
        ("{{ bos_token + eos_token }}", "<s></s>"),
        ("{{ nothing is defined }}{{ nothing }}", "False"),
    ],
)
def test_it_renders_as_transformers_does(text: str, expected: str) -> None:
    assert render(text) == expected


def test_special_tokens_are_given() -> None:
    assert render("{{ bos_token }}{{ image_token }}", bos_token="<B>", image_token="<I>") == "<B><I>"


def test_the_date_is_todays_and_stands_still() -> None:
    assert render("{{ strftime_now('%Y') }}") == str(datetime.datetime.now().year)
    template = JinjaTemplate("{{ strftime_now('%H:%M:%S.%f') }}", {})
    assert template.render(Conversation(MESSAGES)) == template.render(Conversation(MESSAGES))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ raise_exception('No\n such thing') }}", "No such thing"),
        ("{{ nothing.at_all }}", "'nothing' is undefined"),
        ("{{ 1 + 'a' }}", "TypeError: "),
        ("{{ messages.append(1) }}", "SecurityError|access to attribute 'append'"),
        ("{{ ''.__class__.__mro__ }}", "unsafe|undefined|access to attribute"),
    ],
)
def test_a_refusal_has_its_words(text: str, said: str) -> None:
    with pytest.raises(RenderingFailed, match=said):
        render(text)


@pytest.mark.parametrize("text", ["{% for a in %}", "{{ 1 | nothing }}", "{% nothing %}", "{{"])
def test_a_malformed_text_is_no_template(text: str) -> None:
    with pytest.raises(RenderingFailed):
        JinjaTemplate(text, {})


def test_output_and_nesting_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jinja_template, "MAX_OUTPUT", 100)
    assert render("{{ 'x' * 100 }}")
    with pytest.raises(TooExpensive, match="too long"):
        render("{{ 'x' * 101 }}")
    with pytest.raises(TooExpensive, match="too much memory"):
        render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")
    with pytest.raises(TooExpensive, match="too deeply"):
        JinjaTemplate("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", {})


def test_a_refusal_that_cannot_be_told_is_one_still() -> None:
    class Hostile(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert jinja_template._text(Hostile()) == "Hostile"


def test_words_and_unknown_names() -> None:
    template = JinjaTemplate("{% if messages[0].role == 'FUNCTIONS' and lang and tools %}{{ bos_token }}{{ ns }}a b{% endif %}", {"extra": "x"})
    assert template.words == ("functions",)
    assert template.unknown_names == ("lang", "ns")


def test_a_jinja2_that_is_too_old_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    preload()
    monkeypatch.setattr(jinja_template, "_WARM_UP", "{% unknown %}")
    with pytest.raises(ImportError, match="cannot render chat templates"):
        preload()
