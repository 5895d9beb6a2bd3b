# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Blobs and snapshots: whole or not there."""
from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs, hash_file
from ansible_collections.venom.llm.plugins.module_utils.store.snapshots import Snapshots, measure_free, measure_usage

FOLDER = "a--b@" + "0" * 40


def put(blobs: Blobs, content: bytes) -> Digest:
    partial = blobs.new_partial()
    Path(partial).write_bytes(content)
    digest = Digest("sha256", hashlib.sha256(content).hexdigest())
    blobs.put(partial, digest)
    return digest


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path))


@pytest.fixture
def snapshots(tmp_path: Path, blobs: Blobs) -> Snapshots:
    return Snapshots(str(tmp_path / "hf"), blobs)


def test_a_blob_is_read_only_and_named_by_its_content(blobs: Blobs) -> None:
    digest = put(blobs, b"content")
    path = Path(blobs.path(digest))
    assert path.parts[-4:] == ("blobs", "sha256", digest.hex[:2], digest.hex)
    assert path.stat().st_mode & 0o7777 == 0o444
    assert blobs.has(digest, 7)
    assert not blobs.has(digest, 8)
    assert blobs.verify(digest, 7)


def test_a_changed_blob_does_not_verify(blobs: Blobs) -> None:
    digest = put(blobs, b"content")
    os.chmod(blobs.path(digest), 0o644)
    Path(blobs.path(digest)).write_bytes(b"cOntent")
    assert blobs.has(digest, 7)
    assert not blobs.verify(digest, 7)


def test_only_sha256_names_a_blob(blobs: Blobs) -> None:
    with pytest.raises(VenomError):
        blobs.path(Digest("sha1", "0" * 40))


def test_the_git_digest_is_that_of_git(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello\n")
    # From `printf 'hello\n' | git hash-object --stdin`, git 2.39.
    assert hash_file(str(tmp_path / "x"), 6)[1] == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_snapshot_links_its_blobs(blobs: Blobs, snapshots: Snapshots) -> None:
    one, two = put(blobs, b"one"), put(blobs, b"two")
    path = Path(snapshots.publish(FOLDER, {"config.json": one, "sub/x.bin": two}))
    assert (path / "config.json").samefile(blobs.path(one))
    assert (path / "sub/x.bin").read_bytes() == b"two"
    assert (path.stat().st_mode & 0o7777, (path / "sub").stat().st_mode & 0o7777) == (0o755, 0o755)
    assert (path / "config.json").stat().st_mode & 0o7777 == 0o444


def test_a_snapshot_that_cannot_be_completed_is_not_there(blobs: Blobs, snapshots: Snapshots) -> None:
    one = put(blobs, b"one")
    with pytest.raises(FileNotFoundError):
        snapshots.publish(FOLDER, {"a": one, "b": Digest("sha256", "0" * 64)})
    assert os.listdir(snapshots.root) == []


@pytest.mark.parametrize("name", ["../evil", "/evil", "a\\b", ".venom.x", "a/../../x"])
def test_hostile_names_are_refused_before_anything_is_written(tmp_path: Path, blobs: Blobs, snapshots: Snapshots, name: str) -> None:
    one = put(blobs, b"one")
    with pytest.raises(VenomError) as caught:
        snapshots.publish(FOLDER, {name: one})
    assert caught.value.reason_code == "invalid_name"
    assert not (tmp_path / "hf").exists()


def test_a_symlink_in_place_of_a_snapshot_is_refused(tmp_path: Path, blobs: Blobs, snapshots: Snapshots) -> None:
    one = put(blobs, b"one")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VenomError):
        snapshots.publish(FOLDER, {"a": one})
    assert os.listdir(tmp_path / "elsewhere") == []


def test_an_existing_snapshot_becomes_exactly_what_is_listed(blobs: Blobs, snapshots: Snapshots) -> None:
    one, two = put(blobs, b"one"), put(blobs, b"two")
    path = Path(snapshots.publish(FOLDER, {"a": one, "old/b": one, "c": one}))
    kept = (path / "c").stat().st_ino
    (path / "stray").symlink_to("/etc/passwd")
    snapshots.publish(FOLDER, {"a": two, "c": one, "new/d": two})
    assert sorted(str(found.relative_to(path)) for found in path.rglob("*")) == ["a", "c", "new", "new/d"]
    assert (path / "a").read_bytes() == b"two"
    assert (path / "c").stat().st_ino == kept


def test_an_update_does_not_follow_a_symlink_out(tmp_path: Path, blobs: Blobs, snapshots: Snapshots) -> None:
    one = put(blobs, b"one")
    path = Path(snapshots.publish(FOLDER, {"a": one}))
    (tmp_path / "elsewhere").mkdir()
    (path / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VenomError):
        snapshots.publish(FOLDER, {"a": one, "sub/x": one})
    assert os.listdir(tmp_path / "elsewhere") == []


def test_other_file_systems_are_named_as_the_cause(blobs: Blobs, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch) -> None:
    one = put(blobs, b"one")

    def across(*dummy: object, **dummy_options: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", across)
    with pytest.raises(VenomError) as caught:
        snapshots.publish(FOLDER, {"a": one})
    assert caught.value.reason_code == "io_error"
    assert "hard links" in caught.value.todo


def test_collecting_frees_what_no_snapshot_uses(blobs: Blobs, snapshots: Snapshots) -> None:
    used, unused, kept = put(blobs, b"used"), put(blobs, b"unused!"), put(blobs, b"kept")
    snapshots.publish(FOLDER, {"a": used})
    assert blobs.collect(keep={kept}) == 7
    assert blobs.has(used, 4)
    assert blobs.has(kept, 4)
    assert not blobs.has(unused, 7)
    assert snapshots.remove(FOLDER)
    assert not snapshots.remove(FOLDER)
    blobs.collect()
    assert not os.path.exists(blobs.root)


def test_collecting_can_be_bounded_by_content_and_by_age(blobs: Blobs) -> None:
    old, young = put(blobs, b"old"), put(blobs, b"young")
    os.utime(blobs.path(old), (1000, 1000))
    assert blobs.collect(only={young}, older_than=3600.0) == 0
    assert blobs.collect(older_than=3600.0) == 3
    assert blobs.collect(only={old}) == 0
    assert blobs.collect(only={young}) == 5


def test_cleaning_removes_what_crashed_runs_left(tmp_path: Path, blobs: Blobs, snapshots: Snapshots) -> None:
    snapshots.publish(FOLDER, {"a": put(blobs, b"one")})
    (tmp_path / "hf" / ".venom.1.abc" / "sub").mkdir(parents=True)
    Path(blobs.new_partial()).write_bytes(b"half")
    snapshots.clean()
    blobs.clean_partials()
    assert snapshots.folders() == [FOLDER]
    assert os.listdir(tmp_path / "hf") == [FOLDER]
    assert not (tmp_path / "partial").exists()


def test_usage_counts_shared_content_once(tmp_path: Path, blobs: Blobs, snapshots: Snapshots) -> None:
    digest = put(blobs, b"x" * 1000)
    snapshots.publish(FOLDER, {"a": digest, "b": digest})
    assert measure_usage(str(tmp_path)) == 1000
    assert measure_free(str(tmp_path / "not" / "there")) > 0
