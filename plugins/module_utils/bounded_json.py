# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON from outside, read within bounds: a small hostile text must not cost hours or gigabytes.

Python's json builds whatever a text asks for: a list of 50 million empty lists is 100 MB of text and several GB of memory, and
an integer of a million digits takes minutes before 3.11. So structure is counted before anything is built.
"""
from __future__ import annotations

import json
import re
import typing as t

#: Objects and lists in one text. A header of safetensors needs three for each tensor; the largest shards seen have some 50 000 tensors.
MAX_CONTAINERS = 1_000_000
#: Commas in one text.
MAX_ITEMS = 4_000_000
#: Digits of a number. transformers writes 1000000000000000019884624838656 as model_max_length.
MAX_DIGITS = 400

_HALVES = re.compile("[\ud800-\udfff]")


def is_integer(value: t.Any) -> bool:
    """Whether a value is a whole number; to Python, true and false are some, too."""
    return isinstance(value, int) and not isinstance(value, bool)


def plain_text(text: str) -> str:
    """The text as UTF-8 can hold it. JSON's escapes can name half a surrogate pair, which nothing could write again: it is replaced."""
    return _HALVES.sub("\ufffd", text)


def load_json(content: bytes, is_strict: bool = False) -> t.Any:
    """The value of a JSON text in UTF-8. ``is_strict`` refuses repeated keys, fractions, NaN and integers above 20 digits.

    Raises ``ValueError`` for anything else than JSON within the bounds, deep nesting included.
    """
    if content.count(b"{") + content.count(b"[") > MAX_CONTAINERS or content.count(b",") > MAX_ITEMS:
        raise ValueError("it has more elements than any honest file")
    text = content.decode("utf-8")
    digits = 20 if is_strict else MAX_DIGITS

    def parse_int(number: str) -> int:
        if len(number) > digits:
            raise ValueError(f"it has a number of {len(number)} digits")
        return int(number)

    try:
        if is_strict:
            return json.loads(text, parse_int=parse_int, parse_float=_refuse, parse_constant=_refuse, object_pairs_hook=_unique)
        return json.loads(text, parse_int=parse_int)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(number: str) -> t.NoReturn:
    raise ValueError(f"it has {ascii(number[:20])} where only whole numbers belong")


def _unique(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    known = dict(pairs)
    if len(known) != len(pairs):
        seen: set[str] = set()
        for key, dummy in pairs:
            if key in seen:
                raise ValueError(f"it has the key {ascii(key[:80])} twice")
            seen.add(key)
    return known
