# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A long install that is interrupted: by the operator, by a killed controller, by a killed worker. The host is left in order each time."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from integration.operations_support import (
    WEIGHTS,
    Controller,
    fetching,
    folders,
    model_hub,
    statuses,
    task,
    wait_for,
    workers,
)
from integration.test_controllers import CACHE, PYTHON, SERIES, controller
from integration.tracebacks import complaints

from ansible_collections.venom.llm.plugins.module_utils.journal import read_operations
from ansible_collections.venom.llm.plugins.module_utils.processes import command_line, descendants, snapshot
from lab.hub import Hub

pytest.importorskip("huggingface_hub")
STOPPERS = {"Ctrl-C": (signal.SIGINT, True), "SIGTERM": (signal.SIGTERM, False)}


def finish(ansible: Controller, hub: Hub, **more: t.Any) -> dict[str, t.Any]:
    """The next run of an operator, at full speed."""
    hub.faults.clear()
    return ansible.play(task(ansible.options(hub, **more)))[0]


@pytest.mark.parametrize("stopper", STOPPERS)
@pytest.mark.parametrize("series", SERIES)
def test_whoever_stops_the_play_stops_the_work(tmp_path: Path, series: str, stopper: str) -> None:
    """With every release that is supported: each hands signals to its children in a way of its own."""
    ansible, models = Controller(tmp_path, controller(series)), tmp_path / "host" / "models"
    number, whole_group = STOPPERS[stopper]
    with model_hub(tmp_path) as hub:
        with ansible.running(task(ansible.options(hub))) as play:
            wait_for(lambda: fetching(models) and " | a/b: " in ansible.printed())
            (os.killpg if whole_group else os.kill)(play.pid, number)
            play.wait(120)
            # Before 2.19 a fork outlives a play that was ended by SIGTERM, and sees to the rest.
            wait_for(lambda: not workers(models))
            wait_for(lambda: folders(models) == [])
        assert statuses(models) == ["cancelled"]
        assert finish(ansible, hub)["changed"] is True
        assert statuses(models) == ["completed", "cancelled"]
    assert complaints(ansible.printed()) == []


@pytest.mark.parametrize("how", ["the play is interrupted", "the worker is killed"])
def test_what_had_arrived_is_not_fetched_again(tmp_path: Path, how: str) -> None:
    ansible, models, weights = Controller(tmp_path), tmp_path / "host" / "models", 48_000_000

    def arrived() -> int:
        return max((item["bytes"] for item in read_operations(str(models / "operations"))), default=0)

    with model_hub(tmp_path, rate=500_000, weights=weights) as hub:
        with ansible.running(task(ansible.options(hub))) as play:
            wait_for(lambda: arrived() > weights / 2)
            if how == "the play is interrupted":
                os.killpg(play.pid, signal.SIGINT)
                play.wait(120)
            else:
                os.kill(workers(models)[0], signal.SIGKILL)
                wait_for(lambda: len(statuses(models)) == 2)
                assert play.wait(120) == 0
        wait_for(lambda: not workers(models))
        assert finish(ansible, hub)["changed"] is (how == "the play is interrupted")
        sent = sum(entry.sent for entry in hub.log.entries() if entry.path.endswith(".safetensors"))
    assert weights <= sent < 1.4 * weights


def test_a_controller_that_is_gone_is_missed_after_the_lease(tmp_path: Path) -> None:
    ansible, models = Controller(tmp_path), tmp_path / "host" / "models"
    with model_hub(tmp_path) as hub:
        with ansible.running(task(ansible.options(hub, operation_lease=2))) as play:
            wait_for(lambda: fetching(models) and " | a/b: " in ansible.printed())
            kill_tree(play.pid)
        wait_for(lambda: not workers(models))
        assert statuses(models) == ["cancelled"]
        (record,) = [path.read_text() for path in (models / "operations").glob("*.json")]
        assert "nobody asked for its progress for 2 s" in record
        assert finish(ansible, hub)["changed"] is True


def test_children_of_a_killed_play_stop_the_work_themselves(tmp_path: Path) -> None:
    """SIGKILL to ansible-playbook alone leaves its forks alive, which would go on asking and so keep the work alive."""
    ansible, models = Controller(tmp_path), tmp_path / "host" / "models"
    with model_hub(tmp_path) as hub, ansible.running(task(ansible.options(hub, operation_lease=600))) as play:
        wait_for(lambda: fetching(models) and " | a/b: " in ansible.printed())
        play.kill()
        play.wait()
        wait_for(lambda: not workers(models))
        assert statuses(models) == ["cancelled"]


def test_a_killed_worker_is_started_once_more(tmp_path: Path) -> None:
    ansible, models = Controller(tmp_path), tmp_path / "host" / "models"
    with model_hub(tmp_path) as hub, ansible.running(task(ansible.options(hub))) as play:
        wait_for(lambda: fetching(models) and " | a/b: " in ansible.printed())
        (first,) = workers(models)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: workers(models) not in ([], [first]))
        # The second one may have asked already, and is served slowly until it asks again.
        hub.faults.clear()
        hub.down()
        hub.up()
        assert play.wait(120) == 0
    printed = ansible.printed()
    assert "it is started once more" in printed
    assert statuses(models)[-1] == "failed"


def test_a_worker_that_is_killed_every_time_is_a_failure_that_says_so(tmp_path: Path) -> None:
    ansible, models = Controller(tmp_path), tmp_path / "host" / "models"
    with model_hub(tmp_path) as hub:
        with ansible.running(task(ansible.options(hub))) as play:
            seen: list[int] = []
            for dummy in range(2):
                (worker,) = wait_for(lambda: [pid for pid in workers(models) if pid not in seen and fetching(models)])
                seen.append(worker)
                os.kill(worker, signal.SIGKILL)
            assert play.wait(120) == 0
        printed = ansible.printed()
        assert printed.count("it is started once more") == 1
        assert "ended without a word" in printed.partition("fatal:")[2]
        assert workers(models) == []
        assert finish(ansible, hub)["changed"] is True


def test_an_operator_stops_all_calls_of_a_folder(tmp_path: Path) -> None:
    ansible, models = Controller(tmp_path), tmp_path / "host" / "models"
    other = Controller(tmp_path / "second")
    other.folder.mkdir()
    with model_hub(tmp_path) as hub:
        with ansible.running(task(ansible.options(hub))) as play:
            wait_for(lambda: fetching(models))
            looking = {"venom.llm.venom_model_info": {"models_dir": str(models)}}
            info, dummy = other.play(looking)
            assert [call["models"] for call in info["calls"]] == [["a/b"]]
            assert info["calls"][0]["operations"][0]["bytes_total"] > WEIGHTS
            assert [lock["holder"]["pid"] for lock in info["locks"]] == workers(models)
            cancel = task({"models_dir": str(models), "operation": "cancel"})
            dummy_result, checked = other.play(cancel, arguments=["--check"])
            assert "changed: [localhost]" in checked and len(workers(models)) == 1
            stopped, dummy = other.play(cancel)
            assert stopped["changed"] is True and [call["state"] for call in stopped["calls"]] == ["cancelled"]
            assert play.wait(120) == 0
        assert "stopped by SIGTERM" in ansible.printed()
        assert other.play(cancel)[0]["changed"] is False
        info, dummy = other.play(looking)
        assert info["calls"] == [] and info["locks"] == []
        assert finish(ansible, hub)["changed"] is True


def test_who_waits_for_the_lock_says_for_whom(tmp_path: Path) -> None:
    ansible, models = Controller(tmp_path), tmp_path / "host" / "models"
    other = Controller(tmp_path / "second")
    other.folder.mkdir()
    with model_hub(tmp_path, "a/b", "a/c") as hub, ansible.running(task(ansible.options(hub))):
        wait_for(lambda: fetching(models))
        (holder,) = workers(models)
        options = dict(ansible.options(hub, name="a/c"), lock_timeout=60)
        with other.running(task(options)) as second:
            wait_for(lambda: f"localhost | a/c: waiting for process {holder}" in other.printed())
            os.killpg(second.pid, signal.SIGINT)
            second.wait(120)
        assert workers(models) == [holder], "the holder is another's"


def test_a_module_in_the_foreground_ends_as_cancelled(tmp_path: Path) -> None:
    """Also where it has handed the work to the backend's Python, as under a bare interpreter."""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    ansible, models = Controller(tmp_path), tmp_path / "host" / "models"
    for interpreter in (sys.executable, str(bare / "bin" / "python")):
        with model_hub(tmp_path) as hub:
            arguments = ["-e", f"ansible_python_interpreter={interpreter}"]
            with ansible.running(task(ansible.options(hub, operation="run")), arguments=arguments) as play:
                (record,) = wait_for(lambda: running_records(models))
                for pid in modules(play.pid):
                    os.kill(pid, signal.SIGTERM)
                assert play.wait(120) == 0
            assert "cancelled" in ansible.printed().partition("fatal:")[2]
            assert statuses(models)[0] == "cancelled"
            hub.faults.clear()


def test_an_event_for_each_line_under_ansible_runner(tmp_path: Path) -> None:
    """As AWX runs it: what the operator sees in the job's output are the events' texts."""
    venv = CACHE / f"ansible-runner-{PYTHON}"
    if not (venv / ".complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        pip = [str(venv / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "ansible-runner~=2.4", "ansible-core~=2.19.0"]
        subprocess.run(pip, check=True, capture_output=True)
        (venv / ".complete").touch()
    ansible = Controller(tmp_path)
    with model_hub(tmp_path, rate=WEIGHTS / 4) as hub:
        command = ansible.write(task(ansible.options(hub)))
        code = (
            "import json, sys, ansible_runner\n"
            "run = ansible_runner.run(private_data_dir=sys.argv[1], playbook=sys.argv[2], inventory='localhost ansible_connection=local',\n"
            "    extravars=json.loads(sys.argv[3]), quiet=True)\n"
            "print(json.dumps([run.status, [event['stdout'] for event in run.events]]))\n"
        )
        variables = {"venom_progress_interval": 1, "ansible_python_interpreter": sys.executable}
        runner = [str(venv / "bin/python"), "-c", code, str(tmp_path / "runner"), command[5], str(variables).replace("'", '"')]
        environment = dict(ansible.environment, PATH=f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}")
        (tmp_path / "runner").mkdir()
        done = subprocess.run(runner, env=environment, capture_output=True, text=True, check=True)
    status, events = json.loads(done.stdout.splitlines()[-1])
    assert status == "successful"
    progress = [text for text in events if " | a/b: " in text]
    assert len(progress) >= 2
    assert all(len(text.strip().splitlines()) == 1 for text in progress)


def running_records(models: Path) -> list[str]:
    """Journal entries that are in progress and have seen bytes."""
    return [path.name for path in (models / "operations").glob("*.json") if fetching(models) and '"in_progress"' in path.read_text()]


def modules(root: int) -> list[int]:
    """The innermost wrappers of the module below a play: those that wait for the backend, or do the work themselves."""
    return [pid for pid in descendants(root, snapshot()) if any("AnsiballZ_venom_model" in part for part in command_line(pid)[1:2])]


def kill_tree(root: int) -> None:
    """SIGKILL to a play and all its forks, before one of them can notice."""
    members = [root, *descendants(root, snapshot())]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in members:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
