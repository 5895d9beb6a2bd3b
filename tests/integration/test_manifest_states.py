# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""venom_manifest and venom_model_info on a host with real snapshots."""
from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from integration.models_support import FakeContext, install, manifest_params, small_model, tree

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_states import run_manifest
from ansible_collections.venom.llm.plugins.module_utils.models_info import run_info
from lab.hub import Hub

pytest.importorskip("huggingface_hub")


@pytest.fixture
def hub(tmp_path: Path) -> t.Iterator[Hub]:
    with Hub() as running:
        running.add_repo("a/b", small_model(tmp_path / "repo", 1))
        yield running


def step(folder: Path, changed: bool, **options: t.Any) -> dict[str, t.Any]:
    """One step in check mode, which must touch nothing, then for real, then again."""
    params = manifest_params(folder, **options)
    params["capabilities"] = None if options.get("capabilities") is None else {"supports_tools": None, **options["capabilities"]}
    before = tree(folder)
    checked = run_manifest(params, FakeContext(True))
    assert tree(folder) == before
    real = run_manifest(params, FakeContext())
    assert (checked["changed"], real["changed"]) == (changed, changed)
    assert checked["diff"] == real["diff"]
    assert (real["diff"]["before"] != real["diff"]["after"] or bool(real["repaired_operations"])) is changed
    assert run_manifest(params, FakeContext())["changed"] is False
    return real


def entry(folder: Path) -> t.Any:
    (found,) = Manifest.load(str(folder / "models")).models
    return found


def test_declared_capabilities_win_survive_and_are_taken_back(tmp_path: Path, hub: Hub) -> None:
    step(tmp_path, True, name="a/b", capabilities={"max_context_length": 64})
    install(tmp_path, hub, name="a/b")
    assert entry(tmp_path).capabilities["max_context_length"] == {"value": 64, "source": "declared"}
    install(tmp_path, hub, name="a/b", state="absent")
    install(tmp_path, hub, name="a/b")
    assert entry(tmp_path).capabilities["max_context_length"] == {"value": 64, "source": "declared"}
    step(tmp_path, True, name="a/b", capabilities={"supports_system_role": False})
    assert entry(tmp_path).capabilities["max_context_length"] == {"value": 128, "source": "detected"}
    step(tmp_path, True, name="a/b", capabilities={})
    assert entry(tmp_path).capabilities["supports_system_role"] == {"value": True, "source": "detected"}
    with pytest.raises(VenomError) as caught:
        run_manifest(manifest_params(tmp_path, name="a/b", capabilities={"max_context_length": 0}), FakeContext())
    assert caught.value.reason_code == "invalid_option"


def test_forgotten_and_discovered(tmp_path: Path, hub: Hub) -> None:
    install(tmp_path, hub, name="a/b", alias="x")
    known = entry(tmp_path)
    step(tmp_path, True, state="absent", name="a/b")
    assert Path(known.local_path).is_dir()
    step(tmp_path, True, state="discovered")
    found = entry(tmp_path)
    assert (found.sha256, found.size_bytes, found.capabilities) == (known.sha256, known.size_bytes, known.capabilities)
    hub.stop()
    assert install(tmp_path, hub, name="a/b")["changed"] is False


def test_an_active_model_is_not_forgotten(tmp_path: Path, hub: Hub) -> None:
    install(tmp_path, hub, name="a/b")
    (tmp_path / "etc").mkdir()
    active = {"vllm": {"model": "a/b", "revision": entry(tmp_path).revision}}
    (tmp_path / "etc" / "runtime.json").write_text(json.dumps({"active": active}))
    with pytest.raises(VenomError) as caught:
        run_manifest(manifest_params(tmp_path, state="absent", name="a/b"), FakeContext())
    assert caught.value.reason_code == "model_active"


def test_sanitized(tmp_path: Path, hub: Hub) -> None:
    install(tmp_path, hub, name="a/b")
    path = tmp_path / "models" / "manifest.json"
    data = json.loads(path.read_text())
    data["models"][0].update(local_path="/moved", installed_at="2026-01-01T00:00:00")
    del data["models"][0]["capabilities"]
    data["models"].append({"name": "../evil"})
    path.write_text(json.dumps(data))
    (tmp_path / "models" / "operations" / "20200101T000000-0-0.json").write_text(
        json.dumps({"id": "old", "status": "completed", "started_at": "2020-01-01T00:00:00", "finished_at": None, "duration_seconds": None})
    )
    result = step(tmp_path, True, state="sanitized")
    assert result["repaired_operations"] == ["old"]
    assert entry(tmp_path).installed_at == "2026-01-01T00:00:00+00:00"


def test_an_unreadable_manifest_is_sanitized(tmp_path: Path, hub: Hub) -> None:
    install(tmp_path, hub, name="a/b")
    (tmp_path / "models" / "manifest.json").write_text("{")
    step(tmp_path, True, state="sanitized")
    assert entry(tmp_path).name == "a/b"


def test_info_tells_what_is_there_and_writes_nothing(tmp_path: Path, hub: Hub) -> None:
    install(tmp_path, hub, name="a/b", alias="x")
    (Path(entry(tmp_path).local_path) / "config.json").unlink()
    before = tree(tmp_path)
    params = {"models_dir": str(tmp_path / "models"), "name": None, "limit": 5, "usage": True}
    result = run_info(params, FakeContext())
    assert tree(tmp_path) == before
    assert (result["models"][0]["status"], result["models"][0]["damaged_files"]) == ("incomplete", ["config.json"])
    assert result["models"][0]["served_name"] == "x"
    assert result["operations"][0]["type"] == "install"
    assert result["usage"]["used_bytes"] > entry(tmp_path).size_bytes
    assert run_info(dict(params, name="other"), FakeContext())["models"] == []
    assert run_info(dict(params, models_dir=str(tmp_path / "nothing")), FakeContext())["models"] == []
