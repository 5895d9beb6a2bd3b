# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a registry and to the host it points to, with the texts of Go's http client."""
from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
import typing as t
import urllib.parse

from lab.ollama.config import VERSION
from lab.ollama.errors import Cancelled, GoError, system_text

AGENT = f"ollama/{VERSION} (amd64 linux) Go/go1.27.3"
PLAIN_AGENT = "Go-http-client/1.1"
CONNECT_TIMEOUT = 30.0
MAX_REDIRECTS = 10


class Context:
    """What is under way for one client, and its end: cancel() closes the connections."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    @property
    def cancelled(self) -> bool:
        """Nobody waits for this any more."""
        return self._event.is_set()

    def cancel(self) -> None:
        """End everything under way."""
        self._event.set()
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            shut(each)

    def wait(self, seconds: float) -> None:
        """Sleep; raises Cancelled as soon as it is."""
        if self._event.wait(seconds):
            raise Cancelled

    def add(self, each: socket.socket) -> None:
        """Remember a connection."""
        with self._lock:
            self._sockets.add(each)
        if self.cancelled:
            shut(each)
            raise Cancelled

    def drop(self, each: socket.socket) -> None:
        """Forget it."""
        with self._lock:
            self._sockets.discard(each)


def shut(each: socket.socket) -> None:
    """End a connection that another thread may be reading from."""
    try:
        each.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class Answer:
    """A response and its connection; close it."""

    def __init__(
        self, url: str, connection: http.client.HTTPConnection, raw: socket.socket, response: http.client.HTTPResponse, context: Context
    ) -> None:
        self.url, self.socket, self.response, self.status = url, raw, response, response.status
        self._connection, self._context = connection, context

    def header(self, name: str) -> str | None:
        """A header of the answer."""
        return self.response.getheader(name)

    def read(self) -> bytes:
        """All of the body that comes."""
        try:
            return self.response.read()
        except (http.client.HTTPException, OSError):
            if self._context.cancelled:
                raise Cancelled from None
            return b""

    def close(self) -> None:
        """Give the connection back."""
        self._context.drop(self.socket)
        self.response.close()
        self._connection.close()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *dummy: object) -> None:
        self.close()


_seen_hosts: set[str] = set()


def request(method: str, url: str, headers: t.Mapping[str, str], context: Context) -> Answer:
    """One request; GoError ``Get "url": ...`` if there is no answer. Go asks once more when a kept connection was closed."""
    parts = urllib.parse.urlsplit(url)
    try:
        answer = _request(method, url, parts, headers, context)
    except http.client.RemoteDisconnected:
        again = parts.netloc in _seen_hosts
        try:
            if not again:
                raise
            answer = _request(method, url, parts, headers, context)
        except http.client.RemoteDisconnected:
            if context.cancelled:
                raise Cancelled from None
            raise GoError(f'{method.capitalize()} "{url}": EOF') from None
    _seen_hosts.add(parts.netloc)
    return answer


def _request(method: str, url: str, parts: urllib.parse.SplitResult, headers: t.Mapping[str, str], context: Context) -> Answer:
    prefix = f'{method.capitalize()} "{url}": '
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    raw = _connect(parts.scheme, host, port, prefix, context)
    connection = http.client.HTTPConnection(host, port)
    connection.sock = raw
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    try:
        context.add(raw)
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", parts.netloc)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        return Answer(url, connection, raw, connection.getresponse(), context)
    except (http.client.HTTPException, OSError) as exc:
        context.drop(raw)
        connection.close()
        if context.cancelled:
            raise Cancelled from None
        if isinstance(exc, http.client.RemoteDisconnected):
            raise
        text = system_text(exc) if isinstance(exc, OSError) else f"net/http: HTTP/1.x transport connection broken: {exc}"
        raise GoError(f"{prefix}read tcp {host}:{port}: read: {text}" if isinstance(exc, OSError) else prefix + text) from None


def _connect(scheme: str, host: str, port: int, prefix: str, context: Context) -> socket.socket:
    try:
        raw = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT)
    except socket.gaierror:
        raise GoError(f"{prefix}dial tcp: lookup {host}: no such host") from None
    except socket.timeout:
        raise GoError(f"{prefix}dial tcp {_address(host, port)}: i/o timeout") from None
    except OSError as exc:
        raise GoError(f"{prefix}dial tcp {_address(host, port)}: connect: {system_text(exc)}") from None
    if context.cancelled:
        raw.close()
        raise Cancelled
    if scheme == "https":
        try:
            raw = ssl.create_default_context().wrap_socket(raw, server_hostname=host)
        except (ssl.SSLError, OSError) as exc:
            raw.close()
            raise GoError(prefix + _tls_text(exc, host, port)) from None
    raw.settimeout(None)
    return raw


def _address(host: str, port: int) -> str:
    address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


def _tls_text(exc: Exception, host: str, port: int) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    if isinstance(exc, ssl.SSLEOFError) or not isinstance(exc, ssl.SSLError):
        return "EOF"
    return _first_record(host, port)


def _first_record(host: str, port: int) -> str:
    """What a server that speaks no TLS answers to a hello: Go tells HTTP from the rest."""
    inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = b""
    try:
        ssl.create_default_context().wrap_bio(inward, outward, server_hostname=host).do_handshake()
    except ssl.SSLWantReadError:
        hello = outward.read()
    try:
        with socket.create_connection((host, port), timeout=5) as raw:
            raw.sendall(hello)
            first = raw.recv(5)
    except OSError:
        first = b""
    return "http: server gave HTTP response to HTTPS client" if first == b"HTTP/" else "tls: first record does not look like a TLS handshake"


class Registry:
    """A registry for one pull: scheme, token, redirects."""

    def __init__(self, insecure: bool, context: Context) -> None:
        self.insecure, self.context, self.token = insecure, context, ""

    def url(self, host: str, *path: str) -> str:
        """``insecure`` means plain http, whatever scheme the name came with."""
        return f"{'http' if self.insecure else 'https'}://{host}/" + "/".join(path)

    def ask(self, method: str, url: str, *, accept: str | None = None, stay: bool = False) -> Answer:
        """An answer below 400; GoError for the rest. ``stay``: follow redirects on the same host name only."""
        for dummy in range(2):
            answer = self._follow(method, url, accept, stay)
            if answer.status < 400:
                return answer
            with answer:
                body = answer.read() if method != "HEAD" else b""
                challenge = answer.header("WWW-Authenticate") or ""
            if answer.status == 401:
                self.token = self._login(challenge, urllib.parse.urlsplit(url).netloc)
            elif answer.status == 404:
                raise GoError("file does not exist", missing=True)
            else:
                raise GoError(f"{answer.status}: {body.decode('utf-8', 'replace')}")
        raise GoError("unauthorized: access denied")

    def _follow(self, method: str, url: str, accept: str | None, stay: bool) -> Answer:
        first = urllib.parse.urlsplit(url).hostname
        for dummy in range(MAX_REDIRECTS):
            headers = {"User-Agent": AGENT}
            if accept:
                headers["Accept"] = accept
            if self.token and urllib.parse.urlsplit(url).hostname == first:
                headers["Authorization"] = f"Bearer {self.token}"
            answer = request(method, url, headers, self.context)
            target = answer.header("Location")
            if answer.status not in (301, 302, 303, 307, 308) or not target:
                return answer
            target = urllib.parse.urljoin(url, target)
            if stay and urllib.parse.urlsplit(target).hostname != first:
                return answer
            answer.close()
            url = target
        raise GoError(f'{method.capitalize()} "{url}": stopped after 10 redirects')

    def _login(self, challenge: str, host: str) -> str:
        """A token from the realm of the challenge, which must be on the same host. Not recorded from a real server: the key is not used."""
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = urllib.parse.urlsplit(fields.get("realm", ""))
        if realm.netloc != host:
            raise GoError(f'realm host "{realm.netloc}" does not match original host "{host}"')
        query = {name: fields[name] for name in ("service", "scope") if name in fields}
        url = f"{realm.scheme}://{realm.netloc}{realm.path}?{urllib.parse.urlencode(query)}"
        with request("GET", url, {"User-Agent": AGENT}, self.context) as answer:
            body = answer.read()
            if answer.status >= 400:
                raise GoError(f"{answer.status}: {body.decode('utf-8', 'replace')}")
        try:
            return str(json.loads(body)["token"])
        except (ValueError, KeyError, TypeError):
            raise GoError("unauthorized: access denied") from None
