# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a transfer is told, and what it reports."""
from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy

#: Called with bytes on disk and bytes in all, from the thread that called ``fetch``, a few times a second also when nothing arrives. Bytes
#: never fall. What it raises ends the transfer.
Progress = t.Callable[[int, int], None]


@dataclass(frozen=True)
class TransferOptions:
    """How to transfer: streams at once, when to try again, seconds without 1 KiB/s that end a stream.

    ``bandwidth_limit`` is bytes a second over all streams, ``deadline`` seconds for the whole transfer; None means no limit.
    """

    max_parallel: int = 8
    retry_policy: RetryPolicy = RetryPolicy()
    stall_timeout: float = 30.0
    bandwidth_limit: int | None = None
    deadline: float | None = None
    sleep: t.Callable[[float], object] = time.sleep
    clock: t.Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class TransferReport:
    """What came: bytes over the wire (those that had to be thrown away too), bytes that earlier runs had left, and the SHA-256 of each
    content by the digest that the source had announced."""

    bytes_fetched: int = 0
    bytes_resumed: int = 0
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
