# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to happen for a Hugging Face model: the part that the host alone can tell, and the step once a hub was asked. Values only."""
from __future__ import annotations

import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import SNAPSHOTS_FOLDER, Entry, FileRecord, snapshot_path
from ansible_collections.venom.llm.plugins.module_utils.models_observe import check_not_active, observe
from ansible_collections.venom.llm.plugins.module_utils.models_request import DEFAULT_REVISION, Request
from ansible_collections.venom.llm.plugins.module_utils.models_steps import (
    INSTALL,
    KEEP,
    RECORD,
    RELINK,
    REMOVE,
    LocalAnswer,
    PlanOptions,
    Seen,
    Step,
    announced_of,
)
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef, is_commit
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs, hash_file
from ansible_collections.venom.llm.plugins.module_utils.store.hashing import sha256_of_all
from ansible_collections.venom.llm.plugins.module_utils.store.partials import kept_bytes
from ansible_collections.venom.llm.plugins.module_utils.store.snapshots import Snapshots


def plan_locally(request: Request, manifest: Manifest, options: PlanOptions) -> LocalAnswer:
    """Decide without network where that is possible. Raises ``model_active``."""
    return _PLANNERS[request.state](request, manifest, options)


def _plan_present(request: Request, manifest: Manifest, options: PlanOptions) -> LocalAnswer:
    entry = _satisfying(request, manifest)
    if entry is None:
        return LocalAnswer(None, None, request.wanted_revision)
    if (entry.include, entry.exclude) != (request.include, request.exclude):
        seen = Seen(damaged=_find_bad(manifest, entry, options)[1]) if request.deep else Seen()
        return LocalAnswer(None, entry, entry.revision, seen)
    return _plan_deeply(request, manifest, entry, options) if request.deep else _plan_entry(request, manifest, entry)


def _plan_latest(request: Request, manifest: Manifest, options: PlanOptions) -> LocalAnswer:
    if is_commit(request.revision):
        return _plan_present(request, manifest, options)
    return LocalAnswer(None, manifest.find(request.ref.name, request.wanted_revision), request.wanted_revision)


def _plan_absent(request: Request, manifest: Manifest, options: PlanOptions) -> LocalAnswer:
    entries = tuple(
        entry for entry in manifest.revisions(request.ref.key) if request.revision in (None, entry.revision, entry.requested_revision)
    )
    folders = _folders_on_disk(request, manifest, entries)
    if not entries and not folders:
        return LocalAnswer(Step(request, KEEP))
    if not options.force:
        root = os.path.join(manifest.models_dir, SNAPSHOTS_FOLDER)
        check_not_active(options.config_dir, request.ref, entries, [os.path.join(root, folder) for folder in folders])
    return LocalAnswer(Step(request, REMOVE, before=entries, folders=folders))


_PLANNERS: dict[str, t.Callable[[Request, Manifest, PlanOptions], LocalAnswer]] = {
    "present": _plan_present,
    "latest": _plan_latest,
    "verified": _plan_present,
    "absent": _plan_absent,
}


def _folders_on_disk(request: Request, manifest: Manifest, entries: t.Sequence[Entry]) -> tuple[str, ...]:
    """Snapshot folders to remove: the recorded ones, and those of the model that the manifest has lost."""
    recorded = {entry.revision for entry in manifest.revisions(request.ref.key)}
    wanted = {entry.revision for entry in entries}
    snapshots = Snapshots(os.path.join(manifest.models_dir, SNAPSHOTS_FOLDER), Blobs(manifest.models_dir))
    found = []
    for folder in snapshots.folders():
        try:
            ref, commit = ModelRef.from_folder(folder)
        except VenomError:
            continue
        is_lost = commit not in recorded and request.revision in (None, commit)
        if ref == request.ref and (commit in wanted or is_lost):
            found.append(folder)
    return tuple(found)


def _satisfying(request: Request, manifest: Manifest) -> Entry | None:
    """The installed revision that answers the request: the pinned commit, else the one asked for by that name, newest first.

    Any revision satisfies a request that names none, or names the default branch.
    """
    entries = manifest.revisions(request.ref.key)
    if is_commit(request.revision):
        return next((entry for entry in entries if entry.revision == request.revision), None)
    named = next((entry for entry in entries if entry.requested_revision == request.wanted_revision), None)
    if named is None and request.wanted_revision == DEFAULT_REVISION and entries:
        return entries[0]
    return named


def _plan_entry(request: Request, manifest: Manifest, entry: Entry) -> LocalAnswer:
    """An entry that answers the request: keep it, record another alias, link damaged files anew, or ask the hub for lost content."""
    # After a rebuild of the manifest nothing is known of the bytes but their names.
    known = entry if entry.is_vouched_for else _vouched(entry)
    after = known if request.alias in (None, entry.alias) else known.replace(alias=request.alias)
    seen = observe(known)
    if seen.is_intact:
        return LocalAnswer(Step(request, KEEP if after == known else RECORD, before=(entry,), after=after))
    blobs = Blobs(manifest.models_dir)
    if all(is_blob_good(blobs, record) for record in seen.damaged):
        repaired = tuple(record.path for record in seen.damaged)
        return LocalAnswer(Step(request, RELINK, before=(entry,), after=after, repaired=repaired))
    return LocalAnswer(None, entry, entry.revision)


def _vouched(entry: Entry) -> Entry:
    from ansible_collections.venom.llm.plugins.module_utils.discovery import Hashes, vouch

    return vouch(entry, Hashes()) or entry


def _plan_deeply(request: Request, manifest: Manifest, entry: Entry, options: PlanOptions) -> LocalAnswer:
    """An entry that answers the request, with every byte of it hashed now. Good files are left as they are."""
    after = entry if request.alias in (None, entry.alias) else entry.replace(alias=request.alias)
    bad, lost = _find_bad(manifest, entry, options)
    if not bad:
        return LocalAnswer(Step(request, KEEP if after == entry else RECORD, before=(entry,), after=after))
    if not lost:
        return LocalAnswer(Step(request, RELINK, before=(entry,), after=after, repaired=bad))
    return LocalAnswer(None, entry, entry.revision, Seen(damaged=lost))


def _find_bad(manifest: Manifest, entry: Entry, options: PlanOptions) -> tuple[tuple[str, ...], frozenset[str]]:
    """Paths of the files that are not what was published, and the announced digests of those whose blob is bad or gone, too."""
    blobs = Blobs(manifest.models_dir)
    total = sum(record.size for record in entry.files)
    done = 0

    def advance(length: int) -> None:
        nonlocal done
        done += length
        options.report(f"hashing {entry.name}", done, total)

    paths = {record.path: os.path.join(entry.local_path, record.path) for record in entry.files}
    hashed = sha256_of_all(paths.values(), advance)
    stale = {record.path for record in observe(entry).damaged}
    bad = tuple(record for record in entry.files if hashed[paths[record.path]] != record.digest.hex or record.path in stale)
    # A published file and its blob are one file, unless a hand replaced one of them.
    found = sha256_of_all(blobs.path(record.digest) for record in bad)
    lost = frozenset(announced_of(record) for record in bad if found[blobs.path(record.digest)] != record.digest.hex)
    return tuple(record.path for record in bad), lost


def is_blob_good(blobs: Blobs, record: FileRecord) -> bool:
    """Whether the blob of a record still holds what was published.

    A hand that edits a snapshot file edits its blob too, so a blob whose size, time or inode differ is hashed: after a restored
    backup its content may be right all the same.
    """
    try:
        if record.matches(os.lstat(blobs.path(record.digest))):
            return True
    except FileNotFoundError:
        return False
    return blobs.verify(record.digest, record.size)


def _is_blob_good_deeply(blobs: Blobs, record: FileRecord) -> bool:
    return blobs.verify(record.digest, record.size)


def find_known(manifest: Manifest, files: t.Sequence[RemoteFile], is_deep: bool = False) -> dict[str, Digest]:
    """Which announced contents the store already has. Blobs that no record vouches for are hashed, all of them where ``is_deep``.

    Git blob SHA-1s are found through the records, since blobs are named by their SHA-256.
    """
    blobs = Blobs(manifest.models_dir)
    records = {announced_of(record): record for entry in manifest.models for record in entry.files}
    known: dict[str, Digest] = {}
    is_good = _is_blob_good_deeply if is_deep else is_blob_good
    for file in files:
        record = records.get(file.announced)
        if record is not None and record.size == file.size and is_good(blobs, record):
            known[file.announced] = record.digest
        elif file.sha256 is not None and blobs.verify(Digest("sha256", file.sha256), file.size):
            known[file.announced] = Digest("sha256", file.sha256)
    known.update(_find_by_git_sha1(blobs, [file for file in files if file.sha256 is None and file.announced not in known]))
    return known


def _find_by_git_sha1(blobs: Blobs, files: t.Sequence[RemoteFile]) -> dict[str, Digest]:
    """Blobs that no record describes, such as those of a run that failed; only those of a fitting size are hashed."""
    wanted = {file.announced for file in files}
    sizes = {file.size for file in files}
    known: dict[str, Digest] = {}
    if not wanted:
        return known
    for digest, item in blobs.walk():
        size = item.stat(follow_symlinks=False).st_size
        if size in sizes:
            sha256, git_sha1 = hash_file(item.path, size)
            if sha256 == digest.hex and f"git-sha1:{git_sha1}" in wanted:
                known[f"git-sha1:{git_sha1}"] = digest
    return known


def plan_install(
    request: Request,
    manifest: Manifest,
    revision: str,
    files: t.Sequence[RemoteFile],
    known: t.Mapping[str, Digest],
    requested: str | None,
    bad: t.Collection[str] = (),
) -> Step:
    """The step that brings a resolved revision onto the host; ``requested`` is the name that led to it.

    ``bad`` are announced digests whose content was found to be bad here although size, time and inode are as recorded.
    """
    entry = next((other for other in manifest.revisions(request.ref.key) if other.revision == revision), None)
    missing = tuple(file for file in files if file.announced not in known)
    newest = next(iter(manifest.revisions(request.ref.key)), None)
    inherited = entry or newest
    after = Entry(
        name=str(request.ref),
        provider=request.ref.provider,
        runtime=request.runtime,
        revision=revision,
        requested_revision=requested,
        alias=request.alias or (inherited.alias if inherited else None),
        local_path=snapshot_path(manifest.models_dir, request.ref, revision),
        size_bytes=sum(file.size for file in files),
        files=(),
        sha256="",
        installed_at=None,
        status="incomplete",
        include=request.include,
        exclude=request.exclude,
    )
    before = (entry,) if entry else ()
    partial = find_partial(Blobs(manifest.models_dir).partial_root, missing)
    if entry is None:
        return Step(request, INSTALL, before, after, tuple(files), known, missing, partial)
    stale = {record.path for record in observe(entry).damaged}
    damaged = tuple(record.path for record in entry.files if record.path in stale or announced_of(record) in bad)
    if not damaged and _is_as_recorded(entry, files):
        after = entry.replace(alias=after.alias, requested_revision=requested, include=request.include, exclude=request.exclude)
        is_newest = newest is not None and newest.revision == revision
        is_same = after == entry and (request.state != "latest" or is_newest)
        return Step(request, KEEP if is_same else RECORD, before, after)
    return Step(request, INSTALL, before, after, tuple(files), known, missing, partial, repaired=damaged)


def _is_as_recorded(entry: Entry, files: t.Sequence[RemoteFile]) -> bool:
    """Whether these are the files of the record. A plan announces by SHA-256 what the hub had announced by git's SHA-1."""
    records = {record.path: record for record in entry.files}
    if set(records) != {file.path for file in files}:
        return False
    pairs = [(records[file.path], file) for file in files]
    return all(record.size == file.size and file.announced in (announced_of(record), str(record.digest)) for record, file in pairs)


def find_partial(partial_root: str, missing: t.Sequence[RemoteFile]) -> dict[str, int]:
    """Bytes of each missing content that an interrupted run left here, for plans: cheap, nothing is hashed."""
    kept = {file.announced: kept_bytes(partial_root, file.announced, file.size) for file in missing}
    return {announced: length for announced, length in kept.items() if length}
