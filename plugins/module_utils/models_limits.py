# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quota, free space and confirmation, decided on the plan's exact bytes before the first of them moves."""
from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import GB, Entry
from ansible_collections.venom.llm.plugins.module_utils.models_leftovers import Leftover, choose, find_leftovers, kept_digests
from ansible_collections.venom.llm.plugins.module_utils.models_steps import KEEP, REMOVE, SNAPSHOT, STORE, Step
from ansible_collections.venom.llm.plugins.module_utils.models_usage import largest, least_recently_active, usage_by_model
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.store.ollama import OllamaStore
from ansible_collections.venom.llm.plugins.module_utils.store.snapshots import device_of, measure_free, measure_usage

#: The reserve alone counts in these (1024**3 bytes): it is a margin, not a figure that anybody compares with a disk.
GIB = 1024**3


@dataclass(frozen=True)
class Limits:
    """In GB (10^9 bytes) as the operator gave them, the reserve in GiB."""

    max_disk_gb: float
    confirm_above_gb: float
    confirm_large: bool
    reserve_gib: float


@dataclass(frozen=True)
class Disk:
    """A file system that the plan fetches to, in bytes. ``roots`` are the folders on it that get something."""

    roots: tuple[str, ...]
    to_fetch: int
    free: int
    removed: int
    reclaimable: int
    leftovers: tuple[Leftover, ...] = ()


@dataclass(frozen=True)
class Budget:
    """The arithmetic of a plan in bytes. ``reclaimable`` is the size of ``leftovers``; those in ``doomed`` have to go for the plan to fit.

    The sums are over all file systems, as the quota is; ``free`` is that of the narrowest one that the plan fetches to.
    """

    to_fetch: int
    used: int
    free: int
    removed: int
    reclaimable: int
    disks: tuple[Disk, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    doomed: tuple[Leftover, ...] = ()


def compute_budget(manifest: Manifest, steps: t.Sequence[Step], ollama: OllamaStore) -> Budget:
    """Measure the host for a plan. Walks the models folder, and Ollama's store where the plan is about it."""
    # The two stores share nothing, so a content that both want comes twice.
    fetched: dict[tuple[str, str], int] = {}
    for step in steps:
        fetched.update({(_store_of(step), announced): size for announced, size in step.missing_by_digest.items()})
    freed = _freed(manifest, steps)
    leftovers = find_leftovers(manifest, steps, ollama)
    used = measure_usage(manifest.models_dir)
    if any(step.method != SNAPSHOT for step in steps) and not _is_within(ollama.root, manifest.models_dir):
        # What Ollama holds counts, too.
        used += ollama.usage()
    by_device: dict[int, dict[str, str]] = {}
    for store, root in ((SNAPSHOT, manifest.models_dir), (STORE, ollama.root)):
        by_device.setdefault(device_of(root), {})[store] = root
    disks = tuple(_disk(roots, fetched, freed, leftovers) for roots in by_device.values() if _sum_of(fetched, roots))
    free = min((disk.free for disk in disks), default=None)
    if free is None:
        touched = {_store_of(step) for step in steps if step.action != KEEP}
        free = measure_free(ollama.root if touched == {STORE} else manifest.models_dir)
    reclaimable = sum(leftover.size for leftover in leftovers)
    return Budget(sum(fetched.values()), used, free, sum(freed.values()), reclaimable, disks, leftovers)


def _disk(
    roots: t.Mapping[str, str],
    fetched: t.Mapping[tuple[str, str], int],
    freed: t.Mapping[tuple[str, Digest], int],
    leftovers: t.Sequence[Leftover],
) -> Disk:
    """The file system that these stores lie on."""
    filled = tuple(root for store, root in roots.items() if _sum_of(fetched, (store,)))
    there = tuple(leftover for leftover in leftovers if leftover.root in roots.values())
    reclaimable = sum(leftover.size for leftover in there)
    return Disk(filled, _sum_of(fetched, roots), measure_free(filled[0]), _sum_of(freed, roots), reclaimable, there)


def _sum_of(sizes: t.Mapping[tuple[str, t.Any], int], stores: t.Container[str]) -> int:
    return sum(size for (store, dummy_content), size in sizes.items() if store in stores)


def _store_of(step: Step) -> str:
    """Where the files of a step lie: in our own snapshots, or in Ollama's store, whoever writes there."""
    return SNAPSHOT if step.method == SNAPSHOT else STORE


def _store_of_entry(entry: Entry) -> str:
    return SNAPSHOT if entry.provider == "huggingface" else STORE


def _freed(manifest: Manifest, steps: t.Sequence[Step]) -> dict[tuple[str, Digest], int]:
    """Sizes of the contents that go with the models that are removed, and where they lie."""
    removed = [entry for step in steps if step.action == REMOVE for entry in step.before]
    keys = {entry.key_and_revision for entry in removed}
    staying = [entry for entry in manifest.models if entry.key_and_revision not in keys]
    remaining = {(_store_of_entry(entry), record.digest) for entry in staying for record in entry.files}
    remaining |= {(_store_of(step), digest) for step in steps for digest in kept_digests([step])}
    freed = {(_store_of_entry(entry), record.digest): record.size for entry in removed for record in entry.files}
    return {content: size for content, size in freed.items() if content not in remaining}


def _is_within(path: str, folder: str) -> bool:
    return os.path.commonpath((os.path.abspath(path), os.path.abspath(folder))) == os.path.abspath(folder)


def check_limits(
    manifest: Manifest, steps: t.Sequence[Step], limits: Limits, ollama: OllamaStore, config_dir: str | None = None
) -> Budget:
    """Raises ``confirmation_required``, ``quota_exceeded`` or ``disk_full``, each with its numbers and the models that could go.

    ``config_dir`` has the record of what served when.
    """
    budget = compute_budget(manifest, steps, ollama)
    if budget.to_fetch == 0:
        return budget
    usages = usage_by_model(manifest, config_dir)
    numbers: dict[str, t.Any] = {
        "bytes_needed": budget.to_fetch,
        "bytes_used": budget.used,
        "bytes_free": budget.free,
        "bytes_removed": budget.removed + budget.reclaimable,
        "largest_models": [usage.to_dict() for usage in largest(usages)],
        "least_recently_active_models": [usage.to_dict() for usage in least_recently_active(usages)],
    }
    wanted = _wanted(budget.to_fetch, steps)
    if budget.to_fetch > limits.confirm_above_gb * GB and not limits.confirm_large:
        raise VenomError(
            "confirmation_required",
            wanted=wanted,
            found=f"that is over confirm_above_gb, {limits.confirm_above_gb:g} GB",
            todo="set confirm_large if this is meant",
            limit_bytes=int(limits.confirm_above_gb * GB),
            **numbers,
        )
    returned = budget.removed + budget.reclaimable
    if budget.used - returned + budget.to_fetch > limits.max_disk_gb * GB:
        raise VenomError(
            "quota_exceeded",
            wanted=wanted,
            found=f"{_gb(budget.used - returned)} are used of max_disk_gb, {limits.max_disk_gb:g} GB{_shown(numbers)}",
            todo="remove models with state absent, or raise max_disk_gb",
            limit_bytes=int(limits.max_disk_gb * GB),
            **numbers,
        )
    for disk in budget.disks:
        returned = disk.removed + disk.reclaimable
        if disk.to_fetch + limits.reserve_gib * GIB > disk.free + returned:
            there = [step for step in steps if (manifest.models_dir if _store_of(step) == SNAPSHOT else ollama.root) in disk.roots]
            # The numbers are those of the file system that is too small, not of all that the plan is about.
            numbers.update(bytes_needed=disk.to_fetch, bytes_free=disk.free, bytes_removed=returned)
            raise VenomError(
                "disk_full",
                wanted=f"{_wanted(disk.to_fetch, there)} and keep {limits.reserve_gib:g} GiB in reserve",
                found=f"{_gb(disk.free + returned)} are free in {' and '.join(disk.roots)}{_shown(numbers)}",
                todo="free space on that file system, remove models, or lower reserve_gib",
                limit_bytes=int(limits.reserve_gib * GIB),
                **numbers,
            )
    return replace(budget, doomed=_doomed(budget, limits))


def _doomed(budget: Budget, limits: Limits) -> tuple[Leftover, ...]:
    """What has to go, the oldest first: none where everything fits beside it, since somebody may still go on with it."""
    doomed: list[Leftover] = []
    for disk in budget.disks:
        doomed += choose(disk.leftovers, disk.to_fetch + limits.reserve_gib * GIB - disk.free - disk.removed)
    others = (leftover for leftover in budget.leftovers if leftover not in doomed)
    lacking = budget.used - budget.removed + budget.to_fetch - limits.max_disk_gb * GB - sum(leftover.size for leftover in doomed)
    return tuple(doomed + choose(others, lacking))


def _wanted(to_fetch: int, steps: t.Sequence[Step]) -> str:
    return f"to fetch {_gb(to_fetch)} for {', '.join(str(step.request.ref) for step in steps if step.missing)}"


def _gb(size: int) -> str:
    return f"{size / GB:.2f} GB" if size >= GB / 100 else f"{size} bytes"


def _shown(numbers: t.Mapping[str, t.Any]) -> str:
    largest_models = ", ".join(f"{item['name']} {_gb(item['size_bytes'])}" for item in numbers["largest_models"])
    idle = ", ".join(f"{item['name']} ({item['active_at'] or 'never'})" for item in numbers["least_recently_active_models"])
    shown = f"; the largest models are {largest_models}" if largest_models else ""
    return shown + (f"; the least recently active are {idle}" if idle else "")
