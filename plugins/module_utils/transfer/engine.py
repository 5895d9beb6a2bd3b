# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes from sources to a shelf: many streams, each byte written in place once, hashed behind, journaled, verified before it counts.

Streams fetch pieces of files and write them where they belong. A flusher syncs and journals what they wrote, and a stream that is too far
ahead of it waits. Hashers follow the part of each file that has no hole, and hand verified files to the shelf. The thread that called
``fetch`` watches: progress, stalls, the deadline.
"""
from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.sources.base import ManyPlaces, RemoteFile, Source
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import remove_if_empty
from ansible_collections.venom.llm.plugins.module_utils.store.shelf import Shelf
from ansible_collections.venom.llm.plugins.module_utils.transfer.board import Board
from ansible_collections.venom.llm.plugins.module_utils.transfer.followers import Flusher, Hashers
from ansible_collections.venom.llm.plugins.module_utils.transfer.options import Progress, TransferOptions, TransferReport, mismatch
from ansible_collections.venom.llm.plugins.module_utils.transfer.pace import Bucket, Peers
from ansible_collections.venom.llm.plugins.module_utils.transfer.streams import Worker
from ansible_collections.venom.llm.plugins.module_utils.transfer.work import Streamer

__all__ = ["Progress", "TransferOptions", "TransferReport", "fetch", "mismatch"]

#: Seconds between two looks at the streams, and between two calls of progress.
_TICK = 0.1
PROGRESS_INTERVAL = 0.2
#: A stream is dialed again so often for one piece; after that the line is as it is.
MAX_REDIALS = 3
#: More cores than this do not help a line.
_MAX_HASHERS = 4
#: Syncs of several files at once cost little more than one: the file system commits them together.
_FLUSHERS = 4
#: Seconds that threads get to end. One that still waits for a connection is left behind; it touches nothing any more.
_GRACE = 5.0


def fetch(
    sources: t.Sequence[Source], files: t.Sequence[RemoteFile], shelf: Shelf, options: TransferOptions, progress: Progress
) -> TransferReport:
    """Put every file onto the shelf; the same content twice is fetched once.

    The first source is preferred; a file whose bytes are wrong twice comes from the next. One that has many places leaves those that gave
    wrong bytes, and that counts only when none was left. The first failure ends the rest and is raised.
    What was verified until then stays on the shelf, and what had arrived stays below ``partial_root`` for the next call, also when the
    process is killed. Raises ``digest_mismatch``, ``hub_unreachable``, ``rate_limited``, ``deadline_exceeded``, ``locked``, whatever a
    source finds final, what ``progress`` raises, and ``OSError``.
    """
    distinct = list({file.announced: file for file in files}.values())
    if not distinct:
        return TransferReport()

    def reject(number: int, file: RemoteFile, is_fresh: bool) -> bool:
        source = sources[number]
        return isinstance(source, ManyPlaces) and source.reject(file, is_fresh)

    board = Board(distinct, len(sources), shelf.partial_root, options.max_parallel, reject)
    bucket = Bucket(options.bandwidth_limit, options.clock) if options.bandwidth_limit else None
    workers = [Worker(board, sources, options, bucket, number) for number in range(options.max_parallel)]
    board.workers = workers
    flushers = [Flusher(board, number) for number in range(_FLUSHERS)]
    hashers = [Hashers(board, shelf, number) for number in range(max(2, min(os.cpu_count() or 1, _MAX_HASHERS)))]
    threads = [*workers, *hashers, *flushers]
    try:
        for thread in threads:
            thread.start()
        _watch(board, options, progress)
    except BaseException:
        board.cancel()
        raise
    finally:
        end = time.monotonic() + _GRACE
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, end - time.monotonic()))
        flushers[0].flush()
        board.close()
        remove_if_empty(shelf.partial_root)
    if board.error is not None:
        raise board.error
    progress(board.total, board.total)
    return TransferReport(sum(worker.meter.received for worker in board.workers), board.resumed, board.digests)


def _watch(board: Board, options: TransferOptions, progress: Progress) -> None:
    """Look after the threads until the transfer is over."""
    clock = options.clock
    started = shown_at = clock()
    shown = 0
    peers = Peers()
    while True:
        with board.lock:
            if board.is_over:
                return
            board.ended.wait(_TICK)
            if board.is_over:
                return
            now = clock()
            _look_after_streams(board, options, peers, now)
            done = board.on_disk
        if options.deadline is not None and now - started >= options.deadline:
            raise VenomError(
                "deadline_exceeded",
                wanted=f"{board.total} bytes within {options.deadline:g} s",
                found=f"{done} bytes",
                todo="run it again, it goes on where it stopped; or raise deadline",
                bytes_done=done,
                bytes_total=board.total,
            )
        if now - shown_at >= PROGRESS_INTERVAL:
            # A file that starts over takes bytes back; nobody who watches wants to see that.
            shown_at, shown = now, max(shown, done)
            progress(shown, board.total)


def _look_after_streams(board: Board, options: TransferOptions, peers: Peers, now: float) -> None:
    """End streams that stall, and those far below the others; under a limit all are slow. The board's lock is held."""
    rates: dict[Streamer, float | None] = {}
    for worker in board.workers:
        if worker.span is None:
            worker.meter.restart()
            continue
        worker.meter.sample(now)
        rates[worker] = worker.meter.rate(now)
        if worker.is_streaming and worker.meter.is_stalled(now, options.stall_timeout):
            worker.span.is_stalled = True
            worker.abort(is_slow=True)
    for worker in peers.slow_ones(rates) if options.bandwidth_limit is None else ():
        span = worker.span
        if span is not None and worker.is_streaming and not span.is_stalled and span.redials < MAX_REDIALS:
            span.redials += 1
            span.is_redialed = True
            worker.abort(is_slow=True)
