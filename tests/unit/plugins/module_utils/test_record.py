# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``runtime.json``: read, written, limited, and kept when another version wrote it."""
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.record import HISTORY_LIMIT, Activation, RuntimeRecord

A = Activation("lab/a", "huggingface", "0" * 40, "a", "/models/a", "2026-01-01T00:00:00+00:00")


def test_no_file_is_an_empty_record(tmp_path: Path) -> None:
    assert RuntimeRecord.load(str(tmp_path / "runtime.json")) == RuntimeRecord()


def test_what_is_saved_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "runtime.json"
    record = RuntimeRecord().with_active("vllm", A).with_started("vllm", "digest")
    record.save(str(path))
    assert RuntimeRecord.load(str(path)) == record
    data = json.loads(path.read_text())
    assert data["schema"] == 1 and data["active"]["vllm"]["model"] == "lab/a" and path.stat().st_mode & 0o777 == 0o644


def test_history_is_newest_first_without_repetition_and_limited() -> None:
    record = RuntimeRecord()
    for number in range(HISTORY_LIMIT + 5):
        activation = replace(A, alias=f"a{number}")
        record = record.with_active("vllm", activation).with_active("vllm", replace(activation, activated_at="later"))
    assert len(record.history) == HISTORY_LIMIT == 50
    assert [item["alias"] for item in record.history[:2]] == [f"a{HISTORY_LIMIT + 4}", f"a{HISTORY_LIMIT + 3}"]


def test_a_stopped_server_was_started_with_nothing() -> None:
    assert RuntimeRecord().with_started("vllm", "x").with_started("vllm", None).started_with == {}


def test_what_another_version_wrote_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "runtime.json"
    active = dict(A.to_dict(), future="field")
    path.write_text(json.dumps({"schema": 9, "profile": "full", "active": {"vllm": active}}))
    RuntimeRecord.load(str(path)).with_started("vllm", "x").save(str(path))
    assert json.loads(path.read_text())["profile"] == "full"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"active": {"vllm": {}}}', '{"active": [1]}', '{"active": {"vllm": 3}}', "\x00"])
def test_a_file_without_sense_is_refused_not_guessed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "runtime.json"
    path.write_text(text)
    with pytest.raises(VenomError) as caught:
        RuntimeRecord.load(str(path))
    assert caught.value.reason_code == "io_error" and str(path) in str(caught.value)
