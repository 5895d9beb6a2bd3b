# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of a hub that do not end, are too large, or lead nowhere: each question ends, and says why."""
from __future__ import annotations

import json
import time
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.sources import hub_client
from ansible_collections.venom.llm.plugins.module_utils.sources.hub import HubSource
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.scripted_http import Line, ScriptedHttp, reply

pytest.importorskip("huggingface_hub")

REF = ModelRef.parse("a/b")
COMMIT = "9" * 40
INFO = {"id": "a/b", "sha": COMMIT}
ONE_TRY = RetryPolicy(retries=0)
REVISION, TREE = "/api/models/a/b/revision/main", f"/api/models/a/b/tree/{COMMIT}?recursive=true&expand=false"


@pytest.fixture
def server() -> t.Iterator[ScriptedHttp]:
    with ScriptedHttp() as running:
        running.on("GET", REVISION, reply(200, INFO))
        yield running


def entry(path: str) -> dict[str, t.Any]:
    return {"type": "file", "path": path, "size": 1, "oid": "1" * 40}


def page(link: str, *paths: str) -> t.Callable[[Line], object]:
    """A page of a listing and where the next one is."""
    body = json.dumps([entry(path) for path in paths]).encode()
    head = f'HTTP/1.1 200 OK\r\nLink: <{link}>; rel="next"\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n'
    return lambda line: line.send(head.encode() + body)


def refused(source: HubSource) -> VenomError:
    with pytest.raises(VenomError) as caught:
        source.resolve(REF, "main", (), ())
    return caught.value


def test_an_answer_that_drips_is_a_broken_line(server: ScriptedHttp) -> None:
    def speak(line: Line) -> None:
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        for dummy in range(100):
            line.send(b" ")
            time.sleep(0.02)

    server.on("GET", REVISION, speak)
    error = refused(HubSource(server.url, stall_timeout=0.2, retry_policy=ONE_TRY))
    assert (error.reason_code, "bytes a second" in error.found) == ("hub_unreachable", True)


def test_an_answer_that_is_too_large(server: ScriptedHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_client, "MAX_ANSWER", 1000)
    server.on("GET", TREE, reply(200, [entry("x" * 1000)]))
    error = refused(HubSource(server.url, retry_policy=ONE_TRY))
    assert (error.reason_code, "1000 bytes" in error.wanted) == ("unsupported_source", True)


@pytest.mark.parametrize(
    ("limit", "value", "code", "words"),
    [("ANSWER_TIMEOUT", 0.3, "hub_unreachable", "0.3 s"), ("MAX_ANSWER", 1000, "unsupported_source", "more from")],
)
def test_a_listing_whose_pages_do_not_end(
    server: ScriptedHttp, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, code: str, words: str
) -> None:
    monkeypatch.setattr(hub_client, limit, value)
    server.on("GET", TREE, page(server.url + TREE, "config.json"))
    error = refused(HubSource(server.url, retry_policy=ONE_TRY))
    assert (error.reason_code, words in error.found) == (code, True)


def test_what_is_compressed_unasked_is_not_unpacked(server: ScriptedHttp) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nbomb"
    server.on("GET", REVISION, lambda line: line.send(answer))
    error = refused(HubSource(server.url, retry_policy=ONE_TRY))
    assert (error.reason_code, "gzip" in error.found) == ("unsupported_source", True)
    assert {request.headers["accept-encoding"] for request in server.requests} == {"identity"}


@pytest.mark.parametrize("location", ["http://[::1/x", "/again"])
def test_redirects_that_lead_nowhere(server: ScriptedHttp, location: str) -> None:
    answer = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    server.on("GET", REVISION, lambda line: line.send(answer))
    server.on("GET", "/again", lambda line: line.send(answer))
    assert refused(HubSource(server.url, retry_policy=ONE_TRY)).reason_code == "redirect_refused"


@pytest.mark.parametrize("link", ["/api/next?cursor=2", "../../../../next?cursor=2", "{url}/api/next?cursor=2"])
def test_the_next_page_by_any_reference(server: ScriptedHttp, link: str) -> None:
    server.on("GET", TREE, page(link.format(url=server.url), "a.json"))
    server.on("GET", "/api/next?cursor=2", reply(200, [entry("b.json")]))
    assert [file.path for file in HubSource(server.url, retry_policy=ONE_TRY).resolve(REF, "main", (), ()).files] == ["a.json", "b.json"]


def test_the_next_page_elsewhere_is_not_asked_for(server: ScriptedHttp) -> None:
    server.on("GET", TREE, page("//elsewhere.example/next", "a.json"))
    assert refused(HubSource(server.url, retry_policy=ONE_TRY)).reason_code == "redirect_refused"


@pytest.mark.parametrize(
    ("answer", "code"),
    [(reply(200, INFO), "revision_not_found"), (reply(404, {"error": "Not Found"}), "not_found"), (reply(503), "not_found")],
)
def test_a_hub_that_does_not_say_what_is_missing(server: ScriptedHttp, answer: t.Callable[[Line], object], code: str) -> None:
    server.on("GET", "/api/models/a/b", answer)
    with pytest.raises(VenomError) as caught:
        HubSource(server.url, retry_policy=ONE_TRY).find_commit(REF, "v9")
    assert caught.value.reason_code == code


def test_a_hub_that_says_so_is_not_asked_again(server: ScriptedHttp) -> None:
    answer = b"HTTP/1.1 404 X\r\nX-Error-Code: RepoNotFound\r\nContent-Length: 0\r\n\r\n"
    server.on("GET", REVISION, lambda line: line.send(answer))
    assert refused(HubSource(server.url, retry_policy=ONE_TRY)).reason_code == "not_found"
    assert len(server.requests) == 1
