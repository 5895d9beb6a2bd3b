# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source of models is: it says what a model consists of, and gives the bytes."""
from __future__ import annotations

import fnmatch
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef


class TransientError(Exception):
    """A failure that another try may cure. ``retry_after`` is the wait in seconds that the server asked for.

    ``final`` is the error to raise when no try cured it, where that is not the usual one of an unreachable source. ``elsewhere``
    says that the source has another place for the same bytes, so the next try is at once and counts as none.
    """

    def __init__(
        self,
        cause: str,
        status: int | None = None,
        retry_after: float | None = None,
        final: VenomError | None = None,
        elsewhere: bool = False,
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.status = status
        self.retry_after = retry_after
        self.final = final
        self.elsewhere = elsewhere


@dataclass(frozen=True)
class RemoteFile:
    """A file as the source announces it: size in bytes, and its SHA-256 or its git blob SHA-1 as hex."""

    path: str
    size: int
    sha256: str | None
    git_sha1: str | None
    url: str

    @property
    def announced(self) -> str:
        """The digest that the source gave, with its algorithm. It identifies the content."""
        return f"sha256:{self.sha256}" if self.sha256 is not None else f"git-sha1:{self.git_sha1}"


@dataclass(frozen=True)
class ModelPlan:
    """A model resolved to one commit, with every file that belongs to the answer.

    ``manifest`` are the bytes of a registry's manifest, whose SHA-256 is the revision; other sources have none.
    """

    ref: ModelRef
    revision: str
    requested_revision: str
    files: tuple[RemoteFile, ...]
    manifest: bytes | None = None


class Stream(t.Protocol):
    """Bytes in chunks. ``abort`` may be called from another thread and ends a read that waits.

    ``offset`` is where the bytes begin in the file: what was asked for, or 0 where the source ignores ranges.
    """

    offset: int

    def __iter__(self) -> t.Iterator[bytes]:
        """The chunks. Raises ``TransientError`` when the line breaks or stalls."""

    def abort(self) -> None:
        """End a read that waits in another thread."""

    def close(self) -> None:
        """Give the connection back."""


class Source(t.Protocol):
    """Where models come from."""

    def find_commit(self, ref: ModelRef, revision: str) -> str:
        """The commit that a branch, tag or commit stands for now. Raises ``VenomError``."""

    def resolve(self, ref: ModelRef, revision: str, include: t.Sequence[str], exclude: t.Sequence[str]) -> ModelPlan:
        """Every file of a revision that the patterns choose. Raises ``VenomError``."""

    def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> Stream:
        """The bytes of a file from an offset on, ``length`` of them or all. Raises ``TransientError`` or ``VenomError``."""


@t.runtime_checkable
class ManyPlaces(t.Protocol):
    """What a source offers besides that takes the same bytes from several places."""

    def reject(self, file: RemoteFile, is_fresh: bool) -> bool:
        """The bytes of a file were wrong; whether a place was to blame that is not asked for it again, so that another try is worth it.

        Unless ``is_fresh`` an earlier run may be at fault as well.
        """


@t.runtime_checkable
class Blamable(t.Protocol):
    """What a stream offers besides whose place can be left."""

    def blame(self) -> None:
        """It is too slow: whoever ends it now leaves its place for that."""


def is_wanted(path: str, include: t.Sequence[str], exclude: t.Sequence[str]) -> bool:
    """Whether shell patterns choose a path; a pattern that ends with '/' means everything below. No include means all."""
    if include and not _matches(path, include):
        return False
    return not _matches(path, exclude)


def _matches(path: str, patterns: t.Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern + "*" if pattern.endswith("/") else pattern) for pattern in patterns)


def check_small(file: RemoteFile, limit: int) -> None:
    """Raises ``unsupported_source`` for a file of more than ``limit`` bytes, which nobody should hold in memory."""
    if file.size > limit:
        raise VenomError(
            "unsupported_source",
            wanted=f"{ascii(file.path)} of at most {limit} bytes",
            found=f"{file.size} bytes",
            todo="leave it out with exclude",
        )
