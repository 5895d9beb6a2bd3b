# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of failures has every case of the catalogue once, and nothing that no test has seen."""
from __future__ import annotations

import pytest
from integration import failures_page
from integration.breaks import BREAKS, MODEL, SECTIONS
from integration.failures_page import PAGE, Outcome


def test_every_case_is_there_once_and_no_other() -> None:
    assert len({case.key for case in BREAKS}) == len(BREAKS)
    rows = failures_page.read()
    assert sorted(rows) == sorted(case.key for case in BREAKS)
    assert PAGE.read_text(encoding="utf-8") == failures_page.render(rows)


def test_each_section_has_cases_with_a_model_before() -> None:
    assert {case.section for case in BREAKS if case.before == MODEL} == set(SECTIONS)


@pytest.mark.parametrize(
    ("text", "steady"),
    [
        ("/tmp/x-1/config/runtime.json: No space", ".../runtime.json: No space"),
        ("pid 4711, command python listens on 127.0.0.1:39691", "pid N, command python listens on 127.0.0.1:PORT"),
        ("not ready after 12.5 s: sha256:0123456789abcdef", "not ready after N s: sha256:..."),
        ("since 2026-01-02T03:04:05+00:00 | a < b", "since TIME \\| a &lt; b"),
        ("http://x: RemoteDisconnected: Remote end closed", "http://x: the connection ended"),
        ("http://x: ConnectionResetError: reset by peer", "http://x: the connection ended"),
        ("GET /v1/models answered 500 from /opt/venom/vllm/current", "GET /v1/models answered 500 from .../current"),
    ],
)
def test_what_differs_from_run_to_run_is_left_out(text: str, steady: str) -> None:
    assert failures_page.steady(text) == steady


def test_the_telling_line_names_the_error() -> None:
    hint = "a low limit causes errors like `OSError: too many files`"
    assert failures_page.telling_line((hint, "(Worker pid=1) ERROR [x.py:1] FileNotFoundError: gone")).endswith("gone")
    assert failures_page.telling_line(("starts", "ValueError: no such thing", "RuntimeError: so it ended")) == "ValueError: no such thing"
    assert failures_page.telling_line(("starts", "stops")) == "starts" and failures_page.telling_line(()) == ""


def test_another_outcome_is_not_what_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(failures_page.WRITE, raising=False)
    case = BREAKS[0]
    with pytest.raises(AssertionError, match="says otherwise"):
        failures_page.check(case, Outcome("prove", "internal_error", "", (), None, "nobody"))
