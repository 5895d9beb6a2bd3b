# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the seconds of each task, and when it ended on the monotonic clock, to the file named by VENOM_BENCH_OUT, one JSON object a line."""

from __future__ import annotations

import json
import os
import time
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: venom_timing
type: aggregate
short_description: Seconds of each task as JSON lines
description: Used by the benchmarks only; it measures from the start of a task on a host to its result on the controller.
"""


class CallbackModule(CallbackBase):
    """Time between the start of a task on a host and its result, on the controller's monotonic clock."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "venom_timing"

    def __init__(self) -> None:
        super().__init__()
        self._started: dict[tuple[str, str], float] = {}

    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        """A task begins on a host."""
        self._started[(host.get_name(), task._uuid)] = time.monotonic()

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """A task ended well on a host."""
        began = self._started.pop((result._host.get_name(), result._task._uuid), None)
        if began is None:
            return
        ended = time.monotonic()
        line = {"task": result._task.get_name(), "seconds": ended - began, "ended": ended, "changed": bool(result._result.get("changed"))}
        with open(os.environ["VENOM_BENCH_OUT"], "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
