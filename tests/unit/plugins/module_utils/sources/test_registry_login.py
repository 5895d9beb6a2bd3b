# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry's challenges mean, and where credentials may go."""
from __future__ import annotations

import base64
import json
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.sources.registry_auth import Credentials, parse_challenges
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.sources.registry_fakes import (
    OWN,
    PUBLIC,
    REF,
    Handler,
    Response,
    make_manifest,
    make_source,
    refused,
)

# Challenges


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", {}),
        ('Basic realm="r"', {"basic": {"realm": "r"}}),
        ("Basic", {"basic": {}}),
        (
            'Bearer realm="https://a.example/token",service="s",scope="repository:library/phi3:pull,push"',
            {"bearer": {"realm": "https://a.example/token", "service": "s", "scope": "repository:library/phi3:pull,push"}},
        ),
        ('BEARER Realm = "x" , service=plain', {"bearer": {"realm": "x", "service": "plain"}}),
        ('Negotiate, Bearer realm="a\\"b", Basic realm="c"', {"negotiate": {}, "bearer": {"realm": 'a"b'}, "basic": {"realm": "c"}}),
        ('Bearer realm="first",realm="second"', {"bearer": {"realm": "first"}}),
        ('Bearer realm="never closed', {"bearer": {}, "realm": {}, "never": {}, "closed": {}}),
        ('realm="of nothing"', {}),
    ],
)
def test_challenges(header: str, expected: dict[str, dict[str, str]]) -> None:
    assert parse_challenges(header) == expected


def test_a_hostile_challenge_costs_nothing() -> None:
    assert "bearer" in parse_challenges("Bearer " + 'a="' * 100000)


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        (Credentials(), None),
        (Credentials(token="t"), None),
        (Credentials("user", "pass:word"), "user:pass:word"),
        (Credentials("üser"), "üser:"),
    ],
)
def test_name_and_password_as_a_header(credentials: Credentials, expected: str | None) -> None:
    assert credentials.basic == (None if expected is None else "Basic " + base64.b64encode(expected.encode()).decode())


# Tokens


def token_registry(realm: str, token: bytes = b'{"token":"t0k"}', status: int = 200, scheme: str = "Bearer") -> Handler:
    manifest = make_manifest(5)

    def handle(url: str, headers: t.Mapping[str, str]) -> Response:
        if "/token" in url:
            return Response(status, token)
        if headers.get("Authorization") == "Bearer t0k":
            return Response(200, manifest)
        return Response(401, WWW_Authenticate=f'{scheme} realm="{realm}",service="s"')

    return handle


def test_a_token_is_asked_for_once_and_kept() -> None:
    source, asked = make_source(token_registry(f"{OWN}/token?a=b"), username="u", password="p")
    source.find_manifest(REF)
    source.find_manifest(REF)
    assert [url for url, dummy in asked] == [
        f"{OWN}/v2/library/phi3/manifests/mini",
        f"{OWN}/token?a=b&service=s&scope=repository%3Alibrary%2Fphi3%3Apull",
        f"{OWN}/v2/library/phi3/manifests/mini",
        f"{OWN}/v2/library/phi3/manifests/mini",
    ]
    assert [headers.get("Authorization") for dummy, headers in asked] == [None, Credentials("u", "p").basic, "Bearer t0k", "Bearer t0k"]


def test_a_token_is_for_one_repository() -> None:
    source, asked = make_source(token_registry("/token"))
    source.find_manifest(REF)
    source.find_manifest(ModelRef.parse("user/other", "ollama"))
    assert sum("/token" in url for url, dummy in asked) == 2


@pytest.mark.parametrize(
    ("endpoint", "realm", "code"),
    [
        (OWN, "https://auth.example/token", "redirect_refused"),
        (OWN, "https://registry.example/token", "redirect_refused"),
        (OWN, "http://registry.example:5000/token", "redirect_refused"),
        (OWN, "http://listed.example/token", "redirect_refused"),
        (OWN, "file:///token", "redirect_refused"),
        (OWN, "https://registry.example:5000@evil.example/token", "redirect_refused"),
        (PUBLIC, "https://bucket.r2.cloudflarestorage.com/token", "redirect_refused"),
        (OWN, "https://listed.example/token", None),
        (OWN, "/token", None),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/token", None),
    ],
)
def test_credentials_go_to_no_place_that_only_a_challenge_names(endpoint: str, realm: str, code: str | None) -> None:
    source, asked = make_source(token_registry(realm), endpoint, username="u", password="p", allowed_hosts=["listed.example"])
    if code is None:
        assert source.find_manifest(REF).size == 6
        return
    error = refused(code, source)
    assert len(asked) == 1
    if realm.startswith("https"):
        assert f"from {endpoint}" in error.found and "/token" in error.found


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [
        (b"{}", 200, "unsupported_source"),
        (b"", 200, "unsupported_source"),
        (b"<html>", 200, "unsupported_source"),
        (b'{"token":7}', 200, "unsupported_source"),
        (b'{"token":"a\\r\\nHost: evil"}', 200, "unsupported_source"),
        (b'{"token":"' + b"a" * 70000 + b'"}', 200, "unsupported_source"),
        (b"", 404, "unsupported_source"),
        (b"", 401, "unauthorized"),
        (b"", 403, "unauthorized"),
        (b"", 302, "redirect_refused"),
        (b"", 429, "rate_limited"),
        (b"", 503, "hub_unreachable"),
        (b'{"access_token":"t0k"}', 200, None),
    ],
)
def test_what_a_token_endpoint_may_answer(token: bytes, status: int, code: str | None) -> None:
    source, dummy = make_source(token_registry("/token", token, status))
    if code is None:
        source.find_manifest(REF)
    else:
        refused(code, source)


@pytest.mark.parametrize(
    ("challenge", "options", "words"),
    [
        ("", {}, "without a challenge"),
        ("Digest realm=x", {"username": "u"}, "without a challenge"),
        ("Bearer service=x", {"username": "u"}, "without a challenge"),
        ("Basic realm=x", {}, "none were given"),
        ("Basic realm=x", {"username": "u", "password": "SECRET"}, "HTTP 401"),
        ("Bearer realm=/token", {"token": "SECRET"}, "refuses this token"),
    ],
)
def test_a_login_that_fails(challenge: str, options: dict[str, str], words: str) -> None:
    source, asked = make_source(lambda *dummy: Response(401, WWW_Authenticate=challenge), **options)
    error = refused("unauthorized", source)
    assert words in error.found
    assert "SECRET" not in json.dumps(error.to_result())
    assert len(asked) <= 2
    # Neither is a second question any better.
    refused("unauthorized", source)


def test_forbidden_is_unauthorized() -> None:
    assert "403" in refused("unauthorized", make_source(lambda *dummy: Response(403))[0]).found


def test_nothing_that_proves_who_asks_follows_a_redirect() -> None:
    def handle(url: str, headers: t.Mapping[str, str]) -> Response:
        return Response(200, make_manifest(5)) if "listed" in url else Response(307, Location="https://listed.example/manifest")

    source, asked = make_source(handle, token="SECRET", allowed_hosts=["listed.example"])
    source.find_manifest(REF)
    assert [headers.get("Authorization") for dummy, headers in asked] == ["Bearer SECRET", None]


def test_a_challenge_of_another_host_is_not_answered() -> None:
    def handle(url: str, headers: t.Mapping[str, str]) -> Response:
        if "listed" in url:
            return Response(401, WWW_Authenticate='Basic realm="x"')
        return Response(307, Location="https://listed.example/manifest")

    source, asked = make_source(handle, username="u", password="p", allowed_hosts=["listed.example"])
    refused("unauthorized", source)
    assert all("Authorization" not in headers for dummy, headers in asked)


def test_a_ring_of_redirects_ends() -> None:
    source, asked = make_source(lambda *dummy: Response(307, Location="/again"))
    assert "redirects" in refused("redirect_refused", source).found
    assert len(asked) < 10
