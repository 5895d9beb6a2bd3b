# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a registry that asks who is there: streams of blobs, small answers, and the logins that a challenge demands."""
from __future__ import annotations

import re
import threading
import time
import typing as t
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import load_json
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.sources.base import TransientError
from ansible_collections.venom.llm.plugins.module_utils.sources.http import (
    CONNECT_TIMEOUT,
    MAX_REDIRECTS,
    HostList,
    HttpClient,
    HttpStream,
    Part,
    explain_tls,
    join_url,
    no_url,
    origin_of,
    redirect_target,
    scrub,
)
from ansible_collections.venom.llm.plugins.module_utils.sources.registry_auth import Credentials, RegistryHosts, parse_challenges
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import is_transient_status, read_retry_after

if t.TYPE_CHECKING:
    import requests

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
#: Bytes of a token endpoint's answer; real tokens have a few KB.
_MAX_TOKEN_ANSWER = 64 * 1024
#: Seconds for a whole small answer: the read timeout alone would let a server send one byte at a time for hours.
_SMALL_ANSWER_TIMEOUT = 120.0
_READ_SIZE = 64 * 1024
_REPOSITORY = re.compile(r"/v2/(?P<name>.+)/(?:manifests|blobs|tags)/[^/]+\Z")
_TOKEN = re.compile(r"\A[\x21-\x7e]+\Z")


@dataclass(frozen=True)
class Answer:
    """A small answer in memory. ``body`` has at most one byte more than the limit that was asked for."""

    status: int
    headers: t.Mapping[str, str]
    body: bytes


class RegistryClient(HttpClient):
    """Streams and small answers of one registry. What a login brought is kept for the run, for each repository. Threads may share it."""

    def __init__(self, hosts: RegistryHosts, credentials: Credentials, ca_path: str | None, stall_timeout: float) -> None:
        super().__init__(hosts, None, ca_path, stall_timeout)
        self._credentials = credentials
        self._lock = threading.Lock()
        self._authorizations: dict[str, str] = {}
        self._timeout = (CONNECT_TIMEOUT, stall_timeout)

    def _headers(self, url: str, part: Part) -> dict[str, str]:
        headers = super()._headers(url, part)
        authorization = self._authorization(url)
        if authorization is not None:
            headers["Authorization"] = authorization
        return headers

    def _authorization(self, url: str) -> str | None:
        """What proves to the registry who asks; None for every other origin, so that nothing follows a redirect."""
        if origin_of(url) != origin_of(self.hosts.endpoint):
            return None
        if self._credentials.token is not None:
            return f"Bearer {self._credentials.token}"
        return self._authorizations.get(_repository_of(url))

    def open(self, url: str, offset: int = 0, length: int | None = None, size: int | None = None) -> HttpStream:
        """GET a range of a blob of ``size`` bytes; a token that expired is renewed once. Raises ``TransientError`` or ``VenomError``."""
        sent = self._authorization(url)
        try:
            return super().open(url, offset, length, size)
        except VenomError as error:
            if error.reason_code != "unauthorized":
                raise
            if self._authorization(url) == sent:
                self._knock(url)
            if self._authorization(url) == sent:
                raise
        return super().open(url, offset, length, size)

    def _knock(self, url: str) -> None:
        """Ask for one byte, to see the challenge and answer it."""
        sent = self._authorization(url)
        response = self._send(url, {"Range": "bytes=0-0"}, sent)
        response.close()
        if response.status_code == 401:
            self._log_in(url, sent, response.headers.get("WWW-Authenticate", ""))

    def get(self, url: str, accept: str, limit: int) -> Answer:
        """A small answer of any final status, read up to ``limit`` bytes and one more; a challenge is answered once.

        Raises ``TransientError`` for what another try may cure, ``redirect_refused``, ``unauthorized``, ``hub_unreachable`` for TLS.
        """
        before: str | None = None
        may_log_in = True
        redirects = 0
        while redirects <= MAX_REDIRECTS:
            self.hosts.check(url, before)
            sent = self._authorization(url)
            response = self._send(url, {"Accept": accept}, sent)
            if response.status_code in _REDIRECTS:
                response.close()
                before, url = url, redirect_target(url, response)
                redirects += 1
            elif response.status_code == 401 and may_log_in and origin_of(url) == origin_of(self.hosts.endpoint):
                response.close()
                may_log_in = False
                self._log_in(url, sent, response.headers.get("WWW-Authenticate", ""))
            else:
                return self._read(url, response, limit)
        raise VenomError(
            "redirect_refused",
            wanted="an answer within a few redirects",
            found=f"more than {MAX_REDIRECTS} redirects, last to {scrub(url)}",
            todo="check the registry's URL",
        )

    def _send(self, url: str, headers: t.Mapping[str, str], authorization: str | None) -> requests.Response:
        import requests

        sent = {"Accept-Encoding": "identity", "User-Agent": "venom.llm", **headers}
        if authorization is not None:
            sent["Authorization"] = authorization
        try:
            return self._session().get(
                url,
                headers=sent,
                stream=True,
                allow_redirects=False,
                timeout=self._timeout,
                proxies=requests.utils.get_environ_proxies(url),
                verify=self._verify,
            )
        except requests.exceptions.SSLError as error:
            raise explain_tls(url, str(error)) from error
        except requests.exceptions.RequestException as error:
            raise TransientError(f"no answer from {scrub(url)} ({type(error).__name__})") from error
        except ValueError as error:
            raise no_url(f"{scrub(url)}, which is no URL ({type(error).__name__})") from error

    def _read(self, url: str, response: requests.Response, limit: int) -> Answer:
        status, headers = response.status_code, response.headers
        if is_transient_status(status):
            response.close()
            raise TransientError(f"{scrub(url)} answered {status}", status, read_retry_after(headers))
        body = b""
        deadline = time.monotonic() + _SMALL_ANSWER_TIMEOUT
        try:
            while len(body) <= limit:
                chunk = response.raw.read1(min(_READ_SIZE, limit + 1 - len(body)), decode_content=False)
                if not chunk:
                    break
                body += chunk
                if time.monotonic() > deadline:
                    raise TransientError(f"{scrub(url)} took more than {_SMALL_ANSWER_TIMEOUT:g} s for {len(body)} bytes")
        except _line_errors() as error:
            raise TransientError(f"the line broke or stalled ({type(error).__name__})") from error
        finally:
            response.close()
        announced = headers.get("Content-Length", "")
        if announced.isascii() and announced.isdigit() and len(body) < min(int(announced[:20]), limit + 1):
            raise TransientError(f"{scrub(url)} ended after {len(body)} of {announced[:20]} bytes")
        return Answer(status, headers, body)

    def _log_in(self, url: str, refused: str | None, header: str) -> None:
        """Answer a challenge. Threads whose token expired together get one new one."""
        if self._credentials.token is not None:
            raise _unauthorized(url, "the registry refuses this token", "give a valid token that may pull the model")
        with self._lock:
            if self._authorization(url) == refused:
                self._authorizations[_repository_of(url)] = self._answer_challenge(url, refused, parse_challenges(header))

    def _answer_challenge(self, url: str, refused: str | None, challenges: t.Mapping[str, t.Mapping[str, str]]) -> str:
        bearer = challenges.get("bearer", {})
        if bearer.get("realm"):
            return f"Bearer {self._fetch_token(url, bearer)}"
        basic = self._credentials.basic
        if "basic" not in challenges:
            raise _unauthorized(url, "HTTP 401 without a challenge that says how to log in", "check the registry's URL and credentials")
        if basic is None:
            raise _unauthorized(url, "the registry wants a name and a password, and none were given", "give username and password")
        if basic == refused:
            raise _unauthorized(url, "the registry refuses this name and password", "correct username and password")
        return basic

    def _fetch_token(self, url: str, challenge: t.Mapping[str, str]) -> str:
        realm = join_url(url, challenge["realm"])
        # The plain list: a public registry's store of bytes is no place for credentials.
        HostList(self.hosts.endpoint, self.hosts.allowed_hosts).check(realm, before=self.hosts.endpoint)
        query = [("service", challenge["service"])] if challenge.get("service") else []
        scope = challenge.get("scope") or f"repository:{_repository_of(url)}:pull"
        query += [("scope", item) for item in scope.split()]
        parts = urlsplit(realm)
        realm = urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode([*parse_qsl(parts.query), *query]), ""))
        basic = self._credentials.basic
        response = self._send(realm, {"Accept": "application/json"}, basic)
        if response.status_code in _REDIRECTS:
            response.close()
            raise VenomError(
                "redirect_refused",
                wanted=f"a token from {scrub(realm)}, where {scrub(url)} sends for it",
                found=f"a redirect to {scrub(join_url(realm, response.headers.get('Location', '')))}",
                todo="check the registry's token service; credentials follow no redirect",
            )
        answer = self._read(realm, response, _MAX_TOKEN_ANSWER)
        if answer.status in (401, 403):
            found = f"{scrub(realm)} answered {answer.status} to " + ("this name and password" if basic else "a request without credentials")
            raise _unauthorized(url, found, "correct username and password" if basic else "give username and password, or a token")
        token = _parse_token(answer) if answer.status == 200 else None
        if token is None:
            raise VenomError(
                "unsupported_source",
                wanted=f"a token from {scrub(realm)}",
                found=f"HTTP {answer.status}" + (" without one" if answer.status == 200 else ""),
                todo="check the registry's token service, and proxies on the way",
            )
        return token


def _line_errors() -> tuple[type[Exception], ...]:
    import urllib3

    return urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError


def _parse_token(answer: Answer) -> str | None:
    try:
        document = load_json(answer.body) if len(answer.body) <= _MAX_TOKEN_ANSWER else None
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    token = document.get("token") or document.get("access_token")
    # It goes into a header, so nothing that could end one.
    return token if isinstance(token, str) and _TOKEN.match(token) else None


def _repository_of(url: str) -> str:
    match = _REPOSITORY.search(urlsplit(url).path)
    return match["name"] if match else ""


def _unauthorized(url: str, found: str, todo: str) -> VenomError:
    return VenomError("unauthorized", wanted=f"to read {scrub(url)}", found=found, todo=todo)
