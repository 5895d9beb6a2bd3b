# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that a hub or a registry plays on demand. The table in README.md says what each kind does; ``STANDING`` kinds stay until removed."""
from __future__ import annotations

import fnmatch
import threading
import typing as t
from dataclasses import dataclass, field, fields

from lab.hub.wire import Request

#: Kind to its meaning.
KINDS = {
    "status": "answer with a status (and Retry-After, X-Error-Code, message) instead",
    "gated": "answer 403 with X-Error-Code GatedRepo instead",
    "redirect": "answer 302 to location instead; {path} in it becomes the path asked for",
    "drop": "end the connection before an answer, with FIN or RST",
    "hang": "wait for seconds, before the headers or after so many bytes of the body, then go on",
    "cut": "end the connection after so many bytes of the body, with FIN or RST",
    "flip": "invert the byte at an offset of the file",
    "slow": "send the body at rate bytes a second",
    "length": "announce a Content-Length that is wrong by delta",
    "content_range": "tell a Content-Range that is wrong by delta: see RANGES",
    "gzip": "send the body compressed, with Content-Encoding: gzip, whether that was asked for or not",
    "ignore_range": "answer a Range request with 200 and the whole file",
    "etag": "give a new ETag each time, or value",
    "listing": "lie in listings of a hub: see WHAT",
    "manifest": "answer a manifest of a registry with value instead: see MANIFESTS",
}
#: What a listing fault may do; ``file`` is a pattern of paths, ``value`` the lie.
WHAT = {
    "size": "files have size value",
    "sha256": "LFS files have the digest value",
    "oid": "files have the git blob id value",
    "no_lfs": "LFS files come without LFS data, thus without sha256",
    "drop": "files are missing",
    "empty": "no files at all",
    "add": "files of the given names are there, too",
    "hostile": "files of all HOSTILE_NAMES are there, too",
}
#: What a content_range fault may do.
RANGES = {
    "start": "first and last byte are delta later",
    "end": "the last byte is delta later",
    "total": "the whole is delta larger",
    "drop": "the header is missing",
}
#: What Docker-Content-Digest says beside a false manifest.
MANIFESTS = {
    "": "nothing: the header is missing",
    "false": "the digest of what is sent",
    "true": "the digest of the true manifest",
}
STANDING = frozenset({"gated", "redirect", "slow", "etag", "listing"})
#: Names that no careful client writes to disk.
HOSTILE_NAMES = (
    "../evil.txt",
    "../../../../tmp/evil.txt",
    "sub/../../evil.txt",
    "/abs/evil.txt",
    "C:\\evil.txt",
    "a\\..\\..\\evil.txt",
    "nul\0byte.txt",
    "new\nline.txt",
    "./dot.txt",
    "double//slash.txt",
    "trailing/",
    "",
    ".",
    "..",
    "l" * 300 + ".txt",
    "deep/" * 1000 + "file.txt",
    "bidi\u202etxt.exe",
    "\ud800lone.txt",
)


@dataclass
class Fault:
    """One fault. ``path``, ``method``, ``listener`` are shell patterns (``*`` matches slashes; the path is unquoted).

    ``times`` 0 means the default of the kind: for ever for standing kinds, else once; -1 means for ever.
    ``seconds`` and ``rate`` are seconds and bytes a second; ``after`` and ``offset`` are bytes.
    """

    kind: str
    path: str = "*"
    method: str = "*"
    listener: str = "*"
    times: int = 0
    status: int = 503
    retry_after: str | float | None = None
    error_code: str = ""
    message: str = "fault on demand"
    body: str | None = None
    headers: t.Mapping[str, str] = field(default_factory=dict)
    location: str = ""
    when: str = "headers"
    seconds: float = 30.0
    after: int = 0
    how: str = "fin"
    offset: int = 0
    rate: float = 65536.0
    delta: int = 1
    what: str = ""
    file: str = "*"
    value: str | int = ""
    names: t.Sequence[str] = ()
    hits: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault kind {self.kind!r}; there are {', '.join(KINDS)}")
        if self.kind == "listing" and self.what not in WHAT:
            raise ValueError(f"a listing fault cannot do {self.what!r}, but {', '.join(WHAT)}")
        if self.kind == "content_range":
            self.what = self.what or "start"
        for kind, known in (("content_range", RANGES), ("manifest", MANIFESTS)):
            if self.kind == kind and self.what not in known:
                raise ValueError(f"a {kind} fault cannot do {self.what!r}, but {', '.join(known)}")
        if self.how not in ("fin", "rst") or self.when not in ("headers", "body"):
            raise ValueError("how is fin or rst, when is headers or body")
        if self.times == 0:
            self.times = -1 if self.kind in STANDING else 1
        if self.kind == "listing" and self.what == "hostile":
            self.names = HOSTILE_NAMES

    @classmethod
    def from_dict(cls, data: t.Mapping[str, t.Any]) -> Fault:
        """A fault from JSON; unknown keys raise ValueError."""
        known = {item.name for item in fields(cls) if item.init}
        unknown = sorted(set(data) - known)
        if unknown or "kind" not in data:
            raise ValueError(f"unknown keys {unknown}; there are {sorted(known)}; kind is needed")
        return cls(**data)

    def matches(self, request: Request) -> bool:
        """Whether the patterns fit and the fault is not used up."""
        return (
            (self.times < 0 or self.hits < self.times)
            and fnmatch.fnmatchcase(request.path, self.path)
            and fnmatch.fnmatchcase(request.method, self.method)
            and fnmatch.fnmatchcase(request.listener, self.listener)
        )


class FaultPlan:
    """The faults of a site, in order of arrival; thread-safe."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Add one; its ``hits`` tell how often it struck."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all."""
        with self._lock:
            self._faults.clear()

    def all(self) -> list[Fault]:
        """All faults, used up or not."""
        with self._lock:
            return list(self._faults)

    def take(self, request: Request, *kinds: str, fits: t.Callable[[Fault], bool] = lambda fault: True) -> Fault | None:
        """The first matching fault of these kinds, counted as a hit and noted in the log; None if there is none."""
        found = self.take_all(request, *kinds, fits=fits, limit=1)
        return found[0] if found else None

    def take_all(
        self, request: Request, *kinds: str, fits: t.Callable[[Fault], bool] = lambda fault: True, limit: int = 1000
    ) -> list[Fault]:
        """All matching faults of these kinds, each counted and noted."""
        found: list[Fault] = []
        with self._lock:
            for fault in self._faults:
                if len(found) < limit and fault.kind in kinds and fault.matches(request) and fits(fault):
                    fault.hits += 1
                    found.append(fault)
        request.entry.faults.extend(fault.kind for fault in found)
        return found

    def peek_names(self) -> set[str]:
        """Names that listing faults add; the hub serves bytes for them, so that a careless client would write them."""
        return {name for fault in self.all() for name in fault.names}
