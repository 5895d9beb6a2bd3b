# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host has drifted from its own record: record against configuration, manifest, unit, and what the server itself says."""
from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import targets
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.observation import Observation
from ansible_collections.venom.llm.plugins.module_utils.record import Activation
from ansible_collections.venom.llm.plugins.module_utils.rivals import find_rivals, rival_conflict
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Runtime
from ansible_collections.venom.llm.plugins.module_utils.supervisors.base import Supervisor

#: Every kind of difference, and whether activating the recorded model again mends it. What this collection did not make it does not mend.
KINDS: dict[str, bool] = {
    "alias_mismatch": True,
    "change_unfinished": True,
    "configuration_differs": True,
    "model_damaged": False,
    "not_answering": True,
    "not_enabled": True,
    "not_running": True,
    "not_stopped": False,
    "record_missing": False,
    "settings_changed": True,
    "settings_missing": False,
    "stray_server": False,
    "unit_missing": False,
}


@dataclass(frozen=True)
class Difference:
    """One thing that is not as the record wants it: ``kind`` is a key of ``KINDS``."""

    kind: str
    wanted: str
    found: str

    def to_dict(self) -> dict[str, t.Any]:
        """As result keys; ``repairable`` tells whether ``venom_runtime`` with ``state: active`` mends it."""
        return {"kind": self.kind, "wanted": self.wanted, "found": self.found, "repairable": KINDS[self.kind]}


def describe(
    seen: Observation, status: t.Mapping[str, t.Any], runtime: Runtime, supervisor: Supervisor, models_dir: str
) -> list[dict[str, t.Any]]:
    """All differences as result keys. ``status`` is that of ``status.describe`` for the same observation."""
    problem = None if seen.committed is None else model_problem(seen.committed, models_dir)
    served = [f"{name} from {root}" for name, root in zip(status["served_models"], status["served_roots"])]
    # Settings without sense name no port that somebody else could have.
    strays = [] if seen.endpoint is None else [rival_conflict(each, runtime).found for each in find_rivals(seen, runtime, supervisor)]
    return [each.to_dict() for each in compare(seen, status["alias_ok"], served, supervisor.can_enable, problem, strays)]


def compare(
    seen: Observation,
    alias_ok: bool | None,
    served: t.Sequence[str],
    can_enable: bool,
    problem: str | None,
    strays: t.Sequence[str] = (),
) -> tuple[Difference, ...]:
    """The differences, the most fundamental first; pure.

    ``alias_ok`` is None when the server gave no list. ``problem`` is what is wrong with the recorded model's files, ``strays`` are
    servers of others that have the port or would take it at the next boot.
    """
    record = seen.committed
    if seen.set_aside and seen.trial is None:
        return _of_one_set_aside(seen)
    found = [Difference("stray_server", "the port for this runtime alone", stray) for stray in strays]
    if seen.trial is not None:
        what = seen.trial.activation.model if seen.trial.activation else f"version {seen.trial.version}" if seen.trial.version else "a change"
        found.append(Difference("change_unfinished", "no change half way", f"{what}, begun at {seen.trial.begun_at}, is not committed"))
    if record is None:
        if seen.active is not None and seen.trial is None:
            found.append(Difference("record_missing", f"a record of {seen.active.alias}, which is configured", "none"))
        return tuple(found)
    wanted = f"{record.alias} from {record.path}"
    if problem:
        found.append(Difference("model_damaged", f"{record.model} complete and in the manifest", problem))
    if not seen.configured or seen.endpoint is None:
        what = seen.health.detail if seen.configured else "no settings file"
        return (*found, Difference("settings_missing", f"the settings of a server for {wanted}", what))
    if not seen.service.installed:
        return (*found, Difference("unit_missing", f"a unit that serves {wanted}", seen.service.detail))
    return (*found, *_of_the_server(seen, record, wanted, alias_ok, served, can_enable))


def _of_one_set_aside(seen: Observation) -> tuple[Difference, ...]:
    """What differs at a runtime that was stopped on purpose: it needs neither settings nor unit, port or model until it is wanted again."""
    if not seen.is_up and not seen.service.enabled:
        return ()
    state = f"it is {seen.service.active}" if seen.is_up else "it is enabled"
    return (Difference("not_stopped", "it stopped, and not started at boot, as was ordered", state),)


def _of_the_server(
    seen: Observation, record: Activation, wanted: str, alias_ok: bool | None, served: t.Sequence[str], can_enable: bool
) -> t.Iterator[Difference]:
    """What differs at a server that is set up."""
    active = seen.active
    if active is None or (active.alias, active.path) != (record.alias, record.path):
        yield Difference("configuration_differs", wanted, f"{active.alias} from {active.path} is configured" if active else "no model is configured")
    if can_enable and not seen.service.enabled:
        yield Difference("not_enabled", "the unit enabled at boot", "it is disabled")
    if not seen.is_up:
        yield Difference("not_running", f"a server of {wanted}", f"it is {seen.service.active}: {seen.service.detail}")
        return
    if seen.service.needs_reload or seen.started_with != seen.digest:
        yield Difference("settings_changed", "a server started with the settings that its files have now", "it was started with others")
    if seen.foreign_listener() is not None:
        return
    if alias_ok is None:
        yield Difference("not_answering", f"{wanted} in the server's own list", seen.health.detail or f"it is {seen.service.active}")
    elif not alias_ok:
        yield Difference("alias_mismatch", wanted, ", ".join(served) or "no model")


def model_problem(record: Activation, models_dir: str) -> str | None:
    """What is wrong with the recorded model: its entry in the manifest, its files as far as their sizes tell. None when nothing is."""
    try:
        entry = Manifest.load(models_dir).find(record.model, record.revision)
        if entry is None:
            return f"{record.model} in revision {record.revision} is not in the manifest of {models_dir}"
        # A model of Ollama is a digest in the server's own store, and its server tells whether it has it.
        if os.path.isabs(record.path):
            if entry.local_path != record.path:
                return f"the manifest has it in {entry.local_path}, the record in {record.path}"
            targets.refuse_incomplete(entry)
    except VenomError as error:
        return error.found
    return None
