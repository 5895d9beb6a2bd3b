# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One file on its way, and the pieces of it that are handed out."""
from __future__ import annotations

import hashlib
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.store.extents import Extents, Range
from ansible_collections.venom.llm.plugins.module_utils.store.partials import Partial
from ansible_collections.venom.llm.plugins.module_utils.transfer.pace import Meter

MIB = 1024 * 1024
#: A piece in bytes: small enough that streams end together, large enough that requests cost nothing.
MIN_SPAN = 8 * MIB
MAX_SPAN = 128 * MIB


class Streamer(t.Protocol):
    """A thread that fetches. ``unjournaled`` are bytes that it has written and that are not safe yet; ``span`` is what it works on."""

    meter: Meter
    unjournaled: int
    span: Span | None

    @property
    def is_streaming(self) -> bool:
        """Whether a stream is open, after its request and before the next."""

    def abort(self, is_slow: bool = False) -> None:
        """End a read that waits, because it is too slow or not wanted any more. The board's lock is held."""


class Span:
    """A piece that one stream fetches: ``[position, end)`` is still to come. The board's lock guards it, but for its worker's reading."""

    def __init__(self, file: FileWork, start: int, end: int, worker: Streamer) -> None:
        self.file = file
        self.position = start
        self.end = end
        self.worker = worker
        #: Somebody else does it, or the file starts over: the worker leaves.
        self.is_cancelled = False
        #: The source ignores ranges, so this stream brings the file from its first byte on.
        self.is_whole = False
        self.is_stalled = False
        self.is_redialed = False
        self.redials = 0
        #: Tries since the last real progress, seconds waited since, bytes that came since the last failure.
        self.attempt = 0
        self.waited = 0.0
        self.fresh = 0


class FileWork:
    """A file to fetch. The board's lock guards everything but the hashing, which one thread does at a time."""

    def __init__(self, remote: RemoteFile) -> None:
        self.remote = remote
        self.size = remote.size
        self.partial: Partial | None = None
        self.unassigned = Extents()
        self.written = Extents()
        self.spans: set[Span] = set()
        #: Written, but not journaled yet: who wrote it, and what.
        self.dirty: list[tuple[Streamer, int, int]] = []
        #: Threads that may touch the partial file: streams, the flusher, a hasher. Starting over and closing wait until there are none.
        self.users = 0
        self.is_hashing = False
        self.is_syncing = False
        self.is_starting_over = False
        #: One stream at a time: the source ignored a range.
        self.is_solo = False
        self.source_index = 0
        self.wrong = 0
        self.resumed = 0
        self.hasher = Hasher(remote)

    @property
    def opened(self) -> Partial:
        """The partial file of a file that was begun."""
        if self.partial is None:
            raise ValueError("a file that is worked on is open")
        return self.partial

    def begin(self, root: str) -> None:
        """Open the partial file and take over what is there. Raises ``locked``, ``OSError``."""
        self.partial = Partial(root, self.remote.announced, self.size)
        self.written = Extents(self.partial.kept)
        self.resumed = self.written.total
        self.unassigned = Extents(self.written.gaps(0, self.size))

    @property
    def is_complete(self) -> bool:
        """Whether every byte is written; nobody has said yet that they are the right ones."""
        return self.partial is not None and self.written.total == self.size and not self.is_starting_over

    @property
    def is_hashable(self) -> bool:
        """Whether hashing is worth a turn now."""
        if self.is_hashing or self.is_starting_over or self.partial is None:
            return False
        room = self.written.frontier - self.hasher.position
        return room >= MIB or (room > 0 and self.is_complete)

    @property
    def is_finishable(self) -> bool:
        """Whether all is written and hashed, and nobody touches the file any more."""
        return self.is_complete and self.hasher.position == self.size and self.users == 0

    def cut(self, length: int) -> Range:
        """Take a piece of about this length off what nobody has yet. A small rest goes with it."""
        start, end = next(iter(self.unassigned))
        if end - start >= length + MIN_SPAN // 2:
            end = start + length
        self.unassigned.remove(start, end)
        return start, end


class Hasher:
    """Digests of a file, in order from its first byte on: SHA-256 for the store, git's SHA-1 where the source announced that."""

    def __init__(self, remote: RemoteFile) -> None:
        self.position = 0
        self._sha256 = hashlib.sha256()
        self._git_sha1 = None
        if remote.sha256 is None:
            self._git_sha1 = hashlib.sha1(f"blob {remote.size}\0".encode("ascii"), usedforsecurity=False)

    def update(self, view: memoryview) -> None:
        """Take the next bytes; other threads run meanwhile."""
        self._sha256.update(view)
        if self._git_sha1 is not None:
            self._git_sha1.update(view)
        self.position += len(view)

    @property
    def digest(self) -> Digest:
        """The name in the store."""
        return Digest("sha256", self._sha256.hexdigest())

    @property
    def found(self) -> str:
        """What to compare with the announced digest."""
        return f"sha256:{self._sha256.hexdigest()}" if self._git_sha1 is None else f"git-sha1:{self._git_sha1.hexdigest()}"
