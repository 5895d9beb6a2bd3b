# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hub and a registry have in common: listeners, their connections, faults, the log, and an end that leaves nothing behind."""
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
from lab.hub.wire import Answer, Request

#: Seconds that stop() gives the threads of a listener after their connections were closed.
GRACE = 5.0


class Server(ThreadingHTTPServer):
    """A listener that knows its connections."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, site: Site, name: str, address: tuple[str, int], context: ssl.SSLContext | None) -> None:
        self.site, self.name, self.scheme = site, name, "https" if context else "http"
        self.stopping = threading.Event()
        self._live: dict[t.Any, threading.Thread] = {}
        self._reset: set[t.Any] = set()
        self._guard = threading.Lock()
        super().__init__(address, Handler)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.runner = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, name=f"lab-{name}", daemon=True)
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
            self.site.errors.append(repr(error))

    def stop(self) -> None:
        """Refuse connections, end those there are, wait for their threads; RuntimeError if one outlives GRACE."""
        self.stopping.set()
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


class Site:
    """Listeners with names, each at an address; use as a context manager, or start() and stop().

    ``addresses`` maps names to host and port; the first is what ``url`` tells. ``pem`` is a file with certificate and key for https.
    """

    #: A fault whose path has one of these words in it strikes answers that are not the bytes of a file, too.
    spoken: tuple[str, ...] = ()

    def __init__(self, addresses: t.Mapping[str, tuple[str, int]], *, log_path: str | Path | None = None, pem: str | Path | None = None) -> None:
        self._addresses = dict(addresses)
        self.first = next(iter(self._addresses))
        self.faults = FaultPlan()
        self.log = RequestLog(Path(log_path) if log_path else None)
        self.stopping = threading.Event()
        self.errors: list[str] = []
        self.link_secret = os.urandom(16)
        self.servers: dict[str, Server] = {}
        self._timers: list[threading.Thread] = []
        self._lock = threading.RLock()
        self.folder = Path(tempfile.mkdtemp(prefix="lab-site-"))
        self._context: ssl.SSLContext | None = None
        if pem is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(pem)

    def route(self, request: Request) -> Answer:
        """Answer a request; a Refusal that it raises is an answer, too."""
        raise NotImplementedError

    def refuse(self, request: Request, status: int, message: str, code: str = "") -> Answer:
        """An error in the words of this kind of site."""
        raise NotImplementedError

    def control(self, request: Request, route: tuple[str, str]) -> Answer:
        """Answer a request below /_lab that only this kind of site knows; a Refusal if it does not either."""
        raise NotImplementedError

    def start(self) -> t.Any:
        """Open the listeners; raises OSError if an address is taken."""
        for name in self._addresses:
            self.up(name)
        return self

    def stop(self) -> None:
        """End listeners, connections and timers, remove the copied files; safe to call twice."""
        self.stopping.set()
        for name in list(self.servers):
            self.close(name)
        for timer in self._timers:
            timer.join(GRACE)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __exit__(self, *dummy: object) -> None:
        self.stop()

    def up(self, name: str = "") -> None:
        """Open a listener (the first one if none is named), at the port it had before."""
        name = name or self.first
        with self._lock:
            if name not in self.servers and not self.stopping.is_set():
                server = Server(self, name, self._addresses[name], self._context)
                self._addresses[name] = (self._addresses[name][0], server.server_address[1])
                self.servers[name] = server

    def close(self, *names: str) -> None:
        """Close listeners and their connections; raises ValueError for a name that there is not."""
        unknown = set(names) - set(self._addresses)
        if unknown:
            raise ValueError(f"there is no listener {', '.join(sorted(unknown))!r}")
        for name in names:
            with self._lock:
                server = self.servers.pop(name, None)
            if server is not None:
                server.stop()

    def listeners(self, name: str) -> tuple[str, ...]:
        """The listener of that name; all of them for ``*``. ValueError if there is none."""
        if name != "*" and name not in self._addresses:
            raise ValueError(f"there is no listener {name!r}")
        return tuple(self._addresses) if name == "*" else (name,)

    def nap(self, names: t.Sequence[str], seconds: float, delay: float = 0.0) -> None:
        """Close listeners, at once or after a delay, and open them again after so many seconds; does not wait for that.

        The delay is for control requests: their answer still has to leave.
        """
        if not delay:
            self.close(*names)
        timer = threading.Thread(target=self._nap, args=(tuple(names), seconds, delay), name="lab-nap", daemon=True)
        self._timers.append(timer)
        timer.start()

    def _nap(self, names: t.Sequence[str], seconds: float, delay: float) -> None:
        self.stopping.wait(delay)
        self.close(*names)
        self.stopping.wait(seconds)
        for name in names:
            self.up(name)

    def address(self, name: str) -> str:
        """host:port of a listener, as a client of this machine calls it."""
        host, port = self._addresses[name]
        return f"{'127.0.0.1' if host in ('', '0.0.0.0') else host}:{port}"

    def url_of(self, name: str) -> str:
        """URL of a listener."""
        return f"{'https' if self._context else 'http'}://{self.address(name)}"

    @property
    def url(self) -> str:
        """URL of the first listener."""
        return self.url_of(self.first)

    @property
    def cdn_url(self) -> str | None:
        """URL of the listener for large files; None without one (then they come from the first, by the name it was asked under)."""
        return self.url_of("cdn") if "cdn" in self._addresses else None

    def fault(self, kind: str, **options: t.Any) -> Fault:
        """Add a fault; see README.md of the hub."""
        return self.faults.add(Fault(kind, **options))

    def expire_links(self) -> None:
        """Make all signed links that were given so far invalid (403)."""
        self.link_secret = os.urandom(16)
