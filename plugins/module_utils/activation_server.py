# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One server under its supervisor, as the steps of an activation handle it: drain, stop, start, wait until it answers."""
from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.venom.llm.plugins.module_utils import processes
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.observation import QUESTION_TIMEOUT, Observation, digest_of, observe, port_conflict
from ansible_collections.venom.llm.plugins.module_utils.record import RuntimeRecord
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import LiveModels, Runtime
from ansible_collections.venom.llm.plugins.module_utils.supervisors import base
from ansible_collections.venom.llm.plugins.module_utils.waiting import WaitFailed, WaitTimeout, wait_for

POLL_SECONDS = 0.25
_GPU_RELEASE_TIMEOUT = 30.0


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
class Server:
    """A runtime with its supervisor. ``gpu_pids`` gives the pids that hold GPU memory, or None when that is not known."""

    runtime: Runtime
    supervisor: base.Supervisor
    record_path: str
    gpu_pids: t.Callable[[], set[int] | None] = lambda: None

    def record(self) -> RuntimeRecord:
        """``runtime.json`` as it is now."""
        return RuntimeRecord.load(self.record_path)

    def change_record(self, change: t.Callable[[RuntimeRecord], RuntimeRecord]) -> RuntimeRecord:
        """Change it while nobody else does."""
        return RuntimeRecord.change(self.record_path, change)

    def observe(self) -> Observation:
        """The runtime as it is now."""
        return observe(self.runtime, self.supervisor, self.record())

    def is_alive(self) -> bool:
        """Whether anything of it runs, or will in a moment."""
        return self.supervisor.status().active not in ("stopped", "failed") or bool(self.supervisor.pids())

    def must_restart(self) -> bool:
        """Whether what runs was started with something else than what is configured now, or nothing runs."""
        service = self.supervisor.status()
        if service.active != "running" or service.needs_reload:
            return True
        return self.record().started_with.get(self.runtime.name) != digest_of(self.runtime, self.supervisor, self.runtime.active())

    def drain(self, limits: Limits, will_stop: bool) -> str:
        """Wait until no client waits for an answer any more. Raises ``StepFailed`` by the policy."""
        if self.supervisor.status().active != "running":
            return "nothing serves"
        live = self.runtime.live()
        if live is not None:
            if not will_stop:
                return "this server counts no requests; its old model is unloaded once those that run have ended"
            if self.runtime.health().state != "ready":
                return "nothing serves"
            try:
                return self.unload([model.root for model in live.loaded()], limits) or "no model is loaded"
            except VenomError as error:
                if error.reason_code != "server_unreachable":
                    raise
                return _by_policy(error.found, limits)
        patience = min(QUESTION_TIMEOUT, max(1.0, limits.drain_timeout))
        last: list[int | None] = [None]

        def probe() -> str:
            last[0] = self.runtime.in_flight(patience)
            if last[0] is None:
                return "unknown" if self._may_serve(patience) else "down"
            return "busy" if last[0] else "idle"

        try:
            state = wait_for(probe, good=("idle", "down"), waiting=("busy", "unknown"), timeout=limits.drain_timeout, interval=POLL_SECONDS)
        except WaitTimeout:
            count = "how many requests are in flight is not known" if last[0] is None else f"{last[0]} requests still in flight"
            return _by_policy(f"{count} after {limits.drain_timeout:g} s", limits)
        return "no request in flight" if state == "idle" else "nothing serves"

    def _may_serve(self, timeout: float) -> bool:
        """Whether a server that does not say how many requests it has may be at work: it is well, or too busy to answer at all."""
        if self.supervisor.status().active != "running":
            return False
        health = self.runtime.health(timeout)
        return health.state == "ready" or health.seconds is None

    def load_anew(self, live: LiveModels, name: str, path: str, limits: Limits) -> list[str]:
        """Of two models with the same weights the server uses whichever is in memory, with that one's template: that one makes room.

        The others in memory are somebody's. They go only with the server, which is restarted where that one stays.
        """
        said = [f"another model was in memory in the place of {name}"]
        # It may have left by itself meanwhile; then there is nothing to unload, and the wanted one is loaded all the same.
        twins = [model.root for model in live.sharing(name)]
        for root in twins or [""]:
            said.append(self.unload([root], limits))
            if not holds(live, root):
                live.load(name, limits.health_timeout)
                if holds(live, path):
                    break
        if not holds(live, path) and any(holds(live, root) for root in twins):
            said.append(self.drain(limits, will_stop=True))
            self.stop(limits)
            said.append(f"ready again after {self.start(limits):.1f} s")
            live.load(name, limits.health_timeout)
        # Where nothing is in its place and the server does not show it either, the proof says so.
        return [*filter(None, said)]

    def holds_nameless(self, paths: t.Collection[str]) -> bool:
        """Whether one of these models is in memory that no name means any more, as after an update of its tag: only a restart takes it out."""
        live = self.runtime.live()
        if live is None or self.supervisor.status().active != "running" or self.runtime.health().state != "ready":
            return False
        named = {model.root for model in live.listed()}
        return any(model.root in paths and model.root not in named for model in live.loaded())

    def unload(self, paths: t.Collection[str], limits: Limits) -> str:
        """Have a running server drop models once their requests have ended; what was done, empty for nothing. Raises ``StepFailed``."""
        live = self.runtime.live()
        loaded = [model for model in live.loaded() if model.root in paths] if live is not None else []
        if live is None or not loaded:
            return ""
        try:
            live.unload(paths, limits.drain_timeout)
        except VenomError as error:
            if error.reason_code != "model_active":
                raise
            return _by_policy(error.found, limits)
        return f"unloaded {', '.join(model.id for model in loaded)}"

    def empty(self, limits: Limits) -> str:
        """Have a server that is about to be stopped drop its models once their requests have ended; what was done, in words.

        A stop cuts off those that it serves. Nothing here keeps anybody from stopping it: what goes wrong is told, and that is all.
        """
        if self.supervisor.status().active != "running":
            return ""
        try:
            live = self.runtime.live()
            if live is None or self.runtime.health().state != "ready":
                return ""
            return self.unload([model.root for model in live.loaded()], replace(limits, drain_policy="proceed"))
        except VenomError as error:
            return f"models not unloaded: {error.found}"

    def stop(self, limits: Limits) -> str:
        """Stop every process of the server and wait until the GPU memory it held is free."""
        # Read while they live: of a process that ended and whose memory the driver still has, nothing but the number is left.
        held = processes.commands(self.supervisor.pids())
        # What it was started with stays on record: a boot starts it with the same, and then nothing has to be restarted.
        self.supervisor.stop(limits.stop_timeout)
        try:
            wait_for(
                lambda: "held" if set(held) & (self.gpu_pids() or set()) else "free",
                good=("free",),
                waiting=("held",),
                timeout=_GPU_RELEASE_TIMEOUT,
                interval=POLL_SECONDS,
            )
        except WaitTimeout:
            holding = self.gpu_pids() or set()
            who = processes.describe({pid: command for pid, command in held.items() if pid in holding})
            raise StepFailed(f"GPU memory of the stopped server is not free after {_GPU_RELEASE_TIMEOUT:g} s: held by {who}") from None
        return f"stopped {len(held)} processes" if held else "nothing ran"

    def start(self, limits: Limits) -> float:
        """Start, and wait until it answers; the seconds that took. Raises ``StepFailed``, ``port_in_use``, ``duplicate_server``."""
        foreign = self.observe().foreign_listener()
        if foreign is not None:
            raise port_conflict(foreign, self.runtime)
        begun = time.monotonic()
        self.supervisor.start()
        self._note_start(digest_of(self.runtime, self.supervisor, self.runtime.active()))
        self.wait_ready(limits)
        return time.monotonic() - begun

    def _note_start(self, digest: str | None) -> None:
        # On a full disk a server must still stop and start; the worst that a stale note does is one more restart.
        with contextlib.suppress(OSError):
            self.change_record(lambda record: record.with_started(self.runtime.name, digest))

    def wait_ready(self, limits: Limits) -> None:
        """Wait until the server answers. Raises ``StepFailed`` as soon as its process has ended."""
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
            wait_for(probe, good=("ready",), waiting=("loading", "starting"), timeout=limits.health_timeout, interval=POLL_SECONDS)
        except WaitTimeout as error:
            raise StepFailed(f"not ready after {error.waited:.0f} s: {said[0]}") from error
        except WaitFailed as error:
            raise StepFailed(f"the server {'ended' if error.state == 'died' else 'is ' + error.state}: {said[0]}") from error


def cause_of(error: Exception) -> str:
    """What went wrong, in the words of a step."""
    if isinstance(error, VenomError):
        return f"{error.found} ({error.reason_code})"
    return str(error)


def holds(live: LiveModels, path: str) -> bool:
    """Whether a model is in memory."""
    return any(model.root == path for model in live.loaded())


def _by_policy(text: str, limits: Limits) -> str:
    if limits.drain_policy == "fail":
        raise StepFailed(text)
    return f"{text}, went on"


def _is_fresh(service: base.ServiceState, begun: float) -> bool:
    """Whether the process is younger than our wait: then the one that we waited for has died."""
    return service.uptime_seconds is not None and service.uptime_seconds < time.monotonic() - begun


def _ended(service: base.ServiceState) -> str:
    if service.exit_status is None:
        return service.detail
    how = f"signal {-service.exit_status}" if service.exit_status < 0 else f"exit status {service.exit_status}"
    return f"{how} ({service.detail})"
