# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""States of the manifest in the face of values that it cannot hold: one model's files, or one option, must not cost the others."""
from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_states import run_manifest
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.discovery_samples import TWO, publish


class Context:
    """What a module gives its operation, real runs only."""

    check_mode = False

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        """Keep the sentence."""
        self.warnings.append(text)

    def report(self, *dummy_words: object) -> None:
        """Nobody looks on."""


def run(root: Path, state: str, **more: t.Any) -> dict[str, t.Any]:
    """A state of the manifest, on a host without Ollama."""
    params = {
        "models_dir": str(root), "state": state, "lock_timeout": 5, "ollama_models_dir": "/nonexistent", "ollama_url": "http://127.0.0.1:9",
        "config_dir": None, "name": None, "provider": "auto", "revision": None,
    }  # fmt: skip
    return run_manifest({**params, **more}, Context())


@pytest.fixture()
def hostile(tmp_path: Path) -> Path:
    """A recorded model, and beside it one whose configuration no JSON can hold."""
    publish(tmp_path)
    run(tmp_path, "discovered")
    publish(tmp_path, TWO, "c--d", config=b'{"model_type": "\\ud800", "architectures": [NaN], "quantization_config": {"quant_method": "\\udfff"}}')
    return tmp_path


def test_a_hostile_model_is_recorded_beside_a_good_one(hostile: Path) -> None:
    found = run(hostile, "discovered")
    json.dumps(found, allow_nan=False, ensure_ascii=False).encode("utf-8")
    assert [entry["name"] for entry in found["models"]] == ["a/b", "c/d"]
    assert run(hostile, "discovered")["changed"] is False


@pytest.mark.parametrize("state", ["present", "sanitized"])
def test_a_damaged_manifest_is_rebuilt_in_spite_of_a_hostile_model(hostile: Path, state: str) -> None:
    path = hostile / "manifest.json"
    path.write_text(path.read_text().replace('"max_position_embeddings"', "").replace("installed_at", "installed_of"))
    more = {"name": "a/b", "capabilities": {"supports_tools": True}} if state == "present" else {}
    run(hostile, state, **more)
    stored = Manifest.load(str(hostile))
    assert not stored.is_damaged and [entry.name for entry in stored.models] == ["a/b", "c/d"]


@pytest.mark.parametrize("declared", [{"prompt_template": "\ud800"}, {"generation_parameters": {"temperature": float("nan")}}])
def test_what_the_manifest_cannot_hold_is_not_declared(tmp_path: Path, declared: dict[str, t.Any]) -> None:
    publish(tmp_path)
    run(tmp_path, "discovered")
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(VenomError) as caught:
        run(tmp_path, "present", name="a/b", capabilities=declared)
    assert caught.value.reason_code == "invalid_option" and caught.value.details["option"] == "capabilities"
    assert (tmp_path / "manifest.json").read_bytes() == before
