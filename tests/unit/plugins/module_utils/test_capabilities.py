# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts from files, and nothing but facts."""
from __future__ import annotations

import json
import struct
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import capabilities
from ansible_collections.venom.llm.plugins.module_utils.capabilities import (
    CAPABILITY_TYPES,
    from_chat_template,
    from_ollama,
    read_facts,
    read_template,
)
from ansible_collections.venom.llm.plugins.module_utils.templates.verdict import TemplateCapabilities
from lab import models

CHAT = "{% for m in messages %}{{ m.role }}{{ bos_token }}{{ m.content }}{% endfor %}"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('No ' + bos_token) }}{% endif %}" + CHAT
WITH_TOOLS = "{% if tools %}{{ tools }}{% endif %}" + CHAT


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
    assert known["chat_template_file"] == {"value": "tokenizer_config.json", "source": "detected"}
    assert known["supports_system_role"] == {"value": False, "source": "detected"}
    assert known["supports_structured_outputs"] == {"value": None, "source": None}
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


def write(folder: Path, files: t.Mapping[str, t.Any]) -> list[str]:
    """Files of text or JSON; their paths."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return sorted(files)


def test_what_a_template_can_do() -> None:
    able = from_chat_template(NO_SYSTEM, bos_token="<B>")
    assert able.system_role_error == "No <B>" and able.allowed_roles == ("user", "assistant", "tool", "developer")
    assert isinstance(able, TemplateCapabilities) and able.warning is None


def test_the_template_file_wins_over_the_tokenizer_configuration(tmp_path: Path) -> None:
    paths = write(tmp_path, {"chat_template.jinja": NO_SYSTEM, "tokenizer_config.json": {"chat_template": CHAT, "bos_token": {"content": "<B>"}}})
    known = read_facts(str(tmp_path), paths).capabilities({"supports_tools": True})
    assert known["chat_template_file"]["value"] == "chat_template.jinja"
    assert known["system_handling"] == {"value": "rejected", "source": "detected"}
    assert known["system_role_error"]["value"] == "No <B>"
    assert known["supports_tools"] == {"value": True, "source": "declared"}


def test_a_second_template_for_tools_counts_for_tools(tmp_path: Path) -> None:
    named = [{"name": "default", "template": NO_SYSTEM}, {"name": "tool_use", "template": WITH_TOOLS}]
    facts = read_facts(str(tmp_path), write(tmp_path, {"tokenizer_config.json": {"chat_template": named}}))
    assert facts.detected["supports_tools"] is True and facts.detected["supports_system_role"] is False
    more = {"chat_template.jinja": CHAT, "additional_chat_templates/tool_use.jinja": WITH_TOOLS}
    assert read_facts(str(tmp_path), write(tmp_path, more)).detected["supports_tools"] is True


def test_a_processors_template_counts_where_there_is_no_other(tmp_path: Path) -> None:
    facts = read_facts(str(tmp_path), write(tmp_path, {"tokenizer_config.json": {}, "chat_template.json": {"chat_template": CHAT}}))
    assert facts.detected["chat_template_file"] == "chat_template.json" and facts.detected["supports_system_role"] is True


def test_a_processors_template_counts_for_conversations_and_the_tokenizers_for_tools(tmp_path: Path) -> None:
    files = {"preprocessor_config.json": {}, "chat_template.json": {"chat_template": CHAT}, "tokenizer_config.json": {"chat_template": NO_SYSTEM}}
    facts = read_facts(str(tmp_path), write(tmp_path, files))
    assert facts.detected["chat_template_file"] == "chat_template.json" and facts.detected["supports_system_role"] is True
    assert facts.detected["supports_tools"] is False
    files["tokenizer_config.json"] = {"chat_template": WITH_TOOLS}
    assert read_facts(str(tmp_path), write(tmp_path, files)).detected["supports_tools"] is True


def test_without_a_template_nothing_is_said(tmp_path: Path) -> None:
    facts = read_facts(str(tmp_path), write(tmp_path, {"tokenizer_config.json": {"bos_token": "<s>"}}))
    assert facts.detected["has_chat_template"] is False and "supports_system_role" not in facts.detected and facts.warnings == ()


@pytest.mark.parametrize("text", ["{% if %}", "{{ 'x' * 9000000 }}", "x" * 3_000_000, "{{ raise_exception('never') }}"])
def test_a_template_without_a_verdict_is_null_with_a_warning(tmp_path: Path, text: str) -> None:
    facts = read_facts(str(tmp_path), write(tmp_path, {"chat_template.jinja": text}))
    assert facts.capabilities({})["supports_system_role"] == {"value": None, "source": None}
    assert facts.detected["has_chat_template"] is True
    (warning,) = facts.warnings
    assert warning.startswith("chat_template.jinja: the ")


def test_what_was_seen_earlier_holds_where_a_template_cannot_be_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write(tmp_path, {"chat_template.jinja": NO_SYSTEM})
    seen = read_facts(str(tmp_path), paths).detected
    monkeypatch.setitem(sys.modules, "jinja2", None)
    facts = read_facts(str(tmp_path), paths)
    assert facts.warnings and "supports_system_role" not in facts.detected
    later = facts.with_earlier(dict(seen, max_context_length=7)).capabilities({})
    assert later["supports_system_role"] == {"value": False, "source": "detected"}
    # What is no business of templates is what the files say now.
    assert later["max_context_length"] == {"value": None, "source": None}
    whole = read_facts(str(tmp_path), [])
    assert whole.with_earlier(seen) is whole


def test_a_template_that_is_no_text_is_none(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    assert read_template(str(tmp_path), ["chat_template.jinja"]) is None
    assert read_template(str(tmp_path), ["missing.gguf", "tokenizer_config.json"]) is None


def test_the_template_of_a_gguf(tmp_path: Path) -> None:
    models.gguf(tmp_path)
    (name,) = [path.name for path in tmp_path.iterdir() if path.suffix == ".gguf"]
    found = read_template(str(tmp_path), [name])
    assert found is not None and found.file == name and "messages" in found.text
    facts = read_facts(str(tmp_path), [name])
    assert facts.detected["chat_template_file"] == name and facts.detected["allowed_roles"]


def test_an_ollama_model_by_its_template() -> None:
    able = from_ollama({"template": "{{ if .System }}S {{ .System }}{{ end }}U {{ .Prompt }} A {{ .Response }}", "model_info": {}})
    assert able.detected() == {
        "supports_system_role": True,
        "allowed_roles": ["system", "user", "assistant"],
        "requires_alternation": False,
        "supports_tools": False,
        "supports_thinking": False,
        "system_handling": "separate",
    }


def test_the_servers_word_on_tools_wins() -> None:
    show = {"template": "{{ range .Messages }}{{ .Content }}{{ end }}{{ .Tools }}", "capabilities": ["completion", "thinking"]}
    able = from_ollama(show)
    assert able.supports_tools is False and able.supports_thinking is True and able.supports_system_role is True
    assert from_ollama(dict(show, capabilities=["completion", "tools"])).supports_tools is True
    assert from_ollama(dict(show, capabilities=None)).supports_tools is True


def test_a_renderer_in_the_server_is_not_what_the_template_says() -> None:
    able = from_ollama({"template": "{{ .Prompt }}", "renderer": "own", "capabilities": ["completion", "tools"]})
    assert able.detected() == {"supports_tools": True, "supports_thinking": False} and "code of its own" in (able.warning or "")


@pytest.mark.parametrize("show", [{}, {"template": ""}, {"template": 3}, {"template": None, "capabilities": "tools"}])
def test_an_ollama_model_that_says_nothing(show: dict[str, t.Any]) -> None:
    assert from_ollama(show) == TemplateCapabilities()


def test_a_configuration_that_is_too_large_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "MAX_CONFIG_BYTES", 10)
    facts = read_facts(str(tmp_path), write(tmp_path, {"tokenizer_config.json": {"chat_template": CHAT}}))
    assert facts.detected["has_chat_template"] is None
