# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers and heads, as different families write them down."""
from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.venom.llm.plugins.module_utils.model_shape import ModelShape, shape_of_config, shape_of_gguf
from ansible_collections.venom.llm.tests.unit.plugins.module_utils import model_samples as samples

BASE = {"hidden_size": 64, "num_hidden_layers": 8, "num_attention_heads": 8}


@pytest.mark.parametrize(
    ("extra", "kv_heads"),
    [
        ({}, 8),
        ({"num_key_value_heads": 2}, 2),
        ({"multi_query": True}, 1),
        ({"multi_query": True, "new_decoder_architecture": True, "num_kv_heads": 4}, 4),
        ({"multi_query_attention": True, "multi_query_group_num": 2}, 2),
        ({"attn_config": {"kv_n_heads": 4}}, 4),
        ({"num_key_value_heads": 99}, 8),
        ({"num_key_value_heads": [1, 4, 2]}, 3),
        ({"num_key_value_heads": True}, 8),
    ],
)
def test_heads_for_keys(extra: dict[str, t.Any], kv_heads: int) -> None:
    shape = shape_of_config({**BASE, **extra})
    assert shape is not None and shape.kv_heads == kv_heads


@pytest.mark.parametrize(
    ("extra", "layers"),
    [
        ({}, (8, 0, 0)),
        ({"sliding_window": 4096}, (0, 8, 0)),
        ({"sliding_window": 4096, "use_sliding_window": False}, (8, 0, 0)),
        ({"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 6}, (6, 2, 0)),
        ({"sliding_window": 512, "sliding_window_pattern": 4}, (2, 6, 0)),
        ({"sliding_window": 512, "model_type": "gemma2"}, (4, 4, 0)),
        ({"layer_types": ["full_attention"] * 2 + ["linear_attention"] * 6}, (2, 0, 6)),
        ({"layer_types": ["full_attention"] * 2 + ["sliding_attention"] * 6, "sliding_window": 128}, (2, 6, 0)),
        ({"layer_types": ["sliding_attention"] * 8}, (8, 0, 0)),
        ({"layer_types": ["full_attention"] * 3}, (8, 0, 0)),
        ({"hybrid_override_pattern": "M-M*M-M*"}, (2, 0, 6)),
        ({"attn_layer_indices": [1, 5]}, (2, 0, 6)),
        ({"attn_layer_period": 4, "attn_layer_offset": 2}, (2, 0, 6)),
        ({"full_attention_interval": 4}, (2, 0, 6)),
        ({"sliding_window": 512, "sliding_window_pattern": "LLLG"}, (2, 6, 0)),
        ({"attention_chunk_size": 512, "model_type": "llama4_text"}, (2, 6, 0)),
        ({"sliding_window_size": 128, "hybrid_layer_pattern": [0, 1, 1, 1, 1, 0, 1, 1]}, (2, 6, 0)),
        ({"sliding_window_size": 128, "hybrid_layer_pattern": "oddly"}, (0, 8, 0)),
        ({"num_kv_shared_layers": 3}, (5, 0, 3)),
        ({"model_type": "mamba", "num_attention_heads": None}, (0, 0, 8)),
    ],
)
def test_kinds_of_layers(extra: dict[str, t.Any], layers: tuple[int, int, int]) -> None:
    shape = shape_of_config({**BASE, **extra})
    assert shape is not None and (shape.full_layers, shape.windowed_layers, shape.other_layers) == layers
    assert shape.layers == 8


def test_parts_within_parts_and_experts() -> None:
    gemma = shape_of_config(samples.GEMMA_3_27B)
    assert gemma is not None and (gemma.layers, gemma.window, gemma.key_size) == (62, 1024, 128)
    deepseek = shape_of_config(samples.DEEPSEEK_V3)
    assert deepseek is not None and deepseek.latent == 576 and deepseek.intermediate == 9 * 2048
    assert (deepseek.experts, deepseek.embeddings, gemma.experts) == (256, 1, 0)
    mixtral = shape_of_config({**BASE, "intermediate_size": 100, "num_local_experts": 8, "num_experts_per_tok": 2})
    assert mixtral is not None and mixtral.intermediate == 200
    bert = shape_of_config({**BASE, "architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta"})
    assert bert is not None and bert.encoder


@pytest.mark.parametrize("config", [{}, {"hidden_size": 64}, {**BASE, "num_hidden_layers": 10**9}, {**BASE, "num_attention_heads": "8"},
                                    {**BASE, "block_configs": []}])  # fmt: skip
def test_what_is_not_told_is_not_known(config: dict[str, t.Any]) -> None:
    assert shape_of_config(config) is None


def test_gguf_metadata() -> None:
    values = {
        "llama.block_count": 32, "llama.embedding_length": 4096, "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8,
        "llama.feed_forward_length": 14336, "llama.vocab_size": 128256, "other.block_count": 1,
    }  # fmt: skip
    shape = shape_of_gguf("llama", values)
    assert shape is not None and (shape.full_layers, shape.kv_heads, shape.key_size, shape.intermediate) == (32, 8, 128, 14336)
    assert shape_of_gguf("other", values) is None
    mixed = {"x.block_count": 4, "x.embedding_length": 64, "x.attention.head_count": 8, "x.attention.head_count_kv": [0, 4, 0, 4]}
    hybrid = shape_of_gguf("x", mixed)
    assert hybrid is not None and (hybrid.full_layers, hybrid.other_layers, hybrid.kv_heads) == (2, 2, 4)
    gemma = {
        "gemma3.block_count": 12, "gemma3.embedding_length": 64, "gemma3.attention.head_count": 8, "gemma3.attention.sliding_window": 512,
        "gemma3.attention.key_length": 16, "gemma3.attention.value_length": 24, "gemma3.attention.kv_lora_rank": 40,
        "gemma3.rope.dimension_count": 8,
    }  # fmt: skip
    windowed = shape_of_gguf("gemma3", gemma)
    assert windowed is not None and (windowed.full_layers, windowed.windowed_layers, windowed.window) == (2, 10, 512)
    assert (windowed.key_size, windowed.value_size, windowed.latent) == (16, 24, 48)


def test_layers_with_a_window_have_widths_of_their_own() -> None:
    mimo = {**BASE, "num_key_value_heads": 2, "head_dim": 24, "v_head_dim": 16, "sliding_window_size": 128, "hybrid_layer_pattern": [0, 1] * 4}
    shape = shape_of_config({**mimo, "swa_num_key_value_heads": 4, "swa_head_dim": 12, "swa_v_head_dim": 8})
    assert shape is not None and (shape.kv_heads, shape.key_size, shape.value_size) == (2, 24, 16)
    assert shape.windowed == (4, 12, 8)
    plain = shape_of_config(mimo)
    assert plain is not None and plain.windowed == (2, 24, 16)


def test_gguf_metadata_of_each_layer() -> None:
    values = {
        "block_count": 6, "embedding_length": 64, "attention.head_count": 8, "attention.head_count_kv": [4, 4, 4, 4, 4, 1],
        "attention.sliding_window": 512, "attention.sliding_window_pattern": [True, True, True, True, True, False],
        "attention.key_length": 32, "attention.value_length": 32, "attention.key_length_swa": 16, "attention.value_length_swa": 16,
    }  # fmt: skip
    shape = shape_of_gguf("gemma4", {f"gemma4.{key}": value for key, value in values.items()})
    assert shape is not None and (shape.full_layers, shape.windowed_layers, shape.other_layers) == (1, 5, 0)
    assert (shape.kv_heads, shape.key_size, shape.windowed) == (1, 32, (4, 16, 16))
    shared = shape_of_gguf("gemma4", {f"gemma4.{key}": value for key, value in {**values, "attention.shared_kv_layers": 2}.items()})
    assert shared is not None and (shared.full_layers, shared.windowed_layers, shared.other_layers) == (0, 4, 2)


def test_a_shape_survives_a_record_and_a_bad_record_is_none() -> None:
    shape = shape_of_config(samples.DEEPSEEK_V3)
    assert shape is not None and ModelShape.from_dict(shape.to_dict()) == shape
    older = {name: value for name, value in shape.to_dict().items() if name not in ("window", "experts", "embeddings", "windowed_kv_heads")}
    assert ModelShape.from_dict(older) == replace(shape, experts=0, embeddings=1)
    assert ModelShape.from_dict({}) is None
    for bad in ({"experts": None}, {"heads": "x"}, {"hidden": -1}, {"latent": []}, {"layers": 1, "kv_heads": None}):
        assert ModelShape.from_dict({**shape.to_dict(), **bad}) is None
