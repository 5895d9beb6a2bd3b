# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Go templates evaluated, as Go would."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.templates import go_render
from ansible_collections.venom.llm.plugins.module_utils.templates.go_functions import GoError, Struct
from ansible_collections.venom.llm.plugins.module_utils.templates.go_parse import parse
from ansible_collections.venom.llm.plugins.module_utils.templates.go_render import GoTooMuch, render

DATA: dict[str, t.Any] = {
    "S": "text",
    "E": "",
    "N": 3,
    "L": ["a", "b", "c"],
    "M": {"b": 2, "a": 1},
    "V": Struct("api.Thing", {"Role": "user", "Inner": Struct("api.Inner", {"X": 1})}),
    "P": Struct("api.Map", {"k": "v"}, text='{"k":"v"}', is_map=True),
    "T": Struct("api.Tools", text="[tools]", items=["x", "y"]),
    "F": True,
}


def made(text: str) -> str:
    return render(parse(text), DATA)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ .S }} {{ .N }} {{ .F }} {{ .Missing }}", "text 3 true <no value>"),
        ("{{ .L }} {{ .M }} {{ .V.Inner }} {{ .T }} {{ .P }}", '[a b c] map[a:1 b:2] {1} [tools] {"k":"v"}'),
        ("{{ if .S }}1{{ end }}{{ if .E }}2{{ else if .N }}3{{ else }}4{{ end }}", "13"),
        ("{{ with .V }}{{ .Role }}{{ $.S }}{{ end }}{{ with .E }}x{{ else }}y{{ end }}", "usertexty"),
        ("{{ range .L }}{{ . }}{{ end }}{{ range .E2 }}x{{ else }}none{{ end }}", "abcnone"),
        ("{{ range $i, $e := .L }}{{ $i }}{{ $e }}{{ end }}", "0a1b2c"),
        ("{{ range $e := .L }}{{ $e }}{{ end }}{{ range $k, $v := .M }}{{ $k }}{{ $v }}{{ end }}", "abca1b2"),
        ("{{ range .L }}{{ if eq . \"b\" }}{{ continue }}{{ end }}{{ . }}{{ end }}", "ac"),
        ("{{ range .L }}{{ if eq . \"b\" }}{{ break }}{{ end }}{{ . }}{{ end }}", "a"),
        ("{{ range 3 }}{{ . }}{{ end }}{{ range .T }}{{ . }}{{ end }}{{ range $k, $v := .P }}{{ $k }}{{ $v }}{{ end }}", "012xykv"),
        ("{{ $x := 1 }}{{ if .F }}{{ $x = 2 }}{{ $y := 3 }}{{ end }}{{ $x }}", "2"),
        ("{{ $x := 1 }}{{ if .F }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21"),
        ('{{ define "a" }}<{{ . }}{{ $ }}>{{ end }}{{ template "a" .N }}', "<33>"),
        ('{{ block "b" .M }}{{ .a }}{{ end }}', "1"),
        ('{{ .L | len | printf "%d of %s" 5 }}', "5 of 3"),
        ("{{ (index .L 1) }}{{ (slice .L 1) }}{{ .P.k }}{{ .P.none }}", "b[b c]v<no value>"),
        ("{{ and .S .E .N }}|{{ or .E .S }}|{{ and .S .N }}|{{ or .E 0 }}", "|text|3|0"),
        ("{{ or .F .V.Nothing }}{{ and .E .V.Nothing }}", "true"),
        ("{{ not .E }}{{ .E | not }}{{ .N | eq 3 }}", "truetruetrue"),
    ],
)
def test_it_says_what_go_says(text: str, expected: str) -> None:
    assert made(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{{ .V.Nothing }}",
        "{{ .S.X }}",
        "{{ .Missing.X }}",
        "{{ $none }}",
        "{{ $none = 1 }}",
        "{{ range .S }}{{ end }}",
        "{{ range .V }}{{ end }}",
        '{{ template "none" }}',
        "{{ .S .N }}",
        "{{ .S | .N }}",
        "{{ nothing .S }}",
        "{{ index .L 9 }}",
        "{{ len }}",
        "{{ and }}",
        "{{ eq .S .N }}",
    ],
)
def test_it_stops_where_go_stops(text: str) -> None:
    with pytest.raises(GoError):
        made(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ range 200000 }}{{ range 200000 }}{{ end }}{{ end }}",
        "{{ range 200001 }}{{ end }}",
        '{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}',
    ],
)
def test_steps_and_nesting_are_bounded(text: str) -> None:
    with pytest.raises(GoTooMuch):
        made(text)


def test_output_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go_render, "MAX_OUTPUT", 10)
    assert made("{{ range 5 }}xx{{ end }}") == "x" * 10
    with pytest.raises(GoTooMuch, match="too long"):
        made("{{ range 5 }}xxx{{ end }}")


def test_some_of_the_nodes() -> None:
    tree = parse("{{ .S }}{{ .N }}")
    assert render(tree, DATA, tree.root[:1]) == "text"
