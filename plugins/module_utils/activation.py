# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing what a runtime serves, as a transaction of named steps: check, drain, switch, start, prove, commit, or all of it back.

A step raises ``StepFailed`` with the cause. Until ``switch`` nothing is touched; from there on a failure puts the last good model
back and proves it with the same steps, or leaves the server stopped when nothing was good before.
"""
from __future__ import annotations

import contextlib
import os
import time
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.venom.llm.plugins.module_utils import envfile, files, http_probe
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.observation import digest_of, name_mismatch, observe, port_conflict
from ansible_collections.venom.llm.plugins.module_utils.record import Activation, RuntimeRecord
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active, Completion, CompletionFailed
from ansible_collections.venom.llm.plugins.module_utils.runtimes.vllm import VllmRuntime, active_variables
from ansible_collections.venom.llm.plugins.module_utils.supervisors import base
from ansible_collections.venom.llm.plugins.module_utils.waiting import WaitFailed, WaitTimeout, wait_for

POLL_SECONDS = 0.25
_GPU_RELEASE_TIMEOUT = 30.0
_ENVIRONMENT_MODE = 0o640
_LOG_LINES = 40


class StepFailed(Exception):
    """A step could not be done; the message is the cause, for the operator."""


@dataclass(frozen=True)
class Limits:
    """Patience, all in seconds. ``drain_policy`` is 'proceed' or 'fail' for requests that outlive ``drain_timeout``."""

    health_timeout: float
    drain_timeout: float = 30.0
    drain_policy: str = "proceed"
    stop_timeout: float = 60.0
    completion_timeout: float = 120.0
    rollback: bool = True


@dataclass(frozen=True)
class StepReport:
    """One step as it went: what it did in words, and the seconds it took."""

    name: str
    outcome: str
    seconds: float

    def to_dict(self) -> dict[str, t.Any]:
        """As result keys."""
        return {"name": self.name, "outcome": self.outcome, "seconds": round(self.seconds, 2)}


class Transaction:
    """One change of one server to ``target``, or with None of whatever it is configured to serve.

    ``gpu_pids`` gives the pids that hold GPU memory, or None when that is not known; ``failure_code`` the reason of the error.
    """

    def __init__(
        self,
        runtime: VllmRuntime,
        supervisor: base.Supervisor,
        record_path: str,
        target: Activation | None,
        limits: Limits,
        gpu_pids: t.Callable[[], set[int] | None] = lambda: None,
        now: t.Callable[[], str] = lambda: "",
        enable: bool = True,
        failure_code: str = "activation_failed",
    ) -> None:
        self.runtime = runtime
        self.supervisor = supervisor
        self.record_path = record_path
        self.target = target
        self.limits = limits
        self.reports: list[StepReport] = []
        self.completion: Completion | None = None
        self._gpu_pids = gpu_pids
        self._now = now
        self._enable = enable
        self._failure_code = failure_code
        self._log_mark = 0
        self._committed = self._record().active.get(runtime.name)

    def run(self, steps: t.Sequence[str]) -> None:
        """Do the steps in order. Raises ``failure_code`` after putting things right, or what ``check`` refused with."""
        for name in steps:
            try:
                self._step(name)
            except (StepFailed, VenomError, OSError) as error:
                if name == "check" and isinstance(error, VenomError):
                    raise
                self._give_up(name, error, switched=bool({"switch", "start", "stop"} & set(steps[: steps.index(name) + 1])))

    def _step(self, name: str, label: str = "") -> None:
        begun = time.monotonic()
        try:
            outcome = STEPS[name](self)
        except (StepFailed, VenomError, OSError) as error:
            self.reports.append(StepReport(label + name, f"failed: {_cause(error)}", time.monotonic() - begun))
            raise
        self.reports.append(StepReport(label + name, outcome, time.monotonic() - begun))

    # The steps. Each returns what it did in a few words.

    def check(self) -> str:
        """Nothing of the target is missing, and nobody else has the port. Raises ``VenomError``."""
        seen = observe(self.runtime, self.supervisor, self._record())
        self.runtime.settings()
        if not seen.service.installed:
            raise unit_missing(self.supervisor)
        foreign = seen.foreign_listener()
        if foreign is not None:
            raise port_conflict(foreign, self.runtime)
        if self.target is not None and not os.path.isdir(self.target.path):
            raise folder_missing(self.target)
        return "installed, and the port is free or ours"

    def drain(self) -> str:
        """Wait until no client waits for an answer any more."""
        if self.supervisor.status().active != "running" or self.runtime.in_flight() is None:
            return "nothing serves"
        last: list[int | None] = [None]

        def probe() -> str:
            last[0] = self.runtime.in_flight()
            return "idle" if not last[0] else "busy"

        try:
            wait_for(probe, good=("idle",), waiting=("busy",), timeout=self.limits.drain_timeout, interval=POLL_SECONDS)
        except WaitTimeout:
            text = f"{last[0]} requests still in flight after {self.limits.drain_timeout:g} s"
            if self.limits.drain_policy == "fail":
                raise StepFailed(text) from None
            return f"{text}, went on"
        return "no request in flight"

    def switch(self) -> str:
        """Write the configuration; the committed one is kept as the last good."""
        active = self._wanted()
        committed = self._committed
        if committed is not None and self.runtime.active() == _active(committed):
            self._write_environment(self.runtime.last_good_path, _active(committed))
        self._write_environment(self.runtime.active_path, active)
        return f"{active.alias} from {active.path}"

    def stop(self) -> str:
        """Stop every process of the server and wait until the GPU memory it held is free."""
        held = set(self.supervisor.pids())
        self.supervisor.stop(self.limits.stop_timeout)
        self._save(self._record().with_started(self.runtime.name, None))
        try:
            wait_for(
                lambda: "held" if held & (self._gpu_pids() or set()) else "free",
                good=("free",),
                waiting=("held",),
                timeout=_GPU_RELEASE_TIMEOUT,
                interval=POLL_SECONDS,
            )
        except WaitTimeout:
            raise StepFailed(f"GPU memory of the stopped processes is not free after {_GPU_RELEASE_TIMEOUT:g} s") from None
        return f"stopped {len(held)} processes" if held else "nothing ran"

    def start(self) -> str:
        """Stop the old server, start the new one, wait until it answers."""
        self.stop()
        foreign = observe(self.runtime, self.supervisor, self._record()).foreign_listener()
        if foreign is not None:
            raise port_conflict(foreign, self.runtime)
        self._log_mark = base.log_size(self.supervisor.log_path)
        begun = time.monotonic()
        self.supervisor.start()
        self._save(self._record().with_started(self.runtime.name, digest_of(self.runtime, self.supervisor, self.runtime.active())))
        self._wait_ready()
        return f"ready after {time.monotonic() - begun:.1f} s"

    def prove(self) -> str:
        """The port answers, is ours, names the model from its folder, and the model gives text."""
        self._wait_ready()
        wanted = self._wanted()
        seen = observe(self.runtime, self.supervisor, self._record())
        foreign = seen.foreign_listener()
        if foreign is not None:
            raise port_conflict(foreign, self.runtime)
        try:
            served = seen.served if seen.served is not None else self.runtime.served()
        except http_probe.ProbeFailed as error:
            raise StepFailed(f"the server gives no list of models: {error}") from error
        mismatch = name_mismatch(wanted, served)
        if mismatch:
            raise StepFailed(mismatch)
        try:
            self.completion = self.runtime.complete(wanted.alias, self.limits.completion_timeout)
        except CompletionFailed as error:
            raise StepFailed(f"no completion: {error}") from error
        said = f"{wanted.alias} from {wanted.path} answered {self.completion.text.strip()[:60]!r}"
        return f"{said} ({self.completion.remark})" if self.completion.remark else said

    def commit(self) -> str:
        """Make it the model that a reboot and a rollback come back to."""
        if self.target is None:
            raise StepFailed("there is no model to commit")
        target = replace(self.target, activated_at=self._now())
        self._save(self._record().with_active(self.runtime.name, target))
        self._write_environment(self.runtime.last_good_path, _active(target))
        if self._enable and self.supervisor.enable():
            return "recorded, and enabled at boot"
        return "recorded"

    # What the steps share.

    def _wanted(self) -> Active:
        active = _active(self.target) if self.target is not None else self.runtime.active()
        if active is None:
            raise StepFailed("no model is configured")
        return active

    def _record(self) -> RuntimeRecord:
        return RuntimeRecord.load(self.record_path)

    def _save(self, record: RuntimeRecord) -> None:
        if record != self._record():
            record.save(self.record_path)

    def _write_environment(self, path: str, active: Active) -> None:
        # The service account reads the file through its group, which the role gave to the settings file beside it.
        uid, gid = (0, os.stat(self.runtime.settings_path).st_gid) if os.geteuid() == 0 else (None, None)
        content = "# Written by venom.llm at activation. Changes are lost.\n" + envfile.render(active_variables(active))
        files.write_atomic(path, content.encode("utf-8"), mode=_ENVIRONMENT_MODE, uid=uid, gid=gid)

    def _wait_ready(self) -> None:
        said = [""]

        def probe() -> str:
            service = self.supervisor.status()
            if service.active != "running" or service.restarts > 0 and _is_fresh(service, begun):
                said[0] = _ended(service)
                return service.active if service.active in ("starting", "stopping") else "died"
            health = self.runtime.health()
            said[0] = health.detail
            return health.state

        begun = time.monotonic()
        try:
            wait_for(
                probe, good=("ready",), waiting=("loading", "starting"), timeout=self.limits.health_timeout, interval=POLL_SECONDS
            )
        except WaitTimeout as error:
            raise StepFailed(f"not ready after {error.waited:.0f} s: {said[0]}") from error
        except WaitFailed as error:
            raise StepFailed(f"the server {'ended' if error.state == 'died' else 'is ' + error.state}: {said[0]}") from error

    # Failure.

    def _give_up(self, step: str, error: Exception, switched: bool) -> t.NoReturn:
        """Capture the evidence, put things right, and tell all of it."""
        cause = _cause(error)
        service = self.supervisor.status()
        tail = base.log_tail(self.supervisor.log_path, _LOG_LINES, self._log_mark)
        outcome, rolled_back = "nothing was touched", False
        if switched:
            try:
                outcome, rolled_back = self._put_right()
            except (StepFailed, VenomError, OSError) as second:
                outcome = f"putting things right failed too: {_cause(second)}"
                with contextlib.suppress(VenomError, OSError):
                    self.supervisor.stop(self.limits.stop_timeout)
        wanted = self.target.model if self.target is not None else self.runtime.name
        raise VenomError(
            self._failure_code,
            wanted=f"{wanted} served by {self.supervisor.unit}",
            found=f"step {step} failed: {cause}; {outcome}",
            todo=f"see log_tail, or {self.supervisor.log_path} on the host",
            step=step,
            cause=cause,
            cause_code=error.reason_code if isinstance(error, VenomError) else None,
            exit_status=service.exit_status,
            log_tail=tail,
            rolled_back=rolled_back,
            steps=[report.to_dict() for report in self.reports],
        ) from error

    def _put_right(self) -> tuple[str, bool]:
        """Back to the last good model, else stopped. Returns what was done and whether the last good model serves again."""
        if not self.limits.rollback:
            return "everything is left as it is, as rollback is off", False
        good, failed = self._committed, self.target
        if good is not None and failed is not None and _active(good) != _active(failed) and os.path.isdir(good.path):
            self.target = good
            for name in ("switch", "start", "prove"):
                self._step(name, label="rollback ")
            return f"{good.alias} serves again", True
        self._step("stop", label="rollback ")
        if good is None and failed is not None:
            files.remove_if_there(self.runtime.active_path)
        return "no other model was good before, so the server is stopped", False


STEPS: dict[str, t.Callable[[Transaction], str]] = {
    "check": Transaction.check,
    "drain": Transaction.drain,
    "switch": Transaction.switch,
    "stop": Transaction.stop,
    "start": Transaction.start,
    "prove": Transaction.prove,
    "commit": Transaction.commit,
}


def unit_missing(supervisor: base.Supervisor) -> VenomError:
    """The refusal to start a unit that no role has installed."""
    return VenomError(
        "not_installed",
        wanted=f"the unit {supervisor.unit}",
        found="systemd does not know it",
        todo="run the role venom.llm.vllm first",
        unit=supervisor.unit,
    )


def folder_missing(target: Activation) -> VenomError:
    """The refusal to serve a model that is not there."""
    return VenomError(
        "not_installed",
        wanted=f"{target.model} in {target.path}",
        found="the folder is not there",
        todo="install it: venom_model with state present",
        path=target.path,
    )


def _active(activation: Activation) -> Active:
    return Active(alias=activation.alias, path=activation.path)


def _is_fresh(service: base.ServiceState, begun: float) -> bool:
    """Whether the process is younger than our wait: then the one that we waited for has died."""
    return service.uptime_seconds is not None and service.uptime_seconds < time.monotonic() - begun


def _ended(service: base.ServiceState) -> str:
    if service.exit_status is None:
        return service.detail
    how = f"signal {-service.exit_status}" if service.exit_status < 0 else f"exit status {service.exit_status}"
    return f"{how} ({service.detail})"


def _cause(error: Exception) -> str:
    if isinstance(error, VenomError):
        return f"{error.found} ({error.reason_code})"
    return str(error)
