# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP to one Ollama server: no proxy, no redirect, answers bounded in time and size, streams that can be ended at any moment.

A thread of its own talks to the server, so that the caller's clock rules whatever the server does: trickles headers, hangs in
the middle of a line, or says nothing at all.
"""
from __future__ import annotations

import contextlib
import http.client
import json
import queue
import re
import socket
import ssl
import threading
import time
import typing as t
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.http_probe import MAX_ANSWER_BYTES, Answer, ProbeFailed

#: What Ollama itself takes for a host without scheme and port (envconfig/config.go).
DEFAULT_PORT = 11434
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"\A[A-Za-z0-9_.:-]+\Z")
_PREFIX = re.compile(r"\A[A-Za-z0-9_.~%/-]*\Z")
_CHUNK = 64 * 1024
#: Chunks that wait for the caller, thus at most 4 MiB, before the server has to wait.
_BACKLOG = 64


@dataclass(frozen=True)
class ServerUrl:
    """Where a server is. ``prefix`` is the path below which a reverse proxy has it, without a slash at its end."""

    scheme: str
    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, text: str) -> ServerUrl:
        """From ``http://host``, ``https://host:port/prefix``, ``http://[::1]:11434`` or ``host:port``. Raises ``invalid_option``."""
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            port = parts.port
        except (ValueError, TypeError):
            raise _bad_url(text, "it is not a URL") from None
        if parts.scheme not in _PORTS:
            raise _bad_url(text, f"the scheme {ascii(parts.scheme)} is neither http nor https")
        if parts.username is not None or parts.password is not None:
            raise _bad_url("the URL", "it holds a login, which Ollama does not know and every message would show")
        if not parts.hostname or not _HOST.match(parts.hostname) or parts.query or parts.fragment or not _PREFIX.match(parts.path):
            raise _bad_url(text, "it is not scheme://host:port/path")
        default = _PORTS[parts.scheme] if "://" in text else DEFAULT_PORT
        return cls(parts.scheme, parts.hostname, default if port is None else port, parts.path.rstrip("/"))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"


def _bad_url(text: object, why: str) -> VenomError:
    return VenomError("invalid_option", wanted="the URL of an Ollama server", found=f"{ascii(text)}: {why}", todo="correct ollama_url")


class Exchange:
    """One request and its answer. Whoever makes one calls ``close``, which ends the request at once wherever it stands."""

    def __init__(self, url: ServerUrl, method: str, path: str, body: t.Any, connect_timeout: float, ca_path: str | None = None) -> None:
        self._url = url
        self._request = (method, f"{url.prefix}{path}", None if body is None else json.dumps(body).encode("utf-8"))
        self._connect_timeout = connect_timeout
        self._ca_path = ca_path
        self._events: queue.Queue[int | bytes | ProbeFailed] = queue.Queue(_BACKLOG)
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_closed = False
        threading.Thread(target=self._run, name="ollama-http", daemon=True).start()

    def status(self, timeout: float) -> int | None:
        """The HTTP status, None when it has not come within ``timeout`` seconds. Raises ``ProbeFailed``."""
        return t.cast("int | None", self._next(timeout))

    def chunk(self, timeout: float) -> bytes | None:
        """The next bytes of the body, empty at its proper end, None when nothing has come within ``timeout`` seconds.

        Raises ``ProbeFailed``, also for a body that stops before its end: ``http.client`` says so to ``read1``, and not to whoever
        reads line by line.
        """
        return t.cast("bytes | None", self._next(timeout))

    def close(self) -> None:
        """End the connection. The server sees it, and stops what it does for this request."""
        with self._lock:
            self._is_closed = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # Not the method of a TLS socket, which would take its state away from the thread that reads.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _next(self, timeout: float) -> int | bytes | None:
        try:
            event = self._events.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None
        if isinstance(event, ProbeFailed):
            raise event
        return event

    def _put(self, event: int | bytes | ProbeFailed) -> bool:
        while not self._is_closed:
            with contextlib.suppress(queue.Full):
                self._events.put(event, timeout=0.2)
                return True
        return False

    def _run(self) -> None:
        url = self._url
        try:
            connection = self._connect()
        except (socket.timeout, TimeoutError):
            self._put(ProbeFailed("timeout", f"no connection to {url} within {self._connect_timeout:g} s"))
            return
        except ConnectionRefusedError:
            self._put(ProbeFailed("refused", f"nobody listens on {url}"))
            return
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._put(ProbeFailed("broken", f"{url}: {type(error).__name__}: {error}"))
            return
        try:
            self._converse(connection)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._put(ProbeFailed("broken", f"{url}: {type(error).__name__}: {error}"))
        finally:
            with self._lock:
                self._socket = None
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._url.scheme == "https":
            context = ssl.create_default_context(cafile=self._ca_path)
            connection = http.client.HTTPSConnection(self._url.host, self._url.port, timeout=self._connect_timeout, context=context)
        else:
            connection = http.client.HTTPConnection(self._url.host, self._url.port, timeout=self._connect_timeout)
        connection.connect()
        with self._lock:
            if self._is_closed:
                connection.close()
                raise OSError("the request was given up")
            # Kept here, because http.client forgets its socket once the head of an answer has come.
            self._socket = connection.sock
            connection.sock.settimeout(None)
        return connection

    def _converse(self, connection: http.client.HTTPConnection) -> None:
        method, path, data = self._request
        headers = {"Connection": "close", "Accept": "application/json, application/x-ndjson"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, body=data, headers=headers)
        with connection.getresponse() as answer:
            wanted = self._put(answer.status)
            while wanted:
                chunk = answer.read1(_CHUNK)
                if not chunk and answer.length:
                    raise http.client.IncompleteRead(b"", answer.length)
                wanted = self._put(chunk) and bool(chunk)


def ask(
    url: ServerUrl, method: str, path: str, body: t.Any = None, timeout: float = 10.0, ca_path: str | None = None
) -> Answer:
    """One exchange with an answer of bounded size, ``timeout`` seconds for all of it; any status is an answer. Raises ``ProbeFailed``."""
    started = time.monotonic()
    exchange = Exchange(url, method, path, body, timeout, ca_path)
    try:
        status = exchange.status(timeout)
        if status is None:
            raise ProbeFailed("timeout", f"no answer from {url}{path} within {timeout:g} s")
        content = bytearray()
        while True:
            chunk = exchange.chunk(started + timeout - time.monotonic())
            if chunk is None:
                raise ProbeFailed("timeout", f"no complete answer from {url}{path} within {timeout:g} s")
            if not chunk:
                return Answer(status, bytes(content), time.monotonic() - started)
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise ProbeFailed("broken", f"{url}{path}: the answer is larger than {MAX_ANSWER_BYTES} bytes")
            if time.monotonic() - started >= timeout:
                raise ProbeFailed("timeout", f"no complete answer from {url}{path} within {timeout:g} s")
    finally:
        exchange.close()
