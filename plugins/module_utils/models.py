# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models on a host: observe, plan, apply, prove. The operation behind ``venom_model``.

A run that finds everything as wanted reads the manifest and the status of the recorded files, and nothing else: no network, no
hashing, no lock, no third-party import. Whatever needs more is imported where it is needed.
"""
from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import Lock
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import SNAPSHOTS_FOLDER, Entry
from ansible_collections.venom.llm.plugins.module_utils.models_plan import KEEP, REMOVE, LocalAnswer, Request, Step, plan_locally, show
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.store.snapshots import Snapshots

if t.TYPE_CHECKING:
    from ansible_collections.venom.llm.plugins.module_utils.models_limits import Budget
    from ansible_collections.venom.llm.plugins.module_utils.models_online import Planner

Params = dict[str, t.Any]


class ModuleContext(t.Protocol):
    """What an operation may ask of its module."""

    check_mode: bool
    diff_mode: bool

    def warn(self, text: str) -> None:
        """Show one sentence to the operator."""

    def report(self, message: str, done: int | None = None, total: int | None = None) -> None:
        """Tell whoever waits what is being done, in bytes where they are known. Most callers show nothing of it."""

    def has_library(self, name: str = "huggingface_hub") -> bool:
        """Whether the running interpreter has a library."""

    def need_backend(self, python: str, library: str = "huggingface_hub") -> None:
        """Go on under the backend's interpreter if this one lacks the library."""


#: Options with their smallest and largest sensible values.
_BOUNDS = {
    "max_disk_gb": (0.0, 1e9),
    "confirm_above_gb": (0.0, 1e9),
    "reserve_gib": (0.0, 1e9),
    "max_parallel": (1, 64),
    "retries": (0, 100),
    "stall_timeout": (0.1, 86400.0),
    "lock_timeout": (0.0, 86400.0),
}


def check_bounds(params: Params) -> None:
    """Raises ``invalid_option`` for a number that makes no sense; also for the floats that are none."""
    for name, (least, most) in _BOUNDS.items():
        if not least <= params[name] <= most:
            raise VenomError(
                "invalid_option", wanted=f"{name} from {least:g} to {most:g}", found=f"{params[name]}", todo=f"correct {name}", option=name
            )


def parse_requests(params: Params) -> list[Request]:
    """Every wanted model, validated. Raises ``invalid_name``, ``invalid_option`` and what ``Request.parse`` raises."""
    items = params.get("models")
    if items is None:
        items = [{key: params.get(key) for key in ("name", "provider", "runtime", "revision", "alias", "include", "exclude")}]
    requests = [Request.parse(item, params["state"]) for item in items]
    seen: set[tuple[str, str | None, bool]] = set()
    for request in requests:
        identity = (request.ref.key, request.revision, request.state == "absent")
        other_way = (request.ref.key, request.revision, request.state != "absent")
        if identity in seen or other_way in seen:
            raise _twice(request, "the list has it twice in the same revision")
        seen.add(identity)
    return requests


def _twice(request: Request, found: str) -> VenomError:
    return VenomError(
        "invalid_option", wanted=f"each model once, {request.ref} too", found=found, todo="keep one of them", model=str(request.ref)
    )


def run_if_unchanged(params: Params, context: ModuleContext) -> dict[str, t.Any] | None:
    """The result, where the host alone can tell that nothing is to be done; else None, and nothing was done."""
    started = time.monotonic()
    check_bounds(params)
    requests = parse_requests(params)
    manifest = Manifest.load(params["models_dir"])
    answers = _ask_host(requests, manifest, params)
    if all(answer.step is not None and answer.step.action == KEEP for answer in answers):
        return _result(context, manifest, [answer.step for answer in answers if answer.step], None, started)
    return None


def run_models(params: Params, context: ModuleContext) -> dict[str, t.Any]:
    """Bring the models into the wanted state. The result is the module's, with ``changed`` and ``diff``."""
    unchanged = run_if_unchanged(params, context)
    if unchanged is not None:
        return unchanged
    started = time.monotonic()
    requests = parse_requests(params)
    manifest = Manifest.load(params["models_dir"])
    answers = _ask_host(requests, manifest, params)
    needs_hub = any(answer.step is None for answer in answers)
    if needs_hub and context.check_mode and not context.has_library() and not os.access(params["backend_python"], os.X_OK):
        return _unknown_plan(context, manifest, requests, answers, started)
    if needs_hub:
        # Before anything is written: under the backend's Python the whole module starts again.
        context.need_backend(params["backend_python"])

    from ansible_collections.venom.llm.plugins.module_utils.models_online import Planner

    planner = Planner(params)
    steps, budget = planner.plan(requests, answers, manifest)
    if context.check_mode or all(step.action == KEEP for step in steps):
        return _result(context, manifest, steps, budget, started)
    owner = {"what": "venom_model", "models": [str(request.ref) for request in requests][:5]}
    with Lock(os.path.join(params["models_dir"], "locks", "models.lock"), params["lock_timeout"], owner):
        return _apply(params, context, requests, planner, manifest, (steps, budget), started)


def _apply(
    params: Params,
    context: ModuleContext,
    requests: t.Sequence[Request],
    planner: Planner,
    manifest: Manifest,
    plan: tuple[list[Step], Budget],
    started: float,
) -> dict[str, t.Any]:
    from ansible_collections.venom.llm.plugins.module_utils.models_apply import Applier

    blobs = Blobs(params["models_dir"])
    blobs.clean_partials()
    Snapshots(os.path.join(params["models_dir"], SNAPSHOTS_FOLDER), blobs).clean()
    steps, budget = plan
    current = Manifest.load(params["models_dir"])
    if current.content != manifest.content:
        # Somebody else was at work between our look and our lock, so the plan is made anew on what is there now.
        manifest = current
        answers = _ask_host(requests, manifest, params)
        steps, budget = planner.plan(requests, answers, manifest)
    applier = Applier(manifest, planner.source_if_used, planner.transfer_options)
    try:
        outcome = applier.apply(steps, collect_first=budget.reclaimable > 0 and budget.to_fetch > 0)
    finally:
        blobs.clean_partials()
    return _result(context, outcome.manifest, steps, budget, started, outcome.bytes_fetched, outcome.files_repaired, outcome.operations)


def _ask_host(requests: t.Sequence[Request], manifest: Manifest, params: Params) -> list[LocalAnswer]:
    answers = [plan_locally(request, manifest, params["config_dir"], params["force"]) for request in requests]
    check_aliases(requests, manifest, [answer.step for answer in answers if answer.step and answer.step.action == REMOVE])
    return answers


def check_aliases(requests: t.Sequence[Request], manifest: Manifest, removals: t.Sequence[Step]) -> None:
    """No alias may belong to two models when all is done. Raises ``alias_taken``."""
    gone = {entry.key_and_revision for step in removals for entry in step.before}
    renamed = {request.ref.key for request in requests if request.alias and request.state != "absent"}
    owners: dict[str, str] = {}
    for entry in manifest.models:
        if entry.key_and_revision not in gone:
            owners[entry.name] = entry.ref.key
            if entry.alias and entry.ref.key not in renamed:
                owners[entry.alias] = entry.ref.key
    for request in requests:
        if request.state != "absent":
            owners[request.ref.name] = request.ref.key
    for request in requests:
        if request.alias is None or request.state == "absent":
            continue
        owner = owners.setdefault(request.alias, request.ref.key)
        if owner != request.ref.key:
            raise VenomError(
                "alias_taken",
                wanted=f"alias {request.alias} for {request.ref}",
                found=f"it belongs to {owner}",
                todo="choose another alias, or remove the other model",
                model=str(request.ref),
                alias=request.alias,
                owner=owner,
            )


def _unknown_plan(
    context: ModuleContext, manifest: Manifest, requests: t.Sequence[Request], answers: t.Sequence[LocalAnswer], started: float
) -> dict[str, t.Any]:
    unknown = [str(request.ref) for request, answer in zip(requests, answers) if answer.step is None]
    context.warn(f"The backend's Python is not on this host yet, so files and bytes of {', '.join(unknown)} are not known in check mode.")
    result = _result(context, manifest, [answer.step for answer in answers if answer.step], None, started)
    after = dict(result["diff"]["after"], **dict.fromkeys(unknown, "to be installed; files are not known yet"))
    result.update(changed=True, diff=dict(result["diff"], after=after))
    return result


def _result(
    context: ModuleContext,
    manifest: Manifest,
    steps: t.Sequence[Step],
    budget: Budget | None,
    started: float,
    bytes_fetched: int = 0,
    files_repaired: int = 0,
    operations: t.Sequence[dict[str, t.Any]] = (),
) -> dict[str, t.Any]:
    for warning in manifest.warnings:
        context.warn(warning)
    before: dict[str, t.Any] = {}
    after: dict[str, t.Any] = {}
    for step in steps:
        if step.action != KEEP:
            shown_before, shown_after = show(step)
            before.update(shown_before)
            after.update(shown_after)
    wanted = [entry for entry in (_final_entry(step, manifest) for step in steps) if entry is not None]
    bytes_total = sum(step.bytes_total for step in steps)
    missing = sum(file.size for step in steps for file in step.missing)
    return {
        "changed": any(step.action != KEEP for step in steps),
        "models": [entry.to_dict() for entry in wanted],
        "plan": [step.to_dict() for step in steps],
        "operations": list(operations),
        "bytes_total": bytes_total,
        "bytes_to_fetch": budget.to_fetch if budget else 0,
        "bytes_fetched": bytes_fetched,
        "bytes_kept": bytes_total - missing,
        "bytes_from_mirror": 0,
        "bytes_free": budget.free if budget else None,
        "files_repaired": files_repaired,
        "seconds": round(time.monotonic() - started, 3),
        "diff": {"before_header": manifest.path, "after_header": manifest.path, "before": before, "after": after},
    }


def _final_entry(step: Step, manifest: Manifest) -> Entry | None:
    if step.after is None:
        return None
    return manifest.find(step.after.name, step.after.revision) or step.after
