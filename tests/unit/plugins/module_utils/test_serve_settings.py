# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings as the servers read them."""
from __future__ import annotations

import pytest

from ansible_collections.venom.llm.plugins.module_utils.memory_estimate import GIB
from ansible_collections.venom.llm.plugins.module_utils.serve_settings import ServeSettings, number, of_ollama, of_vllm, of_vllm_file


def test_nothing_set_is_the_servers_default() -> None:
    assert of_vllm([], {}) == ServeSettings() == of_vllm_file({"VENOM_VLLM_ARGS": "'unclosed"})


def test_words_in_every_spelling() -> None:
    words = ["--max-model-len", "32K", "--kv_cache_dtype=fp8", "-tp", "2", "--gpu-memory-utilization", "0.8", "--dtype", "half", "-q", "fp8"]
    found = of_vllm([*words, "--max-num-seqs=64", "--max-num-batched-tokens", "4096", "--unknown", "--enforce-eager"], {})
    assert (found.context, found.kv_dtype, found.tensor_parallel, found.utilization, found.dtype) == (32768, "fp8", 2, 0.8, "half")
    assert (found.sequences, found.batched_tokens, found.quantization, found.cache_room) == (64, 4096, "fp8", None)
    load = of_vllm(["-tp", "2", "-pp", "3", "-q", "FP8"], {}).workload(4096, "cuda")
    assert (load.tensor_parallel, load.pipeline_parallel, load.devices, load.quantization) == (2, 3, 6, "fp8")
    assert [of_vllm(["--max-model-len", text], {}).auto_context for text in ("auto", "-1", "4096")] == [True, True, False]


def test_a_fixed_cache() -> None:
    assert of_vllm([], {"VLLM_CPU_KVCACHE_SPACE": "4"}).cache_room == 4 * GIB
    assert of_vllm([], {"VLLM_CPU_KVCACHE_SPACE": "0"}).cache_room is None
    assert of_vllm(["--kv-cache-memory-bytes", "2G"], {"VLLM_CPU_KVCACHE_SPACE": "4"}).cache_room == 2 * GIB


def test_what_makes_no_sense_is_left_out() -> None:
    words = ["--max-model-len", "long", "--gpu-memory-utilization", "7", "--tensor-parallel-size", "x", "--max-num-seqs"]
    assert of_vllm(words, {"VLLM_CPU_KVCACHE_SPACE": "much"}) == ServeSettings()


def test_a_file_of_the_role() -> None:
    assert of_vllm_file({"VENOM_VLLM_ARGS": "--max-model-len 256 --enforce-eager"}).context == 256


def test_ollama() -> None:
    full = {"OLLAMA_CONTEXT_LENGTH": "32768", "OLLAMA_NUM_PARALLEL": "2", "OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "1"}
    found = of_ollama(full)
    assert (found.context, found.parallel, found.kv_dtype) == (32768, 2, "q8_0")
    assert of_ollama(dict(full, OLLAMA_FLASH_ATTENTION="0")).kv_dtype == "f16"
    nothing = of_ollama({"OLLAMA_CONTEXT_LENGTH": "0", "OLLAMA_NUM_PARALLEL": "0"})
    assert (nothing.context, nothing.parallel, nothing.kv_dtype) == (4096, 1, "f16")


@pytest.mark.parametrize(
    ("text", "value"),
    [("32k", 32_000), ("32K", 32_768), ("1.5k", 1500), ("7", 7), ("0", None), ("-1", None), ("", None), ("9" * 30, None), (None, None)],
)
def test_numbers(text: str | None, value: int | None) -> None:
    assert number(text) == value
