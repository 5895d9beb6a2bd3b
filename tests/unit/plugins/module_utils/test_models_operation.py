# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start, poll and cancel, with a process that stands for the worker."""
from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import models_operation, worker
from ansible_collections.venom.llm.plugins.module_utils.calls import Call, all_calls
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.failures import Failed
from ansible_collections.venom.llm.plugins.module_utils.models_operation import run_operation


class FakeContext:
    """A module without Ansible."""

    diff_mode = True
    secrets = ("hf_secret",)

    def __init__(self, check_mode: bool = False) -> None:
        self.check_mode = check_mode
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def report(self, message: str, done: int | None = None, total: int | None = None) -> None:
        """Nobody waits here."""

    def has_library(self, name: str = "huggingface_hub") -> bool:
        return True

    def need_backend(self, python: str, library: str = "huggingface_hub") -> None:
        """It is there."""


class Stage:
    """What the operation is replaced by, and what was called."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.models_dir = str(folder / "models")
        self.unchanged: dict[str, t.Any] | None = None
        self.begun: list[Call] = []
        self.foreground: list[str] = []
        self.outcome: tuple[t.Any, ...] | None = None
        self.errors: list[OSError] = []
        self.process: subprocess.Popen[bytes] | None = None
        monkeypatch.setattr(models_operation, "raise_on_signals", lambda: None)
        monkeypatch.setattr(models_operation, "run_if_unchanged", lambda params, context: self.unchanged)
        monkeypatch.setattr(models_operation, "run_models", self._run)
        monkeypatch.setattr(worker, "begin", self._begin)

    def _run(self, params: dict[str, t.Any], dummy: object) -> dict[str, t.Any]:
        self.foreground.append(params["operation"])
        return {"changed": True}

    def _begin(self, call: Call, models: t.Sequence[str], params: dict[str, t.Any], secrets: t.Sequence[str], lease: float, code: str) -> None:
        for error in self.errors:
            raise error
        assert (secrets, lease) == (("hf_secret",), 60.0) and os.path.isdir(code)
        call.create(models, lease)
        self.begun.append(call)
        if self.outcome:
            call.end(*self.outcome)
        else:
            self.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
            call.note_process(self.process.pid)

    def run(self, operation: str, context: FakeContext | None = None, **more: t.Any) -> dict[str, t.Any]:
        params = {"name": "a/b", "models": None, "models_dir": self.models_dir, "operation": operation, "operation_id": None}
        params.update(operation_wait=0.0, operation_lease=60.0, **more)
        return run_operation(params, context or FakeContext())


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Stage]:
    made = Stage(tmp_path, monkeypatch)
    yield made
    if made.process:
        made.process.kill()
        made.process.wait()


def test_without_a_change_nothing_is_started_and_nothing_written(stage: Stage) -> None:
    stage.unchanged = {"changed": False, "models": []}
    assert stage.run("start") == {"changed": False, "models": []}
    assert stage.begun == [] and not os.path.exists(stage.models_dir)


def test_run_and_check_mode_stay_in_the_module(stage: Stage) -> None:
    stage.run("run")
    stage.run("start", FakeContext(check_mode=True))
    assert stage.foreground == ["run", "start"] and stage.begun == []


def test_a_short_call_is_answered_at_once_and_forgotten(stage: Stage) -> None:
    stage.outcome = ("completed", {"changed": True, "diff": {}}, ["mind the gap"])
    context = FakeContext()
    assert stage.run("start", context) == {"changed": True, "diff": {}}
    assert context.warnings == ["mind the gap"] and not os.path.exists(stage.models_dir)
    stage.outcome = ("failed", {"msg": "no", "reason_code": "gated"})
    with pytest.raises(Failed) as caught:
        stage.run("start")
    assert caught.value.result == {"msg": "no", "reason_code": "gated"}
    assert not os.path.exists(stage.models_dir)


def test_a_long_call_is_asked_until_its_end_and_the_answer_may_be_asked_for_again(stage: Stage) -> None:
    started = stage.run("start", operation_id="mine", models=[{"name": "a/b"}, {"name": "c/d"}])
    assert started["changed"] is True
    assert (started["call"]["id"], started["call"]["state"], started["call"]["models"]) == ("mine", "pending", ["a/b", "c/d"])
    assert stage.run("start", operation_id="mine")["call"]["id"] == "mine" and len(stage.begun) == 1, "the first answer may be lost"
    assert stage.run("poll", operation_id="mine")["changed"] is False
    stage.begun[0].end("completed", {"changed": True})
    assert stage.run("poll", operation_id="mine") == {"changed": True}
    assert stage.run("poll", operation_id="mine") == {"changed": True}
    assert stage.run("cancel", operation_id="mine") == {"changed": False, "calls": []}
    assert all_calls(stage.models_dir) == []
    with pytest.raises(VenomError) as caught:
        stage.run("poll", operation_id="mine")
    assert caught.value.reason_code == "invalid_option"


def test_a_worker_that_died_is_a_failure_of_its_own(stage: Stage) -> None:
    stage.run("start", operation_id="mine")
    Path(stage.begun[0].path("worker.log")).write_text("Segmentation fault\n")
    assert stage.process is not None
    stage.process.kill()
    stage.process.wait()
    with pytest.raises(VenomError) as caught:
        stage.run("poll", operation_id="mine")
    assert caught.value.reason_code == "internal_error"
    assert caught.value.details == {"worker_died": True, "log": "Segmentation fault"}


def test_where_no_call_can_be_made_the_module_works_itself(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.errors = [OSError(28, "No space left on device")]
    assert stage.run("start") == {"changed": True}
    stage.errors = []
    monkeypatch.setattr(worker, "code_path", lambda: None)
    assert stage.run("start") == {"changed": True}
    assert stage.foreground == ["start", "start"] and stage.begun == []


def test_cancel_stops_one_or_all_and_says_which(stage: Stage) -> None:
    stage.run("start", operation_id="mine")
    assert stage.run("cancel", operation_id="other")["changed"] is False
    told = stage.run("cancel", FakeContext(check_mode=True))
    assert told["changed"] is True and [call["id"] for call in told["calls"]] == ["mine"]
    assert stage.process is not None and stage.process.poll() is None
    assert stage.run("cancel")["changed"] is True
    stage.process.wait()
    with pytest.raises(Failed) as caught:
        stage.run("poll", operation_id="mine")
    assert caught.value.result["reason_code"] == "cancelled"
    assert stage.run("cancel") == {"changed": False, "calls": []}


def test_who_is_in_the_way_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    holders = [{"name": "models.lock", "holder": {"pid": 1, "what": "venom_manifest"}}]
    monkeypatch.setattr(models_operation, "read_holders", lambda dummy: holders)
    assert stage.run("start", operation_id="mine")["call"]["waiting_for"] == {"pid": 1, "what": "venom_manifest"}
    assert stage.process is not None
    holders[0] = {"name": "models.lock", "holder": {"pid": stage.process.pid}}
    assert stage.run("poll", operation_id="mine")["call"]["waiting_for"] is None


@pytest.mark.parametrize("option", ["operation_wait", "operation_lease"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_time_that_is_none(stage: Stage, option: str, value: float) -> None:
    params = {"operation": "run", "operation_wait": None, "operation_lease": 60.0, option: value}
    with pytest.raises(VenomError) as caught:
        run_operation(params, FakeContext())
    assert (caught.value.reason_code, caught.value.details["option"]) == ("invalid_option", option)
