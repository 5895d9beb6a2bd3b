# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing what a runtime serves, as a transaction of named steps: check, drain, switch, start, prove, commit, or all of it back.

A step raises ``StepFailed`` with the cause. Until ``switch`` nothing is touched; from there on a failure puts the last good model
back and proves it with the same steps, or leaves the server stopped when nothing was good before. What a killed run leaves is a
trial that the next run takes up or takes back, see ``activation_trial``.
"""
from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.venom.llm.plugins.module_utils import activation_names, activation_trial, http_probe
from ansible_collections.venom.llm.plugins.module_utils.activation_refusals import folder_missing, refuse_unit
from ansible_collections.venom.llm.plugins.module_utils.activation_server import Limits, Server, StepFailed, cause_of, holds
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.observation import committed_of, name_mismatch, port_conflict
from ansible_collections.venom.llm.plugins.module_utils.record import Activation, Trial
from ansible_collections.venom.llm.plugins.module_utils.rivals import Rival, find_rivals, rival_conflict
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active, Completion, CompletionFailed, LiveModels
from ansible_collections.venom.llm.plugins.module_utils.supervisors import base

#: vLLM tells the cause in its engine's process, and then ends with a hundred lines of the other one.
_LOG_LINES = 120
#: Steps after which something has to be put right.
_TOUCHING = frozenset(("switch", "exclusive", "start", "stop"))


@dataclass(frozen=True)
class StepReport:
    """One step as it went: what it did in words, and the seconds it took."""

    name: str
    outcome: str
    seconds: float

    def to_dict(self) -> dict[str, t.Any]:
        """As result keys."""
        return {"name": self.name, "outcome": self.outcome, "seconds": round(self.seconds, 2)}


@dataclass(frozen=True)
class Change:
    """What a transaction is about: ``target`` None is whatever the server is configured to serve, or nothing in particular.

    ``version`` is the one that the runtime's program link shall lead to, empty for no change. ``enable``: come back at boot.
    ``restart``: also where nothing differs. ``exclusive``: the others do not start at boot any more. ``failure_code`` is the reason of the error.
    """

    target: Activation | None = None
    version: str = ""
    enable: bool = True
    restart: bool = False
    exclusive: bool = False
    failure_code: str = "activation_failed"


class Transaction:
    """One change of one server. ``neighbours`` are the other runtimes of the host, which ``exclusive`` stops."""

    def __init__(
        self,
        server: Server,
        change: Change,
        limits: Limits,
        neighbours: t.Sequence[Server] = (),
        now: t.Callable[[], str] = lambda: "",
    ) -> None:
        self.server = server
        self.runtime = server.runtime
        self.supervisor = server.supervisor
        self.target = change.target
        self.limits = limits
        self.reports: list[StepReport] = []
        self.completion: Completion | None = None
        self._change = change
        self._neighbours = {neighbour.runtime.name: neighbour for neighbour in neighbours}
        self._now = now
        self._log_mark = 0
        self._was_up = server.is_alive()
        self._committed = committed_of(server.runtime, server.record())
        self._was_set_aside = server.runtime.name in server.record().set_aside

    def run(self, steps: t.Sequence[str]) -> None:
        """Do the steps in order. Raises ``failure_code`` after putting things right, or what ``check`` refused with."""
        for name in steps:
            try:
                self._step(name)
            except (StepFailed, VenomError, OSError) as error:
                if name == "check" and isinstance(error, VenomError):
                    raise
                done = set(steps[: steps.index(name) + 1])
                is_tried = "commit" in steps and activation_trial.present(self.server) is not None
                self._give_up(name, error, switched=bool(_TOUCHING & done) or is_tried)

    def _step(self, name: str, label: str = "", does: str = "") -> None:
        begun = time.monotonic()
        try:
            outcome = STEPS[does or name](self)
        except (StepFailed, VenomError, OSError) as error:
            self.reports.append(StepReport(label + name, f"failed: {cause_of(error)}", time.monotonic() - begun))
            raise
        self.reports.append(StepReport(label + name, outcome, time.monotonic() - begun))

    # The steps. Each returns what it did in a few words.

    def adopt(self) -> str:
        """End the servers that somebody else started in our place, and keep them from coming back."""
        said = [rival.end(self.limits.stop_timeout) for rival in self._rivals()]
        return "; ".join(said) or "nobody else is there any more"

    def settle(self) -> str:
        """Finish or take back the change that a run before this one left half done."""
        finished = activation_trial.finish_commit(self.server)
        if finished is not None:
            self._committed = finished
            return f"the commit of {finished.model} is complete now"
        trial = activation_trial.present(self.server)
        if trial is None:
            return "nothing is left over"
        activation_trial.revert(self.server)
        done = ["what was tried is taken back", *self._unload_tried(trial), *self._revert_names(), *self._return_place(trial)]
        activation_trial.close(self.server)
        return "; ".join(done)

    def check(self) -> str:
        """Nothing of the target is missing, and nobody else has the port. Raises ``VenomError``."""
        seen = self.server.observe()
        self.runtime.settings()
        refuse_unit(self.supervisor, self.runtime.name, seen.service)
        for rival in self._rivals():
            raise rival_conflict(rival, self.runtime)
        if self.target is not None and not self.runtime.is_there(self._active(self.target)):
            raise folder_missing(self.target)
        if self._change.version:
            activation_trial.link_of(self.runtime).check(self._change.version)
        return "installed, and the port is free or ours"

    def drain(self) -> str:
        """Wait until no client waits for an answer any more."""
        will_stop = self._moves_version() or self._restarts()
        return self.server.drain(self.limits, will_stop)

    def switch(self) -> str:
        """Put the change on trial: a boot still comes back to what was committed."""
        before = activation_trial.present(self.server)
        version_before = ""
        if self._change.version:
            link = activation_trial.link_of(self.runtime)
            version_before = before.version_before if before and before.version else link.version()
        others = self._change.target
        trial = Trial(
            activation=others,
            names=before.names if before is not None else (),
            version=self._change.version if self._change.version != version_before else "",
            version_before=version_before,
            stopped=before.stopped if before is not None else (),
            begun_at=self._now(),
        )
        activation_trial.begin(self.server, trial)
        said = [f"{others.alias} from {others.path}"] if others is not None else []
        said += [f"version {trial.version} instead of {version_before or 'none'}"] if trial.version else []
        return ", ".join(said) or "nothing differs"

    def exclusive(self) -> str:
        """Make the other runtimes give up their memory."""
        said = []
        for name, neighbour in sorted(self._neighbours.items()):
            if not neighbour.is_alive():
                continue
            trial = activation_trial.present(self.server) or Trial()
            if name not in trial.stopped:
                activation_trial.save(self.server, replace(trial, stopped=(*trial.stopped, name)))
            drained = neighbour.drain(self.limits, will_stop=True)
            said.append(f"{name}: {drained}, {neighbour.stop(self.limits)}")
        return "; ".join(said) or "nothing else runs"

    def stop(self) -> str:
        """Empty a server that changes its models while it runs, stop every process and wait until the GPU memory it held is free."""
        emptied = self.server.empty(self.limits)
        return ", ".join(filter(None, (emptied, self.server.stop(self.limits))))

    def start(self) -> str:
        """Stop the old server, start the new one, wait until it answers; a live one changes its models instead."""
        live = self.runtime.live()
        said = []
        if live is None or self._restarts():
            self.server.stop(self.limits)
            self._log_mark = base.log_size(self.supervisor.log_path)
            said.append(f"ready after {self.server.start(self.limits):.1f} s")
        else:
            self._log_mark = base.log_size(self.supervisor.log_path)
            self.server.wait_ready(self.limits)
            said.append("the server runs on")
        if live is not None:
            said += self._load(live)
        return ", ".join(said)

    def _load(self, live: LiveModels) -> list[str]:
        """Name the model, unload the one before it, load it."""
        active = self._wanted()
        trial = activation_trial.present(self.server)
        said: list[str] = []
        if active is None or trial is None or trial.activation is None or self._active(trial.activation) != active:
            # Whatever a trial that this is not has named.
            said += activation_trial.revert_names(self.server)
        if active is None:
            unloaded = self.server.unload(self._others(), self.limits)
            return [*said, unloaded] if unloaded else said
        activation_names.check_model(live.listed(), self.runtime.spelling, active)
        waits = self._waits_for_commit(live, active)
        said += [] if waits else self._give_name(live, active)
        unloaded = self.server.unload(self._others(), self.limits)
        said += [unloaded] if unloaded else []
        name = active.model if waits else active.alias
        live.load(name, self.limits.health_timeout)
        if live.keeps_models and not holds(live, active.path):
            said += self.server.load_anew(live, name, active.path, self.limits)
        return [*said, f"loaded {active.model}"]

    def _waits_for_commit(self, live: LiveModels, active: Active) -> bool:
        """Whether the alias is the committed model's: until the commit, clients and a boot are to find that one by it."""
        good, spelling = self._committed, self.runtime.spelling
        if good is None or good.path == active.path:
            return False
        return any(spelling(model.id) == spelling(active.alias) and model.root == good.path for model in live.listed())

    def _give_name(self, live: LiveModels, active: Active) -> list[str]:
        """The alias is a name of the model from now on; what was done."""
        own = [change.name for change in self.server.record().names.get(self.runtime.name, ())]
        change = activation_names.plan_name(live.listed(), self.runtime.spelling, active, own)
        if change is None:
            return []
        activation_trial.add_name(self.server, change)
        activation_names.give(live, change, active.model)
        return [f"{active.model} is also {active.alias}"]

    def prove(self) -> str:
        """The port answers, is ours, names the model with its bytes, and the model gives text."""
        self.server.wait_ready(self.limits)
        seen = self.server.observe()
        foreign = seen.foreign_listener()
        if foreign is not None:
            raise port_conflict(foreign, self.runtime)
        try:
            served = seen.served if seen.served is not None else self.runtime.served()
        except http_probe.ProbeFailed as error:
            raise StepFailed(f"the server gives no list of models: {error}") from error
        wanted = self._wanted()
        if wanted is None:
            return "the server answers; no model is active"
        live = self.runtime.live()
        if live is not None and self._waits_for_commit(live, wanted):
            wanted = replace(wanted, alias=wanted.model)
        mismatch = name_mismatch(wanted, served, self.runtime.spelling)
        if mismatch:
            raise StepFailed(mismatch)
        if live is not None:
            activation_names.check_model(served, self.runtime.spelling, wanted)
        try:
            # A live server may have to load the model for it.
            patience = self.limits.completion_timeout if live is None else max(self.limits.completion_timeout, self.limits.health_timeout)
            self.completion = self.runtime.complete(wanted.alias, patience)
        except CompletionFailed as error:
            raise StepFailed(f"no completion: {error}") from error
        if live is not None and live.keeps_models and not holds(live, wanted.path):
            loaded = ", ".join(f"{model.id} ({model.root})" for model in live.loaded()) or "nothing"
            raise StepFailed(f"{wanted.alias} answered, but the server has {loaded} in memory instead of {wanted.path}")
        said = f"{wanted.alias} from {wanted.path} answered {self.completion.text.strip()[:60]!r}"
        return f"{said} ({self.completion.remark})" if self.completion.remark else said

    def commit(self) -> str:
        """Make it the model that a reboot and a rollback come back to."""
        if self.target is None and not activation_trial.present(self.server):
            raise StepFailed("there is no model to commit")
        target = None if self.target is None else replace(self.target, activated_at=self._now())
        live = self.runtime.live()
        named: list[str] = []
        if live is not None and target is not None and self._waits_for_commit(live, self._active(target)):
            named = self._give_name(live, self._active(target))
            mismatch = name_mismatch(self._active(target), live.listed(), self.runtime.spelling)
            if mismatch:
                raise StepFailed(mismatch)
        activation_trial.commit(self.server, target)
        said = ["recorded", *named]
        if target is not None and self.runtime.live() is not None:
            try:
                said += activation_trial.drop_old_names(self.server, target.alias)
            except VenomError as error:
                said.append(f"names of earlier models stay until the next commit: {error.found}")
        for name, neighbour in sorted(self._neighbours.items()) if self._change.exclusive else ():
            activation_trial.set_aside(neighbour)
            if neighbour.supervisor.disable():
                said.append(f"{name} does not start at boot any more")
        if self._change.enable and self.supervisor.enable():
            said.append("enabled at boot")
        return ", ".join(said)

    # What the steps share.

    def _active(self, activation: Activation) -> Active:
        return activation_trial.active_of(self.runtime, activation)

    def _wanted(self) -> Active | None:
        """The model to serve. Raises ``StepFailed`` for none where the runtime needs one."""
        active = self._active(self.target) if self.target is not None else self.runtime.active()
        if active is None and not self.runtime.runs_without_model:
            raise StepFailed("no model is configured")
        return active

    def _restarts(self) -> bool:
        """Whether a server that could change its models while it runs has to start anew all the same."""
        return self._change.restart or self.server.must_restart() or self.server.holds_nameless(self._others())

    def _others(self) -> set[str]:
        """What the server may have in memory because of us, besides the model that it is to serve."""
        active = self._wanted() if self.runtime.runs_without_model else None
        ours = {each.path for each in (self._committed, self._change.target) if each is not None}
        return ours - {active.path} if active is not None else ours

    def _moves_version(self) -> bool:
        return bool(self._change.version) and activation_trial.link_of(self.runtime).version() != self._change.version

    def _rivals(self) -> list[Rival]:
        return find_rivals(self.server.observe(), self.runtime, self.supervisor)

    def _revert_names(self) -> list[str]:
        """Names on trial are taken back where the server answers; else the next start does it."""
        with contextlib.suppress(VenomError):
            if self.runtime.live() is not None and self.runtime.health().state == "ready":
                return activation_trial.revert_names(self.server)
        return []

    def _unload_tried(self, trial: Trial) -> list[str]:
        """A live server that a run before this one had load a model keeps it in memory beside the committed one."""
        if trial.activation is None or self.runtime.live() is None or self.runtime.health().state != "ready":
            return []
        tried = {trial.activation.path} - {self._committed.path if self._committed else ""}
        if self.server.holds_nameless(tried):
            return [f"{trial.activation.model} has no name any more and stays in memory until it expires"]
        unloaded = self.server.unload(tried, self.limits)
        return [unloaded] if unloaded else []

    def _return_place(self, trial: Trial) -> list[str]:
        """Start the runtimes again that had made room for the trial. One that does not start is told, and spoils nothing else."""
        said = []
        for name in trial.stopped:
            neighbour = self._neighbours.get(name)
            if neighbour is None:
                continue
            try:
                if not neighbour.is_alive():
                    neighbour.start(self.limits)
                    said.append(f"{name} runs again")
            except (StepFailed, VenomError, OSError) as error:
                said.append(f"{name} does not run again: {cause_of(error)}")
        return said

    # Failure.

    def _give_up(self, step: str, error: Exception, switched: bool) -> t.NoReturn:
        """Capture the evidence, put things right, and tell all of it."""
        cause = cause_of(error)
        service = self.supervisor.status()
        # A server that runs on may have written nothing since; its last lines are all there is.
        tail = base.log_tail(self.supervisor.log_path, _LOG_LINES, self._log_mark) or base.log_tail(self.supervisor.log_path, _LOG_LINES)
        outcome, rolled_back = "nothing was touched", False
        if switched:
            try:
                outcome, rolled_back = self._put_right(step)
            except (StepFailed, VenomError, OSError) as second:
                outcome = f"putting things right failed too: {cause_of(second)}{self._leave()}"
        wanted = self._change.target.model if self._change.target is not None else self.runtime.name
        raise VenomError(
            self._change.failure_code,
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

    def _leave(self) -> str:
        """Where even the last good model does not come back: stopped, and those that had made room run again; in words.

        A server that runs without an active model, as it did before, may have other clients, and is left to them.
        """
        said, trial = "", None
        with contextlib.suppress(StepFailed, VenomError, OSError):
            if self._runs_on():
                said = "; the server runs on"
            else:
                self.server.stop(self.limits)
        with contextlib.suppress(VenomError, OSError):
            trial = activation_trial.present(self.server)
        if trial is None or not trial.stopped:
            return said
        self._step("exclusive", label="rollback ", does="return")
        # The rest is for the next run, which shall not start what somebody has stopped meanwhile.
        with contextlib.suppress(VenomError, OSError):
            activation_trial.save(self.server, replace(trial, stopped=()))
        return f"{said}; {self.reports[-1].outcome}"

    def _runs_on(self) -> bool:
        """Whether it is well and ran before this transaction, and has something to do besides an active model."""
        return self._was_up and self.runtime.runs_without_model and self.runtime.health().state == "ready"

    def _put_right(self, step: str) -> tuple[str, bool]:
        """Back to the last good model, else stopped. Returns what was done and whether the last good model serves again."""
        if not self.limits.rollback:
            return "everything is left as it is, as rollback is off", False
        if step == "commit" and self._is_committed():
            return "the model serves and is what a boot comes back to; the next run completes the record", False
        trial, good = activation_trial.present(self.server), self._committed
        if trial is not None:
            self._step("switch", label="rollback ", does="revert")
        if self._can_return(trial):
            self.target = good
            if step != "switch" or self.runtime.live() is not None or self.server.must_restart():
                self._step("start", label="rollback ")
            self._step("prove", label="rollback ")
            outcome = f"{good.alias} serves again" if good is not None else "no model was active before; the server answers again"
        elif self._runs_on():
            outcome = "the server runs on without it"
            with contextlib.suppress(StepFailed, VenomError):
                outcome = ", ".join([outcome, *(self._unload_tried(trial) if trial is not None else [])])
        else:
            self._step("stop", label="rollback ")
            outcome = "no other model was good before, so the server is stopped"
        if trial is not None and trial.stopped:
            self._step("exclusive", label="rollback ", does="return")
            outcome = f"{outcome}; {self.reports[-1].outcome}"
        try:
            activation_trial.close(self.server)
        except OSError as error:
            outcome = f"{outcome}; the record still has the change on trial ({error.strerror}), which the next run settles"
        return outcome, good is not None and self.target is good

    def _can_return(self, trial: Trial | None) -> bool:
        """Whether there is something to go back to that is another thing than what has just failed."""
        good, failed = self._committed, self._change.target
        if not self._was_up and (self._was_set_aside or trial is not None and trial.stopped):
            return False
        if good is None:
            return trial is not None and self.runtime.runs_without_model and self._was_up
        if trial is not None and trial.version:
            return bool(trial.version_before)
        return failed is not None and self._active(good) != self._active(failed) and self._is_there(good)

    def _is_there(self, good: Activation) -> bool:
        """Whether the model can be served still. What the store of a live server holds shows only while that answers."""
        if not self.runtime.is_there(self._active(good)):
            return False
        live = self.runtime.live()
        if live is None or self.runtime.health().state != "ready":
            return True
        try:
            return any(model.root == good.path for model in live.listed())
        except VenomError:
            return True

    def _is_committed(self) -> bool:
        target = self._change.target
        return target is not None and target.is_same_model(committed_of(self.runtime, self.server.record()))

    def _revert(self) -> str:
        activation_trial.revert(self.server)
        return "; ".join(["configured as before", *self._revert_names()])

    def _return(self) -> str:
        trial = activation_trial.present(self.server)
        return "; ".join(self._return_place(trial) if trial is not None else []) or "nothing had made room"


STEPS: dict[str, t.Callable[[Transaction], str]] = {
    "adopt": Transaction.adopt,
    "settle": Transaction.settle,
    "check": Transaction.check,
    "drain": Transaction.drain,
    "switch": Transaction.switch,
    "exclusive": Transaction.exclusive,
    "stop": Transaction.stop,
    "start": Transaction.start,
    "prove": Transaction.prove,
    "commit": Transaction.commit,
    # How a rollback undoes two of them.
    "revert": Transaction._revert,
    "return": Transaction._return,
}
