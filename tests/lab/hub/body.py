# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sending a body, whole or with faults in it."""
from __future__ import annotations

import io
import re
import socket
import threading
import typing as t
import zlib

from lab.hub.faults import Fault
from lab.hub.log import LogEntry
from lab.hub.wire import Answer, FileSlice

_BLOCK = 256 * 1024
#: Bytes that the kernel is asked to send at once; ``entry.sent`` and the end of the listener are looked at in between. Over loopback a lone
#: stream is a little slower so (2.0 GB/s for 2.7 with copies), but it costs half the processor time, which clients that hash need.
_LARGE = 1 << 20
_PARTS = re.compile(r"bytes (-?\d+)-(-?\d+)/(-?\d+)")
BODY_KINDS = ("cut", "flip", "slow", "hang", "length", "content_range", "gzip")


class Cut(Exception):
    """The connection ends here; ``reset`` asks for RST instead of FIN."""

    def __init__(self, reset: bool) -> None:
        super().__init__("cut")
        self.reset = reset


class Sink:
    """Where a body goes; ``entry.sent`` counts bytes before they leave, so that a client that has them all finds them counted.

    ``connection`` is the plain socket to which the kernel may copy files by itself; None if that cannot be.
    """

    def __init__(self, write: t.Callable[[bytes], t.Any], entry: LogEntry, connection: socket.socket | None = None) -> None:
        self._write = write
        self._entry = entry
        self.connection = connection

    def _leave(self, data: bytes, frame: bytes) -> None:
        self._entry.sent += len(data)
        try:
            self._write(frame)
        except OSError:
            self._entry.sent -= len(data)
            raise

    def write(self, data: bytes) -> None:
        """Send some bytes."""
        self._leave(data, data)

    def copy(self, connection: socket.socket, stream: t.BinaryIO, count: int) -> int:
        """Have the kernel send a part of a file; return the bytes that left. Those that left before an error are counted, too."""
        start = stream.tell()
        self._entry.sent += count
        try:
            return connection.sendfile(stream, start, count)
        finally:
            self._entry.sent -= count - (stream.tell() - start)

    def finish(self) -> None:
        """Send what is kept back."""


class GzipSink(Sink):
    """Compresses, and frames in chunks; the bytes that count are those of the compressed body."""

    def __init__(self, write: t.Callable[[bytes], t.Any], entry: LogEntry) -> None:
        super().__init__(write, entry)
        self._packer = zlib.compressobj(1, zlib.DEFLATED, 31)

    def _chunk(self, data: bytes) -> None:
        if data:
            self._leave(data, b"%x\r\n%b\r\n" % (len(data), data))

    def write(self, data: bytes) -> None:
        """Send what the compressor gives up."""
        self._chunk(self._packer.compress(data))

    def finish(self) -> None:
        """Send the rest and the last chunk."""
        self._chunk(self._packer.flush())
        self._write(b"0\r\n\r\n")


def fits(answer: Answer, method: str, spoken: t.Sequence[str]) -> t.Callable[[Fault], bool]:
    """Whether a body fault can strike this answer: a file's bytes, or words (``spoken``) that the fault's path names."""

    def check(fault: Fault) -> bool:
        if method != "GET" or answer.status not in (200, 206) or not (answer.content or any(word in fault.path for word in spoken)):
            return False
        if fault.kind == "content_range":
            return answer.status == 206
        if fault.kind == "hang":
            return fault.when == "body" and fault.after < answer.length
        if fault.kind == "cut":
            return fault.after < answer.length
        if fault.kind == "flip":
            start = answer.body.start if isinstance(answer.body, FileSlice) else 0
            return start <= fault.offset < start + answer.length
        return True

    return check


def disguise(answer: Answer, faults: t.Sequence[Fault]) -> None:
    """Change the headers as the faults want it."""
    for fault in faults:
        if fault.kind == "gzip":
            answer.headers["Content-Encoding"] = "gzip"
        if fault.kind == "content_range" and "Content-Range" in answer.headers:
            first, last, total = (int(number) for number in _PARTS.findall(answer.headers.pop("Content-Range"))[0])
            first += fault.delta if fault.what == "start" else 0
            last += fault.delta if fault.what in ("start", "end") else 0
            total += fault.delta if fault.what == "total" else 0
            if fault.what != "drop":
                answer.headers["Content-Range"] = f"bytes {first}-{last}/{total}"


def _steps(faults: t.Sequence[Fault]) -> list[int]:
    """Positions in the body where sending has to stop for a moment."""
    return sorted({fault.after for fault in faults if fault.kind in ("cut", "hang")})


def _strike(faults: t.Sequence[Fault], position: int, stopping: threading.Event) -> None:
    """Play what the faults have for this position; raises Cut where the connection ends."""
    for fault in faults:
        if fault.kind == "cut" and fault.after == position:
            raise Cut(fault.how == "rst")
        if fault.kind == "hang" and fault.after == position:
            stopping.wait(fault.seconds)
    if stopping.is_set():
        raise Cut(False)


def _flip(data: bytes, places: t.Iterable[int]) -> bytes:
    changed = bytearray(data)
    for place in places:
        if 0 <= place < len(data):
            changed[place] ^= 0xFF
    return bytes(changed)


def send(sink: Sink, answer: Answer, faults: t.Sequence[Fault], stopping: threading.Event) -> None:
    """Send the body; raises Cut where a fault, or the end of the listener, ends the connection.

    A file goes from the page cache to a plain socket without a copy, unless a fault changes its bytes or their rate.
    """
    start = answer.body.start if isinstance(answer.body, FileSlice) else 0
    flips = [fault.offset - start for fault in faults if fault.kind == "flip"]
    rate = min((fault.rate for fault in faults if fault.kind == "slow"), default=0.0)
    direct = sink.connection if isinstance(answer.body, FileSlice) and not flips and not rate else None
    block = max(1, min(_BLOCK, int(rate / 20))) if rate else (_LARGE if direct else _BLOCK)
    steps = _steps(faults)
    stream: t.BinaryIO = open(answer.body.path, "rb") if isinstance(answer.body, FileSlice) else io.BytesIO(answer.body)  # noqa: SIM115
    with stream:
        stream.seek(start)
        position = 0
        while True:
            _strike(faults, position, stopping)
            room = min([block, answer.length - position, *(step - position for step in steps if step > position)])
            if direct is not None:
                count = sink.copy(direct, stream, room) if room else 0
            else:
                data = _flip(stream.read(room), (place - position for place in flips)) if flips else stream.read(room)
                count = len(data)
                if data:
                    sink.write(data)
            if not count:
                break
            position += count
            if rate:
                stopping.wait(count / rate)
        sink.finish()
