# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A manifest that is damaged or old, completed from what lies on the disk."""
from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.discovery import Hashes, discover
from ansible_collections.venom.llm.plugins.module_utils.discovery_ollama import discover_store
from ansible_collections.venom.llm.plugins.module_utils.files import to_json
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest, change_manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_facts import with_facts
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.discovery_samples import ONE, TWO, model, publish

DECLARED = {"max_context_length": 7}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A models folder with two snapshots and a model in an Ollama store, all recorded, one with an alias and declared facts."""
    publish(tmp_path, ONE)
    publish(tmp_path, TWO, "c--d", config=b"{}")
    model(tmp_path / "store")
    entries = [*discover(str(tmp_path), (), Hashes())[0], *discover_store(str(tmp_path / "store"), (), Hashes())[0]]
    first = with_facts(entries[0].replace(alias="mine"), DECLARED)
    change_manifest(str(tmp_path), lambda manifest: Manifest(str(tmp_path), [first, *entries[1:]]).declare(first.ref.key, DECLARED))
    return tmp_path


def text(host: Path) -> bytes:
    return (host / "manifest.json").read_bytes()


def edit(host: Path, change: t.Callable[[dict[str, t.Any]], object]) -> None:
    data = json.loads(text(host))
    change(data)
    (host / "manifest.json").write_bytes(to_json(data))


def asides(host: Path) -> list[Path]:
    return sorted(host.glob("manifest.json.unreadable-*"))


def names(manifest: Manifest) -> list[str]:
    return [entry.name for entry in manifest.models]


def test_a_record_that_was_edited_by_hand_is_rebuilt_and_the_edit_kept_aside(host: Path) -> None:
    whole = Manifest.load(str(host))
    edit(host, lambda data: data["models"][0].update(alias="hacked", size_bytes=1))
    edited = text(host)
    manifest = Manifest.load(str(host))
    assert text(host) == edited, "reading writes nothing"
    assert (names(manifest), manifest.is_damaged) == (names(whole), True)
    first = manifest.models[0]
    assert (first.alias, first.size_bytes, first.is_vouched_for) == (None, whole.models[0].size_bytes, False)
    assert first.capabilities["max_context_length"] == {"value": 7, "source": "declared"}
    assert manifest.models[1:] == whole.models[1:]
    assert "does not match its seal" in manifest.warnings[0] and len(manifest.warnings) == 1
    change_manifest(str(host), lambda current: current)
    assert [path.read_bytes() for path in asides(host)] == [edited]
    again = Manifest.load(str(host))
    assert (again.models, again.declared, again.warnings, again.is_damaged) == (manifest.models, whole.declared, (), False)


def test_a_damaged_record_of_which_nothing_is_left_is_dropped_with_a_warning(host: Path) -> None:
    edit(host, lambda data: data["models"][0].update(name="was/here", local_path="/gone"))
    manifest = Manifest.load(str(host))
    assert names(manifest) == ["a/b", "c/d", "phi3:mini"], "what lies there is recorded under its own name"
    assert any("'was/here'" in warning and "dropped" in warning for warning in manifest.warnings)


def test_records_and_declarations_around_a_cut_are_kept(host: Path) -> None:
    whole = Manifest.load(str(host))
    (host / "manifest.json").write_bytes(text(host)[:-200])
    manifest = Manifest.load(str(host))
    assert manifest.models[:2] == whole.models[:2] and manifest.declared == whole.declared
    assert (manifest.models[2].name, manifest.models[2].is_vouched_for) == ("phi3:mini", False)


def test_of_a_ruin_everything_but_names_is_rebuilt(host: Path) -> None:
    whole = Manifest.load(str(host))
    (host / "manifest.json").write_bytes(b"\0" * 4096)
    manifest = Manifest.load(str(host))
    assert names(manifest) == ["a/b", "c/d"], "nothing says where the store was"
    assert all(entry.files and not entry.is_vouched_for and entry.alias is None for entry in manifest.models)
    assert [entry.sha256 for entry in manifest.models] == [entry.sha256 for entry in whole.models[:2]]
    manifest.save()
    assert [path.read_bytes() for path in asides(host)] == [b"\0" * 4096]


def test_every_damaged_file_is_kept_under_a_name_of_its_own(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*dummy: object) -> t.NoReturn:
        raise OSError(95, "Operation not supported")

    contents = [b"one", b"two", b"three"]
    for content in contents:
        (host / "manifest.json").write_bytes(content)
        if content == b"three":
            monkeypatch.setattr(os, "link", refuse)
        Manifest.load(str(host)).save()
    assert {path.read_bytes() for path in asides(host)} == set(contents), "also where there are no hard links"


def test_a_manifest_that_cannot_be_replaced_stays_under_its_name(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.venom.llm.plugins.module_utils import manifest as subject

    (host / "manifest.json").write_bytes(b"ruin")

    def refuse(path: str, data: bytes) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subject, "write_atomic", refuse)
    manifest = Manifest.load(str(host))
    with pytest.raises(OSError, match="No space"):
        manifest.save()
    assert text(host) == b"ruin" and manifest.is_damaged


@pytest.mark.parametrize("form", ["list", "mapping"])
def test_the_layout_before_is_confirmed_by_the_store(host: Path, form: str) -> None:
    old = {"provider": "huggingface", "display_name": "My B", "installed_at": "2025-12-17T10:20:30.5"}
    old_items: dict[str, t.Any] = {"a/b": dict(old, capabilities={"supports_system_role": False})}
    gone = {"provider": "huggingface", "capabilities": {"supports_function_calling": True}}
    served = {"provider": "ollama", "local_path": None}
    items = {**old_items, "x/gone": gone, "phi3:mini": served}
    models: t.Any = items if form == "mapping" else [dict(value, name=key) for key, value in items.items()]
    (host / "manifest.json").write_text(json.dumps({"models": models, "updated_at": "2025-12-17T10:20:30.5"}))
    manifest = Manifest.load(str(host))
    (entry,) = manifest.models
    assert (entry.name, entry.revision, entry.display_name, entry.installed_at) == ("a/b", ONE, "My B", "2025-12-17T10:20:30+00:00")
    assert entry.capabilities["supports_system_role"] == {"value": False, "source": "declared"}
    assert manifest.declared == {"huggingface:a/b": {"supports_system_role": False}, "huggingface:x/gone": {"supports_tools": True}}
    assert [item["name"] for item in manifest.foreign] == ["x/gone", "phi3:mini"] and len(manifest.warnings) == 2
    assert not manifest.is_damaged
    manifest.save()
    again = Manifest.load(str(host))
    assert (again.models, again.foreign, again.declared) == (manifest.models, manifest.foreign, manifest.declared)
    assert asides(host) == []


def test_a_store_that_is_no_folder_any_more_is_no_hint(host: Path) -> None:
    (host / "store").rename(host / "elsewhere")
    edit(host, lambda data: data["models"][2].update(alias="x"))
    manifest = Manifest.load(str(host))
    assert names(manifest) == ["a/b", "c/d"]
    assert any("'phi3:mini'" in warning and "dropped" in warning for warning in manifest.warnings)
