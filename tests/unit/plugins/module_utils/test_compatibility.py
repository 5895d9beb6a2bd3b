# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is certain to fail is refused with its reason; what nobody knows is not."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.compatibility import Device, Host, Verdict, gpu_tag, judge, requires_gpu
from ansible_collections.venom.llm.plugins.module_utils.memory_estimate import GIB
from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts
from ansible_collections.venom.llm.plugins.module_utils.serve_settings import ServeSettings, of_vllm
from ansible_collections.venom.llm.tests.unit.plugins.module_utils import model_samples as samples

T4, L4, H100 = Device("T4", 15 * GIB, 75), Device("L4", 22 * GIB, 89), Device("H100", 80 * GIB, 90)
V100, A100 = Device("V100", 32 * GIB, 70), Device("A100", 80 * GIB, 80)
LLAMA = samples.facts_of(samples.LLAMA_31_8B, 16_060_522_496)
SMALL = samples.facts_of(samples.LLAMA_2_7B, 10**6)


def quantized(**config: t.Any) -> ModelFacts:
    return samples.facts_of(dict(samples.LLAMA_2_7B, quantization_config=config), 4 * 10**9)


def decide(facts: ModelFacts, host: Host, runtime: str = "vllm", **settings: t.Any) -> Verdict:
    return judge("a/b", facts, runtime, host, ServeSettings(**settings))


def codes(verdict: Verdict) -> list[str]:
    return [problem.reason_code for problem in verdict.problems]


def gpus(*devices: Device) -> Host:
    return Host(devices=devices, memory=64 * GIB, version="0.32.0", cpu=False)


def grouped(weights: str, inputs: str | None, bits: int = 8, **others: t.Any) -> ModelFacts:
    """Weights as compressed-tensors stores them, with the types of weights and activations."""
    group = {"weights": {"num_bits": bits, "type": weights}, "input_activations": inputs and {"num_bits": 8, "type": inputs}, **others}
    return quantized(quant_method="compressed-tensors", config_groups={"group_0": group})


CPU = Host(memory=64 * GIB, available=60 * GIB, version="0.32.0", cpu=True)


def test_a_model_that_fits_is_let_through() -> None:
    verdict = decide(LLAMA, gpus(H100))
    assert (codes(verdict), verdict.warnings) == ([], ())
    assert verdict.estimate is not None and verdict.estimate.total < 80 * GIB


def test_the_refusal_has_the_arithmetic_and_what_would_fit() -> None:
    error = decide(LLAMA, gpus(L4, L4, L4, L4)).problems[0]
    assert error.reason_code == "insufficient_memory"
    assert "weights 14.96 GiB" in error.wanted and "x 131072 tokens" in error.wanted
    assert "22.00 GiB x 0.92 = 20.24 GiB" in error.found
    assert "--max-model-len" in error.todo and "--tensor-parallel-size 2" in error.todo
    length = int(error.todo.split("--max-model-len ")[1].split(")")[0])
    assert codes(decide(LLAMA, gpus(L4), context=length)) == []
    assert codes(decide(LLAMA, gpus(L4), context=length + 16)) == ["insufficient_memory"]
    assert codes(decide(LLAMA, gpus(L4, L4), tensor_parallel=2)) == []
    assert error.details["room_bytes"] == int(22 * GIB * 0.92) and error.details["estimate"]["total_bytes"] > 20 * GIB


def test_another_type_of_the_cache_is_named_where_it_helps() -> None:
    error = decide(LLAMA, gpus(L4), context=40_000).problems[0]
    assert "--kv-cache-dtype fp8" in error.todo
    assert codes(decide(LLAMA, gpus(L4), context=40_000, kv_dtype="fp8")) == []


def test_nothing_that_would_fit_is_said_too() -> None:
    error = decide(samples.facts_of(samples.LLAMA_31_405B, 810 * 10**9), gpus(T4)).problems[0]
    assert error.reason_code == "insufficient_memory" and error.todo.startswith("choose a smaller model")


@pytest.mark.parametrize(
    ("facts", "device", "refused"),
    [
        (quantized(quant_method="awq"), T4, False),
        (quantized(quant_method="mxfp4"), T4, True),
        (quantized(quant_method="mxfp4"), H100, False),
        (quantized(quant_method="fp8"), V100, True),
        (quantized(quant_method="fp8"), Device("unknown", 32 * GIB, None), False),
        (quantized(quant_method="bitsandbytes", load_in_4bit=True), H100, True),
        (quantized(quant_method="brand_new"), H100, False),
        (quantized(quant_method="gptq_marlin"), V100, False),
        (quantized(quant_method="modelopt", quant_algo="MIXED_PRECISION"), T4, False),
        (grouped("float", "float"), A100, False),
        (grouped("float", "float"), T4, False),
        (grouped("float", "float"), V100, True),
        (grouped("float", "float", 4), A100, False),
        (grouped("int", "float", 4), T4, False),
        (grouped("int", "int"), V100, True),
        (grouped("int", "int", output_activations={"num_bits": 8, "type": "int"}), V100, False),
    ],
)  # fmt: skip
def test_quantisation_against_the_gpu(facts: ModelFacts, device: Device, refused: bool) -> None:
    assert codes(decide(facts, gpus(device))) == (["incompatible_quantization"] if refused else [])


def test_what_needs_a_gpu_is_refused_on_a_processor_and_tagged() -> None:
    nvfp4 = quantized(quant_method="modelopt", quant_algo="NVFP4")
    assert codes(decide(nvfp4, CPU)) == ["gpu_required"]
    assert (gpu_tag(nvfp4, "vllm"), gpu_tag(SMALL, "vllm"), gpu_tag(ModelFacts(), "vllm")) == ("gpu_required", "cpu_ok", None)
    assert requires_gpu(nvfp4, "ollama") is False
    assert requires_gpu(quantized(quant_method="brand_new"), "vllm") is None
    for facts in (quantized(quant_method="awq"), quantized(quant_method="modelopt", quant_algo="FP8"), quantized(quant_method="quark")):
        assert codes(decide(facts, CPU)) == []


def test_gpus_that_are_not_there() -> None:
    assert codes(decide(SMALL, Host(cpu=False, version="0.32.0"))) == ["gpu_required"]
    assert codes(decide(SMALL, gpus(H100), tensor_parallel=2)) == ["gpu_required"]
    assert codes(decide(SMALL, Host(cpu=None))) == []
    assert "cannot be shared by 3" in " ".join(decide(SMALL, gpus(H100, H100, H100), tensor_parallel=3).warnings)


def named(architecture: str, **others: t.Any) -> ModelFacts:
    return samples.facts_of(dict(samples.LLAMA_2_7B, architectures=[architecture], **others), 10**6)


def test_architectures() -> None:
    assert codes(decide(named("NeverHeardOfForCausalLM"), gpus(H100))) == ["incompatible_architecture"]
    gone = decide(named("QWenLMHeadModel"), gpus(H100)).problems[0]
    assert "until 0.23.0" in gone.found and "install vLLM 0.23.0" in gone.todo
    assert codes(decide(named("Qwen3ForSequenceClassification"), gpus(H100))) == []
    backend = decide(named("HeliumForCausalLM"), gpus(H100))
    assert codes(backend) == [] and "Transformers backend" in backend.warnings[0]
    code = decide(named("OwnForCausalLM", auto_map={"AutoModel": "x"}), gpus(H100))
    assert codes(code) == [] and "--trust-remote-code" in code.warnings[0]


@pytest.mark.parametrize("version", [None, "0.40.0", "garbled"])
def test_a_list_of_another_release_refuses_nothing(version: str | None) -> None:
    host = Host(devices=(H100,), cpu=False, version=version)
    for facts in (named("NeverHeardOfForCausalLM"), quantized(quant_method="bitsandbytes"), ModelFacts(formats=("gguf",))):
        verdict = decide(facts, host)
        assert codes(verdict) == [] and verdict.warnings


def test_gguf_for_vllm() -> None:
    facts = ModelFacts(formats=("gguf",), architectures=("llama",), weight_bytes=10**6)
    assert codes(decide(facts, gpus(H100))) == ["incompatible_quantization"]
    assert codes(decide(facts, Host(devices=(H100,), cpu=False, version="0.32.0", has_gguf_plugin=True))) == []


def test_a_processor_is_measured_by_its_memory() -> None:
    tight = Host(memory=12 * GIB, available=10 * GIB, version="0.32.0", cpu=True)
    error = decide(LLAMA, tight).problems[0]
    assert error.reason_code == "insufficient_memory" and "12.00 GiB of memory x 0.92" in error.found
    busy = Host(memory=64 * GIB, available=4 * GIB, version="0.32.0", cpu=True)
    verdict = decide(LLAMA, busy, context=4096)
    assert codes(verdict) == [] and "something has to stop first" in verdict.warnings[0]


def test_a_fixed_cache_has_to_hold_one_request() -> None:
    error = decide(LLAMA, CPU, cache_room=GIB).problems[0]
    assert error.reason_code == "insufficient_memory" and "VLLM_CPU_KVCACHE_SPACE" in error.todo
    length = int(error.todo.split("--max-model-len ")[1])
    assert length == 8192 and codes(decide(LLAMA, CPU, cache_room=GIB, context=length)) == []
    assert codes(decide(LLAMA, Host(memory=20 * GIB, cpu=True), cache_room=16 * GIB, context=512)) == ["insufficient_memory"]


def test_weights_that_are_quantised_while_they_load_take_what_is_left_of_them() -> None:
    one = Host(devices=(Device("A6000", 48 * GIB, 86),), memory=64 * GIB, version="0.32.0", cpu=False)
    large = samples.facts_of(samples.QWEN_25_32B, 65_527_752_704)
    assert codes(decide(large, one, context=4096)) == ["insufficient_memory"] == codes(decide(large, one, context=4096, quantization="awq"))
    fitting = decide(large, one, context=4096, quantization="fp8")
    assert codes(fitting) == [] and fitting.estimate is not None and "brought to fp8 while they load" in fitting.estimate.lines[0]
    # Only experts: a model that has none keeps its weights as they are.
    assert codes(decide(large, one, context=4096, quantization="experts_int8")) == ["insufficient_memory"]


@pytest.mark.parametrize("length", ["auto", "-1", "AUTO"])
def test_a_context_that_vllm_fits_itself(length: str) -> None:
    settings = of_vllm(["--max-model-len", length], {})
    assert codes(decide(LLAMA, gpus(L4))) == ["insufficient_memory"]
    verdict = judge("a/b", LLAMA, "vllm", gpus(L4), settings)
    assert codes(verdict) == [] and verdict.estimate is not None and 30_000 < verdict.estimate.workload.context < 40_000
    # Not a whole block of cache fits beside the weights, so neither does vLLM find a length.
    assert codes(judge("a/b", LLAMA, "vllm", gpus(T4), settings)) == ["insufficient_memory"]
    assert judge("a/b", LLAMA, "vllm", gpus(H100), settings).estimate == decide(LLAMA, gpus(H100)).estimate
    fixed = judge("a/b", LLAMA, "vllm", CPU, of_vllm([f"--max-model-len={length}"], {"VLLM_CPU_KVCACHE_SPACE": "1"}))
    assert codes(fixed) == [] and fixed.estimate is not None and fixed.estimate.workload.context == 8192


FP8_CACHE = {"num_bits": 8, "type": "float", "dynamic": False, "strategy": "tensor", "symmetric": True}


@pytest.mark.parametrize(
    "stored",
    [
        {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": FP8_CACHE},
        {"quant_method": "modelopt", "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}},
        {"quant_method": "compressed-tensors", "config_groups": {}, "kv_cache_scheme": FP8_CACHE},
    ],
)
def test_a_cache_that_the_checkpoint_says_the_type_of(stored: dict[str, t.Any]) -> None:
    config = dict(samples.LLAMA_31_8B, quantization_config=stored)
    facts = ModelFacts.from_dict(samples.facts_of(config, 9 * 10**9).to_dict())
    assert codes(decide(facts, gpus(L4))) == []
    assert codes(decide(facts, gpus(L4), kv_dtype="bfloat16")) == ["insufficient_memory"]


def test_stages_share_the_layers_and_devices_of_a_stage_the_heads() -> None:
    """405B on 2 x 8 GPUs: a device has one of 8 heads in half of the layers."""
    load = of_vllm(["-tp", "8", "-pp", "2"], {})
    large = samples.facts_of(samples.LLAMA_31_405B, 810 * 10**9)
    found = judge("a/b", large, "vllm", gpus(*[H100] * 16), load).estimate
    assert found is not None and found.cache == 63 * 256 * 2 * 131072 and found.weights == 810 * 10**9 // 16
    tight = Device("x", 64 * GIB, 90)
    assert codes(judge("a/b", large, "vllm", gpus(*[tight] * 16), load)) == []
    error = judge("a/b", large, "vllm", gpus(*[L4] * 4), of_vllm(["-tp", "2", "-pp", "2"], {})).problems[0]
    assert "on each of 4 devices" in error.wanted and "63 layers x 4 heads" in error.wanted
    latent = samples.facts_of(samples.DEEPSEEK_V3, 10**9)
    one, two = (judge("a/b", latent, "vllm", gpus(H100, H100), of_vllm(["-pp", count], {})).estimate for count in ("1", "2"))
    assert one is not None and two is not None and two.cache == one.cache * 31 // 61


def test_a_context_beyond_the_model_is_told() -> None:
    assert "vLLM refuses that" in decide(SMALL, gpus(H100), context=100_000).warnings[0]


def test_ollama_has_both_memories() -> None:
    facts = samples.facts_of(samples.LLAMA_31_8B, 16_060_522_496)
    small = Host(devices=(T4,), memory=16 * GIB)
    spilled = decide(facts, small, "ollama", context=8192)
    assert codes(spilled) == [] and "some layers on the processor" in spilled.warnings[0]
    error = decide(facts, Host(memory=18 * GIB), "ollama", context=65_536, parallel=2).problems[0]
    assert error.reason_code == "insufficient_memory" and "OLLAMA_CONTEXT_LENGTH" in error.todo
    room = Host(memory=25 * GIB)
    hints = decide(facts, room, "ollama", context=65_536, parallel=2).problems[0].todo
    assert "OLLAMA_KV_CACHE_TYPE q8_0" in hints and "OLLAMA_NUM_PARALLEL 1" in hints


def test_an_unknown_fact_refuses_nothing_and_is_told_where_it_matters() -> None:
    verdict = decide(ModelFacts(architectures=("LlamaForCausalLM",)), gpus(H100))
    assert codes(verdict) == [] and "nobody told the bytes" in verdict.warnings[0]
    tight = decide(ModelFacts(weight_bytes=60 * GIB), gpus(H100))
    assert codes(tight) == [] and "without layers and heads" in tight.warnings[0]
    assert decide(ModelFacts(weight_bytes=GIB), gpus(H100)).warnings == ()
    assert codes(decide(LLAMA, Host(devices=(Device("x"),), cpu=False))) == []


def test_old_releases_are_told() -> None:
    warnings = decide(SMALL, Host(devices=(H100,), cpu=False, version="0.13.0")).warnings
    assert any("CVE-2026-22807" in text for text in warnings) and not any("CVE-2025-62426" in text for text in warnings)
