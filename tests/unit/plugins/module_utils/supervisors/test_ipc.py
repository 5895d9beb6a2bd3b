# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared memory of real processes: found while it is held, removed when nobody has it, left alone while anybody does."""
from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.supervisors import ipc
from ansible_collections.venom.llm.plugins.module_utils.supervisors.ipc import Maker, Segment

#: Maps the file named by its first argument and makes a System V segment, says so, and waits to be killed.
HOLDER = """
import ctypes, mmap, sys, time
stream = open(sys.argv[1], "r+b")
area = mmap.mmap(stream.fileno(), 4096)
stream.close()
print(ctypes.CDLL(None).shmget(0, 4096, 0o1600), flush=True)
time.sleep(600)
"""
OPENER = "import sys, time; stream = open(sys.argv[1]); print(0, flush=True); time.sleep(600)"
Hold = t.Callable[..., "tuple[int, str]"]


@pytest.fixture()
def shm(tmp_path: Path) -> str:
    """A folder in the place of /dev/shm."""
    (tmp_path / "shm").mkdir()
    return str(tmp_path / "shm")


@pytest.fixture()
def hold(shm: str) -> t.Iterator[Hold]:
    running: list[subprocess.Popen[bytes]] = []

    def begin(name: str, script: str = HOLDER) -> tuple[int, str]:
        path = Path(shm, name)
        if not path.exists():
            path.write_bytes(bytes(4096))
        running.append(subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE))
        assert running[-1].stdout
        return running[-1].pid, running[-1].stdout.readline().decode().strip()

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def file_of(shm: str, name: str) -> Segment:
    status = os.stat(os.path.join(shm, name))
    return Segment("file", name, status.st_dev, status.st_ino)


def end(pid: int) -> None:
    os.kill(pid, 9)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_what_a_killed_process_held_is_removed_and_not_before(shm: str, hold: Hold) -> None:
    pid, number = hold("psm_one")
    Path(shm, "psm_other").write_bytes(b"x")
    held = ipc.held_by([pid], shm)
    assert held == {file_of(shm, "psm_one"), Segment("shm", number)}
    assert ipc.remove({file_of(shm, "psm_one")}, shm) == [] and os.path.exists(os.path.join(shm, "psm_one"))
    end(pid)
    assert set(ipc.remove(held, shm)) == held
    assert os.listdir(shm) == ["psm_other"] and ipc.remove(held, shm) == []


def test_what_another_process_has_only_open_stays(shm: str, hold: Hold) -> None:
    pid, dummy = hold("psm_one")
    hold("psm_one", OPENER)
    held = ipc.held_by([pid], shm)
    end(pid)
    assert [segment.kind for segment in ipc.remove(held, shm)] == ["shm"]
    assert os.listdir(shm) == ["psm_one"]


def test_a_new_file_of_the_same_name_is_not_the_old_one(shm: str) -> None:
    Path(shm, "psm_one").write_bytes(b"x")
    old = file_of(shm, "psm_one")
    stale = Segment("file", "psm_one", old.device, old.inode + 1)
    assert ipc.remove({stale}, shm) == [] and os.listdir(shm) == ["psm_one"]


def test_of_a_shared_account_only_the_names_of_runtimes_and_only_young_ones_are_meant(shm: str) -> None:
    for name in ("psm_1a2b", "sem.mp-x", "torch_12_3_0", "nccl-AbC", "pulse-shm-1", "sem.mine", "mp-3"):
        Path(shm, name).write_bytes(b"x")
    Path(shm, "psm_folder").mkdir()
    Path(shm, "psm_link").symlink_to("pulse-shm-1")
    now = time.time()
    mine = Maker(os.geteuid(), now - 60, is_dedicated=False)
    assert {segment.name for segment in ipc.left_by(mine, shm)} == {"psm_1a2b", "sem.mp-x", "torch_12_3_0", "nccl-AbC"}
    assert ipc.left_by(Maker(os.geteuid(), now + 60, False), shm) == set()
    assert ipc.left_by(Maker(os.geteuid() + 1, now - 60, False), shm) == set()
    # Processes of this account live, so it counts as a shared one whatever it was said to be.
    assert {segment.name for segment in ipc.left_by(Maker(os.geteuid(), now - 60, True), shm)} == {"psm_1a2b", "sem.mp-x", "torch_12_3_0", "nccl-AbC"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make things for another account")
def test_of_an_account_of_its_own_everything_that_is_left_is_meant(shm: str) -> None:
    uid = 64999
    Path(shm, "any name").write_bytes(b"x")
    os.chown(os.path.join(shm, "any name"), uid, uid)
    Path(shm, "of root").write_bytes(b"x")
    child = os.fork()
    if child == 0:
        os.setuid(uid)
        library = ctypes.CDLL(None)
        os._exit(0 if library.shmget(0, 4096, 0o1600) >= 0 and library.semget(0, 1, 0o1600) >= 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    left = ipc.left_by(Maker(uid, time.time() - 60, is_dedicated=True), shm)
    try:
        assert sorted(segment.kind for segment in left) == ["file", "sem", "shm"]
    finally:
        removed = ipc.remove(left, shm)
    assert set(removed) == left and ipc.left_by(Maker(uid, time.time() - 60, is_dedicated=True), shm) == set()
    assert os.listdir(shm) == ["of root"]


def test_a_host_without_shared_memory_has_none(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert ipc.held_by([2**30], missing) == set() and ipc.left_by(Maker(64998, time.time(), False), missing) == set()
    assert ipc.remove(set(), missing) == []
