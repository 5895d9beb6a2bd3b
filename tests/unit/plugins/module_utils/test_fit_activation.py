# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model that does not fit is refused before the one that serves is touched."""
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import fit
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeHost


@pytest.fixture()
def host(tmp_path: Path) -> t.Iterator[FakeHost]:
    made = FakeHost(tmp_path)
    made.install("lab/a")
    made.install("lab/b")
    yield made
    made.call(state="stopped", stop_timeout=0.5)


def test_the_one_that_serves_stays(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    first = host.activate("lab/a")
    asked: list[tuple[str, ...]] = []

    def refuse(*arguments: str) -> list[str]:
        asked.append(arguments)
        raise VenomError("insufficient_memory", wanted="room", found="none", todo="choose another")

    monkeypatch.setattr(fit, "check_activation", refuse)
    for check_mode in (True, False):
        with pytest.raises(VenomError) as caught:
            host.activate("lab/b", check_mode=check_mode)
        assert caught.value.reason_code == "insufficient_memory"
    again = host.activate("lab/a")
    assert not again["changed"] and again["status"]["pid"] == first["status"]["pid"]
    # What serves is not asked about: the two refusals are all.
    assert {arguments[3] for arguments in asked} == {"lab/b"}


def test_a_warning_reaches_the_operator(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "check_activation", lambda *dummy: ["it is tight"])
    host.activate("lab/a")
    assert "it is tight" in host.warnings
