# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment files and words, case by case as systemd 252 reads them."""
from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import envfile


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=plain", "plain"),
        ("A=", ""),
        ("  A = spaced  out \t", "spaced  out"),
        ("A='single $x \\ kept'", "single $x \\ kept"),
        ('A="double \\" \\\\ \\$ \\` \\n"', 'double " \\ $ ` \\n'),
        ('A="two\\\nlines"', "twolines"),
        ("A=one\\\ntwo", "onetwo"),
        ("A=back\\slash", "backslash"),
        ("A='a'\"b\"c", "abc"),
        ("A=--json '{\"k\": 1}'", "--json '{\"k\": 1}'"),
        ("A=x # no comment", "x # no comment"),
        ("A=first\nA=second", "second"),
        ("A=crlf\r\n", "crlf"),
        ("A=eq=ual", "eq=ual"),
        ("A=end\\ ", "end "),
    ],
)
def test_values(text: str, value: str) -> None:
    assert envfile.parse(text) == {"A": value}


def test_comments_and_malformed_lines_are_skipped() -> None:
    text = "# comment\n; other\n  # indented \\\nHIDDEN=1\n\nnothing\n1BAD=x\nBAD-NAME=x\nA=1\n#last"
    assert envfile.parse(text) == {"A": "1"}


@pytest.mark.parametrize(
    "value",
    ["", "plain", "with space", 'quo"te', "sing'le", "dol$lar", "back\\slash", "`tick`", "#hash", " edges ", "é", "a\\nb", "--x '{\"a\": \"b\"}'"],
)
def test_what_is_rendered_reads_back(value: str) -> None:
    assert envfile.parse(envfile.render({"A": value, "B": "next"})) == {"A": value, "B": "next"}


@pytest.mark.parametrize("variables", [{"A": "line\nend"}, {"A B": "x"}, {"": "x"}, {"A": "\0"}])
def test_what_cannot_be_written_is_refused(variables: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        envfile.render(variables)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        ("  a   b\tc ", ("a", "b", "c")),
        ("--json '{\"k\": [1, 2]}'", ("--json", '{"k": [1, 2]}')),
        ('"a b"c d', ("a bc", "d")),
        ("'' \"\"", ("", "")),
        ("a\\ b \\'", ("a b", "'")),
        ("'it\\'s'", ("it's",)),
    ],
)
def test_words(text: str, words: tuple[str, ...]) -> None:
    assert envfile.split_words(text) == words


def test_an_open_quote_is_refused() -> None:
    with pytest.raises(ValueError, match="never closed"):
        envfile.split_words("a 'b")


def test_bytes_that_are_no_text_spoil_their_own_variable_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"# f\xfcr M\xfcller\nA=good\nB=M\xfcller\nC=\xc3\xbc\nD=x\0y\n\xff\xfe\0=1\n")
    variables = envfile.read(str(path)) or {}
    assert (variables["A"], variables["C"]) == ("good", "\u00fc") and envfile.garbled(variables) == ["B", "D"]
    for value in variables.values():
        value.encode("utf-8")


def test_a_missing_file_is_none(tmp_path: Path) -> None:
    assert envfile.read(str(tmp_path / "none")) is None
