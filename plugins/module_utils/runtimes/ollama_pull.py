# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One pull by an Ollama server, tried again where that may help: the server keeps what it has and goes on from there."""
from __future__ import annotations

import random
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.http_probe import Answer, ProbeFailed
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_errors import Failure, classify, refusal, said, scrub, unreachable
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_http import MAX_ANSWER_BYTES, Exchange, ServerUrl
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_track import QUIET_SECONDS, LineSplitter, NotOllama, PullTrack

#: (bytes that are there, bytes of the layers known until now, the server's status). Called at least every second while the server works
#: on the pull; what it raises ends the pull.
Progress = t.Callable[[int, t.Optional[int], str], object]

#: A try that brought so many new bytes was a good one, after which the tries count from the beginning.
_WORTHWHILE_BYTES = 1024 * 1024
_BASE_DELAY, _MAX_DELAY = 0.5, 15.0
#: What a reverse proxy says while the server behind it starts.
_PROXY_STATUSES = (502, 503, 504)


@dataclass(frozen=True)
class Wish:
    """What is pulled, and ``ends``, the time of the caller's clock at which it must be over."""

    name: str
    insecure: bool
    wanted: str
    ends: float | None


def too_late(wish: Wish, found: str) -> VenomError:
    """The deadline has passed."""
    return VenomError(
        "deadline_exceeded",
        wanted=f"{wish.wanted} before the deadline",
        found=found,
        todo="run again or raise deadline; the server keeps what it has",
        model=wish.name,
    )


def try_again(
    once: t.Callable[[], tuple[Failure | None, int]],
    wish: Wish,
    retries: int,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> None:
    """Call ``once``, which gives its failure, if any, and its new bytes, until it succeeds or trying makes no sense any more.

    ``retries`` further tries follow a failure that may pass, counted anew after a try that brought bytes. Wrong bytes are fetched once
    more: the server has removed that blob, and keeps the others. Raises the failure and ``deadline_exceeded``.
    """
    tries, mismatches = 0, 0
    while True:
        failure, gained = once()
        if failure is None:
            return
        tries = 1 if gained >= _WORTHWHILE_BYTES else tries + 1
        is_mismatch = failure.reason_code == "digest_mismatch"
        mismatches += is_mismatch
        if mismatches > 1 if is_mismatch else not failure.is_transient or tries > retries:
            raise failure.to_error(wish.wanted, model=wish.name, tries=tries)
        delay = min(_MAX_DELAY, _BASE_DELAY * 2 ** (tries - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        if wish.ends is not None and clock() + delay >= wish.ends:
            raise too_late(wish, failure.found)
        sleep(delay)


class Pull:
    """A pull over HTTP. Call it once for each try."""

    def __init__(
        self,
        wish: Wish,
        url: ServerUrl,
        timeout: float,
        stall_timeout: float,
        progress: Progress | None = None,
        ca_path: str | None = None,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self._wish = wish
        self._url = url
        self._timeout = timeout
        self._stall_timeout = stall_timeout
        self._progress = progress
        self._ca_path = ca_path
        self._clock = clock
        self._track = PullTrack(clock())

    def __call__(self) -> tuple[Failure | None, int]:
        """One request: its failure, None for success, and the bytes that it brought. Raises ``server_unreachable`` where no Ollama answers."""
        before = self._track.done
        self._track.begin(self._clock())
        body = {"model": self._wish.name, "insecure": self._wish.insecure, "stream": True}
        exchange = Exchange(self._url, "POST", "/api/pull", body, self._timeout, self._ca_path)
        try:
            status = self._await_status(exchange)
            failure = self._follow(exchange) if status == 200 else self._refused(status, exchange)
        except ProbeFailed as error:
            # Nobody listens, or the line broke: a server that is being restarted looks like this, too.
            failure = Failure("server_unreachable", scrub(str(error)), "see the state and the log of the Ollama server", True)
        except NotOllama as error:
            raise unreachable(self._url, self._wish.wanted, f"no Ollama server: {error}") from error
        finally:
            exchange.close()
        return failure, self._track.done - before

    def _await_status(self, exchange: Exchange) -> int:
        until = self._clock() + max(QUIET_SECONDS, self._timeout)
        while True:
            status = exchange.status(1.0)
            if status is not None:
                return status
            self._check_deadline("no answer yet")
            if self._clock() >= until:
                raise ProbeFailed("timeout", f"no answer from {self._url}/api/pull")
            self._report()

    def _follow(self, exchange: Exchange) -> Failure | None:
        splitter, track = LineSplitter(), self._track
        while True:
            chunk = exchange.chunk(min(1.0, self._stall_timeout))
            now = self._clock()
            for line in splitter.feed(chunk) if chunk else splitter.rest() if chunk is not None else ():
                track.feed(line, now)
                if track.failure is not None:
                    return track.failure
            self._report()
            if track.is_done:
                return None
            if chunk == b"":
                raise ProbeFailed("broken", f"{self._url}/api/pull ended with neither success nor an error ({track.status or 'no line'})")
            self._check_deadline(f"{track.done} bytes there ({track.status})")
            stalled = track.stall(now, self._stall_timeout)
            if stalled is not None:
                return Failure("hub_unreachable", stalled, "check the way from the Ollama server's host to the registry, then try again", True)

    def _report(self) -> None:
        if self._progress is not None:
            track = self._track
            # A layer's last line may be short of its end, and small layers have no line at all.
            self._progress(track.total or track.done if track.is_done else track.done, track.total, track.status)

    def _refused(self, status: int, exchange: Exchange) -> Failure:
        content = bytearray()
        until = self._clock() + self._timeout
        while len(content) < MAX_ANSWER_BYTES:
            chunk = exchange.chunk(until - self._clock())
            if not chunk:
                break
            content += chunk
        answer = Answer(status, bytes(content), 0.0)
        text = said(answer)
        if text is not None:
            return classify(text)
        error = refusal(self._url, answer, self._wish.wanted)
        return Failure(error.reason_code, error.found, error.todo, status in _PROXY_STATUSES)

    def _check_deadline(self, found: str) -> None:
        if self._wish.ends is not None and self._clock() >= self._wish.ends:
            raise too_late(self._wish, found)
