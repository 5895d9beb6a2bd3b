# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What passes between the handler and the routes: a request, an answer, and the error that is an answer."""
from __future__ import annotations

import json
import typing as t
import urllib.parse
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path

from lab.hub.log import LogEntry


@dataclass
class Request:
    """A request as it came in. ``segments`` are the parts of the path, unquoted one by one (a %2F stays inside its part)."""

    listener: str
    method: str
    target: str
    headers: Message
    body: bytes
    entry: LogEntry
    base_url: str
    path: str = ""
    segments: tuple[str, ...] = ()
    query: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.target)
        self.path = urllib.parse.unquote(parts.path)
        self.segments = tuple(urllib.parse.unquote(part) for part in parts.path.split("/")[1:])
        self.query = urllib.parse.parse_qs(parts.query, keep_blank_values=True)

    @property
    def token(self) -> str | None:
        """The bearer token, if one came."""
        value = self.headers.get("Authorization")
        return value.split(" ", 1)[-1].strip() if value else None

    def option(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return self.query.get(name, [default])[0]

    def flag(self, name: str) -> bool:
        """A query parameter that says yes."""
        return self.option(name).lower() in ("1", "true", "yes")

    def any_json(self) -> t.Any:
        """The body as JSON, whatever its type says; raises ValueError."""
        return json.loads(self.body or b"{}")

    def fields(self) -> dict[str, t.Any]:
        """The body as a dict: JSON, or a form whose values are lists."""
        if "json" in (self.headers.get("Content-Type") or ""):
            data = self.any_json()
            return data if isinstance(data, dict) else {}
        return dict(urllib.parse.parse_qs(self.body.decode("utf-8")))


@dataclass(frozen=True)
class FileSlice:
    """A part of a file: ``length`` bytes from ``start``."""

    path: Path
    start: int
    length: int


@dataclass
class Answer:
    """An answer. ``content`` marks the bytes of a model file, the target of body faults. ``close`` ends the connection after it."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | FileSlice = b""
    content: bool = False
    close: bool = False

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return self.body.length if isinstance(self.body, FileSlice) else len(self.body)


class Refusal(Exception):
    """An answer that ends the work on a request."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"HTTP {answer.status}")
        self.answer = answer


class HubError(Refusal):
    """An answer that ends the work on a request: status, the code and the text that the Hub puts into headers."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str) -> None:
        super().__init__(error(status, message, code))
        self.answer.headers.update({name.replace("_", "-"): value for name, value in headers.items()})


def json_answer(data: t.Any, status: int = 200, **headers: str) -> Answer:
    """JSON as the Hub sends it."""
    return Answer(status, {"Content-Type": "application/json; charset=utf-8", **headers}, json.dumps(data).encode())


def error(status: int, message: str, code: str = "") -> Answer:
    """An error as the Hub sends it: a JSON body and X-Error headers."""
    answer = json_answer({"error": message}, status)
    answer.headers["X-Error-Message"] = message
    if code:
        answer.headers["X-Error-Code"] = code
    return answer
