# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots that nobody recorded: hashed before they are believed, each content once."""
from __future__ import annotations

import hashlib
import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import discovery
from ansible_collections.venom.llm.plugins.module_utils.discovery import Hashes, describe, discover, name_of_folder, vouch
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_facts import with_facts
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.discovery_samples import CONFIG, ONE, TWO, damage, publish


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that were hashed."""
    seen: list[str] = []
    real = discovery.sha256_of_all

    def count(paths: object, progress: object) -> dict[str, str | None]:
        found: list[str] = list(paths)  # type: ignore[call-overload]
        seen.extend(found)
        return real(found, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(discovery, "sha256_of_all", count)
    return seen


def test_every_byte_is_hashed_before_it_is_believed_and_once(tmp_path: Path, counted: list[str]) -> None:
    publish(tmp_path, ONE, config=CONFIG, other=b"{}")
    publish(tmp_path, TWO, config=CONFIG)
    reported: list[tuple[str, int, int]] = []
    hashes = Hashes(lambda *words: reported.append(words))
    entries, warnings = discover(str(tmp_path), (), hashes)
    assert ([entry.revision for entry in entries], warnings) == ([ONE, TWO], [])
    assert all(entry.is_vouched_for for entry in entries)
    assert len(counted) == 2, "two contents, one of them under two names"
    assert sum(1 for words in reported if words[0] == "hashing a/b") == 2 and reported[-1][1] <= reported[-1][2]
    assert discover(str(tmp_path), (), hashes)[0] == entries and len(counted) == 2
    assert entries[0].capabilities["max_context_length"] == {"value": 64, "source": "detected"}


def test_a_damaged_file_is_not_recorded(tmp_path: Path) -> None:
    damage(publish(tmp_path) / "config.json")
    good = publish(tmp_path, TWO, "c--d", config=b"{}")
    entries, warnings = discover(str(tmp_path), (), Hashes())
    assert [entry.local_path for entry in entries] == [str(good)]
    assert len(warnings) == 1 and "damaged" in warnings[0] and "a--b" in warnings[0]


REFUSES = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No \ud800') }}{% endif %}{{ m.role }}{{ m.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("files", "detected"),
    [
        ({"config": {"model_type": "\ud800", "architectures": ["A\udfff"]}}, {"architectures": ["A\ufffd"]}),
        ({"config": {"architectures": [float("nan"), ["deep"], {"a": 1}, "X"]}}, {"architectures": ["X"]}),
        ({"config": {"architectures": [float("inf")], "torch_dtype": "\ud800"}}, {"architectures": None}),
        ({"config": {"quantization_config": {"quant_method": "\ud800", "bits": 10**399}}}, {"quantization": "\ufffd"}),
        ({"config": {"max_position_embeddings": 10**399}}, {"max_context_length": None}),
        ({"config": {"text_config": {"max_position_embeddings": 10**399}}}, {"max_context_length": None}),
        ({"tokenizer_config": {"chat_template": REFUSES}}, {"system_handling": "rejected", "system_role_error": "No \ufffd"}),
        ({"tokenizer_config": {"chat_template": "{{ raise_exception('\ud800') }}"}}, {"has_chat_template": True}),
        *[
            ({"generation_config": {name: value}}, {})
            for name in ("max_new_tokens", "temperature", "top_k")
            for value in (10**399, "\ud800", float("nan"))
        ],
    ],
)
def test_what_no_json_can_hold_breaks_no_manifest(files: dict[str, t.Any], detected: dict[str, t.Any], tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path, TWO, "c--d", **{name: json.dumps(value).encode() for name, value in files.items()})
    entries, warnings = discover(str(tmp_path), (), Hashes())
    assert ([entry.name for entry in entries], warnings) == (["a/b", "c/d"], [])
    assert {name: entries[1].capabilities[name]["value"] for name in detected} == detected
    heard: list[str] = []
    described = [describe(entry, {}, heard.append) for entry in entries]
    Manifest(str(tmp_path), described).save()
    stored = Manifest.load(str(tmp_path))
    assert [entry.name for entry in stored.models] == ["a/b", "c/d"] and not stored.is_damaged
    json.dumps([[entry.to_dict() for entry in stored.models], heard], allow_nan=False, ensure_ascii=False).encode("utf-8")


def test_without_hashing_a_link_is_known_by_its_blob_and_not_vouched_for(tmp_path: Path, counted: list[str]) -> None:
    folder = publish(tmp_path)
    ((entry,), warnings) = discover(str(tmp_path), ())
    assert (entry.is_vouched_for, entry.files[0].digest.hex, counted, warnings) == (False, hashlib.sha256(CONFIG).hexdigest(), [], [])
    vouched = vouch(entry, Hashes())
    assert vouched is not None and vouched == discover(str(tmp_path), (), Hashes())[0][0]
    damage(folder / "config.json")
    assert vouch(entry, Hashes()) is None
    (folder / "config.json").unlink()
    assert vouch(entry, Hashes()) is None
    (folder / "config.json").symlink_to("/etc/passwd")
    assert vouch(entry, Hashes()) is None


def test_only_wanted_and_unknown_folders_are_looked_at(tmp_path: Path, counted: list[str]) -> None:
    publish(tmp_path)
    publish(tmp_path, TWO, "c--d", config=b"{}")
    assert discover(str(tmp_path), {f"a--b@{ONE}", f"c--d@{TWO}"}, Hashes()) == ([], [])
    entries = discover(str(tmp_path), (), Hashes(), wanted=lambda folder: name_of_folder(folder) == "c/d")[0]
    assert [entry.name for entry in entries] == ["c/d"] and len(counted) == 1
    assert name_of_folder("stranger") is None


def test_describing_again_keeps_what_a_server_was_found_to_do(tmp_path: Path) -> None:
    publish(tmp_path)
    (entry,) = discover(str(tmp_path), (), Hashes())[0]
    probed = with_facts(entry, {}, {"max_context_length": 7, "supports_thinking": True}, {"supports_system_role": False})
    again = describe(probed, {"supports_tools": True})
    assert {source: again.facts_from(source) for source in ("declared", "probed")} == {
        "declared": {"supports_tools": True},
        "probed": {"supports_system_role": False},
    }
    assert again.facts_from("detected")["max_context_length"] == 64
    assert "supports_thinking" not in again.facts_from("detected"), "what the files no longer say is gone"


def test_a_file_that_is_read_by_two_names_is_reported_by_its_size(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"12345")
    os.link(tmp_path / "one", tmp_path / "two")
    hashed = Hashes().of([str(tmp_path / "one"), str(tmp_path / "two")], "x")
    assert set(hashed.values()) == {hashlib.sha256(b"12345").hexdigest()}
