# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest: read leniently, acted on strictly, written atomically."""
from __future__ import annotations

import copy
import hashlib
import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Entry, Manifest, change_manifest, manifest_lock
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import normalise_time, snapshot_sha256
from ansible_collections.venom.llm.plugins.module_utils.manifest_seal import seal_of_head
from ansible_collections.venom.llm.plugins.module_utils.models_observe import observe
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.store.snapshots import Snapshots

ONE, TWO = "1" * 40, "2" * 40


def record(name: str = "a/b", revision: str = ONE, **changes: t.Any) -> dict[str, t.Any]:
    data = {
        "name": name,
        "provider": "huggingface",
        "revision": revision,
        "requested_revision": "main",
        "alias": None,
        "installed_at": "2026-01-01T00:00:00+00:00",
        "files": [{"path": "config.json", "size": 3, "digest": "sha256:" + "a" * 64, "mtime_ns": 1, "inode": 2}],
    }
    data.update(changes)
    return data


def write(folder: Path, *records: object, **top: object) -> None:
    (folder / "manifest.json").write_text(json.dumps({"schema": 1, "models": list(records), **top}))


def test_a_missing_manifest_is_empty_and_nothing_is_written(tmp_path: Path) -> None:
    manifest = Manifest.load(str(tmp_path / "models"))
    assert manifest.models == ()
    assert manifest.is_stored()
    assert os.listdir(tmp_path) == []


def test_what_is_saved_reads_back(tmp_path: Path) -> None:
    entry = Entry.from_dict(record(alias="b"), str(tmp_path))
    manifest = Manifest(str(tmp_path)).merge(entry).declare("huggingface:a/b", {"supports_tools": True})
    assert not manifest.is_stored()
    manifest.save()
    again = Manifest.load(str(tmp_path))
    assert again.models == (entry,)
    assert again.declared == {"huggingface:a/b": {"supports_tools": True}}
    assert again.is_stored()
    assert json.loads((tmp_path / "manifest.json").read_text())["updated_at"].endswith("+00:00")
    assert (tmp_path / "manifest.json").stat().st_mode & 0o7777 == 0o644


def test_unknown_fields_survive(tmp_path: Path) -> None:
    write(tmp_path, record(invented="x"), invented_too={"y": 1})
    Manifest.load(str(tmp_path)).save()
    data = json.loads((tmp_path / "manifest.json").read_text())
    assert data["models"][0]["invented"] == "x"
    assert data["invented_too"] == {"y": 1}


def test_merge_and_without_leave_the_original_alone(tmp_path: Path) -> None:
    one, two = Entry.from_dict(record(), str(tmp_path)), Entry.from_dict(record(revision=TWO), str(tmp_path))
    manifest = Manifest(str(tmp_path), [one])
    assert manifest.merge(two).models == (one, two)
    assert manifest.merge(one.replace(alias="x")).models == (one.replace(alias="x"),)
    assert manifest.without(one).models == ()
    assert manifest.models == (one,)


def test_find_prefers_names_and_the_newest_revision(tmp_path: Path) -> None:
    write(
        tmp_path,
        record(),
        record(revision=TWO, installed_at="2026-02-01T00:00:00+00:00", requested_revision="v2"),
        record("c/d", alias="short"),
    )
    manifest = Manifest.load(str(tmp_path))

    def revision_of(name: str, revision: str | None = None) -> str | None:
        entry = manifest.find(name, revision)
        return entry.revision if entry else None

    assert revision_of("a/b") == TWO
    assert revision_of("a/b", "main") == ONE
    assert revision_of("a/b", ONE) == ONE
    assert revision_of("short") == ONE
    assert revision_of("missing") is None
    assert revision_of("a/b", "v3") is None


def test_an_ollama_model_is_found_in_any_spelling_and_only_where_that_is_asked_for(tmp_path: Path) -> None:
    of_ollama = {"provider": "ollama", "revision": "sha256:" + "a" * 64, "files": []}
    write(tmp_path, record("mid:latest", **of_ollama), record("big:1b", alias="chat", **of_ollama), record("Mid/Mid"), record("c/d", alias="talk"))
    manifest = Manifest.load(str(tmp_path))
    assert len(manifest.models) == 4, manifest.warnings

    def name_of(name: str) -> str | None:
        entry = manifest.find(name, any_spelling=True)
        return entry.name if entry else None

    assert [name_of(name) for name in ("mid", "MID:latest", "library/mid", "registry.ollama.ai/library/Mid")] == ["mid:latest"] * 4
    assert [name_of(name) for name in ("Big:1B", "CHAT", "chat:latest")] == ["big:1b"] * 3
    assert [name_of(name) for name in ("mid/mid", "Talk", "talk:latest", "big", "mid:1b")] == [None] * 5
    assert manifest.find("mid") is None and manifest.find("talk") is not None
    by_name = {entry.name: entry for entry in manifest.models}
    assert by_name["mid:latest"].answers_to("Mid") and by_name["big:1b"].answers_to("CHAT") and not by_name["Mid/Mid"].answers_to("mid/mid")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../etc"},
        {"revision": "../x"},
        {"revision": "main"},
        {"alias": "-x"},
        {"files": [{"path": "../x", "size": 1, "digest": "sha256:" + "a" * 64}]},
        {"files": [{"path": "x", "size": 1, "digest": "sha256:../../x"}]},
        {"files": None},
        {"provider": "elsewhere"},
        {"runtime": "ollama"},
    ],
)
def test_hostile_and_broken_records_are_never_acted_on_and_kept(tmp_path: Path, change: dict[str, t.Any]) -> None:
    bad = record("bad/one", **change) if "name" not in change else record(**change)
    write(tmp_path, record("c/d"), bad, "not even a record")
    manifest = Manifest.load(str(tmp_path))
    assert [entry.name for entry in manifest.models] == ["c/d"]
    assert len(manifest.warnings) == 2
    manifest.save()
    again = Manifest.load(str(tmp_path))
    assert again.foreign == (bad, "not even a record") and len(again.warnings) == 2
    assert again.is_stored() and [entry.name for entry in again.models] == ["c/d"]
    again.sanitized().save()
    clean = Manifest.load(str(tmp_path))
    assert (clean.foreign, clean.warnings, len(clean.models)) == ((), (), 1)


def test_old_records_are_repaired_while_they_are_read(tmp_path: Path) -> None:
    data = record(installed_at="2026-01-01T02:00:00", local_path="/moved/away", sha256="wrong", status="strange")
    del data["provider"], data["alias"]
    write(tmp_path, copy.deepcopy(data))
    (entry,) = Manifest.load(str(tmp_path)).models
    assert entry.provider == "huggingface"
    assert entry.installed_at == "2026-01-01T02:00:00+00:00"
    assert entry.local_path == str(tmp_path / "hf" / f"a--b@{ONE}")
    assert entry.status == "installed"
    assert entry.sha256 == snapshot_sha256(entry.files)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00"),
        ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00+00:00"),
        ("2026-01-01T00:00:00.5", "2026-01-01T00:00:00+00:00"),
        ("yesterday", None),
        (None, None),
        (5, None),
    ],
)
def test_times(text: object, expected: str | None) -> None:
    assert normalise_time(text) == expected


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"models": 1}', b"\xff\xfe", b'{"models": [], "schema": "x"}', b"[" * 100000])
def test_an_unreadable_manifest_is_rebuilt_from_the_snapshots(tmp_path: Path, content: bytes) -> None:
    blobs = Blobs(str(tmp_path))
    partial = blobs.new_partial()
    Path(partial).write_bytes(b"{}")
    digest = Digest("sha256", hashlib.sha256(b"{}").hexdigest())
    blobs.put(partial, digest)
    snapshots = Snapshots(str(tmp_path / "hf"), blobs)
    snapshots.publish(f"a--b@{ONE}", {"config.json": digest})
    (tmp_path / "hf" / "stranger").mkdir()
    (tmp_path / "manifest.json").write_bytes(content)

    manifest = Manifest.load(str(tmp_path))
    assert [(entry.name, entry.revision) for entry in manifest.models] == [("a/b", ONE)]
    assert manifest.models[0].files[0].digest == digest
    assert len(manifest.warnings) == 2
    assert (tmp_path / "manifest.json").read_bytes() == content

    manifest.save()
    (aside,) = [name for name in os.listdir(tmp_path) if ".unreadable-2" in name]
    assert (tmp_path / aside).read_bytes() == content
    assert Manifest.load(str(tmp_path)).warnings == ()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    newer = {"schema": 3, "models": {"not": "a list any more"}, "updated_at": "x"}
    (tmp_path / "manifest.json").write_text(json.dumps(dict(newer, seal=seal_of_head(newer))))
    with pytest.raises(VenomError) as caught:
        Manifest.load(str(tmp_path))
    assert caught.value.reason_code == "manifest_unreadable"


def test_a_rebuild_hashes_what_is_no_link(tmp_path: Path) -> None:
    folder = tmp_path / "hf" / f"a--b@{ONE}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    (tmp_path / "manifest.json").write_bytes(b"broken")
    (entry,) = Manifest.load(str(tmp_path)).models
    assert entry.files[0].digest.hex == hashlib.sha256(b"{}").hexdigest()


def test_a_rebuild_leaves_symlinks_alone(tmp_path: Path) -> None:
    folder = tmp_path / "hf" / f"a--b@{ONE}"
    folder.mkdir(parents=True)
    (folder / "config.json").symlink_to("/etc/passwd")
    (tmp_path / "manifest.json").write_bytes(b"broken")
    assert Manifest.load(str(tmp_path)).models == ()


def test_a_change_is_made_on_what_is_stored_then_and_under_the_lock(tmp_path: Path) -> None:
    one, two = Entry.from_dict(record(), str(tmp_path)), Entry.from_dict(record("c/d"), str(tmp_path))
    looked = Manifest.load(str(tmp_path))
    change_manifest(str(tmp_path), lambda manifest: manifest.merge(one))

    def change(manifest: Manifest) -> Manifest:
        with pytest.raises(VenomError) as caught, manifest_lock(str(tmp_path), 0.0):
            pass
        assert caught.value.reason_code == "locked"
        return manifest.merge(two)

    changed = change_manifest(str(tmp_path), change)
    assert looked.models == () and changed.models == Manifest.load(str(tmp_path)).models == (one, two)


def test_a_change_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    change_manifest(str(tmp_path), lambda manifest: manifest)
    assert not (tmp_path / "manifest.json").exists()
    entry = Entry.from_dict(record(), str(tmp_path))
    change_manifest(str(tmp_path), lambda manifest: manifest.merge(entry))
    stamp = (tmp_path / "manifest.json").stat()
    change_manifest(str(tmp_path), lambda manifest: manifest.merge(entry))
    assert (tmp_path / "manifest.json").stat() == stamp


def test_a_change_that_fails_leaves_the_manifest_and_lets_go_of_the_lock(tmp_path: Path) -> None:
    change_manifest(str(tmp_path), lambda manifest: manifest.merge(Entry.from_dict(record(), str(tmp_path))))
    before = (tmp_path / "manifest.json").read_bytes()

    def fail(manifest: Manifest) -> Manifest:
        raise KeyError("x")

    with pytest.raises(KeyError):
        change_manifest(str(tmp_path), fail)
    assert (tmp_path / "manifest.json").read_bytes() == before
    with manifest_lock(str(tmp_path), 0.0):
        pass


def ollama_record(**changes: t.Any) -> dict[str, t.Any]:
    return record("phi3:mini", "sha256:" + "b" * 64, provider="ollama", **changes)


def test_a_model_that_a_server_keeps_itself_has_a_size_and_no_files_to_look_at(tmp_path: Path) -> None:
    write(tmp_path, ollama_record(files=[], size_bytes=7, local_path=None))
    (entry,) = Manifest.load(str(tmp_path)).models
    assert (entry.size_bytes, entry.local_path, entry.runtime, observe(entry).is_intact) == (7, "", "ollama", True)
    assert Entry.from_dict(ollama_record(files=[], size_bytes=None), str(tmp_path)).size_bytes == 0
    assert Entry.from_dict(ollama_record(size_bytes=7), str(tmp_path)).size_bytes == 3, "what files are listed says more"
    assert observe(Entry.from_dict(ollama_record(), str(tmp_path))).is_intact, "announced, but nowhere that we may look"


def test_the_files_of_a_model_in_a_store_are_looked_at(tmp_path: Path) -> None:
    entry = Entry.from_dict(ollama_record(local_path=str(tmp_path / "store")), str(tmp_path))
    assert entry.local_path == str(tmp_path / "store") and observe(entry).damaged == entry.files


@pytest.mark.parametrize("change", [{"revision": "a" * 40}, {"revision": "latest"}, {"size_bytes": "many", "files": []}])
def test_broken_records_of_ollama_models(tmp_path: Path, change: dict[str, t.Any]) -> None:
    with pytest.raises(VenomError) as caught:
        Entry.from_dict(dict(ollama_record(), **change), str(tmp_path))
    assert caught.value.reason_code in ("manifest_unreadable", "invalid_name")
