# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment files as systemd reads them (systemd.exec(5), EnvironmentFile=), so that both supervisors start the same server.

The state machine follows ``parse_env_file_internal`` and the word splitting ``extract_first_word`` of systemd 252.
"""
from __future__ import annotations

import re
import typing as t

_NAME = re.compile(r"\A[A-Za-z_][A-Za-z0-9_]*\Z")
#: What a backslash in double quotes takes away its meaning from; before anything else it stays a backslash.
_SHELL_NEED_ESCAPE = '"\\`$'
_PLAIN = re.compile(r"\A[A-Za-z0-9_./:@%+=,-]+\Z")
_SPACE = " \t"


def _split_quoted(text: str, position: int) -> tuple[str, int]:
    """The content of a quoted part that opens at ``position``, and the position after its closing quote."""
    quote = text[position]
    position += 1
    taken: list[str] = []
    while position < len(text) and text[position] != quote:
        character = text[position]
        if quote == '"' and character == "\\" and position + 1 < len(text):
            position += 1
            if text[position] in _SHELL_NEED_ESCAPE:
                taken.append(text[position])
            elif text[position] != "\n":
                taken.append("\\" + text[position])
        else:
            taken.append(character)
        position += 1
    return "".join(taken), position + 1


def _read_value(text: str, position: int) -> tuple[str, int]:
    """The value that begins at ``position``, and the position of the line end behind it."""
    value = ""
    while True:
        while position < len(text) and text[position] in _SPACE:
            position += 1
        if position >= len(text) or text[position] == "\n":
            return value, position
        if text[position] in "'\"":
            part, position = _split_quoted(text, position)
            value += part
            continue
        # An unquoted part runs to the end of the line; quotes inside it are ordinary characters.
        kept = 0
        part = ""
        while position < len(text) and text[position] != "\n":
            if text[position] == "\\":
                position += 1
                if position < len(text) and text[position] != "\n":
                    part += text[position]
                    kept = len(part)
            else:
                part += text[position]
                if text[position] not in _SPACE:
                    kept = len(part)
            position += 1
        return value + part[:kept], position


def parse(text: str) -> dict[str, str]:
    """The variables of an environment file. Lines without a valid name and a ``=`` are skipped, as systemd does."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    variables: dict[str, str] = {}
    position = 0
    while position < len(text):
        if text[position] in " \t\n":
            position += 1
            continue
        line_end = text.find("\n", position)
        line_end = len(text) if line_end < 0 else line_end
        if text[position] in "#;":
            # A comment goes on over a line end that a backslash hides, as in systemd.
            while line_end < len(text) and text[line_end - 1] == "\\":
                following = text.find("\n", line_end + 1)
                line_end = len(text) if following < 0 else following
            position = line_end
            continue
        name, separator, dummy = text[position:line_end].partition("=")
        if not separator:
            position = line_end
            continue
        value, position = _read_value(text, position + len(name) + 1)
        if _NAME.match(name.rstrip()):
            variables[name.rstrip()] = value
    return variables


def read(path: str) -> dict[str, str] | None:
    """The variables of the file, or None when there is none. Raises ``OSError`` for anything but its absence.

    Bytes that are no UTF-8 do no harm in a comment, as with systemd; see ``garbled`` for those in a value.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return parse(stream.read())
    except FileNotFoundError:
        return None


def garbled(variables: t.Mapping[str, str]) -> list[str]:
    """The variables whose values were no text in the file. systemd starts nothing with such a one."""
    return sorted(name for name, value in variables.items() if "\ufffd" in value or "\0" in value)


def render(variables: dict[str, str]) -> str:
    """An environment file that ``parse`` and systemd read back as the same variables.

    Raises ``ValueError`` for a malformed name and for control characters.
    """
    lines = []
    for name, value in variables.items():
        if not _NAME.match(name) or any(ord(character) < 32 for character in value):
            raise ValueError(f"{name!r} cannot be written to an environment file")
        if not _PLAIN.match(value):
            value = '"' + "".join("\\" + character if character in _SHELL_NEED_ESCAPE else character for character in value) + '"'
        lines.append(f"{name}={value}\n")
    return "".join(lines)


def split_words(text: str) -> tuple[str, ...]:
    """The words of an unbraced ``$NAME`` in ExecStart=, split at white space.

    Quotes are respected and removed, and a backslash takes the next character as it is.
    Raises ``ValueError`` for a quote that is never closed.
    """
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\" and position + 1 < len(text):
            position += 1
            word = (word or []) + [text[position]]
        elif quote:
            if character == quote:
                quote = ""
            else:
                word = (word or []) + [character]
        elif character in "'\"":
            quote = character
            word = word or []
        elif character in " \t\n\r":
            if word is not None:
                words.append("".join(word))
            word = None
        else:
            word = (word or []) + [character]
        position += 1
    if quote:
        raise ValueError(f"a quote is never closed in {text!r}")
    if word is not None:
        words.append("".join(word))
    return tuple(words)
