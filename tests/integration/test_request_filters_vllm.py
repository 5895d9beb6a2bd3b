# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of chat templates and requests against one real vLLM: each template goes with its request.

``VENOM_TEST_VLLM_PYTHON`` names the interpreter of a venv with vLLM (CPU build); the test fails without it.
"""
from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import http_probe
from ansible_collections.venom.llm.plugins.module_utils.capabilities import from_chat_template, read_facts
from ansible_collections.venom.llm.plugins.module_utils.http_probe import Answer
from ansible_collections.venom.llm.plugins.module_utils.system_role import compare, probe
from lab import models

pytestmark = pytest.mark.vllm

SERVED = "tiny"
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


class Server:
    """A running vLLM that takes templates with requests."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port

    def post(self, path: str, body: dict[str, t.Any], template: str | None = None) -> Answer:
        sent = dict(body, model=SERVED, **({"chat_template": template} if template else {}))
        return http_probe.request("127.0.0.1", self.port, path, sent, timeout=30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Server]:
    """One server for all tests of this file."""
    python = os.environ.get("VENOM_TEST_VLLM_PYTHON")
    if not python:
        pytest.fail("VENOM_TEST_VLLM_PYTHON does not name the interpreter of a venv with vLLM")
    root = tmp_path_factory.mktemp("filters")
    folder = models.llama(root / "model", reply="Aye aye.", system_role=False)
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        port = int(probe_socket.getsockname()[1])
    arguments = ["--max-model-len", "512", "--enforce-eager", "--trust-request-chat-template"]
    environment = dict(
        os.environ, HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_CPU_KVCACHE_SPACE="1", HOME=str(root), VLLM_CACHE_ROOT=str(root / "vllm")
    )
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--served-model-name", SERVED]
            + ["--host", "127.0.0.1", "--port", str(port), *arguments],
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    try:
        _wait(process, port, root / "log")
        yield Server(folder, port)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until and process.poll() is None:
        try:
            if http_probe.request("127.0.0.1", port, "/health", timeout=2).status == 200:
                return
        except http_probe.ProbeFailed:
            time.sleep(0.5)
    pytest.fail(f"vLLM did not start:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_server_does_with_a_system_message_what_is_said_of_the_template(server: Server, name: str) -> None:
    text, handling, alternates = TEMPLATES[name]
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

    user = {"role": "user", "content": "Hello"}
    twice = server.post("/v1/chat/completions", {"messages": [user, user], "max_tokens": 1}, text)
    assert twice.status == (400 if able.requires_alternation else 200), twice.text()


def test_the_models_own_template_is_what_its_folder_says(server: Server) -> None:
    facts = read_facts(str(server.folder), sorted(path.name for path in server.folder.iterdir()))
    assert facts.detected["chat_template_file"] == "tokenizer_config.json" and facts.detected["system_handling"] == "rejected"
    found = probe(server.post, SERVED)
    assert found.handling == "rejected" and facts.detected["system_role_error"] in str(found.error)
    wrong = compare(found, {"supports_system_role": {"value": True, "source": "detected"}}, SERVED)
    assert wrong.probed["supports_system_role"] is False and "refuses system messages" in str(wrong.warning)
