# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the threads of one transfer share: who works on which piece, what is written, what is safe, what went wrong.

One lock guards it all; bytes move and hashes run outside of it.
"""
from __future__ import annotations

import threading
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.store.extents import Extents, Range
from ansible_collections.venom.llm.plugins.module_utils.transfer.options import mismatch
from ansible_collections.venom.llm.plugins.module_utils.transfer.work import MAX_SPAN, MIB, MIN_SPAN, FileWork, Span, Streamer

#: Bytes that one stream may have written and not journaled. With what is on the line (a few MiB in the buffers of both sides) it is what a
#: killed process or a power cut costs a stream, which is to stay under 16 MiB.
MAX_UNJOURNALED = 4 * MIB
#: From so many on the flusher does not wait for its interval.
FLUSH_AT = 2 * MIB
#: Seconds that a thread waits before it looks again whether it missed something.
_LOOK_AGAIN = 1.0

#: Called with the number of a source, a file whose bytes were wrong, and whether all of them came in this run; as ``ManyPlaces.reject``.
Reject = t.Callable[[int, RemoteFile, bool], bool]


class Board:
    """The state of one transfer. Every public method may be called by any thread."""

    def __init__(
        self,
        files: t.Sequence[RemoteFile],
        sources: int,
        partial_root: str,
        max_parallel: int,
        reject: Reject = lambda dummy_number, dummy_file, dummy_is_fresh: False,
    ) -> None:
        self.lock = threading.Lock()
        #: What threads wait for: something ended (the caller), a piece to fetch, room to write, bytes to sync, bytes to hash.
        self.ended, self.work, self.room, self.dirt, self.hashing = (threading.Condition(self.lock) for dummy in range(5))
        self.cancelled = threading.Event()
        self.error: BaseException | None = None
        self.total = sum(file.size for file in files)
        #: Bytes on disk that may be right, and those of finished files that earlier runs had left.
        self.on_disk = 0
        self.resumed = 0
        self.digests: dict[str, Digest] = {}
        self.files: list[FileWork] = []
        self.workers: t.Sequence[Streamer] = ()
        #: Until when the source asked to be left alone, on the clock of the options.
        self.hold_until = 0.0
        self._sources = sources
        self._reject = reject
        self._root = partial_root
        self._streams = max_parallel
        # The largest are begun first, so they stand last here.
        self._waiting = sorted((FileWork(file) for file in files), key=lambda work: work.size)
        self._unfinished = len(self._waiting)
        self._is_closed = False

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to do, or nothing more may be done."""
        return self._unfinished == 0 or self.cancelled.is_set()

    # Handing out

    def take(self, worker: Streamer) -> Span | None:
        """The next piece for a stream; waits for one. None when the transfer is over."""
        with self.lock:
            while not self.is_over:
                file = self._choose()
                if file is not None:
                    start, end = file.cut(max(MIN_SPAN, min(MAX_SPAN, (self.total - self.on_disk) // (self._streams * 8))))
                    span = Span(file, start, end, worker)
                    worker.span = span
                    file.spans.add(span)
                    file.users += 1
                    return span
                self.work.wait(_LOOK_AGAIN)
        return None

    def _choose(self) -> FileWork | None:
        """A file that nobody works on, the largest first; else the one of which most is left.

        Not many are open at once: each takes a descriptor, and small ones are lost if the process is killed before they are verified.
        """
        ready = [file for file in self.files if file.unassigned and not (file.is_solo and file.spans)]
        idle = [file for file in ready if not file.spans]
        if idle:
            return max(idle, key=lambda file: file.unassigned.total)
        while self._waiting and len(self.files) < 2 * self._streams + 2:
            file = self._waiting.pop()
            self.files.append(file)
            file.begin(self._root)
            self.on_disk += file.resumed
            if file.unassigned:
                return file
            self.hashing.notify()
        return max(ready, key=lambda file: file.unassigned.total, default=None)

    def release(self, span: Span) -> None:
        """A stream leaves its piece; what is left of it is for others."""
        with self.lock:
            file = span.file
            span.worker.span = None
            file.spans.discard(span)
            if not span.is_cancelled:
                for piece in self._missing(file, span):
                    file.unassigned.add(*piece)
            self._leave(file)
            self.work.notify_all()

    @staticmethod
    def _missing(file: FileWork, span: Span) -> list[Range]:
        if span.is_whole:
            return file.written.gaps(0, file.size)
        return [(span.position, span.end)] if span.position < span.end else []

    def _leave(self, file: FileWork) -> None:
        file.users -= 1
        if self._is_closed:
            if file.users == 0:
                file.opened.close()
            return
        if file.users == 0 and file.is_starting_over:
            self._reset(file)
        if file.is_complete:
            self.hashing.notify()

    # Streams

    def take_over(self, span: Span) -> bool:
        """The source ignores ranges: this stream brings the whole file, the others leave it. False if another does so already."""
        with self.lock:
            if span.is_cancelled:
                return False
            span.is_whole = True
            span.position, span.end = 0, span.file.size
            span.file.is_solo = True
            span.file.unassigned = Extents()
            self._cancel_spans(span.file, besides=span)
            return True

    def narrow(self, span: Span) -> None:
        """A stream that brought the whole file broke: its piece is the first gap now, and it asks for a range again."""
        with self.lock:
            if span.is_whole and not span.is_cancelled:
                gaps = span.file.written.gaps(0, span.file.size)
                span.is_whole = False
                span.position, span.end = gaps[0] if gaps else (span.end, span.end)
                span.file.unassigned = Extents(gaps[1:])

    def missing_in(self, span: Span, start: int, end: int) -> list[Range]:
        """What of these bytes is still worth writing."""
        with self.lock:
            return span.file.written.gaps(start, end) if span.is_whole else [(start, end)]

    def stored(self, span: Span, start: int, end: int) -> None:
        """Bytes were written. Waits while too many of this stream's bytes are not yet safe."""
        worker, file = span.worker, span.file
        with self.lock:
            if file.is_starting_over:
                return
            new = file.written.add(start, end)
            self.on_disk += new
            span.fresh += new
            if file.opened.is_journaled:
                self._note_dirt(worker, file, start, end)
            if file.is_hashable:
                self.hashing.notify()
            if worker.unjournaled >= MAX_UNJOURNALED:
                worker.meter.is_waiting = True
                while worker.unjournaled >= MAX_UNJOURNALED and not self.cancelled.is_set():
                    self.room.wait(_LOOK_AGAIN)
                worker.meter.is_waiting = False

    def _note_dirt(self, worker: Streamer, file: FileWork, start: int, end: int) -> None:
        worker.unjournaled += end - start
        if file.dirty and file.dirty[-1][0] is worker and file.dirty[-1][2] == start:
            start = file.dirty.pop()[1]
        file.dirty.append((worker, start, end))
        if worker.unjournaled >= FLUSH_AT:
            self.dirt.notify()

    # Starting over

    def wrong(self, span_or_file: Span | FileWork, found: str) -> None:
        """The bytes of a file are not the announced ones: again from the same source, then from the next, then never."""
        file = span_or_file.file if isinstance(span_or_file, Span) else span_or_file
        with self.lock:
            if file.is_starting_over:
                return
            was_elsewhere = self._reject(file.source_index, file.remote, not file.resumed)
            # What an earlier run left may be at fault; then the source is not to blame.
            if not file.resumed and not was_elsewhere:
                file.wrong += 1
            if file.wrong == 2:
                file.wrong = 0
                file.source_index += 1
            self._start_over(file)
            if file.source_index == self._sources:
                self._fail(mismatch(file.remote, found))

    def _start_over(self, file: FileWork) -> None:
        file.is_starting_over = True
        file.unassigned = Extents()
        # Nobody syncs it any more, so a stream that waits for that would wait for itself to leave.
        self._drop_dirt(file)
        self._cancel_spans(file)
        if file.users == 0:
            self._reset(file)

    def _cancel_spans(self, file: FileWork, besides: Span | None = None) -> None:
        for span in file.spans:
            if span is not besides:
                span.is_cancelled = True
                span.worker.abort()

    def _reset(self, file: FileWork) -> None:
        file.is_starting_over = False
        self.on_disk -= file.written.total
        file.opened.restart()
        fresh = FileWork(file.remote)
        file.written, file.hasher, file.resumed, file.is_solo = fresh.written, fresh.hasher, 0, False
        file.unassigned = Extents([(0, file.size)])
        if not file.size:
            self.hashing.notify()
        self.work.notify_all()

    def _drop_dirt(self, file: FileWork) -> None:
        for worker, start, end in file.dirty:
            worker.unjournaled -= end - start
        file.dirty = []
        self.room.notify_all()

    # Syncing

    def take_dirt(self, interval: float) -> list[tuple[FileWork, list[tuple[Streamer, int, int]]]] | None:
        """What is written and not journaled: of the file with most of it where a stream has much, else of all after the interval.

        None at the end. No file is given to two at a time.
        """
        with self.lock:
            is_urgent = self._is_urgent()
            if not is_urgent and not self.is_over:
                self.dirt.wait(interval)
            ready = [file for file in self.files if file.dirty and not file.is_syncing and not file.is_starting_over]
            if is_urgent:
                ready = [max(ready, key=lambda file: sum(end - start for dummy, start, end in file.dirty))]
            batch = [(file, file.dirty) for file in ready]
            for file in ready:
                file.dirty = []
                file.is_syncing = True
                file.users += 1
            return None if self.is_over and not batch else batch

    def _is_urgent(self) -> bool:
        ready = (file for file in self.files if file.dirty and not file.is_syncing and not file.is_starting_over)
        return any(worker.unjournaled >= FLUSH_AT for file in ready for worker, dummy, dummy in file.dirty)

    def synced(self, file: FileWork, dirt: t.Iterable[tuple[Streamer, int, int]]) -> None:
        """These bytes are safe."""
        with self.lock:
            for worker, start, end in dirt:
                worker.unjournaled -= end - start
            file.is_syncing = False
            self.room.notify_all()
            self.dirt.notify()
            self._leave(file)

    # Hashing

    def take_hashing(self) -> tuple[FileWork, int] | None:
        """A file and the position to hash up to; the file's size twice hashed means that it is to be finished. None at the end."""
        with self.lock:
            while not self.is_over:
                for file in self.files:
                    if file.is_finishable:
                        self._drop_dirt(file)
                        return self._hold(file)
                ready = [file for file in self.files if file.is_hashable]
                if ready:
                    return self._hold(max(ready, key=lambda file: file.written.frontier - file.hasher.position))
                self.hashing.wait(_LOOK_AGAIN)
        return None

    @staticmethod
    def _hold(file: FileWork) -> tuple[FileWork, int]:
        file.users += 1
        file.is_hashing = True
        return file, file.written.frontier

    def hashed(self, file: FileWork) -> None:
        """A hasher leaves a file."""
        with self.lock:
            file.is_hashing = False
            self._leave(file)

    def finished(self, file: FileWork, digest: Digest) -> None:
        """A file is verified and in the store."""
        with self.lock:
            self.digests[file.remote.announced] = digest
            self.resumed += file.resumed
            self.files.remove(file)
            self._unfinished -= 1
            if self.is_over:
                self._wake()
            else:
                self.work.notify_all()

    # The end

    def fail(self, error: BaseException) -> None:
        """The first failure ends the transfer."""
        with self.lock:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self.error is None and not self.cancelled.is_set():
            self.error = error
        self._cancel()

    def cancel(self) -> None:
        """End every thread soon, also those that wait for bytes or for their next try."""
        with self.lock:
            self._cancel()

    def _cancel(self) -> None:
        self.cancelled.set()
        for worker in self.workers:
            worker.abort()
        self._wake()

    def _wake(self) -> None:
        for condition in (self.ended, self.work, self.room, self.dirt, self.hashing):
            condition.notify_all()

    def close(self) -> None:
        """Let go of the unfinished files. One that a thread still holds stays open, so that its descriptor means nothing else."""
        with self.lock:
            self._is_closed = True
            for file in self.files:
                if file.partial is not None and file.users:
                    file.partial.abandon()
                elif file.partial is not None:
                    file.partial.close(is_finished=file.source_index == self._sources)
