# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps about Ollama models made real: into the store beside the server, or by the server or its command. The caller holds the lock."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.discovery import describe
from ansible_collections.venom.llm.plugins.module_utils.discovery_ollama import describe_served
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.journal import Operation
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest, change_manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord, snapshot_sha256, utc_now
from ansible_collections.venom.llm.plugins.module_utils.models_ollama_host import OllamaHost
from ansible_collections.venom.llm.plugins.module_utils.models_ollama_plan import WEIGHTS, records_of
from ansible_collections.venom.llm.plugins.module_utils.models_sources import Sources
from ansible_collections.venom.llm.plugins.module_utils.models_steps import API, CLI, RECORD, REMOVE, STORE, Step
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import OllamaManifest
from ansible_collections.venom.llm.plugins.module_utils.policy_headers import check_weights
from ansible_collections.venom.llm.plugins.module_utils.transfer.engine import fetch


class Outcome(t.Protocol):
    """What is noted of a run."""

    manifest: Manifest
    bytes_fetched: int
    files_repaired: int
    warnings: list[str]


class OllamaApplier:
    """Executes the steps of Ollama models."""

    def __init__(self, sources: Sources, host: OllamaHost, outcome: Outcome) -> None:
        self._sources = sources
        self._host = host
        self._outcome = outcome

    def apply(self, step: Step, operation: Operation, keep: t.Collection[Digest] = ()) -> None:
        """Do one step and prove it; ``keep`` are contents that other steps count on. Raises ``VenomError``, ``OSError``."""
        if step.action == REMOVE:
            self._remove(step, keep)
        elif step.action == RECORD:
            self._remove_left(step)
            self._save(step, self._told(step, step.after))
        else:
            _INSTALLERS[step.method](self, step, operation, keep)

    def _save(self, step: Step, entry: Entry | None) -> None:
        """Record the entry in place of every other one of its tag."""

        def change(manifest: Manifest) -> Manifest:
            for other in manifest.revisions(step.request.ref.key):
                manifest = manifest.without(other)
            if entry is None:
                return manifest
            described = describe(entry, manifest.declared.get(step.request.ref.key, {}))
            return self._refresh_others(manifest.merge(described), described)

        self._outcome.manifest = change_manifest(self._outcome.manifest.models_dir, change)

    def _refresh_others(self, manifest: Manifest, entry: Entry) -> Manifest:
        """Publishing renews the time of shared blobs, so the records of other models that share them learn it."""
        fresh = {record.path: record for record in entry.files}
        for other in manifest.models:
            if other.provider == entry.provider and other is not entry and other.local_path == entry.local_path:
                files = tuple(fresh.get(record.path, record) for record in other.files)
                if files != other.files:
                    manifest = manifest.merge(other.replace(files=files))
        return manifest

    def _into_store(self, step: Step, operation: Operation, keep: t.Collection[Digest]) -> None:
        if step.after is None or step.manifest is None:
            raise ValueError("a step that installs has a record and a manifest")
        ref, store = step.request.ref, self._host.store
        missing = [file for file in step.missing if file.announced not in {str(digest) for digest in self._present(step)}]
        if missing:
            # Before the first unfinished file: what root makes on the way has to belong to the service as well.
            store.prepare()
            source = self._sources.registry(self._host.registry_of(ref))
            report = fetch([source], missing, store, self._sources.transfer_options(), operation.advance)
            self._outcome.bytes_fetched += report.bytes_fetched
        for layer in step.manifest.layers:
            if layer.media_type in WEIGHTS:
                check_weights(ref, str(layer.digest), store.fresh_path(layer.digest), "gguf")
        replaced = self._find_replaced(step)
        store.publish(ref, step.manifest)
        files = records_of(self._host, step.request, step.manifest)
        entry = step.after.replace(
            files=files,
            size_bytes=sum(record.size for record in files),
            sha256=snapshot_sha256(files),
            installed_at=utc_now(),
            status="installed",
        )
        self._save(step, entry)
        if replaced is not None:
            # The tag moved: as the server itself does, what only the former revision needed goes.
            store.collect(ref, replaced, keep)
            self._take_warnings()
        self._outcome.files_repaired += len(step.repaired)
        self._prove_in_store(step, entry)

    def _find_replaced(self, step: Step) -> OllamaManifest | None:
        try:
            found = self._host.store.read(step.request.ref)
        except VenomError:
            # Cut or garbled: what it needed is unknown, and the server clears that away when it starts.
            return None
        return None if found is None or step.manifest is None or found.digest == step.manifest.digest else found

    def _take_warnings(self) -> None:
        self._outcome.warnings.extend(self._host.store.warnings)
        self._host.store.warnings.clear()

    def _present(self, step: Step) -> set[Digest]:
        """What another model of this call has brought since the plan was made."""
        if step.manifest is None:
            return set()
        missing = {file.announced for file in step.missing}
        store = self._host.store
        return {
            layer.digest
            for layer in step.manifest.layers
            if str(layer.digest) in missing and store.has(layer.digest, layer.size) and store.verify(layer.digest, layer.size)
        }

    def _prove_in_store(self, step: Step, entry: Entry) -> None:
        """The store has it; where a server answers, it must list the same digest, or it serves from another store."""
        found = self._host.store.read(step.request.ref)
        if found is None or found.digest != entry.revision:
            raise VenomError(
                "io_error",
                wanted=f"{entry.name} as published",
                found="another manifest in its place" if found else "no manifest in its place",
                todo="find out what else writes to the store",
                path=self._host.store.root,
            )
        if not self._host.api.is_up():
            return
        served = self._host.api.find(step.request.ref)
        if served is None or served.digest != entry.revision:
            seen = "does not list it" if served is None else f"lists {served.digest}"
            self._outcome.warnings.append(
                f"{entry.name} is in {self._host.store.root}, but the server at {self._host.params['ollama_url']} {seen}."
                " Does it use another OLLAMA_MODELS?"
            )
        elif step.repaired and any(model.digest == entry.revision for model in self._host.api.loaded()):
            # It was loaded from the bytes that were bad; the next request loads the good ones.
            self._host.api.unload(served.name)
            self._outcome.warnings.append(f"{entry.name} was loaded from damaged files and has been unloaded.")

    def _by_api(self, step: Step, operation: Operation, dummy_keep: t.Collection[Digest]) -> None:
        name, insecure = self._host.pull_name(step.request.ref)
        total = step.bytes_total
        to_fetch = self._count_lacking(step)
        self._note_pull(step, name)

        def advance(done: int, dummy_total: int | None, status: str) -> None:
            operation.advance(min(done, total), total, status)

        self._host.api.pull(name, insecure, advance, self._sources.transfer_options().deadline)
        self._rename_pulled(step, name)
        served = self._host.api.find(step.request.ref)
        self._record_served(step, served.digest if served else None, to_fetch)

    def _by_cli(self, step: Step, operation: Operation, dummy_keep: t.Collection[Digest]) -> None:
        name, insecure = self._host.pull_name(step.request.ref)
        command = self._host.cli()
        to_fetch = self._count_lacking(step)
        self._note_pull(step, name)
        command.pull(
            name,
            self._sources.transfer_options().deadline,
            insecure,
            lambda dummy_done, dummy_total, drawn: operation.advance(0, step.bytes_total, drawn),
        )
        self._rename_pulled(step, name)
        self._record_served(step, command.find(step.request.ref), to_fetch)

    def _note_pull(self, step: Step, name: str) -> None:
        """Note that the name of the registry goes again, unless it is the model's own, or somebody else had it pulled."""
        ref, pulls = step.request.ref, self._host.pulls
        if name != str(ref) and name not in pulls.names(ref) and self._host.client.find_name(name) is None:
            pulls.add(ref, name)

    def _rename_pulled(self, step: Step, name: str) -> None:
        own_name = str(step.request.ref)
        if name != own_name:
            # Pulled under the name of the registry; clients use the name that the operator gave.
            self._host.client.copy(name, own_name)
        self._remove_left(step)

    def _remove_left(self, step: Step) -> None:
        """Remove the names that this model was pulled under, by this run or by one that was killed."""
        if step.method != STORE:
            for name in self._host.find_left(step.request.ref):
                self._host.client.delete(name)
            self._host.pulls.forget(step.request.ref)

    def _count_lacking(self, step: Step) -> int:
        """Bytes that the server has to fetch, less than was planned where another model of this call brought some of them."""
        here = self._host.served_blobs(Digest.parse(announced) for announced in step.missing_by_digest)
        return sum(size for announced, size in step.missing_by_digest.items() if announced not in here)

    def _record_served(self, step: Step, digest: str | None, fetched: int) -> None:
        if step.after is None:
            raise ValueError("a step that installs has a record")
        wanted = step.after.revision
        # The command shows only the beginning of a digest.
        if digest is None or not wanted.startswith(digest):
            raise VenomError(
                "digest_mismatch",
                wanted=f"{step.request.ref} with {wanted}, as the registry has it",
                found=f"the server has {digest}" if digest else "the server does not list it",
                todo="run it again; the tag may have moved meanwhile. The store method can also verify and repair",
                model=str(step.request.ref),
                expected=wanted,
                actual=digest,
            )
        files = tuple(FileRecord(file.path, file.size, Digest.parse(file.announced)) for file in step.files)
        entry = step.after.replace(
            files=files,
            size_bytes=sum(record.size for record in files),
            sha256=snapshot_sha256(files),
            installed_at=utc_now(),
            status="installed",
            display_name=step.after.display_name or step.after.name,
        )
        self._outcome.bytes_fetched += fetched
        self._save(step, self._told(step, entry))

    def _told(self, step: Step, entry: Entry | None) -> Entry | None:
        """The entry with what the server says of it, where the files are the server's own and nobody else can tell."""
        return describe_served(entry, self._host.api) if entry is not None and step.method == API else entry

    def _remove(self, step: Step, keep: t.Collection[Digest]) -> None:
        _REMOVERS[step.method](self, step, keep)
        self._remove_left(step)
        self._save(step, None)

    def _remove_from_store(self, step: Step, keep: t.Collection[Digest]) -> None:
        # A model that is loaded stays so when its files are gone, and then cannot be unloaded by name any more.
        if self._host.api.is_up():
            served = self._host.api.find(step.request.ref)
            if served is not None:
                self._host.api.unload(served.name)
        self._host.store.remove(step.request.ref, keep)
        self._take_warnings()

    def _remove_by_api(self, step: Step, dummy_keep: t.Collection[Digest]) -> None:
        served = self._host.api.find(step.request.ref)
        if served is not None:
            self._host.api.unload(served.name)
            self._host.api.delete(served.name)

    def _remove_by_cli(self, step: Step, dummy_keep: t.Collection[Digest]) -> None:
        command, name = self._host.cli(), str(step.request.ref)
        if command.find(step.request.ref) is not None:
            command.unload(name)
            command.delete(name)


_INSTALLERS: dict[str, t.Callable[[OllamaApplier, Step, Operation, t.Collection[Digest]], None]] = {
    STORE: OllamaApplier._into_store,
    API: OllamaApplier._by_api,
    CLI: OllamaApplier._by_cli,
}
_REMOVERS: dict[str, t.Callable[[OllamaApplier, Step, t.Collection[Digest]], None]] = {
    STORE: OllamaApplier._remove_from_store,
    API: OllamaApplier._remove_by_api,
    CLI: OllamaApplier._remove_by_cli,
}
