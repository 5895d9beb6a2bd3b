# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One bounded HTTP request to a local server: no proxy, no redirect, a deadline over the whole answer, a limit on its size."""
from __future__ import annotations

import http.client
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
    try:
        connection.request("GET" if data is None else "POST", path, body=data, headers=sent)
        answer = connection.getresponse()
        content = _read(connection, answer, started + timeout)
        return Answer(answer.status, content, time.monotonic() - started)
    except (socket.timeout, TimeoutError) as error:
        raise ProbeFailed("timeout", f"no complete answer from http://{host}:{port}{path} within {timeout:g} s") from error
    except ConnectionRefusedError as error:
        raise ProbeFailed("refused", f"nobody listens on {host}:{port}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ProbeFailed("broken", f"http://{host}:{port}{path}: {type(error).__name__}: {error}") from error
    finally:
        connection.close()


def _read(connection: http.client.HTTPConnection, answer: http.client.HTTPResponse, deadline: float) -> bytes:
    # The socket timeout alone restarts with every byte, so a server that trickles would hold us for ever.
    content = bytearray()
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        if connection.sock is not None:
            connection.sock.settimeout(remaining)
        chunk = answer.read1(65536)
        if not chunk:
            return bytes(content)
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise ProbeFailed("broken", f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
