# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills, refusals and power cuts between any two steps of a change to an Ollama server's folder."""
from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.store.ollama import OllamaStore
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.store.ollama_models import (
    LICENSE,
    NEW_WEIGHTS,
    OTHER,
    REF,
    WEIGHTS,
    install,
    is_whole,
    model,
    put,
)

#: Everything that changes a folder or makes a change last.
STEPS = (
    "chmod", "chown", "fchmod", "fchown", "fsync", "link", "mkdir", "open", "rename", "replace", "rmdir", "unlink", "utime", "write",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    return folder


@pytest.fixture
def store(root: Path) -> OllamaStore:
    return OllamaStore(str(root))


class Countdown:
    """Ends the process, or refuses, before or after the n-th change of the file system."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, act: t.Callable[[], object], after: bool) -> None:
        self.left = number
        for name in STEPS:
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name), act, after))

    def _wrap(self, function: t.Callable[..., t.Any], act: t.Callable[[], object], after: bool) -> t.Callable[..., t.Any]:
        def step(*arguments: t.Any, **options: t.Any) -> t.Any:
            self.left -= 1
            if self.left == 0 and not after:
                act()
            result = function(*arguments, **options)
            if self.left == 0 and after:
                act()
            return result

        return step


def run_killed(work: t.Callable[[], object], number: int, after: bool) -> bool:
    """Run in a child that dies at a step, without any cleaning up. Returns whether it got to its end instead."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            leave = os._exit
            Countdown(pytest.MonkeyPatch(), number, lambda: leave(9), after)
            work()
            status = 0
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), code
    return code == 0


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_a_kill_at_any_step_of_an_update_leaves_the_old_model_or_the_new(
    root: Path, tmp_path: Path, after: bool, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", lambda *dummy, **dummy_options: os.listdir("/proc/no/such"))
    old = install(OllamaStore(str(root)), REF, WEIGHTS, LICENSE)
    neighbour = install(OllamaStore(str(root)), OTHER, LICENSE)
    new = model(NEW_WEIGHTS, LICENSE)[0]
    saved = tmp_path / "saved"
    shutil.copytree(root, saved)
    number, seen = 0, set()
    is_done = False
    while not is_done:
        number += 1
        shutil.rmtree(root)
        shutil.copytree(saved, root)
        is_done = run_killed(lambda: install(OllamaStore(str(root)), REF, NEW_WEIGHTS, LICENSE), number, after)
        states = (is_whole(root, REF, old), is_whole(root, REF, new))
        assert states in ((True, False), (False, True)), number
        assert is_whole(root, OTHER, neighbour), number
        strays = [path for path in root.rglob(".venom.*") if not path.relative_to(root).as_posix().startswith(".venom")]
        assert strays == [], number
        seen.add(states)
        install(OllamaStore(str(root)), REF, NEW_WEIGHTS, LICENSE)
        assert is_whole(root, REF, new), number
        assert not list(root.rglob(".venom*/staged/*")), number
    assert number > 30
    assert seen == {(True, False), (False, True)}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_step_of_a_first_install_leaves_nothing_that_the_server_sees_or_all_of_it(root: Path, after: bool) -> None:
    new = model(WEIGHTS)[0]
    number, is_done = 0, False
    while not is_done:
        number += 1
        shutil.rmtree(root)
        is_done = run_killed(lambda: install(OllamaStore(str(root)), REF, WEIGHTS), number, after)
        manifests = [path for path in root.glob("manifests/*/*/*/*") if not path.is_dir()]
        assert manifests == [] or is_whole(root, REF, new), number
        install(OllamaStore(str(root)), REF, WEIGHTS)
        assert is_whole(root, REF, new), number
    assert number > 30


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_step_of_a_removal_leaves_the_others_whole(root: Path, tmp_path: Path, after: bool) -> None:
    old = install(OllamaStore(str(root)), REF, WEIGHTS, LICENSE)
    neighbour = install(OllamaStore(str(root)), OTHER, LICENSE)
    saved = tmp_path / "saved"
    shutil.copytree(root, saved)
    number, is_done = 0, False
    while not is_done:
        number += 1
        shutil.rmtree(root)
        shutil.copytree(saved, root)
        is_done = run_killed(lambda: OllamaStore(str(root)).remove(REF), number, after)
        is_there = (root / "manifests/registry.ollama.ai/library/phi3/mini").exists()
        assert is_whole(root, REF, old) is is_there, number
        assert is_whole(root, OTHER, neighbour), number
    assert number > 5


def test_a_refusal_at_any_step_is_raised_and_leaves_the_old_model_or_the_new(root: Path, tmp_path: Path) -> None:
    """A full disk, a quota, a read-only remount: whatever the kernel refuses."""
    old = install(OllamaStore(str(root)), REF, WEIGHTS, LICENSE)
    new = model(NEW_WEIGHTS, LICENSE)[0]
    saved = tmp_path / "saved"
    shutil.copytree(root, saved)

    def refuse() -> None:
        raise OSError(28, "No space left on device")

    number, raised, is_done = 0, 0, False
    while not is_done:
        number += 1
        shutil.rmtree(root)
        shutil.copytree(saved, root)
        with pytest.MonkeyPatch.context() as patch:
            countdown = Countdown(patch, number, refuse, after=False)
            try:
                install(OllamaStore(str(root)), REF, NEW_WEIGHTS, LICENSE)
            except OSError as error:
                assert error.errno == 28, number
                raised += 1
            is_done = countdown.left > 0
        assert is_whole(root, REF, old) or is_whole(root, REF, new), number
        install(OllamaStore(str(root)), REF, NEW_WEIGHTS, LICENSE)
        assert is_whole(root, REF, new), number
    assert raised > 20


def test_what_a_power_cut_may_undo_comes_in_the_right_order(root: Path, store: OllamaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is on disk once its folder was flushed: bytes before their name, all blobs' names before the manifest's."""
    events: list[tuple[str, str]] = []
    replace, fsync = os.replace, os.fsync

    def note_replace(source: str, target: str) -> None:
        replace(source, target)
        events.append(("name", os.path.relpath(target, root)))

    def note_fsync(descriptor: int) -> None:
        fsync(descriptor)
        events.append(("flush", os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), root)))

    manifest, blobs = model(WEIGHTS, LICENSE)
    for content in blobs.values():
        put(store, content)
    monkeypatch.setattr(os, "replace", note_replace)
    monkeypatch.setattr(os, "fsync", note_fsync)
    store.publish(REF, manifest)
    folder = "manifests/registry.ollama.ai/library/phi3"
    published = events.index(("name", f"{folder}/mini"))
    for digest in blobs:
        name = f"sha256-{digest.hex}"
        assert events.index(("flush", f".venom/staged/{name}")) < events.index(("name", f"blobs/{name}")) < events.index(("flush", "blobs"))
    assert events.index(("flush", "blobs")) < published
    assert ("flush", folder) in events[published:]
    assert any(what == "flush" and path.startswith(".venom/.venom.") for what, path in events[:published]), "the manifest's own bytes"
