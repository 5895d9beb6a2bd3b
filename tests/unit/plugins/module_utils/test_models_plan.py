# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which installed revision of a Hugging Face model answers a request, when a hub has to be asked, and what a resolved revision needs."""
from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.models_plan import find_known, plan_install, plan_locally
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request
from ansible_collections.venom.llm.plugins.module_utils.models_steps import (
    INSTALL,
    KEEP,
    RECORD,
    RELINK,
    REMOVE,
    LocalAnswer,
    PlanOptions,
)
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.models_samples import NEW, OLD, OTHER, snapshot


def ask(root: Path, entries: t.Sequence[Entry], state: str = "present", **item: t.Any) -> LocalAnswer:
    deep = item.pop("deep", False)
    options = PlanOptions(str(root / "etc"), item.pop("force", False))
    return plan_locally(Request.parse({"name": "a/b", **item}, state, deep), Manifest(str(root), entries), options)


def with_blob(root: Path, entry: Entry) -> Path:
    """The blob of an entry's one file, with the file a hard link to it as the store makes it."""
    blob = Path(Blobs(str(root)).path(entry.files[0].digest))
    blob.parent.mkdir(parents=True, exist_ok=True)
    os.link(Path(entry.local_path) / "config.json", blob)
    return blob


def rot(path: Path) -> None:
    """Other bytes of the same length; time and inode stay."""
    status = path.stat()
    with open(path, "r+b") as stream:
        stream.write(b"[]")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_nothing_installed_asks_the_hub_for_the_default_branch(tmp_path: Path) -> None:
    answer = ask(tmp_path, [])
    assert (answer.step, answer.ask_revision) == (None, "main")


@pytest.mark.parametrize(
    ("revision", "kept"),
    [(None, NEW), ("main", NEW), (OLD, OLD), (NEW, NEW), ("v1", OLD), ("v2", None), (OTHER, None)],
)
def test_which_revision_satisfies(tmp_path: Path, revision: str | None, kept: str | None) -> None:
    entries = [snapshot(tmp_path, OLD, "v1", 1), snapshot(tmp_path, NEW, NEW, 2)]
    answer = ask(tmp_path, entries, revision=revision)
    if kept is None:
        assert (answer.step, answer.ask_revision) == (None, revision)
    else:
        assert answer.step is not None and answer.step.after is not None
        assert (answer.step.action, answer.step.after.revision) == (KEEP, kept)


def test_another_alias_is_only_recorded(tmp_path: Path) -> None:
    entry = snapshot(tmp_path, OLD, "main", 1, alias="one")
    for deep in (False, True):
        step = ask(tmp_path, [entry], alias="two", deep=deep).step
        assert step is not None and step.after is not None and (step.action, step.after.alias) == (RECORD, "two")
        kept = ask(tmp_path, [entry], deep=deep).step
        assert kept is not None and kept.action == KEEP, "no alias asked for is no other alias"


def test_other_patterns_ask_for_the_same_commit(tmp_path: Path) -> None:
    entry = snapshot(tmp_path, OLD)
    answer = ask(tmp_path, [entry], include=["*.json"])
    assert (answer.step, answer.ask_revision, answer.seen.damaged) == (None, OLD, frozenset())
    rot(Path(entry.local_path) / "config.json")
    deep = ask(tmp_path, [entry], include=["*.json"], deep=True)
    assert (deep.step, deep.ask_revision, deep.seen.damaged) == (None, OLD, {str(entry.files[0].digest)})


@pytest.mark.parametrize("deep", [False, True])
def test_a_file_that_differs_is_linked_anew_or_asked_for(tmp_path: Path, deep: bool) -> None:
    entry = snapshot(tmp_path, OLD)
    path = Path(entry.local_path) / "config.json"
    blob = with_blob(tmp_path, entry)
    path.unlink()
    path.write_text("[]")
    step = ask(tmp_path, [entry], deep=deep).step
    assert step is not None and (step.action, step.repaired) == (RELINK, ("config.json",))
    blob.unlink()
    answer = ask(tmp_path, [entry], deep=deep)
    assert (answer.step, answer.entry, answer.ask_revision) == (None, entry, OLD)


def test_rot_is_seen_by_hashing_only(tmp_path: Path) -> None:
    entry = snapshot(tmp_path, OLD)
    rot(with_blob(tmp_path, entry))
    quick = ask(tmp_path, [entry]).step
    assert quick is not None and quick.action == KEEP
    for state, deep in (("verified", False), ("present", True)):
        answer = ask(tmp_path, [entry], state, deep=deep)
        assert (answer.step, answer.ask_revision, answer.seen.damaged) == (None, OLD, {str(entry.files[0].digest)})


def test_latest_asks_unless_it_is_a_commit(tmp_path: Path) -> None:
    entries = [snapshot(tmp_path, OLD)]
    assert ask(tmp_path, entries, "latest").step is None
    pinned = ask(tmp_path, entries, "latest", revision=OLD).step
    assert pinned is not None and pinned.action == KEEP


def test_absent_needs_no_hub_and_takes_every_revision_unless_one_is_named(tmp_path: Path) -> None:
    entries = [snapshot(tmp_path, OLD, "v1", 1), snapshot(tmp_path, NEW, "main", 2)]
    every = ask(tmp_path, entries, "absent").step
    assert every is not None and every.action == REMOVE and {entry.revision for entry in every.before} == {OLD, NEW}
    one = ask(tmp_path, entries, "absent", revision="v1").step
    assert one is not None and [entry.revision for entry in one.before] == [OLD] and one.folders == (f"a--b@{OLD}",)
    none = ask(tmp_path / "elsewhere", [], "absent").step
    assert none is not None and none.action == KEEP


def test_a_folder_that_lost_its_record_goes_with_the_model_but_not_with_another_revision(tmp_path: Path) -> None:
    entry = snapshot(tmp_path, OLD, "v1")
    snapshot(tmp_path, NEW)
    every = ask(tmp_path, [entry], "absent").step
    assert every is not None and every.folders == (f"a--b@{OLD}", f"a--b@{NEW}")
    one = ask(tmp_path, [entry], "absent", revision="v1").step
    assert one is not None and one.folders == (f"a--b@{OLD}",)
    lost = ask(tmp_path, [entry], "absent", revision=NEW).step
    assert lost is not None and (lost.action, lost.before, lost.folders) == (REMOVE, (), (f"a--b@{NEW}",))


def test_the_active_model_is_not_removed_unless_forced(tmp_path: Path) -> None:
    entry = snapshot(tmp_path, OLD)
    (tmp_path / "etc").mkdir()
    active = '{"schema": 1, "active": {"vllm": {"model": "a/b", "provider": "huggingface", "revision": "%s", "alias": "x", "path": "%s"}}}'
    (tmp_path / "etc/runtime.json").write_text(active % (OLD, entry.local_path))
    with pytest.raises(VenomError) as caught:
        ask(tmp_path, [entry], "absent")
    assert caught.value.reason_code == "model_active"
    forced = ask(tmp_path, [entry], "absent", force=True).step
    assert forced is not None and forced.action == REMOVE


def remote(entry: Entry, path: str = "config.json") -> RemoteFile:
    return RemoteFile(path, entry.files[0].size, entry.files[0].digest.hex, None, "https://hub/x")


def test_what_a_record_vouches_for_is_not_hashed_unless_asked_for(tmp_path: Path) -> None:
    entry = snapshot(tmp_path, OLD)
    blob = with_blob(tmp_path, entry)
    manifest, digest = Manifest(str(tmp_path), [entry]), entry.files[0].digest
    assert find_known(manifest, [remote(entry)]) == find_known(manifest, [remote(entry)], True) == {str(digest): digest}
    rot(blob)
    assert find_known(manifest, [remote(entry)]) == {str(digest): digest}
    assert find_known(manifest, [remote(entry)], True) == {}, "a new revision must not be verified by what an old one remembers"
    os.utime(blob)
    assert find_known(manifest, [remote(entry)]) == {}


def install(root: Path, entries: t.Sequence[Entry], revision: str, state: str = "present", files: int = 1, **item: t.Any) -> t.Any:
    request = Request.parse({"name": "a/b", **item}, state)
    known = {str(record.digest): record.digest for entry in entries for record in entry.files}
    listed = [remote(entry) for entry in entries[:1]] + [
        RemoteFile(f"extra{number}", 5, f"{number:064x}", None, "https://hub/y") for number in range(files - 1)
    ]
    return plan_install(request, Manifest(str(root), entries), revision, listed, known, "main")


def test_a_resolved_revision_that_is_here_is_kept_or_recorded(tmp_path: Path) -> None:
    entries = [snapshot(tmp_path, OLD, "main", 1), snapshot(tmp_path, NEW, "main", 2)]
    assert install(tmp_path, entries, OLD).action == KEEP
    back = install(tmp_path, entries, OLD, "latest")
    assert back.action == RECORD, "the branch came back to an older revision, which has to become the newest"
    assert install(tmp_path, entries, NEW, "latest").action == KEEP


def test_a_new_revision_inherits_the_alias_and_counts_what_is_missing(tmp_path: Path) -> None:
    entry = snapshot(tmp_path, OLD, alias="short")
    step = install(tmp_path, [entry], NEW, files=3)
    assert (step.action, step.after.alias, step.before) == (INSTALL, "short", ())
    assert (step.bytes_total, step.bytes_to_fetch, step.bytes_kept) == (12, 10, 2)
    again = install(tmp_path, [entry], OLD, files=2)
    assert (again.action, again.before, again.repaired) == (INSTALL, (entry,), ())


def test_bad_content_is_repaired_although_it_looks_as_recorded(tmp_path: Path) -> None:
    entry = snapshot(tmp_path, OLD)
    bad = {str(entry.files[0].digest)}
    manifest = Manifest(str(tmp_path), [entry])
    step = plan_install(Request.parse({"name": "a/b"}, "verified"), manifest, OLD, [remote(entry)], {}, "main", bad)
    assert (step.action, step.repaired, step.bytes_to_fetch) == (INSTALL, ("config.json",), 2)


def test_the_same_content_under_two_names_is_fetched_once(tmp_path: Path) -> None:
    twin = [RemoteFile(path, 10, "1" * 64, None, "https://hub/x") for path in ("one", "two")]
    step = plan_install(Request.parse({"name": "a/b"}, "present"), Manifest(str(tmp_path)), NEW, twin, {}, "main")
    assert (step.bytes_total, step.bytes_to_fetch, step.bytes_kept) == (20, 10, 0)
    assert Digest.parse(twin[0].announced).hex == "1" * 64
