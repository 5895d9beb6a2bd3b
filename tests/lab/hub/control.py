# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes under /_lab: log, faults, repositories. For tests; no authentication."""
from __future__ import annotations

import typing as t
from dataclasses import asdict

from lab.hub.faults import Fault
from lab.hub.wire import Answer, HubError, Request, json_answer

if t.TYPE_CHECKING:
    from lab.hub.server import Hub


def answer(hub: Hub, request: Request) -> Answer:
    """Answer a control request; mistakes in it give 400 with the reason."""
    route = (request.method, "/".join(request.segments[1:]))
    try:
        return _routes(hub, request, route)
    except (ValueError, TypeError, KeyError, OSError) as mistake:
        raise HubError(400, f"{type(mistake).__name__}: {mistake}") from mistake


def _routes(hub: Hub, request: Request, route: tuple[str, str]) -> Answer:
    if route == ("GET", "log"):
        found = hub.log.entries(
            request.option("path", "*"), request.option("method", "*"), request.option("listener", "*"), int(request.option("since", "0"))
        )
        return json_answer([asdict(entry) for entry in found])
    if route == ("DELETE", "log"):
        hub.log.clear()
        return json_answer({})
    if route == ("GET", "faults"):
        return json_answer([asdict(fault) for fault in hub.faults.all()])
    if route == ("DELETE", "faults"):
        hub.faults.clear()
        return json_answer({})
    if route == ("GET", "repos"):
        return json_answer({repo.id: {"branches": repo.branches, "tags": repo.tags} for repo in hub.store.repos.values()})
    if route == ("POST", "faults"):
        return _add_faults(hub, request)
    fields = request.fields()
    if route == ("POST", "down"):
        hub.down(str(fields.get("listener", "hub")), float(fields.get("seconds", 1)))
        return Answer(200, close=True)
    if route == ("POST", "commit"):
        known = {key: str(fields[key]) for key in ("branch", "title", "tag") if key in fields}
        return json_answer({"commit": hub.add_repo(str(fields["repo"]), str(fields["folder"]), **known)})
    if route == ("POST", "repo"):
        hub.configure(str(fields.pop("repo")), **fields)
        return json_answer({})
    raise HubError(404, "no such control route; see README.md")


def _add_faults(hub: Hub, request: Request) -> Answer:
    data = request.any_json()
    for item in data if isinstance(data, list) else [data]:
        if item.get("kind") == "down":
            hub.down(str(item.get("listener", "hub")), float(item.get("seconds", 1)))
        else:
            hub.faults.add(Fault.from_dict(item))
    return json_answer({"faults": len(hub.faults.all())})
