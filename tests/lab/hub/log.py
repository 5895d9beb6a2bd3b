# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The request log of a hub or a registry: what was asked, what was answered, and never a token."""
from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import threading
import typing as t
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

#: Only the newest entries are kept in memory; the file, if there is one, has all.
KEPT = 100_000
_SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization")


@dataclass
class LogEntry:
    """One request. ``time`` is seconds since the epoch, ``seconds`` how long it took, ``sent`` body bytes that left."""

    number: int
    time: float
    listener: str
    method: str
    path: str
    query: str = ""
    range: str | None = None
    authorization: str | None = None
    scheme: str | None = None
    user: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 0
    sent: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    done: bool = False


class RequestLog:
    """Thread-safe; entries appear when a request arrives and are written to the file when it ends."""

    def __init__(self, path: Path | None = None) -> None:
        self._salt = os.urandom(16)
        self._entries: deque[LogEntry] = deque(maxlen=KEPT)
        self._number = 0
        self._path = path
        self._lock = threading.Lock()

    def hash(self, secret: str) -> str:
        """The salted hash under which a token or an authorization header appears; the salt lives as long as the log."""
        return hashlib.sha256(self._salt + secret.encode()).hexdigest()[:16]

    def begin(self, listener: str, method: str, path: str, query: str, headers: t.Mapping[str, str], when: float) -> LogEntry:
        """Add an entry for a request that just came in."""
        plain = {name.lower(): value for name, value in headers.items()}
        shown = {name: self.hash(value) if name in _SECRET_HEADERS else value for name, value in plain.items()}
        secret = plain.get("authorization")
        token = secret.split(" ", 1)[-1] if secret else None
        with self._lock:
            self._number += 1
            entry = LogEntry(self._number, when, listener, method, path, query, plain.get("range"), headers=shown)
            entry.authorization = self.hash(token) if token else None
            entry.scheme = secret.split(" ", 1)[0] if secret and " " in secret else None
            self._entries.append(entry)
        return entry

    def end(self, entry: LogEntry, when: float) -> None:
        """Close an entry and write its line."""
        entry.seconds = round(when - entry.time, 6)
        entry.done = True
        if self._path is not None:
            line = json.dumps(asdict(entry), ensure_ascii=False) + "\n"
            with self._lock, open(self._path, "a", encoding="utf-8") as stream:
                stream.write(line)

    def entries(self, path: str = "*", method: str = "*", listener: str = "*", since: int = 0) -> list[LogEntry]:
        """Entries in order of arrival, filtered by shell patterns (``*`` matches slashes too) and by number."""
        with self._lock:
            found = list(self._entries)
        return [
            entry
            for entry in found
            if entry.number > since
            and fnmatch.fnmatchcase(entry.path, path)
            and fnmatch.fnmatchcase(entry.method, method)
            and fnmatch.fnmatchcase(entry.listener, listener)
        ]

    def sent(self, path: str = "*", method: str = "*", listener: str = "*", since: int = 0) -> int:
        """Body bytes that left in answer to the requests that fit, those in progress included."""
        return sum(entry.sent for entry in self.entries(path, method, listener, since))

    def clear(self) -> None:
        """Forget all entries; numbers go on."""
        with self._lock:
            self._entries.clear()
