# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry that is a function: for tests of its client that need no network."""
from __future__ import annotations

import hashlib
import json
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.sources.registry import RegistrySource
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy

PUBLIC = "https://registry.ollama.ai"
OWN = "https://registry.example:5000"
REF = ModelRef.parse("phi3:mini", "ollama")


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def make_manifest(*sizes: int) -> bytes:
    layers = [{"mediaType": "x", "digest": f"sha256:{size:064x}", "size": size} for size in sizes]
    return json.dumps({"schemaVersion": 2, "config": {"mediaType": "c", "digest": f"sha256:{1:064x}", "size": 1}, "layers": layers}).encode()


class Response:
    """As much of an answer of requests as the client looks at."""

    def __init__(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.headers.setdefault("Content-Length", str(len(body)))
        self.raw = self
        self._body = body

    def read1(self, size: int, decode_content: bool) -> bytes:
        assert decode_content is False
        chunk, self._body = self._body[:size], self._body[size:]
        return chunk

    def close(self) -> None:
        pass


Handler = t.Callable[[str, t.Mapping[str, str]], Response]


def make_source(handler: Handler, endpoint: str = OWN, **options: t.Any) -> tuple[RegistrySource, list[tuple[str, dict[str, str]]]]:
    """A source whose requests a function answers, and the requests."""
    source = RegistrySource(endpoint, retry_policy=RetryPolicy(retries=2), sleep=lambda dummy: None, **options)
    asked: list[tuple[str, dict[str, str]]] = []

    def send(url: str, headers: t.Mapping[str, str], authorization: str | None) -> Response:
        sent = dict(headers, **({"Authorization": authorization} if authorization else {}))
        asked.append((url, sent))
        return handler(url, sent)

    source._http._send = send  # type: ignore[method-assign,assignment]
    return source, asked


def refused(code: str, source: RegistrySource, revision: str | None = None) -> VenomError:
    with pytest.raises(VenomError) as caught:
        source.find_manifest(REF, revision)
    assert caught.value.reason_code == code
    return caught.value
