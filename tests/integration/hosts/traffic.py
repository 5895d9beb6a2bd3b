# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of a service that ask without a pause and keep every answer, and a HAProxy as docs/rolling.md has it."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
import typing as t
from dataclasses import dataclass

from operators import ROOT

from lab.hosts import Lab

#: Where clients ask: ``bind`` of the configuration.
PORT = 8080
SOCKET = "/run/haproxy/admin.sock"
_BLOCK = re.compile(r"^```haproxy\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SERVER = re.compile(r"^    server \S+ \S+:(\d+)\n", re.MULTILINE)
_ASK = (
    "import socket,sys;s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);s.sendall(sys.argv[2].encode()+b'\\n');"
    "print(b''.join(iter(lambda:s.recv(65536),b'')).decode())"
)


@dataclass(frozen=True)
class HAProxy:
    """On a host that has its package."""

    lab: Lab
    host: str

    def start(self, servers: t.Mapping[str, str]) -> None:
        """With the configuration of the manual; ``servers`` are names and addresses."""
        manual = (ROOT / "docs/rolling.md").read_text(encoding="utf-8")
        found = _BLOCK.search(manual)
        assert found is not None
        lines, ports = found.group(1), set(_SERVER.findall(found.group(1)))
        assert len(ports) == 1
        config = _SERVER.sub("", lines) + "".join(f"    server {name} {address}:{min(ports)}\n" for name, address in servers.items())
        self.lab.run(self.host, ["sh", "-c", "cat > /etc/haproxy/haproxy.cfg && haproxy -c -q -f /etc/haproxy/haproxy.cfg"], stdin=config)
        self.lab.run(self.host, ["systemctl", "restart", "haproxy"])

    def tell(self, command: str) -> str:
        """The answer of its runtime socket."""
        return self.lab.run(self.host, ["python3", "-c", _ASK, SOCKET, command]).stdout

    def statuses(self) -> dict[str, str]:
        """Server name to status, as its page of statistics says."""
        rows = [line.split(",") for line in self.tell("show stat venom 4 -1").splitlines() if line.startswith("venom,")]
        return {row[1]: row[17] for row in rows}


@dataclass(frozen=True)
class Answer:
    """One request: when it began and ended on the monotonic clock, the text of the answer, or why there was none."""

    began: float
    ended: float
    text: str
    failure: str


class Traffic:
    """As a context manager: ``short`` clients that ask one question after the other, and ``long`` ones whose answers take ``seconds``.

    They wait a little between two questions, and never retry.
    """

    def __init__(self, address: str, model: str, short: int = 2, long: int = 3, seconds: float = 2.0) -> None:
        self._address, self._model, self._seconds = address, model, seconds
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        kinds = [0.05] * short + [seconds] * long
        self._threads = [threading.Thread(target=self._ask_on, args=(kind,), daemon=True) for kind in kinds]
        self.answers: list[Answer] = []

    def _ask_on(self, seconds: float) -> None:
        while not self._stopped.wait(0.1):
            began = time.monotonic()
            text, failure = self._ask(seconds)
            with self._lock:
                self.answers.append(Answer(began, time.monotonic(), text, failure))

    def _ask(self, seconds: float) -> tuple[str, str]:
        connection = http.client.HTTPConnection(self._address, PORT, timeout=60)
        try:
            body = {"model": self._model, "messages": [{"role": "user", "content": "Who are you?"}], "seconds": seconds}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                return "", f"{answer.status} {content[:200]!r}"
            return str(json.loads(content)["choices"][0]["message"]["content"]), ""
        except (OSError, http.client.HTTPException, ValueError) as error:
            return "", repr(error)
        finally:
            connection.close()

    @property
    def failures(self) -> list[str]:
        """What failed, until now."""
        return [answer.failure for answer in self.answers if answer.failure]

    def texts(self, since: float = 0.0) -> dict[str, int]:
        """How often each text came, of requests that began after that."""
        counted: dict[str, int] = {}
        for answer in list(self.answers):
            if not answer.failure and answer.began >= since:
                counted[answer.text] = counted.get(answer.text, 0) + 1
        return counted

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *dummy: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(90)
