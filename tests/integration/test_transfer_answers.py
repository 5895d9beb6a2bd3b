# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that are not what was asked for, from a server that is told each word: none of them becomes a byte of a file."""
from __future__ import annotations

import gzip
import hashlib
import random
import re
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.sources.hub import HubSource
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.transfer.engine import TransferOptions, TransferReport, fetch

MIB = 1024 * 1024
CONTENT = random.Random(5).randbytes(20 * MIB)

#: Status, headers and body of an answer to a range of the content.
Answer = tuple[int, dict[str, str], bytes]


def right(start: int, end: int) -> Answer:
    return 206, {"Content-Range": f"bytes {start}-{end - 1}/{len(CONTENT)}"}, CONTENT[start:end]


class Liar:
    """A server that gives ``count`` wrong answers (-1: always) before right ones."""

    def __init__(self, lie: t.Callable[[int, int], Answer], count: int) -> None:
        self.lie, self.count, self.requests = lie, count, 0
        self.ranges: list[str | None] = []
        liar, guard = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *dummy: t.Any) -> None:
                """Stay silent."""

            def do_GET(self) -> None:
                match = re.match(r"bytes=(\d+)-(\d+)$", self.headers.get("Range", ""))
                start, end = (int(match.group(1)), int(match.group(2)) + 1) if match else (0, len(CONTENT))
                with guard:
                    liar.ranges.append(self.headers.get("Range"))
                    lies = liar.count != 0
                    liar.count -= 1 if liar.count > 0 else 0
                status, headers, body = liar.lie(start, end) if lies else right(start, end) if match else (200, {}, CONTENT)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Transfer-Encoding" in headers:
                    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
                else:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Liar:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *dummy: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def fetch_from(liar: Liar, folder: Path) -> TransferReport:
    file = RemoteFile("f", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), None, f"{liar.url}/f")
    options = TransferOptions(max_parallel=2, retry_policy=RetryPolicy(retries=2, base=0.01), stall_timeout=5.0)
    report = fetch([HubSource(liar.url)], [file], Blobs(str(folder)), options, lambda done, total: None)
    assert Path(Blobs(str(folder)).path(report.digests[file.announced])).read_bytes() == CONTENT
    return report


def with_range(text: str) -> t.Callable[[int, int], Answer]:
    def lie(start: int, end: int) -> Answer:
        values = {"start": start, "last": end - 1, "size": len(CONTENT), "before": max(0, start - 1), "after": end}
        return 206, {"Content-Range": text.format(**values)}, CONTENT[start:end]

    return lie


LIES: dict[str, t.Callable[[int, int], Answer]] = {
    "start": with_range("bytes 7-{last}/{size}"),
    "end": with_range("bytes {start}-{after}/{size}"),
    "total": with_range("bytes {start}-{last}/1{size}"),
    "unit": with_range("lines {start}-{last}/{size}"),
    "none": lambda start, end: (206, {}, CONTENT[start:end]),
    "multipart": lambda start, end: (206, {"Content-Type": "multipart/byteranges; boundary=x"}, CONTENT[start:end]),
    "long": lambda start, end: (206, right(start, end)[1], CONTENT[start:end] + b"more"),
    "short": lambda start, end: (206, right(start, end)[1], CONTENT[start : end - 1]),
    "empty": lambda start, end: (206, right(start, end)[1], b""),
    "portal": lambda start, end: (200, {"Content-Type": "text/html"}, b"<html>please log in</html>"),
    "gzip": lambda start, end: (206, {**right(start, end)[1], "Content-Encoding": "gzip"}, gzip.compress(CONTENT[start:end], 1)),
    "416": lambda start, end: (416, {"Content-Range": f"bytes */{len(CONTENT)}"}, b""),
}


@pytest.mark.parametrize("kind", sorted(LIES))
def test_a_wrong_answer_is_asked_for_again_and_no_byte_of_it_is_used(tmp_path: Path, kind: str) -> None:
    with Liar(LIES[kind], 1) as liar:
        assert fetch_from(liar, tmp_path).bytes_fetched == len(CONTENT)


@pytest.mark.parametrize("kind", sorted(LIES))
def test_a_server_that_always_answers_wrongly_is_named(tmp_path: Path, kind: str) -> None:
    with Liar(LIES[kind], -1) as liar, pytest.raises(VenomError) as caught:
        fetch_from(liar, tmp_path)
    assert caught.value.reason_code == "unsupported_source"
    assert not (tmp_path / "blobs").exists()


@pytest.mark.parametrize("text", ["bytes {start}-{last}/*", "Bytes {start}-{last}/{size}"])
def test_legal_words_of_another_server_are_taken(tmp_path: Path, text: str) -> None:
    with Liar(with_range(text), -1) as liar:
        assert fetch_from(liar, tmp_path).bytes_fetched == len(CONTENT)


def test_a_whole_answer_in_chunks_is_taken(tmp_path: Path) -> None:
    with Liar(lambda start, end: (200, {"Transfer-Encoding": "chunked"}, CONTENT), -1) as liar:
        fetch_from(liar, tmp_path)


@pytest.mark.parametrize("body", [CONTENT + b"more", CONTENT[:-1], b"<html>please log in</html>"])
def test_a_whole_answer_in_chunks_of_another_length_ends_clearly(tmp_path: Path, body: bytes) -> None:
    with Liar(lambda start, end: (200, {"Transfer-Encoding": "chunked"}, body), -1) as liar, pytest.raises(VenomError) as caught:
        fetch_from(liar, tmp_path)
    assert caught.value.reason_code in ("digest_mismatch", "hub_unreachable")
    assert not (tmp_path / "blobs").exists()


def test_requests_have_exact_ends_and_meet(tmp_path: Path) -> None:
    with Liar(right, 0) as liar:
        fetch_from(liar, tmp_path)
    pieces = sorted(tuple(map(int, str(text).partition("=")[2].split("-"))) for text in liar.ranges)
    assert [start for start, dummy in pieces] == [0, *(last + 1 for dummy, last in pieces[:-1])]
    assert pieces[-1][1] == len(CONTENT) - 1
