# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A traceback of this collection is found in whatever form Ansible prints it, and Ansible's own race with a signal is not taken for one."""
from __future__ import annotations

import json

import pytest
from integration.tracebacks import complaints

MANAGER = "/venv/lib/python3.11/site-packages/ansible/config/manager.py"
ACTION = "/home/op/collections/ansible_collections/venom/llm/plugins/action/venom_model.py"
RACE = "OSError: Signal 15 ignored due to race condition"
QUIET = "TASK [Models] ***\nlocalhost | a/b: 12 of 30 MB\n[ERROR]: User interrupted execution\n"


def traceback(message: str, *files: str) -> str:
    frames = "".join(f'  File "{file}", line 7, in run\n    value = self.get()\n            ^^^^^^^^^^\n' for file in files)
    return f"Traceback (most recent call last):\n{frames}{message}\n"


@pytest.mark.parametrize("before", ["", "Exception ignored in: <function get at 0x7f>\n"])
def test_the_race_of_ansible_with_a_signal_is_no_complaint(before: str) -> None:
    assert complaints(QUIET + before + traceback(RACE, MANAGER) + QUIET) == []


@pytest.mark.parametrize(
    "said",
    [
        traceback("ValueError: no number", MANAGER, ACTION),
        traceback("ValueError: no number", MANAGER),
        traceback(RACE, ACTION),
        traceback("KeyError: 'x'", ACTION) + "\nDuring handling of the above exception, another exception occurred:\n\n",
        traceback("KeyboardInterrupt", ACTION),
        "Traceback (most recent call last):\n",
    ],
    ids=["ours", "ansible's", "the race in ours", "chained", "interrupted", "cut off"],
)
def test_every_other_traceback_is_one(said: str) -> None:
    (found,) = complaints(QUIET + traceback(RACE, MANAGER) + said + traceback(RACE, MANAGER) + QUIET)
    assert found in said


def test_they_are_found_in_results() -> None:
    inner = traceback("OSError: [Errno 5] Input/output error", ACTION)
    result = {"msg": "MODULE FAILURE: see stdout/stderr", "module_stderr": inner, "rc": 1}
    found = complaints(QUIET + "fatal: [localhost]: FAILED! => " + json.dumps(result) + "\n" + QUIET)
    assert len(found) == 2 and found[0] == inner.rstrip() and "MODULE FAILURE" in found[1]


def test_two_in_one_result_are_two() -> None:
    both = traceback("KeyError: 'x'", ACTION) + traceback(RACE, MANAGER) + traceback("ValueError: y", MANAGER)
    assert [item.splitlines()[-1] for item in complaints(both)] == ["KeyError: 'x'", "ValueError: y"]
