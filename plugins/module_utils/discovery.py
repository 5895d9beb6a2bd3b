# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots on disk that the manifest lacks, as records. Nothing is guessed: what the folders cannot tell is left empty."""
from __future__ import annotations

import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.capabilities import Facts, read_facts
from ansible_collections.venom.llm.plugins.module_utils.discovery_ollama import read_store_layers
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.facts_record import record_facts
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import (
    SNAPSHOTS_FOLDER,
    Entry,
    FileRecord,
    from_epoch,
    snapshot_sha256,
)
from ansible_collections.venom.llm.plugins.module_utils.manifest_facts import with_facts
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef, check_paths, runtime_for
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.store.hashing import sha256_of_all
from ansible_collections.venom.llm.plugins.module_utils.store.snapshots import Snapshots

#: Device, inode, size in bytes and time in nanoseconds: what one content of one file is told by.
_Identity = tuple[int, int, int, int]
#: Called with a sentence, bytes done and bytes in total.
Report = t.Callable[[str, int, int], None]


class Hashes:
    """SHA-256 of files, each content hashed once however many names it has and however often it is asked for."""

    def __init__(self, report: Report = lambda dummy_message, dummy_done, dummy_total: None) -> None:
        self._known: dict[_Identity, str | None] = {}
        self._report = report

    def of(self, paths: t.Iterable[str], what: str) -> dict[str, str | None]:
        """SHA-256 as hex of each path, None for what cannot be read; on all cores. ``what`` is shown while it takes its time."""
        identities = {path: _identify(path) for path in paths}
        new = {identity: path for path, identity in identities.items() if identity not in self._known}
        total, done = sum(identity[2] for identity in new), 0

        def advance(length: int) -> None:
            nonlocal done
            done += length
            self._report(f"hashing {what}", done, total)

        hashed = sha256_of_all(new.values(), advance)
        self._known.update((identity, hashed[path]) for identity, path in new.items())
        return {path: self._known[identity] for path, identity in identities.items()}


def _identify(path: str) -> _Identity:
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def name_of_folder(folder: str) -> str | None:
    """Name of the model whose snapshot folder this is, None for any other folder."""
    try:
        return ModelRef.from_folder(folder)[0].name
    except VenomError:
        return None


def discover(
    models_dir: str, known: t.Collection[str], hashes: Hashes | None = None, wanted: t.Callable[[str], bool] = lambda dummy: True
) -> tuple[list[Entry], list[str]]:
    """Entries of the ``wanted`` snapshot folders that are not ``known``, and warnings about folders that cannot be records.

    With ``hashes`` every byte is hashed, and a folder with a file that is not what its blob's name says is no record. Without them
    a hard link to a blob has the digest of the blob's name, and its record vouches for nothing; what is no link is hashed all the
    same. Nothing is written.
    """
    blobs = Blobs(models_dir)
    snapshots = Snapshots(os.path.join(models_dir, SNAPSHOTS_FOLDER), blobs)
    folders = [folder for folder in snapshots.folders() if folder not in known and wanted(folder)]
    if not folders:
        return [], []
    digests = {item.inode(): digest for digest, item in blobs.walk()}
    entries: list[Entry] = []
    warnings: list[str] = []
    for folder in folders:
        try:
            ref, commit = ModelRef.from_folder(folder)
            entries.append(_record(ref, commit, snapshots.path(folder), digests, hashes))
        except VenomError as error:
            warnings.append(f"{snapshots.root} has {ascii(folder)}, which is not recorded ({error.found}). It is left alone.")
    return entries, warnings


def _record(ref: ModelRef, commit: str, path: str, digests: t.Mapping[int, Digest], hashes: Hashes | None) -> Entry:
    paths: list[str] = []
    for current, folders, names in os.walk(path):
        for name in [*names, *folders]:
            full = os.path.join(current, name)
            if os.path.islink(full):
                raise VenomError("invalid_name", wanted="files without symlinks", found=f"{ascii(full)} is a symlink", todo="remove it")
        paths.extend(os.path.relpath(os.path.join(current, name), path) for name in names)
    check_paths(paths)
    files = _file_records(path, sorted(paths), digests, hashes, ref.name)
    entry = Entry(
        name=ref.name,
        provider=ref.provider,
        runtime=runtime_for(ref),
        revision=commit,
        requested_revision=commit,
        alias=None,
        local_path=path,
        size_bytes=sum(record.size for record in files),
        files=tuple(files),
        sha256=snapshot_sha256(files),
        installed_at=from_epoch(os.stat(path).st_mtime),
    )
    return describe(entry, {})


def _file_records(
    root: str, paths: t.Sequence[str], digests: t.Mapping[int, Digest], hashes: Hashes | None, name: str
) -> list[FileRecord]:
    statuses = {path: os.lstat(os.path.join(root, path)) for path in paths}
    named = {path: digests.get(status.st_ino) for path, status in statuses.items()}
    to_hash = [os.path.join(root, path) for path in paths if hashes is not None or named[path] is None]
    hashed = (hashes or Hashes()).of(to_hash, name)
    records: list[FileRecord] = []
    for path, status in statuses.items():
        digest, full = named[path], os.path.join(root, path)
        if full in hashed:
            found = hashed[full]
            if found is None or (digest is not None and found != digest.hex):
                raise VenomError(
                    "digest_mismatch",
                    wanted=f"{ascii(full)} as its blob is named",
                    found=f"its file {ascii(path)} is damaged",
                    todo="install the model with state verified",
                )
            records.append(FileRecord(path, status.st_size, Digest("sha256", found), status.st_mtime_ns, status.st_ino))
        elif digest is not None:
            records.append(FileRecord(path, status.st_size, digest))
    return records


def vouch(entry: Entry, hashes: Hashes) -> Entry | None:
    """The entry with time and inode of each file, once every byte was hashed and is as recorded; None where one is not.

    Raises ``OSError``.
    """
    paths = {record.path: os.path.join(entry.local_path, record.path) for record in entry.files}
    if not all(os.path.isfile(path) and not os.path.islink(path) for path in paths.values()):
        return None
    hashed = hashes.of(paths.values(), entry.name)
    if any(hashed[paths[record.path]] != record.digest.hex for record in entry.files):
        return None
    statuses = {path: os.lstat(full) for path, full in paths.items()}
    files = (
        FileRecord(path, statuses[path].st_size, digest, statuses[path].st_mtime_ns, statuses[path].st_ino, sha1)
        for path, digest, sha1 in ((record.path, record.digest, record.git_sha1) for record in entry.files)
    )
    return entry.replace(files=tuple(files))


def describe(entry: Entry, declared: t.Mapping[str, t.Any], warn: t.Callable[[str], object] = lambda dummy: None) -> Entry:
    """The entry with what its published files and its operator say about it. What a live server was found to do is kept.

    ``warn`` hears what could not be found out though the files have it.
    """
    facts = _facts_of(entry)
    if facts is None:
        # Its files lie where this account may not look: what was found before stands.
        return with_facts(entry, declared)
    for text in facts.warnings:
        warn(f"{entry.name}: {text}")
    facts = facts.with_earlier(entry.facts_from("detected"))
    described = entry.replace(
        display_name=entry.display_name or (entry.name if entry.provider == "ollama" else entry.name.rpartition("/")[2]),
        formats=facts.formats or entry.formats,
        parameters=facts.parameters or entry.parameters,
        quantization=facts.quantization or entry.quantization,
    )
    return record_facts(with_facts(described, declared, facts.detected))


def _facts_of(entry: Entry) -> Facts | None:
    if entry.provider == "huggingface":
        return read_facts(entry.local_path, [record.path for record in entry.files])
    return read_store_layers(entry)
