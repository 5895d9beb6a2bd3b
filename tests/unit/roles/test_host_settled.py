# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role host asks a host before it changes anything: every difference that a module would mend is told, and nothing else."""
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

SCRIPT = (Path(__file__).resolve().parents[3] / "roles/host/files/settled.py").read_text(encoding="utf-8")
ME = pwd.getpwuid(os.getuid())
GROUP = grp.getgrgid(ME.pw_gid).gr_name
ACCOUNT = {"name": ME.pw_name, "group": GROUP, "home": ME.pw_dir, "shell": ME.pw_shell, "comment": ME.pw_gecos}
SETTLED = {"group": False, "account": False, "paths": [], "there": []}


def ask(paths: t.Sequence[t.Mapping[str, str]] = (), exist: t.Sequence[str] = (), **account: str) -> dict[str, t.Any]:
    """As the role does."""
    wanted = {"group": {"name": account.get("group", GROUP)}, "account": {**ACCOUNT, **account}, "paths": list(paths), "exist": list(exist)}
    answer = subprocess.run([sys.executable, "-c", SCRIPT, json.dumps(wanted)], capture_output=True, text=True, check=True, timeout=60).stdout
    return t.cast("dict[str, t.Any]", json.loads(answer))


def owned(path: Path, mode: str, **more: str) -> dict[str, str]:
    """A path of this account, as the role wants it."""
    return {"path": str(path), "owner": str(os.getuid()), "group": GROUP, "mode": mode, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a mode that no umask makes by itself."""
    made = tmp_path / "folder"
    made.mkdir()
    made.chmod(0o751)
    os.chown(made, os.getuid(), ME.pw_gid)
    return made


def file_in(folder: Path, content: str) -> Path:
    """With mode 0640."""
    made = folder / "file"
    made.write_text(content, encoding="utf-8")
    made.chmod(0o640)
    os.chown(made, os.getuid(), ME.pw_gid)
    return made


def test_a_settled_host_needs_nothing(folder: Path) -> None:
    paths = [owned(folder, "0751"), owned(file_in(folder, "as wanted\n"), "0640", content="as wanted\n"), owned(folder, "0751", owner=ME.pw_name)]
    assert ask(paths) == SETTLED


@pytest.mark.parametrize(
    "wrong", [{"mode": "0750"}, {"owner": "987654"}, {"owner": "no-such-account"}, {"group": "987654"}, {"group": "no-such-group"}]
)
def test_a_folder_of_another_owner_group_or_mode(folder: Path, wrong: dict[str, str]) -> None:
    assert ask([{**owned(folder, "0751"), **wrong}]) == {**SETTLED, "paths": [str(folder)]}


def test_what_is_not_there_or_of_another_kind(folder: Path) -> None:
    file, gone = file_in(folder, "x"), folder / "gone"
    assert ask([owned(file, "0640"), owned(gone, "0755"), owned(folder, "0751", content="x")])["paths"] == [str(file), str(gone), str(folder)]
    assert ask(exist=[str(folder), str(gone)])["there"] == [str(folder)]


@pytest.mark.parametrize("content", ["another", "as wanted", "\udce9"])
def test_a_file_with_another_content(folder: Path, content: str) -> None:
    file = file_in(folder, "")
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert ask([owned(file, "0640", content="as wanted\n")])["paths"] == [str(file)]


@pytest.mark.parametrize("wrong", [{"name": "no-such-account"}, {"home": "/elsewhere"}, {"shell": "/bin/other"}, {"comment": "another"}])
def test_an_account_that_differs(wrong: dict[str, str]) -> None:
    assert ask(**wrong) == {**SETTLED, "account": True}


def test_a_group_that_is_not_there() -> None:
    assert ask(group="no-such-group") == {**SETTLED, "group": True, "account": True}
