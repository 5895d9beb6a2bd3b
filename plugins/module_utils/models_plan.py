# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to happen so that the models are as wanted: values only, nothing is touched."""
from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import SNAPSHOTS_FOLDER, Entry, FileRecord, snapshot_path
from ansible_collections.venom.llm.plugins.module_utils.models_observe import check_not_active, observe
from ansible_collections.venom.llm.plugins.module_utils.names import Alias, Digest, ModelRef, is_commit, parse_revision, runtime_for
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs, hash_file
from ansible_collections.venom.llm.plugins.module_utils.store.snapshots import Snapshots

DEFAULT_REVISION = "main"

KEEP, RECORD, RELINK, INSTALL, REMOVE = "keep", "record", "relink", "install", "remove"


@dataclass(frozen=True)
class Request:
    """One model as the operator wants it, validated. ``revision`` is None when none was given."""

    ref: ModelRef
    runtime: str
    state: str
    revision: str | None
    alias: str | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]

    @classmethod
    def parse(cls, item: t.Mapping[str, t.Any], default_state: str) -> Request:
        """From module parameters. Raises ``invalid_name``, ``invalid_option``, ``incompatible_runtime``, ``unsupported_source``."""
        ref = ModelRef.parse(item["name"], item.get("provider") or "auto")
        runtime = runtime_for(ref, item.get("runtime") or "auto")
        if ref.provider != "huggingface":
            raise VenomError(
                "unsupported_source",
                wanted=f"{ref} from the provider {ref.provider}",
                found="this version installs Hugging Face models only",
                todo="name the model owner/name, or set provider to huggingface for a name without a slash",
                model=str(ref),
            )
        revision, alias = item.get("revision"), item.get("alias")
        return cls(
            ref=ref,
            runtime=runtime,
            state=item.get("state") or default_state,
            revision=None if revision is None else parse_revision(revision),
            alias=None if alias is None else str(Alias.parse(alias)),
            include=tuple(item.get("include") or ()),
            exclude=tuple(item.get("exclude") or ()),
        )

    @property
    def wanted_revision(self) -> str:
        """The revision to ask the source for."""
        return self.revision or DEFAULT_REVISION


@dataclass(frozen=True)
class Step:
    """What is to be done for one model. ``action`` is the strongest thing that happens; ``after`` is None for a removal.

    ``files`` are the files of the snapshot as the source announces them; ``known`` maps an announced digest to the content that
    the store already has; ``missing`` is what must be fetched.
    """

    request: Request
    action: str
    before: tuple[Entry, ...] = ()
    after: Entry | None = None
    files: tuple[RemoteFile, ...] = ()
    known: t.Mapping[str, Digest] = field(default_factory=dict)
    missing: tuple[RemoteFile, ...] = ()
    repaired: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    @property
    def bytes_total(self) -> int:
        """Size of the model's files."""
        return 0 if self.after is None else self.after.size_bytes

    @property
    def bytes_to_fetch(self) -> int:
        """Bytes that have to come over the network, the same content counted once."""
        return sum({file.announced: file.size for file in self.missing}.values())

    def to_dict(self) -> dict[str, t.Any]:
        """The step as an operator reads it."""
        missing = {file.path for file in self.missing}
        return {
            "name": str(self.request.ref),
            "action": self.action,
            "revision": self.after.revision if self.after else None,
            "removed_revisions": [entry.revision for entry in self.before] if self.action == REMOVE else [],
            "bytes_total": self.bytes_total,
            "bytes_to_fetch": self.bytes_to_fetch,
            "bytes_kept": self.bytes_total - sum(file.size for file in self.missing),
            "files": [
                {"path": file.path, "size": file.size, "digest": file.announced, "action": "fetch" if file.path in missing else "keep"}
                for file in self.files
            ],
            "repaired": list(self.repaired),
        }


@dataclass(frozen=True)
class LocalAnswer:
    """What the host alone can tell about a request: a finished step, or the revision to ask the hub about."""

    step: Step | None
    entry: Entry | None = None
    ask_revision: str = ""


def plan_locally(request: Request, manifest: Manifest, config_dir: str, force: bool) -> LocalAnswer:
    """Decide without network where that is possible. Raises ``model_active``."""
    return _PLANNERS[request.state](request, manifest, config_dir, force)


def _plan_present(request: Request, manifest: Manifest, dummy_config_dir: str, dummy_force: bool) -> LocalAnswer:
    entry = _satisfying(request, manifest)
    if entry is None:
        return LocalAnswer(None, None, request.wanted_revision)
    if (entry.include, entry.exclude) != (request.include, request.exclude):
        return LocalAnswer(None, entry, entry.revision)
    return _plan_entry(request, manifest, entry)


def _plan_latest(request: Request, manifest: Manifest, config_dir: str, force: bool) -> LocalAnswer:
    if is_commit(request.revision):
        return _plan_present(request, manifest, config_dir, force)
    return LocalAnswer(None, manifest.find(request.ref.name, request.wanted_revision), request.wanted_revision)


def _plan_absent(request: Request, manifest: Manifest, config_dir: str, force: bool) -> LocalAnswer:
    entries = tuple(
        entry for entry in manifest.revisions(request.ref.key) if request.revision in (None, entry.revision, entry.requested_revision)
    )
    folders = _folders_on_disk(request, manifest, entries)
    if not entries and not folders:
        return LocalAnswer(Step(request, KEEP))
    if not force:
        root = os.path.join(manifest.models_dir, SNAPSHOTS_FOLDER)
        check_not_active(config_dir, request.ref, entries, [os.path.join(root, folder) for folder in folders])
    return LocalAnswer(Step(request, REMOVE, before=entries, folders=folders))


_PLANNERS: dict[str, t.Callable[[Request, Manifest, str, bool], LocalAnswer]] = {
    "present": _plan_present,
    "latest": _plan_latest,
    "absent": _plan_absent,
}
#: Every state of the module.
STATES = tuple(_PLANNERS)


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
    after = entry if request.alias in (None, entry.alias) else entry.replace(alias=request.alias)
    seen = observe(entry)
    if seen.is_intact:
        return LocalAnswer(Step(request, KEEP if after == entry else RECORD, before=(entry,), after=after))
    blobs = Blobs(manifest.models_dir)
    if all(is_blob_good(blobs, record) for record in seen.damaged):
        repaired = tuple(record.path for record in seen.damaged)
        return LocalAnswer(Step(request, RELINK, before=(entry,), after=after, repaired=repaired))
    return LocalAnswer(None, entry, entry.revision)


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


def find_known(manifest: Manifest, files: t.Sequence[RemoteFile]) -> dict[str, Digest]:
    """Which announced contents the store already has. Blobs that no record vouches for are hashed.

    Git blob SHA-1s are found through the records, since blobs are named by their SHA-256.
    """
    blobs = Blobs(manifest.models_dir)
    records = {announced_of(record): record for entry in manifest.models for record in entry.files}
    known: dict[str, Digest] = {}
    for file in files:
        record = records.get(file.announced)
        if record is not None and record.size == file.size and is_blob_good(blobs, record):
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
    request: Request, manifest: Manifest, revision: str, files: t.Sequence[RemoteFile], known: t.Mapping[str, Digest], requested: str | None
) -> Step:
    """The step that brings a resolved revision onto the host; ``requested`` is the name that led to it."""
    entry = next((other for other in manifest.revisions(request.ref.key) if other.revision == revision), None)
    missing = tuple(file for file in files if file.announced not in known)
    newest = next(iter(manifest.revisions(request.ref.key)), None)
    inherited = entry or newest
    after = Entry(
        name=request.ref.name,
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
    if entry is None:
        return Step(request, INSTALL, before, after, tuple(files), known, missing)
    damaged = tuple(record.path for record in observe(entry).damaged)
    recorded = {record.path: (record.size, announced_of(record)) for record in entry.files}
    if not damaged and recorded == {file.path: (file.size, file.announced) for file in files}:
        after = entry.replace(alias=after.alias, requested_revision=requested, include=request.include, exclude=request.exclude)
        is_newest = newest is not None and newest.revision == revision
        is_same = after == entry and (request.state != "latest" or is_newest)
        return Step(request, KEEP if is_same else RECORD, before, after)
    return Step(request, INSTALL, before, after, tuple(files), known, missing, repaired=damaged)


def announced_of(record: FileRecord) -> str:
    """The digest that the source had announced for a recorded file."""
    return f"git-sha1:{record.git_sha1}" if record.git_sha1 else str(record.digest)


def show(step: Step) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """The step as a difference: what a plan and a finished run both know, so that check mode and the real run show the same."""
    before = {f"{entry.name}@{entry.revision}": _show_entry(entry) for entry in step.before}
    if step.after is None:
        return before, {}
    shown = _show_entry(step.after)
    if step.action == INSTALL:
        shown["files"] = {file.path: {"size": file.size, "digest": file.announced} for file in step.files}
    after = {f"{step.after.name}@{step.after.revision}": shown}
    for path in step.repaired:
        before[f"{step.after.name}@{step.after.revision}"]["files"][path] = "missing or changed"
    return before, after


def _show_entry(entry: Entry) -> dict[str, t.Any]:
    return {
        "provider": entry.provider,
        "runtime": entry.runtime,
        "revision": entry.revision,
        "requested_revision": entry.requested_revision,
        "alias": entry.alias,
        "include": list(entry.include),
        "exclude": list(entry.exclude),
        "size_bytes": entry.size_bytes,
        "files": {record.path: {"size": record.size, "digest": announced_of(record)} for record in entry.files},
    }
