# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirrors of one call: which of them to ask next, what each has given, and what was found wrong with it.

A content is taken from one mirror as long as that gives it, so that wrong bytes are blamed on whoever sent them.
"""
from __future__ import annotations

import ipaddress
import random
import threading
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.sources.http import HostList, HttpClient, origin_of, parse_endpoint, scrub

#: Failures in a row, without a MiB in between, after which a mirror is not asked again in this call.
MAX_FAILURES = 5
REAL_PROGRESS = 1024 * 1024
#: Seconds that a mirror is left alone after its second failure in a row; three times as many after each further one.
FIRST_REST = 2.0
#: Blame that ends the use of a mirror for a content: as much as wrong bytes bring that it alone has sent.
_GUILTY = 2
_SHOWN = 10

Choose = t.Callable[[t.Sequence["Mirror"]], "Mirror"]


@dataclass(eq=False)
class Mirror:
    """One mirror and how it does. ``cause`` is the last thing that was wrong with it."""

    base: str
    client: HttpClient
    received: int = 0
    failures: int = 0
    failed_at: float = float("-inf")
    rests_until: float = float("-inf")
    progress: int = 0
    is_out: bool = False
    lies: int = 0
    cause: str | None = None


class Mirrors:
    """All mirrors of a call. Threads may share it."""

    def __init__(
        self,
        clients: t.Mapping[str, HttpClient],
        choose: Choose = random.choice,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        #: Bytes that came from the origin, since no mirror gave them.
        self.from_origin = 0
        self._choose = choose
        self._lock = threading.Lock()
        self._mirrors = [Mirror(base, client) for base, client in clients.items()]
        #: Those that would show a password to the network, so that they get none.
        self._in_the_clear: frozenset[str] = frozenset()
        self._blame: dict[tuple[str, Mirror], int] = {}
        self._causes: dict[tuple[str, Mirror], tuple[str, str]] = {}
        self._kept: dict[str, Mirror] = {}
        #: Who has sent bytes of a content that nobody has verified yet; None is the origin.
        self._givers: dict[str, set[Mirror | None]] = {}

    @classmethod
    def parse(
        cls,
        urls: t.Sequence[str],
        authorization: str | None = None,
        ca_path: str | None = None,
        allowed_hosts: t.Sequence[str] = (),
        stall_timeout: float = 30.0,
        without_password: t.Sequence[str] = (),
    ) -> Mirrors:
        """From base URLs; the same one twice counts once. Raises ``invalid_option``.

        ``authorization`` is for all of them but those ``without_password``, and but those that it would reach in the clear over a network.
        """
        hint = "credentials go into mirror_username and mirror_password_file"
        bases = dict.fromkeys(parse_endpoint(url, "mirrors", hint) for url in urls)
        silent = {parse_endpoint(url, "mirrors_open", hint) for url in without_password}
        clear = frozenset(base for base in bases if authorization is not None and not _is_private(base))
        found = cls(
            {
                base: HttpClient(
                    HostList(base, tuple(allowed_hosts)),
                    ca_path=ca_path,
                    stall_timeout=stall_timeout,
                    authorization=None if base in silent or base in clear else authorization,
                )
                for base in bases
            }
        )
        found._in_the_clear = clear - silent
        return found

    def __bool__(self) -> bool:
        return bool(self._mirrors)

    # Choosing

    def pick(self, content: str, besides: t.Collection[Mirror] = (), may_rest: bool = False) -> Mirror | None:
        """The mirror to ask for a content: the one that gives it already, else one of the best by chance. None when there is none."""
        with self._lock:
            found = [mirror for mirror in self._usable(content, may_rest) if mirror not in besides]
            if not found:
                return None
            best = min(self._rank(content, mirror) for mirror in found)
            equals = [mirror for mirror in found if self._rank(content, mirror) == best]
            kept = self._kept.get(content)
            mirror = kept if kept in equals and kept is not None else self._choose(equals)
            self._kept[content] = mirror
            return mirror

    def has(self, content: str, may_rest: bool = False) -> bool:
        """Whether a mirror is left that may be asked for a content now, or later where ``may_rest``."""
        with self._lock:
            return bool(self._usable(content, may_rest))

    def _usable(self, content: str, may_rest: bool) -> list[Mirror]:
        now = self.clock()
        return [
            mirror
            for mirror in self._mirrors
            if not mirror.is_out and self._blame.get((content, mirror), 0) < _GUILTY and (may_rest or mirror.rests_until <= now)
        ]

    def _rank(self, content: str, mirror: Mirror) -> tuple[int, float, int, int]:
        rest = max(0.0, mirror.rests_until - self.clock())
        return self._blame.get((content, mirror), 0), rest, min(mirror.lies, 1), mirror.failures

    # What came

    def gave(self, content: str, mirror: Mirror | None, length: int) -> None:
        """Bytes of a content came from a mirror, or from the origin where it is None."""
        with self._lock:
            self._givers.setdefault(content, set()).add(mirror)
            if mirror is None:
                self.from_origin += length
                return
            mirror.received += length
            mirror.progress += length
            if mirror.progress >= REAL_PROGRESS:
                mirror.failures, mirror.progress = 0, 0

    def settle(self, content: str) -> None:
        """What came of a content was right, or is not used."""
        with self._lock:
            self._givers.pop(content, None)

    # What went wrong

    def failed(self, mirror: Mirror, started: float, cause: str, retry_after: float | None = None) -> None:
        """A request that began at ``started`` got no answer, or a broken one. Those that failed together count once."""
        with self._lock:
            mirror.cause = cause
            now = self.clock()
            if started < mirror.failed_at:
                return
            mirror.failures, mirror.failed_at, mirror.progress = mirror.failures + 1, now, 0
            rest = FIRST_REST * 3.0 ** (mirror.failures - 2) if mirror.failures > 1 else 0.0
            mirror.rests_until = now + max(rest, retry_after or 0.0)
            mirror.is_out = mirror.failures >= MAX_FAILURES

    def lacks(self, content: str, mirror: Mirror, cause: str, code: str = "not_found") -> None:
        """The mirror does not have a content, or one of another size."""
        with self._lock:
            self._convict(content, mirror, cause, code)

    def refused(self, mirror: Mirror, cause: str) -> None:
        """The mirror does not let us in; asking again would not help."""
        with self._lock:
            note = " (a password is not sent over plain http beyond this host)" if mirror.base in self._in_the_clear else ""
            mirror.cause, mirror.is_out = cause + note, True

    def wrong(self, content: str, is_fresh: bool = True) -> bool:
        """Bytes of a content were not the right ones. True when a mirror has sent some of them, whoever is at fault.

        Whoever sent all of them is not asked for this content again, and comes last for others; several are suspected. Unless
        ``is_fresh`` an earlier run may be at fault, and nobody is blamed.
        """
        with self._lock:
            givers = self._givers.pop(content, set())
            mirrors = [mirror for mirror in givers if mirror is not None]
            if not is_fresh:
                return False
            for mirror in mirrors:
                if len(givers) == 1 or self._blame.get((content, mirror), 0):
                    mirror.lies += 1
                    self._convict(content, mirror, "it gave wrong bytes", "digest_mismatch")
                else:
                    self._blame[content, mirror] = 1
            return bool(mirrors)

    def doubt(self) -> bool:
        """A refusal came of bytes that nobody could verify yet. True when some were a mirror's, which is then not asked for them again."""
        with self._lock:
            contents = list(self._givers)
        doubted = [self.wrong(content) for content in contents]
        return any(doubted)

    def settle_all(self) -> None:
        """Nothing is wrong with what came until now."""
        with self._lock:
            self._givers.clear()

    def _convict(self, content: str, mirror: Mirror, cause: str, code: str) -> None:
        self._blame[content, mirror] = _GUILTY
        self._causes[content, mirror] = cause, code
        mirror.cause = cause

    # What to say

    def none_left(self, path: str, content: str) -> VenomError:
        """The error when no mirror gives a content and the origin may not be asked."""
        told = self.told(content)
        with self._lock:
            codes = {self._causes.get((content, mirror), ("", "hub_unreachable"))[1] for mirror in self._mirrors}
        shown = [f"{base}: {cause}" for base, cause in list(told.items())[:_SHOWN]]
        more = [f"and {len(told) - _SHOWN} more"] if len(told) > _SHOWN else []
        return VenomError(
            next(code for code in ("digest_mismatch", "hub_unreachable", "not_found") if code in codes),
            wanted=f"{ascii(path)} with {content} from a mirror",
            found="; ".join([*shown, *more]),
            todo="repair the mirrors, name others in mirrors, or let the origin be asked with mirrors_only=false",
            mirrors=told,
        )

    def told(self, content: str) -> dict[str, str]:
        """What each mirror did when it was asked for a content, by its URL."""
        with self._lock:
            return {
                scrub(mirror.base): self._causes.get((content, mirror), (mirror.cause or "it was not asked", ""))[0]
                for mirror in self._mirrors
            }

    def received(self) -> dict[str, int]:
        """Bytes by the base URL of the mirror that they came from."""
        with self._lock:
            return {scrub(mirror.base): mirror.received for mirror in self._mirrors if mirror.received}

    def warnings(self) -> list[str]:
        """A sentence for each mirror that something was wrong with."""
        with self._lock:
            return [f"The mirror {scrub(mirror.base)} was left: {mirror.cause}." for mirror in self._mirrors if mirror.cause is not None]


def _is_private(base: str) -> bool:
    """Whether nobody on a network can read what is sent there: by TLS, or because it does not leave the host."""
    scheme, host, dummy = origin_of(base)
    try:
        return scheme == "https" or host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
