# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin against a host that answers as it is told: what it asks, what it shows, how long it is patient."""
from __future__ import annotations

import os
import signal
import types
import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.venom.llm.plugins.action import venom_model as plugin

BUSY = {"changed": True, "call": {"id": "x", "models": ["a/b"], "operations": []}}
DONE = {"changed": True, "models": []}
DIED = {"failed": True, "reason_code": "internal_error", "worker_died": True, "msg": "no"}
GARBLED = {"failed": True, "msg": "MODULE FAILURE", "module_stdout": ""}
LOST = AnsibleConnectionFailure("no route")


class Host:
    """Answers in turn; the last one for ever. An exception is raised, a function called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **args: t.Any) -> None:
        self.answers: list[t.Any] = []
        self.asked: list[dict[str, t.Any]] = []
        self.printed: list[str] = []
        self.resets = 0
        self.now = 0.0
        self.task = types.SimpleNamespace(args=args, async_val=0, check_mode=False, no_log=False, delegate_to=None, action="venom_model")
        shell = types.SimpleNamespace(tmpdir=None)
        self.connection = types.SimpleNamespace(_shell=shell, has_native_async=False, reset=self._reset)
        templar = types.SimpleNamespace(template=lambda value: value)
        self.action = plugin.ActionModule(self.task, self.connection, None, None, templar, None)
        monkeypatch.setattr(self.action, "_execute_module", self._execute)
        monkeypatch.setattr(self.action, "_early_needs_tmp_path", lambda: False)
        monkeypatch.setattr(self.action, "_remove_tmp_path", lambda path: None)
        monkeypatch.setattr(plugin.display, "display", self.printed.append)
        monkeypatch.setattr(plugin.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(plugin.time, "sleep", self._sleep)

    def _reset(self) -> None:
        self.resets += 1

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _execute(self, module_args: dict[str, t.Any] | None = None, task_vars: t.Any = None, wrap_async: bool = False) -> dict[str, t.Any]:
        options = dict(self.task.args if module_args is None else module_args)
        self.asked.append(options)
        self.now += float(options.get("operation_wait") or 0)
        if options.get("operation") == "cancel":
            return {"changed": True, "calls": []}
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return dict(answer() if callable(answer) else answer)

    def run(self, *answers: t.Any, **variables: t.Any) -> dict[str, t.Any]:
        self.answers = list(answers)
        result: dict[str, t.Any] = self.action.run(task_vars={"inventory_hostname": "host1", **variables})
        return result

    def operations(self) -> list[str]:
        return [str(options.get("operation")) for options in self.asked]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch, name="a/b", models_dir="/m", token="hf_secret")


def test_what_ends_at_once_is_one_call(host: Host) -> None:
    assert host.run(DONE) == DONE
    assert host.operations() == ["start"] and host.printed == []
    assert host.asked[0]["name"] == "a/b" and host.asked[0]["operation_id"]


@pytest.mark.parametrize("how", ["check mode", "async", "asked for"])
def test_what_the_module_does_alone(host: Host, how: str) -> None:
    host.task.check_mode, host.task.async_val = how == "check mode", 60 if how == "async" else 0
    host.task.args = dict(host.task.args, operation="run") if how == "asked for" else host.task.args
    assert host.run(DONE) == DONE
    assert host.asked == [host.task.args]


def test_a_long_call_is_asked_shown_and_forgotten(host: Host) -> None:
    assert host.run(BUSY, BUSY, DONE) == DONE
    assert host.operations() == ["start", "poll", "poll", "cancel"]
    assert host.printed == ["host1 | a/b: planning"] * 2
    identity = host.asked[0]["operation_id"]
    assert host.asked[1] == {"models_dir": "/m", "operation": "poll", "operation_id": identity, "operation_wait": plugin.INTERVAL}
    assert all("token" not in options for options in host.asked[1:])


def test_the_time_that_a_round_takes_is_not_waited_on_top(host: Host) -> None:
    def slow() -> dict[str, t.Any]:
        host.now += 4
        return BUSY

    host.run(BUSY, slow, slow, DONE, venom_progress_interval=10)
    assert [options["operation_wait"] for options in host.asked if options["operation"] == "poll"] == [10, 6, 6]


def test_names_stay_hidden_and_a_delegate_is_named(host: Host) -> None:
    host.task.no_log, host.task.delegate_to = True, "host2"
    host.run(BUSY, DONE)
    assert host.printed == ["host1 -> host2 | a model: planning"]


def test_warnings_name_nothing_under_no_log(host: Host) -> None:
    loud = dict(DONE, warnings=["the architecture of a/b is in no list", "a/b is large"])
    assert len(host.run(loud)["warnings"]) == 2
    host.task.no_log = True
    assert host.run(loud)["warnings"] == ["2 warnings are not shown, as no_log is set"]


def test_a_failure_is_the_modules_own(host: Host) -> None:
    failed = {"failed": True, "reason_code": "gated", "msg": "no"}
    assert host.run(BUSY, failed) == failed
    assert host.run(failed) == failed


@pytest.mark.parametrize("trouble", [LOST, GARBLED], ids=["no connection", "half an answer"])
def test_a_lost_connection_is_tried_again(host: Host, trouble: t.Any) -> None:
    assert host.run(BUSY, trouble, trouble, BUSY, DONE) == DONE
    assert host.resets == 2
    assert sum("the connection was lost" in line for line in host.printed) == 1


def test_patience_ends(host: Host) -> None:
    with pytest.raises(AnsibleConnectionFailure):
        host.run(BUSY, LOST)
    assert plugin.PATIENCE < host.now < 60, "before the host gives us up"
    assert "cancel" not in host.operations(), "which could not be told either"
    assert host.run(BUSY, GARBLED) == GARBLED


def test_a_host_that_was_never_there_fails_at_once(host: Host) -> None:
    with pytest.raises(AnsibleConnectionFailure):
        host.run(LOST)
    assert host.operations() == ["start"]


def test_a_worker_that_died_is_started_once_more(host: Host) -> None:
    assert host.run(BUSY, DIED, BUSY, DONE) == DONE
    assert host.operations() == ["start", "poll", "cancel", "start", "poll", "cancel"]
    assert len({options["operation_id"] for options in host.asked}) == 2
    assert any("started once more" in line for line in host.printed)
    host.asked.clear()
    assert host.run(DIED, DIED)["worker_died"] is True
    assert host.operations() == ["start", "start"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_play_stops_the_work(host: Host, number: signal.Signals) -> None:
    before = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        host.run(BUSY, lambda: os.kill(os.getpid(), number) or BUSY)
    assert host.operations() == ["start", "poll", "cancel"]
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == before


class Expired(BaseException):
    """As the executor's own exception for a task's timeout: no Exception."""


def test_a_task_that_takes_too_long_stops_the_work(host: Host) -> None:
    with pytest.raises(Expired):
        host.run(BUSY, Expired())
    assert host.operations() == ["start", "poll", "cancel"]


def test_a_fork_whose_play_is_gone_stops_the_work(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    parents = [1, 1, 2]
    monkeypatch.setattr(plugin.os, "getppid", lambda: parents.pop(0) if len(parents) > 1 else parents[0])
    with pytest.raises(KeyboardInterrupt):
        host.run(BUSY)
    assert host.operations() == ["start", "poll", "cancel"]


def test_what_only_the_first_answer_says_is_in_the_last(host: Host) -> None:
    first = dict(BUSY, warnings=["old option"], deprecations=["x"], invocation={"module_args": {"name": "a/b", "operation": "start"}})
    last = dict(DONE, warnings=["mind the gap"], invocation={"module_args": {"operation": "poll"}})
    result = host.run(first, last)
    assert (result["warnings"], result["deprecations"]) == (["old option", "mind the gap"], ["x"])
    assert result["invocation"]["module_args"] == {"name": "a/b", "operation": "run", "operation_id": None}


def test_a_connection_that_cannot_be_reset_is_simply_used_again(host: Host) -> None:
    del host.connection.reset
    assert host.run(BUSY, LOST, DONE) == DONE
