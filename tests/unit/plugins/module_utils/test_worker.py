# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker as a process: its end in every way it can come, and what it leaves."""
from __future__ import annotations

import json
import os
import sys
import textwrap
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import worker
from ansible_collections.venom.llm.plugins.module_utils.calls import Call
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.interrupts import Interrupted

SECRET = "hf_secret"
BODIES = {
    "completes": "context.warn('saw hf_secret'); context.report('hashing', 1, 2); return {'changed': True, 'said': ['hf_secret', params['x']]}",
    "fails": "raise OSError(28, 'No space left on device', '/models/x')",
    "breaks": "raise KeyError('hf_secret')",
    "sleeps": "context.report('asleep'); time.sleep(60)",
    "refuses": "refuse(params, context)",
    "respawns": "context.need_backend(params['python'], 'library_of_the_backend'); return {'changed': False, 'x': len(params['x'])}",
    "kills itself": "os.kill(os.getpid(), 9)",
}


@pytest.fixture
def call(tmp_path: Path) -> t.Iterator[Call]:
    made = Call(str(tmp_path / "models"), "one")
    made.create(["a/b"], 60.0)
    yield made
    made.stop(grace=0.0)


def begin(monkeypatch: pytest.MonkeyPatch, call: Call, body: str, lease: float = 60.0, **params: t.Any) -> None:
    """Start a worker whose operation is one of BODIES."""
    code = f"""
        import os, sys, time
        sys.path[0] = sys.argv[1]
        from ansible_collections.venom.llm.plugins.module_utils import worker
        def refuse(params, context):
            try:
                context.report('asleep')
                time.sleep(60)
            except BaseException:
                open(params['x'], 'w').close()
                time.sleep(60)
        def run_models(params, context):
            {BODIES[body]}
        worker.run_models = run_models
        worker._BOOT = open(sys.argv[2] + '/boot').read()
        worker.main(sys.argv[1:])
    """
    boot = textwrap.dedent(code)
    Path(call.models_dir, "boot").write_text(boot)
    monkeypatch.setattr(worker, "_BOOT", boot)
    code_path = worker.code_path()
    assert code_path is not None
    worker.spawn(call, code_path, worker.to_payload({"x": "y", **params}, [SECRET], lease))


def ended(call: Call) -> dict[str, t.Any]:
    state = call.wait(30)
    outcome = call.outcome()
    assert outcome is not None, f"{state}: {call.last_words()}"
    return outcome


def until(what: t.Callable[[], bool]) -> None:
    """Wait for something without renewing the lease."""
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_result_is_that_of_the_operation_without_secrets(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    begin(monkeypatch, call, "completes")
    assert ended(call) == {"state": "completed", "result": {"changed": True, "said": ["********", "y"]}, "warnings": ["saw ********"]}
    assert (call.status()["message"], call.status()["done"], call.status()["total"]) == ("hashing", 1, 2)
    assert all(SECRET not in path.read_text() for path in Path(call.folder).iterdir())


@pytest.mark.parametrize(("body", "reason"), [("fails", "disk_full"), ("breaks", "internal_error")])
def test_a_failure_is_that_of_a_module(monkeypatch: pytest.MonkeyPatch, call: Call, body: str, reason: str) -> None:
    begin(monkeypatch, call, body)
    outcome = ended(call)
    assert (outcome["state"], outcome["result"]["reason_code"]) == ("failed", reason)
    assert "Traceback" in outcome["result"]["exception"] and SECRET not in json.dumps(outcome)


def test_stopped_by_request(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    begin(monkeypatch, call, "sleeps")
    until(lambda: call.status().get("message") == "asleep")
    assert call.stop() is True
    outcome = ended(call)
    assert (outcome["state"], outcome["result"]["reason_code"]) == ("cancelled", "cancelled")
    assert "SIGTERM" in outcome["result"]["found"]


def test_stopped_by_force(monkeypatch: pytest.MonkeyPatch, call: Call, tmp_path: Path) -> None:
    begin(monkeypatch, call, "refuses", x=str(tmp_path / "refused"))
    until(lambda: call.status().get("message") == "asleep")
    assert call.stop(grace=1.0) is True
    outcome = ended(call)
    assert outcome["state"] == "cancelled" and "SIGKILL" in outcome["result"]["found"]
    assert (tmp_path / "refused").exists()


def test_stops_itself_when_nobody_asks(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    begin(monkeypatch, call, "sleeps", lease=0.4)
    until(lambda: call.process() is None)
    outcome = ended(call)
    assert outcome["state"] == "cancelled" and "nobody asked for its progress for 0.4 s" in outcome["result"]["found"]


def test_killed_is_told_by_its_absence(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    begin(monkeypatch, call, "kills itself")
    assert call.wait(30) == "died" and call.outcome() is None


def test_goes_on_under_the_python_of_the_backend(monkeypatch: pytest.MonkeyPatch, call: Call, tmp_path: Path) -> None:
    """As the same process, and with parameters that no pipe holds at once."""
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "library_of_the_backend.py").write_text("")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path / "library"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    begin(monkeypatch, call, "respawns", python=str(python), x="x" * 300_000)
    assert ended(call)["result"] == {"changed": False, "x": 300_000}
    assert call.status()["pid"] == call.record()["pid"]


@pytest.mark.parametrize("python", ["/nonexistent/python", sys.executable])
def test_a_backend_that_is_missing_or_useless(monkeypatch: pytest.MonkeyPatch, call: Call, python: str) -> None:
    begin(monkeypatch, call, "respawns", python=python)
    assert ended(call)["result"]["reason_code"] == "backend_missing"


def context(folder: Path, clock: t.Callable[[], float]) -> tuple[Call, worker.WorkerContext]:
    """In this very process, which is therefore in nobody's charge."""
    call = Call(str(folder / "models"), "here")
    call.create(["a/b"], 60.0)
    return call, worker.WorkerContext(call, b"", "", False, clock)


def test_numbers_are_written_once_a_second_and_words_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    call, told = context(tmp_path, lambda: now[0])
    told.report("hashing", 1, 10)
    told.report("hashing", 2, 10)
    assert call.status()["done"] == 1
    now[0] = 1.5
    told.report("hashing", 3, 10)
    assert call.status()["done"] == 3
    told.report("linking")
    assert (call.status()["message"], call.status()["done"]) == ("linking", None)

    def full(path: str, value: t.Any) -> None:
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(worker, "write_private", full)
    told.report("a disk that is full is no reason to end here")
    assert call.status()["message"] == "linking"


def test_the_lease_counts_changes_and_not_the_clock_of_the_host(tmp_path: Path) -> None:
    lease, now = tmp_path / "lease", [100.0]
    lease.touch()
    watch = worker.Watch(str(lease), 60.0, clock=lambda: now[0])
    assert watch.is_over() is False
    now[0] += 59
    os.utime(lease, (1, 1))
    assert watch.is_over() is False, "a time long past is a change as well"
    now[0] += 60
    assert watch.is_over() is False
    now[0] += 1
    assert watch.is_over() is True
    lease.unlink()
    assert watch.is_over() is False
    now[0] += 61
    assert watch.is_over() is True, "a folder that was removed is renewed by nobody"


def test_how_an_operation_ends(tmp_path: Path) -> None:
    def raising(error: BaseException) -> worker.Operation:
        def operation(params: dict[str, t.Any], dummy: worker.WorkerContext) -> dict[str, t.Any]:
            raise error

        return operation

    dummy_call, told = context(tmp_path, lambda: 0.0)
    assert worker.perform(lambda params, dummy: {"changed": False}, {}, told) == ("completed", {"changed": False})
    for error, state, reason in (
        (VenomError("gated", "a", "b", "c"), "failed", "gated"),
        (VenomError("cancelled", "a", "b", "c"), "cancelled", "cancelled"),
        (Interrupted("stopped"), "cancelled", "cancelled"),
    ):
        ended_as, result = worker.perform(raising(error), {}, told)
        assert (ended_as, result["reason_code"]) == (state, reason)


def test_a_secret_is_masked_wherever_it_is() -> None:
    value = {"a": ["x hf_secret y", 1, None], "hf_secret": ("other", True)}
    assert worker.mask(value, ["hf_secret", "other"]) == {"a": ["x ******** y", 1, None], "********": ["********", True]}


def test_what_cannot_be_begun_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.sys, "executable", "/nonexistent/python")
    call = Call(str(tmp_path / "models"), "one")
    with pytest.raises(FileNotFoundError):
        worker.begin(call, ["a/b"], {}, [], 60.0, str(worker.code_path()))
    assert list(tmp_path.iterdir()) == []


def test_code_from_elsewhere_than_files_cannot_be_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "__file__", "<memory>")
    assert worker.code_path() is None
