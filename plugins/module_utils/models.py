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
from contextlib import ExitStack

from ansible_collections.venom.llm.plugins.module_utils import models_plan
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import Lock, Trace, trace_of
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest, change_manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request
from ansible_collections.venom.llm.plugins.module_utils.models_result import make_result, unknown_plan
from ansible_collections.venom.llm.plugins.module_utils.models_steps import (
    INSTALL,
    KEEP,
    REMOVE,
    STORE,
    LocalAnswer,
    PlanOptions,
    Step,
)
from ansible_collections.venom.llm.plugins.module_utils.names import RUNTIME_OF_PROVIDER, fold_name

if t.TYPE_CHECKING:
    from ansible_collections.venom.llm.plugins.module_utils.models_limits import Budget
    from ansible_collections.venom.llm.plugins.module_utils.models_ollama_host import OllamaHost
    from ansible_collections.venom.llm.plugins.module_utils.models_online import Planner
    from ansible_collections.venom.llm.plugins.module_utils.models_sources import Sources

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


#: Looks at a host on which somebody else removes models meanwhile, and seconds between them.
PLANNING_TRIES, PLANNING_PAUSE = 10, 0.2

#: Options with their smallest and largest sensible values.
_BOUNDS = {
    "max_disk_gb": (0.0, 1e9),
    "confirm_above_gb": (0.0, 1e9),
    "reserve_gib": (0.0, 1e9),
    "max_parallel": (1, 64),
    "retries": (0, 100),
    "stall_timeout": (0.1, 86400.0),
    "lock_timeout": (0.0, 86400.0),
    "deadline": (0.0, 31536000.0),
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
    requests = [Request.parse(item, params["state"], params["verify"] == "full") for item in items]
    seen: dict[str, list[str | None]] = {}
    for request in requests:
        revisions = seen.setdefault(request.ref.key, [])
        meant = _meant_revision(request)
        if revisions and (meant is None or None in revisions or meant in revisions):
            raise _twice(request, "the list has it twice in the same revision")
        revisions.append(meant)
    return requests


def _meant_revision(request: Request) -> str | None:
    """The revision that a request is about, None for all of them, which no other request of the list may be about as well."""
    # An Ollama tag holds one revision, so two of them in one list contradict each other.
    if request.ref.provider == "ollama" or (request.state == "absent" and request.revision is None):
        return None
    return request.wanted_revision


def _twice(request: Request, found: str) -> VenomError:
    return VenomError(
        "invalid_option", wanted=f"each model once, {request.ref} too", found=found, todo="keep one of them", model=str(request.ref)
    )


class _Call:
    """One call: what its parts share. Nothing that needs a library or the network is made before it is asked for."""

    def __init__(self, params: Params, context: ModuleContext) -> None:
        check_bounds(params)
        self.params = params
        self.context = context
        self.started = time.monotonic()
        self.requests = parse_requests(params)
        self.options = PlanOptions(params["config_dir"], params["force"], context.report)
        self._host: OllamaHost | None = None
        self._sources: Sources | None = None
        self.look()

    def look(self) -> None:
        """Read the manifest, and note by what one can tell later that somebody has been at work since."""
        models_dir = self.params["models_dir"]
        paths = [lock_path(models_dir, runtime) for runtime in RUNTIME_OF_PROVIDER.values()]
        if any(request.ref.provider == "ollama" for request in self.requests):
            paths.append(self.host.store.lock_path)
        self.traces = {path: _trace_of(path) for path in paths}
        self.manifest = Manifest.load(models_dir)

    @property
    def host(self) -> OllamaHost:
        """Ollama on this host."""
        if self._host is None:
            from ansible_collections.venom.llm.plugins.module_utils.models_ollama_host import OllamaHost

            self._host = OllamaHost(self.params, self.context.check_mode)
        return self._host

    @property
    def sources(self) -> Sources:
        """Hub and registries."""
        if self._sources is None:
            from ansible_collections.venom.llm.plugins.module_utils.models_sources import Sources

            self._sources = Sources(self.params, self.started)
        return self._sources

    def library(self, answers: t.Sequence[LocalAnswer]) -> str:
        """The third-party library that asking the sources takes, empty where it takes none. Raises ``invalid_option``, ``bundle_invalid``."""
        if not any(self.params[option] for option in ("plan", "mirrors_only", "bundle")):
            # Told without loading what only a plan is read with.
            return "huggingface_hub"
        pending = [(request, answer.ask_revision) for request, answer in zip(self.requests, answers) if answer.step is None]
        return self.sources.library(pending)

    def has_library(self, answers: t.Sequence[LocalAnswer]) -> bool:
        """Whether that library is here."""
        library = self.library(answers)
        return not library or self.context.has_library(library)

    def planner(self) -> Planner:
        """The part of planning that asks sources."""
        from ansible_collections.venom.llm.plugins.module_utils.models_online import Planner

        return Planner(self.params, self.sources, self.host, self.options)

    def ask_host(self) -> list[LocalAnswer]:
        """What the host alone can tell about each request. Raises ``alias_taken``, ``model_active``."""
        answers = [self._ask(request) for request in self.requests]
        check_aliases(self.requests, self.manifest, [answer.step for answer in answers if answer.step and answer.step.action == REMOVE])
        return answers

    def _ask(self, request: Request) -> LocalAnswer:
        if request.ref.provider == "huggingface":
            return models_plan.plan_locally(request, self.manifest, self.options)
        from ansible_collections.venom.llm.plugins.module_utils import models_ollama_plan

        return models_ollama_plan.plan_locally(request, self.manifest, self.host, self.options)

    def finish(self, steps: t.Sequence[Step]) -> dict[str, t.Any]:
        """The result of a call in which nothing changes. What records remember of sizes, times and inodes is brought up to date."""
        refreshed = [(step.before[0], step.after) for step in steps if step.is_refresh and step.after is not None]
        if refreshed and not self.context.check_mode:
            try:
                self.manifest = change_manifest(self.manifest.models_dir, lambda manifest: _merged(manifest, refreshed))
            except OSError as error:
                # Whoever may only look, or has a full disk, gets the right answer all the same, it just costs a hash every time.
                self.context.warn(f"The record of what was found is not brought up to date: {error.strerror}, {error.filename}.")
        return make_result(self.context, self.manifest, steps, None, self.started)


def _trace_of(path: str) -> Trace | None:
    try:
        return trace_of(path)
    except OSError:
        # A store that is closed to this account; whoever can take its lock can look at it.
        return None


def _merged(manifest: Manifest, refreshed: t.Sequence[tuple[Entry, Entry]]) -> Manifest:
    for before, after in refreshed:
        # No lock of the runtime is held here: what somebody removed or changed since the look stays as they left it.
        if before in manifest.models:
            manifest = manifest.merge(after)
    return manifest


def _is_all_kept(answers: t.Sequence[LocalAnswer]) -> bool:
    return all(answer.step is not None and answer.step.action == KEEP for answer in answers)


def run_if_unchanged(params: Params, context: ModuleContext) -> dict[str, t.Any] | None:
    """The result, where a quick look at the host can tell that nothing is to be done; else None, and nothing was done.

    Requests that hash every byte are not answered here: that takes minutes, and whoever waits wants to see progress.
    """
    call = _Call(params, context)
    entries = [entry for request in call.requests for entry in call.manifest.revisions(request.ref.key)]
    if any(request.deep for request in call.requests) or not all(entry.is_vouched_for for entry in entries if entry.local_path):
        return None
    answers = call.ask_host()
    return call.finish([answer.step for answer in answers if answer.step]) if _is_all_kept(answers) else None


def run_models(params: Params, context: ModuleContext) -> dict[str, t.Any]:
    """Bring the models into the wanted state. The result is the module's, with ``changed`` and ``diff``."""
    call = _Call(params, context)
    while True:
        planned = _plan_patiently(call)
        result = planned.result or _try_to_apply(call, planned)
        if result is not None:
            return result
        call.look()


class _Planned(t.NamedTuple):
    """A plan to apply, or the result where there is nothing to apply."""

    result: dict[str, t.Any] | None
    planner: Planner | None = None
    steps: list[Step] | None = None
    budget: Budget | None = None


def _plan_patiently(call: _Call) -> _Planned:
    tries = PLANNING_TRIES
    while True:
        tries -= 1
        try:
            return _plan(call)
        except FileNotFoundError:
            # Planning holds no lock, so a removal in another process may take away what it looks at. That is over in a moment.
            if not tries:
                raise
            time.sleep(PLANNING_PAUSE)
            call.look()


def _plan(call: _Call) -> _Planned:
    params, context = call.params, call.context
    answers = call.ask_host()
    if _is_all_kept(answers):
        return _Planned(call.finish([answer.step for answer in answers if answer.step]))
    needs_source = _needs_source(answers)
    library = call.library(answers) if needs_source else ""
    if library and context.check_mode and not context.has_library(library) and not os.access(params["backend_python"], os.X_OK):
        return _Planned(unknown_plan(context, call.manifest, call.requests, answers, call.started))
    if library:
        # Before anything is written: under the backend's Python the whole module starts again.
        context.need_backend(params["backend_python"], library)
    elif needs_source and os.access(params["backend_python"], os.X_OK):
        # A bundle is read without any library; what chat templates can do is told with jinja2, where there is one.
        context.need_backend(params["backend_python"], "jinja2")
    planner = call.planner()
    steps, budget = planner.plan(call.requests, answers, call.manifest)
    for warning in planner.warnings:
        context.warn(warning)
    if all(step.action == KEEP for step in steps):
        return _Planned(call.finish(steps))
    if context.check_mode:
        return _Planned(make_result(context, call.manifest, steps, budget, call.started))
    return _Planned(None, planner, steps, budget)


def _needs_source(answers: t.Sequence[LocalAnswer]) -> bool:
    return any(answer.step is None for answer in answers)


def _locks_for(call: _Call, steps: t.Sequence[Step]) -> dict[str, str]:
    """Paths of the locks that the steps need, with what each is about, always in the same order, so that two calls cannot hold one each.

    What writes into Ollama's store has the lock of the store, too: a call with another models folder may have the same one.
    """
    runtimes = sorted({step.request.runtime for step in steps if step.action != KEEP})
    locks = {lock_path(call.params["models_dir"], runtime): runtime for runtime in runtimes}
    actions = {step.action for step in steps if step.method == STORE} - {KEEP}
    if actions and (INSTALL in actions or call.host.store.exists()):
        locks[call.host.store.lock_path] = call.host.store.root
    return locks


def _lock(call: _Call, path: str) -> Lock:
    params, store = call.params, call.host.store
    owner: dict[str, t.Any] = {"what": "venom_model", "models": [str(request.ref) for request in call.requests][:5]}
    if path != store.lock_path:
        return Lock(path, params["lock_timeout"], owner)
    # Like everything in the store it belongs to the account of the server, which may take it the next time.
    ownership = store.prepare_lock()
    return Lock(path, params["lock_timeout"], dict(owner, models_dir=params["models_dir"]), ownership.file_mode, ownership.ids)


def _try_to_apply(call: _Call, planned: _Planned) -> dict[str, t.Any] | None:
    """Apply under the locks; None when what is there now asks for other locks, or for libraries that are not here."""
    from ansible_collections.venom.llm.plugins.module_utils.models_apply import Applier

    params, context = call.params, call.context
    planner, steps, budget = planned.planner, planned.steps, planned.budget
    if planner is None or steps is None or budget is None:
        raise ValueError("what is applied was planned")
    with ExitStack() as locks:
        held = _locks_for(call, steps)
        is_idle = True
        for path, subject in held.items():
            context.report(f"waiting for the lock of {subject}")
            lock = _lock(call, path)
            locks.enter_context(lock)
            is_idle = is_idle and lock.was_idle_since(call.traces[path])
        current = Manifest.load(params["models_dir"])
        if current.content != call.manifest.content or not is_idle:
            # Somebody else was at work between our look and our lock, so the plan is made anew on what is there now. The manifest
            # alone does not tell: a holder that was killed may have finished a blob, or a removal have collected before its record went.
            call.manifest = current
            answers = call.ask_host()
            if _needs_source(answers) and not call.has_library(answers):
                return None
            steps, budget = planner.plan(call.requests, answers, current)
            if not set(_locks_for(call, steps)) <= set(held):
                return None
        applier = Applier(call.manifest, call.sources, call.host)
        outcome = applier.apply(steps, budget.doomed)
    for warning in (*outcome.warnings, *call.sources.warnings()):
        context.warn(warning)
    return make_result(
        context,
        outcome.manifest,
        steps,
        budget,
        call.started,
        outcome.bytes_fetched,
        outcome.files_repaired,
        outcome.operations,
        call.sources.bytes_by_source(outcome.bytes_fetched),
    )


def lock_path(models_dir: str, runtime: str) -> str:
    """The lock that a writer of this runtime's models holds."""
    return os.path.join(models_dir, "locks", f"models-{runtime}.lock")


def check_aliases(requests: t.Sequence[Request], manifest: Manifest, removals: t.Sequence[Step]) -> None:
    """No alias may belong to two models when all is done. Raises ``alias_taken``."""
    gone = {entry.key_and_revision for step in removals for entry in step.before}
    renamed = {request.ref.key for request in requests if request.alias and request.state != "absent"}
    owners: dict[str, str] = {}
    # An Ollama server takes every spelling of a name for the same model, so no other model of it can have one of them.
    folded: dict[str, str] = {}
    for entry in manifest.models:
        if entry.key_and_revision not in gone:
            names = [entry.name]
            if entry.alias and entry.ref.key not in renamed:
                names.append(entry.alias)
            owners.update(dict.fromkeys(names, entry.ref.key))
            if entry.provider == "ollama":
                folded.update(dict.fromkeys(map(fold_name, names), entry.ref.key))
    for request in requests:
        if request.state != "absent":
            owners[str(request.ref)] = request.ref.key
            if request.ref.provider == "ollama":
                folded[fold_name(str(request.ref))] = request.ref.key
    for request in requests:
        if request.alias is None or request.state == "absent":
            continue
        owner = owners.setdefault(request.alias, request.ref.key)
        if request.ref.provider == "ollama" and owner == request.ref.key:
            owner = folded.setdefault(fold_name(request.alias), request.ref.key)
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
