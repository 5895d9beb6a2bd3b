# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub itself: one or two listeners, their connections, and an end that leaves nothing behind."""
from __future__ import annotations

import os
import shutil
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
import typing as t
from http.server import ThreadingHTTPServer
from pathlib import Path

from lab.hub.faults import Fault, FaultPlan
from lab.hub.handler import Handler
from lab.hub.log import RequestLog
from lab.hub.repos import RepoStore

#: Seconds that stop() gives the threads of a listener after their connections were closed.
GRACE = 5.0


class Server(ThreadingHTTPServer):
    """A listener that knows its connections."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, hub: Hub, name: str, address: tuple[str, int], context: ssl.SSLContext | None) -> None:
        self.hub, self.name, self.scheme = hub, name, "https" if context else "http"
        self._live: dict[t.Any, threading.Thread] = {}
        self._reset: set[t.Any] = set()
        self._guard = threading.Lock()
        super().__init__(address, Handler)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.runner = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, name=f"lab-hub-{name}", daemon=True)
        self.runner.start()

    def process_request(self, request: t.Any, client_address: t.Any) -> None:
        """Serve a connection in a thread of its own, and remember both."""
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        with self._guard:
            for ended in [key for key, other in self._live.items() if not other.is_alive()]:
                del self._live[ended]
            thread.start()
            self._live[request] = thread

    def shutdown_request(self, request: t.Any) -> None:
        """End a connection: with RST if a fault asked for it, else as usual."""
        with self._guard:
            reset = request in self._reset
            self._reset.discard(request)
        if reset:
            request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.close()
        else:
            super().shutdown_request(request)

    def reset(self, request: t.Any) -> None:
        """Mark a connection to be ended with RST."""
        with self._guard:
            self._reset.add(request)

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """Keep what is not just a client that went away."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.hub.errors.append(repr(error))

    def stop(self) -> None:
        """Refuse connections, end those there are, wait for their threads; RuntimeError if one outlives GRACE."""
        self.shutdown()
        self.server_close()
        with self._guard:
            live = dict(self._live)
        for request in live:
            try:
                request.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        end = time.monotonic() + GRACE
        for thread in (self.runner, *live.values()):
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))
                if thread.is_alive():
                    raise RuntimeError(f"{thread.name} of listener {self.name} did not end")


class Hub:
    """A hub in this process; use as a context manager, or start() and stop().

    ``cdn_host`` (such as 127.0.0.2) opens a second listener that serves LFS files only. ``tokens`` maps tokens to users.
    ``pem`` is a file with certificate and key for https. ``page_size`` is the most entries of a listing page.
    ``resolve_cache`` answers small files with a relative 307 to /api/resolve-cache first, as huggingface.co does.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        cdn_host: str | None = None,
        cdn_port: int = 0,
        tokens: t.Mapping[str, str] | None = None,
        page_size: int = 1000,
        resolve_cache: bool = False,
        log_path: str | Path | None = None,
        pem: str | Path | None = None,
    ) -> None:
        self._addresses = {"hub": (host, port), **({"cdn": (cdn_host, cdn_port)} if cdn_host else {})}
        self.tokens: dict[str, str] = dict(tokens or {})
        self.page_size = page_size
        self.resolve_cache = resolve_cache
        self.faults = FaultPlan()
        self.log = RequestLog(Path(log_path) if log_path else None)
        self.stopping = threading.Event()
        self.errors: list[str] = []
        self.link_secret = os.urandom(16)
        self._servers: dict[str, Server] = {}
        self._timers: list[threading.Thread] = []
        self._lock = threading.RLock()
        self._folder = Path(tempfile.mkdtemp(prefix="lab-hub-"))
        self.store = RepoStore(self._folder / "blobs")
        self._context: ssl.SSLContext | None = None
        if pem is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(pem)

    def start(self) -> Hub:
        """Open the listeners; raises OSError if an address is taken."""
        for name in self._addresses:
            self.up(name)
        return self

    def stop(self) -> None:
        """End listeners, connections and timers, remove the copied files; safe to call twice."""
        self.stopping.set()
        for name in list(self._servers):
            self.down(name)
        for timer in self._timers:
            timer.join(GRACE)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Hub:
        return self.start()

    def __exit__(self, *dummy: object) -> None:
        self.stop()

    def up(self, name: str = "hub") -> None:
        """Open a listener, at the port it had before."""
        with self._lock:
            if name not in self._servers and not self.stopping.is_set():
                server = Server(self, name, self._addresses[name], self._context)
                self._addresses[name] = (self._addresses[name][0], server.server_address[1])
                self._servers[name] = server

    def down(self, name: str = "hub", seconds: float | None = None) -> None:
        """Close a listener and its connections: clients are refused, for so many seconds or until up()."""
        if name not in self._addresses:
            raise ValueError(f"there is no listener {name!r}")
        if seconds is None:
            with self._lock:
                server = self._servers.pop(name, None)
            if server is not None:
                server.stop()
            return
        timer = threading.Thread(target=self._nap, args=(name, seconds), name="lab-hub-nap", daemon=True)
        self._timers.append(timer)
        timer.start()

    def _nap(self, name: str, seconds: float) -> None:
        self.stopping.wait(0.1)  # the answer to a control request still has to leave
        self.down(name)
        self.stopping.wait(seconds)
        self.up(name)

    def _url(self, name: str) -> str:
        host, port = self._addresses[name]
        return f"{'https' if self._context else 'http'}://{'127.0.0.1' if host in ('', '0.0.0.0') else host}:{port}"

    @property
    def url(self) -> str:
        """What HF_ENDPOINT should be."""
        return self._url("hub")

    @property
    def cdn_url(self) -> str | None:
        """Where LFS files come from; None without a second listener (then from the hub, by the name it was asked under)."""
        return self._url("cdn") if "cdn" in self._addresses else None

    def add_repo(self, repo_id: str, folder: str | Path, *, tag: str = "", **options: t.Any) -> str:
        """Add a commit (and the repository, if it is new) with the files of a folder; return the commit id. See RepoStore.commit."""
        commit = self.store.commit(repo_id, folder, **options)
        if tag:
            self.store.repos[repo_id].tags[tag] = commit
        return commit

    def configure(self, repo_id: str, **changes: t.Any) -> None:
        """Set gated, private, disabled, readers, downloads or likes of a repository."""
        repo = self.store.repos[repo_id]
        for name, value in changes.items():
            if name not in ("gated", "private", "disabled", "readers", "downloads", "likes"):
                raise ValueError(f"a repository has no setting {name!r}")
            setattr(repo, name, set(value) if name == "readers" else value)

    def rename(self, old: str, new: str) -> None:
        """Rename a repository; the old name answers 307, as on the Hub."""
        with self.store.lock:
            repo = self.store.repos.pop(old)
            repo.id = new
            self.store.repos[new] = repo
            self.store.renamed[old] = new
            for (name, sha256), file in list(self.store.lfs_files.items()):
                if name == old:
                    self.store.lfs_files[(new, sha256)] = file

    def fault(self, kind: str, **options: t.Any) -> Fault:
        """Add a fault; see README.md."""
        return self.faults.add(Fault(kind, **options))

    def expire_links(self) -> None:
        """Make all links into the LFS store that were given so far invalid (403)."""
        self.link_secret = os.urandom(16)
