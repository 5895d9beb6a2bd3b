# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write every task result to the file named by VENOM_TASK_LOG, one JSON object a line, so that tests compare runs task by task."""

from __future__ import annotations

import json
import os
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: task_log
type: aggregate
short_description: Task results as JSON lines
description: Used by the tests only.
"""


#: What tests look at.
KEPT = frozenset(
    ("msg", "reason_code", "steps", "status", "plan", "models", "bytes_by_source", "bytes_done", "bytes_fetched", "bytes_kept")
    + ("bytes_total", "files_repaired")
)


class CallbackModule(CallbackBase):
    """One line for each host and task: outcome, changed, result."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_log"

    def _write(self, outcome: str, result: t.Any) -> None:
        line = {
            "host": result._host.get_name(),
            "task": result._task.get_name(),
            "outcome": outcome,
            "changed": bool(result._result.get("changed")),
            "result": {key: value for key, value in result._result.items() if key in KEPT},
        }
        with open(os.environ["VENOM_TASK_LOG"], "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, default=str) + "\n")

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """A task ended well."""
        self._write("ok", result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """A task failed."""
        self._write("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        """A task had nothing to do here."""
        self._write("skipped", result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """A host did not answer."""
        self._write("unreachable", result)
