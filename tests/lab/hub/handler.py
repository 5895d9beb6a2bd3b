# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection: read requests, find answers, play faults, keep the log."""
from __future__ import annotations

import time
import traceback
import typing as t
from http.server import BaseHTTPRequestHandler

from lab.hub import body, control
from lab.hub.faults import Fault
from lab.hub.log import LogEntry
from lab.hub.wire import Answer, Refusal, Request

if t.TYPE_CHECKING:
    from lab.hub.site import Server, Site

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
        site = self.server.site
        lab = self.path.startswith("/_lab")
        moment = time.time()
        headers = dict(self.headers.items())
        path, dummy, query = self.path.partition("?")
        if lab:
            entry = LogEntry(0, moment, self.server.name, self.command, path)
        else:
            entry = site.log.begin(self.server.name, self.command, path, query.partition("X-Lab-Signature")[0], headers, moment)
        try:
            self._serve(site, entry, lab)
        except body.Cut as cut:
            self.close_connection = True
            if cut.reset:
                self.server.reset(self.connection)
        except OSError:
            self.close_connection = True
        finally:
            if not lab:
                site.log.end(entry, time.time())

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_GET

    def _serve(self, site: Site, entry: LogEntry, lab: bool) -> None:
        text = self.headers.get("Content-Length") or "0"
        length = int(text) if text.isdigit() else _LARGEST_BODY + 1
        fits = length <= _LARGEST_BODY and "Transfer-Encoding" not in self.headers
        data = self.rfile.read(length) if fits else b""
        request = Request(self.server.name, self.command, self.path, self.headers, data, entry, self._base_url())
        entry.path = request.path
        if not fits:
            self._send(site.refuse(request, 411 if length == 0 else 413, "send a Content-Length, below 10 MB"), [], entry)
            raise body.Cut(False)
        if lab:
            self._send(self._route(site, request, lab), [], entry)
            return
        for hang in site.faults.take_all(request, "hang", fits=lambda fault: fault.when == "headers"):
            self.server.stopping.wait(hang.seconds)
        if self.server.stopping.is_set():
            raise body.Cut(False)
        early = site.faults.take(request, "status", "gated", "redirect", "drop")
        answer = self._early(early, site, request) if early else self._route(site, request, lab)
        faults = site.faults.take_all(request, *body.BODY_KINDS, fits=body.fits(answer, self.command, site.spoken))
        self._send(answer, faults, entry)

    def _base_url(self) -> str:
        host = self.headers.get("Host") or "{}:{}".format(*self.server.server_address[:2])
        return f"{self.server.scheme}://{host}"

    def _early(self, fault: Fault, site: Site, request: Request) -> Answer:
        if fault.kind == "drop":
            raise body.Cut(fault.how == "rst")
        if fault.kind == "gated":
            return site.refuse(request, 403, "Access to this model is restricted and you are not in the authorized list.", "GatedRepo")
        if fault.kind == "redirect":
            return Answer(302, {"Location": fault.location.replace("{path}", request.path)})
        text = fault.message if fault.body is None and fault.status < 300 else fault.body
        if text is None:
            answer = site.refuse(request, fault.status, fault.message, fault.error_code)
        else:
            html = fault.body is None or text.startswith("<")
            answer = Answer(fault.status, {"Content-Type": "text/html" if html else "text/plain"}, text.encode())
        if fault.retry_after is not None:
            answer.headers["Retry-After"] = str(fault.retry_after)
        answer.headers.update(fault.headers)
        return answer

    def _route(self, site: Site, request: Request, lab: bool) -> Answer:
        try:
            return control.answer(site, request) if lab else site.route(request)
        except Refusal as known:
            return known.answer
        except Exception:
            site.errors.append(traceback.format_exc())
            return site.refuse(request, 500, "the lab's server itself failed; see its errors")

    def _send(self, answer: Answer, faults: list[Fault], entry: LogEntry) -> None:
        entry.status = answer.status
        body.disguise(answer, faults)
        delta = sum(fault.delta for fault in faults if fault.kind == "length")
        chunked = any(fault.kind == "gzip" for fault in faults)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name.replace("_", "-"), value.encode("unicode_escape").decode("ascii"))
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif answer.status != 304:
            self.send_header("Content-Length", str(answer.length + delta))
        if answer.close or delta:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and answer.status != 304:
            plain = self.server.scheme == "http"
            write = self.wfile.write
            sink = body.GzipSink(write, entry) if chunked else body.Sink(write, entry, self.connection if plain else None)
            body.send(sink, answer, faults, self.server.stopping)
        if answer.close or delta:
            self.close_connection = True
