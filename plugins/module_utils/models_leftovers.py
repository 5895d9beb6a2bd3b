# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What interrupted runs left: kept for those that go on with it, removed a week later, or oldest first where its space is needed."""
from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.files import remove_if_there
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.models_steps import INSTALL, KEEP, RELINK, REMOVE, SNAPSHOT, STORE, Step
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.store import partials
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.store.ollama import OllamaStore

#: Seconds after which what an interrupted run left is taken for forgotten: a week.
FORGOTTEN_AFTER = 7 * 86400.0


@dataclass(frozen=True)
class Leftover:
    """A file that no model of this call and no record needs. ``root`` is its store, ``left_at`` in seconds since the epoch."""

    root: str
    path: str
    size: int
    left_at: float
    is_finished: bool

    def remove(self) -> None:
        """Remove it, unless a process is at work on it. Only the holder of the store's lock may do that. Raises ``OSError``."""
        if self.is_finished:
            remove_if_there(self.path)
        else:
            partials.remove_unless_held(self.path)


def kept_digests(steps: t.Sequence[Step]) -> frozenset[Digest]:
    """Contents that the plan counts on, so that nobody collects them."""
    known = (digest for step in steps if step.action == INSTALL for digest in step.known.values())
    linked = (record.digest for step in steps if step.action == RELINK for entry in step.before for record in entry.files)
    return frozenset((*known, *linked))


def recorded_digests(manifest: Manifest, without: t.Collection[tuple[str, str]] = ()) -> frozenset[Digest]:
    """Contents of our own store that records speak of, also of models whose snapshots are damaged, which are repaired from them.

    ``without`` are keys and revisions of records that do not count.
    """
    counted = (entry for entry in manifest.models if entry.provider == "huggingface" and entry.key_and_revision not in without)
    return frozenset(record.digest for entry in counted for record in entry.files)


def wanted_digests(steps: t.Sequence[Step]) -> frozenset[str]:
    """Contents that the plan fetches, so that what is here of them already is not thrown away."""
    return frozenset(file.announced for step in steps for file in step.missing)


def store_digests(steps: t.Sequence[Step]) -> frozenset[Digest]:
    """Contents of Ollama's store that the plan has or fetches, so that what an earlier run staged of them is not thrown away."""
    manifests = (step.manifest for step in steps if step.method == STORE and step.manifest is not None)
    return frozenset(layer.digest for manifest in manifests for layer in manifest.layers)


def find_leftovers(manifest: Manifest, steps: t.Sequence[Step], ollama: OllamaStore) -> tuple[Leftover, ...]:
    """What the plan neither has nor fetches, the oldest first; only where the plan changes something, since that takes the lock."""
    wanted = wanted_digests(steps)
    found: list[Leftover] = []
    if any(step.method == SNAPSHOT and step.action in (INSTALL, REMOVE) for step in steps):
        blobs, root = Blobs(manifest.models_dir), manifest.models_dir
        kept = kept_digests(steps) | recorded_digests(manifest)
        found += [Leftover(root, blob.path, blob.size, blob.left_at, True) for blob in blobs.unused(kept)]
        found += [Leftover(root, *item, False) for item in partials.leftovers(blobs.partial_root, wanted)]
    if any(step.method == STORE and step.action != KEEP for step in steps):
        # Beside the server's own methods the store may be closed to this account.
        found += [Leftover(ollama.root, *item, True) for item in ollama.staged(store_digests(steps))]
        found += [Leftover(ollama.root, *item, False) for item in partials.leftovers(ollama.partial_root, wanted)]
    return tuple(sorted(found, key=lambda leftover: leftover.left_at))


def choose(leftovers: t.Iterable[Leftover], lacking: float) -> list[Leftover]:
    """The oldest, as many as it takes to give back ``lacking`` bytes."""
    chosen: list[Leftover] = []
    for leftover in leftovers:
        if lacking <= 0:
            break
        chosen.append(leftover)
        lacking -= leftover.size
    return chosen
