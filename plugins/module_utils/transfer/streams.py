# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads that fetch: each takes a piece, asks for exactly its bytes, puts them in place, and tries again when the line breaks."""
from __future__ import annotations

import threading
import time
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.sources.base import Blamable, Source, Stream, TransientError
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import give_up, is_told_to_wait, too_late
from ansible_collections.venom.llm.plugins.module_utils.transfer.board import Board
from ansible_collections.venom.llm.plugins.module_utils.transfer.options import TransferOptions
from ansible_collections.venom.llm.plugins.module_utils.transfer.pace import LEAST_RATE, Bucket, Meter
from ansible_collections.venom.llm.plugins.module_utils.transfer.work import MIB, Span

#: Bytes after which tries are counted anew: a line that is cut every 20 MB must not use up the tries of a large file.
REAL_PROGRESS = MIB


class _Leave(Exception):
    """This stream is not wanted any more."""


class _TooLong(Exception):
    """The body goes on after the announced end of the file."""


class Worker(threading.Thread):
    """One stream at a time, piece after piece."""

    def __init__(self, board: Board, sources: t.Sequence[Source], options: TransferOptions, bucket: Bucket | None, number: int) -> None:
        super().__init__(name=f"venom-transfer-{number}", daemon=True)
        self.meter = Meter()
        self.unjournaled = 0
        self.span: Span | None = None
        self._board = board
        self._sources = sources
        self._options = options
        self._bucket = bucket
        self._stream: Stream | None = None

    def run(self) -> None:
        """Work until there is nothing left. Whatever goes wrong ends the transfer."""
        try:
            while True:
                span = self._board.take(self)
                if span is None:
                    return
                try:
                    self._fetch(span)
                except BaseException as error:  # noqa: B036 - see below; nobody may take up the piece before it is told
                    self._board.fail(error)
                finally:
                    self._board.release(span)
        except BaseException as error:  # noqa: B036 - the thread that called fetch raises it
            self._board.fail(error)

    @property
    def is_streaming(self) -> bool:
        """Whether a stream is open, after its request and before the next."""
        return self._stream is not None

    def abort(self, is_slow: bool = False) -> None:
        """End a read that waits. The board's lock is held, so the stream is not closed meanwhile."""
        stream = self._stream
        if is_slow and isinstance(stream, Blamable):
            stream.blame()
        if stream is not None:
            stream.abort()

    def _fetch(self, span: Span) -> None:
        while span.position < span.end and not self._is_unwanted(span):
            try:
                self._stream_once(span)
            except _Leave:
                return
            except _TooLong:
                self._board.wrong(span, f"more than {span.file.size} bytes")
                return
            except TransientError as error:
                failure = error
            else:
                failure = TransientError(f"{ascii(span.file.remote.path)} ended at byte {span.position} instead of {span.end}")
            if span.position >= span.end or self._is_unwanted(span):
                return
            self._board.narrow(span)
            self._wait_for_next_try(span, failure)

    def _is_unwanted(self, span: Span) -> bool:
        return span.is_cancelled or self._board.cancelled.is_set()

    def _wait_for_next_try(self, span: Span, failure: TransientError) -> None:
        self.meter.restart()
        if span.is_redialed:
            span.is_redialed = False
            return
        if failure.elsewhere:
            span.is_stalled = False
            return
        if span.is_stalled:
            span.is_stalled = False
            failure = TransientError(f"less than {LEAST_RATE} bytes a second came over {self._options.stall_timeout:g} s")
        policy = self._options.retry_policy
        if span.fresh >= REAL_PROGRESS:
            span.attempt, span.waited = 0, 0.0
        span.fresh = 0
        delay = policy.delay(span.attempt, failure)
        span.attempt += 1
        if span.attempt > policy.retries or span.waited + delay > policy.budget:
            raise give_up(failure, f"to fetch {ascii(span.file.remote.path)}", span.attempt) from failure
        if is_told_to_wait(failure) and policy.is_too_late(delay):
            raise too_late(failure, f"to fetch {ascii(span.file.remote.path)}", delay) from failure
        span.waited += delay
        if failure.retry_after is not None:
            # What one stream was told holds for all of them.
            self._board.hold_until = max(self._board.hold_until, self._options.clock() + delay)
        self._sleep(delay)

    def _sleep(self, seconds: float) -> None:
        self.meter.is_waiting = True
        if self._options.sleep is time.sleep:
            self._board.cancelled.wait(seconds)
        else:
            self._options.sleep(seconds)
        self.meter.is_waiting = False

    def _stream_once(self, span: Span) -> None:
        hold = self._board.hold_until - self._options.clock()
        if hold > 0 and span.attempt == 0:
            self._sleep(hold)
        if self._is_unwanted(span):
            raise _Leave
        file = span.file
        stream = self._sources[file.source_index].open(file.remote, span.position, span.end - span.position)
        try:
            self._attach(span, stream)
            self._begin(span, stream)
            for chunk in stream:
                if self._is_unwanted(span):
                    raise _Leave
                if not self._put(span, stream, chunk):
                    return
        finally:
            self._detach()
            stream.close()

    def _attach(self, span: Span, stream: Stream) -> None:
        with self._board.lock:
            if self._is_unwanted(span):
                raise _Leave
            self._stream = stream
            self.meter.begin(self._options.clock())

    def _detach(self) -> None:
        with self._board.lock:
            self._stream = None

    def _begin(self, span: Span, stream: Stream) -> None:
        if stream.offset == span.position:
            if span.position:
                span.file.is_solo = False
        elif stream.offset == 0:
            self._take_over(span)
        else:
            found = f"a stream that begins at byte {stream.offset} instead of {span.position}"
            final = VenomError("unsupported_source", f"a part of {ascii(span.file.remote.path)}", found, "check endpoint, and proxies on the way")
            raise TransientError(found, final=final)

    def _take_over(self, span: Span) -> None:
        if not self._board.take_over(span):
            raise _Leave

    def _put(self, span: Span, stream: Stream, chunk: bytes) -> bool:
        """Put bytes in place; False when no more are wanted of this stream."""
        self.meter.received += len(chunk)
        size = span.file.size
        if span.position + len(chunk) > span.end < size and stream.offset == 0:
            # It was asked for a part from 0 on and goes on behind it.
            position = span.position
            self._take_over(span)
            span.position = position
        start, end = span.position, min(span.position + len(chunk), span.end)
        partial = span.file.opened
        view = memoryview(chunk)
        for first, last in self._board.missing_in(span, start, end):
            partial.write(view[first - start : last - start], first)
            self._board.stored(span, first, last)
        span.position = end
        if end - start < len(chunk):
            if end == size:
                raise _TooLong
            return False
        if self._bucket is not None:
            delay = self._bucket.take(len(chunk))
            if delay > 0:
                self._sleep(delay)
        return True
