# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arithmetic that refuses a plan before its first byte, with the disk and the folder replaced by numbers."""
from __future__ import annotations

import pytest

from ansible_collections.venom.llm.plugins.module_utils import models_limits
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.models_limits import GIB, Budget, Limits, check_limits
from ansible_collections.venom.llm.plugins.module_utils.models_plan import INSTALL, Request, Step
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile

GB = 10**9
LIMITS = Limits(max_disk_gb=50, confirm_above_gb=20, confirm_large=False, reserve_gib=1)


def step(size: int) -> Step:
    file = RemoteFile("model.safetensors", size, "0" * 64, None, "http://hub/x")
    return Step(Request.parse({"name": "a/b"}, "present"), INSTALL, missing=(file,))


def verdict(monkeypatch: pytest.MonkeyPatch, limits: Limits = LIMITS, **numbers: int) -> VenomError | None:
    budget = Budget(**{"to_fetch": 0, "used": 0, "free": 10**15, "removed": 0, "reclaimable": 0, **numbers})
    monkeypatch.setattr(models_limits, "compute_budget", lambda manifest, steps: budget)
    try:
        check_limits(Manifest("/nonexistent"), [step(budget.to_fetch)], limits)
    except VenomError as error:
        return error
    return None


def reason(error: VenomError | None) -> str | None:
    return error.reason_code if error else None


def test_exactly_at_a_limit_is_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(monkeypatch, to_fetch=20 * GB) is None
    assert verdict(monkeypatch, to_fetch=10 * GB, used=40 * GB) is None
    assert verdict(monkeypatch, to_fetch=1000, free=1000 + GIB) is None


def test_one_byte_over_each_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(verdict(monkeypatch, to_fetch=20 * GB + 1)) == "confirmation_required"
    assert reason(verdict(monkeypatch, to_fetch=10 * GB, used=40 * GB + 1)) == "quota_exceeded"
    assert reason(verdict(monkeypatch, to_fetch=1000, free=999 + GIB)) == "disk_full"


def test_a_confirmed_plan_still_has_a_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    confirmed = Limits(max_disk_gb=50, confirm_above_gb=20, confirm_large=True, reserve_gib=1)
    assert verdict(monkeypatch, confirmed, to_fetch=50 * GB) is None
    assert reason(verdict(monkeypatch, confirmed, to_fetch=50 * GB + 1)) == "quota_exceeded"


def test_what_the_plan_itself_gives_back_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(monkeypatch, to_fetch=10 * GB, used=50 * GB, removed=6 * GB, reclaimable=4 * GB) is None
    assert verdict(monkeypatch, to_fetch=2 * GIB, free=2 * GIB, removed=GIB) is None


def test_a_plan_that_fetches_nothing_passes_over_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(monkeypatch, to_fetch=0, used=10**15, free=0) is None


def test_a_refusal_has_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    error = verdict(monkeypatch, to_fetch=30 * GB, used=7)
    assert error is not None and "30.00 GB" in error.wanted and "20 GB" in error.found
    assert (error.details["bytes_needed"], error.details["bytes_used"], error.details["limit_bytes"]) == (30 * GB, 7, 20 * GB)
    assert error.details["largest_models"] == []
