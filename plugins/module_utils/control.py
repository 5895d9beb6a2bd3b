# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of ``venom_runtime`` as a table: each compares wanted with observed and answers with a plan, which may then be applied."""
from __future__ import annotations

import contextlib
import os
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils import (
    activation,
    activation_trial,
    drift,
    files,
    fit,
    gpus,
    host,
    status,
    system_role,
)
from ansible_collections.venom.llm.plugins.module_utils.activation_server import Limits
from ansible_collections.venom.llm.plugins.module_utils.control_checks import (
    Request,
    beside_reasons,
    check_command,
    find_wanted,
    leftovers,
    neighbours_in_the_way,
    refuse_names,
    refuse_start,
    restart_reasons,
    version_reasons,
)
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import utc_now
from ansible_collections.venom.llm.plugins.module_utils.observation import Observation, port_conflict
from ansible_collections.venom.llm.plugins.module_utils.record import Activation
from ansible_collections.venom.llm.plugins.module_utils.rivals import Rival, describe
from ansible_collections.venom.llm.plugins.module_utils.runtime_site import RUNTIMES, Site, make_site
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Completion, CompletionFailed
from ansible_collections.venom.llm.plugins.module_utils.supervisors.autostarts import find_autostarts
from ansible_collections.venom.llm.plugins.module_utils.targets import auto_timeout, refuse_served_elsewhere

#: Seconds for each question about system messages: the prompt of a few words, or one token.
_ROLE_TIMEOUT = 30.0


@dataclass(frozen=True)
class Plan:
    """What would be done: ``steps`` of the transaction in order, with the ``reasons``; no steps, nothing to do.

    ``changed`` is false for steps that only wait and prove. ``before`` and ``after`` are the diff.
    """

    changed: bool
    steps: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    target: Activation | None = None
    size_bytes: int = 0
    warnings: tuple[str, ...] = ()
    before: t.Mapping[str, t.Any] = field(default_factory=dict)
    after: t.Mapping[str, t.Any] = field(default_factory=dict)


# Plans: one function for each state.


def plan_active(site: Site, request: Request, seen: Observation) -> Plan:
    """Serve the model. Raises ``not_installed``, ``alias_taken``, ``port_in_use`` and the like; nothing is touched."""
    warnings: list[str] = []
    try:
        target, size = find_wanted(site, request)
        refuse_served_elsewhere(target, site.runtime.name, site.record())
        rivals = refuse_start(site, request, seen)
        wanted = activation_trial.active_of(site.runtime, target)
        refuse_names(site, wanted, seen)
    except VenomError as error:
        # On a fresh host in check mode, earlier tasks of the same play would have installed what is missing.
        if not request.check_mode or error.reason_code != "not_installed":
            raise
        warnings.append(f"{error.found}; a real run fails here unless an earlier task of the play installs it")
        return _plan(site, seen, True, (), (error.found,), None, request, tuple(warnings))
    left, seen = leftovers(site, request, seen, target)
    restart = restart_reasons(seen, wanted, request.health_timeout or auto_timeout(size)) + version_reasons(site, request)
    if restart:
        # What serves already fits; what is about to be loaded may not.
        config_dir = os.path.dirname(site.record_path)
        warnings += fit.check_activation(site.models_dir, config_dir, site.runtime.name, target.model, target.revision)
    beside = beside_reasons(site, request)
    commit = [] if target.is_same_model(seen.committed) else ["the record names another model, or none"]
    if seen.trial is not None and not left:
        commit.append("its activation was cut off before the commit")
    if request.enabled is not False and site.supervisor.can_enable and not seen.service.enabled:
        commit.append("the unit is not enabled at boot")
    if seen.set_aside:
        commit.append("it was stopped on purpose, and is to run again")
    if restart:
        core = _with_trial(("check", "drain"), ("start", "prove"), beside)
    elif beside:
        core = _with_trial(("check",), ("prove",), beside)
    elif commit:
        core = ("check", "prove", "commit")
    else:
        core = ("prove",) if seen.served is None or left or rivals else ()
    reasons = (*left, *_said(rivals, site), *restart, *beside, *commit)
    return _plan(site, seen, bool(reasons), _before(left, rivals, core), reasons, target, request, tuple(warnings), size)


def plan_started(site: Site, request: Request, seen: Observation) -> Plan:
    """Run with the configured model."""
    return _plan_running(site, request, seen, again=False)


def plan_restarted(site: Site, request: Request, seen: Observation) -> Plan:
    """Run anew with the configured model."""
    return _plan_running(site, request, seen, again=True)


def _plan_running(site: Site, request: Request, seen: Observation, again: bool) -> Plan:
    left, seen = leftovers(site, request, seen, seen.committed)
    missing, rivals = _refuse_unready(site, request, seen)
    if missing is not None:
        return missing
    start = ["a restart was asked for"] if again else []
    if not seen.is_up:
        start.append(f"the server is {seen.service.active}")
    elif left and seen.started_with != seen.digest:
        start.append("it runs with what was on trial")
    version, beside = version_reasons(site, request), beside_reasons(site, request)
    drain = ("check", "drain") if again or seen.is_up else ("check",)
    unfinished = ["the change before it was cut off before its commit"] if seen.trial is not None and not left else []
    if unfinished and not start and not version and not beside:
        core: tuple[str, ...] = ("check", "prove", "commit")
    elif version or beside or unfinished:
        core = _with_trial(drain, ("start", "prove") if start or version else ("prove",), beside)
    elif start:
        core = (*drain, "start", "prove")
    else:
        core = ("prove",) if seen.served is None or left or rivals else ()
    reasons = (*left, *_said(rivals, site), *start[:1], *version, *beside, *unfinished)
    return _plan(site, seen, bool(reasons), _before(left, rivals, core), reasons, seen.committed, request)


def plan_stopped(site: Site, request: Request, seen: Observation) -> Plan:
    """Nothing of it runs. Where nothing is installed that is so already."""
    runs = seen.service.active in ("running", "starting", "stopping", "restarting") or bool(seen.pids)
    foreign = seen.foreign_listener()
    warnings = () if foreign is None else (f"{port_conflict(foreign, site.runtime).found}; it was not started by this collection",)
    left = leftovers(site, request, seen, None)[0]
    reasons = (*left, *((f"the server is {seen.service.active}",) if runs else ()))
    return _plan(site, seen, bool(reasons), _before(left, (), ("stop",) if runs else ()), reasons, None, request, warnings)


def plan_probed(site: Site, request: Request, seen: Observation) -> Plan:
    """Prove that the configured model serves, now, with a real completion."""
    missing, dummy = _refuse_unready(site, request, seen)
    if missing is not None:
        return missing
    if not seen.is_up and not request.check_mode:
        raise VenomError(
            "start_failed",
            wanted=f"{site.supervisor.unit} serving",
            found=f"the server is {seen.service.active}: {seen.service.detail}",
            todo="start it: venom_runtime with state started",
        )
    return _plan(site, seen, False, ("prove",), (), seen.committed, request)


STATES: dict[str, t.Callable[[Site, Request, Observation], Plan]] = {
    "active": plan_active,
    "probed": plan_probed,
    "restarted": plan_restarted,
    "started": plan_started,
    "stopped": plan_stopped,
}


def _plan(
    site: Site,
    seen: Observation,
    changed: bool,
    steps: tuple[str, ...],
    reasons: tuple[str, ...],
    target: Activation | None,
    request: Request,
    warnings: tuple[str, ...] = (),
    size: int = 0,
) -> Plan:
    """A plan with its difference, which is read off the same values as ``changed``."""
    before: dict[str, t.Any] = {
        "state": "started" if seen.is_up else "stopped",
        "model": seen.committed.model if seen.committed else None,
        "alias": seen.active.alias if seen.active else None,
        "path": seen.active.path if seen.active else None,
    }
    after = dict(before, state="stopped" if request.state == "stopped" else "started")
    if request.state == "active":
        named = {"model": request.model, "alias": request.alias, "path": None}
        after.update({key: getattr(target, key) for key in named} if target else named)
    if request.version and steps:
        before["version"] = activation_trial.link_of(site.runtime).version()
        after["version"] = request.version
    if "exclusive" in steps:
        before["beside"], after["beside"] = [said.partition(" ")[0] for said in neighbours_in_the_way(site)], []
    return Plan(changed, steps, reasons, target, size, warnings, before, after if changed else before)


def _with_trial(first: tuple[str, ...], last: tuple[str, ...], beside: t.Sequence[str]) -> tuple[str, ...]:
    return (*first, "switch", *(("exclusive",) if beside else ()), *last, "commit")


def _before(left: t.Sequence[str], rivals: t.Sequence[Rival], core: tuple[str, ...]) -> tuple[str, ...]:
    return (*(("settle",) if left else ()), *(("adopt",) if rivals else ()), *core)


def _said(rivals: t.Sequence[Rival], site: Site) -> list[str]:
    return [describe(rivals, site.runtime)] if rivals else []


def _refuse_unready(site: Site, request: Request, seen: Observation) -> tuple[Plan | None, list[Rival]]:
    """No plan when the runtime can be started; one with a warning for a fresh host in check mode; else the refusal."""
    try:
        rivals = refuse_start(site, request, seen)
        check_command(site, request, seen)
    except VenomError as error:
        if not request.check_mode or error.reason_code != "not_installed":
            raise
        changed = request.state != "probed"
        return _plan(site, seen, changed, (), (error.found,), None, request, (f"{error.found}; a real run fails here",)), []
    return None, rivals


# Running a plan.


def operate(params: t.Mapping[str, t.Any], check_mode: bool, warn: t.Callable[[str], None]) -> dict[str, t.Any]:
    """One call of ``venom_runtime``: plan, apply under the lock unless in check mode, and report."""
    site = make_site(params)
    request = Request(
        state=params["state"],
        model=params["model"],
        revision=params["revision"],
        alias=params["alias"],
        enabled=params["enabled"],
        health_timeout=parse_timeout(params["health_timeout"]),
        check_mode=check_mode,
        previous=bool(params["previous"]),
        version=params["version"],
        exclusive=params["exclusive"],
        adopt=params["adopt"],
    )
    if request.model and request.previous:
        raise VenomError("invalid_option", wanted="one model", found="model and previous together", todo="leave one of them out")
    seen = site.observe()
    plan = STATES[request.state](site, request, seen)
    switches = changes_beside(site, request, seen)
    transaction: activation.Transaction | None = None
    if not check_mode and (plan.steps or switches):
        with _locks(site, request, seen, params["lock_timeout"]):
            # Whoever held the lock before may have done it all.
            plan = STATES[request.state](site, request, site.observe())
            transaction = apply(site, request, plan, params)
            prove_system_role(site, plan, transaction, warn)
            for switch in changes_beside(site, request, site.observe()):
                switch()
        seen = site.observe()
    for text in plan.warnings:
        warn(text)
    completion = transaction.completion if transaction else None
    return {
        "changed": plan.changed or bool(switches),
        "plan": {"steps": list(plan.steps), "reasons": list(plan.reasons)},
        "steps": [report.to_dict() for report in transaction.reports] if transaction else [],
        "status": report_status(site, seen, completion=completion),
        "diff": {"before": dict(plan.before), "after": dict(plan.after)},
    }


def prove_system_role(site: Site, plan: Plan, transaction: activation.Transaction, warn: t.Callable[[str], None]) -> None:
    """Whether the server that was just proved treats system messages as the manifest says; else the manifest is corrected.

    The model serves by now, so nothing here fails the call.
    """
    target, completion = plan.target, transaction.completion
    if target is None or completion is None or completion.remark:
        # Nothing was proved, or the model has no chat template: then no chat has a system message.
        return
    found = system_role.probe(lambda path, body: site.runtime.post(path, body, _ROLE_TIMEOUT), target.alias)
    try:
        warnings = system_role.settle(site.models_dir, target.model, target.revision, found)
    except (VenomError, OSError) as error:
        warnings = [f"What {target.model} does with system messages is not recorded: {error}"]
    for text in warnings:
        warn(text)


@contextlib.contextmanager
def _locks(site: Site, request: Request, seen: Observation, timeout: float) -> t.Iterator[None]:
    """The lock of the runtime, and of those that it may stop or start again; everybody takes them in the same order."""
    wanted = [site]
    if request.exclusive or seen.trial is not None:
        wanted += site.neighbours
    owner = {"operation": f"venom_runtime {request.state}", "runtime": site.runtime.name}
    with contextlib.ExitStack() as stack:
        for each in sorted(wanted, key=lambda one: one.runtime.name):
            stack.enter_context(files.Lock(each.lock_path, timeout=timeout, owner=owner))
        yield


def apply(site: Site, request: Request, plan: Plan, params: t.Mapping[str, t.Any]) -> activation.Transaction:
    """Run the plan's steps. Raises ``activation_failed`` or ``start_failed`` with the steps so far."""
    size = plan.size_bytes or host.folder_bytes(plan.target.path if plan.target else "")
    transaction = activation.Transaction(
        site.server,
        activation.Change(
            target=plan.target,
            version=request.version or "",
            enable=request.state == "active" and request.enabled is not False,
            restart=request.state == "restarted",
            exclusive=request.exclusive,
            failure_code={"active": "activation_failed", "stopped": "stop_failed"}.get(request.state, "start_failed"),
        ),
        Limits(
            health_timeout=request.health_timeout or auto_timeout(size),
            drain_timeout=params["drain_timeout"],
            drain_policy=params["drain_policy"],
            stop_timeout=params["stop_timeout"],
            rollback=params["rollback"],
        ),
        neighbours=[other.server for other in site.neighbours],
        now=utc_now,
    )
    transaction.run(plan.steps)
    return transaction


def changes_beside(site: Site, request: Request, seen: Observation) -> list[t.Callable[[], t.Any]]:
    """What is to be done besides the plan."""
    changes = [enable_change(site, request, seen), set_aside_change(site, request, seen)]
    return [change for change in changes if change is not None]


def set_aside_change(site: Site, request: Request, seen: Observation) -> t.Callable[[], t.Any] | None:
    """What to call so that the record says whether the runtime is to run, or None when it does.

    Stopped and not to come back at boot is on purpose; whoever orders it to run, or to boot, wants it back.
    """
    if request.state == "probed" or request.state == "stopped" and request.enabled is None:
        return None
    aside = request.state == "stopped" and not request.enabled
    if aside == seen.set_aside or aside and seen.committed is None:
        return None
    return lambda: site.server.change_record(lambda record: record.with_set_aside(site.runtime.name, aside))


def enable_change(site: Site, request: Request, seen: Observation) -> t.Callable[[], bool] | None:
    """What to call so that the unit is enabled as asked, or None when it is."""
    if request.enabled is None or not site.supervisor.can_enable or not seen.service.installed or request.enabled == seen.service.enabled:
        return None
    return site.supervisor.enable if request.enabled else site.supervisor.disable


def parse_timeout(text: str | None) -> float | None:
    """Seconds from the option, or None for ``auto``. Raises ``invalid_option``."""
    if text in (None, "auto"):
        return None
    try:
        seconds = float(str(text))
        if not 0 < seconds < 1e6:
            raise ValueError(text)
    except ValueError:
        raise VenomError("invalid_option", wanted="health_timeout as seconds or 'auto'", found=repr(text), todo="correct it") from None
    return seconds


def report_status(
    site: Site,
    seen: Observation,
    completion: Completion | None = None,
    completion_error: str | None = None,
    alert_percent: float = status.DEFAULT_ALERT_PERCENT,
    sleep: t.Callable[[float], None] = time.sleep,
) -> dict[str, t.Any]:
    """The status of the runtime as result keys."""
    gpu = gpus.read_gpus()
    return status.describe(
        seen,
        runtime=site.runtime.name,
        supervisor=site.supervisor.name,
        can_enable=site.supervisor.can_enable,
        gpu=gpu,
        memory=host.read_memory(),
        usage=status.measure(seen.pids, gpu, sleep),
        completion=completion,
        completion_error=completion_error,
        alert_percent=alert_percent,
    )


def inspect(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """One call of ``venom_runtime_info``: the status by runtime; with ``probe`` after a real completion.

    Without a name, of all that are configured here; ``status`` is then that of the only one.
    """
    names = [params["name"]] if params["name"] else sorted(RUNTIMES)
    found = {}
    for name in names:
        site = make_site(dict(params, name=name))
        if params["name"] or site.runtime.is_configured():
            found[name] = _inspect_one(site, params)
    result: dict[str, t.Any] = {"runtimes": found}
    if len(found) == 1:
        result["status"] = next(iter(found.values()))
    return result


def _inspect_one(site: Site, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    seen = site.observe()
    completion, error = None, None
    # A server under a wrong name is asked under that one. What Ollama lists besides its active model is not asked: that would load it.
    is_right = seen.expected is not None and not seen.mismatch(seen.expected)
    asked = seen.expected.alias if seen.expected and is_right else seen.served[0].id if seen.served and not site.runtime.runs_without_model else None
    if params["probe"] and seen.served and asked is not None:
        try:
            completion = site.runtime.complete(asked, params["probe_timeout"])
        except CompletionFailed as failure:
            error = f"no completion: {failure}"
    report = report_status(site, seen, completion, error, params["alert_percent"])
    previous = site.record().previous(site.runtime.name)
    return dict(
        report,
        previous_model=previous.model if previous else None,
        drift=drift.describe(seen, report, site.runtime, site.supervisor, site.models_dir),
        autostarts=[found.describe() for found in find_autostarts(site.runtime.command_mark, site.supervisor.unit)],
    )
