# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's process: start, routes, signals, log."""
from __future__ import annotations

import datetime
import fnmatch
import ipaddress
import os
import signal
import socket
import sys
import threading
import time
import typing as t
import urllib.parse

from lab.ollama import gojson, openai
from lab.ollama.api import Api
from lab.ollama.config import VERSION, Config
from lab.ollama.errors import GoError, path_error, system_text
from lab.ollama.openai import OpenAI
from lab.ollama.wire import TEXT, Handler, Listener, Refused


def log(line: str, level: str = "INFO") -> None:
    """A line on stderr, as the journal of the real server has it."""
    now = datetime.datetime.now(datetime.timezone.utc)
    print(f"time={now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z level={level} {line}", file=sys.stderr, flush=True)


class App:
    """Routes of one server."""

    def __init__(self, config: Config, api: Api) -> None:
        self.config, self.api = config, api
        mine = OpenAI(api)
        self.loopback_only = _is_loopback(config.host)
        self.routes: dict[str, dict[str, t.Callable[[Handler], None]]] = {
            "/": _both(lambda handler: handler.send(200, "Ollama is running", TEXT)),
            "/api/version": _both(api.version),
            "/api/tags": _both(api.tags),
            "/api/status": {"GET": api.status},
            "/api/ps": {"GET": api.ps},
            "/api/show": {"POST": api.show},
            "/api/delete": {"DELETE": api.delete},
            "/api/copy": {"POST": api.copy},
            "/api/pull": {"POST": api.pull},
            "/api/push": {"POST": api.push},
            "/api/create": {"POST": api.create},
            "/api/generate": {"POST": api.generate},
            "/api/chat": {"POST": api.chat},
            "/api/embed": {"POST": api.embed},
            "/v1/models": {"GET": mine.models},
            "/v1/chat/completions": {"POST": mine.chat},
            "/v1/completions": {"POST": mine.complete},
            "/_lab/faults": {"GET": self._faults, "POST": self._faults, "DELETE": self._faults},
        }
        self._openai = mine

    def handle(self, handler: Handler) -> None:
        """Answer one request."""
        path = urllib.parse.unquote(urllib.parse.urlsplit(handler.path).path)
        try:
            if not self._let_in(handler):
                handler.send(403, "", None)
                return
            self._fail_on_demand(path)
            self._route(handler, path)
        except Refused as exc:
            if path.startswith("/v1/"):
                openai.failure(handler, exc.status, exc.text)
            else:
                handler.json({"error": exc.text}, exc.status)
        except GoError as exc:
            handler.json({"error": exc.text}, 500)
        finally:
            handler.wfile.flush()

    def _route(self, handler: Handler, path: str) -> None:
        methods = self.routes.get(path)
        if path.startswith("/api/blobs/"):
            digest = path[len("/api/blobs/") :]
            methods = {method: lambda each: self.api.blob(each, digest) for method in ("HEAD", "POST")}
        elif path.startswith("/v1/models/"):
            methods = {"GET": lambda each: self._openai.model(each, path[len("/v1/models/") :])}
        if methods is None:
            handler.send(404, "404 page not found", "text/plain")
        elif handler.command not in methods:
            handler.send(405, "405 method not allowed", "text/plain", {"Allow": ", ".join(methods)})
        else:
            methods[handler.command](handler)

    def _fail_on_demand(self, path: str) -> None:
        if path.startswith("/_lab/"):
            return
        slow = self.api.faults.take("hang", path)
        if slow is not None:
            time.sleep(float(slow.get("seconds", 60)))
        answer = self.api.faults.take("answer", path)
        if answer is not None:
            raise Refused(int(answer.get("status", 503)), answer.get("text", "out of order"))

    def _faults(self, handler: Handler) -> None:
        """/_lab/faults: GET what waits, POST one, DELETE all."""
        if handler.command == "POST":
            try:
                self.api.faults.add(handler.data())
            except ValueError as exc:
                raise Refused(400, str(exc)) from None
        elif handler.command == "DELETE":
            self.api.faults.clear()
        handler.json(self.api.faults.waiting())

    def _let_in(self, handler: Handler) -> bool:
        """The Host header, and the Origin of a browser."""
        if self.loopback_only and not _host_is_near(handler.headers.get("Host") or ""):
            return False
        origin = handler.headers.get("Origin")
        if not origin or origin.split("://")[-1] == handler.headers.get("Host"):
            return True
        if not any(pattern == "*" or fnmatch.fnmatchcase(origin, pattern) for pattern in self.config.origins):
            return False
        handler.extra = {"Access-Control-Allow-Origin": "*" if "*" in self.config.origins else origin, "Vary": "Origin"}
        return True


def _both(route: t.Callable[[Handler], None]) -> dict[str, t.Callable[[Handler], None]]:
    return {"HEAD": route, "GET": route}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_is_near(host: str) -> bool:
    """Loopback, private, this machine's own name, or a name that cannot be public."""
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host)
        return address.is_loopback or address.is_private or address.is_unspecified
    except ValueError:
        return host in ("", "localhost", socket.gethostname()) or host.endswith((".localhost", ".local", ".internal"))


def serve(environ: t.Mapping[str, str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; 1 and a message if it cannot start, 2 if nothing says where models belong."""
    config = Config(environ)
    _become(config.environ.get("LAB_OLLAMA_USER", ""))
    try:
        folder = config.models
    except GoError as exc:
        print(f"panic: {exc.text}\n\ngoroutine 1 [running]:\nenvconfig.Models()", file=sys.stderr)
        return 2
    try:
        _make_key(config)
        api = Api(config)
        app = App(config, api)
        listener = _listen(config, app)
        _prepare(config, api, folder)
    except GoError as exc:
        print(f"Error: {exc.text}", file=sys.stderr)
        return 1
    _handle_signals(api)
    port = listener.server_address[1]
    log(f'source=routes.go:2008 msg="Listening on {config.host}:{port} (version {VERSION})"')
    time.sleep(config.start_seconds * config.time_scale)
    api.loaded.watch()
    log('source=types.go:50 msg="inference compute" id=cpu library=cpu compute="" name=cpu description=cpu')
    listener.serve_forever(poll_interval=0.5)
    return 0


def _become(user: str) -> None:
    """Run as another account, by its number. Not before everything is imported: it may not be able to read the interpreter's files."""
    if user:
        socket.getaddrinfo("localhost", 0)
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))


def _make_key(config: Config) -> None:
    """The key pair of the first start; here it holds no key."""
    if not config.home:
        return
    folder = os.path.join(config.home, ".ollama")
    private = os.path.join(folder, "id_ed25519")
    try:
        if not os.path.exists(private):
            os.makedirs(folder, 0o755, exist_ok=True)
            for path, mode in ((private, 0o600), (f"{private}.pub", 0o644)):
                with open(os.open(path, os.O_CREAT | os.O_WRONLY, mode), "w", encoding="utf-8") as file:
                    file.write("no key: a stand-in signs nothing\n")
    except OSError as exc:
        raise GoError(f"could not create directory {path_error('mkdir', folder, exc).text}") from None


def _listen(config: Config, app: App) -> Listener:
    """Take the port: from here on connections are accepted, and wait."""
    try:
        return Listener((config.host, config.port), Handler, app)
    except socket.gaierror:
        raise GoError(f"listen tcp: lookup {config.host}: no such host") from None
    except OSError as exc:
        raise GoError(f"listen tcp {config.host}:{config.port}: bind: {system_text(exc)}") from None


def _prepare(config: Config, api: Api, folder: str) -> None:
    """The log of the start, the folders, the pruning."""
    for warning in config.warnings:
        log(warning, "WARN")
    log(f'source=routes.go:1951 msg="server config" env={gojson.dumps(config.show())}')
    log(f'source=routes.go:1953 msg="Ollama cloud disabled: {str(config.booleans["OLLAMA_NO_CLOUD"]).lower()}"')
    for each in (os.path.join(folder, "blobs"), os.path.join(folder, "manifests")):
        try:
            os.makedirs(each, 0o755, exist_ok=True)
        except OSError as exc:
            text = path_error("mkdir", _obstacle(each), exc).text
            raise GoError(f"{text}: ensure path elements are traversable") from None
    api.store.fix_blobs()
    if config.booleans["OLLAMA_NOPRUNE"]:
        return
    corrupt = api.store.corrupt()
    if corrupt is not None:
        text = "corrupt manifests detected, skipping prune operation.  Re-pull or delete to clear"
        log(f'source=routes.go:1965 msg="{text}" error="{corrupt}"', "WARN")
        return
    total, removed = api.store.prune()
    log(f'source=images.go:919 msg="total blobs: {total}"')
    log(f'source=images.go:926 msg="total unused blobs removed: {removed}"')


def _obstacle(path: str) -> str:
    """The first part of a path that is there and no folder; else the path."""
    parts = path.split("/")
    for count in range(2, len(parts) + 1):
        part = "/".join(parts[:count])
        if os.path.exists(part) and not os.path.isdir(part):
            return part
    return path


def _handle_signals(api: Api) -> None:
    """SIGTERM and SIGINT: write the offsets, end the children, leave. Open answers end without a final chunk."""

    def stop(*dummy: object) -> None:
        api.puller.downloads.save()
        threading.Thread(target=_leave, args=(api,), daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _leave(api: Api) -> None:
    api.loaded.stop()
    os._exit(0)
