# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors before a hub or a registry: the same answers, the bytes by their SHA-256 from whoever is near.

A mirror has each content at ``<base>/sha256/<64 hex digits>``. What it gives is believed as little as anything else: the digest decides. Where
a plan came with the call the origin is asked nothing that the plan knows.
"""
from __future__ import annotations

import hashlib
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import Layer
from ansible_collections.venom.llm.plugins.module_utils.sources.base import ModelPlan, RemoteFile, Source, Stream, TransientError, check_small
from ansible_collections.venom.llm.plugins.module_utils.sources.http import scrub
from ansible_collections.venom.llm.plugins.module_utils.sources.mirror_choice import Mirror, Mirrors
from ansible_collections.venom.llm.plugins.module_utils.sources.plan import PlannedModels
from ansible_collections.venom.llm.plugins.module_utils.sources.ranges import RangeReader
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy
from ansible_collections.venom.llm.plugins.module_utils.transfer.pace import LEAST_RATE, Drip


class _Counted:
    """A stream of the origin beside mirrors."""

    def __init__(self, mirrors: Mirrors, content: str, stream: Stream) -> None:
        self.offset = stream.offset
        self._mirrors = mirrors
        self._content = content
        self._stream = stream

    def __iter__(self) -> t.Iterator[bytes]:
        for chunk in self._stream:
            self._mirrors.gave(self._content, None, len(chunk))
            yield chunk

    def abort(self) -> None:
        """End a read that waits in another thread."""
        self._stream.abort()

    def close(self) -> None:
        """Give the connection back."""
        self._stream.close()


class _MirrorStream:
    """A stream of a mirror, which is left when it breaks, ends early or stalls."""

    def __init__(self, source: MirrorSource, mirror: Mirror, file: RemoteFile, stream: Stream, end: int, started: float) -> None:
        self.offset = stream.offset
        self._source = source
        self._mirror = mirror
        self._file = file
        self._stream = stream
        self._end = end
        self._started = started
        self._is_aborted = False
        self._is_blamed = False

    def __iter__(self) -> t.Iterator[bytes]:
        mirrors, position, drip = self._source.mirrors, self.offset, Drip(self._source.stall_timeout)
        chunks = iter(self._stream)
        while True:
            began = mirrors.clock()
            try:
                chunk = next(chunks, b"")
            except TransientError as error:
                raise self._leave(error.cause) from error
            if not chunk:
                break
            is_drip, position = drip.note(mirrors.clock() - began, len(chunk)), position + len(chunk)
            mirrors.gave(self._file.announced, self._mirror, len(chunk))
            yield chunk
            if is_drip:
                raise self._leave(f"less than {LEAST_RATE} bytes a second came")
        if position < self._end:
            raise self._leave(f"it ended at byte {position} instead of {self._end}")

    def _leave(self, cause: str) -> TransientError:
        if self._is_aborted and not self._is_blamed:
            return TransientError(cause)
        told = "it stalled, or was far slower than the others" if self._is_blamed else cause
        return self._source.left(self._mirror, self._file, self._started, told)

    def blame(self) -> None:
        """It is too slow."""
        self._is_blamed = True

    def abort(self) -> None:
        """End a read that waits in another thread."""
        self._is_aborted = True
        self._stream.abort()

    def close(self) -> None:
        """Give the connection back."""
        self._stream.close()


class MirrorSource:
    """An origin behind mirrors. It is made when it is first asked, since it may need a token that this host does not have.

    ``only`` means never to ask it. ``locate`` says where a registry has a layer.
    """

    def __init__(
        self,
        mirrors: Mirrors,
        plan: PlannedModels | None,
        make_origin: t.Callable[[], Source],
        only: bool,
        policy: RetryPolicy,
        stall_timeout: float = 30.0,
        locate: t.Callable[[ModelRef, Layer], str] = lambda dummy_ref, layer: str(layer.digest),
    ) -> None:
        self.mirrors = mirrors
        self.stall_timeout = stall_timeout
        self._plan = plan
        self._make_origin = make_origin
        self._made: Source | None = None
        self._only = only
        self._locate = locate
        self._may_retry = policy.retries > 0
        self._read_range = RangeReader(self, policy)

    @property
    def _origin(self) -> Source:
        if self._made is None:
            self._made = self._make_origin()
        return self._made

    def find_commit(self, ref: ModelRef, revision: str = "") -> str:
        """What a revision stands for: by the plan, else by the origin. Raises ``VenomError``."""
        if self._plan is not None and self._plan.holds_revision(ref, revision):
            return self._plan.find_commit(ref, revision)
        self._check_may_ask(ref, revision)
        return self._origin.find_commit(ref, revision)

    def resolve(self, ref: ModelRef, revision: str, include: t.Sequence[str] = (), exclude: t.Sequence[str] = ()) -> ModelPlan:
        """The files of a revision: by the plan, else by the origin. Raises ``VenomError``."""
        if self._plan is not None and self._plan.holds(ref, revision, include, exclude):
            return self._plan.resolve(ref, revision, include, exclude)
        self._check_may_ask(ref, revision)
        return self._origin.resolve(ref, revision, include, exclude)

    def _check_may_ask(self, ref: ModelRef, revision: str) -> None:
        if not self._only:
            return
        raise VenomError(
            "not_found",
            wanted=f"{ref}{f' at {revision}' if revision else ''} from mirrors only",
            found="the plan has no such model with these patterns" if self._plan is not None else "no plan, which says what the model consists of",
            todo="hand over a plan of a host that has it, with the same include and exclude; or let the origin be asked with mirrors_only=false",
            model=str(ref),
        )

    def file_for(self, ref: ModelRef, layer: Layer) -> RemoteFile:
        """A layer of a registry's model as a file to fetch; its path is the one in the server's store."""
        return RemoteFile(f"blobs/sha256-{layer.digest.hex}", layer.size, layer.digest.hex, None, self._locate(ref, layer))

    def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> Stream:
        """The bytes of a file from an offset on: of a mirror, else of the origin. Raises ``TransientError`` or ``VenomError``."""
        stream = self._open_mirror(file, offset, length) if file.sha256 is not None else None
        if stream is not None:
            return stream
        if self._only:
            error = self.mirrors.none_left(file.path, file.announced)
            if self.mirrors.has(file.announced, may_rest=True):
                raise TransientError("no mirror answered", final=error)
            raise error
        if file.sha256 is not None and self._may_retry and self.mirrors.has(file.announced):
            # A hiccup of the last mirror is no reason to ask the origin for what a whole fleet may be about to ask.
            raise TransientError("no mirror answered")
        try:
            return _Counted(self.mirrors, file.announced, self._origin.open(file, offset, length))
        except VenomError as error:
            # Whoever meant this host to need no token has to see why it was asked for one.
            told = self.mirrors.told(file.announced)
            if not told or file.sha256 is None:
                raise
            shown = "; ".join(f"{base}: {cause}" for base, cause in told.items())
            details = dict(error.details, mirrors=told)
            raise VenomError(error.reason_code, error.wanted, f"{error.found}; and of the mirrors {shown}", error.todo, **details) from error

    def _open_mirror(self, file: RemoteFile, offset: int, length: int | None) -> Stream | None:
        tried: list[Mirror] = []
        while True:
            # Where nobody else may be asked, a mirror that was given a rest is better than none.
            mirror = self.mirrors.pick(file.announced, tried, may_rest=self._only)
            if mirror is None:
                return None
            tried.append(mirror)
            started = self.mirrors.clock()
            try:
                stream = mirror.client.open(f"{mirror.base}/sha256/{file.sha256}", offset, length, file.size)
            except TransientError as error:
                if error.final is not None:
                    self.mirrors.lacks(file.announced, mirror, error.cause, "digest_mismatch")
                else:
                    self.mirrors.failed(mirror, started, error.cause, error.retry_after)
            except VenomError as error:
                if error.reason_code == "not_found":
                    self.mirrors.lacks(file.announced, mirror, "it does not have it")
                else:
                    self.mirrors.refused(mirror, error.found)
            else:
                return _MirrorStream(self, mirror, file, stream, file.size if length is None else offset + length, started)

    def left(self, mirror: Mirror, file: RemoteFile, started: float, cause: str) -> TransientError:
        """A stream of a mirror broke; the error says whether somebody else can be asked at once."""
        self.mirrors.failed(mirror, started, cause)
        is_elsewhere = not self._only or self.mirrors.has(file.announced)
        final = self.mirrors.none_left(file.path, file.announced) if self._only else None
        return TransientError(f"the mirror {scrub(mirror.base)}: {cause}", final=final, elsewhere=is_elsewhere)

    def reject(self, file: RemoteFile, is_fresh: bool) -> bool:
        """The bytes of a file were wrong; whether mirrors had sent some of them."""
        return self.mirrors.wrong(file.announced, is_fresh)

    def read(self, file: RemoteFile, limit: int) -> bytes:
        """A small file in memory, retried; verified where mirrors gave it. Raises ``unsupported_source`` above ``limit`` bytes, else as ``open``."""
        check_small(file, limit)
        while True:
            content = self._read_range(file, 0, file.size)
            if file.sha256 is None or hashlib.sha256(content).hexdigest() == file.sha256:
                self.mirrors.settle(file.announced)
                return content
            if not self.mirrors.wrong(file.announced):
                # The origin's own bytes: whoever asked looks at them, too, and says what is wrong.
                return content
