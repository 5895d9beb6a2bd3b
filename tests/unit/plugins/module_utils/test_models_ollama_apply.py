# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of Ollama models made real over a real store and a server that is a value."""
from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import models_ollama_apply
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.journal import Operation
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest, change_manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.models_observe import observe
from ansible_collections.venom.llm.plugins.module_utils.models_ollama_apply import OllamaApplier
from ansible_collections.venom.llm.plugins.module_utils.models_ollama_plan import plan_locally, plan_online
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request
from ansible_collections.venom.llm.plugins.module_utils.models_sources import Sources
from ansible_collections.venom.llm.plugins.module_utils.models_steps import PlanOptions, Step
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.transfer.engine import TransferReport
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.models_samples import (
    FakeOllamaHost,
    FakeRegistry,
    Server,
    pulled,
    recorded,
    wanted,
)
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.store.ollama_models import LICENSE, NEW_WEIGHTS, WEIGHTS, digest_of, model, put

FIRST, BLOBS = model(LICENSE, WEIGHTS)
SECOND, MORE_BLOBS = model(LICENSE, NEW_WEIGHTS)


@dataclass
class Outcome:
    manifest: Manifest
    bytes_fetched: int = 0
    files_repaired: int = 0
    warnings: list[str] = field(default_factory=list)


class Bench:
    """A host, a registry of one or two models, and the applier between them."""

    def __init__(self, root: Path, method: str = "store", server: Server | None = None, **options: t.Any) -> None:
        (root / "store").mkdir(exist_ok=True)
        self.host = FakeOllamaHost(root, method, server, **options)
        self.registry = FakeRegistry(tags={"phi3:mini": FIRST, "user/other:latest": SECOND})
        self.outcome = Outcome(Manifest(self.host.params["models_dir"]))
        self.applier = OllamaApplier(Sources(self.host.params, 0.0), self.host, self.outcome)
        self.operations = str(root / "operations")
        self.fetched: list[str] = []

    def know(self, *entries: Entry) -> None:
        def change(manifest: Manifest) -> Manifest:
            for entry in entries:
                manifest = manifest.merge(entry)
            return manifest

        self.outcome.manifest = change_manifest(self.host.params["models_dir"], change)

    def plan(self, request: Request) -> Step:
        manifest = self.outcome.manifest
        answer = plan_locally(request, manifest, self.host, PlanOptions(self.host.params["config_dir"]))
        return answer.step or plan_online(request, answer, manifest, self.host, t.cast(t.Any, self.registry))

    def apply(self, step: Step, keep: t.Collection[t.Any] = ()) -> None:
        with Operation(self.operations, "x", "install") as operation:
            self.applier.apply(step, operation, keep)

    @property
    def entries(self) -> tuple[Entry, ...]:
        return Manifest.load(self.host.params["models_dir"]).models


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)

    def fetch(dummy_sources: t.Any, files: t.Sequence[RemoteFile], store: t.Any, dummy_options: t.Any, progress: t.Any) -> TransferReport:
        contents = {digest.hex: content for digest, content in (*BLOBS.items(), *MORE_BLOBS.items())}
        for file in files:
            put(store, contents[str(file.sha256)])
            made.fetched.append(str(file.sha256))
        return TransferReport(bytes_fetched=sum(file.size for file in files), bytes_resumed=0, digests={})

    monkeypatch.setattr(models_ollama_apply, "fetch", fetch)
    return made


# Into the store


def test_an_install_is_published_recorded_and_kept_from_then_on(bench: Bench) -> None:
    bench.apply(bench.plan(wanted(alias="x")))
    (entry,) = bench.entries
    assert (entry.revision, entry.alias, entry.status, entry.local_path) == (FIRST.digest, "x", "installed", bench.host.store.root)
    assert bench.outcome.bytes_fetched == FIRST.size and observe(entry).is_intact
    assert bench.plan(wanted()).action == "keep"


def test_another_revision_takes_the_record_of_its_tag_over(bench: Bench) -> None:
    bench.apply(bench.plan(wanted(alias="x")))
    bench.registry.tags["phi3:mini"] = SECOND
    bench.apply(bench.plan(wanted(state="latest")))
    assert [(entry.revision, entry.alias) for entry in bench.entries] == [(SECOND.digest, "x")]
    assert digest_of(LICENSE).hex not in bench.fetched[3:], "what both share is not fetched again"


def test_a_shared_blob_that_is_made_anew_is_made_known_to_the_other_record(bench: Bench) -> None:
    bench.apply(bench.plan(wanted()))
    bench.apply(bench.plan(wanted("user/other")))
    Path(bench.host.store.published_path(digest_of(LICENSE))).write_bytes(b"LICENCE TEXT")
    bench.apply(bench.plan(wanted(state="verified")))
    assert bench.outcome.files_repaired == 1
    assert [observe(entry).is_intact for entry in bench.entries] == [True, True]


def test_what_another_model_of_the_call_brought_is_not_fetched_again(bench: Bench) -> None:
    steps = [bench.plan(wanted()), bench.plan(wanted("user/other"))]
    for step in steps:
        bench.apply(step)
    assert bench.fetched.count(digest_of(LICENSE).hex) == 1
    assert bench.outcome.bytes_fetched == FIRST.size + SECOND.size - len(LICENSE)


def test_the_server_that_lists_something_else_is_told(bench: Bench) -> None:
    bench.host.server.up = True
    bench.apply(bench.plan(wanted()))
    assert "does not list it" in bench.outcome.warnings[0]
    bench.host.server.names["phi3:mini"] = SECOND.digest
    bench.registry.tags["phi3:mini"] = SECOND
    bench.apply(bench.plan(wanted(state="latest")))
    assert len(bench.outcome.warnings) == 1


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_repaired_model_leaves_the_memory(bench: Bench, in_memory: bool) -> None:
    bench.apply(bench.plan(wanted()))
    server = bench.host.server
    server.up, server.names = True, {"phi3:mini": FIRST.digest}
    server.in_memory = {"phi3:mini": FIRST.digest} if in_memory else {"other": SECOND.digest}
    Path(bench.host.store.published_path(digest_of(WEIGHTS))).write_bytes(b"x" * len(WEIGHTS))
    bench.apply(bench.plan(wanted(state="verified")))
    assert server.calls == ([("unload", "phi3:mini")] if in_memory else [])
    assert len(bench.outcome.warnings) == len(server.calls)


# Removal


def test_a_removal_leaves_what_other_models_use(bench: Bench) -> None:
    bench.know(recorded(bench.host, pulled(bench.host, LICENSE, WEIGHTS)))
    pulled(bench.host, LICENSE, NEW_WEIGHTS, name="user/other")
    bench.apply(bench.plan(wanted(state="absent")))
    has = bench.host.store.is_published
    assert (has(digest_of(LICENSE), len(LICENSE)), has(digest_of(WEIGHTS), len(WEIGHTS))) == (True, False)
    assert bench.entries == ()


def test_a_removal_leaves_what_the_next_step_counts_on(bench: Bench) -> None:
    bench.know(recorded(bench.host, pulled(bench.host, LICENSE, WEIGHTS)))
    gone, coming = bench.plan(wanted(state="absent")), bench.plan(wanted("user/other"))
    bench.apply(gone, set(coming.known.values()))
    bench.apply(coming)
    assert sorted(bench.fetched) == sorted(digest.hex for digest in SECOND.blobs if digest != digest_of(LICENSE))
    assert [entry.name for entry in bench.entries] == ["user/other:latest"]
    assert not bench.host.store.is_published(digest_of(WEIGHTS), len(WEIGHTS))


def test_each_warning_of_the_store_is_said_once(bench: Bench) -> None:
    for name in ("phi3:mini", "user/other"):
        pulled(bench.host, LICENSE, WEIGHTS, name=name)
    unreadable = Path(bench.host.store.root, "manifests/registry.ollama.ai/library/broken/latest")
    unreadable.parent.mkdir()
    unreadable.write_bytes(b"{")
    for name in ("phi3:mini", "user/other"):
        bench.apply(bench.plan(wanted(name, state="absent")))
    assert [("phi3" in text, "other" in text) for text in bench.outcome.warnings] == [(True, False), (False, True)]


@pytest.mark.parametrize("method", ["store", "api", "cli"])
def test_a_model_is_unloaded_before_it_goes(tmp_path: Path, method: str) -> None:
    bench = Bench(tmp_path, method, Server({"Phi3:mini": FIRST.digest}))
    pulled(bench.host, LICENSE, WEIGHTS)
    bench.apply(bench.plan(wanted(state="absent")))
    name = "phi3:mini" if method == "cli" else "Phi3:mini"
    assert bench.host.server.calls == [("unload", name)] + ([("delete", name)] if method != "store" else [])


@pytest.mark.parametrize("method", ["api", "cli"])
def test_a_record_whose_model_the_server_lost_is_forgotten(tmp_path: Path, method: str) -> None:
    bench = Bench(tmp_path, method, Server())
    bench.know(recorded_by_server(bench))
    bench.apply(bench.plan(wanted(state="absent")))
    assert (bench.entries, bench.host.server.calls) == ((), [])


def recorded_by_server(bench: Bench) -> Entry:
    return Entry(
        name="phi3:mini",
        provider="ollama",
        runtime="ollama",
        revision=FIRST.digest,
        requested_revision="mini",
        alias=None,
        local_path="",
        size_bytes=7,
        files=(),
        sha256="",
        installed_at=None,
    )


# By the server


@pytest.mark.parametrize("method", ["api", "cli"])
def test_a_pull_is_recorded_by_what_the_registry_announced(tmp_path: Path, method: str) -> None:
    bench = Bench(tmp_path, method, Server(brings=FIRST.digest))
    bench.apply(bench.plan(wanted(alias="x")))
    (entry,) = bench.entries
    assert (entry.revision, entry.alias, entry.local_path, entry.size_bytes) == (FIRST.digest, "x", "", FIRST.size)
    assert observe(entry).is_intact
    assert bench.host.server.calls == [("pull", "phi3:mini", "secure")]
    assert bench.plan(wanted()).action == "keep"


@pytest.mark.parametrize("method", ["api", "cli"])
def test_a_pull_is_counted_by_what_the_server_did_not_have(tmp_path: Path, method: str) -> None:
    server = Server({"phi3:mini": SECOND.digest}, brings=FIRST.digest, blobs={digest_of(WEIGHTS)})
    bench = Bench(tmp_path, method, server)
    step = bench.plan(wanted(state="latest"))
    assert (step.bytes_to_fetch, step.bytes_kept) == (FIRST.size - len(WEIGHTS), len(WEIGHTS))
    assert {file["action"] for file in step.to_dict()["files"] if file["digest"] == str(digest_of(WEIGHTS))} == {"keep"}
    bench.apply(step)
    assert bench.outcome.bytes_fetched == FIRST.size - len(WEIGHTS)
    assert {record.digest for record in bench.entries[0].files} == set(FIRST.blobs), "the record has all of it"


def test_what_two_models_share_is_counted_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "api", Server(brings=FIRST.digest))
    steps = [bench.plan(wanted()), bench.plan(wanted("user/other"))]
    bench.apply(steps[0])
    bench.host.server.brings, bench.host.server.blobs = SECOND.digest, set(FIRST.blobs)
    bench.apply(steps[1])
    assert bench.outcome.bytes_fetched == FIRST.size + SECOND.size - len(LICENSE)


def test_a_command_whose_server_we_do_not_reach_tells_of_no_blobs(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "cli", Server(up=False, blobs={digest_of(WEIGHTS)}))
    assert bench.host.served_blobs(FIRST.blobs) == {}
    bench.host.server.up = True
    assert list(bench.host.served_blobs(FIRST.blobs).values()) == [digest_of(WEIGHTS)]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_server_is_asked_what_its_model_is(tmp_path: Path, is_there: bool) -> None:
    shown = {"details": {"format": "gguf", "quantization_level": "Q4_K_M"}, "capabilities": ["tools"]}
    server = Server({"phi3:mini": FIRST.digest} if is_there else {}, brings=FIRST.digest, shown=shown)
    bench = Bench(tmp_path, "api", server)
    bench.apply(bench.plan(wanted()))
    (entry,) = bench.entries
    assert (entry.quantization, entry.formats) == ("Q4_K_M", ("gguf",))
    assert entry.capabilities["supports_tools"] == {"value": True, "source": "detected"}


@pytest.mark.parametrize("method", ["api", "cli"])
@pytest.mark.parametrize("was_there", [True, False])
def test_a_registry_of_ones_own_is_pulled_under_its_name_and_copied(tmp_path: Path, method: str, was_there: bool) -> None:
    name = "127.0.0.1:5000/library/phi3:mini"
    bench = Bench(tmp_path, method, Server({name: SECOND.digest} if was_there else {}, brings=FIRST.digest), registry="http://127.0.0.1:5000")
    bench.apply(bench.plan(wanted()))
    assert bench.host.server.calls[:2] == [("pull", name, "insecure"), ("copy", name, "phi3:mini")]
    assert set(bench.host.server.names) == ({name, "phi3:mini"} if was_there else {"phi3:mini"}), "only what this brought goes again"


def interrupted(*dummy: t.Any) -> t.NoReturn:
    raise KeyboardInterrupt


LONG = "127.0.0.1:5000/library/phi3:mini"


@pytest.mark.parametrize("method", ["api", "cli"])
@pytest.mark.parametrize("cut_at", ["pull", "copy", "delete"])
@pytest.mark.parametrize("state", ["present", "latest", "absent"])
def test_a_run_that_was_killed_leaves_no_name_for_good(
    tmp_path: Path, method: str, cut_at: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the server has pulled, before the copy, or before the long name goes; whatever is wanted next."""
    bench = Bench(tmp_path, method, Server(brings=FIRST.digest), registry="http://127.0.0.1:5000")
    pull = Server.pull

    def killed(self: Server, *arguments: t.Any) -> None:
        if cut_at == "pull":
            pull(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as killer:
        killer.setattr(Server, cut_at, killed)
        with pytest.raises(KeyboardInterrupt):
            bench.apply(bench.plan(wanted()))
    assert LONG in bench.host.server.names and bench.entries == ()
    step = bench.plan(wanted(state=state))
    assert step.action == {"absent": "remove"}.get(state, "record" if cut_at == "delete" else "install")
    bench.apply(step)
    assert list(bench.host.server.names) == ([] if state == "absent" else ["phi3:mini"])
    assert (len(bench.entries), bench.plan(wanted(state=state)).action) == (0 if state == "absent" else 1, "keep")
    assert not Path(bench.host.pulls.path).exists()


@pytest.mark.parametrize("method", ["api", "cli"])
def test_a_name_that_somebody_else_pulled_outlives_a_kill(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, method, Server({LONG: FIRST.digest}, brings=FIRST.digest), registry="http://127.0.0.1:5000")
    with monkeypatch.context() as killer:
        killer.setattr(Server, "copy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench.apply(bench.plan(wanted()))
    bench.apply(bench.plan(wanted()))
    bench.apply(bench.plan(wanted(state="absent")))
    assert bench.host.server.names == {LONG: FIRST.digest}


@pytest.mark.parametrize("method", ["api", "cli"])
def test_a_tag_that_moved_between_plan_and_pull_is_no_success(tmp_path: Path, method: str) -> None:
    bench = Bench(tmp_path, method, Server(brings=SECOND.digest))
    with pytest.raises(VenomError) as caught:
        bench.apply(bench.plan(wanted()))
    assert (caught.value.reason_code, caught.value.details["expected"]) == ("digest_mismatch", FIRST.digest)
    assert bench.entries == ()


@pytest.mark.parametrize("method", ["api", "cli"])
def test_a_pull_that_the_server_does_not_list_is_no_success(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, method, Server())
    monkeypatch.setattr(Server, "pull", lambda self, *dummy, **also_dummy: None)
    with pytest.raises(VenomError) as caught:
        bench.apply(bench.plan(wanted()))
    assert (caught.value.reason_code, caught.value.details["actual"]) == ("digest_mismatch", None)
