# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A verdict always comes back: from a good template, a bad one, and an interpreter without jinja2."""
from __future__ import annotations

import sys
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.templates import detect
from ansible_collections.venom.llm.plugins.module_utils.templates.confine import Limits
from ansible_collections.venom.llm.plugins.module_utils.templates.detect import detect_go, detect_jinja
from ansible_collections.venom.llm.plugins.module_utils.templates.verdict import TemplateCapabilities

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def test_a_good_template_of_each_kind() -> None:
    jinja = detect_jinja("{% for m in messages %}{{ m.role }} {{ bos_token }} {{ m.content }}{% endfor %}", {"bos_token": "<B>"})
    assert jinja.supports_system_role and jinja.warning is None and isinstance(jinja.allowed_roles, tuple)
    go = detect_go("{{ if .System }}S {{ .System }}{{ end }}U {{ .Prompt }} A {{ .Response }}")
    assert go.allowed_roles == ("system", "user", "assistant") and go.system_handling == "separate"


@pytest.mark.parametrize(
    ("detect_it", "said"),
    [
        (lambda: detect_jinja("{% if %}", {}), "malformed"),
        (lambda: detect_go("{{ if }}", Limits()), "malformed"),
        (lambda: detect_jinja("{{ 'x' * 2000000 }}", {}), "given up: its output is too long"),
        (lambda: detect_jinja(ENDLESS, {}, Limits(seconds=0.1)), "longer than 0.1 s"),
        (lambda: detect_jinja("x" * (detect.MAX_TEMPLATE + 1), {}), "more than"),
    ],
)
def test_without_a_verdict_there_is_a_warning(detect_it: t.Callable[[], TemplateCapabilities], said: str) -> None:
    able = detect_it()
    assert able.detected() == {} and said in (able.warning or "")


def test_without_jinja2_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    able = detect_jinja("{{ messages }}", {})
    assert able == TemplateCapabilities(warning="this Python has no jinja2 3.1, so the chat template was not rendered")


def test_where_no_process_can_be_made_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*dummy: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(detect, "run_confined", fail)
    assert "temporarily unavailable" in (detect_jinja("x", {}).warning or "")
