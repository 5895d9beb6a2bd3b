# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The observe step: everything that a decision about one runtime needs, read at one moment and changed by nobody here."""
from __future__ import annotations

import socket
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.venom.llm.plugins.module_utils import http_probe, processes
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.record import Activation, RuntimeRecord, Trial
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active, Health, Runtime, ServedModel
from ansible_collections.venom.llm.plugins.module_utils.supervisors.base import ServiceState, Supervisor

#: Seconds that a local server gets for the questions that cost it nothing.
QUESTION_TIMEOUT = 5.0


@dataclass(frozen=True)
class Observation:
    """A runtime as it is: its files, its service, who listens on its port, and what the server says.

    ``served`` is None when the server gave no list, ``endpoint`` when the settings are missing or without sense. ``digest``
    is what a server started now would be started with. ``trial`` is a change that was cut off, or that somebody makes right now;
    ``active`` is then the model on trial. ``set_aside``: it was stopped on purpose. ``spelling`` is the runtime's, see there.
    """

    configured: bool
    active: Active | None
    service: ServiceState
    pids: frozenset[int] = frozenset()
    listeners: tuple[processes.Listener, ...] = ()
    health: Health = Health("loading", detail="not asked")
    served: tuple[ServedModel, ...] | None = None
    committed: Activation | None = None
    started_with: str | None = None
    digest: str | None = None
    endpoint: str | None = None
    trial: Trial | None = None
    set_aside: bool = False
    spelling: t.Callable[[str], str] = str

    @property
    def expected(self) -> Active | None:
        """What clients are promised: the committed model, else the configured one."""
        return Active(self.committed.alias, self.committed.path) if self.committed else self.active

    def mismatch(self, wanted: Active) -> str | None:
        """Why the server's list, if it gave one, does not prove the model, or None when it does."""
        return name_mismatch(wanted, self.served or (), self.spelling)

    @property
    def is_up(self) -> bool:
        """Whether the supervisor has the server running or about to."""
        return self.service.active in ("running", "starting")

    def foreign_listener(self) -> processes.Listener | None:
        """Somebody else on the port. An owner that is hidden from us counts as ours while our own server runs."""
        for listener in self.listeners:
            if listener.pid not in self.pids and not (listener.pid is None and self.is_up):
                return listener
        return None


def observe(runtime: Runtime, supervisor: Supervisor, record: RuntimeRecord) -> Observation:
    """Read it all. Settings without sense are told as the server's health: they must not keep anybody from stopping it."""
    seen = Observation(
        configured=runtime.is_configured(),
        active=runtime.active(),
        service=supervisor.status(),
        committed=committed_of(runtime, record),
        started_with=record.started_with.get(runtime.name),
        trial=record.trials.get(runtime.name),
        set_aside=runtime.name in record.set_aside,
        spelling=runtime.spelling,
    )
    if not seen.configured:
        return seen
    seen = replace(seen, pids=frozenset(supervisor.pids()))
    try:
        settings = runtime.settings()
    except VenomError as error:
        return replace(seen, health=Health("broken", detail=f"settings: {error.found}"))
    listeners = tuple(processes.listeners(settings.port, numeric(settings.probe_host if settings.host in ("", "[::]") else settings.host)))
    health, served = Health("loading", detail="nobody listens on the port"), None
    seen = replace(seen, listeners=listeners)
    if listeners and seen.foreign_listener() is None:
        health = runtime.health(QUESTION_TIMEOUT)
        try:
            served = runtime.served(QUESTION_TIMEOUT) if health.state == "ready" else None
        except http_probe.ProbeFailed as error:
            health = Health("broken" if error.kind == "broken" else "loading", detail=str(error))
    return replace(seen, health=health, served=served, digest=digest_of(runtime, supervisor, seen.active), endpoint=runtime.endpoint())


def committed_of(runtime: Runtime, record: RuntimeRecord) -> Activation | None:
    """The committed model. A commit begins with the file that a boot reads: cut off behind that, it counts, whatever the record says."""
    committed, trial = record.active.get(runtime.name), record.trials.get(runtime.name)
    if trial is None or trial.activation is None or trial.activation.is_same_model(committed):
        return committed
    booted = runtime.read_active(runtime.active_path)
    tried = runtime.make_active(trial.activation.alias, trial.activation.path, trial.activation.model)
    return trial.activation if booted == tried else committed


def digest_of(runtime: Runtime, supervisor: Supervisor, active: Active | None) -> str | None:
    """What a server started now would be started with, or None when it could not be started."""
    if active is None and not runtime.runs_without_model:
        return None
    try:
        return runtime.digest(supervisor.fingerprint())
    except VenomError as error:
        if error.reason_code in ("not_installed", "not_configured"):
            return None
        raise


def numeric(host: str) -> str | None:
    """The numeric address of the host name, or None (any address) when it has none."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return None


def port_conflict(listener: processes.Listener, runtime: Runtime, more: str = "", todo: str = "") -> VenomError:
    """The refusal that names who has the port, with what ``more`` there is to say. We never end what we did not start."""
    is_same_kind = runtime.command_mark in listener.command.lower()
    owner = "a process that this account may not see" if listener.pid is None else f"pid {listener.pid}"
    unit = f", unit {listener.unit}" if listener.unit else ""
    command = f", command {listener.command}" if listener.command else ""
    return VenomError(
        "duplicate_server" if is_same_kind else "port_in_use",
        wanted=f"port {listener.port} free for {runtime.unit}",
        found=f"{owner}{unit}{command} listens on {listener.address}:{listener.port}{'; ' if more else ''}{more}",
        todo=todo or "stop that process, set adopt to have it ended, or give the runtime another port",
        listener=dict(listener.__dict__),
    )


def name_mismatch(wanted: Active, served: t.Sequence[ServedModel], spelling: t.Callable[[str], str] = str) -> str | None:
    """Why the server's own list does not prove the wanted model, or None when it does: same name and same bytes in one entry."""
    if any(spelling(model.id) == spelling(wanted.alias) and _same_folder(model.root, wanted.path) for model in served):
        return None
    said = ", ".join(f"{model.id} from {model.root}" for model in served) or "no model"
    return f"the server serves {said}; wanted {wanted.alias} from {wanted.path}"


def _same_folder(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")
