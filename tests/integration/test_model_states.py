# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""venom_model against a hub: twelve steps, repair, revisions side by side, lists; each step in check mode and for real."""
from __future__ import annotations

import json
import os
import shutil
import typing as t
from pathlib import Path

import pytest
from integration.models_support import FakeContext, install, model_params, small_model, tree

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import Lock
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.models import run_models
from lab.hub import Hub

pytest.importorskip("huggingface_hub")


@pytest.fixture
def hub(tmp_path: Path) -> t.Iterator[Hub]:
    with Hub(cdn_host="127.0.0.2", resolve_cache=True) as running:
        yield running


def step(folder: Path, hub: Hub, changed: bool, **options: t.Any) -> dict[str, t.Any]:
    """One step in check mode, which must touch nothing, then for real; both must tell the same."""
    before = tree(folder)
    checked = install(folder, hub, check=True, **options)
    assert tree(folder) == before
    real = install(folder, hub, **options)
    assert (checked["changed"], real["changed"]) == (changed, changed)
    for key in ("diff", "plan", "bytes_total", "bytes_to_fetch", "bytes_kept"):
        assert checked[key] == real[key]
    assert real["bytes_fetched"] == real["bytes_to_fetch"]
    assert (real["diff"]["before"] != real["diff"]["after"]) is changed
    return real


def snapshot(folder: Path, repo: str, commit: str) -> Path:
    return folder / "models" / "hf" / f"{repo.replace('/', '--')}@{commit}"


def test_twelve_steps(tmp_path: Path, hub: Hub) -> None:
    first = hub.add_repo("a/b", small_model(tmp_path / "one", 1, README__md="one"))
    host = tmp_path / "host"
    host.mkdir()

    created = step(host, hub, True, name="a/b")
    assert created["models"][0]["revision"] == first
    assert created["operations"][0]["status"] == "completed"
    assert (snapshot(host, "a/b", first) / "README.md").read_text() == "one"
    step(host, hub, False, name="a/b")

    step(host, hub, True, name="a/b", alias="short")
    step(host, hub, False, name="a/b", alias="short")
    step(host, hub, False, name="a/b")

    second = hub.add_repo("a/b", small_model(tmp_path / "two", 2, README__md="one"))
    step(host, hub, False, name="a/b")
    updated = step(host, hub, True, name="a/b", state="latest")
    assert updated["models"][0]["revision"] == second
    assert updated["models"][0]["alias"] == "short"
    assert updated["bytes_kept"] > 0
    step(host, hub, False, name="a/b", state="latest")
    assert snapshot(host, "a/b", first).is_dir()

    removed = step(host, hub, True, name="a/b", state="absent")
    assert removed["models"] == []
    assert not (host / "models" / "hf").exists()
    assert not (host / "models" / "blobs").exists()
    step(host, hub, False, name="a/b", state="absent")


def test_files_are_linked_verified_and_readable_by_the_service(tmp_path: Path, hub: Hub) -> None:
    commit = hub.add_repo("a/b", small_model(tmp_path / "repo"))
    old = os.umask(0o077)
    try:
        result = install(tmp_path, hub, name="a/b")
    finally:
        os.umask(old)
    path = snapshot(tmp_path, "a/b", commit)
    assert result["models"][0]["local_path"] == str(path)
    for found in path.iterdir():
        assert (found.stat().st_mode & 0o7777, found.stat().st_nlink) == (0o444, 2)
    for folder in (path, path.parent, tmp_path / "models", tmp_path / "models" / "blobs"):
        assert folder.stat().st_mode & 0o7777 == 0o755
    assert not (tmp_path / "models" / "partial").exists()
    (entry,) = Manifest.load(str(tmp_path / "models")).models
    assert entry.capabilities["max_context_length"] == {"value": 128, "source": "detected"}


def test_each_file_and_each_listing_is_asked_for_once(tmp_path: Path, hub: Hub) -> None:
    hub.page_size = 2
    hub.add_repo("a/b", small_model(tmp_path / "repo", 1, README__md="x", NOTICE="y"))
    install(tmp_path, hub, name="a/b")
    assert len(hub.log.entries("/api/models/a/b/revision/*")) == 1
    assert len(hub.log.entries("/api/models/a/b/tree/*")) == 3
    resolved = [entry.path for entry in hub.log.entries("/a/b/resolve/*")]
    assert len(resolved) == len(set(resolved)) == 5


def test_latest_asks_for_the_commit_only_when_nothing_moved(tmp_path: Path, hub: Hub) -> None:
    hub.add_repo("a/b", small_model(tmp_path / "repo"))
    install(tmp_path, hub, name="a/b", state="latest")
    hub.log.clear()
    assert install(tmp_path, hub, name="a/b", state="latest")["changed"] is False
    assert len(hub.log.entries()) == 1
    assert install(tmp_path, hub, name="a/b", state="latest", alias="x")["changed"] is True
    assert install(tmp_path, hub, name="a/b", state="latest", alias="x")["changed"] is False


def test_latest_follows_a_branch_back(tmp_path: Path, hub: Hub) -> None:
    first = hub.add_repo("a/b", small_model(tmp_path / "one", 1))
    install(tmp_path, hub, name="a/b")
    manifest = Manifest.load(str(tmp_path / "models"))
    manifest.merge(manifest.models[0].replace(installed_at="2020-01-01T00:00:00+00:00")).save()
    hub.add_repo("a/b", small_model(tmp_path / "two", 2))
    install(tmp_path, hub, name="a/b", state="latest")
    hub.store.repos["a/b"].branches["main"] = first
    result = install(tmp_path, hub, name="a/b", state="latest")
    assert (result["changed"], result["bytes_fetched"]) == (True, 0)


def test_a_pin_is_satisfied_by_that_commit_only(tmp_path: Path, hub: Hub) -> None:
    first = hub.add_repo("a/b", small_model(tmp_path / "one", 1), tag="v1")
    hub.add_repo("a/b", small_model(tmp_path / "two", 2))
    install(tmp_path, hub, name="a/b")
    host = tmp_path
    assert step(host, hub, True, name="a/b", revision=first)["models"][0]["revision"] == first
    step(host, hub, False, name="a/b", revision=first)
    step(host, hub, True, name="a/b", revision="v1")
    step(host, hub, False, name="a/b", revision="v1")
    assert len(Manifest.load(str(host / "models")).models) == 2
    step(host, hub, True, name="a/b", revision=first, state="absent")
    step(host, hub, False, name="a/b", revision=first, state="absent")
    assert len(Manifest.load(str(host / "models")).models) == 1


def test_a_list_shares_contents_and_counts_them_once(tmp_path: Path, hub: Hub) -> None:
    hub.add_repo("a/b", small_model(tmp_path / "repo", 1))
    hub.add_repo("c/d", small_model(tmp_path / "repo", 1))
    models = [{"name": "a/b", "alias": "one"}, {"name": "c/d"}]
    result = step(tmp_path, hub, True, models=models)
    assert result["bytes_total"] == 2 * result["bytes_to_fetch"]
    step(tmp_path, hub, False, models=models)
    result = step(tmp_path, hub, True, models=[{"name": "a/b", "state": "absent"}, {"name": "c/d"}])
    assert [entry["name"] for entry in result["models"]] == ["c/d"]
    assert step(tmp_path, hub, False, name="c/d")["bytes_kept"] > 0


def test_patterns_choose_and_a_change_of_them_is_noticed(tmp_path: Path, hub: Hub) -> None:
    commit = hub.add_repo("a/b", small_model(tmp_path / "repo", 1, README__md="x", NOTICE="y"))
    step(tmp_path, hub, True, name="a/b", exclude=["*.md"])
    step(tmp_path, hub, False, name="a/b", exclude=["*.md"])
    assert not (snapshot(tmp_path, "a/b", commit) / "README.md").exists()
    step(tmp_path, hub, True, name="a/b", exclude=["NOTICE"])
    assert (snapshot(tmp_path, "a/b", commit) / "README.md").exists()
    assert not (snapshot(tmp_path, "a/b", commit) / "NOTICE").exists()
    step(tmp_path, hub, False, name="a/b", exclude=["NOTICE"])


@pytest.mark.parametrize("damage", ["deleted", "edited", "truncated", "replaced", "folder"])
def test_damage_by_hand_is_noticed_and_repaired(tmp_path: Path, hub: Hub, damage: str) -> None:
    commit = hub.add_repo("a/b", small_model(tmp_path / "repo", 1))
    install(tmp_path, hub, name="a/b")
    path = snapshot(tmp_path, "a/b", commit) / "model.safetensors"
    good = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    elif damage == "folder":
        shutil.rmtree(path.parent)
    elif damage == "replaced":
        path.unlink()
        path.write_bytes(b"x" * len(good))
    else:
        path.chmod(0o644)
        path.write_bytes(good[:-1] + b"X" if damage == "edited" else good[:-1])
    result = step(tmp_path, hub, True, name="a/b")
    assert path.read_bytes() == good
    assert result["files_repaired"] == (3 if damage == "folder" else 1)
    assert (result["bytes_fetched"] > 0) is (damage in ("edited", "truncated"))
    step(tmp_path, hub, False, name="a/b")


def test_a_restored_backup_is_hashed_and_not_fetched(tmp_path: Path, hub: Hub) -> None:
    hub.add_repo("a/b", small_model(tmp_path / "repo", 1))
    install(tmp_path, hub, name="a/b")
    shutil.copytree(tmp_path / "models", tmp_path / "copy")
    shutil.rmtree(tmp_path / "models")
    (tmp_path / "copy").rename(tmp_path / "models")
    hub.stop()
    result = install(tmp_path, hub, name="a/b")
    assert (result["changed"], result["bytes_fetched"]) == (True, 0)
    assert install(tmp_path, hub, name="a/b")["changed"] is False


def test_a_moved_models_folder_still_answers(tmp_path: Path, hub: Hub) -> None:
    hub.add_repo("a/b", small_model(tmp_path / "repo", 1))
    install(tmp_path, hub, name="a/b")
    (tmp_path / "models").rename(tmp_path / "moved")
    hub.stop()
    result = install(tmp_path, hub, name="a/b", models_dir=str(tmp_path / "moved"))
    assert result["changed"] is False
    assert result["models"][0]["local_path"].startswith(str(tmp_path / "moved"))


def test_an_active_model_is_not_removed(tmp_path: Path, hub: Hub) -> None:
    commit = hub.add_repo("a/b", small_model(tmp_path / "repo", 1))
    install(tmp_path, hub, name="a/b")
    (tmp_path / "etc").mkdir()
    active = {"model": "a/b", "revision": commit, "path": str(snapshot(tmp_path, "a/b", commit))}
    (tmp_path / "etc" / "runtime.json").write_text(json.dumps({"schema": 1, "active": {"vllm": active}}))
    for check in (True, False):
        with pytest.raises(VenomError) as caught:
            install(tmp_path, hub, check, name="a/b", state="absent")
        assert caught.value.reason_code == "model_active"
    (tmp_path / "etc" / "runtime.json").write_text("broken")
    with pytest.raises(VenomError):
        install(tmp_path, hub, name="a/b", state="absent")
    assert install(tmp_path, hub, name="a/b", state="absent", force=True)["changed"] is True


def test_absent_removes_what_the_manifest_has_lost_and_needs_no_hub(tmp_path: Path, hub: Hub) -> None:
    commit = hub.add_repo("a/b", small_model(tmp_path / "repo", 1))
    install(tmp_path, hub, name="a/b")
    (tmp_path / "models" / "manifest.json").unlink()
    hub.stop()
    assert install(tmp_path, hub, True, name="a/b", state="absent")["changed"] is True
    assert install(tmp_path, hub, name="a/b", state="absent")["changed"] is True
    assert not snapshot(tmp_path, "a/b", commit).exists()


def test_an_unreadable_manifest_is_rebuilt_without_the_hub(tmp_path: Path, hub: Hub) -> None:
    hub.add_repo("a/b", small_model(tmp_path / "repo", 1))
    install(tmp_path, hub, name="a/b", alias="x")
    (tmp_path / "models" / "manifest.json").write_bytes(b"\0" * 100)
    hub.stop()
    context = FakeContext()
    result = run_models(model_params(tmp_path, hub, name="a/b", alias="x"), context)
    assert result["changed"] is True
    assert "unreadable" in context.warnings[0]
    assert install(tmp_path, hub, name="a/b", alias="x")["changed"] is False


@pytest.mark.parametrize(
    ("models", "code"),
    [
        ([{"name": "a/b", "alias": "x"}, {"name": "c/d", "alias": "x"}], "alias_taken"),
        ([{"name": "a/b", "alias": "c/d"}, {"name": "c/d"}], "alias_taken"),
        ([{"name": "a/b", "alias": "taken"}], "alias_taken"),
        ([{"name": "a/b", "alias": "e/f"}], "alias_taken"),
        ([{"name": "a/b"}, {"name": "a/b"}], "invalid_option"),
        ([{"name": "a/b"}, {"name": "a/b", "state": "absent"}], "invalid_option"),
        ([{"name": "a/b", "revision": "main"}, {"name": "a/b", "revision": "v1"}], "invalid_option"),
        ([{"name": "../x"}], "invalid_name"),
        ([{"name": "a/b", "runtime": "ollama"}], "incompatible_runtime"),
        ([{"name": "phi3:mini"}, {"name": "library/phi3", "provider": "ollama", "revision": "mini"}], "invalid_option"),
        ([{"name": "phi3:mini", "revision": "3.8b"}], "invalid_option"),
        ([{"name": "phi3:mini", "include": ["*"]}], "invalid_option"),
    ],
)
def test_contradictions_are_refused_before_anything_is_done(tmp_path: Path, hub: Hub, models: list[dict[str, t.Any]], code: str) -> None:
    for seed, name in enumerate(("a/b", "c/d", "e/f")):
        hub.add_repo(name, small_model(tmp_path / name, seed), tag="v1")
    install(tmp_path, hub, name="e/f", alias="taken")
    before = tree(tmp_path / "models")
    for check in (True, False):
        with pytest.raises(VenomError) as caught:
            install(tmp_path, hub, check, models=models)
        assert caught.value.reason_code == code
    assert tree(tmp_path / "models") == before


@pytest.mark.parametrize(
    ("name", "value"), [("max_parallel", 0), ("max_parallel", 65), ("retries", -1), ("stall_timeout", 0.0), ("max_disk_gb", float("nan"))]
)
def test_numbers_that_make_no_sense(tmp_path: Path, name: str, value: float) -> None:
    options: dict[str, t.Any] = {name: value}
    with pytest.raises(VenomError) as caught:
        install(tmp_path / "host", None, name="a/b", **options)
    assert (caught.value.reason_code, caught.value.details["option"]) == ("invalid_option", name)


def test_a_renamed_repository_is_followed(tmp_path: Path, hub: Hub) -> None:
    commit = hub.add_repo("old/name", small_model(tmp_path / "repo", 1))
    hub.rename("old/name", "new/name")
    step(tmp_path, hub, True, name="old/name")
    assert snapshot(tmp_path, "old/name", commit).is_dir()


def test_aliases_can_be_swapped_and_taken_over_from_a_removed_model(tmp_path: Path, hub: Hub) -> None:
    for seed, name in enumerate(("a/b", "c/d")):
        hub.add_repo(name, small_model(tmp_path / name, seed))
    step(tmp_path, hub, True, models=[{"name": "a/b", "alias": "x"}, {"name": "c/d", "alias": "y"}])
    step(tmp_path, hub, True, models=[{"name": "a/b", "alias": "y"}, {"name": "c/d", "alias": "x"}])
    step(tmp_path, hub, True, models=[{"name": "c/d", "alias": "y"}, {"name": "a/b", "state": "absent"}])
    assert [(entry.name, entry.alias) for entry in Manifest.load(str(tmp_path / "models")).models] == [("c/d", "y")]


def test_a_second_writer_is_told_who_is_at_work(tmp_path: Path, hub: Hub) -> None:
    hub.add_repo("a/b", small_model(tmp_path / "repo", 1))
    with Lock(str(tmp_path / "models" / "locks" / "models-vllm.lock"), 0, {"what": "somebody"}):
        with pytest.raises(VenomError) as caught:
            install(tmp_path, hub, name="a/b")
        assert caught.value.reason_code == "locked"
        assert "somebody" in str(caught.value)
        assert install(tmp_path, hub, True, name="a/b")["changed"] is True
    install(tmp_path, hub, name="a/b")
    with Lock(str(tmp_path / "models" / "locks" / "models-vllm.lock"), 0):
        assert install(tmp_path, hub, name="a/b")["changed"] is False


def test_a_plan_is_made_anew_when_somebody_was_faster(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add_repo("a/b", small_model(tmp_path / "repo", 1))
    calls: list[int] = []
    real = Lock.__enter__

    def faster(lock: Lock) -> Lock:
        if not calls:
            calls.append(1)
            install(tmp_path, hub, name="a/b", alias="theirs")
        return real(lock)

    monkeypatch.setattr(Lock, "__enter__", faster)
    result = install(tmp_path, hub, name="a/b")
    assert (result["changed"], result["bytes_fetched"]) == (False, 0)
    assert Manifest.load(str(tmp_path / "models")).models[0].alias == "theirs"


def test_leftovers_of_a_crash_are_cleared_away(tmp_path: Path, hub: Hub) -> None:
    hub.add_repo("a/b", small_model(tmp_path / "repo", 1))
    (tmp_path / "models" / "hf" / ".venom.1.x").mkdir(parents=True)
    (tmp_path / "models" / "partial").mkdir()
    (tmp_path / "models" / "partial" / ".venom.1.y").write_bytes(b"half")
    install(tmp_path, hub, name="a/b")
    assert [path.name for path in (tmp_path / "models" / "hf").iterdir() if path.name.startswith(".")] == []
    assert not (tmp_path / "models" / "partial").exists()


def test_check_mode_without_a_backend_tells_a_change_and_warns(tmp_path: Path, hub: Hub) -> None:
    class Bare(FakeContext):
        def has_library(self, name: str = "huggingface_hub") -> bool:
            return False

    context = Bare(check_mode=True)
    result = run_models(model_params(tmp_path / "host", hub, name="a/b"), context)
    assert result["changed"] is True
    assert "a/b" in context.warnings[0]
    assert not (tmp_path / "host").exists()
