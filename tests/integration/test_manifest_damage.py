# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest on a real disk: damaged at any place, with two writers at once, on a full disk, killed while it is written."""
from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from integration.models_support import FakeContext, manifest_params, model_params

from ansible_collections.venom.llm.plugins.module_utils.discovery import Hashes, discover
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest, change_manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_states import run_manifest
from ansible_collections.venom.llm.plugins.module_utils.models import run_if_unchanged, run_models
from ansible_collections.venom.llm.plugins.module_utils.models_info import run_info
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.discovery_samples import ONE, TWO, damage, publish
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.manifest_samples import record

#: Adds so many records of a name to the manifest of a folder, one change for each.
WRITER = """
import sys
from ansible_collections.venom.llm.plugins.module_utils.manifest import Entry, change_manifest
folder, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
record = __import__("json").loads(sys.argv[4])
print("ready", flush=True)
for number in range(count):
    entry = Entry.from_dict(dict(record, name=f"{name}/m{number}"), folder)
    change_manifest(folder, lambda manifest: manifest.merge(entry))
    print(number, flush=True)
"""


def host(folder: Path) -> Path:
    """A models folder with two recorded snapshots."""
    models = folder / "models"
    publish(models, ONE)
    publish(models, TWO, "c--d", config=b"{}")
    entries = discover(str(models), (), Hashes())[0]
    change_manifest(str(models), lambda manifest: Manifest(str(models), [entries[0].replace(alias="mine"), *entries[1:]]))
    return models


def start_writer(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count), json.dumps(record())]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_file_damaged_at_any_place_is_completed_from_the_disk(tmp_path: Path) -> None:
    models = host(tmp_path)
    path = models / "manifest.json"
    content, whole = path.read_bytes(), Manifest.load(str(models))
    dice = random.Random(1)
    for offset in range(0, len(content) - 1, 29):
        flipped = bytearray(content)
        flipped[offset] ^= 1 << dice.randrange(8)
        for harmed in (content[:offset], bytes(flipped)):
            path.write_bytes(harmed)
            manifest = Manifest.load(str(models))
            assert path.read_bytes() == harmed
            assert manifest.is_damaged and "is not what this collection wrote" in manifest.warnings[0]
            assert [(entry.name, entry.sha256) for entry in manifest.models] == [(entry.name, entry.sha256) for entry in whole.models]
            assert all(entry in whole.models or not entry.is_vouched_for for entry in manifest.models)
    assert sorted(os.listdir(models)) == ["blobs", "hf", "locks", "manifest.json", "partial"]


def test_what_was_rebuilt_is_hashed_before_a_run_says_that_all_is_well(tmp_path: Path) -> None:
    models = host(tmp_path)
    good = Manifest.load(str(models)).models
    (models / "manifest.json").write_bytes(b"{")
    info = run_info({"models_dir": str(models), "name": "a/b", "limit": 1, "usage": False}, FakeContext())
    assert (info["models"][0]["is_hashed"], info["models"][0]["status"], info["manifest"]["is_damaged"]) == (False, "installed", True)
    params = model_params(tmp_path, name="a/b")
    assert run_if_unchanged(params, FakeContext()) is None, "hashing takes its time, so it is no quick look"
    assert run_models(params, FakeContext(True))["changed"] is False
    context = FakeContext()
    assert run_models(params, context)["changed"] is False
    assert "kept under a dated name" in context.warnings[0]
    found = Manifest.load(str(models))
    assert not found.is_damaged and found.models[0].files == good[0].files
    assert [entry.is_vouched_for for entry in found.models] == [True, False]
    assert run_models(params, context := FakeContext())["changed"] is False and context.warnings == []


def test_what_was_rebuilt_and_is_bad_is_not_believed(tmp_path: Path) -> None:
    models = host(tmp_path)
    damage(Path(Manifest.load(str(models)).models[0].local_path) / "config.json")
    (models / "manifest.json").write_bytes(b"{")
    params = manifest_params(tmp_path, state="discovered")
    context = FakeContext()
    assert run_manifest(params, context)["changed"] is True
    assert any("a/b" in warning and "verified" in warning for warning in context.warnings)
    assert [entry.is_vouched_for for entry in Manifest.load(str(models)).models] == [False, True]
    from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

    with pytest.raises(VenomError):
        # Its bytes have to be fetched again, and there is no hub.
        run_models(model_params(tmp_path, name="a/b", endpoint="http://127.0.0.1:9", retries=0), FakeContext())


def test_writers_at_once_lose_none_of_each_others_records(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, name, 12) for name in ("red", "blue", "green")]
    assert [process.wait(120) for process in writers] == [0, 0, 0]
    manifest = Manifest.load(str(tmp_path))
    assert len(manifest.models) == 36 and not manifest.is_damaged and manifest.is_stored()


def test_a_writer_that_is_killed_leaves_a_whole_manifest_and_what_it_had_told(tmp_path: Path) -> None:
    told: set[str] = set()
    for turn in range(4):
        process = start_writer(tmp_path, f"t{turn}", 500)
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for dummy in range(4 + turn)]
        time.sleep(0.002 * turn)
        process.send_signal(signal.SIGKILL)
        process.wait(120)
        told |= {f"t{turn}/m{line}" for line in lines if line.isdigit()}
        manifest = Manifest.load(str(tmp_path))
        assert not manifest.is_damaged and told <= {entry.name for entry in manifest.models}
    assert len(told) == 3 + 4 + 5 + 6


@pytest.fixture
def small_disk(tmp_path: Path) -> t.Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_full_disk_keeps_the_manifest_that_is_there(small_disk: Path, is_damaged: bool) -> None:
    models = host(small_disk)
    path = models / "manifest.json"
    if is_damaged:
        path.write_bytes(path.read_bytes()[:-100])
    before = path.read_bytes()
    with open(small_disk / "filler", "wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
        while True:
            filler.write(b"x" * 4096)
    with pytest.raises(OSError, match="No space left"):
        run_manifest(manifest_params(small_disk, name="c/d", capabilities={"supports_tools": True}), FakeContext())
    assert path.read_bytes() == before
    assert [entry.name for entry in Manifest.load(str(models)).models] == ["a/b", "c/d"]
    (small_disk / "filler").unlink()
    run_manifest(manifest_params(small_disk, name="c/d", capabilities={"supports_tools": True}), FakeContext())
    assert Manifest.load(str(models)).declared == {"huggingface:c/d": {"supports_tools": True}}
    assert not [name for name in os.listdir(models) if name.startswith(".venom")], "nothing unfinished stays"
