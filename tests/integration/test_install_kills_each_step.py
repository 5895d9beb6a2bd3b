# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs and removals that die before each of their changes to the disk in turn: what seeded moments seldom hit is in none of them wrong.

Python announces every change of a name (sys.addaudithook), so a process can be told to kill itself before its n-th one, or its n-th
os.write. A parent with everything imported forks them, which makes hundreds cheap.
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from integration.install_checks import HostCheck, check_idle
from integration.install_support import (
    call,
    make_model,
)
from integration.models_support import install

from lab.hub import Hub

pytest.importorskip("huggingface_hub")

NAME = "a/b"
_PARENT = """
import json, os, signal, sys
import huggingface_hub.hf_api
from integration.models_support import FakeContext
from ansible_collections.venom.llm.plugins.module_utils import models_apply, models_online
from ansible_collections.venom.llm.plugins.module_utils.models import run_models
CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.utime", "shutil.rmtree"}
left = None
def count():
    global left
    if left is not None:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
def hook(event, arguments):
    if event in CHANGES or event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        count()
def write(*arguments, real=os.write):
    count()
    return real(*arguments)
sys.addaudithook(hook)
os.write = write
for line in sys.stdin:
    left, params = json.loads(line)
    child = os.fork()
    if child == 0:
        run_models(params, FakeContext())
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    left = None
"""


class Runner:
    """Runs calls one at a time, each in a process that may be told to die before its n-th change."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PARENT],
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, params: dict[str, t.Any], dies_before: int | None = None) -> bool:
        """Whether it came through, and was not killed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([dies_before, params]) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        assert code in (0, -9)
        return code == 0

    def stop(self) -> None:
        """End the parent."""
        self._process.communicate()


@pytest.fixture
def runner() -> t.Iterator[Runner]:
    running = Runner()
    yield running
    running.stop()


@pytest.fixture
def hub(tmp_path: Path) -> t.Iterator[Hub]:
    with Hub() as running:
        running.add_repo(NAME, make_model(tmp_path / "one", 1, 1, parts=1), tag="v1")
        running.add_repo(NAME, make_model(tmp_path / "two", 2, 3, parts=1), tag="v2")
        yield running


def test_each_step_of_an_install_and_of_a_removal(tmp_path: Path, hub: Hub, runner: Runner) -> None:
    install(tmp_path, hub, name=NAME, revision="v1")
    tags = hub.store.repos[NAME].tags
    host = HostCheck(tmp_path, hub, NAME, tags["v1"], tags["v2"])
    there = call(tmp_path, hub, name=NAME, revision="v2", max_parallel=1)
    gone = call(tmp_path, hub, name=NAME, revision="v2", state="absent")
    moments = {"install": 0, "remove": 0}
    while not runner.run(there, moments["install"] + 1):
        moments["install"] += 1
        host.check()
        assert runner.run(there)
        host.check_complete()
        assert runner.run(gone)
    while not runner.run(gone, moments["remove"] + 1):
        moments["remove"] += 1
        host.check(is_removal=True)
        assert runner.run(gone)
        host.check()
        assert runner.run(there)
        host.check_complete()
    check_idle(tmp_path / "models")
    assert hub.errors == []
    # Blobs, links, folders, manifest, journal: so many changes there are at the least.
    assert moments["install"] > 50 and moments["remove"] > 20
