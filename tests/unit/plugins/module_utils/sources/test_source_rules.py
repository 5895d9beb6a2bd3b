# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts, retries, patterns: the rules of sources, without a network."""
from __future__ import annotations

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.sources import retry
from ansible_collections.venom.llm.plugins.module_utils.sources.base import is_wanted
from ansible_collections.venom.llm.plugins.module_utils.sources.http import HostList, parse_endpoint, scrub
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import (
    RetryPolicy,
    TransientError,
    call_with_retries,
    is_transient_status,
    read_retry_after,
)

PUBLIC = "https://huggingface.co"
OWN = "https://hub.example:8443/mirror"


@pytest.mark.parametrize(
    ("endpoint", "url", "expected"),
    [
        (PUBLIC, "https://huggingface.co/x", True),
        (PUBLIC, "https://cdn-lfs.hf.co/x", True),
        (PUBLIC, "https://cas-bridge.xethub.hf.co/x", True),
        (PUBLIC, "https://cdn-lfs.huggingface.co/x", True),
        (PUBLIC, "https://HUGGINGFACE.CO./x", True),
        (PUBLIC, "http://huggingface.co/x", False),
        (PUBLIC, "https://huggingface.co:444/x", False),
        (PUBLIC, "https://evilhf.co/x", False),
        (PUBLIC, "https://hf.co.evil.example/x", False),
        (PUBLIC, "https://huggingface.co@evil.example/x", False),
        (PUBLIC, "ftp://huggingface.co/x", False),
        (PUBLIC, "file:///etc/passwd", False),
        (PUBLIC, "https:///x", False),
        (PUBLIC, "https://[::1/x", False),
        (PUBLIC, "https://huggingface.co:99999/x", False),
        (OWN, "https://hub.example:8443/x", True),
        (OWN, "https://hub.example/x", False),
        (OWN, "https://cdn-lfs.hf.co/x", False),
        (OWN, "http://169.254.169.254/latest", False),
        (OWN, "https://listed.example/x", True),
        (OWN, "https://listed.example:444/x", False),
        (OWN, "https://port.example:9000/x", True),
        (OWN, "https://port.example/x", False),
    ],
)
def test_where_requests_may_go(endpoint: str, url: str, expected: bool) -> None:
    assert HostList(endpoint, ("listed.example", "port.example:9000")).allows(url) is expected


def test_another_place_is_asked_at_once() -> None:
    failures = [TransientError("broke", elsewhere=True)] * 3

    def attempt() -> str:
        if failures:
            raise failures.pop()
        return "right"

    waits: list[float] = []
    assert call_with_retries(attempt, "x", RetryPolicy(retries=0), waits.append) == "right"
    assert waits == []


def test_a_downgrade_is_refused_even_to_a_listed_host() -> None:
    hosts = HostList(OWN, ("listed.example",))
    hosts.check("https://listed.example/x", before=OWN)
    with pytest.raises(VenomError) as caught:
        hosts.check("http://listed.example/x", before=OWN)
    assert caught.value.reason_code == "redirect_refused"
    assert "https" in caught.value.found


def test_refusals_do_not_repeat_secrets() -> None:
    with pytest.raises(VenomError) as caught:
        HostList(OWN).check("https://user:pass@evil.example/path?signature=secret#x", before=OWN + "?token=secret")
    assert "evil.example/path" in str(caught.value)
    for secret in ("secret", "pass", "user"):
        assert secret not in str(caught.value)
    assert scrub("not a url") == "a malformed URL"


@pytest.mark.parametrize("endpoint", ["", "hub.example", "ftp://x", "https://user:pass@x", "https://x?y", "https://x#y", "https://x y", "https://ä"])
def test_endpoints_that_are_none(endpoint: str) -> None:
    with pytest.raises(VenomError) as caught:
        parse_endpoint(endpoint)
    assert caught.value.reason_code == "invalid_option"
    assert "pass" not in str(caught.value)


def test_an_endpoint_loses_its_last_slash() -> None:
    assert parse_endpoint("http://127.0.0.1:8000/") == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:01:40 GMT"}, 90.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"RateLimit": '"api";r=0;t=55'}, 55.0),
        ({"RateLimit": '"api";r=3;t=55'}, None),
        ({}, None),
    ],
)
def test_what_servers_ask_for(headers: dict[str, str], expected: float | None) -> None:
    assert read_retry_after(headers, now=lambda: 10.0) == expected


def test_which_statuses_pass() -> None:
    assert [status for status in (200, 400, 401, 403, 404, 408, 416, 425, 429, 500, 503) if is_transient_status(status)] == [408, 425, 429, 500, 503]


def test_waits_grow_up_to_the_cap_and_differ() -> None:
    policy = RetryPolicy(base=1.0, cap=8.0)
    for attempt, most in ((0, 1.0), (1, 2.0), (2, 4.0), (3, 8.0), (9, 8.0)):
        waits = {policy.delay(attempt, TransientError("x")) for dummy in range(20)}
        assert all(most / 2 <= wait <= most for wait in waits)
        assert len(waits) > 1


def test_the_budget_bounds_all_waits_of_a_request() -> None:
    waits: list[float] = []

    def fail() -> None:
        raise TransientError("503", 503, retry_after=100.0)

    with pytest.raises(VenomError) as caught:
        call_with_retries(fail, "x", RetryPolicy(retries=50, budget=250.0), waits.append)
    assert caught.value.reason_code == "hub_unreachable"
    assert waits == [100.0, 100.0]


@pytest.mark.parametrize(
    ("error", "waits", "code"),
    [
        (TransientError("429", 429, retry_after=9.0), [9.0], "rate_limited"),
        (TransientError("503", 503, retry_after=9.0), [9.0], "rate_limited"),
        (TransientError("429", 429), [4.0] * 3, "rate_limited"),
        (TransientError("broke"), [4.0] * 3, "deadline_exceeded"),
        (TransientError("gzip", 200, final=VenomError("unsupported_source", "x", "y", "z")), [4.0] * 3, "unsupported_source"),
    ],
)
def test_no_wait_goes_beyond_the_deadline(
    error: TransientError, waits: list[float], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry.random, "uniform", lambda *dummy: 1.0)
    now, waited = [100.0], []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        now[0] += seconds

    def fail() -> None:
        raise error

    policy = RetryPolicy(retries=9, base=4.0, cap=4.0, ends=115.0, clock=lambda: now[0])
    with pytest.raises(VenomError) as caught:
        call_with_retries(fail, "x", policy, sleep)
    assert (waited, caught.value.reason_code) == (waits, code)


@pytest.mark.parametrize(
    ("path", "include", "exclude", "expected"),
    [
        ("a/b.json", [], [], True),
        ("a/b.json", ["*.json"], [], True),
        ("a/b.json", ["*.txt"], [], False),
        ("a/b.json", [], ["a/"], False),
        ("a/b.json", ["a/"], ["*.json"], False),
        ("A.json", ["a*"], [], False),
    ],
)
def test_patterns(path: str, include: list[str], exclude: list[str], expected: bool) -> None:
    assert is_wanted(path, include, exclude) is expected
