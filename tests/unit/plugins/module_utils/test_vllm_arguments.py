# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words for vLLM, and what they refuse."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.compatibility import Device
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.memory_estimate import GIB
from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts
from ansible_collections.venom.llm.plugins.module_utils.vllm_arguments import gib_to_bytes, prepare
from ansible_collections.venom.llm.tests.unit.plugins.module_utils import model_samples as samples

LLAMA = samples.facts_of(samples.LLAMA_31_8B, 16_060_522_496)
H100, L4, T4 = Device("H100", 80 * GIB, 90), Device("L4", 22 * GIB, 89), Device("T4", 15 * GIB, 75)


def words(facts: ModelFacts, **options: t.Any) -> list[str]:
    return list(prepare("a/b", facts, **options).words)


def test_where_everything_fits_nothing_has_to_be_said() -> None:
    assert words(LLAMA, device=H100) == []
    assert words(ModelFacts()) == []


def test_the_longest_context_that_fits() -> None:
    found = words(LLAMA, device=L4)
    assert found[0] == "--max-model-len" and 30_000 < int(found[1]) < 40_000
    assert words(LLAMA, device=L4, context=int(found[1])) == found
    with pytest.raises(VenomError) as caught:
        words(LLAMA, device=L4, context=int(found[1]) + 16)
    assert caught.value.reason_code == "insufficient_memory"


def test_what_is_asked_for() -> None:
    found = words(LLAMA, device=L4, devices=2, kv_dtype="fp8", utilization=0.85, dtype="float16")
    assert found == ["--dtype", "float16", "--tensor-parallel-size", "2", "--kv-cache-dtype", "fp8", "--gpu-memory-utilization", "0.85"]
    assert words(samples.facts_of(samples.LLAMA_2_7B, 10**6), device=H100, quantization="fp8") == ["--quantization", "fp8"]
    assert words(samples.facts_of(samples.QWEN_3_235B, 10**6), device=H100, quantization="fp8") == []


def test_weights_that_are_quantised_while_they_load_fit_better() -> None:
    large = samples.facts_of(samples.QWEN_25_32B, 65_527_752_704)
    a6000 = Device("A6000", 48 * GIB, 86)
    with pytest.raises(VenomError) as caught:
        words(large, device=a6000, context=4096)
    assert caught.value.reason_code == "insufficient_memory"
    for name in ("fp8", "mxfp4"):
        assert words(large, device=a6000, context=4096, quantization=name) == ["--quantization", name, "--max-model-len", "4096"]


def test_a_type_that_the_gpu_calculates_in() -> None:
    small = samples.facts_of(samples.QWEN_25_14B_DISTILL, 10**6)
    assert words(small, device=T4)[:2] == ["--dtype", "float16"]
    gemma = samples.facts_of(dict(samples.GEMMA_3_27B), 10**6)
    assert words(gemma, device=T4)[:2] == ["--dtype", "float32"]
    for options in ({"dtype": "bfloat16", "device": T4}, {"dtype": "int8"}, {"dtype": "float16", "facts": gemma}):
        with pytest.raises(VenomError) as caught:
            prepare("a/b", options.pop("facts", small), **options)  # type: ignore[arg-type]
        assert caught.value.details["option"] == "dtype"


def test_quantisation_is_what_the_weights_are() -> None:
    awq = samples.facts_of(dict(samples.LLAMA_2_7B, quantization_config={"quant_method": "awq", "bits": 4}), 10**6)
    assert words(awq, device=H100) == [] == words(awq, device=H100, quantization="awq")
    for facts, quantization in ((awq, "fp8"), (LLAMA, "awq"), (LLAMA, "brand_new")):
        with pytest.raises(VenomError) as caught:
            prepare("a/b", facts, device=H100, quantization=quantization)
        assert caught.value.details["option"] == "quantization"
    with pytest.raises(VenomError) as refused:
        prepare("a/b", samples.facts_of(dict(samples.LLAMA_2_7B, quantization_config={"quant_method": "mxfp4"})), device=T4)
    assert refused.value.reason_code == "incompatible_quantization"


def test_a_processor() -> None:
    found = prepare("a/b", LLAMA, cpu_memory=24 * GIB)
    assert found.words[0] == "--max-model-len" and found.estimate is not None and found.estimate.workload.platform == "cpu"
    with pytest.raises(VenomError):
        prepare("a/b", LLAMA, cpu_memory=8 * GIB)
    assert gib_to_bytes(0.5) == GIB // 2 and gib_to_bytes(None) is None
