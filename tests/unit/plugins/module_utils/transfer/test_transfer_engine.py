# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfers: pieces, retries, verification, and what a failure leaves."""
from __future__ import annotations

import errno
import os
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy, TransientError
from ansible_collections.venom.llm.plugins.module_utils.store import partials as partials_module
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.store.partials import Partial, kept_bytes
from ansible_collections.venom.llm.plugins.module_utils.transfer import board as board_module
from ansible_collections.venom.llm.plugins.module_utils.transfer import work as work_module
from ansible_collections.venom.llm.plugins.module_utils.transfer.engine import TransferOptions, fetch
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.transfer.fake_source import (
    KIB,
    MIB,
    Answer,
    FakeSource,
    FakeStream,
    blob,
    noise,
    partials,
    remote,
    transfer,
)


@pytest.fixture
def small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 64 KiB and journals for everything, so that a small file is as a large one."""
    monkeypatch.setattr(board_module, "MIN_SPAN", 64 * KIB)
    monkeypatch.setattr(board_module, "MAX_SPAN", 64 * KIB)
    monkeypatch.setattr(work_module, "MIN_SPAN", 64 * KIB)
    monkeypatch.setattr(partials_module, "MIN_JOURNALED_SIZE", 1)


def test_both_kinds_of_digests_end_as_verified_blobs(tmp_path: Path) -> None:
    contents = {"big": b"B" * 1000, "small": b"s", "empty": b""}
    files = [remote(path, content, git=path != "big") for path, content in contents.items()]
    source = FakeSource(contents, chunk_size=600)
    report, waits = transfer(tmp_path, source, files)
    assert (report.bytes_fetched, report.bytes_resumed) == (1001, 0)
    assert [blob(tmp_path, report, file) for file in files] == list(contents.values())
    assert waits == []
    assert partials(tmp_path) == []
    assert all(stream.is_closed for stream in source.streams)


def test_no_files_are_no_work(tmp_path: Path) -> None:
    report, dummy = transfer(tmp_path, FakeSource({}), [])
    assert report.digests == {}
    assert not (tmp_path / "partial").exists()


def test_the_same_content_is_fetched_once(tmp_path: Path) -> None:
    source = FakeSource({"a": b"same", "b": b"same"})
    report, dummy = transfer(tmp_path, source, [remote("a", b"same"), remote("b", b"same")])
    assert len(source.requests) == 1
    assert report.bytes_fetched == 4


def test_a_large_file_is_split_and_no_byte_is_asked_for_twice(tmp_path: Path, small_spans: None) -> None:
    content = noise(3 * MIB)
    opened = threading.Barrier(4)
    known: set[int] = set()

    class Together(FakeSource):
        def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> FakeStream:
            if threading.get_ident() not in known:
                known.add(threading.get_ident())
                opened.wait(30)
            return super().open(file, offset, length)

    source = Together({"a": content})
    report, dummy = transfer(tmp_path, source, [remote("a", content)])
    assert blob(tmp_path, report, remote("a", content)) == content
    pieces = sorted((start, end) for dummy, start, end in source.requests)
    assert len(pieces) > 10
    assert [start for start, dummy in pieces] == [0, *(end for dummy, end in pieces[:-1])]
    assert pieces[-1][1] == len(content)
    assert source.served == report.bytes_fetched == len(content)


def test_large_files_come_first_and_each_has_a_stream(tmp_path: Path) -> None:
    contents = {f"f{size}": noise(size * KIB, size) for size in range(1, 9)}
    source = FakeSource(contents)
    transfer(tmp_path, source, [remote(path, content) for path, content in contents.items()], max_parallel=1)
    assert [path for path, dummy, dummy in source.requests] == ["f8", "f7", "f6", "f5", "f4", "f3", "f2", "f1"]


@pytest.mark.parametrize(
    "failure", [Answer(error=TransientError("503", 503)), Answer(cut_after=3), Answer(end_after=3)], ids=["refused", "cut", "short"]
)
def test_passing_failures_are_tried_again_and_what_came_is_kept(tmp_path: Path, failure: Answer) -> None:
    source = FakeSource({"a": b"content"}, {"a": [failure, failure]}, chunk_size=2)
    report, waits = transfer(tmp_path, source, [remote("a", b"content")])
    assert blob(tmp_path, report, remote("a", b"content")) == b"content"
    assert report.bytes_fetched == 7
    assert len(waits) == 2
    begins = [start for dummy, start, dummy in source.requests]
    assert begins == ([0, 0, 0] if failure.error else [0, 3, 6])


def test_retry_after_is_obeyed_within_the_budget(tmp_path: Path) -> None:
    source = FakeSource({"a": b"content"}, {"a": [Answer(error=TransientError("429", 429, retry_after=42.0))]})
    dummy, waits = transfer(tmp_path, source, [remote("a", b"content")])
    assert waits == [42.0]
    source = FakeSource({"a": b"content"}, {"a": [Answer(error=TransientError("429", 429, retry_after=4000.0))]})
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path / "other", source, [remote("a", b"content")])
    assert caught.value.reason_code == "rate_limited"


def test_a_wait_beyond_the_deadline_is_told_at_once(tmp_path: Path) -> None:
    source = FakeSource({"a": b"content"}, {"a": [Answer(error=TransientError("429", 429, retry_after=42.0))]})
    policy = RetryPolicy(retries=2, ends=141.0, clock=lambda: 100.0)
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path, source, [remote("a", b"content")], retry_policy=policy)
    assert (caught.value.reason_code, caught.value.details["retry_after"], len(source.requests)) == ("rate_limited", 42.0, 1)
    assert transfer(tmp_path, source, [remote("a", b"content")], retry_policy=policy)[1] == []


def test_what_one_stream_is_told_holds_for_all(tmp_path: Path) -> None:
    now = [100.0]
    source = FakeSource({"a": b"aa", "b": b"b"}, {"a": [Answer(error=TransientError("429", 429, retry_after=42.0))]})
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)

    # One stream alone: its second file comes after the wait of the first, on a clock that stands still.
    transfer(tmp_path, source, [remote("a", b"aa"), remote("b", b"b")], max_parallel=1, sleep=sleep, clock=lambda: now[0])
    assert waits == [42.0, 42.0]


def test_when_the_tries_are_used_up(tmp_path: Path) -> None:
    source = FakeSource({"a": b"content"})
    source.always = Answer(error=TransientError("503", 503))
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path, source, [remote("a", b"content")])
    assert caught.value.reason_code == "hub_unreachable"
    assert len(source.requests) == 3
    assert not (tmp_path / "blobs").exists()
    source.always = Answer(error=TransientError("gzip", 200, final=VenomError("unsupported_source", "x", "y", "z")))
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path, source, [remote("a", b"content")])
    assert caught.value.reason_code == "unsupported_source"


def test_tries_are_counted_anew_after_real_progress(tmp_path: Path) -> None:
    content = noise(6 * MIB)
    source = FakeSource({"a": content})
    source.always = Answer(cut_after=MIB)
    report, waits = transfer(tmp_path, source, [remote("a", content)], retry_policy=RetryPolicy(retries=1), max_parallel=1)
    assert report.bytes_fetched == len(content)
    assert len(waits) == 5
    source.always = Answer(cut_after=MIB // 4)
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path / "other", source, [remote("a", content)], retry_policy=RetryPolicy(retries=3), max_parallel=1)
    assert caught.value.reason_code == "hub_unreachable"


@pytest.mark.parametrize("git", [False, True])
def test_a_wrong_byte_is_fetched_again_once_and_then_refused(tmp_path: Path, git: bool) -> None:
    file, flipped = remote("a", b"content", git), remote("a", b"con\x8bent", git)
    source = FakeSource({"a": b"content"}, {"a": [Answer(flip_at=3)]})
    report, dummy = transfer(tmp_path, source, [file])
    assert blob(tmp_path, report, file) == b"content"
    assert report.bytes_fetched == 14
    source = FakeSource({"a": b"content"}, {"a": [Answer(flip_at=3), Answer(flip_at=3)]})
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path / "other", source, [file])
    assert caught.value.reason_code == "digest_mismatch"
    assert caught.value.details == {"file": "a", "expected": file.announced, "actual": flipped.announced}
    assert not (tmp_path / "other" / "blobs").exists()
    assert partials(tmp_path / "other") == []


def test_after_two_wrong_answers_the_next_source_is_asked(tmp_path: Path) -> None:
    first, second = FakeSource({"a": b"content"}), FakeSource({"a": b"content"}, {"a": [Answer(flip_at=1)]})
    first.always = Answer(flip_at=3)
    report, dummy = transfer(tmp_path, first, [remote("a", b"content")], sources=[second])
    assert (len(first.requests), len(second.requests)) == (2, 2)
    assert blob(tmp_path, report, remote("a", b"content")) == b"content"


class Places(FakeSource):
    """A source with several places, of which some are left; ``is_fresh`` of each complaint is noted."""

    def __init__(self, *args: t.Any, left: int) -> None:
        super().__init__(*args)
        self.left = left
        self.rejected: list[bool] = []

    def reject(self, file: RemoteFile, is_fresh: bool) -> bool:
        self.rejected.append(is_fresh)
        self.left -= 1
        return self.left >= 0


def test_wrong_answers_of_places_that_are_left_do_not_count(tmp_path: Path) -> None:
    source = Places({"a": b"content"}, {"a": [Answer(flip_at=3)] * 4}, left=3)
    report, dummy = transfer(tmp_path, source, [remote("a", b"content")])
    assert blob(tmp_path, report, remote("a", b"content")) == b"content"
    assert source.rejected == [True] * 4
    source = Places({"a": b"content"}, {"a": [Answer(flip_at=3)] * 5}, left=3)
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path / "other", source, [remote("a", b"content")])
    assert (caught.value.reason_code, len(source.requests)) == ("digest_mismatch", 5)


def test_another_place_is_asked_at_once_and_that_is_no_try(tmp_path: Path) -> None:
    broken = [Answer(error=TransientError("broke", elsewhere=True)) for dummy in range(5)]
    source = FakeSource({"a": b"content"}, {"a": broken})
    report, waits = transfer(tmp_path, source, [remote("a", b"content")], retry_policy=RetryPolicy(retries=0))
    assert blob(tmp_path, report, remote("a", b"content")) == b"content"
    assert (waits, len(source.requests)) == ([], 6)


def test_a_body_longer_than_announced_is_wrong(tmp_path: Path) -> None:
    source = FakeSource({"a": b"content and more"})
    source.always = Answer(ignores_range=True)
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path, source, [remote("a", b"content")])
    assert caught.value.reason_code == "digest_mismatch"
    assert caught.value.details["actual"] == "more than 7 bytes"
    assert partials(tmp_path) == []


def test_an_announced_size_of_nothing_does_not_make_wrong_bytes_right(tmp_path: Path) -> None:
    file = RemoteFile("a", 0, remote("a", b"content").sha256, None, "")
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path, FakeSource({"a": b""}), [file])
    assert caught.value.reason_code == "digest_mismatch"


def test_final_failures_are_not_tried_again(tmp_path: Path) -> None:
    source = FakeSource({"a": b"content"}, {"a": [Answer(error=VenomError("gated", "x", "y", "z"))]})
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path, source, [remote("a", b"content")])
    assert caught.value.reason_code == "gated"
    assert len(source.requests) == 1


def test_a_source_that_ignores_ranges_is_read_by_one_stream(tmp_path: Path, small_spans: None) -> None:
    content = noise(2 * MIB)
    source = FakeSource({"a": content})
    source.always = Answer(ignores_range=True)
    report, dummy = transfer(tmp_path, source, [remote("a", content)])
    assert blob(tmp_path, report, remote("a", content)) == content
    finished = [stream for stream in source.streams if not stream._aborted.is_set()]
    assert len(finished) >= 1
    assert len(source.requests) <= 4


def test_a_broken_whole_answer_is_gone_on_with_by_ranges(tmp_path: Path, small_spans: None) -> None:
    content = noise(MIB)
    source = FakeSource({"a": content}, {"a": [Answer(ignores_range=True, cut_after=500 * KIB)]})
    report, dummy = transfer(tmp_path, source, [remote("a", content)], max_parallel=1)
    assert blob(tmp_path, report, remote("a", content)) == content
    assert source.requests[1][1] == 500 * KIB
    assert source.served == len(content)


def test_a_stream_that_begins_elsewhere_is_refused(tmp_path: Path) -> None:
    source = FakeSource({"a": b"content"})
    source.always = Answer(shift=2)
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path, source, [remote("a", b"content")])
    assert caught.value.reason_code == "unsupported_source"


class Changing(FakeSource):
    """A source that has another content under the same name at first."""

    def __init__(self, old: bytes, new: bytes, requests: int) -> None:
        super().__init__({"a": old})
        self.new, self.left = new, requests

    def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> FakeStream:
        if len(self.requests) == self.left:
            self.contents = {"a": self.new}
        return super().open(file, offset, length)


def test_a_content_that_changes_on_the_way_is_fetched_once_more(tmp_path: Path, small_spans: None) -> None:
    old, new = noise(MIB, 1), noise(MIB, 2)
    report, waits = transfer(tmp_path, Changing(old, new, 2), [remote("a", new)], max_parallel=1)
    assert blob(tmp_path, report, remote("a", new)) == new
    assert (report.bytes_fetched, waits) == (2 * MIB, [])


def interrupt(folder: Path, content: bytes, came: bytes | None = None) -> None:
    """Fetch a part of a content, or of other bytes instead, and fail."""
    source = FakeSource({"a": came or content}, {"a": [Answer(), Answer(error=VenomError("gated", "x", "y", "z"))]})
    with pytest.raises(VenomError):
        transfer(folder, source, [remote("a", content)], max_parallel=1)
    assert len(partials(folder)) == 2


def test_a_failed_transfer_is_gone_on_with(tmp_path: Path, small_spans: None) -> None:
    content = noise(MIB)
    interrupt(tmp_path, content)
    file = remote("a", content)
    assert kept_bytes(str(tmp_path / "partial"), file.announced, file.size) == 64 * KIB
    source = FakeSource({"a": content})
    report, dummy = transfer(tmp_path, source, [file])
    assert (report.bytes_resumed, report.bytes_fetched) == (64 * KIB, MIB - 64 * KIB)
    assert blob(tmp_path, report, file) == content
    assert partials(tmp_path) == []


def test_a_content_that_changed_between_two_runs_is_fetched_once_more(tmp_path: Path, small_spans: None) -> None:
    old, content = noise(MIB, 1), noise(MIB, 2)
    interrupt(tmp_path, content, old)
    report, dummy = transfer(tmp_path, FakeSource({"a": content}), [remote("a", content)], max_parallel=1)
    assert blob(tmp_path, report, remote("a", content)) == content
    assert (report.bytes_resumed, report.bytes_fetched) == (0, 2 * MIB - 64 * KIB)
    # It changes while the first wrong bytes are replaced, too: those of the earlier run counted for nothing.
    interrupt(tmp_path / "twice", content, old)
    source = Changing(old, content, 17)
    report, dummy = transfer(tmp_path / "twice", source, [remote("a", content)], max_parallel=1)
    assert blob(tmp_path / "twice", report, remote("a", content)) == content


def test_wrong_bytes_of_an_earlier_run_are_not_the_sources_fault(tmp_path: Path, small_spans: None) -> None:
    content = noise(MIB)
    interrupt(tmp_path, content)
    (partial,) = [path for path in (tmp_path / "partial").iterdir() if path.suffix != ".journal"]
    with open(partial, "r+b") as stream:
        stream.write(b"flipped")
    source = FakeSource({"a": content})
    source.answers["a"] = [Answer() for dummy in range(30)]
    report, dummy = transfer(tmp_path, source, [remote("a", content)], max_parallel=1)
    assert blob(tmp_path, report, remote("a", content)) == content
    assert report.bytes_resumed == 0


def test_a_complete_partial_is_verified_without_a_request(tmp_path: Path, small_spans: None) -> None:
    content = noise(MIB)
    file = remote("a", content)
    partial = Partial(str(tmp_path / "partial"), file.announced, file.size)
    partial.write(content, 0)
    partial.commit([(0, len(content))])
    partial.close()
    source = FakeSource({"a": content})
    report, dummy = transfer(tmp_path, source, [file])
    assert source.requests == []
    assert (report.bytes_fetched, report.bytes_resumed) == (0, MIB)
    assert blob(tmp_path, report, file) == content


def test_what_another_process_fetches_is_left_to_it(tmp_path: Path) -> None:
    file = remote("a", b"content")
    held = Partial(str(tmp_path / "partial"), file.announced, file.size)
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path, FakeSource({"a": b"content"}), [file])
    assert caught.value.reason_code == "locked"
    held.close()
    assert transfer(tmp_path, FakeSource({"a": b"content"}), [file])[0].bytes_fetched == 7


def test_the_first_failure_ends_streams_that_wait(tmp_path: Path) -> None:
    hanging, sleeping, started = (threading.Event() for dummy in range(3))

    class Failing(FakeSource):
        def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> FakeStream:
            if file.path == "bad":
                started.set()
                assert hanging.wait(30)
                assert sleeping.wait(30)
                raise VenomError("unauthorized", "x", "y", "z")
            if file.path == "slept":
                # What it is told holds for all that have not asked yet.
                assert started.wait(30)
                sleeping.set()
            return super().open(file, offset, length)

    contents = {"hung": b"H" * 100, "slept": b"S" * 50}
    answers = {"hung": [Answer(hang_after=1, hanging=hanging)], "slept": [Answer(error=TransientError("503", 503, retry_after=250.0))]}
    source = Failing(contents, answers)
    files = [remote("hung", contents["hung"]), remote("slept", contents["slept"]), remote("bad", b"x")]
    with pytest.raises(VenomError) as caught:
        fetch([source], files, Blobs(str(tmp_path)), TransferOptions(max_parallel=3), lambda done, total: None)
    assert caught.value.reason_code == "unauthorized"
    assert sorted(path for path, dummy, dummy in source.requests) == ["hung", "slept"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("venom-")]


def test_verified_files_stay_when_another_fails(tmp_path: Path) -> None:
    done = threading.Event()

    class Ordered(FakeSource):
        def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> FakeStream:
            if file.path == "bad":
                assert done.wait(30)
                raise VenomError("not_found", "x", "y", "z")
            return super().open(file, offset, length)

    class Telling(Blobs):
        def put(self, partial: str, digest: Digest) -> str:
            path = super().put(partial, digest)
            done.set()
            return path

    good, blobs = remote("good", b"good"), Telling(str(tmp_path))
    with pytest.raises(VenomError):
        fetch([Ordered({"good": b"good"})], [good, remote("bad", b"x")], blobs, TransferOptions(), lambda finished, total: None)
    assert Path(blobs.path(Digest("sha256", str(good.sha256)))).read_bytes() == b"good"


def test_a_full_disk_is_told_as_what_it_is_and_keeps_what_was_safe(tmp_path: Path, small_spans: None, monkeypatch: pytest.MonkeyPatch) -> None:
    content = noise(MIB)
    real = os.pwrite

    def full(descriptor: int, data: t.Any, offset: int) -> int:
        if offset >= 300 * KIB:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        transfer(tmp_path, FakeSource({"a": content}), [remote("a", content)], max_parallel=1)
    monkeypatch.setattr(os, "pwrite", real)
    report, dummy = transfer(tmp_path, FakeSource({"a": content}), [remote("a", content)])
    assert (report.bytes_resumed, report.bytes_fetched) == (320 * KIB, MIB - 320 * KIB)


def test_a_store_that_refuses_a_file_ends_the_transfer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*dummy: object) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(Blobs, "put", refuse)
    with pytest.raises(PermissionError):
        transfer(tmp_path, FakeSource({"a": b"content"}), [remote("a", b"content")])


def test_no_stream_runs_ahead_of_what_is_safe(tmp_path: Path, small_spans: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk does not say that bytes are safe, no stream has more than its few MiB of them."""
    content = noise(32 * MIB)
    blocked, released = threading.Event(), threading.Event()
    real = Partial.commit
    most: list[int] = []
    source = FakeSource({"a": content})

    def stuck(self: Partial, ranges: t.Any) -> None:
        blocked.set()
        assert released.wait(30)
        real(self, ranges)

    def look(done: int, total: int) -> None:
        most.append(done)
        # Two looks at the same number: all streams wait.
        if blocked.is_set() and most[-2:] == [done, done] and done:
            released.set()

    monkeypatch.setattr(Partial, "commit", stuck)
    transfer(tmp_path, source, [remote("a", content)], look, max_parallel=2)
    assert released.is_set()
    stood_at = next(done for done, following in zip(most, most[1:]) if done and done == following)
    assert stood_at <= 2 * (board_module.MAX_UNJOURNALED + source.chunk_size)


def test_a_file_that_starts_over_frees_a_stream_that_waits_for_the_disk(
    tmp_path: Path, small_spans: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody syncs a file that starts over; a stream that waited for that held up the start, for ever."""
    content = noise(MIB)
    waits, changed = threading.Event(), threading.Event()
    real_wait = threading.Condition.wait

    def wait(self: threading.Condition, timeout: float | None = None) -> bool:
        if board and self is board[0].room:
            waits.set()
        return real_wait(self, timeout)

    board: list[board_module.Board] = []
    real_take_dirt = board_module.Board.take_dirt

    def take_dirt(self: board_module.Board, interval: float) -> t.Any:
        board[:] = [self]
        assert changed.wait(30)
        return real_take_dirt(self, interval)

    class Wrong(FakeSource):
        def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> FakeStream:
            is_second = len(self.requests) == 1
            stream = super().open(file, offset, length)
            if is_second:
                assert waits.wait(30)
                board[0].wrong(board[0].files[0], "other bytes")
                changed.set()
            return stream

    monkeypatch.setattr(board_module, "MAX_UNJOURNALED", 32 * KIB)
    monkeypatch.setattr(board_module, "FLUSH_AT", 16 * KIB)
    monkeypatch.setattr(threading.Condition, "wait", wait)
    monkeypatch.setattr(board_module.Board, "take_dirt", take_dirt)
    report, dummy = transfer(tmp_path, Wrong({"a": content}, chunk_size=32 * KIB), [remote("a", content)], max_parallel=2)
    assert blob(tmp_path, report, remote("a", content)) == content


def test_progress_grows_and_counts_what_was_there(tmp_path: Path, small_spans: None) -> None:
    content = noise(MIB)
    interrupt(tmp_path, content)
    seen: list[tuple[int, int]] = []
    gate = threading.Event()

    def look(done: int, total: int) -> None:
        seen.append((done, total))
        gate.set()

    source = FakeSource({"a": content})
    source.always = Answer(gate=gate)
    source.answers["a"] = [Answer(gate=gate, flip_at=70 * KIB)]
    transfer(tmp_path, source, [remote("a", content)], look)
    assert seen[0][0] >= 64 * KIB
    assert [done for done, dummy in seen] == sorted(done for done, dummy in seen)
    assert {total for dummy, total in seen} == {MIB}
    assert seen[-1] == (MIB, MIB)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), VenomError("cancelled", "x", "y", "z")], ids=["interrupt", "cancel"])
def test_an_interrupt_ends_all_threads_and_keeps_what_arrived(tmp_path: Path, small_spans: None, error: BaseException) -> None:
    content = noise(MIB)
    hanging = threading.Event()

    def stop(done: int, total: int) -> None:
        if hanging.is_set():
            raise error

    source = FakeSource({"a": content}, {"a": [Answer(), Answer(hang_after=10 * KIB, hanging=hanging)]}, chunk_size=10 * KIB)
    with pytest.raises(type(error)):
        transfer(tmp_path, source, [remote("a", content)], stop, max_parallel=1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("venom-")]
    report, dummy = transfer(tmp_path, FakeSource({"a": content}), [remote("a", content)])
    assert report.bytes_resumed == 74 * KIB


def test_a_deadline_ends_the_transfer_and_keeps_what_arrived(tmp_path: Path, small_spans: None) -> None:
    content = noise(MIB)
    source = FakeSource({"a": content}, {"a": [Answer(), Answer(hang_after=0)]})
    with pytest.raises(VenomError) as caught:
        transfer(tmp_path, source, [remote("a", content)], max_parallel=1, deadline=0.5)
    assert caught.value.reason_code == "deadline_exceeded"
    assert caught.value.details["bytes_done"] == 64 * KIB
    assert kept_bytes(str(tmp_path / "partial"), remote("a", content).announced, MIB) == 64 * KIB
