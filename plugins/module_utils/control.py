# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of ``venom_runtime`` as a table: each compares wanted with observed and answers with a plan, which may then be applied."""
from __future__ import annotations

import os
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils import activation, files, fit, gpus, host, status
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import utc_now
from ansible_collections.venom.llm.plugins.module_utils.observation import Observation, name_mismatch, observe, port_conflict
from ansible_collections.venom.llm.plugins.module_utils.record import Activation, RuntimeRecord
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active, Completion, CompletionFailed
from ansible_collections.venom.llm.plugins.module_utils.runtimes.vllm import VllmRuntime
from ansible_collections.venom.llm.plugins.module_utils.supervisors.base import Supervisor
from ansible_collections.venom.llm.plugins.module_utils.supervisors.process import Command, ProcessSupervisor
from ansible_collections.venom.llm.plugins.module_utils.supervisors.select import choose
from ansible_collections.venom.llm.plugins.module_utils.supervisors.systemd import SystemdSupervisor
from ansible_collections.venom.llm.plugins.module_utils.targets import auto_timeout, find_target

RUNTIMES: dict[str, t.Callable[[str], VllmRuntime]] = {"vllm": VllmRuntime}


@dataclass(frozen=True)
class Site:
    """One runtime on this host with everything that decides about it."""

    runtime: VllmRuntime
    supervisor: Supervisor
    record_path: str
    models_dir: str
    run_dir: str

    def record(self) -> RuntimeRecord:
        """``runtime.json`` as it is now."""
        return RuntimeRecord.load(self.record_path)

    def observe(self) -> Observation:
        """The runtime as it is now."""
        return observe(self.runtime, self.supervisor, self.record())


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


@dataclass(frozen=True)
class Request:
    """What the operator asked for."""

    state: str
    model: str | None = None
    revision: str | None = None
    alias: str | None = None
    enabled: bool | None = None
    health_timeout: float | None = None
    check_mode: bool = False


def make_site(params: t.Mapping[str, t.Any]) -> Site:
    """The runtime, its supervisor and its files from module parameters."""
    runtime = RUNTIMES[params["name"]](params["config_dir"])
    log_path = os.path.join(params["log_dir"], runtime.log_name)

    def command() -> Command:
        return Command(runtime.command(), runtime.environment())

    supervisor: Supervisor
    if choose(params["supervisor"]) == "systemd":
        supervisor = SystemdSupervisor(runtime.unit, log_path)
    else:
        supervisor = ProcessSupervisor(runtime.unit.rsplit(".", 1)[0], log_path, params["run_dir"], command, params["account"])
    return Site(runtime, supervisor, os.path.join(params["config_dir"], "runtime.json"), params["models_dir"], params["run_dir"])


# Plans: one function for each state.


def plan_active(site: Site, request: Request, seen: Observation) -> Plan:
    """Serve the model. Raises ``not_installed``, ``alias_taken``, ``port_in_use`` and the like; nothing is touched."""
    warnings: list[str] = []
    try:
        target, size = find_target(site.models_dir, site.runtime.name, request.model or "", request.revision, request.alias)
        refuse_start(site, seen)
    except VenomError as error:
        # On a fresh host in check mode, earlier tasks of the same play would have installed what is missing.
        if not request.check_mode or error.reason_code != "not_installed":
            raise
        warnings.append(f"{error.found}; a real run fails here unless an earlier task of the play installs it")
        return _plan(seen, True, (), (error.found,), None, request, tuple(warnings))
    wanted = Active(target.alias, target.path)
    restart = restart_reasons(seen, wanted, request.health_timeout or auto_timeout(size))
    if restart:
        # What serves already fits; what is about to be loaded may not.
        config_dir = os.path.dirname(site.record_path)
        warnings += fit.check_activation(site.models_dir, config_dir, site.runtime.name, target.model, target.revision)
    commit = [] if target.is_same_model(seen.committed) else ["the record names another model, or none"]
    if request.enabled is not False and site.supervisor.can_enable and not seen.service.enabled:
        commit.append("the unit is not enabled at boot")
    if restart:
        steps: tuple[str, ...] = ("check", "drain", "switch", "start", "prove", "commit")
    elif commit:
        steps = ("check", "prove", "commit")
    else:
        steps = ("prove",) if seen.served is None else ()
    return _plan(seen, bool(restart or commit), steps, tuple(restart + commit), target, request, tuple(warnings), size)


def plan_started(site: Site, request: Request, seen: Observation) -> Plan:
    """Run with the configured model."""
    missing = _refuse_unready(site, request, seen)
    if missing is not None:
        return missing
    if not seen.is_up:
        return _plan(seen, True, ("check", "start", "prove"), (f"the server is {seen.service.active}",), seen.committed, request)
    return _plan(seen, False, ("prove",) if seen.served is None else (), (), seen.committed, request)


def plan_restarted(site: Site, request: Request, seen: Observation) -> Plan:
    """Run anew with the configured model."""
    missing = _refuse_unready(site, request, seen)
    if missing is not None:
        return missing
    return _plan(seen, True, ("check", "drain", "start", "prove"), ("a restart was asked for",), seen.committed, request)


def plan_stopped(site: Site, request: Request, seen: Observation) -> Plan:
    """Nothing of it runs. Where nothing is installed that is so already."""
    runs = seen.service.active in ("running", "starting", "stopping", "restarting") or bool(seen.pids)
    foreign = seen.foreign_listener()
    warnings = () if foreign is None else (f"{port_conflict(foreign, site.runtime).found}; it was not started by this collection",)
    reasons = (f"the server is {seen.service.active}",) if runs else ()
    return _plan(seen, runs, ("stop",) if runs else (), reasons, None, request, warnings)


def plan_probed(site: Site, request: Request, seen: Observation) -> Plan:
    """Prove that the configured model serves, now, with a real completion."""
    missing = _refuse_unready(site, request, seen)
    if missing is not None:
        return missing
    if not seen.is_up and not request.check_mode:
        raise VenomError(
            "start_failed",
            wanted=f"{site.supervisor.unit} serving",
            found=f"the server is {seen.service.active}: {seen.service.detail}",
            todo="start it: venom_runtime with state started",
        )
    return _plan(seen, False, ("prove",), (), seen.committed, request)


STATES: dict[str, t.Callable[[Site, Request, Observation], Plan]] = {
    "active": plan_active,
    "probed": plan_probed,
    "restarted": plan_restarted,
    "started": plan_started,
    "stopped": plan_stopped,
}


def _plan(
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
    before = {
        "state": "started" if seen.is_up else "stopped",
        "model": seen.committed.model if seen.committed else None,
        "alias": seen.active.alias if seen.active else None,
        "path": seen.active.path if seen.active else None,
    }
    after = dict(before, state="stopped" if request.state == "stopped" else "started")
    if request.state == "active":
        named = {"model": request.model, "alias": request.alias, "path": None}
        after.update({key: getattr(target, key) for key in named} if target else named)
    return Plan(changed, steps, reasons, target, size, warnings, before, after if changed else before)


def _refuse_unready(site: Site, request: Request, seen: Observation) -> Plan | None:
    """None when the runtime can be started; a plan with a warning for a fresh host in check mode; else the refusal."""
    try:
        refuse_start(site, seen)
        site.runtime.command()
    except VenomError as error:
        if not request.check_mode or error.reason_code != "not_installed":
            raise
        changed = request.state != "probed"
        return _plan(seen, changed, (), (error.found,), None, request, (f"{error.found}; a real run fails here",))
    return None


def refuse_start(site: Site, seen: Observation) -> None:
    """Raise for a runtime that cannot be started here: no settings, no unit, or somebody else on the port."""
    site.runtime.settings()
    if not seen.service.installed:
        raise activation.unit_missing(site.supervisor)
    foreign = seen.foreign_listener()
    if foreign is not None:
        raise port_conflict(foreign, site.runtime)


def restart_reasons(seen: Observation, wanted: Active, health_timeout: float) -> list[str]:
    """Why the server has to be started anew to serve the wanted model; empty when what runs is right or still loading it."""
    if seen.active != wanted:
        return [f"configured is {seen.active.alias} from {seen.active.path}" if seen.active else "no model is configured"]
    if not seen.is_up:
        return [f"the server is {seen.service.active}"]
    reasons: list[str] = []
    if seen.service.needs_reload or seen.started_with != seen.digest:
        reasons.append("its settings are not those it was started with")
    if seen.served is not None:
        mismatch = name_mismatch(wanted, seen.served)
        reasons += [mismatch] if mismatch else []
    elif seen.health.state == "broken" or (seen.service.uptime_seconds or 0.0) > health_timeout:
        reasons.append(f"it does not answer: {seen.health.detail}")
    return reasons


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
    )
    seen = site.observe()
    plan = STATES[request.state](site, request, seen)
    switch = enable_change(site, request, seen)
    transaction: activation.Transaction | None = None
    if not check_mode and (plan.steps or switch is not None):
        owner = {"operation": f"venom_runtime {request.state}", "runtime": site.runtime.name}
        with files.Lock(os.path.join(site.run_dir, f"{site.runtime.name}.lock"), timeout=params["lock_timeout"], owner=owner):
            # Whoever held the lock before may have done it all.
            plan = STATES[request.state](site, request, site.observe())
            transaction = apply(site, request, plan, params)
            switch = enable_change(site, request, site.observe())
            if switch is not None:
                switch()
        seen = site.observe()
    for text in plan.warnings:
        warn(text)
    completion = transaction.completion if transaction else None
    return {
        "changed": plan.changed or switch is not None,
        "plan": {"steps": list(plan.steps), "reasons": list(plan.reasons)},
        "steps": [report.to_dict() for report in transaction.reports] if transaction else [],
        "status": report_status(site, seen, completion=completion),
        "diff": {"before": dict(plan.before), "after": dict(plan.after)},
    }


def apply(site: Site, request: Request, plan: Plan, params: t.Mapping[str, t.Any]) -> activation.Transaction:
    """Run the plan's steps. Raises ``activation_failed`` or ``start_failed`` with the steps so far."""
    size = plan.size_bytes or host.folder_bytes(plan.target.path if plan.target else "")
    transaction = activation.Transaction(
        site.runtime,
        site.supervisor,
        site.record_path,
        plan.target,
        activation.Limits(
            health_timeout=request.health_timeout or auto_timeout(size),
            drain_timeout=params["drain_timeout"],
            drain_policy=params["drain_policy"],
            stop_timeout=params["stop_timeout"],
            rollback=params["rollback"],
        ),
        gpu_pids=gpu_pids,
        now=utc_now,
        enable=request.enabled is not False,
        failure_code={"active": "activation_failed", "stopped": "stop_failed"}.get(request.state, "start_failed"),
    )
    transaction.run(plan.steps)
    return transaction


def enable_change(site: Site, request: Request, seen: Observation) -> t.Callable[[], bool] | None:
    """What to call so that the unit is enabled as asked, or None when it is."""
    if request.enabled is None or not site.supervisor.can_enable or not seen.service.installed or request.enabled == seen.service.enabled:
        return None
    return site.supervisor.enable if request.enabled else site.supervisor.disable


def gpu_pids() -> set[int] | None:
    """The processes that hold GPU memory, or None when NVML does not say."""
    memory = gpus.read_gpus().process_memory
    return None if memory is None else set(memory)


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
    """One call of ``venom_runtime_info``: the status of one runtime, with ``probe`` after a real completion."""
    site = make_site(params)
    seen = site.observe()
    completion, error = None, None
    if params["probe"] and seen.served:
        try:
            completion = site.runtime.complete(seen.active.alias if seen.active else seen.served[0].id, params["probe_timeout"])
        except CompletionFailed as failure:
            error = f"no completion: {failure}"
    return report_status(site, seen, completion, error, params["alert_percent"])
