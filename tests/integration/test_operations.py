# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A long install as an operator sees it: progress while it goes on, and at the end the result that there has always been."""
from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from integration.models_support import tree
from integration.operations_support import QUICK, TOKEN, WEIGHTS, Controller, fetching, folders, model_hub, task, wait_for, workers

pytest.importorskip("huggingface_hub")
#: Fast enough for an install of some seconds, slow enough for several lines.
STEADY = WEIGHTS / 4
LINE = re.compile(r"^(?P<who>.+) \| (?P<model>\S+): (?P<percent>\d+)% \([\d.]+ of 8\.0 MB\)(, [\d.]+ [kM]?B/s, \d:\d\d left)?", re.MULTILINE)
#: What differs from one run to the next, however it is run.
TIMES = re.compile(r"inode|mtime|_at$|seconds|per_second|^id$|^bytes_free$|_dir$|^local_path$|^start|^end$|^delta$|header$")


def lines(printed: str) -> list[tuple[str, str, int]]:
    """(host, model, percent) of every line of progress."""
    return [(found["who"], found["model"], int(found["percent"])) for found in LINE.finditer(printed)]


def timeless(value: t.Any) -> t.Any:
    """The value without what time and place change."""
    if isinstance(value, dict):
        return {key: None if TIMES.search(str(key)) else timeless(item) for key, item in value.items()}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def test_progress_is_shown_and_the_result_is_that_of_a_call_in_one_piece(tmp_path: Path) -> None:
    controller = Controller(tmp_path)
    with model_hub(tmp_path, rate=STEADY) as hub:
        result, printed = controller.play(task(controller.options(hub, token=TOKEN, alias="x")), arguments=["--diff"])
        again, quiet = controller.play(task(controller.options(hub, token=TOKEN, alias="x")), arguments=["--diff"])
        plain, silent = controller.play(task(controller.options(hub, "other", token=TOKEN, alias="x", operation="run")), arguments=["--diff"])
    shown = lines(printed)
    assert len(shown) >= 2
    assert {(who, model) for who, model, dummy in shown} == {("localhost", "a/b")}
    assert [percent for dummy, dummy_model, percent in shown] == sorted(percent for dummy, dummy_model, percent in shown)
    assert "B/s" in printed and " left" in printed
    assert lines(silent) == [] and "+++ after" in printed
    assert set(result) == set(plain)
    assert timeless(result) == timeless(plain)
    assert result["changed"] is True and result["bytes_fetched"] > WEIGHTS
    assert folders(tmp_path / "host" / "models") == []
    # A run without a change is one call of the module, and leaves no trace of having been one that could take long.
    assert again["changed"] is False and lines(quiet) == [] and set(again) == set(result) - {"warnings"}
    assert not (tmp_path / "host" / "models" / "calls").exists()
    assert TOKEN not in printed


def test_check_mode_and_failures_leave_nothing(tmp_path: Path) -> None:
    controller = Controller(tmp_path)
    (tmp_path / "host").mkdir()
    with model_hub(tmp_path) as hub:
        before = tree(tmp_path / "host")
        dummy, checked = controller.play(task(controller.options(hub)), arguments=["--check", "--diff"])
        assert "changed: [localhost]" in checked and tree(tmp_path / "host") == before
        failed, dummy = controller.play(task(controller.options(hub, name="a/none")))
        assert failed["reason_code"] == "not_found" and "call" not in failed
        refused, dummy = controller.play(task(controller.options(hub, name="../x")))
        assert refused["reason_code"] == "invalid_name"
        unknown, dummy = controller.play(task(controller.options(hub, colour="red")))
        assert unknown["failed"] and "colour" in unknown["msg"]
        nothing, dummy = controller.play(task({key: value for key, value in controller.options(hub).items() if key != "name"}))
        assert nothing["failed"] and "name, models" in nothing["msg"]
        assert tree(tmp_path / "host") == before


def test_async_runs_the_module_alone(tmp_path: Path) -> None:
    controller = Controller(tmp_path, ANSIBLE_ASYNC_DIR=str(tmp_path / "async"))
    with model_hub(tmp_path, rate=STEADY) as hub:
        result, printed = controller.play(task(controller.options(hub), **{"async": 120, "poll": 1}))
    assert result["changed"] is True and result["bytes_fetched"] > WEIGHTS
    assert lines(printed) == []


def test_a_loop_names_each_model_and_fetches_each(tmp_path: Path) -> None:
    controller = Controller(tmp_path)
    with model_hub(tmp_path, "a/one", "a/two", rate=STEADY) as hub:
        result, printed = controller.play(task(controller.options(hub, name="{{ item }}"), loop=["a/one", "a/two"]))
    assert [item["changed"] for item in result["results"]] == [True, True]
    assert {model for dummy, model, dummy_percent in lines(printed)} == {"a/one", "a/two"}


def test_two_hosts_at_once_each_with_its_name(tmp_path: Path) -> None:
    controller = Controller(tmp_path)
    with model_hub(tmp_path, rate=STEADY) as hub:
        options = controller.options(hub, "{{ inventory_hostname }}")
        result, printed = controller.play(task(options), hosts=("red", "blue"))
    assert result["changed"] is True
    assert {who for who, dummy, dummy_percent in lines(printed)} == {"red", "blue"}
    assert all((tmp_path / host / "models" / "manifest.json").exists() for host in ("red", "blue"))


def test_one_host_after_the_other_delegated_and_tried_again(tmp_path: Path) -> None:
    controller = Controller(tmp_path)
    with model_hub(tmp_path, rate=STEADY) as hub:
        options = controller.options(hub, "{{ inventory_hostname }}")
        dummy, printed = controller.play(task(options, delegate_to="localhost"), hosts=("red", "blue"), serial=1)
        assert {who for who, dummy_model, dummy_percent in lines(printed)} == {"red -> localhost", "blue -> localhost"}
        hub.fault("status", path="/api/models/a/b*", status=503, times=1)
        again = task(controller.options(hub, "third"), until="result is success", retries=2, delay=0)
        result, printed = controller.play(again)
    assert result["attempts"] == 2 and result["changed"] is True


def test_no_log_shows_numbers_but_no_names(tmp_path: Path) -> None:
    controller = Controller(tmp_path)
    with model_hub(tmp_path, "a/private-name", rate=STEADY) as hub:
        dummy, printed = controller.play(task(controller.options(hub, name="a/private-name"), no_log=True))
    assert "localhost | a model: " in printed
    assert "private-name" not in printed


def test_defaults_of_the_group_reach_the_worker(tmp_path: Path) -> None:
    controller = Controller(tmp_path)
    with model_hub(tmp_path, rate=STEADY) as hub:
        defaults = {key: value for key, value in controller.options(hub).items() if key not in ("name", *QUICK)}
        named = {"group/venom.llm.venom": defaults, "venom.llm.venom_model": QUICK}
        result, printed = controller.play(task({"name": "a/b"}), module_defaults=named)
    assert result["changed"] is True and len(lines(printed)) >= 2
    assert result["models"][0]["local_path"].startswith(str(tmp_path / "host" / "models"))


@pytest.mark.parametrize("pipelining", ["0", "1"])
def test_a_token_is_in_no_output_file_or_command_line_while_the_work_goes_on(tmp_path: Path, pipelining: str) -> None:
    controller = Controller(tmp_path, ANSIBLE_PIPELINING=pipelining, ANSIBLE_LOCAL_TEMP=str(tmp_path / "local"))
    seen: list[str] = []
    with model_hub(tmp_path) as hub:
        hub.configure("a/b", gated="manual", readers=["alice"])
        with controller.running(task(controller.options(hub, token=TOKEN)), arguments=["-vvvv"]) as play:
            models = tmp_path / "host" / "models"
            wait_for(lambda: fetching(models))
            for pid in workers(models):
                seen += [Path(f"/proc/{pid}/{name}").read_text(errors="replace") for name in ("cmdline", "environ")]
            seen += [path.read_bytes().decode(errors="replace") for path in (tmp_path / "host").rglob("*") if path.is_file()]
            assert all(path.stat().st_mode & 0o077 == 0 for path in (models / "calls").glob("*"))
            play.terminate()
            play.wait()
    output = controller.printed()
    assert len(seen) > 4 and "venom_model" in output
    assert TOKEN not in output + "".join(seen)
