# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One wanted model: what is taken as it is, what is refused."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request

DIGEST = "sha256:" + "a" * 64


def parse(name: str, default_state: str = "present", deep: bool = False, **item: t.Any) -> Request:
    return Request.parse({"name": name, **item}, default_state, deep)


@pytest.mark.parametrize(
    ("name", "item", "shown", "revision", "asked"),
    [
        ("a/b", {}, "a/b", None, "main"),
        ("a/b", {"revision": "v1"}, "a/b", "v1", "v1"),
        ("a/b", {"revision": "A" * 40}, "a/b", "a" * 40, "a" * 40),
        ("phi3", {}, "phi3:latest", None, "latest"),
        ("phi3:mini", {}, "phi3:mini", None, "mini"),
        ("phi3", {"revision": "mini"}, "phi3:mini", None, "mini"),
        ("phi3:mini", {"revision": "mini"}, "phi3:mini", None, "mini"),
        ("phi3:mini", {"revision": "MINI"}, "phi3:MINI", None, "MINI"),
        ("phi3:mini", {"revision": DIGEST}, "phi3:mini", DIGEST, DIGEST),
        ("phi3", {"revision": DIGEST}, "phi3:latest", DIGEST, DIGEST),
        ("hf.co/u/m:Q4_K_M", {}, "hf.co/u/m:Q4_K_M", None, "Q4_K_M"),
        ("u/m", {"provider": "ollama", "revision": "1b"}, "u/m:1b", None, "1b"),
    ],
)
def test_names_and_revisions(name: str, item: dict[str, t.Any], shown: str, revision: str | None, asked: str) -> None:
    request = parse(name, **item)
    assert (str(request.ref), request.revision, request.wanted_revision) == (shown, revision, asked)


@pytest.mark.parametrize(
    ("name", "item", "reason"),
    [
        ("phi3:mini", {"revision": "other"}, "invalid_option"),
        ("phi3", {"include": ["*.gguf"]}, "invalid_option"),
        ("phi3", {"exclude": ["*.gguf"]}, "invalid_option"),
        ("phi3", {"revision": "sha256:abc"}, "invalid_name"),
        ("phi3", {"revision": "a/b"}, "invalid_name"),
        ("phi3", {"revision": ""}, "invalid_name"),
        ("a/b", {"revision": "../x"}, "invalid_name"),
        ("a/b", {"alias": "-x"}, "invalid_name"),
        ("a/b", {"alias": ""}, "invalid_name"),
        ("a/b", {"runtime": "ollama"}, "incompatible_runtime"),
        ("phi3", {"runtime": "vllm"}, "incompatible_runtime"),
    ],
)
def test_what_is_refused(name: str, item: dict[str, t.Any], reason: str) -> None:
    with pytest.raises(VenomError) as caught:
        parse(name, **item)
    assert caught.value.reason_code == reason


def test_the_state_of_an_item_wins_and_verified_hashes_everything() -> None:
    assert parse("a/b", "latest").state == "latest"
    assert parse("a/b", "latest", state="absent").state == "absent"
    assert [parse("a/b", state, deep).deep for state, deep in (("present", False), ("verified", False), ("latest", True))] == [False, True, True]


def test_patterns_and_the_runtime_are_kept() -> None:
    request = parse("a/b", include=["*.json"], exclude=["x/"], alias="short")
    assert (request.include, request.exclude, request.alias, request.runtime) == (("*.json",), ("x/",), "short", "vllm")
    assert parse("phi3").runtime == "ollama"
