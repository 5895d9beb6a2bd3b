# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Byte streams over HTTP: only to allowed hosts, with the token only where it belongs, nothing decoded on the way."""
from __future__ import annotations

import threading
import typing as t
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.sources.base import TransientError
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import is_transient_status, read_retry_after

if t.TYPE_CHECKING:
    import requests

CONNECT_TIMEOUT = 10.0
CHUNK_SIZE = 1024 * 1024
MAX_REDIRECTS = 5
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_DEFAULT_PORTS = {"http": 80, "https": 443}

PUBLIC_HUB = "https://huggingface.co"
#: The public hub sends to its CDN and its Xet bridge, all below these two domains.
_PUBLIC_DOMAINS = ("huggingface.co", "hf.co")

Origin = tuple[str, str, int]


def origin_of(url: str) -> Origin:
    """Scheme, host and port of a URL. Raises ``ValueError`` for anything that is not http or https with a host."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower().rstrip(".")
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise ValueError("not an http or https URL with a host")
    return parts.scheme, host, parts.port or _DEFAULT_PORTS[parts.scheme]


def scrub(url: str) -> str:
    """A URL fit for messages: signed query strings, fragments and user info are secrets."""
    try:
        scheme, host, port = origin_of(url)
    except ValueError:
        return "a malformed URL"
    shown_port = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    return f"{scheme}://{host}{shown_port}{ascii(urlsplit(url).path)[1:-1]}"


def parse_endpoint(url: str) -> str:
    """A hub's base URL without a trailing slash. Raises ``invalid_option``."""
    parts = urlsplit(url)
    try:
        origin_of(url)
        is_bad = bool(parts.query or parts.fragment or parts.username or parts.password)
    except ValueError:
        is_bad = True
    if is_bad or not url.isascii() or not url.isprintable() or " " in url:
        raise VenomError(
            "invalid_option",
            wanted="endpoint as http(s)://host[:port][/path]",
            found=scrub(url),
            todo="correct endpoint; a token goes into token or token_file",
        )
    return url.rstrip("/")


@dataclass(frozen=True)
class HostList:
    """The hosts that requests may go to."""

    endpoint: str
    allowed_hosts: tuple[str, ...] = ()

    def allows(self, url: str) -> bool:
        """Whether a URL leads to the endpoint, one of the operator's hosts, or the public hub's own where that is the endpoint."""
        try:
            origin = origin_of(url)
        except ValueError:
            return False
        scheme, host, port = origin
        if origin == origin_of(self.endpoint):
            return True
        if self._is_listed(scheme, host, port):
            return True
        if origin_of(self.endpoint) != origin_of(PUBLIC_HUB) or (scheme, port) != ("https", 443):
            return False
        return any(host == name or host.endswith("." + name) for name in _PUBLIC_DOMAINS)

    def _is_listed(self, scheme: str, host: str, port: int) -> bool:
        for item in self.allowed_hosts:
            listed_host, separator, listed_port = item.lower().rpartition(":")
            if not separator:
                listed_host, listed_port = listed_port, str(_DEFAULT_PORTS[scheme])
            if (listed_host.strip("[]"), listed_port) == (host, str(port)):
                return True
        return False

    def check(self, url: str, before: str | None = None) -> None:
        """Raises ``redirect_refused`` for a host that is not allowed, and for http after https."""
        if not self.allows(url):
            why = "that host is not in the allowed list"
        elif before is not None and urlsplit(before).scheme == "https" and urlsplit(url).scheme != "https":
            why = "it leaves https"
        else:
            return
        raise VenomError(
            "redirect_refused",
            wanted="to stay on the endpoint's hosts",
            found=f"the way from {scrub(before or self.endpoint)} leads to {scrub(url)}, but {why}",
            todo="add the host to allowed_hosts if you trust it",
        )


class HttpStream:
    """The body of one answer."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response

    def __iter__(self) -> t.Iterator[bytes]:
        import urllib3

        raw = self._response.raw
        try:
            while True:
                chunk = raw.read1(CHUNK_SIZE, decode_content=False)
                if not chunk:
                    return
                yield chunk
        # A socket that abort() shut down ends in ValueError or AttributeError, depending on where the read was.
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            raise TransientError(f"the line broke or stalled ({type(error).__name__})") from error

    def abort(self) -> None:
        """End a read that waits in another thread."""
        try:
            self._response.raw.shutdown()
        except (OSError, ValueError, RuntimeError, AttributeError):
            return

    def close(self) -> None:
        """Give the connection back."""
        self._response.close()


class HttpClient:
    """Opens streams below one endpoint. One per run; threads may share it."""

    def __init__(
        self, hosts: HostList, token: str | None = None, ca_path: str | None = None, stall_timeout: float = 30.0, connections: int = 8
    ) -> None:
        self.hosts = hosts
        self._token = token
        self._verify: bool | str = ca_path or True
        self._stall_timeout = stall_timeout
        self._connections = connections
        self._local = threading.local()

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            import requests

            session = requests.Session()
            # trust_env would let ~/.netrc replace our Authorization header, also for the hosts of redirects.
            session.trust_env = False
            self._local.session = session
        return session

    def open(self, url: str, offset: int = 0) -> HttpStream:
        """GET from an offset, redirects followed by hand. Raises ``TransientError`` or ``VenomError``."""
        import requests

        before: str | None = None
        redirects = 0
        while redirects <= MAX_REDIRECTS:
            self.hosts.check(url, before)
            try:
                response = self._session().get(
                    url,
                    headers=self._headers(url, offset),
                    stream=True,
                    allow_redirects=False,
                    timeout=(CONNECT_TIMEOUT, self._stall_timeout),
                    proxies=requests.utils.get_environ_proxies(url),
                    verify=self._verify,
                )
            except requests.exceptions.SSLError as error:
                raise _untrusted(url) from error
            except requests.exceptions.RequestException as error:
                raise TransientError(f"no answer from {scrub(url)} ({type(error).__name__})") from error
            if response.status_code not in _REDIRECTS:
                return self._checked(url, response, offset)
            target = urljoin(url, response.headers.get("Location", ""))
            response.close()
            before, url = url, target
            redirects += 1
        raise VenomError(
            "redirect_refused",
            wanted="an answer within a few redirects",
            found=f"more than {MAX_REDIRECTS} redirects, last to {scrub(url)}",
            todo="check endpoint",
        )

    def _headers(self, url: str, offset: int) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", "User-Agent": "venom.llm"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        if self._token is not None and origin_of(url) == origin_of(self.hosts.endpoint):
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _checked(self, url: str, response: requests.Response, offset: int) -> HttpStream:
        status = response.status_code
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if status == (206 if offset else 200) and encoding in ("", "identity"):
            return HttpStream(response)
        response.close()
        if is_transient_status(status):
            raise TransientError(f"{scrub(url)} answered {status}", status, read_retry_after(response.headers))
        code = response.headers.get("X-Error-Code")
        if code == "GatedRepo":
            raise VenomError("gated", wanted=f"to read {scrub(url)}", found="the repository is gated", todo="ask for access on its page")
        if status in (401, 403):
            raise VenomError(
                "unauthorized", wanted=f"to read {scrub(url)}", found=f"HTTP {status}", todo="give a token that may read the repository"
            )
        if status == 404:
            raise VenomError("not_found", wanted=f"to read {scrub(url)}", found="HTTP 404", todo="check the model's name and revision")
        raise VenomError(
            "unsupported_source",
            wanted=f"the bytes of {scrub(url)}",
            found=f"HTTP {status}, content encoding {ascii(encoding)}",
            todo="check that endpoint is a Hugging Face hub, and proxies on the way",
        )


def _untrusted(url: str) -> VenomError:
    return VenomError(
        "hub_unreachable",
        wanted=f"a trusted TLS connection to {scrub(url)}",
        found="its certificate is not trusted, or TLS failed",
        todo="give the authority's certificates as ca_path",
    )
