# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ranges of a remote file in memory, retried: what is looked at before a file is fetched."""
from __future__ import annotations

import time
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile, Source, TransientError
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy, call_with_retries


class RangeReader:
    """Called with a file, an offset and a length, gives exactly these bytes. Threads may share it."""

    def __init__(self, source: Source, policy: RetryPolicy, sleep: t.Callable[[float], object] = time.sleep) -> None:
        self._source = source
        self._policy = policy
        self._sleep = sleep

    def __call__(self, file: RemoteFile, offset: int, length: int) -> bytes:
        """The bytes, not verified: a digest covers a whole file. Raises ``VenomError``, ``ValueError`` beyond the announced size."""
        if offset < 0 or length < 0 or offset + length > file.size:
            raise ValueError(f"{length} bytes from {offset} on are not within {file.size}")
        if not length:
            return b""
        return call_with_retries(lambda: self._try(file, offset, length), f"to read {ascii(file.path)}", self._policy, self._sleep)

    def _try(self, file: RemoteFile, offset: int, length: int) -> bytes:
        stream = self._source.open(file, offset, length)
        try:
            # A source that ignores ranges begins at 0 and would go on to the end; the connection is given up when enough came.
            skip = offset - stream.offset
            if skip < 0:
                raise TransientError(f"{ascii(file.path)} begins at byte {stream.offset} instead of {offset}")
            content = bytearray()
            for chunk in stream:
                dropped = min(skip, len(chunk))
                skip -= dropped
                content += chunk[dropped : dropped + length - len(content)]
                if len(content) == length:
                    return bytes(content)
        finally:
            stream.close()
        raise TransientError(f"{ascii(file.path)} ended {length - len(content)} bytes early")
