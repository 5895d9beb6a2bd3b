# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP on the server's side: exact headers, chunked lines, and knowing that a client has left."""
from __future__ import annotations

import select
import socket
import socketserver
import sys
import traceback
import typing as t
from http.server import BaseHTTPRequestHandler

from lab.ollama import gojson
from lab.ollama.errors import GoError

JSON = "application/json; charset=utf-8"
PLAIN_JSON = "application/json"
NDJSON = "application/x-ndjson"
TEXT = "text/plain; charset=utf-8"
#: Longer bodies are chunked, as Go's buffer has it.
BUFFER = 2048


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens from the start; answers once serve_forever() runs."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[Handler], server: t.Any) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.app = server
        super().__init__(address, handler)

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """Clients go away; that is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


class Stream:
    """A chunked answer of lines; close() ends it, cut() does not."""

    def __init__(self, handler: Handler, content_type: str, status: int = 200, headers: t.Mapping[str, str] | None = None) -> None:
        self._handler = handler
        self._head: tuple[int, dict[str, str]] | None = (status, {"Content-Type": content_type, **(headers or {})})

    def text(self, text: str) -> None:
        """Send one chunk, the headers before the first."""
        if self._head is not None:
            status, headers = self._head
            self._handler.head(status, {**headers, "Transfer-Encoding": "chunked"})
            self._head = None
        data = text.encode()
        self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def line(self, value: t.Any) -> None:
        """Send a JSON line."""
        self.text(gojson.dumps(value) + "\n")

    def close(self) -> None:
        """The final chunk."""
        self._handler.wfile.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Close the connection in the middle of the answer."""
        self._handler.close_connection = True


class Handler(BaseHTTPRequestHandler):
    """One connection. The application gets every request as (method, path) and answers with these methods."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def __getattr__(self, name: str) -> t.Any:
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def _handle(self) -> None:
        self.extra: dict[str, str] = {}
        self._read = False
        self.server.app.handle(self)
        if not self._read:
            self._drain()

    def body(self) -> bytes:
        """The whole body, chunked or not."""
        self._read = True
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            found = b""
            while True:
                size = int(self.rfile.readline().split(b";")[0] or b"0", 16)
                found += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return found
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _drain(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > 1 << 20 or "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            self.close_connection = True
        elif length:
            self.rfile.read(length)

    def data(self) -> dict[str, t.Any]:
        """The body as a JSON object; Refused in Go's words."""
        body = self.body()
        if not body:
            raise Refused(400, "missing request body")
        try:
            value = gojson.loads(body.decode("utf-8", "replace"))
        except GoError as exc:
            raise Refused(400, "missing request body" if exc.text == "EOF" else exc.text) from None
        if not isinstance(value, dict):
            raise Refused(400, f"json: cannot unmarshal {gojson.kind(value)} into Go value of type api.Request")
        return value

    def head(self, status: int, headers: t.Mapping[str, str]) -> None:
        """Status and headers, without the name of a Python server."""
        self.send_response_only(status)
        for name, value in {**self.extra, **headers}.items():
            self.send_header(name, value)
        self.send_header("Date", self.date_time_string())
        self.end_headers()

    def send(self, status: int, text: str, content_type: str | None, headers: t.Mapping[str, str] | None = None) -> None:
        """A whole answer."""
        data = text.encode()
        sent = {"Content-Type": content_type} if content_type else {}
        sent.update(headers or {})
        if len(data) > BUFFER:
            self.head(status, {**sent, "Transfer-Encoding": "chunked"})
            if self.command != "HEAD":
                self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))
            return
        if not (self.command == "HEAD" and not data):
            sent["Content-Length"] = str(len(data))
        self.head(status, sent)
        if self.command != "HEAD":
            self.wfile.write(data)

    def json(self, value: t.Any, status: int = 200, content_type: str = JSON, end: str = "") -> None:
        """A JSON answer."""
        self.send(status, gojson.dumps(value) + end, content_type)

    def gone(self) -> bool:
        """The client has closed the connection."""
        try:
            ready = select.select([self.connection], [], [], 0)[0]
            return bool(ready) and self.connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002
        """The log is the application's."""
