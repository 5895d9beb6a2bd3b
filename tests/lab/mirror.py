# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror: the contents of models folders and Ollama stores by their SHA-256, over HTTP with ranges, and the faults of a hub on demand."""
from __future__ import annotations

import base64
import hmac
import re
import typing as t
from pathlib import Path

from lab.hub.content import serve_file
from lab.hub.site import Site
from lab.hub.wire import Answer, Refusal, Request

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Mirror(Site):
    """A mirror in this process; use as a context manager, or start() and stop().

    ``folders`` are models folders and Ollama stores. With ``login`` (name and password) basic authentication is asked for.
    """

    def __init__(self, *folders: Path, host: str = "127.0.0.1", login: tuple[str, str] | None = None, pem: Path | None = None) -> None:
        super().__init__({"mirror": (host, 0)}, pem=pem)
        self.folders = folders
        pair = ":".join(login).encode() if login else None
        self._proof = None if pair is None else f"Basic {base64.b64encode(pair).decode()}"

    def __enter__(self) -> Mirror:
        self.start()
        return self

    def route(self, request: Request) -> Answer:
        """A content, whole or in part."""
        if self._proof is not None and not hmac.compare_digest(request.headers.get("Authorization") or "", self._proof):
            raise Refusal(Answer(401, {"WWW-Authenticate": 'Basic realm="mirror"'}))
        path = self._find(request.segments)
        if path is None:
            raise Refusal(self.refuse(request, 404, "Not Found"))
        return serve_file(self, request, path, path.stat().st_size, f"{path.stat().st_mtime_ns:x}", {})

    def _find(self, segments: t.Sequence[str]) -> Path | None:
        if len(segments) != 2 or segments[0] != "sha256" or not _DIGEST.fullmatch(segments[1]):
            return None
        digest = segments[1]
        places = [place for folder in self.folders for place in (folder / f"blobs/sha256/{digest[:2]}/{digest}", folder / f"blobs/sha256-{digest}")]
        return next((place for place in places if place.is_file()), None)

    def refuse(self, request: Request, status: int, message: str, code: str = "") -> Answer:
        """An error as nginx words it."""
        return Answer(status, {"Content-Type": "text/html"}, f"<html><body><h1>{status} {message}</h1></body></html>".encode())

    def control(self, request: Request, route: tuple[str, str]) -> Answer:
        """A mirror has nothing to set over HTTP."""
        raise Refusal(self.refuse(request, 404, "Not Found"))

    def sent(self) -> int:
        """Bytes of contents that left it."""
        return sum(entry.sent for entry in self.log.entries() if entry.status in (200, 206))
