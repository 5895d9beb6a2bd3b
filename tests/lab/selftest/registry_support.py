# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the registry share: one model, and a client that follows nothing."""
from __future__ import annotations

import base64
import hashlib
import http.client
import json
import typing as t
import urllib.parse

from lab.hub import Hub
from lab.registry import Registry

MODEL = "application/vnd.ollama.image.model"
DATA = bytes(range(256)) * 40
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()
MANIFEST = "/v2/library/tiny/manifests/latest"
BLOB = f"/v2/library/tiny/blobs/{DIGEST}"


class Reply(t.NamedTuple):
    """What came back; ``error`` is what ended the body early."""

    status: int
    headers: dict[str, str]
    body: bytes
    error: type[BaseException] | None


def ask(site: Registry | Hub, target: str, method: str = "GET", body: t.Any = None, **headers: str) -> Reply:
    """One request on a connection of its own, following no redirect; reads to the end of the body or of the connection."""
    url = urllib.parse.urlsplit(target if target.startswith("http") else site.url + target)
    connection = http.client.HTTPConnection(str(url.hostname), url.port or 80, timeout=30)
    try:
        data = None if body is None else json.dumps(body)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, url.path + ("?" + url.query if url.query else ""), data, sent)
        answer = connection.getresponse()
        error: type[BaseException] | None = None
        try:
            content = answer.read()
        except http.client.IncompleteRead as short:
            content, error = short.partial, type(short)
        except ConnectionError as broken:
            content, error = b"", type(broken)
        return Reply(answer.status, dict(answer.headers.items()), content, error)
    finally:
        connection.close()


def basic(user: str, password: str) -> str:
    """A header with a name and a password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def code(reply: Reply) -> str:
    """The code of an OCI error."""
    assert reply.headers["Content-Type"].startswith("application/json")
    errors = json.loads(reply.body)["errors"]
    assert len(errors) == 1
    return str(errors[0]["code"])


def link(registry: Registry) -> str:
    """The signed link to the blob."""
    return ask(registry, BLOB).headers["Location"]


def guarded(**options: t.Any) -> Registry:
    """A registry with one model of one layer, not started."""
    made = Registry(**options)
    made.add(layers=[(MODEL, DATA)])
    return made
