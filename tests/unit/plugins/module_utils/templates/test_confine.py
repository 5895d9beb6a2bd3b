# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A confined child: what it may, what it may not, and that nothing of it is left."""
from __future__ import annotations

import os
import signal
import socket
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.templates import confine
from ansible_collections.venom.llm.plugins.module_utils.templates.confine import ConfinedError, Limits, run_confined


def refused(work: t.Callable[[], t.Any]) -> t.Any:
    """The work, answering with the name of the error that it got."""

    def attempt() -> str:
        try:
            return f"done: {work()!r}"
        except Exception as error:
            return type(error).__name__

    return run_confined(attempt)


def children() -> list[str]:
    """Pids of the children that this process has now, dead ones included."""
    tasks = Path("/proc/self/task").iterdir()
    return [pid for task in tasks for pid in (task / "children").read_text().split()]


def test_the_answer_comes_back_and_nothing_else_does() -> None:
    seen: list[int] = []

    def work() -> dict[str, t.Any]:
        seen.append(1)
        os.environ["VENOM_TEST_CHILD"] = "1"
        return {"a": [1, None, "ü"], "pid": os.getpid()}

    answer = run_confined(work)
    assert answer.pop("pid") != os.getpid()
    assert answer == {"a": [1, None, "ü"]}
    assert seen == [] and "VENOM_TEST_CHILD" not in os.environ
    assert children() == []


@pytest.mark.parametrize("mode", ["r", "w", "x"])
def test_it_opens_no_file(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "there"
    path.write_text("kept")
    target = path if mode != "x" else tmp_path / "new"
    assert refused(lambda: open(target, mode).close()) == "OSError"
    assert path.read_text() == "kept" and [item.name for item in tmp_path.iterdir()] == ["there"]


def test_it_has_no_socket_no_pipe_and_no_descriptor_of_its_parent(tmp_path: Path) -> None:
    assert refused(lambda: socket.socket().close()) == "OSError"
    assert refused(os.pipe) == "OSError"
    with (tmp_path / "log").open("wb") as stream:
        assert refused(lambda: os.write(stream.fileno(), b"x")) == "OSError"
        assert refused(lambda: os.write(2, b"x")) == "OSError"
    assert (tmp_path / "log").read_bytes() == b""


def test_it_imports_nothing() -> None:
    assert refused(lambda: __import__("wave")) == "ModuleNotFoundError"


@pytest.mark.skipif(os.geteuid() != 0, reason="root has something to give up")
def test_root_becomes_nobody_and_starts_no_process() -> None:
    assert run_confined(lambda: [os.geteuid(), os.getuid(), os.getgid(), os.getgroups()]) == [65534, 65534, 65534, []]
    assert refused(os.fork) == "BlockingIOError"
    assert refused(lambda: os.kill(os.getppid(), 0)) == "PermissionError"
    assert refused(lambda: os.unlink(__file__)) in ("PermissionError", "FileNotFoundError")
    assert Path(__file__).exists()


@pytest.mark.parametrize(
    ("work", "found"),
    [
        (lambda: bytearray(300 * 1024 * 1024), "memory"),
        (lambda: time.sleep(60), "longer than 0.3 s"),
        (lambda: "x" * 300_000, "too long"),
        (lambda: 1 // 0, "ZeroDivisionError"),
        (object, "without an answer"),
        (lambda: os._exit(0), "without an answer"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "without an answer"),
        (lambda: os.write(0, b"[1]"), "makes no sense|without an answer"),
        (lambda: os.write(0, b"[" * 100_000), "without an answer"),
    ],
)
def test_what_fails_is_said(work: t.Callable[[], t.Any], found: str) -> None:
    with pytest.raises(ConfinedError, match=found):
        run_confined(work, Limits(seconds=0.3))
    assert children() == []


def test_the_kernel_counts_cpu_time() -> None:
    def work() -> None:
        while True:
            pass

    with pytest.raises(ConfinedError, match="more than 1 s of CPU time"):
        run_confined(work, Limits(seconds=30.0))


def test_the_text_of_a_foreign_exception_is_not_asked_for() -> None:
    class Hostile(Exception):
        def __str__(self) -> str:
            if self.args:
                os._exit(3)
            return ""

    def work() -> None:
        raise Hostile("x")

    with pytest.raises(ConfinedError, match="it failed with Hostile"):
        run_confined(work)


def test_a_child_that_closes_its_end_and_goes_on_is_ended() -> None:
    def work() -> None:
        os.close(0)
        time.sleep(60)

    with pytest.raises(ConfinedError, match="without an answer"):
        run_confined(work, Limits(seconds=0.3))
    assert children() == []


def test_an_interrupted_parent_leaves_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*dummy: t.Any) -> t.NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(confine, "_read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_confined(lambda: time.sleep(60))
    assert children() == []


def test_descriptors_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise OSError("no process to be had")

    before = os.listdir("/proc/self/fd")
    run_confined(lambda: 1)
    monkeypatch.setattr(confine, "_fork", fail)
    with pytest.raises(OSError, match="no process"):
        run_confined(lambda: 1)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_handlers_of_the_parent_do_not_run_in_the_child() -> None:
    old = signal.signal(signal.SIGTERM, lambda *dummy: None)
    try:
        with pytest.raises(ConfinedError, match="without an answer"):
            run_confined(lambda: [os.kill(os.getpid(), signal.SIGTERM), 1])
    finally:
        signal.signal(signal.SIGTERM, old)


def test_many_at_once_from_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda number: run_confined(lambda: number * 2), range(40))) == [number * 2 for number in range(40)]
