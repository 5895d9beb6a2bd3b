# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of a damaged or older manifest completed from what lies in the snapshots and stores. Nothing is written."""
from __future__ import annotations

import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.discovery import describe, discover, name_of_folder
from ansible_collections.venom.llm.plugins.module_utils.discovery_ollama import discover_store
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.manifest_facts import with_facts

if t.TYPE_CHECKING:
    from ansible_collections.venom.llm.plugins.module_utils.manifest_migration import OlderRecord
    from ansible_collections.venom.llm.plugins.module_utils.manifest_reading import Reading

Rebuilt = tuple[tuple[Entry, ...], list[t.Any], list[str]]


def rebuild(models_dir: str, path: str, reading: Reading) -> Rebuilt:
    """All records, the older ones that nothing confirms, and sentences for the operator. Bytes with a blob are not hashed."""
    entries, foreign, warnings = _confirm_older(models_dir, reading)
    if reading.damage is None:
        return tuple(entries), foreign, warnings
    snapshots, problems = discover(models_dir, _known(entries))
    found = [with_facts(entry, reading.declared.get(entry.ref.key, {})) for entry in snapshots]
    recorded = {entry.key_and_revision for entry in entries}
    for store in reading.stores:
        if os.path.isdir(os.path.join(store, "manifests")):
            pulled, others = discover_store(store, {entry.ref.key for entry in entries if entry.local_path == store})
            lacking = (entry for entry in pulled if entry.key_and_revision not in recorded)
            found += [describe(entry, reading.declared.get(entry.ref.key, {})) for entry in lacking]
            problems += others
    entries += found
    names = {ascii(entry.name) for entry in entries}
    gone = [name for name in dict.fromkeys(reading.lost) if name not in names]
    first = (
        f"{path} is not what this collection wrote: {reading.damage}. {_count(reading.entries)} good; {_count(found)} rebuilt from"
        " the snapshots and stores. The file is kept under a dated name with the next change. Aliases and what servers were found to do"
        " are lost where a record was damaged; changes by hand belong into venom_manifest with state present."
    )
    dropped = [f"Nothing of {name}, whose record is damaged, is in the store. Its record is dropped; install it again." for name in gone]
    return tuple(entries), foreign, [first, *warnings, *dropped, *problems]


def _count(entries: t.Sequence[Entry]) -> str:
    return "1 record is" if len(entries) == 1 else f"{len(entries)} records are"


def _known(entries: t.Sequence[Entry]) -> set[str]:
    return {os.path.basename(entry.local_path) for entry in entries if entry.provider == "huggingface"}


def _confirm_older(models_dir: str, reading: Reading) -> tuple[list[Entry], list[t.Any], list[str]]:
    """Older records whose model lies in the snapshots, as records of today; those that nothing confirms; warnings about them."""
    entries = list(reading.entries)
    by_name: dict[str, OlderRecord] = {record.ref.name: record for record in reading.older if record.ref.provider == "huggingface"}
    confirmed: set[str] = set()
    warnings: list[str] = []
    if by_name:
        found, warnings = discover(models_dir, _known(entries), wanted=lambda folder: name_of_folder(folder) in by_name)
        for entry in found:
            record = by_name[entry.name]
            confirmed.add(record.ref.key)
            entry = entry.replace(
                display_name=record.display_name or entry.display_name, installed_at=record.installed_at or entry.installed_at
            )
            entries.append(with_facts(entry, reading.declared.get(record.ref.key, {})))
    foreign: list[t.Any] = []
    for record in reading.older:
        if record.ref.key not in confirmed:
            foreign.append(dict(record.content))
            where = "the snapshots have none of it" if record.ref.provider == "huggingface" else "the store of its server is not known here"
            warnings.append(
                f"The older record of {record.ref} names no revision, and {where}."
                " Install the model, or run venom_manifest with state discovered, then sanitized."
            )
    return entries, foreign, warnings
