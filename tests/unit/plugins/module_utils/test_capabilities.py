# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts from files, and nothing but facts."""
from __future__ import annotations

import json
import struct
from pathlib import Path

from ansible_collections.venom.llm.plugins.module_utils.capabilities import CAPABILITY_TYPES, read_facts


def test_what_the_files_say(tmp_path: Path) -> None:
    config = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096, "quantization_config": {"quant_method": "awq"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "x"}))
    (tmp_path / "generation_config.json").write_text(json.dumps({"temperature": 0.6, "eos_token_id": 1}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 24)
    facts = read_facts(str(tmp_path), ["config.json", "generation_config.json", "m.safetensors", "tokenizer_config.json"])
    assert (facts.formats, facts.parameters, facts.quantization) == (("safetensors",), 6, "awq")
    known = facts.capabilities({})
    assert known["max_context_length"] == {"value": 4096, "source": "detected"}
    assert known["has_chat_template"] == {"value": True, "source": "detected"}
    assert known["generation_parameters"]["value"] == {"temperature": 0.6}
    assert known["supports_system_role"] == {"value": None, "source": None}
    assert set(known) == set(CAPABILITY_TYPES)


def test_declared_wins_over_detected(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 4096}')
    known = read_facts(str(tmp_path), ["config.json"]).capabilities({"max_context_length": 100, "supports_tools": False})
    assert known["max_context_length"] == {"value": 100, "source": "declared"}
    assert known["supports_tools"] == {"value": False, "source": "declared"}


def test_nothing_is_guessed(tmp_path: Path) -> None:
    for content in (b"{", b"[]", b'{"max_position_embeddings": true}', b'{"max_position_embeddings": "4096"}', b"\xff"):
        (tmp_path / "config.json").write_bytes(content)
        facts = read_facts(str(tmp_path), ["config.json", "missing.safetensors"])
        assert all(item["value"] is None for item in facts.capabilities({}).values())
        assert facts.parameters is None
