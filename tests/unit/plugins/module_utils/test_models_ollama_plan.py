# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an Ollama model needs: over a real store, and over a server that is a value."""
from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import models_ollama_plan
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.models_ollama_plan import plan_locally, plan_online
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request
from ansible_collections.venom.llm.plugins.module_utils.models_steps import INSTALL, KEEP, RECORD, REMOVE, LocalAnswer, PlanOptions, Step
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import OllamaManifest
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.models_samples import (
    FakeOllamaHost,
    FakeRegistry,
    Server,
    pulled,
    recorded,
    records,
    wanted,
)
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.store.ollama_models import LICENSE, NEW_WEIGHTS, WEIGHTS, digest_of, model, put

ZERO = "sha256:" + "0" * 64
FIRST, SECOND = model(LICENSE, WEIGHTS)[0], model(LICENSE, NEW_WEIGHTS)[0]


def ask(host: FakeOllamaHost, request: Request, *entries: Entry, force: bool = False) -> LocalAnswer:
    return plan_locally(request, records(host, *entries), host, PlanOptions(host.params["config_dir"], force))


def decided(host: FakeOllamaHost, request: Request, *entries: Entry) -> tuple[str, Step]:
    step = ask(host, request, *entries).step
    assert step is not None
    return step.action, step


def online(host: FakeOllamaHost, registry: FakeRegistry, request: Request, *entries: Entry) -> Step:
    answer = ask(host, request, *entries)
    assert answer.step is None
    return plan_online(request, answer, records(host, *entries), host, t.cast(t.Any, registry))


def registry_of(tagged: OllamaManifest, *pinned: OllamaManifest) -> FakeRegistry:
    """A registry whose tag stands for the one, and which gives others by their digest only."""
    return FakeRegistry({"phi3:mini": tagged}, {found.digest: found for found in (tagged, *pinned)})


def rot(host: FakeOllamaHost, content: bytes = WEIGHTS) -> Path:
    """Change a byte of a blob as a failing disk does: size, time and inode stay."""
    path = Path(host.store.published_path(digest_of(content)))
    status = path.stat()
    with open(path, "r+b") as stream:
        stream.write(b"X")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return path


@pytest.fixture
def host(tmp_path: Path) -> FakeOllamaHost:
    (tmp_path / "store").mkdir()
    return FakeOllamaHost(tmp_path)


# Present


def test_what_is_not_there_is_asked_for_by_its_tag_or_its_pin(host: FakeOllamaHost) -> None:
    assert (ask(host, wanted()).step, ask(host, wanted()).ask_revision) == (None, "")
    assert ask(host, wanted(revision=ZERO)).ask_revision == ZERO


def test_what_is_recorded_and_untouched_needs_no_method_and_no_hash(host: FakeOllamaHost, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = recorded(host, pulled(host, LICENSE, WEIGHTS))
    rot(host)
    nobody = FakeOllamaHost(Path(host.store.root).parent, "auto")
    monkeypatch.setattr(FakeOllamaHost, "_choose", lambda self: pytest.fail("the method was asked for"))
    action, step = decided(nobody, wanted(), entry)
    assert (action, step.after, step.is_refresh) == (KEEP, entry, False)
    assert decided(nobody, wanted(alias="x"), entry)[0] == RECORD


def test_what_somebody_pulled_is_hashed_and_recorded(host: FakeOllamaHost) -> None:
    found = pulled(host, LICENSE, WEIGHTS)
    action, step = decided(host, wanted(alias="x"))
    assert action == RECORD and step.after is not None and step.before == ()
    assert (step.after.revision, step.after.alias, step.after.status, step.after.local_path) == (found.digest, "x", "installed", host.store.root)
    assert step.after.size_bytes == found.size + len(found.content) == sum(record.size for record in step.after.files)
    rot(host)
    answer = ask(host, wanted())
    assert (answer.step, answer.ask_revision, answer.seen.damaged) == (None, found.digest, {str(digest_of(WEIGHTS))})


def test_a_newer_one_that_somebody_pulled_satisfies_and_takes_over_the_alias(host: FakeOllamaHost) -> None:
    old = recorded(host, pulled(host, LICENSE, WEIGHTS), alias="x")
    new = pulled(host, LICENSE, NEW_WEIGHTS)
    for request in (wanted(), wanted(state="verified")):
        action, step = decided(host, request, old)
        assert step.after is not None and (action, step.after.revision, step.after.alias, step.before) == (RECORD, new.digest, "x", (old,))
    pinned = ask(host, wanted(revision=old.revision), old)
    assert (pinned.step, pinned.ask_revision) == (None, old.revision), "a pin is not satisfied by it"


def test_a_touched_file_is_hashed_and_only_remembered(host: FakeOllamaHost) -> None:
    entry = recorded(host, pulled(host, LICENSE, WEIGHTS))
    os.utime(host.store.published_path(digest_of(WEIGHTS)), ns=(1, 1))
    action, step = decided(host, wanted(), entry)
    assert (action, step.is_refresh) == (KEEP, True)
    assert step.after is not None and step.after.replace(files=entry.files) == entry


def test_a_record_of_the_servers_own_making_learns_its_files(host: FakeOllamaHost) -> None:
    entry = recorded(host, pulled(host, LICENSE, WEIGHTS))
    action, step = decided(host, wanted(), entry.replace(local_path="", files=()))
    assert (action, step.is_refresh, step.after) == (KEEP, True, entry)


@pytest.mark.parametrize("lost", [LICENSE, WEIGHTS])
def test_a_lost_blob_is_asked_for_in_the_revision_that_is_there(host: FakeOllamaHost, lost: bytes) -> None:
    found = pulled(host, LICENSE, WEIGHTS)
    entry = recorded(host, found)
    os.unlink(host.store.published_path(digest_of(lost)))
    registry = registry_of(SECOND)
    step = online(host, registry, wanted(), entry)
    assert (step.action, step.manifest, registry.asked) == (INSTALL, found, []), "the manifest is here, so nobody has to be asked for it"
    assert [file.sha256 for file in step.missing] == [digest_of(lost).hex]
    assert step.repaired == (f"blobs/sha256-{digest_of(lost).hex}",)
    assert step.bytes_to_fetch == len(lost)


def test_a_cut_manifest_is_no_model(host: FakeOllamaHost) -> None:
    found = pulled(host, LICENSE, WEIGHTS)
    entry = recorded(host, found)
    Path(host.store.root, host.store.manifest_path(wanted().ref)).write_bytes(found.content[:20])
    assert ask(host, wanted(), entry).ask_revision == "", "any revision satisfies"
    assert ask(host, wanted(state="verified"), entry).ask_revision == found.digest, "verified brings back what was there"
    assert decided(host, wanted(state="absent"))[0] == REMOVE


def test_rot_is_seen_by_a_deep_request_only_and_hashing_is_told(host: FakeOllamaHost) -> None:
    found = pulled(host, LICENSE, WEIGHTS)
    entry = recorded(host, found)
    rot(host)
    assert decided(host, wanted(), entry)[0] == KEEP
    told: list[tuple[t.Any, ...]] = []
    options = PlanOptions(host.params["config_dir"], report=lambda *items: told.append(items))
    answer = plan_locally(wanted(state="verified"), records(host, entry), host, options)
    assert (answer.step, answer.ask_revision, answer.seen.damaged) == (None, found.digest, {str(digest_of(WEIGHTS))})
    assert told[-1] == ("hashing phi3:mini", found.size, found.size)


def test_what_another_record_vouches_for_is_not_hashed_unless_deep(host: FakeOllamaHost) -> None:
    other = recorded(host, pulled(host, WEIGHTS, name="user/other"), "user/other")
    rot(host)
    assert [file.sha256 for file in online(host, registry_of(FIRST), wanted(), other).missing if file.size == len(WEIGHTS)] == []
    for request in (wanted(state="verified"), wanted(deep=True)):
        step = online(host, registry_of(FIRST), request, other)
        assert digest_of(WEIGHTS).hex in [file.sha256 for file in step.missing], "what is verified must not rest on another model's record"


def test_staged_blobs_of_a_killed_run_count_and_partial_ones_as_far_as_they_are(host: FakeOllamaHost, monkeypatch: pytest.MonkeyPatch) -> None:
    put(host.store, WEIGHTS)
    monkeypatch.setattr(models_ollama_plan, "find_partial", lambda root, missing: {str(digest_of(LICENSE)): 5})
    step = online(host, registry_of(FIRST), wanted())
    assert digest_of(WEIGHTS) in step.known.values()
    assert step.bytes_to_fetch == FIRST.config.size + len(LICENSE) - 5
    assert step.bytes_kept == len(WEIGHTS) + 5


def test_a_store_that_is_closed_to_this_account_leaves_the_server(host: FakeOllamaHost, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = recorded(host, pulled(host, LICENSE, WEIGHTS))
    outsider = FakeOllamaHost(Path(host.store.root).parent, "api", Server({"phi3:mini": entry.revision}))

    def refuse(path: str) -> t.NoReturn:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "lstat", refuse)
    assert decided(outsider, wanted(), entry)[0] == KEEP


# Latest


def test_latest_asks_every_time_unless_it_is_pinned(host: FakeOllamaHost) -> None:
    entry = recorded(host, pulled(host, LICENSE, WEIGHTS))
    assert online(host, registry_of(FIRST), wanted(state="latest"), entry).action == KEEP
    moved = online(host, registry_of(SECOND), wanted(state="latest"), entry)
    assert (moved.action, moved.repaired) == (INSTALL, ())
    assert [file.size for file in moved.missing] == [len(NEW_WEIGHTS), SECOND.config.size]
    assert decided(host, wanted(state="latest", revision=entry.revision), entry)[0] == KEEP


def test_latest_adopts_what_somebody_pulled(host: FakeOllamaHost) -> None:
    pulled(host, LICENSE, WEIGHTS)
    step = online(host, registry_of(FIRST), wanted(state="latest"))
    assert step.after is not None and (step.action, step.after.revision, len(step.after.files)) == (RECORD, FIRST.digest, 4)


def test_latest_repairs_what_did_not_move(host: FakeOllamaHost) -> None:
    entry = recorded(host, pulled(host, LICENSE, WEIGHTS))
    rot(host)
    assert online(host, registry_of(FIRST), wanted(state="latest"), entry).action == KEEP
    step = online(host, registry_of(FIRST), wanted(state="latest", deep=True), entry)
    assert (step.action, step.repaired) == (INSTALL, (f"blobs/sha256-{digest_of(WEIGHTS).hex}",))


# Absent


def active(host: FakeOllamaHost, revision: str) -> None:
    folder = Path(host.params["config_dir"])
    folder.mkdir()
    (folder / "runtime.json").write_text(json.dumps({"active": {"ollama": {"model": "phi3:mini", "revision": revision}}}))


def test_absent_goes_by_what_is_there(host: FakeOllamaHost) -> None:
    assert decided(host, wanted(state="absent"))[0] == KEEP
    found = pulled(host, LICENSE, WEIGHTS)
    action, step = decided(host, wanted(state="absent"))
    assert (action, step.before, step.method) == (REMOVE, (), "store")
    entry = recorded(host, found)
    assert decided(host, wanted(state="absent"), entry)[1].before == (entry,)
    os.unlink(os.path.join(host.store.root, host.store.manifest_path(wanted().ref)))
    assert decided(host, wanted(state="absent"), entry)[0] == REMOVE, "a record without model is forgotten"


def test_absent_with_a_pin_removes_that_revision_and_no_other(host: FakeOllamaHost) -> None:
    old = recorded(host, pulled(host, LICENSE, WEIGHTS))
    new = pulled(host, LICENSE, NEW_WEIGHTS)
    assert decided(host, wanted(state="absent", revision=ZERO), old)[0] == KEEP
    assert decided(host, wanted(state="absent", revision=old.revision), old)[0] == KEEP, "somebody pulled another one in its place"
    action, step = decided(host, wanted(state="absent", revision=new.digest), old)
    assert (action, step.before) == (REMOVE, (old,)), "and that one goes, whatever the record says"
    assert decided(host, wanted(state="absent", revision=ZERO))[0] == KEEP
    assert decided(host, wanted(state="absent", revision=new.digest))[0] == REMOVE


def test_an_active_model_stays_unless_forced(host: FakeOllamaHost) -> None:
    entry = recorded(host, pulled(host, LICENSE, WEIGHTS))
    active(host, entry.revision)
    with pytest.raises(VenomError) as caught:
        ask(host, wanted(state="absent"), entry)
    assert caught.value.reason_code == "model_active"
    forced = ask(host, wanted(state="absent"), entry, force=True).step
    assert forced is not None and forced.action == REMOVE


# The server and the command


@pytest.mark.parametrize("method", ["api", "cli"])
def test_a_recorded_model_that_the_server_lists_is_kept(tmp_path: Path, method: str) -> None:
    host = FakeOllamaHost(tmp_path, method, Server({"Phi3:mini": FIRST.digest}))
    entry = recorded_by_server(host)
    assert decided(host, wanted(), entry)[1].after == entry
    assert decided(host, wanted(revision=FIRST.digest), entry)[0] == KEEP
    assert decided(host, wanted(alias="x"), entry)[0] == RECORD
    assert decided(host, wanted(state="absent"), entry)[1].method == method
    host.server.names.clear()
    assert ask(host, wanted(), entry).step is None
    host.server.up = False
    with pytest.raises(VenomError):
        ask(host, wanted(), entry)


def recorded_by_server(host: FakeOllamaHost) -> Entry:
    return models_ollama_plan.make_entry(wanted(), None, host, FIRST.digest).replace(status="installed", size_bytes=7)


def test_the_server_says_the_whole_digest_of_what_nobody_recorded(tmp_path: Path) -> None:
    host = FakeOllamaHost(tmp_path, "api", Server({"phi3:mini": FIRST.digest}))
    action, step = decided(host, wanted())
    assert action == RECORD and step.after is not None
    assert (step.after.revision, step.after.size_bytes, step.after.files, step.after.local_path) == (FIRST.digest, 7, (), "")


def test_the_command_says_the_beginning_and_the_registry_the_rest(tmp_path: Path) -> None:
    host = FakeOllamaHost(tmp_path, "cli", Server({"phi3:mini": FIRST.digest}))
    assert decided(host, wanted(revision=FIRST.digest))[0] == RECORD, "the pin has the rest"
    step = online(host, registry_of(FIRST), wanted())
    assert step.after is not None and (step.action, step.after.revision) == (RECORD, FIRST.digest)
    assert online(host, registry_of(SECOND), wanted(state="latest"), recorded_by_server(host)).action == INSTALL


@pytest.mark.parametrize("method", ["api", "cli"])
def test_no_server_can_prove_every_byte(tmp_path: Path, method: str) -> None:
    host = FakeOllamaHost(tmp_path, method, Server({"phi3:mini": FIRST.digest}))
    with pytest.raises(VenomError) as caught:
        ask(host, wanted(state="verified"))
    assert caught.value.reason_code == "permission_denied"


@pytest.mark.parametrize("method", ["api", "cli"])
def test_a_pin_that_the_tag_has_left_is_refused_before_anything_is_pulled(tmp_path: Path, method: str) -> None:
    host = FakeOllamaHost(tmp_path, method, Server({"phi3:mini": SECOND.digest}))
    registry = registry_of(SECOND, FIRST)
    with pytest.raises(VenomError) as caught:
        online(host, registry, wanted(revision=FIRST.digest))
    assert (caught.value.reason_code, caught.value.details["actual"]) == ("digest_mismatch", SECOND.digest)
    del host.server.names["phi3:mini"]
    step = online(host, registry, wanted(revision=SECOND.digest))
    assert (step.action, step.method) == (INSTALL, method)


def test_the_store_keeps_a_pin_that_the_tag_has_left(host: FakeOllamaHost) -> None:
    pulled(host, LICENSE, NEW_WEIGHTS)
    step = online(host, registry_of(SECOND, FIRST), wanted(revision=FIRST.digest))
    assert (step.action, step.manifest) == (INSTALL, FIRST)
    assert [file.size for file in step.missing] == [len(WEIGHTS), FIRST.config.size]


def test_everything_is_missing_to_a_server(tmp_path: Path) -> None:
    host = FakeOllamaHost(tmp_path, "api", Server())
    step = online(host, registry_of(FIRST), wanted())
    assert step.after is not None
    assert (step.missing, step.bytes_to_fetch, step.after.local_path) == (step.files, FIRST.size, "")


def test_what_was_found_of_one_revision_says_nothing_of_another(tmp_path: Path) -> None:
    host = FakeOllamaHost(tmp_path)
    facts = {"supports_tools": {"value": True, "source": "probed"}}
    entry = recorded(host, pulled(host, b"weights")).replace(capabilities=facts, overridden={"supports_tools": {"detected": False}})
    same = models_ollama_plan.make_entry(wanted(), entry, host, entry.revision)
    other = models_ollama_plan.make_entry(wanted(), entry, host, "sha256:" + "f" * 64)
    assert (same.capabilities, same.overridden) == (entry.capabilities, entry.overridden)
    assert (other.capabilities, other.overridden) == ({}, {})
