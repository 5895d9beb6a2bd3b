# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One bounded HTTP request to a local server: no proxy, no redirect, a deadline over the whole answer, a limit on its size."""
from __future__ import annotations

import http.client
import io
import json
import socket
import time
import typing as t
from dataclasses import dataclass

#: An answer of a healthy server is far smaller; /metrics of vLLM has about 100 KiB.
MAX_ANSWER_BYTES = 4 * 1024 * 1024


class ProbeFailed(Exception):
    """No usable answer. ``kind`` is 'refused' (nobody listens), 'timeout' or 'broken' (the connection or the answer)."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(text)


@dataclass(frozen=True)
class Answer:
    """Status, body and the seconds from connecting to the last byte."""

    status: int
    body: bytes
    seconds: float

    def json(self) -> t.Any:
        """The body as JSON. Raises ``ProbeFailed``."""
        try:
            return json.loads(self.body.decode("utf-8"))
        except ValueError as error:
            raise ProbeFailed("broken", f"the answer is not JSON: {self.text(120)}") from error

    def text(self, limit: int = 300) -> str:
        """The beginning of the body as one printable line."""
        return " ".join(self.body[: limit * 4].decode("utf-8", "replace").split())[:limit]


def request(
    host: str, port: int, path: str, body: t.Any = None, headers: dict[str, str] | None = None, timeout: float = 5.0
) -> Answer:
    """GET, or POST of ``body`` as JSON; any HTTP status is an answer.

    ``timeout`` in seconds bounds the whole exchange. Raises ``ProbeFailed``.
    """
    started = time.monotonic()
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    sent = dict(headers or {}, Connection="close")
    data = None
    if body is not None:
        data = json.dumps(body).encode("utf-8")
        sent["Content-Type"] = "application/json"
    connection.response_class = lambda sock, **options: _Response(sock, started + timeout, **options)  # type: ignore[assignment]
    try:
        connection.connect()
        connection.sock.settimeout(_left(started + timeout))
        connection.request("GET" if data is None else "POST", path, body=data, headers=sent)
        with connection.getresponse() as answer:
            return Answer(answer.status, _read(answer), time.monotonic() - started)
    except (socket.timeout, TimeoutError) as error:
        raise ProbeFailed("timeout", f"no complete answer from http://{host}:{port}{path} within {timeout:g} s") from error
    except ConnectionRefusedError as error:
        raise ProbeFailed("refused", f"nobody listens on {host}:{port}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ProbeFailed("broken", f"http://{host}:{port}{path}: {type(error).__name__}: {error}") from error
    finally:
        connection.close()


class _Bounded(io.RawIOBase):
    """What a socket receives until the deadline. Its timeout alone restarts with every byte, and a server that trickles would hold us for ever."""

    def __init__(self, sock: socket.socket, received: io.RawIOBase, deadline: float) -> None:
        self._sock = sock
        self._received = received
        self._deadline = deadline

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def readinto(self, buffer: t.Any) -> int | None:
        """The next bytes, waited for as long as there is time. Raises ``TimeoutError``."""
        self._sock.settimeout(_left(self._deadline))
        return self._received.readinto(buffer)

    def close(self) -> None:
        """Let go of the socket too."""
        self._received.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer whose head and body come before the deadline, or not at all."""

    def __init__(self, sock: socket.socket, deadline: float, **options: t.Any) -> None:
        super().__init__(sock, **options)
        self.fp = io.BufferedReader(_Bounded(sock, self.fp.detach(), deadline))


def _left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _read(answer: http.client.HTTPResponse) -> bytes:
    content = bytearray()
    while True:
        chunk = answer.read1(65536)
        if not chunk:
            return bytes(content)
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise ProbeFailed("broken", f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
