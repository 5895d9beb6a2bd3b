# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model that an activation asks for: installed, complete, and under an alias of its own."""
from __future__ import annotations

import os

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.names import Alias, ModelRef
from ansible_collections.venom.llm.plugins.module_utils.record import Activation, RuntimeRecord

#: ``health_timeout: auto`` in seconds: a slow disk reads a GiB of weights in 20 s.
AUTO_TIMEOUT_BASE = 120.0
AUTO_TIMEOUT_PER_GIB = 20.0
WEIGHT_SUFFIXES = (".safetensors", ".gguf", ".bin", ".pt", ".pth")


def find_target(
    models_dir: str, runtime: str, name: str, revision: str | None, asked_alias: str | None
) -> tuple[Activation, int]:
    """The installed model that was asked for, and its bytes. Raises ``not_installed``, ``alias_taken``, ``incompatible_runtime``."""
    manifest = Manifest.load(models_dir)
    entry = manifest.find(name, revision, any_spelling=runtime == "ollama")
    if entry is None:
        suffix = f" in revision {revision}" if revision else ""
        raise VenomError(
            "not_installed",
            wanted=f"{name}{suffix} installed on this host",
            found=f"{name}{suffix} is not in the manifest of {models_dir}",
            todo="install it: venom_model with state present",
            model=name,
        )
    if entry.runtime != runtime:
        raise VenomError(
            "incompatible_runtime",
            wanted=f"{entry.name} served by {runtime}",
            found=f"it is a model for {entry.runtime}",
            todo=f"activate it on {entry.runtime}",
        )
    refuse_incomplete(entry)
    alias = str(Alias.parse(asked_alias or entry.served_name))
    if entry.runtime == "ollama":
        ModelRef.parse(alias, "ollama")
    refuse_taken(alias, entry, manifest)
    # An Ollama server knows a model by the digest of its manifest, and nobody else needs to know where it lies.
    path = entry.revision if entry.provider == "ollama" else entry.local_path
    return Activation(entry.name, entry.provider, entry.revision, alias, path), entry.size_bytes


def refuse_incomplete(entry: Entry) -> None:
    """Raise ``not_installed`` when a file is missing or of another size, or when there are no weights at all.

    The store of an Ollama server may be hidden from this account; what the server lists tells more.
    """
    found = "" if entry.status == "installed" else f"its status is {entry.status}"
    if entry.provider == "ollama" and not found:
        return
    for record in entry.files:
        path = os.path.join(entry.local_path, record.path)
        try:
            size = os.stat(path).st_size
        except OSError as error:
            found = f"{path}: {error.strerror}"
            break
        if size != record.size:
            found = f"{path} has {size} bytes instead of {record.size}"
            break
    if not found and not any(record.path.endswith(WEIGHT_SUFFIXES) for record in entry.files):
        found = f"no weights in {entry.local_path}"
    if found:
        raise VenomError(
            "not_installed",
            wanted=f"{entry.name} complete in {entry.local_path}",
            found=found,
            todo="install it again: venom_model with state present",
            model=entry.name,
            path=entry.local_path,
        )


def refuse_taken(alias: str, entry: Entry, manifest: Manifest) -> None:
    """Raise ``alias_taken`` when another model of this host answers to the alias."""
    for other in manifest.models:
        if other.ref.key != entry.ref.key and other.answers_to(alias):
            raise VenomError(
                "alias_taken",
                wanted=f"{entry.name} served as {alias}",
                found=f"{alias} belongs to {other.name}",
                todo="choose another alias, or give the other model one",
                model=other.name,
            )


def refuse_served_elsewhere(target: Activation, runtime: str, record: RuntimeRecord) -> None:
    """Raise ``alias_taken`` when another runtime of this host serves another model under the same alias."""
    for name, other in record.active.items():
        if name != runtime and other.alias == target.alias and (other.model, other.revision) != (target.model, target.revision):
            raise VenomError(
                "alias_taken",
                wanted=f"{target.model} served as {target.alias} by {runtime}",
                found=f"{name} serves {other.model} under that alias",
                todo="choose another alias for one of the two",
                model=other.model,
            )


def auto_timeout(size_bytes: int) -> float:
    """Seconds that a model of this size may take to load."""
    return AUTO_TIMEOUT_BASE + AUTO_TIMEOUT_PER_GIB * size_bytes / 1024**3
