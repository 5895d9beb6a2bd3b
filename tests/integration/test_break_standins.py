# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Activations broken on purpose, with stand-in servers under the process supervisor: every row of the catalogue, with a model before and without.

Each time the result names step and cause, the model before serves again or nothing runs and nothing loops, the record agrees with
what serves, and the next activation of a good model works. What was seen is the page ``docs/failures.md``.
"""
from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import typing as t
from pathlib import Path

import pytest
from integration import breaks, failures_page
from integration.break_stage import (
    TARGET,
    OllamaStage,
    Stage,
    VllmStage,
    die,
    fill_disk,
    in_child,
    killer,
    leftovers,
    outcome_of,
    port_taker,
    stop_at,
    whose,
)
from integration.breaks import BEFORE, MODEL, NOTHING, Break
from integration.runtime_support import TwoRuntimes

from ansible_collections.venom.llm.plugins.module_utils import activation_server, files, observation, processes, status
from ansible_collections.venom.llm.plugins.module_utils.runtimes.vllm import VllmRuntime
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeHost

STAGES: dict[str, t.Callable[[Path], Stage]] = {
    "vllm": lambda folder: VllmStage(FakeHost(folder)),
    "ollama": lambda folder: OllamaStage(TwoRuntimes(folder)),
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins are ready within a tenth of a second."""
    monkeypatch.setattr(activation_server, "POLL_SECONDS", 0.03)
    monkeypatch.setattr(status, "CPU_SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(VllmRuntime.health, "__defaults__", (0.5,))
    monkeypatch.setattr(observation, "QUESTION_TIMEOUT", 0.5)


class Stages:
    """One stage for each runtime on which good models take turns over the cases; a case that fails takes its stage along."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stages: dict[str, Stage] = {}

    @contextlib.contextmanager
    def use(self, case: Break) -> t.Iterator[tuple[Stage, str | None]]:
        """A stage with what is to be there before, and its name."""
        shared = case.before == MODEL
        stage = self._stages.pop(case.section, None) if shared else None
        stage = stage or STAGES[case.section](Path(os.path.join(self._folder, f"{case.section}-{time.monotonic_ns()}")))
        try:
            before = None
            if shared:
                before = stage.serving()
                if before is None:
                    before = stage.good[0]
                    stage.activate(before)
            yield stage, before
        except BaseException:
            end(stage)
            raise
        if shared:
            self._stages[case.section] = stage
        else:
            end(stage)

    def end(self) -> None:
        """Stop what still runs."""
        for stage in self._stages.values():
            end(stage)


def end(stage: Stage) -> None:
    """Nothing of it runs on."""
    stage.repair()
    for pid in leftovers(stage.host):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Stages]:
    made = Stages(tmp_path_factory.mktemp("stages"))
    yield made
    made.end()


@pytest.mark.parametrize("case", [case for section in STAGES for case in breaks.of(section)], ids=breaks.title)
def test_a_break(case: Break, stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    with stages.use(case) as (stage, before):
        record = stage.committed()
        stage.prepare(case.do, before)
        seen, details = cause(case, stage, before, monkeypatch)
        assert (seen.step, seen.reason, seen.serves, seen.rolled_back) == (case.step, case.reason, case.serves, case.rolled_back), details
        assert case.said in seen.cause
        if details.get("step"):
            assert details["steps"] and (seen.log or "port" in case.do or "full" in case.do), details
        stage.repair()
        if seen.step != "cut":
            check_agreement(stage, case, before, record)
        check_the_next(stage, case, before)
        failures_page.check(case, seen)


def cause(case: Break, stage: Stage, before: str | None, monkeypatch: pytest.MonkeyPatch) -> tuple[failures_page.Outcome, dict[str, t.Any]]:
    """Activate the target, and break it as the case says."""
    do = case.do
    options: dict[str, t.Any] = {"stop_timeout": 2.0}
    if "patience" in do:
        options["health_timeout"] = str(do["patience"])
    if "alias" in do:
        options["alias"] = do["alias"]
    if "busy" in do:
        options.update(drain_policy=do["busy"], drain_timeout=0.2)
    if "cut" in do:
        return cut(case, stage, before, options)
    if do.get("together") == "both":
        return both(stage, before)
    with contextlib.ExitStack() as stack, monkeypatch.context() as patch:
        if "kill" in do:
            stack.enter_context(killer(stage, do["kill"]))
        if "port" in do:
            stack.enter_context(port_taker(stage, patch, do["port"]))
        if "full" in do:
            fill_disk(stage, patch, do["full"])
        if "together" in do:
            options["lock_timeout"] = 0.1
            stack.enter_context(files.Lock(str(stage.host.root / "run" / f"{stage.runtime}.lock"), timeout=0, owner={"operation": "another"}))
        return outcome_of(stage, before, lambda: stage.activate(TARGET, **options))


def cut(case: Break, stage: Stage, before: str | None, options: dict[str, t.Any]) -> tuple[failures_page.Outcome, dict[str, t.Any]]:
    """The process of the activation is killed at a moment."""

    def work() -> t.Any:
        stop_at(case.do["cut"], die)
        return stage.activate(TARGET, **options)

    code, result = in_child(work)
    assert code == -signal.SIGKILL, result
    return failures_page.Outcome("cut", "", "", (), None, whose(stage.serving(), before)), {}


def both(stage: Stage, before: str | None) -> tuple[failures_page.Outcome, dict[str, t.Any]]:
    """The target and another model are activated at the same time, by two processes; both come through, and the later one serves."""
    other = next(name for name in stage.good if name != before)
    results: list[t.Any] = []

    def run(name: str) -> None:
        results.append(in_child(lambda: stage.activate(name, lock_timeout=20.0)))

    threads = [threading.Thread(target=run, args=(name,)) for name in (TARGET, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(code, result.get("changed")) for code, result in results] == [(0, True)] * 2, results
    serving = stage.serving()
    assert serving == stage.committed() and serving in (TARGET, other)
    return failures_page.Outcome("", "", "", (), None, breaks.NEW), {}


def check_agreement(stage: Stage, case: Break, before: str | None, record: str | None) -> None:
    """What the record and the status say is what serves; where nothing serves, nothing runs and nothing comes back."""
    told = stage.status()
    if case.serves == NOTHING:
        # Ollama runs on without a model where it did so before.
        is_idle = stage.runtime == "ollama" and told["status"] == "online" and told["active_model"] is None
        assert is_idle or told["status"] == "offline" and told["pids"] == [] and processes.listeners(stage.port) == [], told
        assert stage.committed() == record and sorted(told["pids"]) == sorted(leftovers(stage.host))
        time.sleep(0.2)
        assert stage.serving() is None and sorted(told["pids"]) == sorted(leftovers(stage.host)), "it loops"
        return
    serving = stage.serving()
    assert stage.committed() == serving and (case.serves != BEFORE or serving == before)
    assert told["status"] == "online" and told["alias"] == serving, told
    assert sorted(told["pids"]) == sorted(leftovers(stage.host))


def check_the_next(stage: Stage, case: Break, before: str | None) -> None:
    """Whatever it was: what was committed is served again when it is asked for, and then another good model."""
    known = stage.committed()
    if known is not None and (case.step == "cut" or case.serves == NOTHING):
        stage.activate(known)
        assert stage.serving() == known == stage.committed() and stage.status()["status"] == "online"
    name = next(name for name in stage.good if name != known)
    result = stage.activate(name)
    assert result["changed"] and result["status"]["status"] == "online" and stage.serving() == name == stage.committed()
    assert sorted(result["status"]["pids"]) == sorted(leftovers(stage.host))
