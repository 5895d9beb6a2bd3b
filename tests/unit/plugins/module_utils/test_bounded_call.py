# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions that are answered, that hang, that crash, and what they leave behind."""
from __future__ import annotations

import os
import signal
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import processes
from ansible_collections.venom.llm.plugins.module_utils.bounded_call import NoAnswer, answer_within


def test_an_answer_of_any_size_arrives_whole() -> None:
    assert answer_within(20, lambda: {"text": "x" * 300_000, "none": None}) == {"text": "x" * 300_000, "none": None}


def test_the_question_is_asked_in_another_process() -> None:
    changed: list[int] = []
    assert answer_within(20, lambda: changed.append(1) or os.getpid()) != os.getpid()
    assert changed == []


def test_a_question_that_hangs_is_killed_even_when_it_ignores_signals(tmp_path: Path) -> None:
    told = tmp_path / "pid"

    def hang() -> t.Any:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        told.write_text(str(os.getpid()))
        time.sleep(600)

    with pytest.raises(NoAnswer, match="no answer within 0.5 s"):
        answer_within(0.5, hang)
    assert processes.read_process(int(told.read_text())) is None, "it runs on, or is a zombie"


@pytest.mark.parametrize("work", [lambda: 1 / 0, lambda: os._exit(3), lambda: os.kill(os.getpid(), signal.SIGKILL), object])
def test_a_question_that_dies_is_no_answer(work: t.Callable[[], t.Any]) -> None:
    with pytest.raises(NoAnswer, match="without an answer"):
        answer_within(20, work)


def test_no_descriptor_and_no_child_is_left() -> None:
    before, children = os.listdir("/proc/self/fd"), processes.descendants(os.getpid(), processes.snapshot())
    for dummy in range(3):
        answer_within(20, lambda: 1)
        with pytest.raises(NoAnswer):
            answer_within(0.05, lambda: time.sleep(600))
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert processes.descendants(os.getpid(), processes.snapshot()) <= children
