# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables, and how they are looked into."""
from __future__ import annotations

from ansible_collections.venom.llm.plugins.module_utils.model_quantization import Quantization
from ansible_collections.venom.llm.plugins.module_utils.quantization_support import (
    GONE,
    METHODS,
    capability_number,
    is_table_version,
    parse_version,
    support_of,
)


def test_a_scheme_asks_for_more_than_its_method() -> None:
    plain, narrow = support_of(Quantization("compressed-tensors")), support_of(Quantization("compressed-tensors", 8, "w8a8-int"))
    assert plain is not None and narrow is not None and narrow.capability > plain.capability
    assert support_of(Quantization("compressed-tensors", 8, "brand new")) == plain
    assert support_of(Quantization("brand_new")) is None


def test_no_method_is_both_there_and_gone() -> None:
    assert set(METHODS) & set(GONE) == set()


def test_numbers() -> None:
    assert [capability_number(text) for text in ("8.9", "12.0", "7.5", None, "", "8", "a.b", "8.9.1", "1234.5")] == [89, 120, 75] + [None] * 6
    assert [parse_version(text) for text in ("0.32.0", "0.32.0rc1", "0.32", "v1", "", None)] == [(0, 32, 0), (0, 32, 0), (0, 32), None, None, None]
    assert [is_table_version(parse_version(text)) for text in ("0.32.7", "0.33.0", None)] == [True, False, False]
