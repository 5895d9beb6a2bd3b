# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One server of a HAProxy backend out of the traffic and back, over HAProxy's runtime socket (its management guide, chapter 9)."""
from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import ipaddress
import os
import re
import socket
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.waiting import WaitFailed, WaitTimeout, wait_for

#: What ``set server`` sets, and what else keeps a server out, as bits of srv_admin_state (management guide, ``show servers state``).
FORCED_MAINT, INHERITED_MAINT, FORCED_DRAIN, INHERITED_DRAIN, RESOLUTION_MAINT = 0x01, 0x02, 0x08, 0x10, 0x20
_FORCED = FORCED_MAINT | FORCED_DRAIN
_OUT = _FORCED | INHERITED_MAINT | INHERITED_DRAIN | RESOLUTION_MAINT
#: Values of ``status`` with which a server takes traffic for good.
UP = ("UP", "no check")
#: Names that HAProxy takes. Nothing else gets into a command: a semicolon or a line would begin another one.
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_ANSWER_BYTES = 16 * 1024 * 1024
_ASK_TIMEOUT = 10.0
_INTERVAL = 0.2
#: Seconds to wait for one's turn; whoever has it asks three questions and gives one order.
_TURN_TIMEOUT = 60.0
_TURN_INTERVAL = 0.05


@dataclass(frozen=True)
class Request:
    """What shall be. ``keep`` is how many other servers must take traffic for this one to be taken out; ``timeout`` in seconds."""

    address: str
    backend: str
    server: str
    state: str
    timeout: float
    keep: int

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Request:
        """Validate. Raises ``invalid_option``."""
        for option in ("backend", "server"):
            if not _NAME.fullmatch(params[option]):
                raise VenomError("invalid_option", wanted=f"{option} as HAProxy names one", found=ascii(params[option]), todo="correct it")
        names = ("backend", "server", "state", "timeout", "keep")
        return cls(address=params["socket"], **{name: params[name] for name in names})


@dataclass(frozen=True)
class Server:
    """What HAProxy says of one server: the bits of its administrative state, its weight, its status, and the requests that it has or that
    wait for it."""

    admin: int
    weight: int
    status: str
    sessions: int

    @property
    def is_out(self) -> bool:
        """Whether it gets no new request, whatever its health. Of one whose weight is 0 HAProxy says UP as before."""
        return bool(self.admin & _OUT) or self.weight == 0

    @property
    def state(self) -> str:
        """ready, drained (new requests go elsewhere) or maintenance (the same, and connections end)."""
        if self.admin & (FORCED_MAINT | INHERITED_MAINT | RESOLUTION_MAINT):
            return "maintenance"
        return "drained" if self.is_out else "ready"

    @property
    def is_up(self) -> bool:
        """Whether it takes traffic, and will go on to."""
        return self.state == "ready" and self.status in UP

    @property
    def would_be_missed(self) -> bool:
        """Whether requests go to it now; "UP 1/3" is the status of one that is about to go down."""
        return self.state == "ready" and self.status.startswith(("UP", "no check"))


def operate(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """One call of ``venom_balancer``."""
    request = Request.from_params(params)
    # For each host of a batch the module runs at the same time. Whoever looks has to see those out that went before.
    with turn(request.address, request.backend):
        servers = observe(request)
        before = servers[request.server]
        changed = plan(request, servers)
        if changed and not check_mode:
            _set(request)
    waited = 0.0
    if not check_mode:
        started = time.monotonic()
        _wait(request)
        waited = time.monotonic() - started
    after = before if check_mode else observe(request)[request.server]
    return {
        "changed": changed,
        "diff": {"before": {"state": before.state}, "after": {"state": request.state if changed else before.state}},
        "state_before": before.state,
        "state": request.state if changed else before.state,
        "status": after.status,
        "sessions": after.sessions,
        "waited": round(waited, 2),
    }


@contextlib.contextmanager
def turn(address: str, backend: str) -> t.Iterator[None]:
    """One at a time on this host, by socket of HAProxy and backend. Raises ``locked``.

    The lock is a name among the Unix sockets that have no file (unix(7), abstract): whoever may speak with HAProxy can take it, under any account,
    and it ends with its process. A file would need a folder that all these accounts can write to.
    """
    family, where = _parse(address)
    shown = os.path.realpath(where) if family == socket.AF_UNIX else str(where)
    name = hashlib.sha256(f"{shown} {backend}".encode("utf-8", "surrogateescape")).hexdigest()
    deadline = time.monotonic() + _TURN_TIMEOUT
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        while not _take(lock, f"\0venom.llm/balancer/{name}"):
            if time.monotonic() >= deadline:
                raise VenomError(
                    "locked",
                    wanted=f"to be the only one that changes the backend {backend} of HAProxy within {_TURN_TIMEOUT:g} s",
                    found="another call of venom_balancer on this host does",
                    todo="see what it waits for, and run again",
                )
            time.sleep(_TURN_INTERVAL)
        yield


def _take(lock: socket.socket, name: str) -> bool:
    try:
        lock.bind(name)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def plan(request: Request, servers: t.Mapping[str, Server]) -> bool:
    """Whether the state has to be set. Raises ``balancer_failed`` where too few other servers would be left."""
    found = servers[request.server]
    if request.state == "ready":
        return bool(found.admin & _FORCED)
    if found.is_out:
        return False
    others = sorted(name for name, server in servers.items() if name != request.server and server.is_up)
    if found.would_be_missed and len(others) < request.keep:
        raise VenomError(
            "balancer_failed",
            wanted=f"{request.keep} other servers of {request.backend} that take traffic before {request.server} is taken out (keep)",
            found=", ".join(others) or "none",
            todo="bring the others back first, or set keep: 0 where an outage is acceptable",
            others=others,
        )
    return True


def observe(request: Request) -> dict[str, Server]:
    """All servers of the backend. Raises ``balancer_unreachable``, and ``balancer_failed`` for one that HAProxy does not know."""
    try:
        states = _table(ask(request.address, f"show servers state {request.backend}"), " ")
        known = {row["srv_name"]: (int(row["srv_admin_state"]), int(row["srv_uweight"])) for row in states}
        rows = _table(ask(request.address, f"show stat {request.backend} 4 -1"), ",") if known else []
        found = {
            row["svname"]: Server(*known[row["svname"]], row["status"], int(row["scur"] or 0) + int(row["qcur"] or 0))
            for row in rows
            if row["svname"] in known
        }
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise _unreachable(request.address, f"an answer of something else: {error}") from error
    if request.server not in found:
        raise VenomError(
            "balancer_failed",
            wanted=f"the server {request.server} in the backend {request.backend} of HAProxy",
            found=f"the servers {', '.join(sorted(found))}" if found else "no such backend",
            todo="correct the names, or add the server to HAProxy's configuration",
        )
    return found


def _table(answer: str, delimiter: str) -> list[dict[str, str]]:
    """Rows below the line that begins with '# ' and names the columns; empty where there is none."""
    lines = answer.splitlines()
    while lines and not lines[0].startswith("# "):
        lines.pop(0)
    return list(csv.DictReader([lines[0][2:], *filter(None, lines[1:])], delimiter=delimiter)) if lines else []


def _set(request: Request) -> None:
    word = {"drained": "drain", "ready": "ready"}[request.state]
    answer = ask(request.address, f"set server {request.backend}/{request.server} state {word}").strip()
    if answer:
        raise VenomError(
            "balancer_failed",
            wanted=f"{request.backend}/{request.server} in the state {word}",
            found=" ".join(answer.split())[:200],
            todo="give the socket 'level admin' in HAProxy's configuration, or correct the names",
        )


def _wait(request: Request) -> None:
    """Until nothing runs on a drained server any more, or until the health check has found a ready one. Raises ``balancer_timeout`` when that
    takes too long, ``balancer_failed`` when somebody else changes the server meanwhile."""
    seen: list[Server] = []

    def probe() -> str:
        seen[:] = [observe(request)[request.server]]
        if request.state == "drained":
            return ("busy" if seen[0].sessions else "drained") if seen[0].is_out else "ready"
        return ("up" if seen[0].is_up else "down") if not seen[0].is_out else seen[0].state

    try:
        wait_for(probe, ("drained" if request.state == "drained" else "up",), ("busy", "down"), request.timeout, _INTERVAL)
    except WaitTimeout as error:
        raise VenomError(
            "balancer_timeout",
            wanted=(
                f"no request on {request.backend}/{request.server} within {request.timeout:g} s"
                if request.state == "drained"
                else f"{request.backend}/{request.server} up within {request.timeout:g} s, as the health check of HAProxy sees it"
            ),
            found=f"{seen[0].sessions} requests" if request.state == "drained" else f"the status {seen[0].status}",
            todo=(
                "let them end and run again, or wait longer"
                if request.state == "drained"
                else "compare address, port and health check in HAProxy's configuration with the server"
            ),
            status=seen[0].status,
            sessions=seen[0].sessions,
        ) from error
    except WaitFailed as error:
        if request.state == "ready" and not seen[0].admin & _OUT:
            # This module never takes a weight away, so it does not give one back.
            raise VenomError(
                "balancer_failed",
                wanted=f"{request.backend}/{request.server} to get requests",
                found="its weight is 0",
                todo=f"give it one on the socket of HAProxy (set server {request.backend}/{request.server} weight 100%), or leave it out",
            ) from error
        raise VenomError(
            "balancer_failed",
            wanted=f"{request.backend}/{request.server} to stay {request.state}",
            found=f"it became {error.state} while it was waited for",
            todo="see who else changes it; a reload of HAProxy forgets what its socket was told",
        ) from error


def ask(address: str, command: str, timeout: float = _ASK_TIMEOUT) -> str:
    """The answer to one command. ``address`` is the path of a Unix socket, or a loopback address with a port; ``timeout`` in seconds bounds
    all of it. Raises ``balancer_unreachable``, and ``invalid_option`` for an address of another host."""
    deadline = time.monotonic() + timeout
    family, where = _parse(address)
    content = bytearray()
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(where)
            connection.sendall(command.encode("ascii") + b"\n")
            while len(content) <= _ANSWER_BYTES:
                # The timeout of a socket begins anew with every byte.
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                block = connection.recv(65536)
                if not block:
                    return content.decode("utf-8", "replace")
                content += block
    except OSError as error:
        raise _unreachable(address, str(error) or type(error).__name__) from error
    raise _unreachable(address, f"an answer of more than {_ANSWER_BYTES} bytes")


def _parse(address: str) -> tuple[socket.AddressFamily, t.Any]:
    if address.startswith("/"):
        return socket.AF_UNIX, address
    host, dummy, port = address.rpartition(":")
    try:
        ip = ipaddress.ip_address(host.strip("[]"))
        if ip.is_loopback and 0 < int(port) < 65536:
            return (socket.AF_INET6 if ip.version == 6 else socket.AF_INET), (str(ip), int(port))
    except ValueError:
        pass
    raise VenomError(
        "invalid_option",
        wanted="socket as the path of a Unix socket, or a loopback address with a port: whoever reaches it controls HAProxy",
        found=ascii(address),
        todo="correct it, and run the module on the host of HAProxy",
    )


def _unreachable(address: str, found: str) -> VenomError:
    return VenomError(
        "balancer_unreachable",
        wanted=f"an answer of HAProxy on {address}",
        found=found,
        todo="see that HAProxy runs and has 'stats socket' with 'level admin' there",
    )
