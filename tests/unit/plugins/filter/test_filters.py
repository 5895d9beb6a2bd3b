# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters as Ansible's templates call them."""
from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.venom.llm.plugins.filter import chat_messages, generation_params, vllm_arguments, vram_estimate
from ansible_collections.venom.llm.plugins.plugin_utils import filters
from ansible_collections.venom.llm.tests.unit.plugins.module_utils import model_samples as samples

RECORD = {"name": "a/b", "facts": samples.facts_of(samples.LLAMA_31_8B, 16_060_522_496).to_dict(), "capabilities": {}}


@pytest.mark.parametrize("plugin", [chat_messages, generation_params, vllm_arguments, vram_estimate])
def test_each_file_has_the_filter_of_its_name(plugin: t.Any) -> None:
    assert list(plugin.FilterModule().filters()) == [plugin.__name__.rpartition(".")[2]]


def test_what_they_give() -> None:
    folded = chat_messages.chat_messages([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}], {"supports_system_role": False})
    assert folded == [{"role": "user", "content": "Instructions: a\n\nb"}]
    assert vram_estimate.vram_estimate(RECORD, context=4096)["cache_bytes"] == 4096 * 131072
    assert vllm_arguments.vllm_arguments(RECORD, gpu_memory_gib=80, compute_capability="9.0") == []


def test_warnings_reach_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(filters.Display, "warning", lambda self, text: shown.append(text))
    assert generation_params.generation_params({"top_k": 5, "temperature": 1}, "openai") == {"temperature": 1}
    assert shown == ["top_k is left out: the OpenAI API has no such parameter"]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: chat_messages.chat_messages(5), "venom.llm.chat_messages: invalid_option: "),
        (lambda: generation_params.generation_params({"temperature": 9}, "vllm"), "venom.llm.generation_params: invalid_option: "),
        (lambda: vram_estimate.vram_estimate({}), "venom.llm.vram_estimate: invalid_option: "),
        (lambda: vllm_arguments.vllm_arguments(RECORD, gpu_memory_gib=8), "venom.llm.vllm_arguments: insufficient_memory: "),
    ],
)
def test_refusals_begin_with_filter_and_reason(call: t.Callable[[], t.Any], expected: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        call()
    assert str(caught.value).startswith(expected)
