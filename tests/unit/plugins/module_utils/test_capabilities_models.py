# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The regression table of docs/capabilities.md: folders laid out as those of well-known models, with own templates in their manner."""
from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.capabilities import read_facts

ROOT = Path(__file__).resolve().parents[4]
ALTERNATE = "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}" + ALTERNATE + "<turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}</turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
PHI = (
    "{% for m in messages %}{% if m['role'] in ['system', 'user', 'assistant'] %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<end>\n' }}"
    "{% endif %}{% endfor %}{{ '<|assistant|>\n' if add_generation_prompt else eos_token }}"
)
LLAMA = (
    "{% for m in messages %}{% set text = '<h>' + m.role + '</h>\n\n' + m.content | trim + '<eot>' %}{{ bos_token + text if loop.first else text }}"
    "{% endfor %}{% if add_generation_prompt %}<h>assistant</h>\n\n{% endif %}"
)
QWEN = (
    "{% set own = messages[0].content if messages[0].role == 'system' else 'You were made by nobody.' %}<im>system\n{{ own }}"
    "{% if tools %}\n<tools>{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n</tools>{% endif %}</im>\n"
    "{% for m in messages %}{% if m.role == 'user' or (m.role == 'system' and not loop.first) %}<im>{{ m.role }}\n{{ m.content }}</im>\n"
    "{% elif m.role == 'assistant' %}<im>assistant\nTHOUGHTS{{ m.content }}{% for call in m.tool_calls or [] %}<call>"
    "{\"name\": \"{{ call.function.name }}\", \"arguments\": {{ call.function.arguments | tojson }}}</call>{% endfor %}</im>\n"
    "{% elif m.role == 'tool' %}<im>user\n<result>{{ m.content }}</result></im>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<im>assistant\nSWITCH{% endif %}"
)
QWEN_THINKS = QWEN.replace("THOUGHTS", "{{ m.reasoning_content or '' }}").replace(
    "SWITCH", "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}" + ALTERNATE + "{% if m.role == 'user' %}[I] {{ m.content }} [/I]{% elif m.role == 'assistant' %}"
    "{{ m.content + eos_token }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
MISTRAL_TOOLS = (
    "{% if messages[0].role == 'system' %}{% set own = messages[0].content %}{% set chat = messages[1:] %}"
    "{% else %}{% set chat = messages %}{% endif %}"
    "{% set ns = namespace(turn=0) %}{% for m in chat %}"
    "{% if m.role == 'user' or (m.role == 'assistant' and not m.tool_calls) %}"
    "{% if (m.role == 'user') != (ns.turn % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{% set ns.turn = ns.turn + 1 %}{% endif %}{% endfor %}{{ bos_token }}"
    "{% for m in chat %}{% if m.role == 'user' %}{% if tools and loop.last %}[T]{{ tools | tojson }}[/T]{% endif %}[I] "
    "{% if loop.last and own is defined %}{{ own }}\n\n{% endif %}{{ m.content }}[/I]{% elif m.tool_calls %}[C]{% for call in m.tool_calls %}"
    "{% if call.id | length != 9 %}{{ raise_exception('ids have nine characters') }}{% endif %}{{ call.function | tojson }}{% endfor %}"
    "{% elif m.role == 'assistant' %}{{ m.content }}{{ eos_token }}{% elif m.role == 'tool' %}[R]{{ m.content }}[/R]"
    "{% else %}{{ raise_exception('Who?') }}{% endif %}{% endfor %}"
)
EVERYBODY = ["system", "user", "assistant", "tool", "developer"]
Row = tuple[str, str, str, list[str], bool, bool, bool]
#: Template, its file, then: what becomes of a system message, roles, alternation, tools, thinking.
MODELS: dict[str, Row] = {
    "Gemma 2B IT": (GEMMA, "tokenizer_config.json", "rejected", ["user", "assistant", "tool"], True, False, False),
    "Phi-3 mini": (PHI, "tokenizer_config.json", "separate", ["system", "user", "assistant"], False, False, False),
    "Llama 3": (LLAMA, "tokenizer_config.json", "separate", EVERYBODY, False, False, False),
    "Qwen 2.5": (QWEN.replace("THOUGHTS", "").replace("SWITCH", ""), "tokenizer_config.json", "separate", EVERYBODY[:4], False, True, False),
    "Qwen 3": (QWEN_THINKS, "tokenizer_config.json", "separate", EVERYBODY[:4], False, True, True),
    "Mistral 7B v0.2": (MISTRAL, "tokenizer_config.json", "rejected", ["user", "assistant"], True, False, False),
    "Mistral with tools": (MISTRAL_TOOLS, "chat_template.jinja", "merged", EVERYBODY[:4], True, True, False),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_detected_and_from_which_file(tmp_path: Path, name: str) -> None:
    template, file, handling, roles, alternates, tools, thinks = MODELS[name]
    config: dict[str, t.Any] = {"bos_token": "<s>", "eos_token": "</s>"}
    if file == "tokenizer_config.json":
        config["chat_template"] = template
    else:
        (tmp_path / file).write_text(template)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    facts = read_facts(str(tmp_path), sorted(path.name for path in tmp_path.iterdir()))
    names = ("chat_template_file", "system_handling", "allowed_roles", "requires_alternation", "supports_tools", "supports_thinking")
    assert tuple(facts.detected[item] for item in names) == (file, handling, roles, alternates, tools, thinks)
    assert facts.detected["supports_system_role"] is (handling != "rejected") and facts.warnings == ()


def test_the_table_in_the_docs_says_the_same() -> None:
    text = (ROOT / "docs/capabilities.md").read_text(encoding="utf-8")
    for name, (dummy, file, handling, roles, alternates, tools, thinks) in MODELS.items():
        cells = [name, f"`{file}`", handling, ", ".join(roles), *("yes" if value else "no" for value in (alternates, tools, thinks))]
        assert f"| {' | '.join(cells)} |" in text, name
