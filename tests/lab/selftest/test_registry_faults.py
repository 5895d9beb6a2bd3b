# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault of the registry, and those it shares with the hub, seen from a socket."""
from __future__ import annotations

import gzip
import hashlib
import http.client
import threading
import time
import typing as t
from pathlib import Path

import pytest

from lab.hub import Hub
from lab.registry import Registry
from lab.selftest.registry_support import BLOB, DATA, DIGEST, MANIFEST, MODEL, ask, code, link


@pytest.fixture
def registry() -> t.Iterator[Registry]:
    """A registry with one model of one layer, as blobs are handed out to Ollama."""
    with Registry() as made:
        made.add(layers=[(MODEL, DATA)])
        yield made
        assert made.errors == []


def test_statuses_on_manifests_blobs_and_the_cdn(registry: Registry) -> None:
    location = link(registry)
    registry.fault("status", path="/v2/*/manifests/*", status=429, retry_after=7)
    slow = ask(registry, MANIFEST)
    assert (slow.status, slow.headers["Retry-After"], code(slow)) == (429, "7", "TOOMANYREQUESTS")
    assert ask(registry, MANIFEST).status == 200
    registry.fault("status", path="*/blobs/*", method="HEAD", status=404)
    assert [ask(registry, BLOB, method).status for method in ("GET", "HEAD", "HEAD")] == [307, 404, 200]
    registry.fault("status", path="/cdn/*", status=500, body="boom", headers={"X-More": "1"}, times=2)
    failed = [ask(registry, location) for dummy in range(3)]
    assert [reply.status for reply in failed] == [500, 500, 200]
    assert (failed[0].body, failed[0].headers["Content-Type"], failed[0].headers["X-More"]) == (b"boom", "text/plain", "1")
    registry.fault("status", path="/cdn/*", status=503)
    assert ask(registry, location).body.startswith(b"<Error>")
    registry.fault("status", path="*manifests*", status=401)
    assert code(ask(registry, MANIFEST)) == "UNAUTHORIZED"


def test_a_false_manifest(registry: Registry) -> None:
    true = registry.manifest()
    digest = "sha256:" + hashlib.sha256(true).hexdigest()
    for value, what, told in (("", "", None), ("{}", "false", "sha256:" + hashlib.sha256(b"{}").hexdigest()), ("{}", "true", digest)):
        registry.fault("manifest", value=value, what=what)
        reply = ask(registry, MANIFEST)
        assert (reply.status, reply.body) == (200, value.encode() or b"this is not json")
        assert reply.headers.get("Docker-Content-Digest") == told
    registry.fault("manifest", value="<html>Please log in</html>")
    assert ask(registry, MANIFEST).headers["Content-Type"] == "text/html"
    assert ask(registry, MANIFEST).body == true
    with pytest.raises(ValueError):
        registry.fault("manifest", what="other")


def test_a_hostile_manifest_is_served_as_it_is(registry: Registry) -> None:
    bad = b'{"schemaVersion":2,"layers":[{"digest":"sha256:../../evil","size":-1}]}'
    digest = registry.add_manifest("library/bad", "latest", bad)
    assert ask(registry, f"/v2/library/bad/manifests/{digest}").body == ask(registry, "/v2/library/bad/manifests/latest").body == bad
    assert ask(registry, f"/v2/library/bad/blobs/{registry.add_blob('library/bad', DATA)}").status == 307


def test_body_faults_strike_blobs_and_manifests_only_if_named(registry: Registry) -> None:
    location = link(registry)
    registry.fault("flip", offset=15)
    assert ask(registry, MANIFEST).body == registry.manifest()
    assert [number for number, byte in enumerate(ask(registry, location).body) if byte != DATA[number]] == [15]
    registry.fault("flip", path="*/manifests/*", offset=3)
    assert ask(registry, MANIFEST).body != registry.manifest()
    registry.fault("cut", path="*/manifests/*", after=20)
    assert ask(registry, MANIFEST).error is http.client.IncompleteRead


def test_cut_length_and_ranges_of_a_blob(registry: Registry) -> None:
    location = link(registry)
    registry.fault("cut", path=f"*{DIGEST}", after=1000)
    assert (ask(registry, location).body, registry.bytes_sent(DIGEST)) == (DATA[:1000], 1000)
    registry.fault("length", path="/cdn/*", delta=5)
    assert ask(registry, location).error is http.client.IncompleteRead
    registry.fault("ignore_range", path="/cdn/*")
    assert [ask(registry, location, Range="bytes=5-").status for dummy in range(2)] == [200, 206]
    registry.fault("etag", path="/cdn/*", times=2)
    assert len({ask(registry, location).headers["ETag"] for dummy in range(3)}) == 3
    registry.fault("redirect", path="*/blobs/*", location="http://198.51.100.7{path}")
    assert ask(registry, BLOB).headers["Location"] == "http://198.51.100.7" + BLOB


@pytest.fixture(params=["hub", "registry"])
def file(request: pytest.FixtureRequest, registry: Registry, tmp_path: Path) -> t.Iterator[tuple[Registry | Hub, str]]:
    """A hub or a registry, and a link there to a file with DATA."""
    if request.param == "registry":
        yield registry, link(registry)
        return
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_bytes(DATA)
    with Hub() as hub:
        hub.add_repo("demo/tiny", tmp_path / "model")
        yield hub, "/demo/tiny/resolve/main/config.json"
        assert hub.errors == []


@pytest.mark.parametrize(
    ("what", "told"),
    [("", "bytes 13-22/10240"), ("start", "bytes 13-22/10240"), ("end", "bytes 10-22/10240"), ("total", "bytes 10-19/10243"), ("drop", None)],
)
def test_a_wrong_content_range(file: tuple[Registry | Hub, str], what: str, told: str | None) -> None:
    site, target = file
    fault = site.fault("content_range", what=what, delta=3)
    assert ask(site, target).body == DATA
    reply = ask(site, target, Range="bytes=10-19")
    assert (reply.status, reply.headers.get("Content-Range"), reply.body) == (206, told, DATA[10:20])
    assert fault.hits == 1
    with pytest.raises(ValueError):
        site.fault("content_range", what="other")


def test_two_lies_about_a_range_add_up(file: tuple[Registry | Hub, str]) -> None:
    site, target = file
    site.fault("content_range", delta=-11)
    site.fault("content_range", what="total", delta=1)
    assert ask(site, target, Range="bytes=10-19").headers["Content-Range"] == "bytes -1-8/10241"


def test_a_body_that_is_compressed_unasked(file: tuple[Registry | Hub, str]) -> None:
    site, target = file
    site.fault("gzip", times=2)
    before = len(site.log.entries())
    reply = ask(site, target, Accept_Encoding="identity")
    assert (reply.status, reply.headers["Content-Encoding"]) == (200, "gzip")
    assert "Content-Length" not in reply.headers
    assert gzip.decompress(reply.body) == DATA
    part = ask(site, target, Range="bytes=10-19")
    assert (part.status, gzip.decompress(part.body)) == (206, DATA[10:20])
    assert [entry.sent for entry in site.log.entries()[before:]] == [len(reply.body), len(part.body)]
    assert ask(site, target).body == DATA


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_connection_that_ends_before_the_answer(file: tuple[Registry | Hub, str], how: str) -> None:
    site, target = file
    site.fault("drop", how=how)
    with pytest.raises(http.client.RemoteDisconnected if how == "fin" else ConnectionResetError):
        ask(site, target)
    assert (site.log.entries()[-1].status, site.log.entries()[-1].sent) == (0, 0)
    assert ask(site, target).body == DATA


def test_down_at_once_and_up_again_at_the_same_ports(registry: Registry) -> None:
    url, cdn_url, location = registry.url, registry.cdn_url, link(registry)
    registry.down()
    for target in (MANIFEST, location):
        with pytest.raises(ConnectionRefusedError):
            ask(registry, target)
    registry.up()
    registry.up("cdn")
    assert (registry.url, registry.cdn_url) == (url, cdn_url)
    registry.down(0.3, listener="cdn")
    with pytest.raises(ConnectionRefusedError):
        ask(registry, location)
    assert ask(registry, MANIFEST).status == 200
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            assert ask(registry, location).body == DATA
            break
        except ConnectionRefusedError:
            time.sleep(0.02)
    assert ask(registry, location).body == DATA
    with pytest.raises(ValueError):
        registry.down(listener="none")


def test_down_ends_an_answer_that_hangs(registry: Registry) -> None:
    location = link(registry)
    registry.fault("hang", path="/cdn/*", when="body", after=100, seconds=600)
    caught: list[bytes] = []
    client = threading.Thread(target=lambda: caught.append(ask(registry, location).body))
    client.start()
    while registry.bytes_sent(DIGEST) < 100:
        client.join(0.01)
    registry.down(listener="cdn")
    client.join()
    assert caught == [DATA[:100]]
