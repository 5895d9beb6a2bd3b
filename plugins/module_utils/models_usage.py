# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each model takes of the disk, contents shared by several counted once, and which of them nobody has needed lately."""
from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.files import read_json
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, normalise_time

#: Models that a refusal names of each kind.
NAMED = 3


@dataclass(frozen=True)
class ModelUsage:
    """Bytes of a model: all of its contents, and those that go when it is removed. ``active_at`` is UTC, None where it never served."""

    name: str
    revision: str
    size_bytes: int
    own_bytes: int
    active: bool = False
    active_at: str | None = None

    @property
    def shared_bytes(self) -> int:
        """What another model uses, too."""
        return self.size_bytes - self.own_bytes

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON."""
        return {**self.__dict__, "shared_bytes": self.shared_bytes}


def _contents(entry: Entry) -> dict[tuple[str, str], int]:
    """Each content once, with its size. The store of Ollama and our own share nothing."""
    return {(entry.provider, str(record.digest)): record.size for record in entry.files}


def usage_by_model(manifest: Manifest, config_dir: str | None) -> list[ModelUsage]:
    """Every model of the manifest, the largest first. A record of activations that cannot be read tells nothing."""
    users: dict[tuple[str, str], int] = {}
    for entry in manifest.models:
        for content in _contents(entry):
            users[content] = users.get(content, 0) + 1
    active, since = read_activity(config_dir)
    found: list[ModelUsage] = []
    for entry in manifest.models:
        contents = _contents(entry)
        key = (entry.name, entry.revision)
        found.append(
            ModelUsage(
                name=entry.name,
                revision=entry.revision,
                size_bytes=sum(contents.values()) if contents else entry.size_bytes,
                own_bytes=sum(size for content, size in contents.items() if users[content] == 1) if contents else entry.size_bytes,
                active=key in active,
                active_at=since.get(key),
            )
        )
    return sorted(found, key=lambda usage: (-usage.size_bytes, usage.name, usage.revision))


def distinct_bytes(manifest: Manifest) -> int:
    """Bytes of all models, each content once."""
    contents: dict[tuple[str, str], int] = {}
    unseen = 0
    for entry in manifest.models:
        contents.update(_contents(entry))
        # An Ollama server that keeps its files to itself told only the sum.
        unseen += 0 if entry.files else entry.size_bytes
    return sum(contents.values()) + unseen


def read_activity(config_dir: str | None) -> tuple[set[tuple[str, str]], dict[tuple[str, str], str]]:
    """Models that serve by decision, and when each of the models of ``runtime.json`` was activated last."""
    active: set[tuple[str, str]] = set()
    since: dict[tuple[str, str], str] = {}
    try:
        record = read_json(os.path.join(config_dir, "runtime.json")) if config_dir else {}
    except (OSError, ValueError):
        record = {}
    if not isinstance(record, dict):
        return active, since
    serving = record.get("active")
    items = [item for item in (serving.values() if isinstance(serving, dict) else ()) if isinstance(item, dict)]
    active.update((str(item.get("model")), str(item.get("revision"))) for item in items)
    history = record.get("history")
    for item in [*items, *(history if isinstance(history, list) else ())]:
        moment = normalise_time(item.get("activated_at")) if isinstance(item, dict) else None
        if moment is not None:
            key = (str(item.get("model")), str(item.get("revision")))
            since[key] = max(since.get(key, ""), moment)
    return active, since


def largest(usages: t.Sequence[ModelUsage]) -> list[ModelUsage]:
    """The models that take the most."""
    return list(usages[:NAMED])


def least_recently_active(usages: t.Sequence[ModelUsage]) -> list[ModelUsage]:
    """The models that nobody has needed for the longest time; those that serve now are none of them. Never served comes first."""
    idle = [usage for usage in usages if not usage.active]
    return sorted(idle, key=lambda usage: (usage.active_at or "", -usage.own_bytes, usage.name))[:NAMED]
