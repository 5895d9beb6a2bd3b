# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of a model's configuration, which anybody may have written: a value of another type or out of bounds counts as not given."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import plain_text

Config = t.Mapping[str, t.Any]

#: No honest number of layers, heads, tokens or rows is above this; products of a handful of them stay small integers.
MAX_NUMBER = 2**40
#: Where a model of several parts keeps the configuration of the part that writes text (transformers, composite configurations).
_TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config", "decoder")


def text_part(config: Config) -> Config:
    """The configuration of the part that writes text, with the outer values where the inner ones are silent."""
    for dummy in range(3):
        for name in _TEXT_PARTS:
            inner = config.get(name)
            if isinstance(inner, dict) and inner:
                config = {**{key: value for key, value in config.items() if key != name}, **inner}
                break
        else:
            break
    return config


def number(config: Config, *names: str) -> int | None:
    """The first of the values that is a whole number from 1 on."""
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_NUMBER:
            return value
    return None


def amount(config: Config, name: str) -> int | None:
    """A number of bytes or elements, which outgrows every setting: 671 billion weights of 16 bits are more than ``MAX_NUMBER`` bytes."""
    value = config.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63 else None


def fraction(config: Config, *names: str) -> float | None:
    """The first of the values that is a finite number, whole or not."""
    for name in names:
        value = config.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and -MAX_NUMBER < value < MAX_NUMBER:
            return float(value)
    return None


def text(config: Config, *names: str) -> str | None:
    """The first of the values that is a text, at most 200 characters of it."""
    for name in names:
        value = config.get(name)
        if isinstance(value, str) and value:
            return plain_text(value[:200])
    return None


def mapping(config: Config, name: str) -> Config:
    """A part of the configuration, empty where there is none."""
    value = config.get(name)
    return value if isinstance(value, dict) else {}


def texts(config: Config, name: str) -> tuple[str, ...]:
    """A list of texts, without whatever else is in it."""
    value = config.get(name)
    return tuple(plain_text(item[:200]) for item in value[:10_000] if isinstance(item, str)) if isinstance(value, list) else ()
