# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfers from a source that fails as it is told."""
from __future__ import annotations

import hashlib
import os
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy, TransientError
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.transfer import TransferOptions, fetch

Answer = t.Union[bytes, Exception, list[t.Union[bytes, Exception, threading.Event]]]


class ScriptedStream:
    """Chunks, then an error or a wait that only ``abort`` ends."""

    def __init__(self, answer: Answer) -> None:
        self._parts = [answer] if isinstance(answer, bytes) else t.cast("list[t.Any]", answer)
        self._aborted = threading.Event()
        self.is_closed = False

    def __iter__(self) -> t.Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, Exception):
                raise part
            if isinstance(part, threading.Event):
                part.set()
                if not self._aborted.wait(30):
                    pytest.fail("nobody aborted the stream")
                raise TransientError("aborted")
            yield part

    def abort(self) -> None:
        self._aborted.set()

    def close(self) -> None:
        self.is_closed = True


class ScriptedSource:
    """Answers each file with the next of its answers."""

    def __init__(self, answers: dict[str, list[Answer]]) -> None:
        self.answers = answers
        self.streams: list[ScriptedStream] = []
        self.opened: list[str] = []

    def find_commit(self, *dummy: t.Any) -> t.Any:
        raise NotImplementedError

    resolve = find_commit

    def open(self, file: RemoteFile, offset: int = 0) -> ScriptedStream:
        self.opened.append(file.path)
        answer = self.answers[file.path].pop(0)
        if isinstance(answer, Exception):
            raise answer
        self.streams.append(ScriptedStream(answer))
        return self.streams[-1]


def remote(path: str, content: bytes, git: bool = False) -> RemoteFile:
    if git:
        return RemoteFile(path, len(content), None, hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), "")
    return RemoteFile(path, len(content), hashlib.sha256(content).hexdigest(), None, "")


def transfer(folder: Path, source: ScriptedSource, files: list[RemoteFile], retries: int = 2) -> tuple[t.Any, list[float]]:
    waits: list[float] = []
    options = TransferOptions(max_parallel=4, retry_policy=RetryPolicy(retries=retries), sleep=waits.append)
    return fetch(source, files, Blobs(str(folder)), options, lambda done, total: None), waits


def test_both_kinds_of_digests_end_as_verified_blobs(tmp_path: Path) -> None:
    files = [remote("big", b"B" * 1000), remote("small", b"s", git=True), remote("empty", b"", git=True)]
    source = ScriptedSource({"big": [[b"B" * 600, b"B" * 400]], "small": [b"s"], "empty": [[]]})
    report, waits = transfer(tmp_path, source, files)
    assert report.bytes_fetched == 1001
    blobs = Blobs(str(tmp_path))
    for file, content in zip(files, (b"B" * 1000, b"s", b"")):
        assert Path(blobs.path(report.digests[file.announced])).read_bytes() == content
    assert waits == []
    assert os.listdir(tmp_path / "partial") == []
    assert all(stream.is_closed for stream in source.streams)


def test_the_same_content_is_fetched_once(tmp_path: Path) -> None:
    source = ScriptedSource({"a": [b"same"], "b": [b"same"]})
    report, dummy = transfer(tmp_path, source, [remote("a", b"same"), remote("b", b"same")])
    assert len(source.opened) == 1
    assert report.bytes_fetched == 4


@pytest.mark.parametrize(
    "failure",
    [
        TransientError("503", 503),
        [b"par", TransientError("cut")],
        b"part",
    ],
    ids=["refused", "cut", "short"],
)
def test_passing_failures_are_tried_again(tmp_path: Path, failure: Answer) -> None:
    source = ScriptedSource({"a": [failure, failure, b"content"]})
    report, waits = transfer(tmp_path, source, [remote("a", b"content")])
    assert report.bytes_fetched == 7
    assert len(waits) == 2
    assert os.listdir(tmp_path / "partial") == []


def test_retry_after_is_obeyed_within_the_budget(tmp_path: Path) -> None:
    source = ScriptedSource({"a": [TransientError("429", 429, retry_after=42.0), b"content"]})
    dummy, waits = transfer(tmp_path, source, [remote("a", b"content")])
    assert waits == [42.0]
    source = ScriptedSource({"a": [TransientError("429", 429, retry_after=4000.0)]})
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path / "other", source, [remote("a", b"content")])
    assert caught.value.reason_code == "rate_limited"


def test_when_the_tries_are_used_up(tmp_path: Path) -> None:
    source = ScriptedSource({"a": [TransientError("503", 503)] * 3})
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path, source, [remote("a", b"content")])
    assert caught.value.reason_code == "hub_unreachable"
    assert not (tmp_path / "blobs").exists()


@pytest.mark.parametrize("git", [False, True])
def test_a_wrong_byte_is_fetched_again_once_and_then_refused(tmp_path: Path, git: bool) -> None:
    source = ScriptedSource({"a": [b"cOntent", b"content"]})
    report, dummy = transfer(tmp_path, source, [remote("a", b"content", git)])
    assert report.bytes_fetched == 7
    source = ScriptedSource({"a": [b"cOntent", b"cOntent", b"content"]})
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path / "other", source, [remote("a", b"content", git)])
    assert caught.value.reason_code == "digest_mismatch"
    assert caught.value.details["file"] == "a"
    assert caught.value.details["expected"] == remote("a", b"content", git).announced
    assert caught.value.details["actual"] == remote("a", b"cOntent", git).announced
    assert not (tmp_path / "other" / "blobs").exists()
    assert os.listdir(tmp_path / "other" / "partial") == []


def test_a_body_that_does_not_end_is_cut_off(tmp_path: Path) -> None:
    source = ScriptedSource({"a": [[b"content", b"and more"] * 1000] * 2})
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path, source, [remote("a", b"content")])
    assert caught.value.reason_code == "digest_mismatch"


def test_final_failures_are_not_tried_again(tmp_path: Path) -> None:
    source = ScriptedSource({"a": [VenomError("gated", "x", "y", "z"), b"content"]})
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path, source, [remote("a", b"content")])
    assert caught.value.reason_code == "gated"
    assert source.opened == ["a"]


def test_the_first_failure_ends_a_stream_that_waits(tmp_path: Path) -> None:
    waiting = threading.Event()

    class Slow(ScriptedSource):
        def open(self, file: RemoteFile, offset: int = 0) -> ScriptedStream:
            if file.path == "bad":
                assert waiting.wait(30)
                raise VenomError("unauthorized", "x", "y", "z")
            return super().open(file, offset)

    source = Slow({"big": [[b"B", waiting], [b"B", waiting]]})
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path, source, [remote("big", b"B" * 100), remote("bad", b"x")])
    assert caught.value.reason_code == "unauthorized"
    assert source.opened == ["big"]
    assert os.listdir(tmp_path / "partial") == []


def test_verified_files_stay_when_another_fails(tmp_path: Path) -> None:
    done = threading.Event()

    class Ordered(ScriptedSource):
        def open(self, file: RemoteFile, offset: int = 0) -> ScriptedStream:
            if file.path == "bad":
                assert done.wait(30)
            return super().open(file, offset)

    source = Ordered({"good": [b"good"], "bad": [VenomError("not_found", "x", "y", "z")]})
    good = remote("good", b"good")

    class Telling(Blobs):
        def put(self, partial: str, digest: Digest) -> str:
            path = super().put(partial, digest)
            done.set()
            return path

    blobs = Telling(str(tmp_path))
    with pytest.raises(VenomError):
        fetch(source, [good, remote("bad", b"x")], blobs, TransferOptions(), lambda finished, total: None)
    assert Path(blobs.path(Digest("sha256", str(good.sha256)))).read_bytes() == b"good"


def test_a_full_disk_is_told_as_what_it_is_and_leaves_no_partial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*dummy: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "partial").mkdir()
    with pytest.raises(OSError, match="No space"):
        transfer(tmp_path, ScriptedSource({"a": [b"content"]}), [remote("a", b"content")])
    assert os.listdir(tmp_path / "partial") == []


def test_progress_counts_every_byte_once(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    source = ScriptedSource({"a": [[b"con", TransientError("cut")], [b"con", b"tent"]]})
    options = TransferOptions(retry_policy=RetryPolicy(), sleep=lambda seconds: None)
    fetch(source, [remote("a", b"content")], Blobs(str(tmp_path)), options, lambda done, total: seen.append((done, total)))
    assert seen == [(3, 7), (3, 7), (7, 7)]
