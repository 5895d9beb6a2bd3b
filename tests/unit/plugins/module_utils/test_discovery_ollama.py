# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama models that nobody recorded: in a store, hashed before they are believed, and at a server, as it tells of them."""
from __future__ import annotations

import hashlib
import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.discovery import Hashes, describe, vouch
from ansible_collections.venom.llm.plugins.module_utils.discovery_ollama import (
    describe_served,
    discover_served,
    discover_store,
    facts_of_show,
    read_store_layers,
)
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.discovery_samples import LIBRARY, PARAMETERS, TEMPLATE, model
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.header_samples import gguf
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.models_samples import Server


def test_a_model_in_the_store(tmp_path: Path) -> None:
    model(tmp_path, template=TEMPLATE, params=json.dumps(PARAMETERS).encode())
    ((entry,), warnings) = discover_store(str(tmp_path), (), Hashes())
    assert (entry.capabilities, entry.formats) == ({}, ())
    entry = describe(entry, {})
    manifest = (tmp_path / "manifests" / LIBRARY / "phi3" / "mini").read_bytes()
    assert (entry.name, entry.revision, entry.requested_revision) == ("phi3:mini", f"sha256:{hashlib.sha256(manifest).hexdigest()}", "mini")
    assert (entry.local_path, entry.runtime, entry.status, len(entry.files), warnings) == (str(tmp_path), "ollama", "installed", 5, [])
    assert (entry.formats, entry.quantization, entry.parameters, entry.display_name) == (("gguf",), "Q4_K_M", 8 + 512, "phi3:mini")
    detected = entry.facts_from("detected")
    assert (detected["architectures"], detected["max_context_length"], detected["has_chat_template"]) == (["llama"], 512, True)
    assert (detected["supports_system_role"], detected["system_handling"]) == (True, "separate")
    assert (detected["prompt_template"], detected["generation_parameters"]["temperature"]["default"]) == (TEMPLATE.decode(), 0.6)
    assert entry.is_vouched_for
    assert describe(entry, {}) == entry


def test_a_layer_that_models_share_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model(tmp_path)
    model(tmp_path, f"{LIBRARY}/other/latest", template=TEMPLATE)
    model(tmp_path, "hf.co/owner/name/Q4_0")
    lengths: list[int] = []
    entries = discover_store(str(tmp_path), (), Hashes(lambda dummy, done, total: lengths.append(total)))[0]
    assert sorted(entry.name for entry in entries) == ["hf.co/owner/name:Q4_0", "other:latest", "phi3:mini"]
    weights = len(gguf())
    assert sum(1 for length in lengths if length > weights) <= 3, "the weights are in the work of one model only"
    assert len({entry.files[1].digest for entry in entries}) == 1


@pytest.mark.parametrize("harm", ["other bytes", "shorter", "missing", "unreadable manifest", "folder as manifest"])
def test_what_is_damaged_is_not_recorded(tmp_path: Path, harm: str) -> None:
    weights = model(tmp_path)
    model(tmp_path, f"{LIBRARY}/other/latest", weights=gguf(data=400))
    manifest = tmp_path / "manifests" / LIBRARY / "phi3" / "mini"
    if harm == "other bytes":
        weights.write_bytes(b"x" * weights.stat().st_size)
    elif harm == "shorter":
        os.truncate(weights, 10)
    elif harm == "missing":
        weights.unlink()
    else:
        manifest.unlink()
        manifest.write_text("{") if harm == "unreadable manifest" else os.mkfifo(manifest)
    entries, warnings = discover_store(str(tmp_path), (), Hashes())
    assert [entry.name for entry in entries] == ["other:latest"]
    assert len(warnings) == 1 and "phi3" in warnings[0]


def test_names_that_are_none_here_are_left_alone(tmp_path: Path) -> None:
    model(tmp_path, "127.0.0.1:5000/library/phi3/mini")
    model(tmp_path)
    entries, warnings = discover_store(str(tmp_path), {"ollama:phi3:mini"}, Hashes())
    assert entries == [] and len(warnings) == 1 and "5000" in warnings[0]
    assert discover_store(str(tmp_path / "nothing"), ()) == ([], [])


def test_without_hashing_nothing_is_vouched_for_until_it_is(tmp_path: Path) -> None:
    weights = model(tmp_path)
    ((entry,), dummy) = discover_store(str(tmp_path), ())
    assert not entry.is_vouched_for
    assert vouch(entry, Hashes()) == discover_store(str(tmp_path), (), Hashes())[0][0]
    weights.write_bytes(b"x" * weights.stat().st_size)
    assert vouch(entry, Hashes()) is None


def test_without_readable_weights_the_configuration_is_what_tells(tmp_path: Path) -> None:
    model(tmp_path, weights=b"no GGUF")
    entry = describe(discover_store(str(tmp_path), ())[0][0], {})
    assert (entry.formats, entry.quantization, entry.facts_from("detected")) == (
        ("gguf",),
        "Q4_0",
        {"architectures": ["llama"], "quantization": "Q4_0"},
    )


@pytest.mark.parametrize("config", [b"not json", b"[]", b'{"model_format": 5, "file_type": []}', b"[" * 100_000, b""])
def test_a_config_that_makes_no_sense_describes_nothing(tmp_path: Path, config: bytes) -> None:
    model(tmp_path, weights=b"no GGUF", config=config)
    ((entry,), dummy) = discover_store(str(tmp_path), ())
    entry = describe(entry, {})
    assert (entry.formats, entry.quantization, entry.parameters, entry.display_name) == ((), None, None, "phi3:mini")
    assert entry.facts_from("detected") == {}


def test_without_its_manifest_or_its_files_a_record_keeps_its_facts(tmp_path: Path) -> None:
    model(tmp_path, template=TEMPLATE)
    ((entry,), dummy) = discover_store(str(tmp_path), ())
    entry = describe(entry, {})
    (tmp_path / "manifests" / LIBRARY / "phi3" / "mini").unlink()
    assert read_store_layers(entry) is None and describe(entry, {}) == entry
    assert read_store_layers(entry.replace(files=(), local_path="")) is None


SHOWN: dict[str, t.Any] = {
    "template": "{{ .Prompt }}",
    "details": {"format": "gguf", "family": "phi3", "parameter_size": "3.8B", "quantization_level": "Q4_K_M"},
    "model_info": {"general.architecture": "phi3", "general.parameter_count": 3821079552, "phi3.context_length": 131072},
    "capabilities": ["completion", "tools"],
}


def test_what_a_server_says() -> None:
    facts = facts_of_show(SHOWN)
    assert (facts.formats, facts.parameters, facts.quantization) == (("gguf",), 3821079552, "Q4_K_M")
    assert facts.detected == {
        "architectures": ["phi3"],
        "max_context_length": 131072,
        "quantization": "Q4_K_M",
        "has_chat_template": True,
        "prompt_template": "{{ .Prompt }}",
        "supports_system_role": False,
        "system_handling": "dropped",
        "allowed_roles": ["user", "assistant"],
        "requires_alternation": False,
        "supports_tools": True,
        "supports_thinking": False,
    }


@pytest.mark.parametrize(
    "shown",
    [{}, {"details": [], "model_info": "x", "capabilities": "tools"}, {"details": {"format": 5}, "model_info": {"general.parameter_count": True}}],
)
def test_what_a_server_does_not_say_is_not_known(shown: dict[str, t.Any]) -> None:
    facts = facts_of_show(shown)
    assert (facts.formats, facts.parameters, facts.quantization) == ((), None, None)
    assert set(facts.detected.values()) == {None}


def test_what_no_json_can_hold_is_replaced_or_left_out(tmp_path: Path) -> None:
    half = "\ud800"
    facts = facts_of_show({
        "template": f"{half}{{{{ .Prompt }}}}", "details": {"format": half, "quantization_level": half},
        "model_info": {"general.architecture": half, "general.parameter_count": 10**399, f"{half}.context_length": 10**399},
    })  # fmt: skip
    assert (facts.formats, facts.parameters, facts.quantization) == (("\ufffd",), None, "\ufffd")
    assert facts.detected["prompt_template"] == "\ufffd{{ .Prompt }}" and facts.detected["max_context_length"] is None
    model(tmp_path, weights=b"no GGUF", config={"model_format": half, "model_family": half, "file_type": half})
    stored = describe(discover_store(str(tmp_path), ())[0][0], {})
    for value in (facts.detected, stored.to_dict()):
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")


def test_models_that_a_server_lists() -> None:
    server = Server({"phi3:mini": "sha256:" + "a" * 64, "known": "sha256:" + "b" * 64, "127.0.0.1:5000/x/y:z": "sha256:" + "c" * 64}, shown=SHOWN)
    ((entry,), warnings) = discover_served(server, {"ollama:known:latest"})
    assert (entry.name, entry.revision, entry.size_bytes, entry.files, entry.local_path) == ("phi3:mini", "sha256:" + "a" * 64, 7, (), "")
    assert (entry.quantization, entry.facts_from("detected")["supports_tools"]) == ("Q4_K_M", True)
    assert len(warnings) == 1 and "5000" in warnings[0]
    assert Entry.from_dict(entry.to_dict(), "/nowhere") == entry
    assert discover_served(Server({"phi3:mini": "sha256:" + "a" * 64}, up=False), ()) == ([], [])


def test_a_server_that_does_not_tell_leaves_the_record_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server({"phi3:mini": "sha256:" + "a" * 64}, shown=SHOWN)
    ((entry,), dummy) = discover_served(server, ())

    def refuse(name: str) -> t.NoReturn:
        raise VenomError("not_installed", "a description", "none", "pull it")

    monkeypatch.setattr(server, "show", refuse)
    assert describe_served(entry, server) == entry
