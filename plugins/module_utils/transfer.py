# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes from a source to the store: several files at once, hashed while they are written, verified before they count."""
from __future__ import annotations

import hashlib
import os
import threading
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import remove_if_there
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile, Source, Stream
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy, TransientError, call_with_retries
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs

#: Called with bytes done and bytes in all; from several threads, one at a time.
Progress = t.Callable[[int, int], None]


@dataclass(frozen=True)
class TransferOptions:
    """How to transfer: streams at once, and when to try again."""

    max_parallel: int = 8
    retry_policy: RetryPolicy = RetryPolicy()
    sleep: t.Callable[[float], object] = time.sleep


@dataclass(frozen=True)
class TransferReport:
    """What came: verified bytes, and the SHA-256 of each content by the digest that the source had announced."""

    bytes_fetched: int = 0
    digests: dict[str, Digest] = field(default_factory=dict)


def mismatch(file: RemoteFile, found: str) -> VenomError:
    """The final error for a file whose bytes were wrong twice."""
    return VenomError(
        "digest_mismatch",
        wanted=f"{ascii(file.path)} with {file.announced}",
        found=f"{found}, twice",
        todo="the source or something on the way changes bytes; try another endpoint, and do not use this file",
        file=file.path,
        expected=file.announced,
        actual=found,
    )


class _DigestMismatch(Exception):
    def __init__(self, file: RemoteFile, found: str) -> None:
        super().__init__(found)
        self.file = file
        self.found = found


class _Cancelled(Exception):
    """Another file failed, so this one is given up."""


def fetch(source: Source, files: t.Sequence[RemoteFile], blobs: Blobs, options: TransferOptions, progress: Progress) -> TransferReport:
    """Put every file into the store; the same content twice is fetched once.

    The first failure cancels the others and is raised; what was verified until then stays in the store, nothing else does. Raises
    ``digest_mismatch``, ``hub_unreachable``, ``rate_limited``, whatever the source finds final, and ``OSError``.
    """
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    distinct = sorted({file.announced: file for file in files}.values(), key=lambda file: -file.size)
    if not distinct:
        return TransferReport()
    run = _Run(source, blobs, options, progress, sum(file.size for file in distinct))
    with ThreadPoolExecutor(max_workers=min(options.max_parallel, len(distinct)), thread_name_prefix="venom-transfer") as pool:
        futures = {pool.submit(run.fetch_one, file): file for file in distinct}
        try:
            done = wait(futures, return_when=FIRST_EXCEPTION).done
        except BaseException:
            run.cancel()
            raise
        failures = [error for error in (future.exception() for future in done) if error is not None]
        if failures:
            run.cancel()
    # Two files may have failed at once; a cancelled one is never the cause.
    for error in failures:
        if not isinstance(error, _Cancelled):
            raise error
    return TransferReport(run.done, {file.announced: future.result() for future, file in futures.items()})


class _Run:
    """One call of ``fetch``: what its threads share."""

    def __init__(self, source: Source, blobs: Blobs, options: TransferOptions, progress: Progress, total: int) -> None:
        self.source = source
        self.blobs = blobs
        self.options = options
        self.progress = progress
        self.total = total
        self.done = 0
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._streams: set[Stream] = set()

    def cancel(self) -> None:
        """End every thread soon, also those that wait for bytes or for their next try."""
        self._cancelled.set()
        with self._lock:
            for stream in self._streams:
                stream.abort()

    def fetch_one(self, file: RemoteFile) -> Digest:
        """One file with its retries. A wrong digest is worth one more try: a byte may have flipped on the way."""
        try:
            return self._with_retries(file)
        except _DigestMismatch:
            pass
        try:
            return self._with_retries(file)
        except _DigestMismatch as error:
            raise mismatch(file, error.found) from error

    def _with_retries(self, file: RemoteFile) -> Digest:
        return call_with_retries(lambda: self._try(file), f"to fetch {ascii(file.path)}", self.options.retry_policy, self._sleep)

    def _sleep(self, seconds: float) -> None:
        if self.options.sleep is time.sleep:
            self._cancelled.wait(seconds)
        else:
            self.options.sleep(seconds)

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise _Cancelled

    def _try(self, file: RemoteFile) -> Digest:
        self._check_cancelled()
        partial = self.blobs.new_partial()
        received = 0
        try:
            stream = self.source.open(file)
            with self._lock:
                self._streams.add(stream)
            try:
                descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with os.fdopen(descriptor, "wb", buffering=0) as target:
                    sha256 = hashlib.sha256()
                    git_sha1 = hashlib.sha1(f"blob {file.size}\0".encode("ascii"), usedforsecurity=False)
                    for chunk in stream:
                        self._check_cancelled()
                        received += len(chunk)
                        self._count(len(chunk))
                        if received > file.size:
                            raise _DigestMismatch(file, f"more than {file.size} bytes")
                        _write_all(target, chunk)
                        sha256.update(chunk)
                        if file.sha256 is None:
                            git_sha1.update(chunk)
                    self._check_cancelled()
                    if received < file.size:
                        raise TransientError(f"{ascii(file.path)} ended after {received} of {file.size} bytes")
                    found = f"sha256:{sha256.hexdigest()}" if file.sha256 is not None else f"git-sha1:{git_sha1.hexdigest()}"
                    if found != file.announced:
                        raise _DigestMismatch(file, found)
                    os.fsync(target.fileno())
            finally:
                with self._lock:
                    self._streams.discard(stream)
                stream.close()
            digest = Digest("sha256", sha256.hexdigest())
            self.blobs.put(partial, digest)
            return digest
        except BaseException as error:
            self._count(-received)
            remove_if_there(partial)
            # A line that broke because cancel() cut it is no failure of its own.
            if isinstance(error, TransientError):
                self._check_cancelled()
            raise

    def _count(self, amount: int) -> None:
        with self._lock:
            self.done += amount
            if amount > 0:
                self.progress(self.done, self.total)


def _write_all(target: t.Any, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[target.write(view):]
