# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One failure, one result, whoever met it."""
from __future__ import annotations

import errno

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.failures import Failed, backend_missing, to_failure
from ansible_collections.venom.llm.plugins.module_utils.interrupts import Interrupted


def caught(error: BaseException) -> BaseException:
    """The error with a traceback."""
    with pytest.raises(type(error)) as context:
        raise error
    return context.value


def test_an_error_of_the_backend_needs_no_traceback() -> None:
    failure = to_failure(caught(VenomError("gated", "a", "b", "c", url="d")))
    assert (failure["reason_code"], failure["url"]) == ("gated", "d") and "exception" not in failure


def test_an_interruption_is_cancelled() -> None:
    assert to_failure(caught(Interrupted("stopped")))["reason_code"] == "cancelled"


def test_an_error_of_the_system_has_reason_path_and_traceback() -> None:
    failure = to_failure(caught(OSError(errno.ENOSPC, "No space left on device", "/models/x")))
    assert (failure["reason_code"], failure["path"]) == ("disk_full", "/models/x")
    assert "test_failures.py" in failure["exception"]
    assert to_failure(caught(OSError("no number")))["reason_code"] == "io_error"


def test_a_defect_shows_where_it_is() -> None:
    failure = to_failure(caught(KeyError("missing")))
    assert failure["reason_code"] == "internal_error" and "test_failures.py" in failure["exception"]


def test_what_somebody_else_reported_stays_as_it_is() -> None:
    result = {"msg": "no", "reason_code": "gated", "exception": "of another process"}
    assert to_failure(caught(Failed(result))) == result


def test_a_backend_that_is_missing_or_lacks_the_library() -> None:
    assert "not there" in str(backend_missing("/x/python", "library", False))
    assert "without it" in str(backend_missing("/x/python", "library", True))
