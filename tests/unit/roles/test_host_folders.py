# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The look at the folders of a host: those that are right are not touched, and every other one is named."""
from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles/host/files/folders.py"


def asked(*folders: dict[str, str]) -> list[str]:
    """As the task runs it."""
    command = [sys.executable, "-c", SCRIPT.read_text(encoding="utf-8"), json.dumps(folders)]
    return t.cast("list[str]", json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, str]:
    """A folder that is right, and how it is asked for."""
    path = tmp_path / "folder"
    path.mkdir(mode=0o750)
    return {"path": str(path), "mode": "0750", "owner": str(os.getuid()), "group": str(path.stat().st_gid)}


def test_one_that_is_right_is_left_alone_by_number_by_name_and_behind_a_link(wanted: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(wanted["path"])
    owner, group = pwd.getpwuid(int(wanted["owner"])).pw_name, grp.getgrgid(int(wanted["group"])).gr_name
    assert asked(wanted, {**wanted, "owner": owner, "group": group}, {**wanted, "path": str(tmp_path / "link")}) == []


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "0755"}, {"owner": "12345"}, {"group": "12345"}, {"owner": "nobody-knows-her"}, {"group": "nobody-knows-them"}],
    ids=lambda wrong: "-".join(*wrong.items()),
)
def test_one_that_differs_is_named(wanted: dict[str, str], wrong: dict[str, str]) -> None:
    assert asked(wanted, {**wanted, **wrong}) == [wanted["path"]]


def test_what_is_missing_or_no_folder_is_named(wanted: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.chmod(tmp_path / "file", 0o750)
    paths = [str(tmp_path / name) for name in ("file", "nothing", "file/below")]
    assert asked(*({**wanted, "path": path} for path in paths)) == paths
