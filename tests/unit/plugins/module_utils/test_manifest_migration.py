# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Older layouts: what is taken over from them, and what says nothing."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.manifest_migration import migrate

#: A record as the program before this collection wrote it.
OLD: dict[str, t.Any] = {
    "name": "google/gemma-2b-it",
    "provider": "huggingface",
    "display_name": "Gemma 2B",
    "size_gb": None,
    "status": "installed",
    "capabilities": {
        "supports_system_role": True,
        "supports_function_calling": False,
        "allowed_roles": ["system", "user", "assistant"],
        "prompt_template": None,
        "max_context_length": 4096,
        "quantization": None,
    },
    "local_path": "/home/somebody/data/models/hf_cache/gemma",
    "sha256": None,
    "installed_at": "2025-12-17T10:20:30.123456",
    "runtime": "vllm",
}


def test_a_list_and_a_mapping_say_the_same() -> None:
    unnamed = {key: value for key, value in OLD.items() if key != "name"}
    listed, mapped = migrate({"models": [OLD]}), migrate({"models": {OLD["name"]: unnamed}})
    (record,) = listed.older
    assert (record.ref.key, record.display_name, record.installed_at) == (
        "huggingface:google/gemma-2b-it",
        "Gemma 2B",
        "2025-12-17T10:20:30+00:00",
    )
    assert [item.ref for item in mapped.older] == [record.ref] and mapped.older[0].installed_at == record.installed_at
    assert (listed.records, listed.declared) == ((), {}), "defaults that nobody looked up say nothing"


def test_what_differs_from_the_defaults_was_said_on_purpose() -> None:
    said = {
        "supports_system_role": False,
        "supports_function_calling": True,
        "allowed_roles": ["user", "assistant"],
        "prompt_template": "x",
        "max_context_length": 8192,
        "quantization": "Q4_0",
        "generation_schema": {"temperature": {"type": "float", "default": 0.7, "min": 0.0, "max": 1.0}},
    }
    declared = migrate({"models": [dict(OLD, capabilities=said)]}).declared
    assert declared == {
        "huggingface:google/gemma-2b-it": {
            "supports_system_role": False,
            "supports_tools": True,
            "allowed_roles": ["user", "assistant"],
            "prompt_template": "x",
            "max_context_length": 8192,
            "quantization": "Q4_0",
            "generation_parameters": said["generation_schema"],
        }
    }


@pytest.mark.parametrize(
    "capabilities", [None, [], "x", {"supports_system_role": "no"}, {"max_context_length": False}, {"allowed_roles": []}, {"invented": 1}]
)
def test_capabilities_that_make_no_sense_say_nothing(capabilities: t.Any) -> None:
    assert migrate({"models": [dict(OLD, capabilities=capabilities)]}).declared == {}


@pytest.mark.parametrize(
    ("provider", "name", "key"),
    [
        ("hf", "a/b", "huggingface:a/b"),
        ("vllm", "a/b", "huggingface:a/b"),
        (None, "a/b", "huggingface:a/b"),
        (None, "phi3:mini", "ollama:phi3:mini"),
        ("ollama", "phi3", "ollama:phi3:latest"),
    ],
)
def test_providers_by_their_older_names(provider: str | None, name: str, key: str) -> None:
    assert [record.ref.key for record in migrate({"models": [dict(OLD, provider=provider, name=name)]}).older] == [key]


@pytest.mark.parametrize("change", [{"provider": "local"}, {"name": "../x"}, {"name": None}, {"name": 5}, {"revision": "1" * 40}, {"files": []}])
def test_what_is_no_older_record_is_checked_like_any_other(change: dict[str, t.Any]) -> None:
    item = dict(OLD, **change)
    found = migrate({"models": [item, "no record"]})
    assert (found.records, found.older) == ((item, "no record"), ())


def test_what_was_declared_stays_declared_and_wins_over_older_words() -> None:
    known = {"huggingface:google/gemma-2b-it": {"supports_tools": True}, "x": "no mapping"}
    older = dict(OLD, capabilities={"supports_system_role": False})
    assert migrate({"models": [older], "declared": known}).declared == {"huggingface:google/gemma-2b-it": {"supports_tools": True}}
    assert migrate({"models": [], "declared": ["x"]}).declared == {}


@pytest.mark.parametrize("models", [None, "x", 5])
def test_without_models_it_is_no_manifest(models: t.Any) -> None:
    with pytest.raises(ValueError, match="no list"):
        migrate({"models": models})
