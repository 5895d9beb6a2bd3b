# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A source whose answers fail as they are told, and what tests of transfers share."""
from __future__ import annotations

import hashlib
import random
import threading
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy, TransientError
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.transfer.engine import TransferOptions, TransferReport, fetch

KIB = 1024
MIB = 1024 * 1024


@dataclass
class Answer:
    """What one request gets: the bytes that it asked for, but for what is said here."""

    error: Exception | None = None
    cut_after: int | None = None
    end_after: int | None = None
    hang_after: int | None = None
    flip_at: int | None = None
    ignores_range: bool = False
    shift: int = 0
    extra: bytes = b""
    hanging: threading.Event | None = None
    gate: threading.Event | None = None


class FakeStream:
    """Chunks of a content; ``abort`` ends one that hangs."""

    def __init__(self, source: FakeSource, content: bytes, offset: int, answer: Answer) -> None:
        self.offset = offset
        self.is_closed = False
        self._source = source
        self._content = content
        self._answer = answer
        self._aborted = threading.Event()

    def __iter__(self) -> t.Iterator[bytes]:
        answer, position = self._answer, 0
        stops = [stop for stop in (answer.cut_after, answer.end_after, answer.hang_after) if stop is not None]
        limit = min([len(self._content), *stops])
        if answer.gate is not None and not answer.gate.wait(30):
            raise RuntimeError("nobody opened the gate")
        while position < limit:
            chunk = self._content[position : min(position + self._source.chunk_size, limit)]
            position += len(chunk)
            if self._aborted.is_set():
                raise TransientError("aborted")
            self._source.served += len(chunk)
            yield chunk
        if answer.hang_after is not None:
            if answer.hanging is not None:
                answer.hanging.set()
            if not self._aborted.wait(30):
                raise RuntimeError("nobody aborted the stream")
            raise TransientError("aborted")
        if answer.cut_after is not None:
            raise TransientError("the line was cut")
        if answer.end_after is None and answer.extra:
            yield answer.extra

    def abort(self) -> None:
        self._aborted.set()

    def close(self) -> None:
        self.is_closed = True


class FakeSource:
    """Gives parts of contents by path. ``answers`` are used up one for each request of a path; after them every answer is right."""

    def __init__(self, contents: dict[str, bytes], answers: dict[str, list[Answer]] | None = None, chunk_size: int = 64 * KIB) -> None:
        self.contents = contents
        self.answers = answers or {}
        self.chunk_size = chunk_size
        self.always: Answer | None = None
        self.requests: list[tuple[str, int, int]] = []
        self.streams: list[FakeStream] = []
        self.served = 0
        self._lock = threading.Lock()

    def find_commit(self, *dummy: t.Any) -> t.Any:
        raise NotImplementedError

    resolve = find_commit

    def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> FakeStream:
        content = self.contents[file.path]
        end = len(content) if length is None else offset + length
        with self._lock:
            self.requests.append((file.path, offset, end))
            queue = self.answers.get(file.path)
            answer = queue.pop(0) if queue else self.always or Answer()
        if answer.error is not None:
            raise answer.error
        if answer.flip_at is not None:
            content = content[: answer.flip_at] + bytes([content[answer.flip_at] ^ 0xFF]) + content[answer.flip_at + 1 :]
        if answer.ignores_range:
            offset, end = 0, len(content)
        stream = FakeStream(self, content[offset:end] + (answer.extra if answer.end_after is None else b""), offset + answer.shift, answer)
        answer.extra = b""
        with self._lock:
            self.streams.append(stream)
        return stream


def remote(path: str, content: bytes, git: bool = False) -> RemoteFile:
    """The file as a listing announces it."""
    if git:
        return RemoteFile(path, len(content), None, hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), "")
    return RemoteFile(path, len(content), hashlib.sha256(content).hexdigest(), None, "")


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes of which no two places are alike."""
    return random.Random(seed).randbytes(size)


def transfer(
    folder: Path,
    source: FakeSource,
    files: t.Sequence[RemoteFile],
    progress: t.Callable[[int, int], None] = lambda done, total: None,
    sources: t.Sequence[FakeSource] = (),
    **options: t.Any,
) -> tuple[TransferReport, list[float]]:
    """Fetch into blobs below a folder without waiting; also returns the waits that there would have been."""
    waits: list[float] = []
    given: dict[str, t.Any] = {"max_parallel": 4, "retry_policy": RetryPolicy(retries=2), "sleep": waits.append, **options}
    return fetch([source, *sources], files, Blobs(str(folder)), TransferOptions(**given), progress), waits


def blob(folder: Path, report: TransferReport, file: RemoteFile) -> bytes:
    """What the store has for a file."""
    return Path(Blobs(str(folder)).path(report.digests[file.announced])).read_bytes()


def partials(folder: Path) -> list[str]:
    """Names below the folder of unfinished files."""
    root = folder / "partial"
    return sorted(path.name for path in root.iterdir()) if root.exists() else []
