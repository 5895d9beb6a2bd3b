# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What servers do to a stream of bytes: lines that end in the handshake, bodies that never end, answers that are legal and rare."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.sources.base import TransientError
from ansible_collections.venom.llm.plugins.module_utils.sources.http import HostList, HttpClient, explain_tls
from ansible_collections.venom.llm.plugins.module_utils.sources.hub import HubSource
from ansible_collections.venom.llm.plugins.module_utils.sources.registry import RegistrySource
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.scripted_http import ScriptedHttp

pytest.importorskip("requests")

#: Two tries without a wait between them.
TWICE = RetryPolicy(retries=1, base=0.0, cap=0.0)


@pytest.fixture
def server() -> t.Iterator[ScriptedHttp]:
    with ScriptedHttp() as running:
        yield running


def client(server: ScriptedHttp, url: str = "", **options: t.Any) -> HttpClient:
    return HttpClient(HostList(url or server.url), **options)


def test_a_handshake_that_is_cut_is_tried_again(server: ScriptedHttp) -> None:
    """The server reads the ClientHello and hangs up, as a balancer that restarts."""
    url = server.url.replace("http://", "https://")
    with pytest.raises(TransientError) as caught:
        client(server, url).open(f"{url}/x")
    assert caught.value.final is None
    with pytest.raises(VenomError) as given_up:
        RegistrySource(url, retry_policy=TWICE).find_manifest(ModelRef.parse("tiny", "ollama"))
    assert (given_up.value.reason_code, "2 tries" in given_up.value.found) == ("hub_unreachable", True)


@pytest.mark.parametrize(
    ("cause", "found"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006)", "not trusted"),
        ("hostname '127.0.0.1' doesn't match 'other.example'", "not trusted"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "does not speak TLS"),
        ("[X509: NO_CERTIFICATE_OR_CRL_FOUND] no certificate or crl found (_ssl.c:4149)", "ca_path"),
    ],
)
def test_what_no_try_cures_is_final(cause: str, found: str) -> None:
    error = explain_tls("https://hub.example/x?signature=secret", cause)
    assert isinstance(error, VenomError)
    assert (error.reason_code, found in error.found, "secret" in str(error)) == ("hub_unreachable", True, False)


@pytest.mark.parametrize(
    "cause", ["EOF occurred in violation of protocol (_ssl.c:1006)", "[SSL: UNEXPECTED_EOF_WHILE_READING] x", "TLS/SSL connection has been closed"]
)
def test_other_failures_of_tls_may_pass(cause: str) -> None:
    assert isinstance(explain_tls("https://hub.example/x", cause), TransientError)


def test_certificates_that_cannot_be_read_are_told_at_once(server: ScriptedHttp, tmp_path: t.Any) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    url = server.url.replace("http://", "https://")
    with pytest.raises(VenomError) as caught:
        client(server, url, ca_path=str(tmp_path / "ca.pem")).open(f"{url}/x")
    assert (caught.value.reason_code, "ca_path" in caught.value.found) == ("hub_unreachable", True)


def test_a_hub_whose_handshakes_are_cut_is_unreachable(server: ScriptedHttp) -> None:
    pytest.importorskip("huggingface_hub")
    source = HubSource(server.url.replace("http://", "https://"), retry_policy=TWICE)
    with pytest.raises(VenomError) as caught:
        source.find_commit(ModelRef.parse("a/b"), "main")
    assert (caught.value.reason_code, "2 tries" in caught.value.found) == ("hub_unreachable", True)
