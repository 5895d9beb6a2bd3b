# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What interrupted runs left: whose it is, and how much of it has to go for a plan to fit."""
from __future__ import annotations

import os
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import models_limits
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest, change_manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.models_apply import Applier
from ansible_collections.venom.llm.plugins.module_utils.models_leftovers import FORGOTTEN_AFTER, find_leftovers, kept_digests
from ansible_collections.venom.llm.plugins.module_utils.models_limits import Limits, check_limits
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request
from ansible_collections.venom.llm.plugins.module_utils.models_sources import Sources
from ansible_collections.venom.llm.plugins.module_utils.models_steps import API, INSTALL, KEEP, RECORD, RELINK, REMOVE, SNAPSHOT, STORE, Step
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.store.partials import Partial
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.models_samples import NEW, OLD, FakeOllamaHost, snapshot
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.store import ollama_models

#: What sizes are counted in here, in bytes.
UNIT = 64 * 1024
GB = 10**9
#: Of an unfinished file when it is whole; smaller ones have no journal.
SIZE = 4 * 1024 * 1024


@dataclass
class Bench:
    """A host on which three runs were interrupted, 3, 2 and 1 thousand seconds ago: 4 units of an unfinished file, blobs of 5 and 6."""

    root: Path
    now: float

    def __post_init__(self) -> None:
        self.host = FakeOllamaHost(self.root)
        self.models = str(self.root / "models")
        self.blobs = Blobs(self.models)
        self.partial = self.leave_partial("1" * 64, 3000)
        self.older = self.leave_blob(5, 2000)
        self.newer = self.leave_blob(6, 1000)

    def leave_partial(self, hexdigits: str, age: float, root: str | None = None) -> Path:
        partial = Partial(root or self.blobs.partial_root, f"sha256:{hexdigits}", SIZE)
        partial.write(b"x" * (4 * UNIT), 0)
        partial.commit([(0, 4 * UNIT)])
        partial.close()
        os.utime(partial.path, (self.now - age,) * 2)
        return Path(partial.path)

    def leave_blob(self, units: int, age: float, digit: str = "") -> Path:
        path = Path(self.blobs.path(Digest("sha256", (digit or str(units)) * 64)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (units * UNIT))
        os.utime(path, (self.now - age,) * 2)
        return path

    def know(self, *entries: Entry) -> Manifest:
        def change(manifest: Manifest) -> Manifest:
            for entry in entries:
                manifest = manifest.merge(entry)
            return manifest

        return change_manifest(self.models, change)

    def found(self, *steps: Step) -> list[str]:
        return [leftover.path for leftover in find_leftovers(Manifest.load(self.models), steps, self.host.store)]

    def apply(self, *steps: Step) -> None:
        manifest = Manifest.load(self.models)
        Applier(manifest, Sources(self.host.params, 0.0), self.host).apply(steps)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, time.time())


def step(units: int = 0, action: str = INSTALL, method: str = SNAPSHOT, hexdigits: str = "0" * 64, **more: t.Any) -> Step:
    file = RemoteFile("model.safetensors", units * UNIT, hexdigits, None, "http://hub/x")
    name = "c/d" if method == SNAPSHOT else "phi3"
    return Step(Request.parse({"name": name}, "present"), action, missing=(file,) if units else (), method=method, **more)


def test_leftovers_are_what_the_plan_may_collect_the_oldest_first(bench: Bench) -> None:
    ours = [str(path) for path in (bench.partial, bench.older, bench.newer)]
    assert bench.found(step(1)) == ours == bench.found(step(action=REMOVE))
    assert bench.found(step(8, hexdigits="1" * 64)) == ours[1:], "what it goes on with is none"
    assert bench.found(step(1, known={"x": Digest("sha256", "5" * 64)})) == [ours[0], ours[2]]
    assert bench.found(step(action=KEEP)) == bench.found(step(action=RECORD)) == bench.found(step(1, method=API)) == []
    ollama_models.put(bench.host.store, b"staged")
    theirs = str(bench.leave_partial("2" * 64, 5000, bench.host.store.partial_root))
    staged = bench.host.store.staged_path(ollama_models.digest_of(b"staged"))
    assert bench.found(step(1, method=STORE)) == [theirs, staged]
    assert bench.found(step(1), step(method=STORE, action=RECORD)) == [theirs, *ours, staged]


def test_what_a_record_speaks_of_is_no_leftover(bench: Bench) -> None:
    """A snapshot whose file somebody replaced is repaired from its blob, in this call or a later one."""
    entry = snapshot(bench.root / "models", OLD)
    record = entry.files[0]
    blob = Path(bench.blobs.path(record.digest))
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"{}")
    bench.know(entry)
    assert str(blob) not in bench.found(step(1))
    assert kept_digests([step(action=RELINK, before=(entry,))]) == {record.digest}


@pytest.mark.parametrize(
    ("lacking", "gone"),
    [(0, 0), (1, 1), (4, 1), (5, 2), (9, 2), (10, 3), (15, 3)],
)
@pytest.mark.parametrize("by", ["disk", "quota"])
def test_as_much_goes_as_it_takes_and_no_more(bench: Bench, monkeypatch: pytest.MonkeyPatch, lacking: int, gone: int, by: str) -> None:
    """``lacking`` units are missing for the plan to fit beside what was left; a journal makes the first of it a little more."""
    monkeypatch.setattr(models_limits, "measure_free", lambda path: (100 - lacking) * UNIT if by == "disk" else 10**15)
    monkeypatch.setattr(models_limits, "measure_usage", lambda path: 15 * UNIT)
    limits = Limits(1e6 if by == "disk" else (115 - lacking) * UNIT / GB, 1e6, True, 0.0)
    budget = check_limits(Manifest(bench.models), [step(100)], limits, bench.host.store)
    left = [str(path) for path in (bench.partial, bench.older, bench.newer)]
    assert [leftover.path for leftover in budget.doomed] == left[:gone]
    for leftover in budget.doomed:
        leftover.remove()
    assert [path for path in left if os.path.exists(path)] == left[gone:]
    assert os.path.exists(f"{bench.partial}.journal") is not bool(gone)


def test_what_would_not_help_does_not_go(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full file system of Ollama's store gets nothing from the one of the models folder."""
    monkeypatch.setattr(models_limits, "device_of", lambda path: 2 if path.endswith("store") else 1)
    monkeypatch.setattr(models_limits, "measure_free", lambda path: 0 if path.endswith("store") else 10**15)
    theirs = bench.leave_partial("2" * 64, 10, bench.host.store.partial_root)
    limits = Limits(1e6, 1e6, True, 0.0)
    budget = check_limits(Manifest(bench.models), [step(100), step(3, method=STORE)], limits, bench.host.store)
    assert [leftover.path for leftover in budget.doomed] == [str(theirs)]
    with pytest.raises(VenomError) as caught:
        check_limits(Manifest(bench.models), [step(100), step(5, method=STORE)], limits, bench.host.store)
    assert caught.value.reason_code == "disk_full"


def test_a_removal_collects_what_its_model_used_and_nothing_else(bench: Bench) -> None:
    entries = [snapshot(bench.root / "models", commit) for commit in (OLD, NEW)]
    blob = Path(bench.blobs.path(entries[0].files[0].digest))
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"{}")
    bench.know(*entries)
    for entry, is_left in zip(entries, (True, False)):
        request = Request.parse({"name": "a/b", "revision": entry.revision}, "absent")
        bench.apply(Step(request, REMOVE, before=(entry,), folders=(os.path.basename(entry.local_path),)))
        assert blob.exists() is is_left, "the other revision is repaired from it"
        assert not os.path.exists(entry.local_path)
    assert Manifest.load(bench.models).models == ()
    assert all(path.exists() for path in (bench.partial, bench.older, bench.newer))


def test_a_removal_that_fails_half_way_is_finished_by_the_next(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record goes last, so that what is not collected yet is still known to be its."""
    entry = snapshot(bench.root / "models", OLD)
    blob = Path(bench.blobs.path(entry.files[0].digest))
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"{}")
    bench.know(entry)
    removal = Step(Request.parse({"name": "a/b"}, "absent"), REMOVE, before=(entry,), folders=(os.path.basename(entry.local_path),))

    def break_down(*dummy: t.Any, only: t.Any = None, **also_dummy: t.Any) -> int:
        if only is None:
            return 0
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(Blobs, "collect", break_down)
        with pytest.raises(OSError):
            bench.apply(removal)
    assert len(Manifest.load(bench.models).models) == 1
    bench.apply(removal)
    assert (Manifest.load(bench.models).models, blob.exists()) == ((), False)


def test_what_nobody_went_on_with_for_a_week_goes(bench: Bench) -> None:
    week = bench.now - FORGOTTEN_AFTER - 100
    for path in (bench.partial, bench.older):
        os.utime(path, (week, week))
    entry = snapshot(bench.root / "models", OLD)
    bench.know(entry)
    bench.apply(Step(Request.parse({"name": "a/b"}, "present"), RECORD, before=(entry,), after=entry.replace(alias="x")))
    assert [path.exists() for path in (bench.partial, bench.older, bench.newer)] == [False, False, True]
