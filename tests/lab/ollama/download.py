# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One blob on its way: parts, partial files, retries. Two pulls share one download.

As in ``server/download.go`` of the real server: the status of a ranged GET is not looked at; a short body rolls the part back, a cut one is resumed;
a part without a byte for 30 s starts again; the offset of a part in flight is written when it ends, fails or is cancelled, never by a kill.
"""
from __future__ import annotations

import errno
import glob
import http.client
import json
import os
import threading
import time
import typing as t
import urllib.parse

from lab.ollama.config import Config
from lab.ollama.errors import Cancelled, GoError, path_error, system_text
from lab.ollama.registry_client import PLAIN_AGENT, Context, Registry, request, shut
from lab.ollama.store import write_file

PARTS = 16
MAX_PART = 1_000_000_000
TRIES = 6
STALL = 30.0
DIRECT_DEADLINE = 30.0
BLOCK = 1 << 16


class Part:
    """A range of a blob, and how much of it is on disk."""

    def __init__(self, path: str, number: int, offset: int, size: int, completed: int = 0) -> None:
        self.path, self.number, self.offset, self.size, self.completed = path, number, offset, size, completed
        self.updated = 0.0
        self.stalled = False
        self.socket: t.Any = None

    def save(self) -> None:
        """Write the offset beside the partial file."""
        state = {"N": self.number, "Offset": self.offset, "Size": self.size, "Completed": self.completed}
        write_file(self.path, (json.dumps(state, separators=(",", ":")) + "\n").encode())


class Stalled(Exception):
    """No byte for too long."""


class Download:
    """A blob that is fetched for one or more pulls; ``done`` is set with ``error`` None once it lies under its name."""

    def __init__(self, path: str, digest: str, config: Config) -> None:
        self.path, self.digest, self.config = path, digest, config
        self.partial = f"{path}-partial"
        self.parts: list[Part] = []
        self.total = 0
        self.waiting = 0
        self.done = threading.Event()
        self.error: GoError | None = None
        self.context = Context()

    @property
    def completed(self) -> int:
        """Bytes on disk; goes down when a part is rolled back."""
        return sum(part.completed for part in self.parts)

    def prepare(self, registry: Registry, url: str) -> None:
        """Take up what is on disk, or ask for the size and lay out the parts."""
        for path in sorted(glob.glob(glob.escape(self.partial) + "-*")):
            with open(path, encoding="utf-8") as file:
                state = json.load(file)
            self.parts.append(Part(path, state["N"], state["Offset"], state["Size"], state["Completed"]))
        self.total = sum(part.size for part in self.parts)
        if self.parts:
            return
        with registry.ask("HEAD", url) as answer:
            self.total = int(answer.header("Content-Length") or 0)
        size = min(max(self.total // PARTS, self.config.part_bytes), MAX_PART)
        for number, offset in enumerate(range(0, self.total, size)):
            part = Part(f"{self.partial}-{number}", number, offset, min(size, self.total - offset))
            part.save()
            self.parts.append(part)

    def run(self, insecure: bool, url: str, token: str) -> None:
        """Fetch everything; ends by setting ``done``."""
        try:
            self._run(insecure, url, token)
        except GoError as exc:
            self.error = exc
        except Cancelled:
            self.error = GoError("context canceled")
        except OSError as exc:
            self.error = GoError(system_text(exc))
        finally:
            self.done.set()

    def _run(self, insecure: bool, url: str, token: str) -> None:
        try:
            handle = os.open(self.partial, os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as exc:
            raise path_error("open", self.partial, exc) from None
        try:
            os.ftruncate(handle, self.total)
            target = self._direct_url(insecure, url, token)
            self._fetch_parts(handle, target)
        finally:
            os.close(handle)
        for part in self.parts:
            os.remove(part.path)
        os.rename(self.partial, self.path)

    def _direct_url(self, insecure: bool, url: str, token: str) -> str:
        """Where the bytes are: a redirect to another host name, or a Location with 200."""
        scale = self.config.time_scale
        deadline = time.monotonic() + DIRECT_DEADLINE * scale
        registry = Registry(insecure, self.context)
        registry.token = token
        tries = 0
        while True:
            try:
                answer = registry.ask("GET", url, stay=True)
                break
            except GoError:
                tries += 1
                pause = min(tries * tries * 0.01, 10.0) * scale
                left = deadline - time.monotonic()
                self.context.wait(max(0.0, min(pause, left)))
                if pause >= left:
                    raise GoError("context deadline exceeded") from None
        with answer:
            if answer.status not in (200, 307):
                raise GoError(f"unexpected status code {answer.status}")
            target = answer.header("Location")
        if not target:
            raise GoError("http: no Location header in response")
        return urllib.parse.urljoin(url, target)

    def _fetch_parts(self, handle: int, target: str) -> None:
        errors: list[BaseException] = []
        limit = threading.Semaphore(PARTS)
        threads = []
        for part in self.parts:
            if part.completed < part.size:
                threads.append(threading.Thread(target=self._fetch_part, args=(handle, target, part, limit, errors), daemon=True))
                threads[-1].start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.01)
            self._watch()
            if errors or self.context.cancelled:
                self.context.cancel()
                for thread in threads:
                    thread.join()
        if self.context.cancelled and not errors:
            raise Cancelled
        if errors:
            raise errors[0]

    def _watch(self) -> None:
        """End the connections of parts that have had bytes, but none for too long."""
        for part in self.parts:
            if part.updated and time.monotonic() - part.updated > STALL * self.config.time_scale and part.socket is not None:
                part.stalled = True
                shut(part.socket)

    def _fetch_part(self, handle: int, target: str, part: Part, limit: threading.Semaphore, errors: list[BaseException]) -> None:
        with limit:
            tries = 0
            try:
                while tries < TRIES:
                    try:
                        self._fetch_once(handle, target, part)
                        return
                    except Stalled:
                        continue
                    except GoError as exc:
                        last = exc
                        self.context.wait(2**tries * self.config.time_scale)
                        tries += 1
                errors.append(GoError(f"max retries exceeded: {last.text}"))
            except (Cancelled, _DiskFull) as exc:
                if isinstance(exc, _DiskFull):
                    errors.append(exc.error)
                else:
                    part.save()
            except OSError as exc:
                errors.append(GoError(system_text(exc)))

    def _fetch_once(self, handle: int, target: str, part: Part) -> None:
        began = part.completed
        headers = {"User-Agent": PLAIN_AGENT, "Range": f"bytes={part.offset + began}-{part.offset + part.size - 1}"}
        part.updated, part.stalled = 0.0, False
        try:
            with request("GET", target, headers, self.context) as answer:
                part.socket = answer.socket
                expected = int(answer.header("Content-Length") or part.size - began)
                self._copy(handle, answer.response, part)
            if part.completed < part.size:
                if self.context.cancelled:
                    raise Cancelled
                if part.stalled:
                    part.completed = began
                    raise Stalled
                if part.completed - began < expected:
                    part.save()
                    raise GoError("unexpected EOF")
                part.completed = began
                raise GoError("EOF")
            part.save()
        except OSError as exc:
            if self.context.cancelled:
                raise Cancelled from None
            part.completed = began
            if part.stalled:
                raise Stalled from None
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _DiskFull(path_error("write", self.partial, exc)) from None
            raise GoError(system_text(exc)) from None
        finally:
            part.socket = None
            part.updated = 0.0

    @staticmethod
    def _copy(handle: int, response: http.client.HTTPResponse, part: Part) -> None:
        """Bytes to disk until the part is full or the body ends."""
        while part.completed < part.size:
            try:
                data = response.read1(min(BLOCK, part.size - part.completed))
            except http.client.HTTPException:
                return
            if not data:
                return
            view = memoryview(data)
            while view:
                count = os.pwrite(handle, view, part.offset + part.completed)
                part.completed += count
                view = view[count:]
            part.updated = time.monotonic()


class _DiskFull(Exception):
    def __init__(self, error: GoError) -> None:
        super().__init__(error.text)
        self.error = error


class Downloads:
    """Every download under way, one for each blob."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._lock = threading.Lock()
        self._running: dict[str, Download] = {}

    def join(self, path: str, digest: str, registry: Registry, url: str) -> Download:
        """The download of a blob, begun if there is none; leave() it."""
        while True:
            with self._lock:
                found = self._running.get(digest)
                if found is None:
                    found = self._running[digest] = Download(path, digest, self.config)
                    found.waiting = 1
                    break
                if not found.context.cancelled:
                    found.waiting += 1
                    return found
            registry.context.wait(0.005)
        try:
            found.prepare(registry, url)
        except (GoError, Cancelled, OSError, ValueError, KeyError) as exc:
            self._forget(found)
            found.error = exc if isinstance(exc, GoError) else GoError(str(exc))
            found.done.set()
            raise
        threading.Thread(target=self._run, args=(found, registry.insecure, url, registry.token), daemon=True).start()
        return found

    def leave(self, download: Download) -> None:
        """Nobody left: stop it, its offsets are kept."""
        with self._lock:
            download.waiting -= 1
            if download.waiting == 0:
                download.context.cancel()

    def _run(self, download: Download, insecure: bool, url: str, token: str) -> None:
        try:
            download.run(insecure, url, token)
        finally:
            self._forget(download)

    def _forget(self, download: Download) -> None:
        with self._lock:
            self._running.pop(download.digest, None)

    def save(self) -> None:
        """Write all offsets: what SIGTERM leaves behind."""
        for download in list(self._running.values()):
            for part in download.parts:
                if 0 < part.completed < part.size:
                    part.save()
