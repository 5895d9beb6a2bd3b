# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan that one host makes and others follow: what is in it, what it answers, and that a changed one is refused."""
from __future__ import annotations

import copy
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.bundle_index import BundleIndex
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.plan_making import make_plan
from ansible_collections.venom.llm.plugins.module_utils.sources.plan import PlannedModels
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.bundle_samples import hub_model, ollama_model, sha256

REF, TAG = ModelRef.parse("a/b"), ModelRef.parse("phi3:mini", "ollama")


def entries_in(folder: Path) -> list[Entry]:
    models = folder / "models"
    hub = hub_model(models, {"model.safetensors": b"weights", "config.json": b"{}"})
    part = hub_model(models, {"config.json": b"{}"}, name="c/d", commit="4" * 40, include=("*.json",), requested_revision="v2")
    return [hub, part, ollama_model(folder / "ollama", [b"layer", b"config"])]


def planned(plan: t.Any) -> PlannedModels:
    return PlannedModels(plan, "http://hub.example", lambda dummy_ref: "http://registry.example")


@pytest.fixture
def plan(tmp_path: Path) -> dict[str, t.Any]:
    return make(tmp_path, entries_in(tmp_path))[0]


def make(folder: Path, entries: t.Sequence[Entry]) -> tuple[dict[str, t.Any], list[str]]:
    """The plan and the warnings."""
    warnings: list[str] = []
    return make_plan(Manifest(str(folder / "models"), tuple(entries)), entries, warnings.append), warnings


def test_it_says_all_that_a_host_needs(plan: dict[str, t.Any]) -> None:
    travelled = json.loads(json.dumps(plan))
    assert BundleIndex.from_dict(travelled).to_dict() == plan
    first = plan["models"][0]
    assert (first["name"], first["revision"], first["requested_revision"]) == ("a/b", "1" * 40, "main")
    assert {file["path"]: (file["size"], file["sha256"]) for file in first["files"]} == {
        "config.json": (2, sha256(b"{}")),
        "model.safetensors": (7, sha256(b"weights")),
    }
    assert [file["git_sha1"] is not None for file in first["files"]] == [True, False]
    assert "token" not in json.dumps(plan) and plan["created_at"] is None


def test_the_same_models_give_the_same_plan(tmp_path: Path, plan: dict[str, t.Any]) -> None:
    assert make(tmp_path, list(reversed(entries_in(tmp_path))))[0] == plan


def test_a_model_that_cannot_be_handed_on_is_left_out_with_a_warning(tmp_path: Path) -> None:
    hub, part, ollama = entries_in(tmp_path)
    (tmp_path / "ollama" / "manifests").rename(tmp_path / "away")
    found, warnings = make(tmp_path, [hub, part.replace(files=()), ollama])
    assert [model["name"] for model in found["models"]] == ["a/b"]
    assert [warning.split(" is not in the plan: ")[0] for warning in warnings] == ["c/d", "phi3:mini"]


@pytest.mark.parametrize(
    ("ref", "revision", "include", "is_held"),
    [
        (REF, "main", (), True),
        (REF, "1" * 40, (), True),
        (REF, "2" * 40, (), False),
        (REF, "v9", (), False),
        (REF, "main", ("*.json",), False),
        (ModelRef.parse("c/d"), "v2", ("*.json",), True),
        (ModelRef.parse("c/d"), "v2", (), False),
        (ModelRef.parse("e/f"), "main", (), False),
        (TAG, "", (), True),
        (ModelRef.parse("phi3:other", "ollama"), "", (), False),
    ],
)
def test_what_it_answers_for(plan: dict[str, t.Any], ref: ModelRef, revision: str, include: tuple[str, ...], is_held: bool) -> None:
    assert planned(plan).holds(ref, revision, include, ()) is is_held


def test_files_are_announced_by_sha256_and_lie_at_the_origin(plan: dict[str, t.Any]) -> None:
    found = planned(plan).resolve(REF, "main", (), ())
    assert [file.announced for file in found.files] == [f"sha256:{sha256(b'{}')}", f"sha256:{sha256(b'weights')}"]
    assert found.files[1].url == f"http://hub.example/a/b/resolve/{'1' * 40}/model.safetensors"
    layers = planned(plan).resolve(TAG, "", (), ()).files
    assert f"http://registry.example/v2/library/phi3/blobs/sha256:{sha256(b'layer')}" in [file.url for file in layers]


def changed(plan: dict[str, t.Any], change: t.Callable[[t.Any], None]) -> t.Any:
    other = copy.deepcopy(plan)
    change(other)
    return other


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.clear(),
        lambda plan: plan.update(schema=2),
        lambda plan: plan.update(schema="1"),
        lambda plan: plan.update(models={}),
        lambda plan: plan["models"].append("x"),
        lambda plan: plan["models"][0].update(name="../../x"),
        lambda plan: plan["models"][0].update(revision="main"),
        lambda plan: plan["models"][0]["files"][0].update(path="../x"),
        lambda plan: plan["models"][0]["files"][0].update(path="/x"),
        lambda plan: plan["models"][0]["files"][0].update(size=-1),
        lambda plan: plan["models"][0]["files"][0].update(size=True),
        lambda plan: plan["models"][0]["files"][0].update(sha256="../../x"),
        lambda plan: plan["models"][0]["files"][0].update(git_sha1="x"),
        lambda plan: plan["models"][-1].update(manifest="e30="),
        lambda plan: plan["models"][-1]["files"].pop(),
    ],
)
def test_a_malformed_or_hostile_plan_is_refused(plan: dict[str, t.Any], change: t.Callable[[t.Any], None]) -> None:
    with pytest.raises(VenomError) as caught:
        planned(changed(plan, change))
    assert (caught.value.reason_code, caught.value.details["option"]) == ("invalid_option", "plan")
