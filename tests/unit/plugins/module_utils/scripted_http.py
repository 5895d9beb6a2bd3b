# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP server that says byte for byte what a test wants: each request is handed to the next speaker of its route."""
from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
import typing as t
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> t.Any:
        return json.loads(self.body)


class Line:
    """The connection as a speaker sees it. ``is_gone`` is true when the client has hung up."""

    def __init__(self, connection: socket.socket, stop: threading.Event) -> None:
        self._connection = connection
        self._stop = stop

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def start_stream(self, status: str = "200 OK", kind: str = "application/x-ndjson") -> None:
        self.send(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())

    def say(self, *objects: t.Any) -> None:
        """One chunk with a line for each object."""
        data = b"".join(json.dumps(item, separators=(",", ":")).encode() + b"\n" for item in objects)
        self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def end_stream(self) -> None:
        self.send(b"0\r\n\r\n")

    def wait_for_hang_up(self, seconds: float = 20.0) -> bool:
        """Until the client has closed; False when it did not, or the test is over."""
        self._connection.settimeout(0.05)
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stop.is_set():
            with contextlib.suppress(socket.timeout, TimeoutError):
                if not self._connection.recv(1):
                    return True
        return False


Speaker = t.Callable[[Line], object]


def reply(status: int, body: t.Any = b"", kind: str | None = "application/json; charset=utf-8") -> Speaker:
    """A whole answer; what is neither bytes nor text is sent as JSON."""
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\nConnection: close\r\n" + (f"Content-Type: {kind}\r\n" if kind and data else "")
    return lambda line: line.send(head.encode() + b"\r\n" + data)


def stream(*objects: t.Any, is_cut: bool = False) -> Speaker:
    """A chunked answer of JSON lines, with its final chunk or without."""

    def speak(line: Line) -> None:
        line.start_stream()
        for item in objects:
            line.say(item)
        if not is_cut:
            line.end_stream()

    return speak


class ScriptedHttp:
    """The server. ``on(method, path, *speakers)``: each request takes the next speaker, the last one stays."""

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self._tls = tls
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._speakers: dict[tuple[str, str], list[Speaker]] = {}
        self.requests: list[Request] = []
        self.port = int(self._listener.getsockname()[1])
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{shown}:{self.port}"

    def on(self, method: str, path: str, *speakers: Speaker) -> None:
        self._speakers[(method, path)] = list(speakers)

    def paths(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.requests]

    def __enter__(self) -> ScriptedHttp:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *dummy: object) -> None:
        self._stop.set()
        # A thread that waits in accept() is woken by shutdown(), not by close().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection:
            talk = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with talk:
                request = _read(talk)
                with self._lock:
                    self.requests.append(request)
                    waiting = self._speakers.get((request.method, request.path)) or [reply(404, "404 page not found", "text/plain")]
                    speaker = waiting.pop(0) if len(waiting) > 1 else waiting[0]
                speaker(Line(talk, self._stop))


def _read(connection: socket.socket) -> Request:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        data += more
        if not more or not data[:1].isupper():
            # The client has left, or speaks TLS.
            raise ValueError("no request")
    head, dummy, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, dummy_colon, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    method, path, dummy_version = first.split(" ")
    return Request(method, path, headers, body)
