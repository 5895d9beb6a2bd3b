# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions and values of Go templates."""
from __future__ import annotations

import datetime
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.templates.go_functions import FUNCTIONS, GoError, Struct, is_true, plain, show

LIST = Struct("api.List", text="[1]", items=["a", "b"], data=["raw"])
MAP = Struct("api.Map", {"k": 1}, is_map=True)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("eq", ("a", "b", "a"), True),
        ("eq", (None, "a"), False),
        ("eq", (None, None), True),
        ("ne", (1, 2), True),
        ("lt", (1, 2), True),
        ("le", (2, 2), True),
        ("gt", ("b", "a"), True),
        ("ge", (2.0, 1.0), True),
        ("len", ("ü",), 2),
        ("len", (LIST,), 2),
        ("len", (MAP,), 1),
        ("index", ([[1, 2]], 0, 1), 2),
        ("index", (MAP, "k"), 1),
        ("index", (LIST, 1), "b"),
        ("index", ("ab", 1), 98),
        ("slice", ("abc", 1, 2), "b"),
        ("slice", (LIST, 1), ["b"]),
        ("print", ("a", 1, 2, "b"), "a1 2b"),
        ("println", ("a", 1), "a 1\n"),
        ("printf", ("%s-%d-%v-%q-%%-%5.1f", "a", 1, [1], 'b"', 2.5), 'a-1-[1]-"b\\""-%-  2.5'),
        ("printf", ("%s",), "%!s(MISSING)"),
        ("html", ("<a>",), "&lt;a&gt;"),
        ("js", ('a"',), 'a\\"'),
        ("urlquery", ("a b",), "a+b"),
        ("json", ([LIST, {"a": MAP}, None],), '[["raw"],{"a":{"k":1}},null]'),
        ("toTypeScriptType", ("string",), "string"),
        ("not", ("",), True),
    ],
)
def test_functions(name: str, arguments: tuple[t.Any, ...], expected: t.Any) -> None:
    assert FUNCTIONS[name](*arguments) == expected


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("eq", (1, "1")),
        ("eq", ([], [])),
        ("eq", (1,)),
        ("lt", (1, "a")),
        ("lt", (True, False)),
        ("len", (1,)),
        ("index", ([1], -1)),
        ("index", ([1], "a")),
        ("slice", ([1], 2)),
        ("slice", ([1], 1, 0)),
        ("slice", ({}, 1)),
        ("printf", ("%99999d", 1)),
    ],
)
def test_what_go_refuses(name: str, arguments: tuple[t.Any, ...]) -> None:
    with pytest.raises(GoError):
        FUNCTIONS[name](*arguments)


def test_dates() -> None:
    assert FUNCTIONS["currentDate"]() == datetime.date.today().isoformat()
    assert FUNCTIONS["yesterdayDate"]() < FUNCTIONS["currentDate"]("2006")


@pytest.mark.parametrize(
    ("value", "shown", "truth"),
    [
        (None, "<no value>", False),
        (False, "false", False),
        (0, "0", False),
        (2.0, "2", True),
        (0.5, "0.5", True),
        ([], "[]", False),
        ({"b": None, "a": True}, "map[a:true b:<no value>]", True),
        (LIST, "[1]", True),
        (Struct("x", items=[1, "b"]), "[1 b]", True),
        (Struct("x", items=[]), "[]", False),
        (Struct("x", {"A": 1, "B": "c"}), "{1 c}", True),
        (Struct("x", {}, is_map=True), "{}", False),
    ],
)
def test_values(value: t.Any, shown: str, truth: bool) -> None:
    assert show(value) == shown and is_true(value) is truth


def test_values_as_json() -> None:
    assert plain(Struct("x", {"A": LIST, "B": [MAP]})) == {"A": ["raw"], "B": [{"k": 1}]}
