# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Byte streams over HTTP: only to allowed hosts, with the token only where it belongs, nothing decoded on the way."""
from __future__ import annotations

import re
import threading
import time
import typing as t
from dataclasses import dataclass
from importlib import metadata
from urllib.parse import urljoin, urlsplit

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.sources.base import TransientError
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import is_transient_status, read_retry_after
from ansible_collections.venom.llm.plugins.module_utils.transfer.pace import LEAST_RATE, Drip

if t.TYPE_CHECKING:
    import requests

CONNECT_TIMEOUT = 10.0
#: Bytes read at once; a socket seldom has more.
CHUNK_SIZE = 256 * 1024
MAX_REDIRECTS = 5
#: Seconds that the target of a redirect is used again. Signed links of the public hub live for an hour.
TARGET_LIFETIME = 300.0
#: Bytes of a redirect that are read to keep its connection, and seconds after which the connection is given up instead.
_MAX_DRAINED = 64 * 1024
_MAX_DRAINING = 1.0
#: As RFC 9110 has it: the unit in any case, and ``*`` for a size that the server does not know.
_CONTENT_RANGE = re.compile(r"\A(?i:bytes) ([0-9]{1,20})-([0-9]{1,20})/([0-9]{1,20}|\*)\Z")
#: Where OpenSSL's errors name what went wrong.
_TLS_REASON = re.compile(r"\[SSL: ([A-Z0-9_]{1,60})\]")
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_DEFAULT_PORTS = {"http": 80, "https": 443}

PUBLIC_HUB = "https://huggingface.co"
#: The public hub sends to its CDN and its Xet bridge, all below these two domains.
_PUBLIC_DOMAINS = ("huggingface.co", "hf.co")

Origin = tuple[str, str, int]

#: The first release of urllib3 with which a thread can end a read that waits in another.
_LEAST_URLLIB3 = (2, 3)


def is_urllib3_old() -> bool:
    """Whether the running interpreter has a urllib3 that streams cannot use, as distributions ship it. One that has none has no old one."""
    try:
        release = metadata.version("urllib3").split(".")[:2]
    except metadata.PackageNotFoundError:
        return False
    return tuple(int(part) if part.isdigit() else 0 for part in release) < _LEAST_URLLIB3


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


def parse_endpoint(url: str, option: str = "endpoint", credentials_hint: str = "a token goes into token or token_file") -> str:
    """A base URL without a trailing slash; ``credentials_hint`` says where those go instead. Raises ``invalid_option``."""
    parts = urlsplit(url)
    try:
        origin_of(url)
        is_bad = bool(parts.query or parts.fragment or parts.username or parts.password)
    except ValueError:
        is_bad = True
    if is_bad or not url.isascii() or not url.isprintable() or " " in url:
        raise VenomError(
            "invalid_option",
            wanted=f"{option} as http(s)://host[:port][/path]",
            found=scrub(url),
            todo=f"correct {option}; {credentials_hint}",
        )
    return url.rstrip("/")


def join_url(url: str, location: str) -> str:
    """Where a reference leads. What is no URL stays as it is: no list of hosts allows it."""
    try:
        return urljoin(url, location)
    except ValueError:
        return location


def redirect_target(url: str, response: requests.Response) -> str:
    """Where a redirect leads. Raises ``redirect_refused`` for what is no text; what is no URL no list of hosts allows."""
    try:
        # Headers are read as Latin-1, and what is beyond ASCII in a location is meant as UTF-8.
        location = response.headers.get("Location", "").encode("latin-1").decode("utf-8")
    except UnicodeError as error:
        raise no_url(f"{scrub(url)} redirects to what is no URL") from error
    return join_url(url, location)


def no_url(found: str) -> VenomError:
    """The error for a URL that the library cannot ask."""
    return VenomError(
        "redirect_refused", wanted="to stay on the endpoint's hosts", found=found, todo="check endpoint, and proxies on the way"
    )


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
    """The body of one answer, beginning at ``offset``. It breaks when the server drips."""

    def __init__(self, response: requests.Response, offset: int, stall_timeout: float) -> None:
        self._response = response
        self._stall_timeout = stall_timeout
        self.offset = offset

    def __iter__(self) -> t.Iterator[bytes]:
        import urllib3

        raw, drip = self._response.raw, Drip(self._stall_timeout)
        try:
            while True:
                began = time.monotonic()
                chunk = raw.read1(CHUNK_SIZE, decode_content=False)
                if not chunk:
                    return
                is_drip = drip.note(time.monotonic() - began, len(chunk))
                yield chunk
                if is_drip:
                    raise TransientError(f"less than {LEAST_RATE} bytes a second came over {self._stall_timeout:g} s")
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
        """Give the connection back; one whose body was not read to its end is closed."""
        self._response.close()


class HttpClient:
    """Opens streams below one endpoint. One per run; threads may share it, each has connections of its own, which are used again."""

    def __init__(
        self,
        hosts: HostList,
        token: str | None = None,
        ca_path: str | None = None,
        stall_timeout: float = 30.0,
        connections: int = 8,
        authorization: str | None = None,
    ) -> None:
        self.hosts = hosts
        #: What proves to the endpoint, and to nobody else, who asks.
        self._proof = f"Bearer {token}" if token is not None else authorization
        self._verify: bool | str = ca_path or True
        self._stall_timeout = stall_timeout
        self._connections = connections
        self._local = threading.local()
        #: Where a URL led to lately, and when: a large file is asked for in many parts, and hubs count requests, not their CDN.
        self._targets: dict[str, tuple[str, float]] = {}

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            import requests

            class Session(requests.Session):
                """A session that leaves redirects to us. The library's own reads their bodies to the end, however long and slow they come."""

                def get_redirect_target(self, resp: requests.Response) -> None:
                    """None to follow."""

            session = Session()
            # trust_env would let ~/.netrc replace our Authorization header, also for the hosts of redirects.
            session.trust_env = False
            self._local.session = session
        return session

    def open(self, url: str, offset: int = 0, length: int | None = None, size: int | None = None) -> HttpStream:
        """GET ``length`` bytes from an offset on, or all; redirects are followed by hand. Raises ``TransientError`` or ``VenomError``.

        ``size`` is how long the file is, where that is known: the answer must say the same. A server that ignores the range gives a stream
        whose ``offset`` is 0 and that does not end where it was asked to.
        """
        part = Part(offset, length, size)
        target, moment = self._targets.get(url, (None, 0.0))
        if target is not None and time.monotonic() - moment < TARGET_LIFETIME:
            try:
                return self._follow(target, part, before=url)
            except TransientError:
                self._targets.pop(url, None)
                raise
            except VenomError:
                # A signed link that ran out answers 403; whoever gave it has a fresh one.
                self._targets.pop(url, None)
        return self._follow(url, part, before=None)

    def _follow(self, url: str, part: Part, before: str | None) -> HttpStream:
        first = url
        redirects = 0
        while redirects <= MAX_REDIRECTS:
            self.hosts.check(url, before)
            response = self._get(url, part)
            if response.status_code not in _REDIRECTS:
                stream = _checked(url, response, part, self._stall_timeout)
                if redirects:
                    self._targets[first] = (url, time.monotonic())
                return stream
            _drain(response)
            before, url = url, redirect_target(url, response)
            redirects += 1
        raise VenomError(
            "redirect_refused",
            wanted="an answer within a few redirects",
            found=f"more than {MAX_REDIRECTS} redirects, last to {scrub(url)}",
            todo="check endpoint",
        )

    def _get(self, url: str, part: Part) -> requests.Response:
        import requests

        try:
            return self._session().get(
                url,
                headers=self._headers(url, part),
                stream=True,
                allow_redirects=False,
                timeout=(CONNECT_TIMEOUT, self._stall_timeout),
                proxies=requests.utils.get_environ_proxies(url),
                verify=self._verify,
            )
        except requests.exceptions.SSLError as error:
            raise explain_tls(url, str(error)) from error
        except requests.exceptions.RequestException as error:
            raise TransientError(f"no answer from {scrub(url)} ({type(error).__name__})") from error
        except ValueError as error:
            # Such as a label of a host that is too long.
            raise no_url(f"{scrub(url)}, which is no URL ({type(error).__name__})") from error

    def _headers(self, url: str, part: Part) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", "User-Agent": "venom.llm"}
        if part.is_asked:
            headers["Range"] = f"bytes={part.offset}-{'' if part.end is None else part.end - 1}"
        if self._proof is not None and origin_of(url) == origin_of(self.hosts.endpoint):
            headers["Authorization"] = self._proof
        return headers


@dataclass(frozen=True)
class Part:
    """What is asked for: ``length`` bytes (None for all) from ``offset`` on, of ``size`` bytes (None where nobody knows)."""

    offset: int
    length: int | None
    size: int | None

    @property
    def is_asked(self) -> bool:
        """Whether it takes a Range header: the whole file is asked for without one."""
        return self.offset > 0 or (self.length is not None and (self.size is None or self.length < self.size))

    @property
    def end(self) -> int | None:
        """The position after the last byte, where it is known."""
        return self.offset + self.length if self.length is not None else self.size

    def matches(self, content_range: str) -> bool:
        """Whether a 206 says start, end and total as they were asked for. It may leave the total open."""
        match = _CONTENT_RANGE.match(content_range)
        if match is None:
            return False
        start, end = int(match.group(1)), int(match.group(2)) + 1
        total = self.size if match.group(3) == "*" else int(match.group(3))
        wanted_end = total if self.end is None else self.end
        return start == self.offset and wanted_end in (None, end) and self.size in (None, total)


def _checked(url: str, response: requests.Response, part: Part, stall_timeout: float) -> HttpStream:
    """The stream of an answer that is what was asked for. Raises ``TransientError`` or ``VenomError``, the connection closed."""
    status, headers = response.status_code, response.headers
    if status in (200, 206):
        found = _find_fault(response, part)
        if found is None:
            return HttpStream(response, part.offset if status == 206 else 0, stall_timeout)
    else:
        found = f"HTTP {status}"
    response.close()
    wanted = f"the bytes of {scrub(url)}"
    todo = "check that endpoint gives the files that it lists, and proxies on the way"
    if is_transient_status(status):
        raise TransientError(f"{scrub(url)} answered {status}", status, read_retry_after(headers))
    if status in (200, 206, 416):
        # One hiccup of a proxy must not end a long transfer, so it is tried again.
        raise TransientError(f"{scrub(url)} answered {found}", status, final=VenomError("unsupported_source", wanted, found, todo))
    if headers.get("X-Error-Code") == "GatedRepo":
        raise VenomError("gated", wanted=f"to read {scrub(url)}", found="the repository is gated", todo="ask for access on its page")
    if status in (401, 403):
        raise VenomError("unauthorized", wanted=f"to read {scrub(url)}", found=found, todo="give a token that may read the repository")
    if status == 404:
        raise VenomError("not_found", wanted=f"to read {scrub(url)}", found="HTTP 404", todo="check the model's name and revision")
    raise VenomError("unsupported_source", wanted, found, todo)


def _find_fault(response: requests.Response, part: Part) -> str | None:
    """What is wrong with a 200 or 206."""
    headers, is_part = response.headers, response.status_code == 206
    encoding = headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("", "identity"):
        return f"content encoding {ascii(encoding)}, which nobody asked for"
    content_range = headers.get("Content-Range", "")
    if is_part and not (part.is_asked and part.matches(content_range)):
        return f"HTTP 206 with {ascii(content_range)} for {part.offset} to {part.end} of {part.size}"
    length = headers.get("Content-Length")
    wanted = part.size if not is_part or part.end is None else part.end - part.offset
    if length is not None and wanted is not None and length != str(wanted):
        return f"{ascii(length)} bytes instead of {wanted}"
    return None


def _drain(response: requests.Response) -> None:
    """Read the few words of a redirect, so that the connection can be used again."""
    import urllib3

    length = response.headers.get("Content-Length", "")
    end = time.monotonic() + _MAX_DRAINING
    try:
        if length.isascii() and length.isdigit() and int(length) <= _MAX_DRAINED:
            while response.raw.read1(_MAX_DRAINED, decode_content=False) and time.monotonic() < end:
                pass
    except (urllib3.exceptions.HTTPError, OSError, ValueError):
        return
    finally:
        response.close()


def explain_tls(url: str, cause: str) -> Exception:
    """The error for a TLS connection that failed: final for what no try cures, else a ``TransientError``, as for a handshake that was cut."""
    if "CERTIFICATE_VERIFY_FAILED" in cause or "doesn't match" in cause:
        found, todo = "its certificate is not trusted", "give the authority's certificates as ca_path"
    elif "WRONG_VERSION_NUMBER" in cause or "UNKNOWN_PROTOCOL" in cause:
        found, todo = "it does not speak TLS", "check the port; write http:// in the URL if plain http is meant"
    elif "[X509" in cause or "Permission denied" in cause:
        found, todo = "ca_path has no certificates that can be read", "correct ca_path"
    else:
        reason = _TLS_REASON.search(cause)
        return TransientError(f"the TLS connection to {scrub(url)} failed" + (f" ({reason.group(1)})" if reason else ""))
    return VenomError("hub_unreachable", wanted=f"a trusted TLS connection to {scrub(url)}", found=found, todo=todo)
