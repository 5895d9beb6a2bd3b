# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seals: what they cover, and what is left of a text that is broken around them."""
from __future__ import annotations

import hashlib
import json
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.manifest_seal import (
    has_seals,
    is_head_sealed,
    is_sealed,
    salvage,
    seal_of,
    seal_of_head,
    sealed,
)


def test_a_seal_is_what_the_docs_say() -> None:
    part = {"b": [1, None, True, 0.5], "a": "é\n", "seal": "whatever"}
    assert seal_of(part) == hashlib.sha256('{"a":"é\\n","b":[1,null,true,0.5]}'.encode()).hexdigest()


@pytest.mark.parametrize(
    "change", [{"a": 2}, {"a": True}, {"a": 1.0}, {"a": "1"}, {"b": None}, {"seal": ""}, {"seal": None}, {"seal": "0" * 64}, {"seal": 5}]
)
def test_any_change_breaks_it(change: dict[str, t.Any]) -> None:
    part = sealed({"a": 1})
    assert is_sealed(part) and sealed(part) == part
    assert not is_sealed({**part, **change})


@pytest.mark.parametrize("part", [None, [], "x", 5, {}, {"a": 1}, {"a": float("nan"), "seal": "x"}, {"a": "\ud800", "seal": "x"}])
def test_what_is_no_part(part: t.Any) -> None:
    assert not is_sealed(part)


def test_deep_nesting_is_no_part() -> None:
    deep: t.Any = 1
    for dummy in range(10_000):
        deep = [deep]
    assert not is_sealed({"a": deep, "seal": "x"}) and not is_head_sealed({"a": deep, "seal": "x"})


def test_the_head_covers_which_parts_there_are_in_which_order_and_not_what_they_say() -> None:
    one, two = sealed({"name": "one"}), sealed({"name": "two"})
    head: dict[str, t.Any] = {"schema": 2, "models": [one, two], "declared": []}
    head["seal"] = seal_of_head(head)
    assert is_head_sealed(head) and is_head_sealed(dict(head, models=[dict(one, name="three"), two]))
    for models in ([one], [two, one], [one, two, two], [one, two, {}], [dict(one, seal="x"), two], {}, None):
        assert not is_head_sealed(dict(head, models=models))
    assert not is_head_sealed(dict(head, schema=3)) and not is_head_sealed(dict(head, other=1))


def test_any_seal_tells_that_there_should_be_more() -> None:
    assert has_seals({"seal": None}) and has_seals({"models": [1, {"seal": "x"}]}) and has_seals({"declared": [{"seal": "x"}]})
    assert not has_seals({"models": [{"name": "seal"}], "declared": {"seal": 1}}) and not has_seals({"models": "seal"})


def test_parts_are_found_whatever_lies_around_them() -> None:
    one, two = sealed({"name": "one", "x": {"name": "inner"}}), sealed({"model": "two", "capabilities": {}})
    bad = dict(sealed({"name": "bad"}), x=1)
    around = b'}{ "name": {"name": ]' + json.dumps(one).encode() + b"\xff\0" + json.dumps(bad).encode() + json.dumps(two, indent=1).encode() + b"{"
    assert salvage(around) == [one, two]
    assert salvage(json.dumps({"wrapped": [[one]]}).encode()) == [one]


def test_a_part_inside_a_bad_one_is_found() -> None:
    inner = sealed({"name": "inner"})
    assert salvage(json.dumps({"name": "outer", "of": [inner]}).encode()) == [inner]


def test_a_text_full_of_beginnings_is_given_up() -> None:
    one = sealed({"name": "one"})
    assert salvage(b'{"name": ' * 100_000 + json.dumps(one).encode()) == []
    assert salvage(b'{"name": ' * 999 + json.dumps(one).encode()) == [one]
