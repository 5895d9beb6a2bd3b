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

from ansible_collections.venom.llm.plugins.module_utils import discovery, manifest_states
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import Lock
from ansible_collections.venom.llm.plugins.module_utils.manifest import Entry, Manifest, change_manifest, manifest_lock
from ansible_collections.venom.llm.plugins.module_utils.manifest_states import run_manifest
from ansible_collections.venom.llm.plugins.module_utils.models_info import run_info
from lab.hub import Hub
from lab.models import ollama_layers
from lab.ollama import OllamaServer
from lab.registry import Registry

pytest.importorskip("huggingface_hub")


@pytest.fixture
def hub(tmp_path: Path) -> t.Iterator[Hub]:
    with Hub() as running:
        running.add_repo("a/b", small_model(tmp_path / "repo", 1))
        yield running


@pytest.fixture
def registry() -> t.Iterator[Registry]:
    with Registry() as running:
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


def as_schema_1(path: Path) -> dict[str, t.Any]:
    """The manifest as it was before it had seals."""
    data = json.loads(path.read_text())
    data.update(schema=1, declared={item["model"]: item["capabilities"] for item in data["declared"]})
    data["models"] = [{key: value for key, value in item.items() if key not in ("seal", "overridden")} for item in data["models"]]
    return {key: value for key, value in data.items() if key not in ("seal", "foreign")}


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
    data = as_schema_1(path)
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


def pull(registry: Registry, server: OllamaServer, folder: Path, name: str, seed: int) -> str:
    """A model that somebody pulled by hand under its registry's name and copied to a short one; its digest."""
    config, layers = ollama_layers(folder / f"layers-{name}", seed=seed)
    digest = registry.add(f"library/{name}", "mini", layers, config)
    source = f"{registry.host}/library/{name}:mini"
    server.request("POST", "/api/pull", {"model": source, "insecure": True, "stream": False})
    server.request("POST", "/api/copy", {"source": source, "destination": f"{name}:mini"})
    server.request("DELETE", "/api/delete", {"model": source})
    return digest


def ollama(folder: Path) -> dict[str, t.Any]:
    return {item.name: item for item in Manifest.load(str(folder / "models")).models}


def test_ollama_models_that_somebody_pulled_are_discovered_in_the_store_and_at_the_server(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "store").mkdir()
    with OllamaServer(tmp_path / "store") as server:
        digests = {name: pull(registry, server, tmp_path, name, seed) for seed, name in enumerate(("one", "two"))}
        served = {"ollama_url": server.url, "ollama_models_dir": str(tmp_path / "elsewhere")}
        stored = {"ollama_url": "http://127.0.0.1:9", "ollama_models_dir": str(tmp_path / "store")}
        # The store is closed to this account: what the server says is all there is.
        step(tmp_path, True, state="discovered", **served)
        found = ollama(tmp_path)
        assert {name: (item.revision, item.files, item.local_path) for name, item in found.items()} == {
            f"{name}:mini": (digest, (), "") for name, digest in digests.items()
        }
        step(tmp_path, True, name="one:mini", capabilities={"supports_tools": True, "max_context_length": 3})
        known = ollama(tmp_path)["one:mini"]
        assert known.capabilities["max_context_length"] == {"value": 3, "source": "declared"}
        assert known.overridden["max_context_length"] == {"detected": found["one:mini"].capabilities["max_context_length"]["value"]}
        two = found["two:mini"].replace(alias="short")
        change_manifest(str(tmp_path / "models"), lambda manifest: manifest.merge(two))
        # Now it can be read: the same models with their files, each byte hashed, and what was declared of them.
        step(tmp_path, True, state="discovered", **stored)
        whole = ollama(tmp_path)
        assert all(item.is_vouched_for and len(item.files) > 2 and item.local_path == str(tmp_path / "store") for item in whole.values())
        assert {item.revision for item in whole.values()} == set(digests.values())
        assert whole["one:mini"].capabilities["max_context_length"] == {"value": 3, "source": "declared"}
        assert whole["two:mini"].formats == ("gguf",) and whole["two:mini"].quantization is not None
        assert whole["two:mini"].capabilities["max_context_length"]["source"] == "detected"
        # Pulled again under the same tag by somebody, another model.
        config, layers = ollama_layers(tmp_path / "layers-new", seed=7)
        moved = registry.add("library/two", "mini", layers, config)
        pull(registry, server, tmp_path, "two", 7)
        step(tmp_path, True, state="discovered", **stored)
        assert (ollama(tmp_path)["two:mini"].revision, ollama(tmp_path)["two:mini"].alias) == (moved, "short")
        step(tmp_path, True, name="one:mini", state="absent")
        step(tmp_path, True, state="discovered", **stored)
        assert ollama(tmp_path)["one:mini"].capabilities["max_context_length"]["source"] == "detected"


def test_what_others_write_between_the_look_and_the_lock_stays_and_nothing_is_hashed_twice(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, hub, name="a/b")
    models = str(tmp_path / "models")
    known = entry(tmp_path)
    other: Entry = known.replace(name="c/d", files=(), local_path="")
    (tmp_path / "models" / "manifest.json").unlink()
    hashed: list[str] = []
    real = discovery.sha256_of_all

    def count(paths: t.Iterable[str], progress: t.Any) -> dict[str, str | None]:
        found = list(paths)
        hashed.extend(found)
        return real(found, progress)

    def late(models_dir: str, timeout: float) -> Lock:
        change_manifest(models, lambda manifest: manifest.merge(other))
        return manifest_lock(models_dir, timeout)

    monkeypatch.setattr(discovery, "sha256_of_all", count)
    monkeypatch.setattr(manifest_states, "manifest_lock", late)
    run_manifest(manifest_params(tmp_path, state="discovered"), FakeContext())
    assert [item.name for item in Manifest.load(models).models] == ["a/b", "c/d"]
    assert sorted(hashed) == sorted(str(Path(known.local_path) / file.path) for file in known.files)


def test_a_record_without_facts_gets_them(tmp_path: Path, hub: Hub) -> None:
    install(tmp_path, hub, name="a/b", alias="x")
    known = entry(tmp_path)
    bare = known.replace(capabilities={}, overridden={}, formats=(), parameters=None, display_name=None)
    Manifest(str(tmp_path / "models"), [bare]).save()
    step(tmp_path, True, state="discovered")
    assert entry(tmp_path) == known


def test_a_manifest_of_the_layout_before_is_migrated(tmp_path: Path, hub: Hub) -> None:
    install(tmp_path, hub, name="a/b")
    old = {"name": "a/b", "provider": "huggingface", "display_name": "B", "installed_at": "2025-12-17T10:20:30", "finished_at": None}
    gone = {"name": "x/gone", "provider": "huggingface", "capabilities": {"supports_system_role": False}}
    (tmp_path / "models" / "manifest.json").write_text(json.dumps({"models": {"a/b": old, "x/gone": gone}, "updated_at": "2025-12-17T10:20:30"}))
    step(tmp_path, True, state="discovered")
    assert (entry(tmp_path).installed_at, entry(tmp_path).is_vouched_for) == ("2025-12-17T10:20:30+00:00", True)
    manifest = Manifest.load(str(tmp_path / "models"))
    assert (len(manifest.foreign), manifest.declared) == (1, {"huggingface:x/gone": {"supports_system_role": False}})
    step(tmp_path, True, state="sanitized")
    assert Manifest.load(str(tmp_path / "models")).foreign == ()
    hub.stop()
    assert install(tmp_path, hub, name="a/b")["changed"] is False


def test_a_record_that_was_edited_by_hand_is_rebuilt_and_hashed(tmp_path: Path, hub: Hub) -> None:
    install(tmp_path, hub, name="a/b", alias="x")
    path = tmp_path / "models" / "manifest.json"
    path.write_text(path.read_text().replace('"alias": "x"', '"alias": "y"'))
    result = step(tmp_path, True, state="discovered")
    assert (entry(tmp_path).alias, entry(tmp_path).is_vouched_for, result["diff"]["before"]) == (None, True, {})
    assert len(list(path.parent.glob("manifest.json.unreadable-*"))) == 1
