# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import REASON_CODES, VenomError


def test_an_error_says_wanted_found_and_what_to_do() -> None:
    error = VenomError("gated", wanted="a model", found="a gate", todo="ask for access", url="http://hub/x")
    assert str(error) == "Wanted: a model. Found: a gate. To do: ask for access."
    assert error.to_result() == {
        "msg": str(error),
        "reason_code": "gated",
        "wanted": "a model",
        "found": "a gate",
        "todo": "ask for access",
        "url": "http://hub/x",
    }


def test_an_unknown_reason_code_is_a_defect_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no_such_code"):
        raise VenomError("no_such_code", wanted="", found="", todo="")


def test_every_code_is_explained() -> None:
    assert all(code.islower() and text.endswith(".") for code, text in REASON_CODES.items())
