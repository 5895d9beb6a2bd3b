# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bounded request, against servers that refuse, hang, trickle, flood, redirect and talk nonsense."""
from __future__ import annotations

import socket
import threading
import time
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils import http_probe

Speak = t.Callable[[socket.socket], None]


@pytest.fixture()
def serve() -> t.Iterator[t.Callable[[Speak], int]]:
    listeners: list[socket.socket] = []

    def start(speak: Speak) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            try:
                connection = listener.accept()[0]
                with connection:
                    connection.recv(65536)
                    speak(connection)
            except OSError:
                return

        threading.Thread(target=run, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.close()


def kind_of(port: int, timeout: float = 5.0) -> str:
    with pytest.raises(http_probe.ProbeFailed) as caught:
        http_probe.request("127.0.0.1", port, "/", timeout=timeout)
    return caught.value.kind


def test_any_status_is_an_answer(serve: t.Callable[[Speak], int]) -> None:
    port = serve(lambda connection: connection.sendall(b'HTTP/1.1 503 No\r\nContent-Length: 11\r\n\r\n{"a": true}'))
    answer = http_probe.request("127.0.0.1", port, "/")
    assert answer.status == 503 and answer.json() == {"a": True} and answer.text() == '{"a": true}'


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert kind_of(port) == "refused"


def test_silence_is_a_timeout(serve: t.Callable[[Speak], int]) -> None:
    done = threading.Event()
    assert kind_of(serve(lambda connection: t.cast(None, done.wait(20))), timeout=0.2) == "timeout"
    done.set()


def test_a_trickle_does_not_hold_us(serve: t.Callable[[Speak], int]) -> None:
    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            connection.sendall(b".")
            time.sleep(0.05)

    assert kind_of(serve(trickle), timeout=0.4) == "timeout"


@pytest.mark.parametrize("end", [b"", b"Connection: close\r\n"])
def test_a_trickled_head_does_not_hold_us_either(serve: t.Callable[[Speak], int], end: bytes) -> None:
    """Each of its bytes comes in time, and its end when we have long gone."""
    ended = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + end)
        for dummy in range(400):
            connection.sendall(b"X")
            time.sleep(0.05)
        ended.set()

    assert kind_of(serve(trickle), timeout=0.4) == "timeout" and not ended.is_set()


def test_a_body_after_which_the_server_closes_is_read_to_its_end(serve: t.Callable[[Speak], int]) -> None:
    port = serve(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"." * 300_000))
    assert len(http_probe.request("127.0.0.1", port, "/").body) == 300_000


def test_a_flood_is_cut(serve: t.Callable[[Speak], int]) -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"." * 1_000_000)

    assert kind_of(serve(flood)) == "broken"


@pytest.mark.parametrize("said", [b"", b"no http at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"])
def test_nonsense_is_broken(serve: t.Callable[[Speak], int], said: bytes) -> None:
    port = serve(lambda connection: connection.sendall(said))
    with pytest.raises(http_probe.ProbeFailed) as caught:
        http_probe.request("127.0.0.1", port, "/").json()
    assert caught.value.kind == "broken"


def test_redirects_and_proxies_are_not_followed(serve: t.Callable[[Speak], int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    port = serve(lambda connection: connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"))
    assert http_probe.request("127.0.0.1", port, "/").status == 302
