# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: every operation ends, whatever happened to it."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.interrupts import Interrupted
from ansible_collections.venom.llm.plugins.module_utils.journal import Operation, prune, read_operations, read_running, sanitize


def test_completed_failed_and_cancelled(tmp_path: Path) -> None:
    with Operation(str(tmp_path), "a/b", "install") as operation:
        operation.advance(5, 10)
    with pytest.raises(VenomError), Operation(str(tmp_path), "a/b", "install"):
        raise VenomError("gated", "x", "y", "z")
    with pytest.raises(KeyboardInterrupt), Operation(str(tmp_path), "a/b", "install"):
        raise KeyboardInterrupt
    cancelled, failed, completed = read_operations(str(tmp_path))
    assert [item["status"] for item in (completed, failed, cancelled)] == ["completed", "failed", "cancelled"]
    assert (completed["progress"], completed["bytes"], completed["bytes_total"]) == (100.0, 5, 10)
    assert failed["error"]["reason_code"] == "gated"
    assert all(item["finished_at"].endswith("+00:00") for item in (completed, failed, cancelled))
    assert all(item["duration_seconds"] >= 0 for item in (completed, failed, cancelled))


def test_progress_is_written_at_most_once_a_second(tmp_path: Path) -> None:
    now = [100.0]
    with Operation(str(tmp_path), "a/b", "install", clock=lambda: now[0]) as operation:
        (name,) = os.listdir(tmp_path)

        def written() -> int:
            return int(json.loads((tmp_path / name).read_text())["bytes"])

        operation.advance(1, 10)
        assert written() == 0
        now[0] += 2
        operation.advance(2, 10)
        assert written() == 2


def test_the_rate_is_smoothed_and_does_not_count_what_was_there_before(tmp_path: Path) -> None:
    now = [0.0]
    with Operation(str(tmp_path), "a/b", "install", clock=lambda: now[0]) as operation:

        def rate_after(seconds: float, done: int) -> int | None:
            now[0] += seconds
            operation.advance(done, 10_000)
            rate: int | None = operation.record["bytes_per_second"]
            return rate

        assert rate_after(0, 5_000) is None, "an earlier run has left half of it"
        assert rate_after(2, 5_200) == 100
        assert rate_after(0.5, 5_300) == 100, "not written, so not measured"
        slower = rate_after(1.5, 5_300)
        assert slower is not None and 50 < slower < 100
        for dummy in range(20):
            last = rate_after(5, 5_300)
        assert last == 0


def test_interrupted_on_request_says_by_what(tmp_path: Path) -> None:
    with pytest.raises(Interrupted), Operation(str(tmp_path), "a/b", "install"):
        raise Interrupted("it was stopped by SIGTERM")
    with pytest.raises(VenomError), Operation(str(tmp_path), "a/b", "install"):
        raise VenomError("cancelled", "x", "somebody did not want it", "z")
    assert [(item["status"], item["message"], item["error"]) for item in read_operations(str(tmp_path))] == [
        ("cancelled", "somebody did not want it", None),
        ("cancelled", "it was stopped by SIGTERM", None),
    ]


def test_what_a_process_does_now(tmp_path: Path) -> None:
    with Operation(str(tmp_path), "a/done", "install") as first:
        pass
    pid, started = first.record["pid"], first.record["pid_started"]
    with Operation(str(tmp_path), "a/b", "install") as operation, Operation(str(tmp_path), "a/c", "remove"):
        operation.advance(1, 2)
        found = read_running(str(tmp_path), pid, started)
        assert [(item["model"], item["status"]) for item in found] == [("a/b", "in_progress"), ("a/c", "in_progress")]
        assert all(item["seconds_silent"] >= 0 and "pid" not in item for item in found)
        assert read_running(str(tmp_path), pid, started + 1) == []
    assert read_running(str(tmp_path), pid, started) == []


def test_an_operation_whose_process_died_is_told_as_failed_and_not_rewritten(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from ansible_collections.venom.llm.plugins.module_utils.journal import Operation\n"
        "Operation(sys.argv[1], 'a/b', 'install').__enter__()\n"
        "os._exit(0)\n"
    )
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    (name,) = os.listdir(tmp_path)
    before = (tmp_path / name).read_bytes()
    (record,) = read_operations(str(tmp_path))
    assert record["status"] == "failed"
    assert "killed" in record["error"]["message"]
    assert (tmp_path / name).read_bytes() == before

    assert sanitize(str(tmp_path), apply=False) == [record["id"]]
    assert (tmp_path / name).read_bytes() == before
    assert sanitize(str(tmp_path), apply=True) == [record["id"]]
    assert sanitize(str(tmp_path), apply=True) == []
    (repaired,) = read_operations(str(tmp_path))
    assert repaired["finished_at"]
    assert repaired["duration_seconds"] >= 0


def test_a_living_operation_is_in_progress_and_left_alone(tmp_path: Path) -> None:
    with Operation(str(tmp_path), "a/b", "install"):
        assert read_operations(str(tmp_path))[0]["status"] == "in_progress"
        assert sanitize(str(tmp_path), apply=True) == []


def test_newest_first_limited_and_pruned(tmp_path: Path) -> None:
    for number in range(5):
        with Operation(str(tmp_path), f"a/{number}", "install"):
            pass
    assert [item["model"] for item in read_operations(str(tmp_path), limit=2)] == ["a/4", "a/3"]
    prune(str(tmp_path), keep=3)
    assert [item["model"] for item in read_operations(str(tmp_path))] == ["a/4", "a/3", "a/2"]
    (tmp_path / "zzz.json").write_text("{")
    assert len(read_operations(str(tmp_path))) == 3
    assert read_operations(str(tmp_path / "missing")) == []
