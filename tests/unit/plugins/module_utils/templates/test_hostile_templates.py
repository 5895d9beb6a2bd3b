# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hundred hostile chat templates: each ends, and none has an effect."""
from __future__ import annotations

import os
import typing as t
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.templates.confine import LIMITS, Limits
from ansible_collections.venom.llm.plugins.module_utils.templates.detect import detect_go, detect_jinja
from ansible_collections.venom.llm.plugins.module_utils.templates.verdict import TemplateCapabilities

#: The real limits but for the time, so that a hundred of them do not take minutes.
SHORT = Limits(seconds=0.3, memory_bytes=96 * 1024 * 1024)
BAIT = "venom-was-here"
TOUCH = f"touch {BAIT}"
DEEP = 3000


def nested(begin: str, middle: str, end: str, depth: int = DEEP) -> str:
    return begin * depth + middle + end * depth


#: These must be given up: no verdict, and a warning that says why.
GIVEN_UP = {
    "loop in loop": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "loops six deep": nested("{% for x in range(999) %}", "", "{% endfor %}", 6),
    "loop with a sum": "{% set n = namespace(v=0) %}{% for a in range(99999) %}{% for b in range(999) %}{% set n.v = n.v + b %}{% endfor %}{% endfor %}",
    "loop over a string": "{% for a in 'x' * 30000000 %}{% for b in 'x' * 3000 %}{% endfor %}{% endfor %}",
    "loop that doubles a text": "{% set n = namespace(v='x') %}{% for a in range(99) %}{% set n.v = n.v ~ n.v %}{% endfor %}",
    "loop that doubles a list": "{% set n = namespace(v=[1]) %}{% for a in range(99) %}{% set n.v = n.v + n.v %}{% endfor %}",
    "output without end": "{% for a in range(99999) %}{{ 'x' * 999 }}{% endfor %}",
    "output in a macro": "{% macro m() %}{% for a in range(99999) %}{{ 'x' * 9999 }}{% endfor %}{% endmacro %}{{ m() }}",
    "output in a generation block": "{% generation %}{% for a in range(99999) %}{{ 'x' * 9999 }}{% endfor %}{% endgeneration %}",
    "one huge text": "{{ 'x' * 2000000000 }}",
    "one large text": "{{ 'x' * 9000000 }}",
    "one huge list": "{{ [0] * 2000000000 }}",
    "a huge tuple": "{{ ((0,) * 900000000) | length }}",
    "a huge text in a test": "{% if 'x' * 2000000000 == 'y' %}{% endif %}",
    "a huge name": "{{ {'x' * 2000000000: 1} }}",
    "centred": "{{ 'x' | center(2000000000) }}",
    "left": "{{ 'x'.ljust(2000000000) }}",
    "right": "{{ 'x'.rjust(2000000000) }}",
    "zeros": "{{ 'x'.zfill(2000000000) }}",
    "tabs": "{{ 'x\\ty'.expandtabs(2000000000) }}",
    "indented": "{{ 'a\\nb' | indent(2000000000) }}",
    "joined": "{{ ('x' * 100000) | list | join('y' * 100000) }}",
    "replaced": "{{ ('x' * 100000) | replace('x', 'y' * 100000) }}",
    "replaced by the method": "{{ ('x' * 100000).replace('x', 'y' * 100000) }}",
    "translated": "{{ ('x' * 100000).translate({120: 'y' * 100000}) }}",
    "a width": "{{ '%2000000000d' % 1 }}",
    "a width by filter": "{{ '%2000000000d' | format(1) }}",
    "a width by method": "{{ '{:>2000000000}'.format(1) }}",
    "a width by map": "{{ '{x:>2000000000}'.format_map({'x': 1}) }}",
    "a precision": "{{ '%.2000000000f' % 1 }}",
    "a power": "{{ 9 ** (9 ** 9) }}",
    "powers in a row": "{% set n = namespace(v=9) %}{% for a in range(99) %}{% set n.v = n.v * n.v %}{% endfor %}",
    "a power in a test": "{% if 7 ** (7 ** 9) > 1 %}{% endif %}",
    "lorem ipsum": "{{ lipsum(n=99999999) }}",
    "lorem ipsum in a loop": "{% for a in range(99999) %}{% set x = lipsum(n=50) %}{% endfor %}",
    "indented JSON": "{{ [[1]] | tojson(indent=2000000000) }}",
    "macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "macro that calls itself twice": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "macros in a ring": "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
    "recursive loop": "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "recursive loop that widens": "{% for a in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "caller that calls": "{% macro m() %}{% call m() %}{% endcall %}{% endmacro %}{{ m() }}",
    "parentheses": "{{ " + nested("(", "1", ")", 30000) + " }}",
    "lists in lists": "{{ " + nested("[", "1", "]", 30000) + " }}",
    "not not not": "{{ " + "not " * 30000 + "1 }}",
    "minus minus": "{{ " + "-" * 30000 + "1 }}",
    "ifs in ifs": nested("{% if 1 %}", "x", "{% endif %}"),
    "blocks in blocks": nested("{% with %}", "x", "{% endwith %}"),
    "a long sum": "{{ " + "1 + " * 30000 + "1 }}",
    "a long chain of filters": "{{ 'x'" + " | trim" * 30000 + " }}",
    "a long chain of fields": "{{ x" + ".y" * 30000 + " }}",
    "an else without end": "{% if 0 %}" + "{% elif 0 %}" * 30000 + "{% endif %}",
    "quadratic tags": "{% for a in range(99999) %}{% set x = ('<' * (900000 + a)) | striptags %}{% endfor %}",
    "words": "{% for a in range(99999) %}{% set x = ('a ' * (99999 + a)) | wordcount %}{% endfor %}",
    "wrapped words": "{% for a in range(99999) %}{% set x = ('a ' * (9999 + a)) | wordwrap(1) %}{% endfor %}",
    "sorted": "{% for a in range(99999) %}{% set x = range(99999 - a) | sort(reverse=true) %}{% endfor %}",
    "grouped": "{% for a in range(99999) %}{% set x = range(99999 - a) | groupby('real') | list %}{% endfor %}",
    "batched": "{{ range(10) | batch(2000000000, 'x') | list }}",
    "sliced": "{{ range(10) | slice(2000000000) | list | length }}",
    "in": "{% for a in range(99999) %}{% if 'y' in 'x' * (999999 + a) %}{% endif %}{% endfor %}",
    "urls": "{% for a in range(99999) %}{% set x = ('http://a.b ' * (9999 + a)) | urlize %}{% endfor %}",
    "dates": "{% for a in range(99999) %}{% set x = strftime_now('%A' * 9999) %}{% endfor %}",
    "cycles": "{% set c = cycler(1, 2) %}{% for a in range(99999) %}{% for b in range(99999) %}{% set x = c.next() %}{% endfor %}{% endfor %}",
    "a refusal of a huge text": "{{ raise_exception('x' * 2000000000) }}",
}
#: These are a malformed template, or one that refuses, to every server; or they render, and say nothing they should not.
HARMLESS = {
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "class by filter": "{{ '' | attr('__class__') | attr('__mro__') }}",
    "class by index": "{{ ''['__class__']['__mro__'] }}",
    "class by map": "{{ [''] | map(attribute='__class__') | list }}",
    "class by a test": "{{ messages | selectattr('__class__') | list }}",
    "class by format": "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "class by format_map": "{{ '{x.__class__}'.format_map({'x': 1}) }}",
    "globals of a function": "{{ raise_exception.__globals__ }}",
    "globals of a filter": "{{ strftime_now.__globals__['datetime'] }}",
    "closure": "{{ raise_exception.__closure__ }}",
    "code": "{{ raise_exception.__code__.co_consts }}",
    "system by cycler": f"{{{{ cycler.__init__.__globals__.os.system('{TOUCH}') }}}}",
    "system by joiner": f"{{{{ joiner.__init__.__globals__.os.popen('{TOUCH}').read() }}}}",
    "system by namespace": f"{{{{ namespace.__init__.__globals__['os'].system('{TOUCH}') }}}}",
    "system by lipsum": f"{{{{ lipsum.__globals__['os'].system('{TOUCH}') }}}}",
    "system by self": f"{{{{ self.__init__.__globals__.__builtins__.__import__('os').system('{TOUCH}') }}}}",
    "system by undefined": f"{{{{ nothing.__init__.__globals__.os.system('{TOUCH}') }}}}",
    "system by a macro": f"{{% macro m() %}}{{% endmacro %}}{{{{ m.__init__.__globals__.os.system('{TOUCH}') }}}}",
    "builtins": "{{ range.__self__.open('/etc/passwd').read() }}",
    "open": f"{{{{ open('{BAIT}', 'w') }}}}",
    "import": "{{ __import__('os') }}",
    "generator": "{{ (messages | map('upper')).gi_frame.f_globals }}",
    "coroutine": "{{ messages | map('string') | attr('gi_code') }}",
    "include": "{% include '/etc/passwd' %}",
    "import of a template": "{% import '/etc/passwd' as x %}",
    "from": "{% from 'os' import system %}",
    "extends": "{% extends '/etc/passwd' %}",
    "extends messages": "{% extends messages %}",
    "do": f"{{% do messages.append('{BAIT}') %}}",
    "append": "{{ messages.append(1) }}",
    "pop": "{{ messages.pop() }}",
    "clear": "{{ messages[0].clear() }}",
    "update": "{{ messages[0].update({'role': 'system'}) }}",
    "a range beyond the bound": "{{ range(999999999) | length }}",
    "refuses itself": "{{ raise_exception(raise_exception) }}",
    "refuses with data": "{{ raise_exception(messages) }}",
    "refuses with a ring": "{% set n = namespace() %}{% set n.a = n %}{{ raise_exception(n) }}",
    "JSON of a ring": "{% set n = namespace() %}{% set n.a = n %}{{ n | tojson }}",
    "JSON of a function": "{{ raise_exception | tojson }}",
    "half a character": "{{ '\\ud800' }}",
    "zero bytes": "\x00{{ '\\x00' * 99 }}",
    "control characters": "\x1b]0;owned\x07{{ messages[0].content }}\x1b[2J",
    "break without a loop": "{% break %}",
    "an open block": "{% for a in messages %}",
    "an open generation block": "{% generation %}",
    "an unknown filter": "{{ 1 | system }}",
    "an unknown tag": "{% python %}import os{% endpython %}",
    "division by zero": "{{ 1 // 0 }}",
    "a date with a fault": "{{ strftime_now(1) }}",
    "debug": "{% debug %}",
    "trans": "{% trans %}x{% endtrans %}",
}
GO = {
    "a range in a range": "{{ range 199999 }}{{ range 199999 }}x{{ end }}{{ end }}",
    "a template that includes itself": '{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}',
    "output without end": "{{ range 150000 }}" + "x" * 999 + "{{ end }}",
    "a text that doubles": '{{ $x := "xxxx" }}{{ range 99 }}{{ $x = printf "%s%s" $x $x }}{{ end }}',
    "a width": '{{ printf "%2000000000d" 1 }}',
    "parentheses": "{{ " + nested("(", "1", ")") + " }}",
    "ifs in ifs": nested("{{ if 1 }}", "x", "{{ end }}"),
    "a call": f'{{{{ call .System "{TOUCH}" }}}}',
    "an unknown function": f'{{{{ exec "{TOUCH}" }}}}',
    "an open block": "{{ if .System }}",
    "a field of a text": "{{ .Messages.X.Y }}",
    "an index out of range": "{{ index .Messages 99 }}",
}


def verdicts(
    templates: t.Mapping[str, str], detect: t.Callable[[str], TemplateCapabilities], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, TemplateCapabilities]:
    """What is made of each, eight at a time; in the end the folder is as empty as it was."""
    monkeypatch.chdir(folder)
    with ThreadPoolExecutor(8) as pool:
        futures: dict[str, Future[TemplateCapabilities]] = {name: pool.submit(detect, text) for name, text in templates.items()}
        found = {name: future.result() for name, future in futures.items()}
    assert os.listdir(folder) == []
    return found


def test_there_are_a_hundred_and_the_limits_are_below_two_seconds() -> None:
    assert len(GIVEN_UP) + len(HARMLESS) + len(GO) >= 100
    assert LIMITS.seconds < 2 and LIMITS.cpu_seconds == 1 and LIMITS.memory_bytes <= 192 * 1024 * 1024


def test_what_takes_too_much_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = verdicts(GIVEN_UP, lambda text: detect_jinja(text, {}, SHORT), tmp_path, monkeypatch)
    assert {name for name, able in found.items() if able.detected() or not able.warning} == set()
    assert {able.warning for able in found.values() if len(able.warning or "") > 400} == set()


def test_what_would_get_out_of_the_sandbox_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = verdicts(HARMLESS, lambda text: detect_jinja(text, {}), tmp_path, monkeypatch)
    # It is either refused as a whole, or a template that shows nobody's words.
    speaking = {name for name, able in found.items() if able.allowed_roles}
    assert speaking == {"control characters"}
    assert {name for name, able in found.items() if able.warning is None and able.allowed_roles is None} == set()


def test_the_same_for_templates_of_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = verdicts(GO, lambda text: detect_go(text, SHORT), tmp_path, monkeypatch)
    assert {name for name, able in found.items() if able.detected() or not able.warning} == set()


def test_the_real_limits_end_it_as_well() -> None:
    able = detect_jinja(GIVEN_UP["loop in loop"], {})
    assert able.detected() == {} and "given up: it took" in (able.warning or "")
