# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals as an exception: tried on processes of their own, since they would end this one."""
from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ansible_collections.venom.llm.plugins.module_utils.interrupts import Interrupted

HEAD = (
    "import os, signal, subprocess, sys, time\n"
    "from ansible_collections.venom.llm.plugins.module_utils import interrupts\n"
)  # fmt: skip
WORK = HEAD + (
    "interrupts.raise_on_signals()\n"
    "try:\n"
    "    print('ready', flush=True)\n"
    "    time.sleep(60)\n"
    "except Exception:\n"
    "    print('taken for a failed attempt')\n"
    "except interrupts.Interrupted as error:\n"
    "    os.kill(os.getpid(), signal.SIGTERM)\n"
    "    print('cleaned up after', error)\n"
)
WAIT = HEAD + (
    "interrupts.pass_on_signals()\n"
    "sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))\n"
)  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("waits", [False, True], ids=["alone", "through its parent"])
def test_a_signal_ends_the_work_with_all_that_has_to_follow(number: signal.Signals, waits: bool) -> None:
    command = [sys.executable, "-c", WAIT, WORK] if waits else [sys.executable, "-c", WORK]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == f"cleaned up after it was stopped by {number.name}\n"
    assert process.returncode == 0


def test_as_a_failure_it_says_that_nothing_is_lost() -> None:
    error = Interrupted("it was stopped by SIGTERM").to_error()
    assert error.reason_code == "cancelled" and "SIGTERM" in str(error) and "kept" in error.todo
