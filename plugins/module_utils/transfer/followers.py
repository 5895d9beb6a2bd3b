# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads behind the streams: some make bytes safe, some hash them in order and put complete files into the store."""
from __future__ import annotations

import threading

from ansible_collections.venom.llm.plugins.module_utils.store.shelf import Shelf
from ansible_collections.venom.llm.plugins.module_utils.transfer.board import Board
from ansible_collections.venom.llm.plugins.module_utils.transfer.work import MIB, FileWork

#: Seconds after which bytes are made safe, however few they are.
FLUSH_INTERVAL = 0.5
#: Bytes that are hashed before another file has its turn.
_TURN = 32 * MIB
_BUFFER_SIZE = MIB


class Flusher(threading.Thread):
    """Group commit: everything that was written into a file since the last time is synced and journaled together."""

    def __init__(self, board: Board, number: int) -> None:
        super().__init__(name=f"venom-flush-{number}", daemon=True)
        self._board = board

    def run(self) -> None:
        """Work until the transfer is over; what is written by then is made safe as well."""
        while self.flush():
            continue

    def flush(self) -> bool:
        """Make safe what is written; whether there may be more to come."""
        batch = self._board.take_dirt(FLUSH_INTERVAL)
        for file, dirt in batch or ():
            try:
                file.opened.commit((start, end) for dummy, start, end in dirt)
            except BaseException as error:  # noqa: B036 - the thread that called fetch raises it
                self._board.fail(error)
            finally:
                self._board.synced(file, dirt)
        return batch is not None


class Hashers(threading.Thread):
    """Hashes what is written, reading it back from the page cache; verifies and hands over what is complete."""

    def __init__(self, board: Board, shelf: Shelf, number: int) -> None:
        super().__init__(name=f"venom-hash-{number}", daemon=True)
        self._board = board
        self._shelf = shelf
        self._view = memoryview(bytearray(_BUFFER_SIZE))

    def run(self) -> None:
        """Work until the transfer is over. Whatever goes wrong ends it."""
        while True:
            taken = self._board.take_hashing()
            if taken is None:
                return
            file, frontier = taken
            try:
                if file.hasher.position < file.size:
                    self._hash(file, min(frontier, file.hasher.position + _TURN))
                else:
                    self._finish(file)
            except BaseException as error:  # noqa: B036 - the thread that called fetch raises it
                self._board.fail(error)
            finally:
                self._board.hashed(file)

    def _hash(self, file: FileWork, end: int) -> None:
        hasher = file.hasher
        while hasher.position < end and not file.is_starting_over and not self._board.cancelled.is_set():
            length = file.opened.read_into(self._view[: end - hasher.position], hasher.position)
            hasher.update(self._view[:length])

    def _finish(self, file: FileWork) -> None:
        if file.hasher.found != file.remote.announced:
            self._board.wrong(file, file.hasher.found)
            return
        file.opened.seal()
        self._shelf.put(file.opened.path, file.hasher.digest)
        file.opened.close(is_finished=True)
        self._board.finished(file, file.hasher.digest)
