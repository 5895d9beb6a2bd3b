# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bounded request and the stream, against servers that refuse, hang, trickle, flood, redirect and break off."""
from __future__ import annotations

import socket
import threading
import time
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.http_probe import ProbeFailed
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_http import Exchange, ServerUrl, ask
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.scripted_http import Line, ScriptedHttp, Speaker, reply


@pytest.fixture()
def server() -> t.Iterator[ScriptedHttp]:
    with ScriptedHttp() as scripted:
        yield scripted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("http://127.0.0.1:11434/", "http://127.0.0.1:11434"),
        ("https://llm.example/ollama/", "https://llm.example:443/ollama"),
        ("http://llm.example", "http://llm.example:80"),
        ("http://[::1]:11434", "http://[::1]:11434"),
        ("localhost", "http://localhost:11434"),
        ("10.0.0.7:8080", "http://10.0.0.7:8080"),
    ],
)
def test_urls(text: str, shown: str) -> None:
    assert str(ServerUrl.parse(text)) == shown


@pytest.mark.parametrize(
    "text", ["", "ftp://x", "http://", "http://a b", "http://x:99999", "http://x/?q=1", "http://x/#a", "http://x/a\r\nB: c", "http://[::1", "unix:///x"]
)
def test_urls_that_are_none(text: str) -> None:
    with pytest.raises(VenomError) as caught:
        ServerUrl.parse(text)
    assert caught.value.reason_code == "invalid_option"


def test_a_login_in_the_url_is_refused_and_not_shown() -> None:
    with pytest.raises(VenomError) as caught:
        ServerUrl.parse("http://me:hush@llm.example")
    assert caught.value.reason_code == "invalid_option" and "hush" not in str(caught.value)


def test_the_whole_of_a_request(server: ScriptedHttp) -> None:
    server.on("DELETE", "/below/api/delete", reply(200))
    answer = ask(ServerUrl.parse(f"{server.url}/below/"), "DELETE", "/api/delete", {"model": "tiny"})
    assert (answer.status, answer.body) == (200, b"")
    (request,) = server.requests
    assert request.json() == {"model": "tiny"}
    assert request.headers["host"] == f"127.0.0.1:{server.port}" and request.headers["content-type"] == "application/json"


def test_a_server_at_an_ipv6_address() -> None:
    with ScriptedHttp("::1") as scripted:
        scripted.on("GET", "/", reply(200, "Ollama is running"))
        assert ask(ServerUrl.parse(scripted.url), "GET", "/").text() == "Ollama is running"
        assert scripted.requests[0].headers["host"] == f"[::1]:{scripted.port}"


def kind_of(server: ScriptedHttp, speaker: Speaker, timeout: float = 10.0) -> str:
    server.on("GET", "/", speaker)
    with pytest.raises(ProbeFailed) as caught:
        ask(ServerUrl.parse(server.url), "GET", "/", timeout=timeout)
    return caught.value.kind


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ProbeFailed) as caught:
        ask(ServerUrl.parse(f"http://127.0.0.1:{port}"), "GET", "/")
    assert caught.value.kind == "refused"


def test_silence_is_a_timeout_and_the_line_is_closed(server: ScriptedHttp) -> None:
    left = threading.Event()

    def wait(line: Line) -> None:
        if line.wait_for_hang_up():
            left.set()

    assert kind_of(server, wait, timeout=0.2) == "timeout"
    assert left.wait(20)


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n"])
def test_a_trickle_does_not_hold_us_wherever_it_trickles(server: ScriptedHttp, beginning: bytes) -> None:
    def trickle(line: Line) -> None:
        line.send(beginning)
        while True:
            line.send(b"H")
            time.sleep(0.02)

    assert kind_of(server, trickle, timeout=0.4) == "timeout"


def test_a_flood_is_cut(server: ScriptedHttp) -> None:
    def flood(line: Line) -> None:
        line.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            line.send(b"." * 1_000_000)

    assert kind_of(server, flood) == "broken"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_broken(server: ScriptedHttp, data: bytes) -> None:
    assert kind_of(server, lambda line: line.send(data)) == "broken"


def test_redirects_and_proxies_are_not_followed(server: ScriptedHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.on("GET", "/", lambda line: line.send(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"))
    assert ask(ServerUrl.parse(server.url), "GET", "/").status == 302


def test_a_server_without_the_tls_that_was_asked_for(server: ScriptedHttp) -> None:
    with pytest.raises(ProbeFailed) as caught:
        ask(ServerUrl.parse(server.url.replace("http://", "https://")), "GET", "/")
    assert caught.value.kind == "broken" and "SSL" in str(caught.value)


def test_a_stream_gives_what_is_there_and_ends_when_it_is_closed(server: ScriptedHttp) -> None:
    left = threading.Event()

    def speak(line: Line) -> None:
        line.start_stream()
        line.say({"a": 1})
        if line.wait_for_hang_up():
            left.set()

    server.on("POST", "/", speak)
    exchange = Exchange(ServerUrl.parse(server.url), "POST", "/", {}, 5.0)
    assert exchange.status(20) == 200
    assert exchange.chunk(20) == b'{"a":1}\n'
    assert exchange.chunk(0.05) is None
    exchange.close()
    assert left.wait(20)


def test_a_server_that_floods_has_to_wait_for_a_slow_reader(server: ScriptedHttp) -> None:
    sent = [0]

    def flood(line: Line) -> None:
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        while True:
            line.send(b"." * 1_000_000)
            sent[0] += 1

    server.on("GET", "/", flood)
    exchange = Exchange(ServerUrl.parse(server.url), "GET", "/", None, 5.0)
    assert exchange.status(20) == 200
    before = -1
    while sent[0] != before:
        before = sent[0]
        time.sleep(0.3)
    exchange.close()
    assert sent[0] < 100
