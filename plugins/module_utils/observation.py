# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The observe step: everything that a decision about one runtime needs, read at one moment and changed by nobody here."""
from __future__ import annotations

import socket
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import http_probe, processes
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.record import Activation, RuntimeRecord
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active, Health, ServedModel
from ansible_collections.venom.llm.plugins.module_utils.runtimes.vllm import VllmRuntime
from ansible_collections.venom.llm.plugins.module_utils.supervisors.base import ServiceState, Supervisor

#: Seconds that a local server gets for the questions that cost it nothing.
QUESTION_TIMEOUT = 5.0


@dataclass(frozen=True)
class Observation:
    """A runtime as it is: its files, its service, who listens on its port, and what the server says.

    ``served`` is None when the server gave no list, ``endpoint`` when the settings are missing or without sense. ``digest``
    is what a server started now would be started with.
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


def observe(runtime: VllmRuntime, supervisor: Supervisor, record: RuntimeRecord) -> Observation:
    """Read it all. Settings without sense are told as the server's health: they must not keep anybody from stopping it."""
    service = supervisor.status()
    active = runtime.active()
    committed = record.active.get(runtime.name)
    started_with = record.started_with.get(runtime.name)
    if not runtime.is_configured():
        return Observation(False, active, service, committed=committed, started_with=started_with)
    pids = frozenset(supervisor.pids())
    try:
        settings = runtime.settings()
    except VenomError as error:
        broken = Health("broken", detail=f"settings: {error.found}")
        return Observation(True, active, service, pids, health=broken, committed=committed, started_with=started_with)
    listeners = tuple(processes.listeners(settings.port, numeric(settings.probe_host if settings.host in ("", "[::]") else settings.host)))
    health, served = Health("loading", detail="nobody listens on the port"), None
    if listeners and Observation(True, active, service, pids, listeners).foreign_listener() is None:
        health = runtime.health(QUESTION_TIMEOUT)
        try:
            served = runtime.served(QUESTION_TIMEOUT) if health.state == "ready" else None
        except http_probe.ProbeFailed as error:
            health = Health("broken" if error.kind == "broken" else "loading", detail=str(error))
    return Observation(
        configured=True,
        active=active,
        service=service,
        pids=pids,
        listeners=listeners,
        health=health,
        served=served,
        committed=committed,
        started_with=started_with,
        digest=digest_of(runtime, supervisor, active),
        endpoint=runtime.endpoint(),
    )


def digest_of(runtime: VllmRuntime, supervisor: Supervisor, active: Active | None) -> str | None:
    """What a server started now would be started with, or None when it could not be started."""
    if active is None:
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


def port_conflict(listener: processes.Listener, runtime: VllmRuntime) -> VenomError:
    """The refusal that names who has the port. We never end what we did not start."""
    is_same_kind = runtime.command_mark in listener.command.lower()
    owner = "a process that this account may not see" if listener.pid is None else f"pid {listener.pid}"
    unit = f", unit {listener.unit}" if listener.unit else ""
    command = f", command {listener.command}" if listener.command else ""
    return VenomError(
        "duplicate_server" if is_same_kind else "port_in_use",
        wanted=f"port {listener.port} free for {runtime.unit}",
        found=f"{owner}{unit}{command} listens on {listener.address}:{listener.port}",
        todo="stop that process, or give the runtime another port; this collection ends only what it started",
        listener=dict(listener.__dict__),
    )


def name_mismatch(wanted: Active, served: t.Sequence[ServedModel]) -> str | None:
    """Why the server's own list does not prove the wanted model, or None when it does: same name and same folder in one entry."""
    if any(model.id == wanted.alias and _same_folder(model.root, wanted.path) for model in served):
        return None
    said = ", ".join(f"{model.id} from {model.root}" for model in served) or "no model"
    return f"the server serves {said}; wanted {wanted.alias} from {wanted.path}"


def _same_folder(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")
