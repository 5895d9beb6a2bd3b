# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault of the hub, seen from a socket."""
from __future__ import annotations

import http.client
import json
import threading
import time
import typing as t
import urllib.parse
from pathlib import Path

import pytest

from lab.hub import HOSTILE_NAMES, Hub
from lab.hub.faults import KINDS

CONFIG = "/demo/tiny/resolve/main/config.json"
WEIGHTS = "/demo/tiny/resolve/main/model.safetensors"
DATA = bytes(range(256)) * 40


@pytest.fixture
def hub(tmp_path: Path) -> t.Iterator[Hub]:
    """A hub with one small and one LFS file."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_bytes(DATA)
    (tmp_path / "model/model.safetensors").write_bytes(DATA)
    with Hub(cdn_host="127.0.0.2") as made:
        made.add_repo("demo/tiny", tmp_path / "model")
        yield made
        assert made.errors == []


class Reply(t.NamedTuple):
    """What came back; ``error`` is what ended the body early."""

    status: int
    headers: dict[str, str]
    body: bytes
    error: type[BaseException] | None


def ask(hub: Hub, target: str, method: str = "GET", body: t.Any = None, **headers: str) -> Reply:
    """One request on a connection of its own, following no redirect; reads to the end of the body or of the connection."""
    url = urllib.parse.urlsplit(target if target.startswith("http") else hub.url + target)
    connection = http.client.HTTPConnection(str(url.hostname), url.port or 80, timeout=30)
    try:
        data = None if body is None else json.dumps(body)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, url.path + ("?" + url.query if url.query else ""), data, sent)
        answer = connection.getresponse()
        error: type[BaseException] | None = None
        try:
            content = answer.read()
        except http.client.IncompleteRead as short:
            content, error = short.partial, type(short)
        except ConnectionError as broken:
            content, error = b"", type(broken)
        return Reply(answer.status, dict(answer.headers.items()), content, error)
    finally:
        connection.close()


def test_without_faults(hub: Hub) -> None:
    reply = ask(hub, CONFIG)
    assert (reply.status, reply.body, reply.headers["Accept-Ranges"]) == (200, DATA, "bytes")
    assert ask(hub, CONFIG, "HEAD").headers["Content-Length"] == str(len(DATA))
    part = ask(hub, CONFIG, Range="bytes=10-19")
    assert (part.status, part.body, part.headers["Content-Range"]) == (206, DATA[10:20], f"bytes 10-19/{len(DATA)}")
    assert ask(hub, CONFIG, Range="bytes=10-19", If_Range=reply.headers["ETag"]).status == 206
    assert ask(hub, CONFIG, Range="bytes=10-19", If_Range='"other"').body == DATA
    assert ask(hub, CONFIG, If_None_Match=reply.headers["ETag"]).status == 304
    beyond = ask(hub, CONFIG, Range=f"bytes={len(DATA)}-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(DATA)}")
    away = ask(hub, WEIGHTS, "HEAD")
    assert (away.status, away.headers["X-Linked-Size"]) == (302, str(len(DATA)))
    assert away.headers["Location"].startswith(f"{hub.cdn_url}/lfs/demo/tiny/")
    assert ask(hub, away.headers["Location"]).body == DATA
    hub.expire_links()
    assert ask(hub, away.headers["Location"]).status == 403
    assert ask(hub, str(hub.cdn_url) + CONFIG).status == 404


def test_status_so_many_times(hub: Hub) -> None:
    fault = hub.fault("status", path="*config.json", status=429, retry_after=7, error_code="X", message="slow down", times=2)
    replies = [ask(hub, CONFIG) for dummy in range(3)]
    assert [reply.status for reply in replies] == [429, 429, 200]
    assert (replies[0].headers["Retry-After"], replies[0].headers["X-Error-Code"]) == ("7", "X")
    assert json.loads(replies[0].body) == {"error": "slow down"}
    assert fault.hits == 2
    assert [entry.faults for entry in hub.log.entries()] == [["status"], ["status"], []]


def test_status_200_is_a_captive_portal(hub: Hub) -> None:
    hub.fault("status", path="/api/*", status=200, message="<html>Please log in</html>")
    reply = ask(hub, "/api/models/demo/tiny")
    assert (reply.status, reply.headers["Content-Type"], reply.body) == (200, "text/html", b"<html>Please log in</html>")


@pytest.mark.parametrize(("how", "error"), [("fin", http.client.IncompleteRead), ("rst", ConnectionResetError)])
def test_cut(hub: Hub, how: str, error: type[BaseException]) -> None:
    hub.fault("cut", path="*config.json", after=1000, how=how, times=1)
    reply = ask(hub, CONFIG)
    assert reply.error is error
    if how == "fin":
        assert reply.body == DATA[:1000]
    assert hub.log.entries()[0].sent == 1000
    assert ask(hub, CONFIG).body == DATA


def test_flip_counts_from_the_start_of_the_file(hub: Hub) -> None:
    hub.fault("flip", path="*config.json", offset=15, times=2)
    assert [number for number, byte in enumerate(ask(hub, CONFIG).body) if byte != DATA[number]] == [15]
    assert ask(hub, CONFIG, Range="bytes=20-29").body == DATA[20:30]
    assert ask(hub, CONFIG, Range="bytes=10-19").body == DATA[10:15] + bytes([DATA[15] ^ 0xFF]) + DATA[16:20]
    assert ask(hub, CONFIG).body == DATA


@pytest.mark.parametrize(("when", "sent"), [("headers", 0), ("body", 500)])
def test_hang_ends_with_the_hub(hub: Hub, when: str, sent: int) -> None:
    hub.fault("hang", path="*config.json", when=when, after=500, seconds=600)
    caught: list[bytes] = []

    def client() -> None:
        try:
            caught.append(ask(hub, CONFIG).body)
        except (OSError, http.client.HTTPException):
            caught.append(b"")

    thread = threading.Thread(target=client)
    thread.start()
    while not [entry for entry in hub.log.entries() if entry.sent == sent and entry.faults]:
        thread.join(0.01)
    assert thread.is_alive()
    hub.stop()
    thread.join()
    assert hub.log.entries()[0].sent == sent
    assert caught == [DATA[:sent]]


def test_hang_goes_on_after_its_time(hub: Hub) -> None:
    hub.fault("hang", path="*config.json", seconds=0.2)
    hub.fault("hang", path="*config.json", when="body", after=100, seconds=0.2)
    start = time.monotonic()
    assert ask(hub, CONFIG).body == DATA
    assert time.monotonic() - start >= 0.4


def test_slow(hub: Hub) -> None:
    hub.fault("slow", path="*config.json", rate=len(DATA) * 2)
    start = time.monotonic()
    assert ask(hub, CONFIG).body == DATA
    assert time.monotonic() - start >= 0.4


@pytest.mark.parametrize(("delta", "body"), [(5, DATA), (-5, DATA[:-5])])
def test_wrong_length(hub: Hub, delta: int, body: bytes) -> None:
    hub.fault("length", path="*config.json", delta=delta)
    reply = ask(hub, CONFIG)
    assert (reply.body, reply.headers["Content-Length"]) == (body, str(len(DATA) + delta))
    assert (reply.error is None) == (delta < 0)


def test_ignored_range_and_changing_etag(hub: Hub) -> None:
    hub.fault("ignore_range", path="*config.json")
    assert [ask(hub, CONFIG, Range="bytes=5-").status for dummy in range(2)] == [200, 206]
    hub.fault("etag", path="*config.json")
    assert len({ask(hub, CONFIG).headers["ETag"] for dummy in range(3)}) == 3
    hub.faults.clear()
    hub.fault("etag", path=WEIGHTS, value="fixed")
    assert ask(hub, WEIGHTS, "HEAD").headers["X-Linked-Etag"] == '"fixed"'


def test_redirect_to_a_foreign_host(hub: Hub) -> None:
    hub.fault("redirect", path="*config.json", location="http://198.51.100.7{path}")
    reply = ask(hub, CONFIG)
    assert (reply.status, reply.headers["Location"]) == (302, "http://198.51.100.7" + CONFIG)


def test_gated_on_demand(hub: Hub) -> None:
    hub.fault("gated", path="/demo/tiny/resolve/*")
    assert (ask(hub, CONFIG).status, ask(hub, CONFIG).headers["X-Error-Code"]) == (403, "GatedRepo")
    assert ask(hub, "/api/models/demo/tiny").status == 200


def listing(hub: Hub) -> dict[str, t.Any]:
    """Path to entry, of the tree; the siblings of the model must tell the same names."""
    entries = json.loads(ask(hub, "/api/models/demo/tiny/tree/main?recursive=1").body)
    siblings = json.loads(ask(hub, "/api/models/demo/tiny?blobs=true").body)["siblings"]
    assert [item["rfilename"] for item in siblings] == [item["path"] for item in entries]
    return {item["path"]: item for item in entries}


def test_lies_in_listings(hub: Hub) -> None:
    true = listing(hub)
    hub.fault("listing", what="size", file="*.json", value=7)
    hub.fault("listing", what="sha256", value="ab" * 32)
    hub.fault("listing", what="oid", file="*.json", value="cd" * 20)
    lies = listing(hub)
    assert (lies["config.json"]["size"], lies["config.json"]["oid"]) == (7, "cd" * 20)
    assert lies["model.safetensors"]["lfs"]["oid"] == "ab" * 32
    hub.faults.clear()
    assert listing(hub) == true
    hub.fault("listing", what="no_lfs")
    assert "lfs" not in listing(hub)["model.safetensors"]
    hub.fault("listing", what="drop", file="*.json")
    assert set(listing(hub)) == {"model.safetensors"}
    hub.fault("listing", what="empty")
    assert listing(hub) == {}


def test_hostile_names_are_listed_and_served(hub: Hub) -> None:
    hub.fault("listing", what="hostile")
    assert set(HOSTILE_NAMES) < set(listing(hub))
    assert ask(hub, "/demo/tiny/resolve/main/" + urllib.parse.quote("../evil.txt", safe="")).body.startswith(b"bait")
    hub.faults.clear()
    hub.fault("listing", what="add", names=["extra.py"])
    assert set(listing(hub)) == {"config.json", "model.safetensors", "extra.py"}


def test_down_and_up_again_at_the_same_port(hub: Hub) -> None:
    url = hub.url
    hub.down()
    with pytest.raises(ConnectionRefusedError):
        ask(hub, CONFIG)
    hub.up()
    assert hub.url == url
    assert ask(hub, CONFIG).body == DATA


def test_control_over_http(hub: Hub, tmp_path: Path) -> None:
    assert ask(hub, "/_lab/faults", "POST", {"kind": "status", "status": 503, "path": "*config.json"}).status == 200
    assert ask(hub, CONFIG).status == 503
    assert [fault["hits"] for fault in json.loads(ask(hub, "/_lab/faults").body)] == [1]
    log = json.loads(ask(hub, "/_lab/log?path=*config.json").body)
    assert [(entry["method"], entry["status"], entry["faults"]) for entry in log] == [("GET", 503, ["status"])]
    for wrong in ({"kind": "none"}, {"kind": "cut", "what_else": 1}, {"kind": "listing", "what": "none"}, {"status": 1}):
        assert ask(hub, "/_lab/faults", "POST", wrong).status == 400
    assert ask(hub, "/_lab/faults", "DELETE").status == 200
    assert hub.faults.all() == []
    made = ask(hub, "/_lab/commit", "POST", {"repo": "demo/two", "folder": str(tmp_path / "model")}, Content_Type="application/json")
    assert json.loads(made.body)["commit"] == hub.store.repos["demo/two"].head.id
    ask(hub, "/_lab/repo", "POST", {"repo": "demo/two", "gated": "auto"}, Content_Type="application/json")
    assert ask(hub, "/demo/two/resolve/main/config.json").status == 401
    ask(hub, "/_lab/faults", "POST", {"kind": "down", "seconds": 0.2})
    end, refused = time.monotonic() + 20, False
    while time.monotonic() < end:
        try:
            if ask(hub, CONFIG).status == 200 and refused:
                break
        except OSError:
            refused = True
    assert refused
    assert ask(hub, CONFIG).body == DATA


def test_the_readme_names_every_kind() -> None:
    text = (Path(__file__).parents[1] / "hub/README.md").read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"`{kind}`" not in text] == []
