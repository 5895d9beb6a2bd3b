# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of Go templates."""
from __future__ import annotations

import pytest

from ansible_collections.venom.llm.plugins.module_utils.templates.go_parse import (
    Action,
    Branch,
    GoSyntaxError,
    Include,
    Jump,
    Operand,
    Pipeline,
    Text,
    names_in,
    parse,
    unquote,
)


def test_text_and_trimming() -> None:
    assert parse("a {{ .X }} b").root == (Text("a "), Action(Pipeline(((Operand("dot", None, ("X",)),),))), Text(" b"))
    assert [node.text for node in parse("a \n{{- .X -}}\n b").root if isinstance(node, Text)] == ["a", "b"]
    assert parse("a {{- /* no } matter */ -}} b").root == (Text("a"), Text("b"))
    assert parse("a {{/* b */}} c").root == (Text("a "), Text(" c"))
    assert parse("{{-1}}").root == (Action(Pipeline(((Operand("literal", -1),),))),)


@pytest.mark.parametrize(
    ("text", "operand"),
    [
        ("$", Operand("variable", "$")),
        ("$x.A.B", Operand("variable", "$x", ("A", "B"))),
        (".", Operand("dot", None)),
        (".A.B", Operand("dot", None, ("A", "B"))),
        ('"a\\"b\\n\\u00e9"', Operand("literal", 'a"b\né')),
        ("`a\\n`", Operand("literal", "a\\n")),
        ("'x'", Operand("literal", 120)),
        ("0x1F", Operand("literal", 31)),
        ("1.5", Operand("literal", 1.5)),
        ("true", Operand("literal", True)),
        ("nil", Operand("literal", None)),
        ("currentDate", Operand("function", "currentDate")),
    ],
)
def test_operands(text: str, operand: Operand) -> None:
    assert parse(f"{{{{ {text} }}}}").root == (Action(Pipeline(((operand,),))),)


def test_pipelines_and_variables() -> None:
    (node,) = parse('{{ $x := .A | printf "%s" (index .B 1).C }}').root
    assert isinstance(node, Action) and node.pipeline.names == ("$x",) and node.pipeline.is_declaration
    first, second = node.pipeline.commands
    assert first == (Operand("dot", None, ("A",)),)
    assert second[0] == Operand("function", "printf") and second[2].kind == "pipeline" and second[2].fields == ("C",)
    (assigned,) = parse("{{ $x = 1 }}").root
    assert isinstance(assigned, Action) and not assigned.pipeline.is_declaration


def test_branches() -> None:
    (node,) = parse("{{ if .A }}1{{ else if .B }}2{{ else }}3{{ end }}").root
    assert isinstance(node, Branch) and node.body == (Text("1"),)
    (inner,) = node.other
    assert isinstance(inner, Branch) and (inner.body, inner.other) == ((Text("2"),), (Text("3"),))
    (loop,) = parse("{{ range $i, $m := .M }}{{ break }}{{ else }}none{{ end }}").root
    assert isinstance(loop, Branch) and loop.pipeline.names == ("$i", "$m") and loop.body == (Jump("break"),)


def test_definitions() -> None:
    tree = parse('{{ define "a" }}A{{ end }}{{ template "a" . }}{{ block "b" .X }}B{{ end }}')
    assert tree.defined == {"a": (Text("A"),), "b": (Text("B"),)}
    assert [node.name for node in tree.root if isinstance(node, Include)] == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "{{", "{{ }}", "{{ . ", "{{ end }}", "{{ else }}", "{{ if .A }}", "{{ if }}{{ end }}", "{{ range }}{{ end }}", "{{ (.A }}", "{{ .A ) }}",
        "{{ | .A }}", "{{ .A | }}", '{{ "a }}', "{{ 'ab' }}", "{{ break }}", "{{ if .A }}{{ else range .B }}{{ end }}", "{{ template }}",
        "{{ template x }}", '{{ define "a" }}', "{{ 0x }}", "{{ 1..2..3 }}", "{{ # }}", "{{ if .A }}{{ else }}{{ else }}{{ end }}", "{{ /* }}",
        '{{ "\\x" }}',
    ],
)  # fmt: skip
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(GoSyntaxError):
        parse(text)


def test_nesting_is_bounded() -> None:
    for text in ("{{ if .A }}" * 100 + "{{ end }}" * 100, "{{ " + "(" * 100 + ".A" + ")" * 100 + " }}", "{{ if 1 }}" + "{{ else if 1 }}" * 100 + "{{ end }}"):
        with pytest.raises(GoSyntaxError, match="too deeply"):
            parse(text)


def test_names_that_are_read() -> None:
    tree = parse("{{ range $i, $m := .Messages }}{{ if eq $m.Role (print .Kind) }}{{ $.System }}{{ end }}{{ end }}")
    assert names_in(tree.root) == {"messages", "role", "kind", "system", "$i", "$m"}


def test_quotes() -> None:
    assert unquote('"it\'s \\t"') == "it's \t"
