# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots on disk that the manifest lacks, as records. Nothing is guessed: what the folders cannot tell is left empty."""
from __future__ import annotations

import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.capabilities import Facts, read_facts
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import (
    SNAPSHOTS_FOLDER,
    Entry,
    FileRecord,
    from_epoch,
    snapshot_sha256,
)
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef, check_paths, runtime_for
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs, hash_file
from ansible_collections.venom.llm.plugins.module_utils.store.snapshots import Snapshots


def discover(models_dir: str, known: t.Collection[str]) -> tuple[list[Entry], list[str]]:
    """Entries of the snapshot folders whose names are not ``known``, and warnings about folders that cannot be records.

    A file that is a hard link to a blob has the blob's digest; any other file is hashed, which takes its time. Nothing is written.
    """
    blobs = Blobs(models_dir)
    snapshots = Snapshots(os.path.join(models_dir, SNAPSHOTS_FOLDER), blobs)
    folders = [folder for folder in snapshots.folders() if folder not in known]
    if not folders:
        return [], []
    digests = {item.inode(): digest for digest, item in blobs.walk()}
    entries: list[Entry] = []
    warnings: list[str] = []
    for folder in folders:
        try:
            ref, commit = ModelRef.from_folder(folder)
            entries.append(_record(ref, commit, snapshots.path(folder), digests))
        except VenomError as error:
            warnings.append(f"{snapshots.root} has {ascii(folder)}, which is no snapshot ({error.found}). It is left alone.")
    return entries, warnings


def _record(ref: ModelRef, commit: str, path: str, digests: t.Mapping[int, Digest]) -> Entry:
    files: list[FileRecord] = []
    for current, folders, names in os.walk(path):
        for name in [*names, *folders]:
            full = os.path.join(current, name)
            if os.path.islink(full):
                raise VenomError("invalid_name", wanted="files without symlinks", found=f"{ascii(full)} is a symlink", todo="remove it")
        for name in names:
            files.append(_file_record(path, os.path.join(current, name), digests))
    check_paths(record.path for record in files)
    files.sort(key=lambda record: record.path)
    return describe(
        Entry(
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
        ),
        {},
    )


def _file_record(root: str, path: str, digests: t.Mapping[int, Digest]) -> FileRecord:
    status = os.lstat(path)
    digest = digests.get(status.st_ino) or Digest("sha256", hash_file(path, status.st_size)[0])
    return FileRecord(os.path.relpath(path, root), status.st_size, digest, status.st_mtime_ns, status.st_ino)


def describe(entry: Entry, declared: t.Mapping[str, t.Any], warn: t.Callable[[str], object] = lambda dummy: None) -> Entry:
    """The entry with what its published files and its operator say about it; ``warn`` hears what could not be found out."""
    if entry.provider == "ollama":
        # Its facts come from the model's config layer when it is installed; here only the operator has something to add.
        return entry.replace(capabilities=Facts().capabilities(declared))
    facts = read_facts(entry.local_path, [record.path for record in entry.files]).with_earlier(entry.capabilities)
    for text in facts.warnings:
        warn(f"{entry.name}: {text}")
    return entry.replace(
        display_name=entry.display_name or entry.name.rpartition("/")[2],
        formats=facts.formats,
        parameters=facts.parameters,
        quantization=facts.quantization,
        capabilities=facts.capabilities(declared),
    )
