# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection: read requests, find answers, play faults, keep the log."""
from __future__ import annotations

import time
import traceback
import typing as t
from http.server import BaseHTTPRequestHandler

from lab.hub import api, body, content, control
from lab.hub.faults import Fault
from lab.hub.log import LogEntry
from lab.hub.wire import Answer, HubError, Request, error

if t.TYPE_CHECKING:
    from lab.hub.server import Hub, Server

#: Seconds that a connection may idle between two requests.
IDLE = 120
_LARGEST_BODY = 10_000_000


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with keep-alive."""

    protocol_version = "HTTP/1.1"
    server_version = "lab-hub"
    sys_version = ""
    timeout = IDLE
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *dummy: t.Any) -> None:
        """Stay silent; the request log has everything."""

    def do_GET(self) -> None:
        """Answer any method the same way."""
        hub = self.server.hub
        lab = self.path.startswith("/_lab")
        moment = time.time()
        headers = dict(self.headers.items())
        path, dummy, query = self.path.partition("?")
        if lab:
            entry = LogEntry(0, moment, self.server.name, self.command, path)
        else:
            entry = hub.log.begin(self.server.name, self.command, path, query.partition("X-Lab-Signature")[0], headers, moment)
        try:
            self._serve(hub, entry, lab)
        except body.Cut as cut:
            self.close_connection = True
            if cut.reset:
                self.server.reset(self.connection)
        except OSError:
            self.close_connection = True
        finally:
            if not lab:
                hub.log.end(entry, time.time())

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_GET

    def _serve(self, hub: Hub, entry: LogEntry, lab: bool) -> None:
        text = self.headers.get("Content-Length") or "0"
        length = int(text) if text.isdigit() else _LARGEST_BODY + 1
        if length > _LARGEST_BODY or "Transfer-Encoding" in self.headers:
            self._send(error(411 if length == 0 else 413, "send a Content-Length, below 10 MB"), [], entry, hub)
            raise body.Cut(False)
        data = self.rfile.read(length)
        request = Request(self.server.name, self.command, self.path, self.headers, data, entry, self._base_url())
        entry.path = request.path
        if lab:
            self._send(self._route(hub, request), [], entry, hub)
            return
        for hang in hub.faults.take_all(request, "hang", fits=lambda fault: fault.when == "headers"):
            hub.stopping.wait(hang.seconds)
        if hub.stopping.is_set():
            raise body.Cut(False)
        early = hub.faults.take(request, "status", "gated", "redirect")
        answer = self._early(early, request) if early else self._route(hub, request)
        faults = hub.faults.take_all(request, *body.BODY_KINDS, fits=body.fits(answer, self.command))
        self._send(answer, faults, entry, hub)

    def _base_url(self) -> str:
        host = self.headers.get("Host") or "{}:{}".format(*self.server.server_address[:2])
        return f"{self.server.scheme}://{host}"

    def _early(self, fault: Fault, request: Request) -> Answer:
        if fault.kind == "gated":
            return error(403, "Access to this model is restricted and you are not in the authorized list.", "GatedRepo")
        if fault.kind == "redirect":
            return Answer(302, {"Location": fault.location.replace("{path}", request.path)})
        if fault.status < 300:
            answer = Answer(fault.status, {"Content-Type": "text/html"}, fault.message.encode())
        else:
            answer = error(fault.status, fault.message, fault.error_code)
        if fault.retry_after is not None:
            answer.headers["Retry-After"] = str(fault.retry_after)
        return answer

    def _route(self, hub: Hub, request: Request) -> Answer:
        parts = request.segments
        try:
            if parts[0] == "_lab":
                return control.answer(hub, request)
            if parts[0] == "lfs" and len(parts) > 3 and request.method in ("GET", "HEAD"):
                return content.lfs(hub, request)
            if self.server.name == "hub":
                if parts[:2] == ("api", "resolve-cache") and len(parts) > 6 and request.method in ("GET", "HEAD"):
                    return content.cached(hub, request)
                if parts[0] == "api":
                    return api.answer(hub, request)
                if len(parts) > 3 and "resolve" in parts[1:3] and request.method in ("GET", "HEAD"):
                    return content.resolve(hub, request)
            return error(404, "Sorry, we can't find the page you are looking for.")
        except HubError as known:
            return known.answer
        except Exception:
            hub.errors.append(traceback.format_exc())
            return error(500, "the lab's hub itself failed; see its errors")

    def _send(self, answer: Answer, faults: list[Fault], entry: LogEntry, hub: Hub) -> None:
        entry.status = answer.status
        delta = sum(fault.delta for fault in faults if fault.kind == "length")
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name.replace("_", "-"), value.encode("unicode_escape").decode("ascii"))
        if answer.status != 304:
            self.send_header("Content-Length", str(answer.length + delta))
        if answer.close or delta:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and answer.status != 304:
            body.send(self.wfile.write, answer, faults, entry, hub.stopping)
        if answer.close or delta:
            self.close_connection = True
