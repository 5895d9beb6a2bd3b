# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which installed revision answers a request, and when a hub has to be asked."""
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord, snapshot_path
from ansible_collections.venom.llm.plugins.module_utils.models_plan import KEEP, RECORD, REMOVE, LocalAnswer, Request, plan_locally
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef

OLD, NEW, OTHER = "a" * 40, "b" * 40, "c" * 40


def installed(root: Path, commit: str, requested: str, day: int, alias: str | None = None) -> Entry:
    """A record of a/b whose one file really lies there."""
    folder = Path(snapshot_path(str(root), ModelRef.parse("a/b"), commit))
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    status = (folder / "config.json").stat()
    record = FileRecord("config.json", status.st_size, Digest("sha256", "0" * 64), status.st_mtime_ns, status.st_ino)
    return Entry(
        name="a/b",
        provider="huggingface",
        runtime="vllm",
        revision=commit,
        requested_revision=requested,
        alias=alias,
        local_path=str(folder),
        size_bytes=2,
        files=(record,),
        sha256="0" * 64,
        installed_at=f"2026-01-{day:02}T00:00:00+00:00",
    )


def ask(root: Path, entries: t.Sequence[Entry], state: str = "present", **item: t.Any) -> LocalAnswer:
    return plan_locally(Request.parse({"name": "a/b", **item}, state), Manifest(str(root), entries), str(root / "etc"), False)


def test_nothing_installed_asks_the_hub_for_the_default_branch(tmp_path: Path) -> None:
    answer = ask(tmp_path, [])
    assert (answer.step, answer.ask_revision) == (None, "main")


@pytest.mark.parametrize(
    ("revision", "kept"),
    [(None, NEW), ("main", NEW), (OLD, OLD), (NEW, NEW), ("v1", OLD), ("v2", None), (OTHER, None)],
)
def test_which_revision_satisfies(tmp_path: Path, revision: str | None, kept: str | None) -> None:
    entries = [installed(tmp_path, OLD, "v1", 1), installed(tmp_path, NEW, NEW, 2)]
    answer = ask(tmp_path, entries, revision=revision)
    if kept is None:
        assert (answer.step, answer.ask_revision) == (None, revision)
    else:
        assert answer.step is not None and answer.step.after is not None
        assert (answer.step.action, answer.step.after.revision) == (KEEP, kept)


def test_another_alias_is_only_recorded(tmp_path: Path) -> None:
    entry = installed(tmp_path, OLD, "main", 1, alias="one")
    step = ask(tmp_path, [entry], alias="two").step
    assert step is not None and step.after is not None and (step.action, step.after.alias) == (RECORD, "two")
    kept = ask(tmp_path, [entry]).step
    assert kept is not None and kept.action == KEEP, "no alias asked for is no other alias"


def test_other_patterns_ask_for_the_same_commit(tmp_path: Path) -> None:
    answer = ask(tmp_path, [installed(tmp_path, OLD, "main", 1)], include=["*.json"])
    assert (answer.step, answer.ask_revision) == (None, OLD)


def test_a_damaged_file_is_not_kept(tmp_path: Path) -> None:
    entry = installed(tmp_path, OLD, "main", 1)
    (Path(entry.local_path) / "config.json").write_text("{ }")
    answer = ask(tmp_path, [entry])
    assert answer.step is None or answer.step.action != KEEP


def test_latest_asks_unless_it_is_a_commit(tmp_path: Path) -> None:
    entries = [installed(tmp_path, OLD, "main", 1)]
    assert ask(tmp_path, entries, "latest").step is None
    pinned = ask(tmp_path, entries, "latest", revision=OLD).step
    assert pinned is not None and pinned.action == KEEP


def test_absent_needs_no_hub_and_takes_every_revision_unless_one_is_named(tmp_path: Path) -> None:
    entries = [installed(tmp_path, OLD, "v1", 1), installed(tmp_path, NEW, "main", 2)]
    every = ask(tmp_path, entries, "absent").step
    assert every is not None and every.action == REMOVE and {entry.revision for entry in every.before} == {OLD, NEW}
    one = ask(tmp_path, entries, "absent", revision="v1").step
    assert one is not None and [entry.revision for entry in one.before] == [OLD]
    none = ask(tmp_path / "elsewhere", [], "absent").step
    assert none is not None and none.action == KEEP


def test_the_active_model_is_not_removed(tmp_path: Path) -> None:
    entry = installed(tmp_path, OLD, "main", 1)
    (tmp_path / "etc").mkdir()
    active = '{"schema": 1, "active": {"vllm": {"model": "a/b", "provider": "huggingface", "revision": "%s", "alias": "x", "path": "%s"}}}'
    (tmp_path / "etc/runtime.json").write_text(active % (OLD, entry.local_path))
    with pytest.raises(VenomError) as caught:
        ask(tmp_path, [entry], "absent")
    assert caught.value.reason_code == "model_active"
