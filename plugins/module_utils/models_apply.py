# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan made real, one recoverable step at a time. The caller holds the locks of the runtimes whose models change."""
from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils.discovery import describe
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import make_folders
from ansible_collections.venom.llm.plugins.module_utils.journal import Operation
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest, change_manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import (
    SNAPSHOTS_FOLDER,
    Entry,
    FileRecord,
    snapshot_sha256,
    utc_now,
)
from ansible_collections.venom.llm.plugins.module_utils.models_leftovers import (
    FORGOTTEN_AFTER,
    Leftover,
    kept_digests,
    recorded_digests,
    store_digests,
    wanted_digests,
)
from ansible_collections.venom.llm.plugins.module_utils.models_observe import observe, record_file
from ansible_collections.venom.llm.plugins.module_utils.models_ollama_apply import OllamaApplier
from ansible_collections.venom.llm.plugins.module_utils.models_ollama_host import OllamaHost
from ansible_collections.venom.llm.plugins.module_utils.models_sources import Sources
from ansible_collections.venom.llm.plugins.module_utils.models_steps import INSTALL, KEEP, RECORD, RELINK, REMOVE, SNAPSHOT, STORE, Step
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.policy_headers import check_weights
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.store import partials
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs, hash_file
from ansible_collections.venom.llm.plugins.module_utils.store.snapshots import Snapshots
from ansible_collections.venom.llm.plugins.module_utils.transfer.engine import fetch

_KINDS = {INSTALL: "install", RELINK: "repair", RECORD: "update", REMOVE: "remove"}


@dataclass
class Outcome:
    """What was done: the manifest as it is now, and the numbers of the result."""

    manifest: Manifest
    bytes_fetched: int = 0
    files_repaired: int = 0
    operations: list[dict[str, t.Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Applier:
    """Executes steps. Removals come first, so that the space they give back is there for what is fetched."""

    def __init__(self, manifest: Manifest, sources: Sources, host: OllamaHost) -> None:
        self._blobs = Blobs(manifest.models_dir)
        self._snapshots = Snapshots(os.path.join(manifest.models_dir, SNAPSHOTS_FOLDER), self._blobs)
        self._operations = os.path.join(manifest.models_dir, "operations")
        self._sources = sources
        self._host = host
        self._contents: dict[str, Digest] = {}
        self.outcome = Outcome(manifest)
        self._ollama = OllamaApplier(sources, host, self.outcome)

    def apply(self, steps: t.Sequence[Step], doomed: t.Sequence[Leftover] = ()) -> Outcome:
        """Do every step in order. What was done before a failure stays done and recorded. Raises ``VenomError``, ``OSError``.

        ``doomed`` are left by other runs, and in the way.
        """
        make_folders(self.outcome.manifest.models_dir)
        for leftover in doomed:
            leftover.remove()
        self._clean(steps)
        for step in sorted(steps, key=lambda step: step.action != REMOVE):
            if step.action == KEEP:
                continue
            with Operation(self._operations, str(step.request.ref), _KINDS[step.action]) as operation:
                if step.method != SNAPSHOT:
                    self._ollama.apply(step, operation, kept_digests(steps))
                elif step.action == REMOVE:
                    self._remove(step, steps)
                elif step.action == RECORD:
                    self._record(step)
                else:
                    self._publish(step, operation)
            self.outcome.operations.append({key: value for key, value in operation.record.items() if key not in ("pid", "pid_started")})
        return self.outcome

    def _clean(self, steps: t.Sequence[Step]) -> None:
        """Clear away what crashed runs left and nobody has gone on with for long; only below the runtimes whose locks are held."""
        methods = {step.method for step in steps if step.action != KEEP}
        wanted = wanted_digests(steps)
        if SNAPSHOT in methods:
            partials.clean(self._blobs.partial_root, wanted, FORGOTTEN_AFTER)
            self._snapshots.clean()
            self._blobs.collect(kept_digests(steps) | recorded_digests(self.outcome.manifest), older_than=FORGOTTEN_AFTER)
        if STORE in methods:
            partials.clean(self._host.store.partial_root, wanted, FORGOTTEN_AFTER)
            self._host.store.clean(keep=store_digests(steps), older_than=FORGOTTEN_AFTER)

    def _remove(self, step: Step, steps: t.Sequence[Step]) -> None:
        # Folders go first, the record last: a crash in between leaves a record whose model is damaged, which both states know how to
        # end, and no blob of it stays that no record tells of.
        for folder in step.folders:
            self._snapshots.remove(folder)
        gone = {entry.key_and_revision for entry in step.before}
        used = {record.digest for entry in step.before for record in entry.files}
        self._blobs.collect(kept_digests(steps) | recorded_digests(self.outcome.manifest, without=gone), only=used)

        def forget(manifest: Manifest) -> Manifest:
            for entry in step.before:
                manifest = manifest.without(entry)
            return manifest

        self._change(forget)

    def _record(self, step: Step) -> None:
        if step.after is None:
            raise ValueError("a step that records has a record")
        # The branch came back to an older revision that is still here: it is the newest again.
        after = step.after.replace(installed_at=utc_now()) if step.request.state == "latest" else step.after
        self._change(lambda manifest: manifest.merge(after))

    def _publish(self, step: Step, operation: Operation) -> None:
        if step.after is None:
            raise ValueError("a step that publishes has a record")
        records = self._records_of(step, operation)
        ref, revision = step.request.ref, step.after.revision
        path = self._snapshots.publish(ref.folder(revision), {record.path: record.digest for record in records})
        files = tuple(record_file(path, record.path, record) for record in records)
        entry = step.after.replace(
            files=files,
            size_bytes=sum(record.size for record in files),
            sha256=snapshot_sha256(files),
            installed_at=utc_now() if step.action == INSTALL or step.after.installed_at is None else step.after.installed_at,
            status="installed",
        )
        fetched = {self._contents[file.announced] for file in step.missing if file.announced in self._contents}

        def record(manifest: Manifest) -> Manifest:
            # Linking the same bytes anew does not undo what a live server was found to do with them.
            former = next((other for other in manifest.revisions(ref.key) if other.revision == revision), entry)
            found = entry.replace(capabilities=former.capabilities, overridden=former.overridden)
            described = describe(found, manifest.declared.get(ref.key, {}), self.outcome.warnings.append)
            return self._relink_others(manifest.merge(described), described, fetched)

        self._change(record)
        self.outcome.files_repaired += len(step.repaired)
        _prove(entry)

    def _relink_others(self, manifest: Manifest, entry: Entry, fetched: t.Collection[Digest]) -> Manifest:
        """Give the fresh blobs to the other revisions that share them: theirs still lead to what was damaged."""
        for other in manifest.models:
            if other.provider != entry.provider or other.key_and_revision == entry.key_and_revision:
                continue
            if not any(record.digest in fetched for record in other.files) or not os.path.isdir(other.local_path):
                continue
            if not all(self._blobs.has(record.digest, record.size) for record in other.files):
                continue
            path = self._snapshots.publish(os.path.basename(other.local_path), {record.path: record.digest for record in other.files})
            manifest = manifest.merge(other.replace(files=tuple(record_file(path, record.path, record) for record in other.files)))
        return manifest

    def _records_of(self, step: Step, operation: Operation) -> list[FileRecord]:
        if step.action == RELINK:
            return list(step.before[0].files)
        digests = self._contents
        digests.update(step.known)
        # Another model of this call may have brought the same content already.
        missing = [file for file in step.missing if file.announced not in digests]
        if missing:
            report = fetch([self._sources.hub], missing, self._blobs, self._sources.transfer_options(), operation.advance)
            self.outcome.bytes_fetched += report.bytes_fetched
            digests.update(report.digests)
        for file in step.files:
            check_weights(step.request.ref, file.path, self._blobs.path(digests[file.announced]))
        return [FileRecord(file.path, file.size, digests[file.announced], git_sha1=self._git_sha1(file)) for file in step.files]

    def _git_sha1(self, file: RemoteFile) -> str | None:
        """Git's SHA-1 of a file, if it is true: where a plan gives both digests, only the SHA-256 was compared until now."""
        if file.git_sha1 is None or file.sha256 is None:
            return file.git_sha1
        dummy_sha256, found = hash_file(self._blobs.path(self._contents[file.announced]), file.size)
        return found if found == file.git_sha1 else None

    def _change(self, change: t.Callable[[Manifest], Manifest]) -> None:
        self.outcome.manifest = change_manifest(self.outcome.manifest.models_dir, change)


def _prove(entry: Entry) -> None:
    """Observe again: what was promised must be there."""
    damaged = observe(entry).damaged
    if damaged:
        raise VenomError(
            "io_error",
            wanted=f"{entry.name} as published",
            found=f"{len(damaged)} files that changed meanwhile, first {ascii(damaged[0].path)}",
            todo="find out what else writes to the models folder",
            path=entry.local_path,
        )
