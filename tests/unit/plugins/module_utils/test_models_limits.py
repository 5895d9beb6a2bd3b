# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arithmetic that refuses a plan before its first byte, with the disk and the folders replaced by numbers."""
from __future__ import annotations

import json
import os
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import models_limits
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord
from ansible_collections.venom.llm.plugins.module_utils.models_limits import GIB, Budget, Disk, Limits, check_limits, compute_budget
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request
from ansible_collections.venom.llm.plugins.module_utils.models_steps import API, INSTALL, KEEP, REMOVE, SNAPSHOT, STORE, Step
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.store.ollama import OllamaStore
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.models_samples import NEW, OLD, snapshot

GB = 10**9
LIMITS = Limits(max_disk_gb=50, confirm_above_gb=20, confirm_large=False, reserve_gib=1)


def step(size: int, method: str = SNAPSHOT, hexdigits: str = "0" * 64, action: str = INSTALL) -> Step:
    file = RemoteFile("model.safetensors", size, hexdigits, None, "http://hub/x")
    name = "a/b" if method == SNAPSHOT else "phi3"
    return Step(Request.parse({"name": name}, "present"), action, missing=(file,) if size else (), method=method)


def on_one_disk(root: str, **numbers: int) -> Budget:
    """A budget that is about one file system alone."""
    budget = Budget(**{"to_fetch": 0, "used": 0, "free": 10**15, "removed": 0, "reclaimable": 0, **numbers})
    disk = Disk((root,), budget.to_fetch, budget.free, budget.removed, budget.reclaimable)
    return replace(budget, disks=(disk,) if budget.to_fetch else ())


def verdict(monkeypatch: pytest.MonkeyPatch, limits: Limits = LIMITS, method: str = SNAPSHOT, **numbers: int) -> VenomError | None:
    budget = on_one_disk("/nonexistent/models" if method == SNAPSHOT else "/nonexistent/store", **numbers)
    monkeypatch.setattr(models_limits, "compute_budget", lambda manifest, steps, ollama: budget)
    try:
        check_limits(Manifest("/nonexistent/models"), [step(budget.to_fetch, method)], limits, OllamaStore("/nonexistent/store"))
    except VenomError as error:
        return error
    return None


def reason(error: VenomError | None) -> str | None:
    return error.reason_code if error else None


def test_exactly_at_a_limit_is_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(monkeypatch, to_fetch=20 * GB) is None
    assert verdict(monkeypatch, to_fetch=10 * GB, used=40 * GB) is None
    assert verdict(monkeypatch, to_fetch=1000, free=1000 + GIB) is None


def test_one_byte_over_each_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(verdict(monkeypatch, to_fetch=20 * GB + 1)) == "confirmation_required"
    assert reason(verdict(monkeypatch, to_fetch=10 * GB, used=40 * GB + 1)) == "quota_exceeded"
    assert reason(verdict(monkeypatch, to_fetch=1000, free=999 + GIB)) == "disk_full"


def test_a_confirmed_plan_still_has_a_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    confirmed = Limits(max_disk_gb=50, confirm_above_gb=20, confirm_large=True, reserve_gib=1)
    assert verdict(monkeypatch, confirmed, to_fetch=50 * GB) is None
    assert reason(verdict(monkeypatch, confirmed, to_fetch=50 * GB + 1)) == "quota_exceeded"


def test_what_the_plan_itself_gives_back_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(monkeypatch, to_fetch=10 * GB, used=50 * GB, removed=6 * GB, reclaimable=4 * GB) is None
    assert verdict(monkeypatch, to_fetch=2 * GIB, free=2 * GIB, removed=GIB) is None


def test_a_plan_that_fetches_nothing_passes_over_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(monkeypatch, to_fetch=0, used=10**15, free=0) is None


def test_a_refusal_has_its_numbers_and_the_folder_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    error = verdict(monkeypatch, to_fetch=30 * GB, used=7)
    assert error is not None and "30.00 GB" in error.wanted and "20 GB" in error.found
    assert (error.details["bytes_needed"], error.details["bytes_used"], error.details["limit_bytes"]) == (30 * GB, 7, 20 * GB)
    assert error.details["largest_models"] == []
    for method, folder in ((SNAPSHOT, "/nonexistent/models"), (STORE, "/nonexistent/store")):
        full = verdict(monkeypatch, method=method, to_fetch=1000, free=0)
        assert full is not None and folder in full.found


@pytest.mark.parametrize(("numbers", "code"), [({"used": 50 * GB}, "quota_exceeded"), ({"free": 0}, "disk_full")])
def test_a_refusal_names_who_could_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, numbers: dict[str, int], code: str) -> None:
    """By name, the largest first, and the one that nobody has activated for the longest time; the one that serves is not named."""
    models = str(tmp_path / "models")
    manifest = Manifest(models).merge(snapshot(tmp_path / "models", OLD, name="a/old")).merge(snapshot(tmp_path / "models", NEW, name="a/new"))
    moments = [("a/old", OLD, "2026-01-01T00:00:00+00:00"), ("a/new", NEW, "2026-02-01T00:00:00+00:00")]
    items = [{"model": name, "revision": commit, "activated_at": moment} for name, commit, moment in moments]
    (tmp_path / "runtime.json").write_text(json.dumps({"active": {"vllm": items[1]}, "history": items}))
    budget = on_one_disk(models, **{"to_fetch": GB, **numbers})
    monkeypatch.setattr(models_limits, "compute_budget", lambda manifest, steps, ollama: budget)
    with pytest.raises(VenomError) as caught:
        check_limits(manifest, [step(GB)], LIMITS, OllamaStore("/nonexistent/store"), str(tmp_path))
    assert caught.value.reason_code == code
    assert "the largest models are a/new" in caught.value.found
    assert "the least recently active are a/old (2026-01-01T00:00:00+00:00)" in caught.value.found
    assert [item["name"] for item in caught.value.details["least_recently_active_models"]] == ["a/old"]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> t.Callable[..., Budget]:
    """The budget of steps over a models folder with 100 bytes and a store with 30, on two disks with 1000 and 500 free."""
    monkeypatch.setattr(models_limits, "measure_usage", lambda path: 100)
    monkeypatch.setattr(models_limits, "measure_free", lambda path: 500 if path.endswith("store") else 1000)
    monkeypatch.setattr(models_limits, "device_of", lambda path: 2 if path.endswith("store") else 1)
    monkeypatch.setattr(OllamaStore, "usage", lambda self: 30)

    def measure(*steps: Step, store: str = "store", entries: t.Sequence[t.Any] = ()) -> Budget:
        manifest = Manifest(str(tmp_path / "models"), entries)
        return compute_budget(manifest, steps, OllamaStore(str(tmp_path / store)))

    return measure


def test_the_store_counts_where_the_plan_is_about_it(measured: t.Callable[..., Budget]) -> None:
    hub, own = step(5), step(5, STORE)
    assert (measured(hub).used, measured(hub).free) == (100, 1000)
    assert (measured(own).used, measured(own).free) == (130, 500)
    assert (measured(hub, own).used, measured(hub, own).free) == (130, 500)
    assert (measured(hub, step(0, STORE, action=KEEP)).used, measured(hub, step(0, STORE, action=KEEP)).free) == (130, 1000)
    assert measured(step(0, STORE, action=REMOVE)).free == 500
    assert measured(own, store="models/store").used == 100, "a store below the models folder is counted with it"


def test_each_file_system_has_a_budget_of_its_own(measured: t.Callable[..., Budget], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models, store = str(tmp_path / "models"), str(tmp_path / "store")
    gone = ollama_entry(80)
    removal = Step(Request.parse({"name": "phi3:mini"}, "absent"), REMOVE, before=(gone,), method=STORE)
    assert measured(step(5), step(0, STORE, action=KEEP)).disks == (Disk((models,), 5, 1000, 0, 0),)
    assert measured(step(5), step(7, API)).disks == (Disk((models,), 5, 1000, 0, 0), Disk((store,), 7, 500, 0, 0))
    assert measured(step(5), removal, entries=[gone]).disks == (Disk((models,), 5, 1000, 0, 0),), "what goes there gives nothing back here"
    monkeypatch.setattr(models_limits, "device_of", lambda path: 1)
    assert measured(step(5), removal, entries=[gone]).disks == (Disk((models,), 5, 1000, 80, 0),)
    assert measured(step(5), step(7, STORE)).disks == (Disk((models, store), 12, 1000, 0, 0),)


def ollama_entry(size: int) -> Entry:
    """The record of a model in Ollama's store."""
    digest = Digest("sha256", "d" * 64)
    return Entry(
        name="phi3:mini",
        provider="ollama",
        runtime="ollama",
        revision="sha256:" + "e" * 64,
        requested_revision="mini",
        alias=None,
        local_path="",
        size_bytes=size,
        files=(FileRecord(f"blobs/sha256-{digest.hex}", size, digest),),
        sha256="",
        installed_at=None,
    )


def test_an_ollama_model_that_is_kept_limits_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file system is small, and a download that goes elsewhere does not mind."""
    free = {"/nonexistent/models": 2000 * GB, "/nonexistent/store": 5 * GB}
    monkeypatch.setattr(models_limits, "measure_usage", lambda path: 0)
    monkeypatch.setattr(models_limits, "measure_free", lambda path: free[path])
    monkeypatch.setattr(models_limits, "device_of", lambda path: sorted(free).index(path))

    def check(*steps: Step) -> Budget:
        return check_limits(Manifest("/nonexistent/models"), steps, LIMITS, OllamaStore("/nonexistent/store"))

    assert check(step(10 * GB), step(0, STORE, action=KEEP)).free == 2000 * GB
    assert check(step(10 * GB), step(3 * GB, STORE)).free == 5 * GB
    with pytest.raises(VenomError) as caught:
        check(step(10 * GB), step(4 * GB, STORE))
    error = caught.value
    assert (error.reason_code, error.details["bytes_needed"], error.details["bytes_free"]) == ("disk_full", 4 * GB, 5 * GB)
    assert "5.00 GB are free in /nonexistent/store;" in error.found + ";" and "4.00 GB for phi3" in error.wanted and "a/b" not in error.wanted


def test_a_content_for_both_folders_comes_twice_and_for_one_folder_once(measured: t.Callable[..., Budget]) -> None:
    assert measured(step(5), step(5)).to_fetch == 5
    assert measured(step(5), step(5, hexdigits="1" * 64)).to_fetch == 10
    assert measured(step(5), step(5, STORE)).to_fetch == 10
    assert measured(step(5, API), step(5, API)).to_fetch == 5


def test_a_store_that_is_closed_to_this_account_does_not_matter_to_the_server(
    measured: t.Callable[..., Budget], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> t.NoReturn:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert measured(step(5, API)).to_fetch == 5


def test_a_removal_gives_back_what_no_other_record_uses(measured: t.Callable[..., Budget], tmp_path: Path) -> None:
    old, new = (snapshot(tmp_path / "models", commit) for commit in (OLD, NEW))
    request = Request.parse({"name": "a/b"}, "absent")
    one, both = Step(request, REMOVE, before=(old,)), Step(request, REMOVE, before=(old, new))
    assert measured(one, entries=[old, new]).removed == 0
    assert measured(both, entries=[old, new]).removed == 2
    counted_on = Step(Request.parse({"name": "c/d"}, "present"), INSTALL, known={"x": old.files[0].digest})
    assert measured(both, counted_on, entries=[old, new]).removed == 0
