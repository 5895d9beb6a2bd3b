# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan for a runtime rests on: the model that is meant, refusals, leftovers of earlier runs, and reasons to do something."""
from __future__ import annotations

import contextlib
import copy
from dataclasses import dataclass, replace

from ansible_collections.venom.llm.plugins.module_utils import activation_names, activation_trial
from ansible_collections.venom.llm.plugins.module_utils.activation_refusals import refuse_unit
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.observation import Observation, digest_of
from ansible_collections.venom.llm.plugins.module_utils.record import Activation, Trial
from ansible_collections.venom.llm.plugins.module_utils.rivals import Rival, find_rivals, rival_conflict
from ansible_collections.venom.llm.plugins.module_utils.runtime_site import Site
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active
from ansible_collections.venom.llm.plugins.module_utils.targets import find_target


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
    previous: bool = False
    version: str | None = None
    exclusive: bool = False
    adopt: bool = False


def find_wanted(site: Site, request: Request) -> tuple[Activation, int]:
    """The model that is asked for by name or as the previous one, and its bytes. Raises like ``find_target``, and ``not_configured``."""
    if not request.previous:
        return find_target(site.models_dir, site.runtime.name, request.model or "", request.revision, request.alias)
    earlier = site.record().previous(site.runtime.name)
    if earlier is None:
        raise VenomError(
            "not_configured",
            wanted=f"the model that {site.runtime.name} served before the present one",
            found="the history of activations has no other model",
            todo="activate a model by its name",
        )
    return find_target(site.models_dir, site.runtime.name, earlier.model, earlier.revision, request.alias or earlier.alias)


def leftovers(site: Site, request: Request, seen: Observation, target: Activation | None) -> tuple[list[str], Observation]:
    """What a run before this one left half done, unless this one goes on with it; and the observation as it is without that."""
    trial = seen.trial
    if trial is None:
        return [], seen
    same = target is None and trial.activation is None or target is not None and target.is_same_model(trial.activation)
    if request.state != "stopped" and same and trial.version == (request.version or "") and not trial.stopped:
        return [], seen
    if trial == Trial(names=trial.names, begun_at=trial.begun_at) and seen.served is None:
        # Only names are left, and nobody is there to give them up; the next start does it.
        return [], replace(seen, trial=None)
    calm = copy.copy(site.runtime)
    calm.trial_path = ""
    active = calm.active()
    digest = None if _has_moved(site, trial) else digest_of(calm, site.supervisor, active)
    what = trial.activation.model if trial.activation is not None else f"version {trial.version}" if trial.version else "a change"
    return [f"the activation of {what} was cut off"], replace(seen, active=active, digest=digest, trial=None)


def _has_moved(site: Site, trial: Trial) -> bool:
    """Whether the link leads to the version on trial. Settings without sense must not keep anybody from stopping the server."""
    with contextlib.suppress(VenomError):
        return bool(trial.version) and activation_trial.link_of(site.runtime).version() != trial.version_before
    return False


def version_reasons(site: Site, request: Request) -> list[str]:
    """Why the program link has to lead elsewhere; empty when it leads there, or when no version is asked for."""
    if not request.version:
        return []
    present = activation_trial.link_of(site.runtime).version()
    return [] if present == request.version else [f"version {present or 'none'} runs instead of {request.version}"]


def neighbours_in_the_way(site: Site) -> list[str]:
    """The other runtimes that run, would after a boot, or would after a repair, each with that in words."""
    found, record = [], site.record()
    for other in site.neighbours:
        name = other.runtime.name
        if other.server.is_alive():
            found.append(f"{name} runs beside it")
        elif other.supervisor.status().enabled:
            found.append(f"{name} starts at boot beside it")
        elif name in record.active and name not in record.set_aside:
            found.append(f"{name} is to run beside it by the record")
    return found


def beside_reasons(site: Site, request: Request) -> list[str]:
    """The other runtimes that have to make room."""
    return neighbours_in_the_way(site) if request.exclusive else []


def check_command(site: Site, request: Request, seen: Observation) -> None:
    """There is something to run. Raises ``not_configured`` without a model, ``not_installed`` without the program."""
    runtime = site.runtime
    if seen.trial is None:
        # The file of a trial that will be taken back names no model for good.
        runtime = copy.copy(runtime)
        runtime.trial_path = ""
    try:
        runtime.command()
    except VenomError as error:
        if error.reason_code != "not_installed" or not request.version:
            raise


def refuse_start(site: Site, request: Request, seen: Observation) -> list[Rival]:
    """Raise for a runtime that cannot be started here: no settings, no unit or a masked one, no such version, or somebody else in its place.

    With ``adopt`` those others are returned instead, unless one of them is more than a server.
    """
    site.runtime.settings()
    # Asking starts nothing, so what serves under a unit that is masked by now may be proved.
    service = replace(seen.service, unstartable="") if request.state == "probed" else seen.service
    refuse_unit(site.supervisor, site.runtime.name, service)
    if request.version:
        activation_trial.link_of(site.runtime).check(request.version)
    rivals = find_rivals(seen, site.runtime, site.supervisor)
    if request.state == "probed":
        # A unit that waits for the next boot does not matter to what serves now.
        rivals = [rival for rival in rivals if rival.listener is not None]
    for rival in rivals:
        if rival.refusal or not request.adopt:
            raise rival_conflict(rival, site.runtime)
    return rivals


def refuse_names(site: Site, wanted: Active, seen: Observation) -> None:
    """Ask a running server that changes models by itself. Raises ``not_installed``, ``digest_mismatch``, ``alias_taken``."""
    if seen.served is None or site.runtime.live() is None:
        return
    activation_names.check_model(seen.served, site.runtime.spelling, wanted)
    own = [change.name for change in site.record().names.get(site.runtime.name, ())]
    activation_names.plan_name(seen.served, site.runtime.spelling, wanted, own)


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
        mismatch = seen.mismatch(wanted)
        reasons += [mismatch] if mismatch else []
    elif seen.health.state == "broken" or (seen.service.uptime_seconds or 0.0) > health_timeout:
        reasons.append(f"it does not answer: {seen.health.detail}")
    return reasons
