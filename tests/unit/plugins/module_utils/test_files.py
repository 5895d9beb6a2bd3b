# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Atomic writes, joins and locks."""
from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import files
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

HOLD = """
import sys, time
from ansible_collections.venom.llm.plugins.module_utils.files import Lock
with Lock(sys.argv[1], 0, {"what": "a test"}):
    print("held", flush=True)
    time.sleep(60)
"""


def _hold(path: Path) -> subprocess.Popen[str]:
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True, env=environment)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_write_has_the_exact_mode_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        files.write_atomic(str(tmp_path / "x"), b"data", 0o640)
    finally:
        os.umask(old)
    assert (tmp_path / "x").read_bytes() == b"data"
    assert (tmp_path / "x").stat().st_mode & 0o7777 == 0o640
    assert os.listdir(tmp_path) == ["x"]


def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"old")

    def full(*dummy: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomic(str(tmp_path / "x"), b"new")
    assert (tmp_path / "x").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_join_refuses_symlinks_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(VenomError) as caught:
        files.safe_join(str(tmp_path), "link/passwd")
    assert caught.value.reason_code == "invalid_name"
    assert files.safe_join(str(tmp_path), "a", "b") == str(tmp_path / "a" / "b")


def test_a_second_process_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "models.lock"
    holder = _hold(path)
    try:
        with pytest.raises(VenomError) as caught, files.Lock(str(path), 0.2):
            pytest.fail("two holders")
        assert caught.value.reason_code == "locked"
        assert caught.value.details["holder"]["pid"] == holder.pid
        assert "a test" in str(caught.value)
    finally:
        holder.kill()
        holder.wait()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "models.lock"
    holder = _hold(path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with files.Lock(str(path), 0):
        assert files.read_json(str(path))["pid"] == os.getpid()
    assert path.read_bytes() == b""


def test_a_lock_is_not_taken_on_a_file_that_was_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "models.lock"
    path.write_text("")
    calls: list[int] = []
    real = files.fcntl.flock

    def replace_once(descriptor: int, how: int) -> None:
        real(descriptor, how)
        if not calls:
            calls.append(how)
            path.unlink()
            path.write_text("")

    monkeypatch.setattr(files.fcntl, "flock", replace_once)
    with files.Lock(str(path), 5):
        assert files.read_json(str(path))["pid"] == os.getpid()


def test_a_lock_that_another_account_takes_belongs_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda descriptor, *ids: given.append(ids))
    path = tmp_path / "some.lock"
    before = os.umask(0o077)
    try:
        with files.Lock(str(path), 0, mode=0o664, ids=(12345, 12346)):
            assert (stat.S_IMODE(path.stat().st_mode), given) == (0o664, [(12345, 12346)])
    finally:
        os.umask(before)
    with files.Lock(str(path), 0, ids=(12345, 12346)):
        assert given == [(12345, 12346)] * 2, "also one that a kill left as it was made"
    mine = path.stat().st_uid, path.stat().st_gid
    for ids in (mine, (None, None)):
        with files.Lock(str(path), 0, ids=ids):
            assert len(given) == 2


def test_a_lock_that_could_not_be_noted_is_free_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "a.lock")

    def refuse(*dummy: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        with pytest.raises(OSError, match="Input/output"), files.Lock(path, 0):
            raise AssertionError("nobody has it")
    with files.Lock(path, 0):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_lock_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """What it is taken for may be a removal, which makes room."""
    path = str(tmp_path / "a.lock")

    def refuse(*dummy: object) -> int:
        raise OSError(number, os.strerror(number))

    with files.Lock(path, 0) as before:
        pass
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        with files.Lock(path, 0):
            with pytest.raises(VenomError) as caught, files.Lock(path, 0):
                raise AssertionError("two have it")
            assert caught.value.reason_code == "locked" and "unknown" in caught.value.found
    with files.Lock(path, 0) as after:
        assert not after.was_idle_since(before.found), "somebody was here"
