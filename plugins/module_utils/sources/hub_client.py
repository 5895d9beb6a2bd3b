# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP client that huggingface_hub is given: our hosts, our CA file, our retries instead of its own, and answers that end.

The library's own retries wait as long as a Retry-After says, without a bound (seen with 2.4.0), and its client reads whatever comes.
"""
from __future__ import annotations

import ssl
import time
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.sources.base import TransientError
from ansible_collections.venom.llm.plugins.module_utils.sources.http import (
    CONNECT_TIMEOUT,
    MAX_REDIRECTS,
    HostList,
    explain_tls,
    join_url,
    scrub,
)
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import is_transient_status, read_retry_after
from ansible_collections.venom.llm.plugins.module_utils.transfer.pace import LEAST_RATE, Drip

#: Bytes and seconds for one question with all the pages of its answer. A listing has about 250 bytes for a file.
MAX_ANSWER = 64 * 1024 * 1024
ANSWER_TIMEOUT = 600.0
#: Headers that an answer gets anew with the body that was read.
_REPLACED = ("content-encoding", "content-length", "transfer-encoding", "link")


class Answers:
    """Reads the answers to one question, within a time, a rate and a size for all of them."""

    def __init__(self, endpoint: str, stall_timeout: float, clock: t.Callable[[], float]) -> None:
        self._endpoint = endpoint
        self._stall_timeout = stall_timeout
        self._clock = clock
        self._ends = clock() + ANSWER_TIMEOUT
        self._left = MAX_ANSWER

    def check_time(self) -> None:
        """Raises ``hub_unreachable`` when the question takes too long. Another try would take as long."""
        if self._clock() > self._ends:
            raise VenomError(
                "hub_unreachable",
                wanted=f"an answer of {self._endpoint}",
                found=f"none that was complete after {ANSWER_TIMEOUT:g} s",
                todo="check endpoint and the line to it",
            )

    def read(self, response: t.Any) -> bytes:
        """The body as it was sent. Raises ``TransientError``, ``hub_unreachable``, ``unsupported_source``."""
        url = scrub(str(response.url))
        if is_transient_status(response.status_code):
            raise TransientError(f"{url} answered {response.status_code}", response.status_code, read_retry_after(response.headers))
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("", "identity"):
            found = f"content encoding {ascii(encoding)}, which nobody asked for"
            final = VenomError("unsupported_source", wanted=f"the answer of {url}", found=found, todo="check endpoint, and proxies on the way")
            raise TransientError(f"{url} answered in {found}", final=final)
        body, drip, began = bytearray(), Drip(self._stall_timeout), self._clock()
        for chunk in response.iter_raw():
            body += chunk
            self.check_time()
            if len(body) > self._left:
                raise VenomError(
                    "unsupported_source",
                    wanted=f"an answer of at most {MAX_ANSWER} bytes",
                    found=f"more from {url}",
                    todo="check that endpoint is a Hugging Face hub; a repository with so many files cannot be installed",
                )
            now = self._clock()
            if drip.note(now - began, len(chunk)):
                raise TransientError(f"less than {LEAST_RATE} bytes a second of {url} came over {self._stall_timeout:g} s")
            began = now
        self._left -= len(body)
        return bytes(body)


def make_client(hosts: HostList, ca_path: str | None, stall_timeout: float, clock: t.Callable[[], float] = time.monotonic) -> t.Any:
    """A client for one question. What fails is a ``TransientError`` or a ``VenomError``."""
    import httpx2

    answers = Answers(hosts.endpoint, stall_timeout, clock)

    class Client(httpx2.Client):
        """A client whose every request is checked, and whose answers are read by us."""

        def send(self, request: t.Any, **kwargs: t.Any) -> t.Any:
            """Send one request with its redirects, whose bodies nobody reads."""
            kwargs.update(stream=True, follow_redirects=False)
            try:
                for dummy in range(MAX_REDIRECTS + 1):
                    answers.check_time()
                    request.headers["Accept-Encoding"] = "identity"
                    response = super().send(request, **kwargs)
                    try:
                        if not response.has_redirect_location:
                            return _with_body(response, answers.read(response))
                    finally:
                        response.close()
                    if response.next_request is None:
                        raise _refused(request, "a redirect to what is no URL")
                    request = response.next_request
            except httpx2.TransportError as error:
                if "[SSL" in str(error):
                    raise explain_tls(str(request.url), str(error)) from error
                raise TransientError(f"no answer from {scrub(str(request.url))} ({type(error).__name__})") from error
            raise _refused(request, f"more than {MAX_REDIRECTS} redirects")

    def check_host(request: t.Any) -> None:
        hosts.check(str(request.url), before=hosts.endpoint)

    try:
        verify = ssl.create_default_context(cafile=ca_path) if ca_path else True
    except OSError as error:
        raise explain_tls(hosts.endpoint, str(error)) from error
    return Client(
        verify=verify,
        timeout=httpx2.Timeout(stall_timeout, connect=CONNECT_TIMEOUT),
        event_hooks={"request": [check_host]},
    )


def _with_body(response: t.Any, body: bytes) -> t.Any:
    """The answer with the body that was read. Where its next page is, is told as a whole URL: a hub may give a relative one (RFC 8288)."""
    import httpx2

    headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in _REPLACED]
    following = response.links.get("next", {}).get("url")
    if following:
        headers.append(("Link", f'<{join_url(str(response.url), following)}>; rel="next"'))
    return httpx2.Response(
        response.status_code, headers=headers, content=body, request=response.request, extensions=response.extensions
    )


def _refused(request: t.Any, found: str) -> VenomError:
    return VenomError(
        "redirect_refused",
        wanted="to stay on the endpoint's hosts",
        found=f"{found} from {scrub(str(request.url))}",
        todo="check endpoint, and proxies on the way",
    )
