# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holders of locks, told without taking part in the race for them."""
from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import lock_holders
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import Lock
from ansible_collections.venom.llm.plugins.module_utils.lock_holders import read_holders


def path(folder: Path, name: str = "models.lock") -> str:
    return str(folder / "locks" / name)


def test_a_held_lock_names_its_holder_and_a_free_one_is_none(tmp_path: Path) -> None:
    assert read_holders(str(tmp_path)) == []
    with Lock(path(tmp_path), 0.0, {"what": "test"}), Lock(path(tmp_path, "other.lock"), 0.0):
        found = read_holders(str(tmp_path))
        assert [item["name"] for item in found] == ["models.lock", "other.lock"]
        assert (found[0]["holder"]["pid"], found[0]["holder"]["what"]) == (os.getpid(), "test")
        with pytest.raises(VenomError):
            Lock(path(tmp_path), 0.0).__enter__()
    assert read_holders(str(tmp_path)) == []


@pytest.mark.parametrize("hidden", [False, True], ids=["locks are listed", "locks are hidden"])
def test_a_killed_holder_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: bool) -> None:
    code = (
        "import os, sys\n"
        "from ansible_collections.venom.llm.plugins.module_utils.files import Lock\n"
        "Lock(sys.argv[1], 0.0).__enter__()\n"
        "print(flush=True); sys.stdin.read()\n"
    )
    if hidden:
        monkeypatch.setattr(lock_holders, "_held_inodes", lambda: None)
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    command: list[t.Any] = [sys.executable, "-c", code, path(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert [item["holder"]["pid"] for item in read_holders(str(tmp_path))] == [process.pid]
        process.kill()
    assert Path(path(tmp_path)).read_text() != ""
    assert read_holders(str(tmp_path)) == []


def test_what_is_no_lock_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    Path(path(tmp_path)).write_text("[]")
    Path(path(tmp_path, "torn.lock")).write_text("{")
    Path(path(tmp_path, "notes.txt")).write_text("{}")
    assert read_holders(str(tmp_path)) == []
