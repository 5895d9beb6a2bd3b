# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seals: checksums inside the manifest by which a flipped bit, a cut file or an edit by hand is found, part by part.

A seal is the SHA-256 of a part's canonical JSON. It finds accidents; whoever wants to can seal what he forged.
"""
from __future__ import annotations

import hashlib
import json
import re
import typing as t

#: Key of a part's seal, in every record, every declaration and the head.
SEAL = "seal"
#: Lists of sealed parts below the head, whose seals the head's own seal covers.
PARTS = ("models", "declared")

#: How a part begins as it is written, see ``sealed``: records with their name, declarations with their model.
_BEGINNING = re.compile(r'\{\s*"(?:name|model)"\s*:')
#: Beginnings that lead nowhere before a text is given up.
_MAX_FAILURES = 1000


def seal_of(part: t.Mapping[str, t.Any]) -> str:
    """SHA-256 as hex of the canonical JSON in UTF-8 of what is not the seal: keys sorted, no spaces, nothing escaped that need not be.

    Raises ``ValueError`` for what is no plain JSON: NaN, infinity, halves of surrogate pairs; ``RecursionError`` for deep nesting.
    """
    plain = {key: value for key, value in part.items() if key != SEAL}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sealed(part: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The part with its seal as its last key. Raises what ``seal_of`` raises."""
    return dict(unsealed(part), **{SEAL: seal_of(part)})


def unsealed(part: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The part without its seal."""
    return {key: value for key, value in part.items() if key != SEAL}


def is_sealed(part: t.Any) -> bool:
    """Whether this is a part that still says what it said when it was sealed."""
    try:
        return isinstance(part, dict) and isinstance(part.get(SEAL), str) and part[SEAL] == seal_of(part)
    except (ValueError, RecursionError):
        return False


def seal_of_head(head: t.Mapping[str, t.Any]) -> str:
    """Seal of the whole: of everything outside the parts, and of the parts' seals in their order. Raises what ``seal_of`` raises."""
    lists = {name: [part.get(SEAL) if isinstance(part, dict) else None for part in _listed(head, name)] for name in PARTS}
    return seal_of(dict(head, **lists))


def is_head_sealed(head: t.Mapping[str, t.Any]) -> bool:
    """Whether the head is as it was written, and no part was added, dropped, moved or sealed anew."""
    try:
        return head.get(SEAL) == seal_of_head(head)
    except (ValueError, RecursionError):
        return False


def has_seals(head: t.Mapping[str, t.Any]) -> bool:
    """Whether any seal is there, right or wrong: then this was no manifest of the layouts that had none."""
    return SEAL in head or any(isinstance(part, dict) and SEAL in part for name in PARTS for part in _listed(head, name))


def _listed(head: t.Mapping[str, t.Any], name: str) -> list[t.Any]:
    value = head.get(name)
    return value if isinstance(value, list) else []


def salvage(content: bytes) -> list[dict[str, t.Any]]:
    """Every part with a good seal in a text that is no JSON any more, in its order. What lies around them does not matter."""
    # A bad byte spoils the part in which it is, no other.
    text = content.decode("utf-8", "replace")
    decoder = json.JSONDecoder()
    parts: list[dict[str, t.Any]] = []
    position = failures = 0
    while failures < _MAX_FAILURES:
        match = _BEGINNING.search(text, position)
        if match is None:
            break
        position = match.start() + 1
        try:
            part, end = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            failures += 1
            continue
        if is_sealed(part):
            parts.append(part)
            position = end
        else:
            failures += 1
    return parts
