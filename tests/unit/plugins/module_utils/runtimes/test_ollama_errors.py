# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error text of a pull that was recorded from an Ollama 0.32.15 server, and some that its source has, with the code it gets."""
from __future__ import annotations

import json

import pytest

from ansible_collections.venom.llm.plugins.module_utils.http_probe import Answer
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_errors import classify, refusal, said, scrub

WANT, GOT = "sha256:" + "63" * 32, "sha256:" + "d4" * 32
MANIFEST = "pull model manifest: "
BLOB = "/var/lib/ollama/models/blobs/sha256-6358588e7849"

#: (text, reason code, whether another try may help, words that the advice needs)
RECORDED = [
    (MANIFEST + "file does not exist", "not_found", False, "name and tag"),
    ("file does not exist", "not_found", False, "blobs"),
    ("invalid model name", "invalid_name", False, "namespace"),
    ("400 Bad Request: invalid model name", "invalid_name", False, "namespace"),
    (
        MANIFEST + 'Get "http://127.0.0.1:5999/v2/library/tiny/manifests/latest": dial tcp 127.0.0.1:5999: connect: connection refused',
        "hub_unreachable",
        True,
        "registry",
    ),
    (
        MANIFEST + 'Get "https://registry.invalid/v2/library/tiny/manifests/latest": dial tcp: lookup registry.invalid: no such host',
        "hub_unreachable",
        True,
        "name resolution",
    ),
    (
        MANIFEST + 'Get "https://127.0.0.1:5055/v2/library/tiny/manifests/latest": tls: first record does not look like a TLS handshake',
        "hub_unreachable",
        False,
        "http://",
    ),
    (
        'Head "https://127.0.0.1:5000/v2/library/tiny/blobs/sha256:8a2b": http: server gave HTTP response to HTTPS client',
        "hub_unreachable",
        False,
        "http://",
    ),
    (MANIFEST + 'Get "http://127.0.0.1:5055/v2/library/tiny/manifests/latest": EOF', "hub_unreachable", True, "registry"),
    (MANIFEST + '500: {"errors":[{"code":"UNKNOWN"}]}', "hub_unreachable", True, "later"),
    (MANIFEST + "503: <html>down</html>", "hub_unreachable", True, "later"),
    (MANIFEST + "429: too many requests", "rate_limited", True, "later"),
    (MANIFEST + "403: denied", "unauthorized", False, "store"),
    (MANIFEST + 'realm host "" does not match original host "127.0.0.1:5055"', "redirect_refused", False, "store"),
    (MANIFEST + "invalid character 'h' in literal true (expecting 'r')", "unsupported_source", False, "registry"),
    ("429: ", "rate_limited", True, "later"),
    ("500: ", "hub_unreachable", True, "later"),
    ("context deadline exceeded", "hub_unreachable", True, "registry"),
    ("max retries exceeded: EOF", "hub_unreachable", True, "registry"),
    (f"digest mismatch, file must be downloaded again: want {WANT}, got {GOT}", "digest_mismatch", False, "another registry"),
    (f"write {BLOB}-partial: no space left on device", "disk_full", False, "OLLAMA_MODELS"),
    (f"open {BLOB}-partial-0: permission denied", "permission_denied", False, "account"),
    ("open /var/lib/ollama/models/manifests/127.0.0.1:5170/library/mid/latest: permission denied", "permission_denied", False, "account"),
    ("http: no Location header in response", "unsupported_source", False, "redirect"),
    ("could not connect to ollama server, run 'ollama serve' to start it", "server_unreachable", True, "start"),
]
FROM_SOURCE = [
    (MANIFEST + "unauthorized: access denied", "unauthorized", False, "store"),
    (MANIFEST + "412: The model you are pulling requires a newer version of Ollama.", "unsupported_source", False, "newer"),
    ("insecure protocol http", "hub_unreachable", False, "http://"),
    (MANIFEST + 'Get "https://r/v2/x": x509: certificate signed by unknown authority', "hub_unreachable", False, "certificate"),
    (MANIFEST + 'Get "https://r/v2/x": tls: failed to verify certificate: x509: certificate has expired', "hub_unreachable", False, "certificate"),
    # The firewall says no, not the file system.
    (MANIFEST + 'Get "https://r/v2/x": dial tcp 10.0.0.1:443: connect: permission denied', "hub_unreachable", True, "firewall"),
    ("mkdir /models/manifests/x: read-only file system", "io_error", False, "disk"),
    (f"write {BLOB}: disk quota exceeded", "disk_full", False, "OLLAMA_MODELS"),
    # The registry's own words decide nothing.
    (MANIFEST + "500: write /data: no space left on device", "hub_unreachable", True, "later"),
    (MANIFEST + "418: unauthorized: digest mismatch, file must be downloaded again", "pull_failed", False, "registry"),
    ("the moon is in the wrong house", "pull_failed", False, "log"),
    ("", "pull_failed", False, "log"),
]


@pytest.mark.parametrize(("text", "code", "is_transient", "advice"), RECORDED + FROM_SOURCE)
def test_each_text_has_its_code(text: str, code: str, is_transient: bool, advice: str) -> None:
    failure = classify(text)
    assert (failure.reason_code, failure.is_transient) == (code, is_transient)
    assert advice in failure.todo
    error = failure.to_error("tiny", model="tiny")
    assert error.reason_code == code and error.details["model"] == "tiny"


def test_a_mismatch_names_both_digests() -> None:
    error = classify(f"digest mismatch, file must be downloaded again: want {WANT}, got {GOT}").to_error("tiny")
    assert error.details == {"expected": WANT, "actual": GOT}


def test_the_servers_words_are_in_the_message() -> None:
    assert "the moon is in the wrong house" in str(classify("the moon is in the wrong house").to_error("tiny"))


@pytest.mark.parametrize(
    "text",
    [
        'Get "https://cdn.example/blob?X-Amz-Credential=hush&X-Amz-Signature=hush": EOF',
        'Get "/v2/x/blobs/y?token=hush": EOF',
        "Get https://user:hush@registry.example/v2/: EOF",
        "401: Authorization: Bearer hush.hush.hush refused",
        '403: {"token":"hush","access_token": "hush"}',
        'password=hush, refresh-token: hush',
    ],
)
def test_secrets_are_left_out(text: str) -> None:
    assert "hush" not in scrub(text)
    assert "hush" not in str(classify("pull model manifest: " + text).to_error("tiny"))


def test_what_is_shown_is_one_short_printable_line() -> None:
    shown = scrub("a\x1b[31m\nb\u202e" + "c" * 5000)
    assert shown.isprintable() and len(shown) == 400 and shown.startswith("a [31m b")


def test_what_is_no_secret_stays() -> None:
    text = 'Get "https://registry.example/v2/library/tiny/manifests/latest": what now? none'
    assert scrub(text) == text


def test_said_is_none_for_anything_but_an_error_of_the_server() -> None:
    for body in (b"", b"404 page not found", b"[]", b'{"error": {"message": "x"}}', b"\xff", b"[" * 100_000):
        assert said(Answer(500, body, 0.0)) is None
    assert said(Answer(500, b'{"error": "x"}', 0.0)) == "x"


@pytest.mark.parametrize(
    ("status", "body", "code", "words"),
    [
        (404, {"error": "model 'nothere:latest' not found"}, "not_installed", "not found"),
        (400, {"error": "invalid model name"}, "invalid_name", "HTTP 400"),
        (400, {"error": 'name "a b" is invalid'}, "invalid_name", "a b"),
        (400, {"error": 'destination "a b" is invalid'}, "invalid_name", "a b"),
        (400, {"error": "model is required"}, "invalid_name", "required"),
        (500, {"error": "unexpected EOF"}, "io_error", "unexpected EOF"),
        (500, {"error": "remove /m/blobs/sha256-63: permission denied"}, "permission_denied", "permission denied"),
        (403, {"error": "ollama cloud is disabled: remote model details are unavailable"}, "io_error", "cloud"),
        (403, b"", "server_unreachable", "host name"),
        (404, b"404 page not found", "server_unreachable", "HTTP 404"),
        (502, b"<html>Bad Gateway</html>", "server_unreachable", "Bad Gateway"),
    ],
)
def test_refusals(status: int, body: object, code: str, words: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = refusal("http://10.0.0.1:11434", Answer(status, content, 0.0), "tiny", "tiny")
    assert error.reason_code == code and words in error.found
