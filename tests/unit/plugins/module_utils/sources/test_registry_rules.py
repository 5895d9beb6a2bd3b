# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry's rules without a network: where requests may go, and what its answers mean."""
from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import MAX_MANIFEST_SIZE
from ansible_collections.venom.llm.plugins.module_utils.sources.registry import parse_registry
from ansible_collections.venom.llm.plugins.module_utils.sources.registry_auth import RegistryHosts
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.sources.registry_fakes import (
    OWN,
    PUBLIC,
    REF,
    Handler,
    Response,
    digest_of,
    make_manifest,
    make_source,
    refused,
)

# Where to


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry.ollama.ai", PUBLIC),
        ("registry.example:5000/", OWN),
        ("https://registry.example:5000", OWN),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("registry.example/ollama", "https://registry.example/ollama"),
    ],
)
def test_only_a_written_http_is_plain(text: str, expected: str) -> None:
    assert parse_registry(text) == expected


@pytest.mark.parametrize("text", ["", "user:secret@registry.example", "https://u@h", "ftp://h", "https://h?a=b", "https:///v2", "a b"])
def test_a_url_that_is_none_or_has_credentials_is_refused(text: str) -> None:
    with pytest.raises(VenomError) as caught:
        parse_registry(text)
    assert caught.value.reason_code == "invalid_option"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "url", "expected"),
    [
        (PUBLIC, "https://registry.ollama.ai/v2/", True),
        (PUBLIC, "https://dd20bb891979d25aebc8bec07b2b3bbc.r2.cloudflarestorage.com/x", True),
        (PUBLIC, "https://cdn.ollama.com/x", True),
        (PUBLIC, "https://ollama.ai/x", True),
        (PUBLIC, "http://cdn.ollama.com/x", False),
        (PUBLIC, "https://cdn.ollama.com:8443/x", False),
        (PUBLIC, "https://evilollama.com/x", False),
        (PUBLIC, "https://r2.cloudflarestorage.com.evil.example/x", False),
        (PUBLIC, "https://cdn.hf.co/x", False),
        ("http://registry.ollama.ai", "https://cdn.ollama.com/x", False),
        ("https://registry.ollama.ai:444", "https://cdn.ollama.com/x", False),
        ("https://hf.co", "https://cas-bridge.xethub.hf.co/x", True),
        ("https://hf.co", "https://huggingface.co/x", True),
        (OWN, "https://registry.example:5000/x", True),
        (OWN, "https://registry.example/x", False),
        (OWN, "https://cdn.ollama.com/x", False),
        (OWN, "https://blobs.example/x", True),
        (OWN, "http://169.254.169.254/latest", False),
        (OWN, "https://[::1/x", False),
    ],
)
def test_where_requests_may_go(endpoint: str, url: str, expected: bool) -> None:
    assert RegistryHosts(endpoint, ("blobs.example",)).allows(url) is expected


# Manifests


def test_both_kinds_of_manifest_are_asked_for() -> None:
    source, asked = make_source(lambda *dummy: Response(200, make_manifest(5)))
    source.find_manifest(REF)
    assert asked[0][1]["Accept"] == "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


def test_a_model_resolves_to_each_blob_once() -> None:
    content = make_manifest(5, 7, 5)
    source, dummy = make_source(lambda *dummy: Response(200, content, Docker_Content_Digest=digest_of(content)))
    plan = source.resolve(REF, "", (), ())
    assert (plan.revision, plan.requested_revision, plan.manifest) == (digest_of(content), "mini", content)
    assert [(file.path, file.size, file.announced) for file in plan.files] == [
        (f"blobs/sha256-{size:064x}", size, f"sha256:{size:064x}") for size in (5, 7, 1)
    ]
    assert plan.files[0].url == f"{OWN}/v2/library/phi3/blobs/sha256:{5:064x}"
    assert source.find_commit(REF, "mini") == digest_of(content)


def test_there_is_nothing_to_choose_from_a_model() -> None:
    with pytest.raises(VenomError) as caught:
        make_source(lambda *dummy: Response(200, make_manifest(5)))[0].resolve(REF, "", ["*.gguf"], ())
    assert caught.value.reason_code == "invalid_option"


def test_a_model_that_runs_elsewhere_cannot_be_installed() -> None:
    with pytest.raises(VenomError) as caught:
        make_source(lambda *dummy: Response(200, make_manifest()))[0].resolve(REF, "", (), ())
    assert caught.value.reason_code == "unsupported_source"


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (Response(200, b"{}"), "unsupported_source"),
        (Response(200, b"<html>sign in</html>", Content_Type="text/html"), "unsupported_source"),
        (Response(200, b'{"schemaVersion":2,"manifests":[]}'), "unsupported_source"),
        (Response(200, b'{"schemaVersion":1,"fsLayers":[]}'), "unsupported_source"),
        (Response(200, b" " * (MAX_MANIFEST_SIZE + 1)), "unsupported_source"),
        (Response(200, b" " * (MAX_MANIFEST_SIZE + 1), Docker_Content_Digest="sha256:" + "0" * 64), "unsupported_source"),
        (Response(204), "unsupported_source"),
        (Response(400), "unsupported_source"),
        (Response(200, make_manifest(5), Docker_Content_Digest="sha256:" + "0" * 64), "digest_mismatch"),
        (Response(200, make_manifest(5)[:-9], Content_Length=str(len(make_manifest(5)))), "hub_unreachable"),
        (Response(307, Location="https://evil.example/"), "redirect_refused"),
        (Response(307, Location="http://registry.example:5000/"), "redirect_refused"),
        (Response(307), "redirect_refused"),
        (Response(429, Retry_After="1"), "rate_limited"),
        (Response(500), "hub_unreachable"),
    ],
)
def test_answers_that_are_no_manifest(response: Response, code: str) -> None:
    refused(code, make_source(lambda *dummy: response)[0])


def test_a_digest_of_another_kind_says_nothing() -> None:
    source, dummy = make_source(lambda *dummy: Response(200, make_manifest(5), Docker_Content_Digest="sha512:" + "0" * 128))
    source.find_manifest(REF)


def registry_of(tags: dict[str, bytes], others: t.Sequence[bytes] = (), code: str = "MANIFEST_UNKNOWN", lists: bool = True) -> Handler:
    by_reference = {**tags, **{digest_of(content): content for content in (*tags.values(), *others)}}

    def handle(url: str, dummy: t.Mapping[str, str]) -> Response:
        kind, reference = url.rsplit("/", 2)[-2:]
        if kind == "tags" and lists:
            return Response(200, json.dumps({"name": "library/phi3", "tags": list(tags)}).encode())
        if kind == "manifests" and reference in by_reference:
            return Response(200, by_reference[reference])
        return Response(404, json.dumps({"errors": [{"code": code if kind == "manifests" else "NAME_UNKNOWN"}]}).encode())

    return handle


OLD, NEW = make_manifest(5), make_manifest(6)


def test_a_pinned_digest_is_looked_for_under_the_tag_and_then_by_itself() -> None:
    source, asked = make_source(registry_of({"mini": NEW}, [OLD]))
    assert source.find_manifest(REF, digest_of(NEW)).content == NEW
    assert len(asked) == 1
    assert source.find_manifest(REF, digest_of(OLD)).content == OLD
    assert len(asked) == 3


def test_a_pinned_digest_that_is_gone_tells_what_the_tag_is_now() -> None:
    error = refused("revision_not_found", make_source(registry_of({"mini": NEW}))[0], digest_of(OLD))
    assert error.details["current_revision"] == digest_of(NEW)
    assert digest_of(NEW) in error.found


def test_a_pinned_digest_outlives_its_tag() -> None:
    source, dummy = make_source(registry_of({"other": NEW}, [OLD]))
    assert source.find_manifest(REF, digest_of(OLD)).content == OLD
    assert "other" in refused("revision_not_found", source, "sha256:" + "0" * 64).found


def test_other_bytes_for_a_pinned_digest_are_refused() -> None:
    error = refused("digest_mismatch", make_source(lambda *dummy: Response(200, NEW))[0], digest_of(OLD))
    assert digest_of(NEW) in error.found


@pytest.mark.parametrize("revision", ["sha256:" + "a" * 63, "sha256:../../x", "../x", "a/b", "a?b", "-x", "a:b", "mini\n"])
def test_a_revision_that_is_none_is_not_asked_for(revision: str) -> None:
    source, asked = make_source(registry_of({"mini": NEW}))
    refused("invalid_name", source, revision)
    assert asked == []


def test_another_tag_as_revision() -> None:
    source, asked = make_source(registry_of({"mini": NEW, "medium": OLD}))
    assert source.find_manifest(REF, "medium").content == OLD
    assert asked[0][0].endswith("/manifests/medium")


@pytest.mark.parametrize(
    ("handler", "code", "words"),
    [
        (registry_of({"a": NEW, "b": NEW}), "revision_not_found", "a, b"),
        (registry_of({f"t{number}": NEW for number in range(20)}), "revision_not_found", "..."),
        (registry_of({}), "not_found", "no such model"),
        (registry_of({"a": NEW}, lists=False), "not_found", "no such model"),
        (registry_of({"a": NEW}, code="NAME_UNKNOWN"), "not_found", "no such model"),
        (lambda *dummy: Response(404, b"<html>"), "not_found", "no such model"),
        (lambda *dummy: Response(404, b'{"errors":7}'), "not_found", "no such model"),
        (lambda url, dummy: Response(500 if "tags" in url else 404), "not_found", "no such model"),
        (lambda url, dummy: Response(200, b'{"tags":[7,"\\u001b[2J"]}') if "tags" in url else Response(404), "revision_not_found", "\\x1b"),
    ],
)
def test_a_missing_tag_is_told_from_a_missing_model_where_the_registry_shows_it(handler: Handler, code: str, words: str) -> None:
    error = refused(code, make_source(handler)[0])
    assert words in error.found
    assert str(error).isprintable()


def test_a_passing_failure_is_tried_again() -> None:
    answers = [Response(503), Response(200, NEW[:-3], Content_Length=str(len(NEW))), Response(200, NEW)]
    source, dummy = make_source(lambda *dummy: answers.pop(0))
    assert source.find_manifest(REF).content == NEW
    assert answers == []
