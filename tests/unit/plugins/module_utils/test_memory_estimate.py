# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arithmetic against what others have published, and against itself."""
from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.venom.llm.plugins.module_utils.memory_estimate import (
    GIB,
    Workload,
    activation_bytes,
    cache_bytes,
    estimate,
    gib,
    longest_context,
    weight_bytes,
)
from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts
from ansible_collections.venom.llm.tests.unit.plugins.module_utils import model_samples as samples
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.published_figures import FIGURES, Figure


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: f"{figure.model} {figure.part}")
def test_published_figures(figure: Figure) -> None:
    facts = samples.facts_of(figure.config, figure.parameters * 2)
    load = Workload(figure.context, figure.parallel, tensor_parallel=figure.tensor_parallel, platform=figure.platform)
    found = estimate(facts, load)
    part = {"weights": found.weights, "cache": found.cache, "token": found.cache_per_token}[figure.part]
    assert part == pytest.approx(figure.published, rel=0.1)
    assert found.unknown == ()


def test_ten_models_are_compared() -> None:
    assert len({figure.model for figure in FIGURES}) >= 10


@pytest.mark.parametrize(("tokens", "measured"), [(20_000, 2.07), (29_000, 2.99)])
def test_activations_are_what_a_gpu_measured(tokens: int, measured: float) -> None:
    """Peak less weights of Llama 3.1 8B on an RTX 3090: https://github.com/vllm-project/vllm/issues/10517 ."""
    shape = samples.facts_of(samples.LLAMA_31_8B).shape
    assert shape is not None
    assert activation_bytes(shape, Workload(tokens, batched_tokens=tokens), 2) / GIB == pytest.approx(measured, rel=0.1)


def test_weights_are_brought_to_the_type_that_serves() -> None:
    plain = samples.facts_of(dict(samples.LLAMA_2_7B, torch_dtype="float32"), 4000)
    assert weight_bytes(plain) == 2000
    assert weight_bytes(plain, "float32") == 4000
    half = samples.facts_of(samples.LLAMA_2_7B, 2000)
    assert (weight_bytes(half), weight_bytes(half, "bfloat16"), weight_bytes(half, "float32")) == (2000, 2000, 4000)
    packed = samples.facts_of(dict(samples.LLAMA_2_7B, quantization_config={"quant_method": "awq", "bits": 4}), 500)
    assert weight_bytes(packed, "float32") == 500
    # The files are 32 bits, whatever the configuration says of them.
    assert weight_bytes(replace(half, weight_bytes=4000, parameters=1000, float32_elements=1000)) == 2000
    # And the reverse: a configuration that says 32 bits of files that have 16.
    told = replace(plain, weight_bytes=2000, parameters=1000, float32_elements=0)
    assert (weight_bytes(told), weight_bytes(told, "bfloat16"), weight_bytes(told, "float32")) == (2000, 2000, 4000)
    assert weight_bytes(ModelFacts()) is None


@pytest.mark.parametrize(
    ("quantization", "bits"),
    [(None, 16), ("fp8", 8), ("fp8_per_block", 8), ("mxfp8", 8.25), ("mxfp4", 4.25), ("experts_int8", 16), ("nvfp4_per_token", 16), ("awq", 16)],
)
def test_what_vllm_quantises_while_it_loads(quantization: str | None, bits: float) -> None:
    """The words of input and output stay as they are: the 9.1 GB that Llama 3.1 8B takes with fp8 are not half of 16.06."""
    facts = samples.facts_of(dict(samples.LLAMA_31_8B, tie_word_embeddings=False), 16_060_522_496)
    words = 2 * 128256 * 4096
    assert weight_bytes(facts, "auto", quantization) == pytest.approx(words * 2 + (8_030_261_248 - words) * bits / 8, rel=1e-3)
    tied = samples.facts_of(samples.LLAMA_31_8B, 16_060_522_496)
    assert weight_bytes(tied, "auto", "fp8") == 128256 * 4096 * 2 + (8_030_261_248 - 128256 * 4096)


def test_experts_alone_are_quantised_where_a_type_is_for_experts() -> None:
    mixture = samples.facts_of({key: value for key, value in samples.QWEN_3_235B.items() if key != "quantization_config"}, 470 * 10**9)
    assert weight_bytes(mixture, "auto", "experts_int8") == weight_bytes(mixture, "auto", "fp8")
    stored = samples.facts_of(samples.QWEN_3_235B, 235 * 10**9)
    assert weight_bytes(stored, "auto", "fp8") == 235 * 10**9
    assert weight_bytes(ModelFacts(weight_bytes=1000, dtype="bfloat16"), "auto", "fp8") == 500


def test_devices_share_weights_and_heads_but_no_head_is_cut() -> None:
    facts = samples.facts_of(samples.LLAMA_31_8B, 16 * 10**9)
    one, two, sixteen = (estimate(facts, Workload(8192, tensor_parallel=count)) for count in (1, 2, 16))
    assert (two.weights, two.cache) == (one.weights // 2, one.cache // 2)
    assert sixteen.cache == one.cache // 8
    latent = samples.facts_of(samples.DEEPSEEK_V3)
    assert estimate(latent, Workload(4096, tensor_parallel=8)).cache == estimate(latent, Workload(4096)).cache


def test_windows_types_and_requests() -> None:
    facts = samples.facts_of(samples.GEMMA_3_27B)
    assert facts.shape is not None and (facts.shape.full_layers, facts.shape.windowed_layers) == (10, 52)
    short, long = (estimate(facts, Workload(tokens, batched_tokens=2048)).cache for tokens in (2048, 65_536))
    assert long < 32 * short / 4
    assert estimate(facts, Workload(65_536, kv_dtype="fp8")).cache == long // 2
    assert estimate(facts, Workload(65_536, parallel=3)).cache == 3 * long
    assert estimate(facts, Workload(65_536, dtype="float32")).cache == 2 * long
    eight = estimate(facts, Workload(4096, kv_dtype="q8_0", platform="ollama")).cache
    assert eight == pytest.approx(estimate(facts, Workload(4096, platform="ollama")).cache * 34 / 64, abs=1)


def gemma_4(**changes: t.Any) -> ModelFacts:
    """The model with its part for text changed."""
    return samples.facts_of(dict(samples.GEMMA_4_26B, text_config={**samples.GEMMA_4_26B["text_config"], **changes}))


@pytest.mark.parametrize(
    ("changes", "heads", "windowed_heads"),
    [
        ({}, 2, 8),
        # Without keys that are values too, the layers that look at everything have as many heads as the others (E2B and E4B).
        ({"attention_k_eq_v": False, "num_key_value_heads": 4}, 4, 4),
        ({"num_global_key_value_heads": None}, 8, 8),
        ({"global_head_dim": None}, 2, 8),
        ({"per_layer_config": {str(layer): {"head_dim": 512, "num_key_value_heads": 1} for layer in range(5, 30, 6)}}, 1, 8),
    ],
)
def test_layers_that_look_at_everything_have_widths_of_their_own(changes: dict[str, t.Any], heads: int, windowed_heads: int) -> None:
    """transformers' Gemma4TextConfig: head_dim becomes global_head_dim, and there may be other heads for keys."""
    facts = gemma_4(**changes)
    kept = 25 * (1024 + 2048) * windowed_heads * (256 + 256)
    assert estimate(facts, Workload(262_144)).cache == 2 * (5 * 262_144 * heads * (512 + 512) + kept)
    assert ModelFacts.from_dict(facts.to_dict()).shape == facts.shape


def test_other_widths_are_shown_and_shared() -> None:
    found = estimate(gemma_4(), Workload(262_144, tensor_parallel=4))
    assert "5 layers x 1 heads x (512 + 512) and 25 with a window of 1024 x 2 heads x (256 + 256), x 2 bytes" in found.lines[1]
    assert found.cache_per_token == 5 * 1024 * 2


def test_blocks_are_whole() -> None:
    shape = samples.facts_of(samples.LLAMA_2_7B).shape
    assert shape is not None
    assert cache_bytes(shape, Workload(1, platform="cpu"), 2.0) == cache_bytes(shape, Workload(128, platform="cpu"), 2.0)
    assert cache_bytes(replace(shape, encoder=True), Workload(128), 2.0) == 0


def test_what_is_not_known_counts_nothing_and_is_named() -> None:
    found = estimate(ModelFacts(), Workload(4096))
    assert found.unknown == ("bytes of the weights", "layers and heads") and found.total == found.overhead
    hybrid = samples.facts_of(dict(samples.LLAMA_2_7B, layer_types=["linear_attention"] * 24 + ["full_attention"] * 8))
    assert estimate(hybrid, Workload(4096)).unknown == ("the state of 24 layers that are no attention",)


def test_the_arithmetic_can_be_checked_by_hand() -> None:
    lines = estimate(samples.facts_of(samples.LLAMA_31_8B, 16_060_522_496), Workload(8192, tensor_parallel=2)).lines
    assert lines[0] == "weights 7.48 GiB (bfloat16 files of 14.96 GiB) on each of 2 devices"
    assert lines[1] == "cache 0.50 GiB (32 layers x 4 heads x (128 + 128) x 2 bytes x 8192 tokens x 1 requests)"
    assert lines[-1].startswith("together ")
    latent = estimate(samples.facts_of(samples.DEEPSEEK_V3), Workload(4096)).lines[1]
    assert "61 layers x 576 latent elements" in latent
    assert "10 layers and 52 with a window of 1024" in estimate(samples.facts_of(samples.GEMMA_3_27B), Workload(4096)).lines[1]
    assert gib(1024) == "0.00 MiB" and gib(5 * 2**20) == "5.00 MiB"


def test_the_longest_context_is_the_longest() -> None:
    facts = samples.facts_of(samples.LLAMA_31_8B, 16_060_522_496)
    load = Workload(131_072)
    room = 24 * GIB
    longest = longest_context(facts, load, room)
    assert longest is not None and longest % 16 == 0
    assert estimate(facts, replace(load, context=longest)).total <= room < estimate(facts, replace(load, context=longest + 16)).total
    assert longest_context(facts, load, GIB) is None
