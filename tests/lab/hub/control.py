# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes under /_lab: log, faults, and what a site has of its own. For tests; no authentication."""
from __future__ import annotations

import typing as t
from dataclasses import asdict

from lab.hub.faults import Fault
from lab.hub.wire import Answer, HubError, Request, json_answer

if t.TYPE_CHECKING:
    from lab.hub.site import Site

#: Seconds that a listener stays up after it was told to go down: the answer to that still has to leave.
_LEAVE = 0.1


def answer(site: Site, request: Request) -> Answer:
    """Answer a control request; mistakes in it give 400 with the reason."""
    route = (request.method, "/".join(request.segments[1:]))
    try:
        return _routes(site, request, route)
    except (ValueError, TypeError, KeyError, OSError) as mistake:
        raise HubError(400, f"{type(mistake).__name__}: {mistake}") from mistake


def _routes(site: Site, request: Request, route: tuple[str, str]) -> Answer:
    if route == ("GET", "log"):
        found = site.log.entries(
            request.option("path", "*"), request.option("method", "*"), request.option("listener", "*"), int(request.option("since", "0"))
        )
        return json_answer([asdict(entry) for entry in found])
    if route == ("DELETE", "log"):
        site.log.clear()
        return json_answer({})
    if route == ("GET", "faults"):
        return json_answer([asdict(fault) for fault in site.faults.all()])
    if route == ("DELETE", "faults"):
        site.faults.clear()
        return json_answer({})
    if route == ("POST", "faults"):
        return _add_faults(site, request)
    if route == ("POST", "down"):
        _down(site, request.fields())
        return Answer(200, close=True)
    return site.control(request, route)


def _down(site: Site, fields: t.Mapping[str, t.Any]) -> None:
    site.nap(site.listeners(str(fields.get("listener") or site.first)), float(fields.get("seconds", 1)), delay=_LEAVE)


def _add_faults(site: Site, request: Request) -> Answer:
    data = request.any_json()
    for item in data if isinstance(data, list) else [data]:
        if item.get("kind") == "down":
            _down(site, item)
        else:
            site.faults.add(Fault.from_dict(item))
    return json_answer({"faults": len(site.faults.all())})
