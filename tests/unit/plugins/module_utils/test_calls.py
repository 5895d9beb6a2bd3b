# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that outlive their module: what is on disk, when one is over, how it is stopped and forgotten."""
from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import calls
from ansible_collections.venom.llm.plugins.module_utils.calls import Call
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError


@pytest.fixture
def models_dir(tmp_path: Path) -> str:
    return str(tmp_path / "new" / "models")


@pytest.fixture
def sleeper() -> t.Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a worker."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def made(models_dir: str, call_id: str = "one") -> Call:
    call = Call(models_dir, call_id)
    call.create(["a/b"], 60.0)
    return call


@pytest.mark.parametrize("call_id", ["", "..", "a/b", "a_b", "-a", "x" * 65, "a\n", "ä"])
def test_an_id_is_no_path(models_dir: str, call_id: str) -> None:
    with pytest.raises(VenomError) as caught:
        Call(models_dir, call_id)
    assert caught.value.reason_code == "invalid_option"


def test_ids_are_accepted_back_and_sort_by_time(models_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls.time, "gmtime", lambda: time.struct_time((2026, 1, 2, 3, 4, 5, 0, 0, 0)))
    first = calls.new_id()
    monkeypatch.setattr(calls.time, "gmtime", lambda: time.struct_time((2026, 1, 2, 3, 4, 6, 0, 0, 0)))
    assert first < calls.new_id()
    assert Call(models_dir, first).id == first


def test_nobody_else_may_look_and_nothing_stays(tmp_path: Path, models_dir: str) -> None:
    call = made(models_dir)
    assert stat.S_IMODE(os.stat(call.folder).st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in Path(call.folder).iterdir())
    with pytest.raises(FileExistsError):
        made(models_dir)
    call.forget()
    assert list(tmp_path.iterdir()) == [], "folders that were made for the call alone go with it"


def test_forgetting_keeps_what_others_have_put_there(tmp_path: Path, models_dir: str) -> None:
    first, second = made(models_dir, "one"), made(models_dir, "two")
    first.forget()
    assert second.exists()
    (Path(models_dir) / "manifest.json").write_text("{}")
    second.forget()
    assert os.listdir(models_dir) == ["manifest.json"]


def test_a_folder_that_goes_away_meanwhile_is_made_again(models_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, removed = os.mkdir, []

    def mkdir(path: str, mode: int = 0o777) -> None:
        if mode == 0o700 and not removed:
            removed.append(os.rmdir(os.path.dirname(path)))
        real(path, mode)

    monkeypatch.setattr(calls.os, "mkdir", mkdir)
    assert made(models_dir).exists() and len(removed) == 1


def test_from_start_to_end(models_dir: str, sleeper: subprocess.Popen[bytes]) -> None:
    call = made(models_dir)
    assert call.state() == "pending", "a worker takes a moment to appear"
    call.note_process(sleeper.pid)
    assert call.state() == "pending"
    calls.write_private(call.path("status.json"), {"state": "in_progress", "message": "planning", "pid": sleeper.pid})
    assert call.state() == "in_progress"
    assert [item.id for item in calls.running_calls(models_dir)] == ["one"]
    described = call.describe()
    assert (described["models"], described["message"], described["pid"]) == (["a/b"], "planning", sleeper.pid)
    call.end("completed", {"changed": True}, ["mind the gap"])
    assert call.state() == "completed"
    outcome = call.outcome()
    assert outcome == {"state": "completed", "result": {"changed": True}, "warnings": ["mind the gap"]}
    assert not os.path.exists(call.path("reserve"))


def test_a_worker_that_ended_without_a_word(models_dir: str, sleeper: subprocess.Popen[bytes]) -> None:
    call = made(models_dir)
    call.note_process(sleeper.pid)
    Path(call.path("worker.log")).write_text("x" * 5000 + "\nlast line\n")
    sleeper.kill()
    sleeper.wait()
    assert call.state() == "died"
    assert call.last_words().endswith("last line") and len(call.last_words()) <= 2000
    assert call.stop() is False


def test_another_process_with_the_same_pid_is_not_the_worker(models_dir: str, sleeper: subprocess.Popen[bytes]) -> None:
    call = made(models_dir)
    call.note_process(sleeper.pid)
    record = json.loads(Path(call.path("call.json")).read_text())
    calls.write_private(call.path("call.json"), dict(record, pid_started=record["pid_started"] - 1))
    assert call.process() is None and call.state() == "died"
    assert call.stop() is False and sleeper.poll() is None


def test_a_worker_that_never_appears_is_dead_after_a_while(models_dir: str) -> None:
    call = made(models_dir)
    os.utime(call.folder, (time.time() - calls.BIRTH_SECONDS - 1,) * 2)
    assert call.state() == "died"


def test_waiting_ends_with_the_call_or_with_patience_and_renews_the_lease(models_dir: str, sleeper: subprocess.Popen[bytes]) -> None:
    call = made(models_dir)
    call.note_process(sleeper.pid)
    os.utime(call.path("lease"), (0, 0))
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    assert call.wait(10, clock=lambda: now[0], sleep=sleep) == "pending"
    assert now[0] == pytest.approx(10)
    assert os.stat(call.path("lease")).st_mtime > time.time() - 60

    def sleep_and_end(seconds: float) -> None:
        now[0] += seconds
        call.end("failed", {"msg": "no"})

    now[0] = 0.0
    assert call.wait(10, clock=lambda: now[0], sleep=sleep_and_end) == "failed"
    assert now[0] == pytest.approx(calls.LOOK_INTERVAL)


def test_what_nobody_came_back_for_is_forgotten_but_not_what_runs(models_dir: str, sleeper: subprocess.Popen[bytes]) -> None:
    old, fresh, busy = made(models_dir, "old"), made(models_dir, "fresh"), made(models_dir, "busy")
    busy.note_process(sleeper.pid)
    for call in (old, fresh):
        call.end("completed", {})
    for call in (old, busy):
        os.utime(call.folder, (time.time() - calls.KEEP_SECONDS - 1,) * 2)
    calls.prune(models_dir)
    assert [call.id for call in calls.all_calls(models_dir)] == ["busy", "fresh"]
    assert calls.all_calls(models_dir + "/none") == []


def test_files_of_others_are_no_calls(models_dir: str) -> None:
    made(models_dir)
    Path(models_dir, "calls", ".hidden").mkdir()
    Path(models_dir, "calls", "one", "status.json").write_text("{")
    (call,) = calls.all_calls(models_dir)
    assert call.status() == {} and call.state() == "pending"


def test_the_result_has_its_place_also_on_a_full_disk(models_dir: str) -> None:
    call = made(models_dir)
    status = os.stat(call.path("reserve"))
    assert status.st_size == calls.RESERVE_BYTES and status.st_blocks * 512 >= calls.RESERVE_BYTES
