# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of an Ollama server, written beside it: what is published, whose it is, and never outside of itself."""
from __future__ import annotations

import os
import pwd
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.store.ollama import OllamaStore
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.store.ollama_models import (
    LICENSE,
    NEW_WEIGHTS,
    OTHER,
    REF,
    WEIGHTS,
    digest_of,
    install,
    is_whole,
    listing,
    model,
    put,
)

HOUR = 3600


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    return folder


@pytest.fixture
def store(root: Path) -> OllamaStore:
    return OllamaStore(str(root))


# What is published


def test_a_published_model_is_what_a_pull_would_have_left(root: Path, store: OllamaStore) -> None:
    manifest = install(store, REF, WEIGHTS, LICENSE)
    assert is_whole(root, REF, manifest)
    blobs = {f"blobs/sha256-{digest.hex}" for digest in manifest.blobs}
    folders = {"blobs", "manifests", "manifests/registry.ollama.ai", "manifests/registry.ollama.ai/library"}
    assert listing(root) == blobs | folders | {"manifests/registry.ollama.ai/library/phi3", "manifests/registry.ollama.ai/library/phi3/mini"}
    for path in root.rglob("*"):
        assert path.stat().st_mode & 0o7777 == (0o755 if path.is_dir() else 0o644)
        assert path.stat().st_nlink == 1 or path.is_dir()
    assert store.read(REF) == manifest
    assert list(store.walk()) == [("manifests/registry.ollama.ai/library/phi3/mini", manifest)]


def test_before_it_is_published_the_server_sees_nothing(root: Path, store: OllamaStore) -> None:
    put(store, WEIGHTS)
    assert list((root / "blobs").iterdir()) == []
    assert store.has(digest_of(WEIGHTS), len(WEIGHTS))
    assert store.verify(digest_of(WEIGHTS), len(WEIGHTS))
    assert Path(store.path(digest_of(WEIGHTS))).read_bytes() == WEIGHTS
    assert store.read(REF) is None


def test_a_name_with_a_host_has_its_own_folder(root: Path, store: OllamaStore) -> None:
    ref = ModelRef.parse("hf.co/user/m:q4", "ollama")
    install(store, ref, WEIGHTS)
    assert (root / "manifests/hf.co/user/m/q4").is_file()


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_a_manifest_without_all_its_blobs_is_not_published(root: Path, store: OllamaStore, absent: int) -> None:
    manifest, blobs = model(WEIGHTS, LICENSE)
    for index, content in enumerate(blobs.values()):
        if index != absent:
            put(store, content)
    before = listing(root)
    with pytest.raises(VenomError) as caught:
        store.publish(REF, manifest)
    assert caught.value.reason_code == "io_error"
    assert listing(root) == before


def test_publishing_again_touches_nothing(root: Path, store: OllamaStore) -> None:
    manifest = install(store, REF, WEIGHTS, LICENSE)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}
    store.publish(REF, manifest)
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()} == before


def test_a_blob_that_another_model_has_is_used_as_it_is(root: Path, store: OllamaStore) -> None:
    install(store, REF, WEIGHTS, LICENSE)
    blob = root / "blobs" / f"sha256-{digest_of(LICENSE).hex}"
    os.utime(blob, (1, 1))
    before = blob.stat()
    install(store, OTHER, NEW_WEIGHTS, LICENSE)
    # Records of the first model hold its inode and time; and what a manifest names is safe from the server's tidying.
    assert (blob.stat().st_ino, blob.stat().st_mtime) == (before.st_ino, 1)


def test_an_old_blob_that_no_manifest_names_gets_the_time_of_now(root: Path, store: OllamaStore) -> None:
    install(store, OTHER, LICENSE)
    stray = root / "blobs" / f"sha256-{digest_of(WEIGHTS).hex}"
    stray.write_bytes(WEIGHTS)
    stray.chmod(0o600)
    os.utime(stray, (1, 1))
    inode = stray.stat().st_ino
    install(store, REF, WEIGHTS)
    assert stray.stat().st_mtime > (root / "manifests").stat().st_mtime - HOUR
    assert stray.stat().st_ino == inode
    assert stray.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("bad", [b"short", b"W" * len(WEIGHTS)], ids=["wrong size", "wrong bytes"])
def test_verified_bytes_replace_bad_ones_by_rename(root: Path, store: OllamaStore, bad: bytes) -> None:
    manifest = install(store, REF, WEIGHTS)
    blob = root / "blobs" / f"sha256-{digest_of(WEIGHTS).hex}"
    blob.write_bytes(bad)
    assert not store.verify(digest_of(WEIGHTS), len(WEIGHTS))
    with blob.open("rb") as mapped_by_the_server:
        put(store, WEIGHTS)
        store.publish(REF, manifest)
        assert mapped_by_the_server.read() == bad
    assert is_whole(root, REF, manifest)
    assert not (root / ".venom").exists()


def test_staged_bytes_are_what_publishing_would_take(store: OllamaStore) -> None:
    digest = digest_of(WEIGHTS)
    install(store, REF, WEIGHTS)
    assert store.is_published(digest, len(WEIGHTS))
    assert not store.is_published(digest, len(WEIGHTS) + 1)
    assert store.fresh_path(digest) == store.published_path(digest) == store.path(digest)
    put(store, WEIGHTS)
    assert store.fresh_path(digest) == store.staged_path(digest)
    assert store.path(digest) == store.published_path(digest)


def test_a_discarded_blob_is_gone_from_both_places(store: OllamaStore) -> None:
    install(store, REF, WEIGHTS)
    put(store, WEIGHTS)
    store.discard(digest_of(WEIGHTS))
    assert not store.has(digest_of(WEIGHTS), len(WEIGHTS))


def test_a_server_that_tidies_up_at_the_worst_moment_removes_nothing(
    root: Path, store: OllamaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 0.21 a starting server removed at once what no manifest named, and empty folders below manifests/ always."""
    write = store._write_manifest
    replace, starts = os.replace, []

    def start_server(*arguments: t.Any) -> None:
        for blob in (root / "blobs").iterdir():
            blob.unlink()
        write(*arguments)

    def prune_folders(source: str, target: str) -> None:
        if "/manifests/" in target and not starts:
            starts.append(target)
            shutil.rmtree(root / "manifests" / "registry.ollama.ai")
        replace(source, target)

    monkeypatch.setattr(store, "_write_manifest", start_server)
    monkeypatch.setattr(os, "replace", prune_folders)
    (root / "blobs").mkdir()
    (root / "blobs" / f"sha256-{digest_of(LICENSE).hex}").write_bytes(LICENSE)
    manifest = install(store, REF, WEIGHTS, LICENSE)
    assert starts
    assert is_whole(root, REF, manifest)
    assert not (root / ".venom").exists()


def test_without_hard_links_it_works_by_renames(root: Path, store: OllamaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*dummy: object, **dummy_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    install(store, REF, WEIGHTS)
    manifest = install(store, REF, WEIGHTS, LICENSE)
    assert is_whole(root, REF, manifest)
    assert not (root / ".venom").exists()


# Removal


def test_removal_takes_what_nobody_else_uses(root: Path, store: OllamaStore) -> None:
    first = install(store, REF, WEIGHTS, LICENSE)
    second = install(store, OTHER, NEW_WEIGHTS, LICENSE)
    assert store.usage() == first.size + second.size - len(LICENSE) + len(first.content) + len(second.content)
    assert store.remove(REF) == first.size - len(LICENSE)
    assert store.warnings == []
    assert is_whole(root, OTHER, second)
    assert not (root / "manifests/registry.ollama.ai/library").exists()
    assert store.remove(REF) == 0
    assert store.remove(OTHER) == second.size
    assert listing(root) == {"blobs", "manifests"}


def test_while_a_manifest_cannot_be_read_no_blob_is_removed(root: Path, store: OllamaStore) -> None:
    manifest = install(store, REF, WEIGHTS)
    install(store, OTHER, LICENSE)
    (root / store.manifest_path(OTHER)).write_bytes(b"cut")
    assert store.remove(REF) == 0
    assert "user/other" in store.warnings[0]
    assert store.read(REF) is None
    assert all((root / "blobs" / f"sha256-{digest.hex}").is_file() for digest in manifest.blobs)


def test_a_model_with_a_manifest_without_sense_can_be_removed(root: Path, store: OllamaStore) -> None:
    install(store, REF, WEIGHTS)
    (root / store.manifest_path(REF)).write_bytes(b"cut")
    assert store.remove(REF) == 0
    assert "phi3:mini" in store.warnings[0]
    assert store.read(REF) is None


def test_a_tag_that_moves_leaves_the_other_tags_blobs(root: Path, store: OllamaStore) -> None:
    old = install(store, REF, WEIGHTS, LICENSE)
    new = install(store, REF, NEW_WEIGHTS, LICENSE)
    assert is_whole(root, REF, new)
    assert all((root / "blobs" / f"sha256-{digest.hex}").is_file() for digest in old.blobs)


# Owner and modes


@pytest.mark.parametrize(("mode", "folders", "files"), [(0o755, 0o755, 0o644), (0o700, 0o700, 0o600), (0o2770, 0o2770, 0o660)])
def test_modes_follow_the_root(root: Path, store: OllamaStore, mode: int, folders: int, files: int) -> None:
    root.chmod(mode)
    old_umask = os.umask(0o077)
    try:
        install(store, REF, WEIGHTS)
    finally:
        os.umask(old_umask)
    assert {path.stat().st_mode & 0o7777 for path in root.rglob("*") if path.is_dir()} == {folders}
    assert {path.stat().st_mode & 0o7777 for path in root.rglob("*") if path.is_file()} == {files}


class Ownerships:
    """Stands in for root: notes whom files are given to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: list[tuple[int, int]] = []
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(os, "fchown", lambda dummy, uid, gid: self.given.append((uid, gid)))
        monkeypatch.setattr(os, "chown", lambda dummy, uid, gid, follow_symlinks: self.given.append((uid, gid)))


def pretend_owner(folder: Path, uid: int, gid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder belongs to them, once it is there: its change of owner is a pretence, too."""
    real = os.stat

    def pretend(path: t.Any, **options: t.Any) -> os.stat_result:
        status = real(path, **options)
        return os.stat_result((*status[:4], uid, gid, *status[6:])) if path == str(folder) else status

    monkeypatch.setattr(os, "stat", pretend)


def test_root_gives_everything_to_the_owner_of_the_store(root: Path, store: OllamaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ownerships = Ownerships(monkeypatch)
    pretend_owner(root, 4711, 4712, monkeypatch)
    install(store, REF, WEIGHTS)
    # Two blobs staged and exposed, the manifest, .venom with two folders, blobs, manifests and three below it.
    assert len(ownerships.given) >= 12
    assert set(ownerships.given) == {(4711, 4712)}


def test_what_is_published_really_has_the_owner(root: Path, store: OllamaStore) -> None:
    # As root for another account, else for the account that runs the tests.
    uid, gid = (65534, 65533) if os.geteuid() == 0 else (os.getuid(), os.stat(root).st_gid)
    os.chown(root, uid, gid)
    install(store, REF, WEIGHTS)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in root.rglob("*")} == {(uid, gid)}


def test_a_new_store_belongs_to_the_account_that_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = next(entry for entry in pwd.getpwall() if entry.pw_uid not in (0, os.getuid()))
    ownerships = Ownerships(monkeypatch)
    fresh = tmp_path / "home/.ollama/models"
    pretend_owner(fresh, account.pw_uid, account.pw_gid, monkeypatch)
    store = OllamaStore(str(fresh) + "/", account.pw_name)
    assert store.root == str(fresh)
    assert not store.exists()
    assert store.is_writable()
    manifest = install(store, REF, WEIGHTS)
    assert is_whole(fresh, REF, manifest)
    assert set(ownerships.given) == {(account.pw_uid, account.pw_gid)}
    assert fresh.parent.stat().st_mode & 0o777 == 0o755


def test_a_store_that_is_there_keeps_its_owner(root: Path) -> None:
    account = next(entry for entry in pwd.getpwall() if entry.pw_uid not in (0, os.getuid()))
    there = root.stat()
    found = OllamaStore(str(root), account.pw_name).ownership()
    assert (found.uid, found.gid) == (there.st_uid, there.st_gid) and OllamaStore(str(root), "no-such-account-here").ownership() == found


def test_an_account_that_does_not_exist_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(VenomError) as caught:
        OllamaStore(str(tmp_path / "fresh"), "no-such-account-here").is_writable()
    assert caught.value.reason_code == "invalid_option"


def test_only_root_and_the_owner_may_write(root: Path, store: OllamaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.is_writable()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert not store.is_writable()


@pytest.mark.parametrize("place", ["blobs", "manifests", ".venom"])
def test_a_store_with_a_linked_folder_is_not_ours_to_write(root: Path, tmp_path: Path, store: OllamaStore, place: str) -> None:
    (root / place).symlink_to(tmp_path)
    assert not store.is_writable()


@pytest.mark.parametrize("place", ["blobs", "manifests", ".venom"])
def test_a_store_over_two_file_systems_is_not_ours_to_write(
    root: Path, store: OllamaStore, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blobs folder that is a mount of its own, as containers like to have it: nothing gets there by a rename."""
    (root / place).mkdir()
    assert store.is_writable()
    lstat = os.lstat

    def pretend(path: str) -> os.stat_result:
        status = lstat(path)
        return os.stat_result((*status[:2], status.st_dev + 1, *status[3:])) if path == str(root / place) else status

    monkeypatch.setattr(os, "lstat", pretend)
    assert not store.is_writable()


def test_a_file_in_place_of_the_store_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert not OllamaStore(str(tmp_path / "file")).is_writable()
    assert not OllamaStore(str(tmp_path / "file")).exists()


# Tidiness


def test_cleaning_keeps_verified_and_partial_bytes(root: Path, store: OllamaStore) -> None:
    put(store, WEIGHTS)
    put(store, LICENSE)
    Path(store.partial_root).mkdir(exist_ok=True)
    partial = Path(store.partial_root, "sha256-0-0")
    partial.write_bytes(b"half")
    (root / ".venom/.venom.1.a").write_bytes(b"left by a kill")
    (root / ".venom/.venom.1.b").mkdir()
    (root / ".venom/staged/.venom.1.c").write_bytes(b"left by a kill")
    store.clean()
    names = {f"sha256-{digest_of(content).hex}" for content in (WEIGHTS, LICENSE)}
    assert listing(root / ".venom") == {"partial", "partial/sha256-0-0", "staged", *(f"staged/{name}" for name in names)}
    store.clean(keep=[digest_of(LICENSE)])
    assert [path.name for path in (root / ".venom/staged").iterdir()] == [f"sha256-{digest_of(LICENSE).hex}"]
    partial.unlink()
    store.clean(keep=())
    assert not (root / ".venom").exists()
