# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of foreign configurations, taken only where they make sense."""
from __future__ import annotations

from ansible_collections.venom.llm.plugins.module_utils.config_values import amount, fraction, mapping, number, text, text_part, texts


def test_numbers_and_texts() -> None:
    config = {
        "a": True, "b": "1", "c": 0, "d": -1, "e": 10**30, "f": 7, "g": "x" * 500, "h": float("nan"), "i": 0.5, "j": {"k": 1}, "l": ["x", 5, "y"],
    }  # fmt: skip
    assert number(config, "a", "b", "c", "d", "e", "missing") is None and number(config, "a", "f") == 7
    assert fraction(config, "a", "b", "h") is None and fraction(config, "i") == 0.5
    assert text(config, "f", "missing") is None and len(text(config, "g") or "") == 200
    assert mapping(config, "j") == {"k": 1} and mapping(config, "f") == {}
    assert texts(config, "l") == ("x", "y") and texts(config, "f") == ()


def test_bytes_outgrow_every_setting() -> None:
    large = 1_369_062_772_000
    assert number({"a": large}, "a") is None and amount({"a": large}, "a") == large
    assert [amount({"a": value}, "a") for value in (0, -1, 2**63, True, 1.5, "1", None)] == [None] * 7


def test_halves_of_surrogate_pairs_are_replaced() -> None:
    config = {"a": "x\ud800y", "b": ["\udfff", "\U0001f600"]}
    assert text(config, "a") == "x\ufffdy" and texts(config, "b") == ("\ufffd", "\U0001f600")


def test_the_part_that_writes_text() -> None:
    assert text_part({"a": 1, "text_config": {"b": 2}}) == {"a": 1, "b": 2}
    assert text_part({"thinker_config": {"text_config": {"b": 2}}})["b"] == 2
    assert text_part({"text_config": {}, "a": 1})["a"] == 1
    deep: dict[str, object] = {"n": 0}
    for number_ in range(100):
        deep = {"text_config": deep, "n": number_}
    assert "n" in text_part(deep)
