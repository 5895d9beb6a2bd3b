# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors before an origin: who is asked for what, and when a stream is left for another."""
from __future__ import annotations

import hashlib
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import Layer
from ansible_collections.venom.llm.plugins.module_utils.sources.base import ModelPlan, RemoteFile, Stream, TransientError
from ansible_collections.venom.llm.plugins.module_utils.sources.mirror import MirrorSource
from ansible_collections.venom.llm.plugins.module_utils.sources.mirror_choice import Mirrors
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy

BYTES = b"the right bytes" * 100
REF = ModelRef.parse("a/b")
FILE = RemoteFile("model.safetensors", len(BYTES), hashlib.sha256(BYTES).hexdigest(), None, "http://hub.example/file")
SMALL = RemoteFile("config.json", len(BYTES), None, "0" * 40, "http://hub.example/small")
NOT_FOUND = VenomError("not_found", wanted="x", found="HTTP 404", todo="x")


class Chunks:
    """A stream of what it is told; it may break after that, and each chunk may take its time."""

    def __init__(self, server: Server, content: bytes, offset: int) -> None:
        self.offset = offset
        self._server = server
        self._content = content

    def __iter__(self) -> t.Iterator[bytes]:
        for start in range(0, len(self._content), 100):
            self._server.now[0] += self._server.delay
            yield self._content[start : start + 100]
        if self._server.breaks:
            raise TransientError("the line broke")

    def abort(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        self._server.closed += 1


class Server:
    """A mirror's client, and an origin."""

    def __init__(
        self, now: list[float], content: bytes = BYTES, error: Exception | None = None, end: int | None = None, breaks: bool = False
    ) -> None:
        self.now, self.content, self.error, self.end, self.breaks = now, content, error, end, breaks
        self.delay = 0.0
        self.closed = 0
        self.asked: list[tuple[t.Any, ...]] = []

    def open(self, target: t.Any, offset: int = 0, length: int | None = None, size: int | None = None) -> Stream:
        self.asked.append((target, offset, length))
        if self.error is not None:
            raise self.error
        content = self.content[offset : None if length is None else offset + length]
        return Chunks(self, content[: self.end], offset)

    def find_commit(self, ref: ModelRef, revision: str) -> str:
        self.asked.append(("find_commit", ref, revision))
        return "1" * 40

    def resolve(self, ref: ModelRef, revision: str, include: t.Sequence[str], exclude: t.Sequence[str]) -> ModelPlan:
        self.asked.append(("resolve", ref, revision))
        return ModelPlan(ref, "1" * 40, revision, (FILE,))


def make(
    *servers: Server, origin: Server | None = None, only: bool = False, stall_timeout: float = 30.0, retries: int = 0
) -> MirrorSource:
    """A source before an origin, or before one that must not be made. Mirrors are asked in their order."""
    now = servers[0].now if servers else [0.0]
    clients: dict[str, t.Any] = {f"http://mirror{number}": server for number, server in enumerate(servers)}

    def make_origin() -> t.Any:
        assert origin is not None
        return origin

    mirrors = Mirrors(clients, lambda found: found[0], lambda: now[0])
    return MirrorSource(mirrors, None, make_origin, only, RetryPolicy(retries=retries), stall_timeout)


def test_bytes_come_by_their_digest() -> None:
    mirror = Server([0.0])
    source = make(mirror, only=True)
    stream = source.open(FILE, 10, 20)
    assert (b"".join(stream), stream.offset) == (BYTES[10:30], 10)
    stream.close()
    assert mirror.asked == [(f"http://mirror0/sha256/{FILE.sha256}", 10, 20)]
    assert (mirror.closed, source.mirrors.received()) == (1, {"http://mirror0": 20})


def test_what_has_no_sha256_comes_from_the_origin() -> None:
    mirror, origin = Server([0.0]), Server([0.0])
    source = make(mirror, origin=origin)
    assert b"".join(source.open(SMALL)) == BYTES
    assert source.read(SMALL, 10**6) == BYTES
    assert mirror.asked == []
    assert source.mirrors.from_origin == 2 * len(BYTES)


@pytest.mark.parametrize(
    ("error", "causes"),
    [
        (TransientError("no answer"), "no answer"),
        (TransientError("answered 1 byte", final=NOT_FOUND), "answered 1 byte"),
        (NOT_FOUND, "it does not have it"),
        (VenomError("unauthorized", wanted="x", found="HTTP 401", todo="x"), "HTTP 401"),
    ],
)
def test_the_next_is_asked_at_once_and_the_origin_last(error: Exception, causes: str) -> None:
    bad, good = Server([0.0], error=error), Server([0.0])
    assert b"".join(make(bad, good, only=True).open(FILE)) == BYTES
    assert len(bad.asked) == len(good.asked) == 1
    origin = Server([0.0])
    source = make(bad, origin=origin)
    assert b"".join(source.open(FILE)) == BYTES
    assert origin.asked == [(FILE, 0, None)]
    with pytest.raises((VenomError, TransientError)) as caught:
        make(bad, only=True).open(FILE)
    final = caught.value.final if isinstance(caught.value, TransientError) else caught.value
    assert isinstance(final, VenomError) and final.details["mirrors"] == {"http://mirror0": causes}


def test_a_hiccup_of_the_last_mirror_is_waited_for() -> None:
    hiccup, origin = Server([0.0], error=TransientError("answered 503", 503)), Server([0.0])
    source = make(hiccup, origin=origin, retries=1)
    with pytest.raises(TransientError):
        source.open(FILE)
    hiccup.error = None
    assert b"".join(source.open(FILE)) == BYTES
    dead = Server([0.0], error=TransientError("no answer"))
    source = make(dead, origin=origin, retries=1)
    with pytest.raises(TransientError):
        source.open(FILE)
    assert origin.asked == []
    dead.now[0] += 0.3
    assert b"".join(source.open(FILE)) == BYTES
    assert len(origin.asked) == 1


def test_an_origin_that_refuses_says_what_the_mirrors_did() -> None:
    refusal = VenomError("unauthorized", wanted="x", found="HTTP 401", todo="give a token", hint=1)
    with pytest.raises(VenomError) as caught:
        make(Server([0.0], error=NOT_FOUND), origin=Server([0.0], error=refusal)).open(FILE)
    assert caught.value.details == {"hint": 1, "mirrors": {"http://mirror0": "it does not have it"}}
    assert "http://mirror0: it does not have it" in str(caught.value)
    with pytest.raises(VenomError) as caught:
        make(origin=Server([0.0], error=refusal)).open(FILE)
    assert caught.value is refusal


@pytest.mark.parametrize("fault", ["breaks", "ends early", "is slow"])
def test_a_stream_that_is_left(fault: str) -> None:
    bad = Server([0.0], breaks=fault == "breaks", end=500 if fault == "ends early" else None)
    bad.delay = 1.0 if fault == "is slow" else 0.0
    good = Server(bad.now)
    source = make(bad, good, only=True, stall_timeout=5.0)
    with pytest.raises(TransientError) as caught:
        list(source.open(FILE))
    assert caught.value.elsewhere
    list(source.open(FILE))
    assert len(good.asked) == 1
    alone = make(bad, only=True, stall_timeout=5.0)
    tries = []
    while len(tries) < 2:
        with pytest.raises(TransientError) as caught:
            list(alone.open(FILE))
        tries.append(caught.value.elsewhere)
        assert caught.value.final is not None and "http://mirror0" in caught.value.final.found
        bad.now[0] += 0.001
    # Once more at once, then with the pauses of whoever asks.
    assert tries == [True, False]


def test_whoever_ends_a_stream_blames_its_mirror_only_for_being_slow() -> None:
    bad = Server([0.0], breaks=True)
    source = make(bad, Server(bad.now), only=True)
    for is_slow in (False, True):
        stream: t.Any = source.open(FILE)
        if is_slow:
            stream.blame()
        stream.abort()
        with pytest.raises(TransientError) as caught:
            list(stream)
        assert caught.value.elsewhere is is_slow
    assert source.mirrors.told(FILE.announced)["http://mirror0"].startswith("it stalled")


def test_a_small_file_is_verified_and_taken_from_the_next() -> None:
    liar, honest = Server([0.0], content=b"x" * len(BYTES)), Server([0.0])
    assert make(liar, honest, only=True).read(FILE, 10**6) == BYTES
    with pytest.raises(VenomError) as caught:
        make(liar, only=True).read(FILE, 10**6)
    assert caught.value.reason_code == "digest_mismatch"
    with pytest.raises(VenomError) as caught:
        make(honest, only=True).read(FILE, 10)
    assert caught.value.reason_code == "unsupported_source"
    # The origin's own wrong bytes are for whoever asked.
    assert make(origin=liar).read(FILE, 10**6) == b"x" * len(BYTES)


def test_without_a_plan_the_origin_resolves_unless_it_must_not_be_asked() -> None:
    origin = Server([0.0])
    source = make(origin=origin)
    assert source.find_commit(REF, "main") == source.resolve(REF, "main").revision == "1" * 40
    for question in (lambda: make(only=True).find_commit(REF, "main"), lambda: make(only=True).resolve(REF, "main")):
        with pytest.raises(VenomError) as caught:
            question()
        assert (caught.value.reason_code, caught.value.details["model"]) == ("not_found", "a/b")


def test_a_layer_as_a_file() -> None:
    digest = Digest.parse(f"sha256:{FILE.sha256}")
    file = make().file_for(REF, Layer("application/x", digest, 5))
    assert (file.path, file.size, file.announced) == (f"blobs/sha256-{FILE.sha256}", 5, str(digest))
