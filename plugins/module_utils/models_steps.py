# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to happen for one model, as a value: what a plan says, what a run does, what a difference shows."""
from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import OllamaManifest
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile

KEEP, RECORD, RELINK, INSTALL, REMOVE = "keep", "record", "relink", "install", "remove"

#: How a step gets its bytes there: our own snapshot folders, Ollama's store, or the Ollama server or command doing it itself.
SNAPSHOT, STORE, API, CLI = "snapshot", "store", "api", "cli"


@dataclass(frozen=True)
class PlanOptions:
    """What planning needs besides the request: where the record of what serves lies, and what may be overridden."""

    config_dir: str
    force: bool = False
    report: t.Callable[..., None] = lambda *dummy, **also_dummy: None


@dataclass(frozen=True)
class Seen:
    """What was found of a model by looking, where looking took more than the record.

    ``damaged`` are announced digests whose content here is missing or bad; ``records`` describe what is there now; ``manifest`` is
    the registry manifest that lies in Ollama's store, ``size`` the bytes that a server says the model has.
    """

    revision: str | None = None
    damaged: frozenset[str] = frozenset()
    records: tuple[FileRecord, ...] = ()
    manifest: OllamaManifest | None = None
    size: int = 0


@dataclass(frozen=True)
class Step:
    """What is to be done for one model. ``action`` is the strongest thing that happens; ``after`` is None for a removal.

    ``files`` are the files of the model as the source announces them; ``known`` maps an announced digest to the content that
    the store already has; ``missing`` is what must be fetched, and ``partial`` how many bytes of it an interrupted run left here.
    """

    request: Request
    action: str
    before: tuple[Entry, ...] = ()
    after: Entry | None = None
    files: tuple[RemoteFile, ...] = ()
    known: t.Mapping[str, Digest] = field(default_factory=dict)
    missing: tuple[RemoteFile, ...] = ()
    partial: t.Mapping[str, int] = field(default_factory=dict)
    repaired: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    method: str = SNAPSHOT
    manifest: OllamaManifest | None = None

    @property
    def is_refresh(self) -> bool:
        """Whether nothing changes but sizes, times and inodes in the record, which is a memory of what is there."""
        return self.action == KEEP and self.after is not None and bool(self.before) and self.after != self.before[0]

    @property
    def bytes_total(self) -> int:
        """Size of the model's files."""
        return 0 if self.after is None else self.after.size_bytes

    @property
    def missing_by_digest(self) -> dict[str, int]:
        """Bytes that have to come over the network for each content."""
        return {file.announced: max(0, file.size - self.partial.get(file.announced, 0)) for file in self.missing}

    @property
    def bytes_to_fetch(self) -> int:
        """Bytes that have to come over the network, the same content counted once."""
        return sum(self.missing_by_digest.values())

    @property
    def bytes_kept(self) -> int:
        """Bytes of the model that are here already, also in files that an interrupted run left unfinished."""
        counted: set[str] = set()
        lacking = 0
        for file in self.missing:
            # The second copy of a content costs nothing, but it is not here either.
            lacking += file.size - (0 if file.announced in counted else self.partial.get(file.announced, 0))
            counted.add(file.announced)
        return self.bytes_total - lacking

    def to_dict(self) -> dict[str, t.Any]:
        """The step as an operator reads it."""
        missing = {file.path for file in self.missing}
        return {
            "name": str(self.request.ref),
            "action": self.action,
            "method": self.method,
            "revision": self.after.revision if self.after else None,
            "removed_revisions": [entry.revision for entry in self.before] if self.action == REMOVE else [],
            "bytes_total": self.bytes_total,
            "bytes_to_fetch": self.bytes_to_fetch,
            "bytes_kept": self.bytes_kept,
            "files": [
                {"path": file.path, "size": file.size, "digest": file.announced, "action": "fetch" if file.path in missing else "keep"}
                for file in self.files
            ],
            "repaired": list(self.repaired),
        }


@dataclass(frozen=True)
class LocalAnswer:
    """What the host alone can tell about a request: a finished step, or the revision to ask the source about."""

    step: Step | None
    entry: Entry | None = None
    ask_revision: str = ""
    seen: Seen = Seen()


def announced_of(record: FileRecord) -> str:
    """The digest that the source had announced for a recorded file."""
    return f"git-sha1:{record.git_sha1}" if record.git_sha1 else str(record.digest)


def show(step: Step) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """The step as a difference: what a plan and a finished run both know, so that check mode and the real run show the same."""
    before = {f"{entry.name}@{entry.revision}": _show_entry(entry) for entry in step.before}
    if step.after is None:
        return before, {}
    key = f"{step.after.name}@{step.after.revision}"
    shown = _show_entry(step.after)
    if step.action == INSTALL:
        shown["files"] = {file.path: {"size": file.size, "digest": file.announced} for file in step.files}
    for path in step.repaired:
        before.setdefault(key, {"files": {}})["files"][path] = "missing or changed"
    return before, {key: shown}


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
