# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values and functions of Go templates: those of the language, and the few that Ollama adds (json, currentDate)."""
from __future__ import annotations

import datetime
import html
import json
import re
import typing as t
import urllib.parse
from dataclasses import dataclass, field

_VERB = re.compile(r"%[-+# 0]*\d*(?:\.\d+)?([vsqdtfgexX%c])")
#: A width or precision beyond this would only make memory.
_MAX_PADDING = 1000


class GoError(ValueError):
    """The template stops with an error, as it does in Go."""


@dataclass(frozen=True)
class Struct:
    """A Go value with fields of its own.

    ``text`` is what its String method says, ``items`` its elements where it is a list, ``data`` what it is as JSON. A map with a method
    ``is_map``: a key that it lacks is nil, not an error.
    """

    type_name: str
    fields: t.Mapping[str, t.Any] = field(default_factory=dict)
    text: str | None = None
    items: t.Sequence[t.Any] | None = None
    data: t.Any = None
    is_map: bool = False


def plain(value: t.Any) -> t.Any:
    """A value as JSON data."""
    if isinstance(value, Struct):
        return {name: plain(item) for name, item in value.fields.items()} if value.data is None else value.data
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


def is_true(value: t.Any) -> bool:
    """Go's truth: not the zero value, not an empty text, list or map. A struct is always true."""
    if isinstance(value, Struct):
        if value.items is not None:
            return len(value.items) > 0
        return not value.is_map or len(value.fields) > 0
    return bool(value)


def show(value: t.Any) -> str:
    """A value as fmt.Print shows it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if isinstance(value, list):
        return "[" + " ".join(map(show, value)) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{show(value[key])}" for key in sorted(value, key=str)) + "]"
    if value.text is not None:
        return str(value.text)
    return show(list(value.items)) if value.items is not None else "{" + " ".join(map(show, value.fields.values())) + "}"


def _kind(value: t.Any) -> str:
    kinds = (("bool", bool), ("int", int), ("float", float), ("string", str))
    return next((name for name, kind in kinds if isinstance(value, kind)), "nil" if value is None else "other")


def _equal(first: t.Any, *others: t.Any) -> bool:
    if not others:
        raise GoError("missing argument for comparison")
    for other in others:
        kinds = {_kind(first), _kind(other)}
        if "nil" in kinds:
            if first is None and other is None:
                return True
            continue
        if "other" in kinds or len(kinds) > 1:
            raise GoError("incompatible types for comparison")
        if first == other:
            return True
    return False


def _less(first: t.Any, second: t.Any) -> bool:
    if _kind(first) != _kind(second) or _kind(first) not in ("int", "float", "string"):
        raise GoError("incompatible types for comparison")
    return bool(first < second)


def _length(value: t.Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, (list, dict)):
        return len(value)
    if isinstance(value, Struct) and (value.items is not None or value.is_map):
        return len(value.fields if value.items is None else value.items)
    raise GoError("len of a value without length")


def _elements(value: t.Any) -> t.Any:
    if isinstance(value, Struct) and value.items is not None:
        return list(value.items)
    return dict(value.fields) if isinstance(value, Struct) and value.is_map else value


def _index(value: t.Any, *keys: t.Any) -> t.Any:
    for key in keys:
        value = _elements(value)
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, (list, str)) and _kind(key) == "int" and 0 <= key < len(value):
            value = ord(value[key]) if isinstance(value, str) else value[key]
        else:
            raise GoError("index out of range")
    return value


def _slice(value: t.Any, *bounds: t.Any) -> t.Any:
    value = _elements(value)
    if not isinstance(value, (list, str)) or len(bounds) > 3 or any(_kind(bound) != "int" for bound in bounds):
        raise GoError("slice of an unslicable value")
    begin = bounds[0] if bounds else 0
    end = bounds[1] if len(bounds) > 1 else len(value)
    if not 0 <= begin <= end <= len(value):
        raise GoError("slice out of range")
    return value[begin:end]


def _printf(pattern: str, *values: t.Any) -> str:
    rest = list(values)

    def verb(found: re.Match[str]) -> str:
        letter = found.group(1)
        if letter == "%":
            return "%"
        if not rest:
            return f"%!{letter}(MISSING)"
        value = rest.pop(0)
        if any(int(number) > _MAX_PADDING for number in re.findall(r"\d+", found.group())):
            raise GoError("a width is too large")
        if letter == "q":
            return json.dumps(show(value), ensure_ascii=False)
        if letter in "dxXcfge" and _kind(value) in ("int", "float"):
            return str(found.group() % value)
        return str((found.group()[:-1].replace("#", "").replace("+", "") + "s") % show(value))

    return _VERB.sub(verb, pattern)


def _print(*values: t.Any) -> str:
    # fmt.Print puts a space between two operands of which neither is a text.
    text = ""
    for place, value in enumerate(values):
        if place and not isinstance(value, str) and not isinstance(values[place - 1], str):
            text += " "
        text += show(value)
    return text


def _to_json(value: t.Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))


def _date(*dummy: t.Any, days: int = 0) -> str:
    return (datetime.date.today() - datetime.timedelta(days=days)).isoformat()


FUNCTIONS: dict[str, t.Callable[..., t.Any]] = {
    "not": lambda value: not is_true(value),
    "eq": _equal,
    "ne": lambda first, second: not _equal(first, second),
    "lt": _less,
    "le": lambda first, second: _less(first, second) or _equal(first, second),
    "gt": lambda first, second: not (_less(first, second) or _equal(first, second)),
    "ge": lambda first, second: not _less(first, second),
    "len": _length,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "println": lambda *values: " ".join(map(show, values)) + "\n",
    "printf": _printf,
    "html": lambda *values: html.escape(_print(*values)),
    "js": lambda *values: json.dumps(_print(*values))[1:-1],
    "urlquery": lambda *values: urllib.parse.quote_plus(_print(*values)),
    "json": _to_json,
    "currentDate": _date,
    "yesterdayDate": lambda *dummy: _date(days=1),
    "toTypeScriptType": show,
}
