# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What servers do to a stream of bytes: lines that end in the handshake, bodies that never end, answers that are legal and rare."""
from __future__ import annotations

import contextlib
import hashlib
import queue
import time
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.sources import http
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile, TransientError
from ansible_collections.venom.llm.plugins.module_utils.sources.http import HostList, HttpClient, Part, explain_tls
from ansible_collections.venom.llm.plugins.module_utils.sources.hub import HubSource
from ansible_collections.venom.llm.plugins.module_utils.sources.ranges import RangeReader
from ansible_collections.venom.llm.plugins.module_utils.sources.registry import RegistrySource
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.scripted_http import Line, ScriptedHttp, Speaker, reply

pytest.importorskip("requests")

COMMIT = "9" * 40
#: Two tries without a wait between them.
TWICE = RetryPolicy(retries=1, base=0.0, cap=0.0)


def drip(head: str, count: int = 100) -> Speaker:
    """An answer of which a byte comes now and then, and that ends after so many."""

    def speak(line: Line) -> None:
        line.send(head.encode() + b"\r\n")
        for dummy in range(count):
            line.send(b" ")
            time.sleep(0.02)

    return speak


def redirect(headers: str, body: bytes, left: queue.Queue[bool], is_dripping: bool = False) -> Speaker:
    """A redirect to /y whose body does not end; whether the client left it."""

    def speak(line: Line) -> None:
        line.send(f"HTTP/1.1 302 Found\r\nLocation: /y\r\n{headers}\r\n".encode() + body)
        with contextlib.suppress(OSError):
            for dummy in range(500 if is_dripping else 0):
                line.send(b" ")
                time.sleep(0.02)
            left.put(not is_dripping and line.wait_for_hang_up())
            return
        left.put(True)

    return speak


ENDLESS = ("Transfer-Encoding: chunked\r\n", b"5\r\nwords\r\n")


@pytest.fixture
def server() -> t.Iterator[ScriptedHttp]:
    with ScriptedHttp() as running:
        yield running


def client(server: ScriptedHttp, url: str = "", **options: t.Any) -> HttpClient:
    return HttpClient(HostList(url or server.url), **options)


def test_a_handshake_that_is_cut_is_tried_again(server: ScriptedHttp) -> None:
    """The server reads the ClientHello and hangs up, as a balancer that restarts."""
    url = server.url.replace("http://", "https://")
    with pytest.raises(TransientError) as caught:
        client(server, url).open(f"{url}/x")
    assert caught.value.final is None
    with pytest.raises(VenomError) as given_up:
        RegistrySource(url, retry_policy=TWICE).find_manifest(ModelRef.parse("tiny", "ollama"))
    assert (given_up.value.reason_code, "2 tries" in given_up.value.found) == ("hub_unreachable", True)


@pytest.mark.parametrize(
    ("cause", "found"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006)", "not trusted"),
        ("hostname '127.0.0.1' doesn't match 'other.example'", "not trusted"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "does not speak TLS"),
        ("[X509: NO_CERTIFICATE_OR_CRL_FOUND] no certificate or crl found (_ssl.c:4149)", "ca_path"),
    ],
)
def test_what_no_try_cures_is_final(cause: str, found: str) -> None:
    error = explain_tls("https://hub.example/x?signature=secret", cause)
    assert isinstance(error, VenomError)
    assert (error.reason_code, found in error.found, "secret" in str(error)) == ("hub_unreachable", True, False)


@pytest.mark.parametrize(
    "cause", ["EOF occurred in violation of protocol (_ssl.c:1006)", "[SSL: UNEXPECTED_EOF_WHILE_READING] x", "TLS/SSL connection has been closed"]
)
def test_other_failures_of_tls_may_pass(cause: str) -> None:
    assert isinstance(explain_tls("https://hub.example/x", cause), TransientError)


def test_certificates_that_cannot_be_read_are_told_at_once(server: ScriptedHttp, tmp_path: t.Any) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    url = server.url.replace("http://", "https://")
    ca_path = str(tmp_path / "ca.pem")
    asks: list[t.Callable[[], object]] = [
        lambda: client(server, url, ca_path=ca_path).open(f"{url}/x"),
        lambda: HubSource(url, ca_path=ca_path, retry_policy=TWICE).find_commit(ModelRef.parse("a/b"), "main"),
    ]
    pytest.importorskip("huggingface_hub")
    for ask in asks:
        with pytest.raises(VenomError) as caught:
            ask()
        assert (caught.value.reason_code, "ca_path" in caught.value.found) == ("hub_unreachable", True)


def test_a_hub_whose_handshakes_are_cut_is_unreachable(server: ScriptedHttp) -> None:
    pytest.importorskip("huggingface_hub")
    source = HubSource(server.url.replace("http://", "https://"), retry_policy=TWICE)
    with pytest.raises(VenomError) as caught:
        source.find_commit(ModelRef.parse("a/b"), "main")
    assert (caught.value.reason_code, "2 tries" in caught.value.found) == ("hub_unreachable", True)


@pytest.mark.parametrize(
    ("part", "text", "expected"),
    [
        (Part(0, 5, 10), "bytes 0-4/10", True),
        (Part(0, 5, 10), "bytes 0-4/*", True),
        (Part(0, 5, 10), "BYTES 0-4/10", True),
        (Part(5, None, 10), "bytes 5-9/*", True),
        (Part(5, None, None), "bytes 5-9/10", True),
        (Part(5, None, None), "bytes 5-9/*", True),
        (Part(5, None, None), "bytes 5-8/10", False),
        (Part(0, 5, 10), "bytes 0-5/*", False),
        (Part(0, 5, 10), "bytes 1-4/*", False),
        (Part(0, 5, 10), "bytes 0-4/11", False),
        (Part(0, 5, 10), "bytes */10", False),
        (Part(0, 5, 10), "lines 0-4/10", False),
    ],
)
def test_what_a_part_may_be_told_as(part: Part, text: str, expected: bool) -> None:
    assert part.matches(text) is expected


# Bodies that do not end


def test_nobody_reads_an_endless_redirect_of_a_stream(server: ScriptedHttp) -> None:
    left: queue.Queue[bool] = queue.Queue()
    server.on("GET", "/x", redirect(*ENDLESS, left))
    server.on("GET", "/y", reply(200, b"right"))
    stream = client(server, stall_timeout=2.0).open(f"{server.url}/x", size=5)
    assert b"".join(stream) == b"right"
    assert left.get(timeout=30)


def test_nobody_reads_an_endless_redirect_of_a_small_answer(server: ScriptedHttp) -> None:
    left: queue.Queue[bool] = queue.Queue()
    server.on("GET", "/v2/library/tiny/manifests/latest", redirect(*ENDLESS, left))
    server.on("GET", "/y", reply(401))
    with pytest.raises(VenomError):
        RegistrySource(server.url, stall_timeout=2.0).find_manifest(ModelRef.parse("tiny", "ollama"))
    assert left.get(timeout=30)
    assert server.paths()[-1] == "GET /y"


def test_nobody_reads_an_endless_redirect_of_a_hub(server: ScriptedHttp) -> None:
    pytest.importorskip("huggingface_hub")
    left: queue.Queue[bool] = queue.Queue()
    server.on("GET", "/api/models/a/b/revision/main", redirect(*ENDLESS, left))
    server.on("GET", "/y", reply(200, {"id": "a/b", "sha": COMMIT}))
    assert HubSource(server.url, stall_timeout=2.0, retry_policy=TWICE).find_commit(ModelRef.parse("a/b"), "main") == COMMIT
    assert left.get(timeout=30)


def test_a_redirect_that_drips_loses_its_connection(server: ScriptedHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_MAX_DRAINING", 0.1)
    left: queue.Queue[bool] = queue.Queue()
    server.on("GET", "/x", redirect("Content-Length: 500\r\n", b"", left, is_dripping=True))
    server.on("GET", "/y", reply(200, b"right"))
    assert b"".join(client(server).open(f"{server.url}/x", size=5)) == b"right"
    assert left.get(timeout=30)


@pytest.mark.parametrize("location", ["http://[::1/x", "//[/x", "/\xff"])
def test_a_redirect_to_what_is_no_url(server: ScriptedHttp, location: str) -> None:
    answer = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
    server.on("GET", "/x", lambda line: line.send(answer))
    with pytest.raises(VenomError) as caught:
        client(server).open(f"{server.url}/x")
    assert caught.value.reason_code == "redirect_refused"


def test_a_host_that_is_none() -> None:
    url = f"http://{'a' * 64}.example"
    asks: list[t.Callable[[], object]] = [
        lambda: HttpClient(HostList(url)).open(f"{url}/x"),
        lambda: RegistrySource(url).find_manifest(ModelRef.parse("tiny", "ollama")),
    ]
    for ask in asks:
        with pytest.raises(VenomError) as caught:
            ask()
        assert (caught.value.reason_code, "no URL" in caught.value.found) == ("redirect_refused", True)


def test_a_stream_that_drips_is_a_broken_line(server: ScriptedHttp) -> None:
    server.on("GET", "/x", drip("HTTP/1.1 206 P\r\nContent-Range: bytes 0-99999/200000\r\nContent-Length: 100000\r\n"))
    file = RemoteFile("model.safetensors", 200000, "1" * 64, None, f"{server.url}/x")
    source = HubSource(server.url, stall_timeout=0.2, retry_policy=RetryPolicy(retries=0))
    with pytest.raises(VenomError) as caught:
        RangeReader(source, RetryPolicy(retries=0))(file, 0, 100000)
    assert (caught.value.reason_code, "bytes a second" in caught.value.found) == ("hub_unreachable", True)


def test_a_small_file_that_drips_is_a_broken_line(server: ScriptedHttp) -> None:
    server.on("GET", "/x", drip("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n"))
    file = RemoteFile("config.json", 5000, None, "1" * 40, f"{server.url}/x")
    with pytest.raises(VenomError) as caught:
        HubSource(server.url, stall_timeout=0.2, retry_policy=RetryPolicy(retries=0)).read(file, 10000)
    assert (caught.value.reason_code, "bytes a second" in caught.value.found) == ("hub_unreachable", True)


def test_what_is_slow_and_ends_is_no_drip(server: ScriptedHttp) -> None:
    content = b" " * 20
    server.on("GET", "/x", drip("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n", 20))
    file = RemoteFile("config.json", 20, None, hashlib.sha1(b"blob 20\0" + content).hexdigest(), f"{server.url}/x")
    assert HubSource(server.url, stall_timeout=5.0).read(file, 10000) == content
