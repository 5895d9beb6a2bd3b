# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON as Go writes and refuses it: the texts of its errors reach the client."""
from __future__ import annotations

import json
import typing as t

from lab.ollama.errors import GoError

_SPACE = " \t\r\n"
_KINDS: dict[type, str] = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}


def dumps(value: t.Any) -> str:
    """Compact, with <, > and & escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def loads(text: str, *, trailing: bool = False) -> t.Any:
    """The first value of a text; GoError with Go's words. ``trailing``: refuse what comes after it."""
    try:
        value, end = json.JSONDecoder().raw_decode(text.lstrip(_SPACE))
    except (ValueError, RecursionError):
        raise GoError(_complaint(text)) from None
    rest = text.lstrip(_SPACE)[end:].lstrip(_SPACE)
    if trailing and rest:
        raise GoError(f"invalid character {_quoted(rest[0])} after top-level value")
    return value


def check_string(data: t.Mapping[str, t.Any], key: str, struct: str) -> str:
    """A string field of a request, '' if it is absent or null."""
    value = data.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise GoError(f"json: cannot unmarshal {_KINDS.get(type(value), 'object')} into Go struct field {struct}.{key} of type string")
    return value


def kind(value: t.Any) -> str:
    """The name Go's JSON decoder has for a type."""
    return _KINDS.get(type(value), "object")


def _quoted(char: str) -> str:
    return {"'": "'\\''", '"': "'\"'", "\n": "'\\n'", "\t": "'\\t'", "\r": "'\\r'"}.get(char, f"'{char}'")


class _Scanner:
    """Finds the first character that JSON does not allow; the decoder of the standard library says it in other words."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def peek(self) -> str:
        while self.at < len(self.text) and self.text[self.at] in _SPACE:
            self.at += 1
        if self.at >= len(self.text):
            raise GoError("unexpected EOF")
        return self.text[self.at]

    def refuse(self, where: str) -> GoError:
        return GoError(f"invalid character {_quoted(self.text[self.at])} {where}")

    def value(self) -> None:
        char = self.peek()
        if char == "{":
            self.members()
        elif char == "[":
            self.elements()
        elif char == '"':
            self.string()
        elif char in "tfn":
            self.literal({"t": "true", "f": "false", "n": "null"}[char])
        elif char == "-" or char.isdigit():
            while self.at < len(self.text) and self.text[self.at] in "+-.eE0123456789":
                self.at += 1
        else:
            raise self.refuse("looking for beginning of value")

    def members(self) -> None:
        self.at += 1
        first = True
        while True:
            char = self.peek()
            if first and char == "}":
                self.at += 1
                return
            if char != '"':
                raise self.refuse("looking for beginning of object key string")
            self.string()
            if self.peek() != ":":
                raise self.refuse("after object key")
            self.at += 1
            self.value()
            char, first = self.peek(), False
            if char not in ",}":
                raise self.refuse("after object key:value pair")
            self.at += 1
            if char == "}":
                return

    def elements(self) -> None:
        self.at += 1
        if self.peek() == "]":
            self.at += 1
            return
        while True:
            self.value()
            char = self.peek()
            if char not in ",]":
                raise self.refuse("after array element")
            self.at += 1
            if char == "]":
                return

    def string(self) -> None:
        self.at += 1
        while self.at < len(self.text):
            char = self.text[self.at]
            if char < " ":
                raise self.refuse("in string literal")
            self.at += 2 if char == "\\" else 1
            if char == '"':
                return
        raise GoError("unexpected EOF")

    def literal(self, word: str) -> None:
        for expected in word:
            if self.at >= len(self.text):
                raise GoError("unexpected EOF")
            if self.text[self.at] != expected:
                raise self.refuse(f"in literal {word} (expecting {_quoted(expected)})")
            self.at += 1


def _complaint(text: str) -> str:
    if not text.strip(_SPACE):
        return "EOF"
    scanner = _Scanner(text)
    try:
        scanner.value()
    except GoError as exc:
        return exc.text
    except RecursionError:
        return "exceeded max depth"
    return "unexpected EOF"
