# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of memory, chat templates and requests, against a real vLLM. Two starts of the server; each template goes with its request."""
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from vllm_server import Server, allocated, serving

from ansible_collections.venom.llm.plugins.module_utils.capabilities import from_chat_template, read_facts
from ansible_collections.venom.llm.plugins.module_utils.chat_folding import fold
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.generation_mapping import map_parameters
from ansible_collections.venom.llm.plugins.module_utils.http_probe import Answer
from ansible_collections.venom.llm.plugins.module_utils.memory_estimate import WORKER_OVERHEAD, Estimate, Workload, estimate
from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts, read_model_facts
from ansible_collections.venom.llm.plugins.module_utils.model_files import local_files, sizes_in
from ansible_collections.venom.llm.plugins.module_utils.system_role import compare, probe
from ansible_collections.venom.llm.plugins.module_utils.vllm_arguments import prepare
from lab import models

pytestmark = pytest.mark.vllm

SERVED = "tiny"
USER = {"role": "user", "content": "Hello"}
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}
TOOLS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
TURNS = "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
SAID = "<|{{ m.role }}|>{{ m.content }}<|end|>"
END = "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
SPLIT = (
    "{% if messages[0].role == 'system' %}{% set head = messages[0].content %}{% set messages = messages[1:] %}"
    "{% else %}{% set head = '' %}{% endif %}"
)
REFUSES = "{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
EVERY = "{% for m in messages %}"
#: Templates in the manners of real ones, with what becomes of a system message and whether user, user is refused.
TEMPLATES: dict[str, tuple[str, str, bool]] = {
    "every role": (EVERY + SAID + END, "separate", False),
    "alternating, system first": (SPLIT + "<|system|>{{ head }}" + TURNS + SAID + END, "separate", True),
    "default system text": (SPLIT + "<|system|>{{ head or 'You are a ship.' }}" + EVERY + SAID + END, "separate", False),
    "merged into the user's turn": (
        SPLIT + TURNS + "<|{{ m.role }}|>{% if loop.first %}{{ head }}\n\n{% endif %}{{ m.content }}<|end|>" + END,
        "merged",
        True,
    ),
    "merged by a macro": (
        "{% macro turn(role, text) %}<|{{ role }}|>{{ text | trim }}<|end|>{% endmacro %}" + SPLIT + EVERY
        + "{{ turn(m.role, (head ~ ' ' if loop.first else '') ~ m.content) }}" + END,
        "merged",
        False,
    ),
    "dropped by a filter": (EVERY.replace(" %}", " if m.role != 'system' %}") + SAID + END, "dropped", False),
    "dropped by else": (EVERY + "{% if m.role in ('user', 'assistant') %}" + SAID + "{% endif %}" + END, "dropped", False),
    "dropped by slicing": (SPLIT + TURNS + SAID + END, "dropped", True),
    "only the last message": ("<|user|>{{ messages[-1].content }}<|end|><|assistant|>", "dropped", False),
    "refused in words": (EVERY + REFUSES + SAID + END, "rejected", False),
    "refused by alternation": (TURNS + SAID + END, "rejected", True),
    "refused by a fault": (EVERY + "{% if m.role == 'system' %}{{ m.content + 1 }}{% endif %}" + SAID + END, "rejected", False),
    "with loop controls": (EVERY + "{% if m.role == 'system' %}{% continue %}{% endif %}" + SAID + END, "dropped", False),
    "with namespace and generation": (
        "{% set ns = namespace(head='') %}" + EVERY + "{% if m.role == 'system' %}{% set ns.head = m.content %}{% endif %}{% endfor %}"
        "{{ ns.head }}" + EVERY + "{% if m.role != 'system' %}<|{{ m.role }}|>{% generation %}{{ m.content }}{% endgeneration %}{% endif %}" + END,
        "separate",
        False,
    ),
}  # fmt: skip


def facts_of(folder: Path) -> ModelFacts:
    return read_model_facts(local_files(str(folder), sizes_in(str(folder), [path.name for path in folder.iterdir()])))


def expected(facts: ModelFacts, context: int) -> Estimate:
    return estimate(facts, Workload(context, platform="cpu"))


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[tuple[Server, Path]]:
    """A model that refuses the system role, with fewer heads for keys than for queries and a cache of fixed size, as its facts say."""
    root = tmp_path_factory.mktemp("grouped")
    folder = models.llama(root / "model", kv_heads=2, head_dim=64, pad_mb=100, system_role=False)
    words = prepare("tiny", facts_of(folder), context=256, cpu_memory=8 * 2**30).words
    assert words == ("--max-model-len", "256")
    with serving(folder, root / "home", [*words, "--enforce-eager", *TOOLS, "--trust-request-chat-template"], VLLM_CPU_KVCACHE_SPACE="1") as server:
        yield server, folder


def test_a_cache_of_fixed_size(grouped: tuple[Server, Path]) -> None:
    server, folder = grouped
    found, said = expected(facts_of(folder), 256), allocated(server.log)
    assert said.cache == 2**30
    assert found.cache_per_token * said.tokens == pytest.approx(said.cache, rel=0.1)
    assert found.cache * said.tokens / 256 == pytest.approx(said.cache, rel=0.1)
    assert found.weights == pytest.approx(said.checkpoint, rel=0.1)


def test_requests_of_the_filters_are_accepted(grouped: tuple[Server, Path]) -> None:
    server = grouped[0]
    refused = {"supports_system_role": False, "requires_alternation": True}
    system = {"role": "system", "content": "Be brief."}
    assert server.chat(messages=[system, USER]).status == 400
    assert server.chat(messages=fold([system, USER, USER], refused)).status == 200
    accepted: list[dict[str, t.Any]] = [
        {"temperature": 0, "max_tokens": 4, "top_p": 1, "top_k": 0, "min_p": 0, "repeat_penalty": 1, "seed": 0},
        {"temperature": 2, "top_p": 0.01, "top_k": 50, "min_p": 1, "repeat_penalty": 1.8, "seed": -(2**63), "stop": ["a", "b", "c", "d"]},
        {"seed": 2**63 - 1, "stop": "###", "think": False, "max_tokens": 8},
        {"think": "low"},
        {"tools": [ADD], "tool_choice": "auto"},
        {"tools": [ADD]},
        {"tools": [ADD], "tool_choice": "none"},
        {"format": "json", "max_tokens": 8},
        {"format": {"type": "object", "properties": {"a": {"type": "integer"}}}, "max_tokens": 8},
        {"response_format": {"type": "text"}},
    ]
    for wanted in accepted:
        answer = server.chat(messages=[USER], **map_parameters(wanted, "vllm").body)
        assert answer.status == 200, (wanted, answer.text(400))


def test_what_the_filter_refuses_the_server_refuses(grouped: tuple[Server, Path]) -> None:
    """The ranges are the server's own: one step outside them, and both say no."""
    server = grouped[0]
    names = {"repeat_penalty": "repetition_penalty"}
    for name, value in (("temperature", -0.1), ("temperature", 2.1), ("top_p", 0.0), ("top_p", 1.1), ("min_p", 1.1), ("repeat_penalty", 0.0),
                        ("max_tokens", 0), ("seed", 2**63)):  # fmt: skip
        with pytest.raises(VenomError):
            map_parameters({name: value}, "vllm")
        assert server.chat(messages=[USER], **{names.get(name, name): value}).status == 400, name


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_server_does_with_a_system_message_what_is_said_of_the_template(grouped: tuple[Server, Path], name: str) -> None:
    server, (text, handling, alternates) = grouped[0], TEMPLATES[name]
    able = from_chat_template(text, bos_token="<|bos|>", eos_token="<|eos|>")
    assert (able.system_handling, able.requires_alternation, able.warning) == (handling, alternates, None)

    # By the prompt itself, and by what a completion of one token counts: both agree, and the record needs no correction.
    by_prompt = probe(lambda path, body: server.post(path, body, text), SERVED)
    by_count = probe(lambda path, body: server.post(path, body, text) if path != "/tokenize" else Answer(404, b"", 0.0), SERVED)
    said = handling if handling in ("dropped", "rejected") else "accepted"
    assert (by_prompt.handling, by_prompt.endpoint) == (said, "/tokenize"), by_prompt
    assert (by_count.handling, by_count.endpoint) == (said, "/v1/chat/completions"), by_count
    recorded = {"supports_system_role": {"value": able.supports_system_role, "source": "detected"}}
    assert compare(by_prompt, recorded, SERVED) == compare(by_count, recorded, SERVED)
    assert compare(by_prompt, recorded, SERVED).warning is None

    twice = server.post("/v1/chat/completions", {"messages": [USER, USER], "max_tokens": 1}, text)
    assert twice.status == (400 if able.requires_alternation else 200), twice.text()


def test_the_models_own_template_is_what_its_folder_says(grouped: tuple[Server, Path]) -> None:
    server, folder = grouped
    facts = read_facts(str(folder), sorted(path.name for path in folder.iterdir()))
    assert facts.detected["chat_template_file"] == "tokenizer_config.json" and facts.detected["system_handling"] == "rejected"
    found = probe(server.post, SERVED)
    assert found.handling == "rejected" and facts.detected["system_role_error"] in str(found.error)
    wrong = compare(found, {"supports_system_role": {"value": True, "source": "detected"}}, SERVED)
    assert wrong.probed["supports_system_role"] is False and "refuses system messages" in str(wrong.warning)


def test_a_cache_of_what_is_left(tmp_path: Path) -> None:
    folder = models.llama(tmp_path / "model", kv_heads=4, head_dim=128, pad_mb=900)
    with serving(folder, tmp_path / "home", ["--max-model-len", "512", "--enforce-eager", "--gpu-memory-utilization", "0.25"]) as server:
        said = allocated(server.log)
    found = expected(facts_of(folder), 512)
    assert found.cache_per_token * said.tokens == pytest.approx(said.cache, rel=0.1)
    assert found.weights == pytest.approx(said.checkpoint, rel=0.1)
    assert said.beside_cache is not None
    assert found.weights + WORKER_OVERHEAD == pytest.approx(said.beside_cache, rel=0.1)
