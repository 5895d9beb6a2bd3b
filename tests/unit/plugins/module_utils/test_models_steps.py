# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A step as a value: its bytes, what an operator reads, what a difference shows."""
from __future__ import annotations

from pathlib import Path

from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import FileRecord
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request
from ansible_collections.venom.llm.plugins.module_utils.models_steps import (
    INSTALL,
    KEEP,
    RECORD,
    REMOVE,
    Step,
    announced_of,
    show,
)
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.models_samples import OLD, snapshot

REQUEST = Request.parse({"name": "a/b"}, "present")


def file(path: str, size: int, number: int) -> RemoteFile:
    return RemoteFile(path, size, f"{number:064x}", None, "https://hub/x")


def test_bytes_of_partial_files_and_of_twins(tmp_path: Path) -> None:
    here, lacking, twin = file("here", 10, 1), file("lacking", 100, 2), file("twin", 100, 2)
    after = snapshot(tmp_path, OLD).replace(size_bytes=210)
    missing = (lacking, twin)
    step = Step(REQUEST, INSTALL, after=after, files=(here, *missing), missing=missing, partial={lacking.announced: 30})
    assert (step.bytes_total, step.bytes_to_fetch, step.bytes_kept) == (210, 70, 40)
    told = step.to_dict()
    assert [item["action"] for item in told["files"]] == ["keep", "fetch", "fetch"]
    assert (told["bytes_to_fetch"], told["bytes_kept"], told["revision"], told["removed_revisions"]) == (70, 40, OLD, [])


def test_a_removal_has_no_bytes_and_names_its_revisions(tmp_path: Path) -> None:
    step = Step(REQUEST, REMOVE, before=(snapshot(tmp_path, OLD),))
    told = step.to_dict()
    assert (told["bytes_total"], told["bytes_kept"], told["revision"], told["removed_revisions"]) == (0, 0, None, [OLD])
    before, after = show(step)
    assert (list(before), after) == ([f"a/b@{OLD}"], {})


def test_only_a_kept_model_with_another_memory_is_a_refresh(tmp_path: Path) -> None:
    entry = snapshot(tmp_path, OLD)
    moved = entry.replace(files=())
    assert not Step(REQUEST, KEEP).is_refresh
    assert not Step(REQUEST, KEEP, before=(entry,), after=entry).is_refresh
    assert Step(REQUEST, KEEP, before=(entry,), after=moved).is_refresh
    assert not Step(REQUEST, RECORD, before=(entry,), after=moved).is_refresh


def test_a_repair_is_a_difference(tmp_path: Path) -> None:
    entry = snapshot(tmp_path, OLD)
    listed = RemoteFile("config.json", 2, entry.files[0].digest.hex, None, "https://hub/x")
    before, after = show(Step(REQUEST, INSTALL, before=(entry,), after=entry, files=(listed,), repaired=("config.json",)))
    key = f"a/b@{OLD}"
    assert before[key]["files"] == {"config.json": "missing or changed"}
    assert after[key]["files"] == {"config.json": {"size": 2, "digest": str(entry.files[0].digest)}}


def test_the_announced_digest_is_the_one_that_the_source_gave() -> None:
    digest = Digest("sha256", "1" * 64)
    assert announced_of(FileRecord("x", 1, digest)) == str(digest)
    assert announced_of(FileRecord("x", 1, digest, git_sha1="2" * 40)) == "git-sha1:" + "2" * 40
