# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names that a running server knows the active model by: an alias is a second name there, given, taken back and given back."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.record import NameChange
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active, LiveModels, ServedModel

Spelling = t.Callable[[str], str]

#: A model that an alias of ours is the last name of, as after an update of its tag, keeps this one until the other model is committed.
KEPT = "venom/kept:"


def plan_name(
    listed: t.Sequence[ServedModel], spelling: Spelling, active: Active, own: t.Collection[str] = ()
) -> NameChange | None:
    """What it takes that the alias means the model; None when it does. ``own`` are aliases that activations gave.

    Raises ``alias_taken`` where that would cost somebody else's model its only name.
    """
    key = spelling(active.alias)
    if key == spelling(active.model):
        return None
    present = next((model for model in listed if spelling(model.id) == key), None)
    if present is None:
        return NameChange(active.alias, active.path)
    if present.root == active.path:
        return None
    other = next((model.id for model in listed if model.root == present.root and spelling(model.id) != key), None)
    if other is None and any(spelling(name) == key for name in own):
        other = KEPT + present.root.rpartition(":")[2][:12]
    if other is None:
        raise VenomError(
            "alias_taken",
            wanted=f"{active.model} served as {active.alias}",
            found=f"{present.id} is the only name of another model of the server ({present.root})",
            todo="choose another alias, or give that model a second name",
            model=present.id,
        )
    return NameChange(active.alias, active.path, present.root, other)


def check_model(listed: t.Sequence[ServedModel], spelling: Spelling, active: Active) -> None:
    """The server has the model, under its own name or already under the alias. Raises ``not_installed``, ``digest_mismatch``."""
    own = next((model for model in listed if spelling(model.id) == spelling(active.model)), None)
    known = {spelling(active.model), spelling(active.alias)}
    if any(spelling(model.id) in known and model.root == active.path for model in listed):
        return
    if own is None:
        raise VenomError(
            "not_installed",
            wanted=f"{active.model} in the server's store",
            found=f"it lists {', '.join(model.id for model in listed) or 'no model'}",
            todo="install it again: venom_model with state present",
            model=active.model,
        )
    raise VenomError(
        "digest_mismatch",
        wanted=f"{active.model} with {active.path}, as it was installed",
        found=f"the server has {own.root} under that name",
        todo="somebody moved the tag: install the model again with venom_model",
        model=active.model,
        expected=active.path,
        actual=own.root,
    )


def give(live: LiveModels, change: NameChange, model: str) -> None:
    """Let the name mean the model; whatever it means now keeps its other name."""
    if change.other.startswith(KEPT):
        live.copy(change.name, change.other)
    live.copy(model, change.name)


def drop_kept(live: LiveModels) -> None:
    """Take the names away that models kept for the time of a trial."""
    for model in live.listed():
        if model.id.startswith(KEPT):
            live.remove(model.id)


def take_back(live: LiveModels, spelling: Spelling, change: NameChange) -> str:
    """Undo a change as far as the name still means what we made of it; what was done, in words."""
    listed = live.listed()
    present = next((model for model in listed if spelling(model.id) == spelling(change.name)), None)
    if present is None or present.root != change.path:
        return f"{change.name} is not ours any more"
    if change.before and any(model.root == change.before and spelling(model.id) == spelling(change.other) for model in listed):
        live.copy(change.other, change.name)
        if change.other.startswith(KEPT):
            live.remove(change.other)
        return f"{change.name} means {change.other} again"
    if not any(model.root == change.path and spelling(model.id) != spelling(change.name) for model in listed):
        return f"{change.name} stays, as it is the only name of its model"
    live.remove(change.name)
    return f"{change.name} is gone"


def merge(spelling: Spelling, given: t.Sequence[NameChange], new: t.Sequence[NameChange]) -> tuple[NameChange, ...]:
    """All names given, each once. One that is given again keeps what it was before it was ours."""
    merged = {spelling(change.name): change for change in given}
    for change in new:
        earlier = merged.get(spelling(change.name))
        if earlier is not None:
            change = NameChange(change.name, change.path, earlier.before, earlier.other)
        merged[spelling(change.name)] = change
    return tuple(merged.values())
