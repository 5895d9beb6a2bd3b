# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Context lengths, scaled as vLLM scales them."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.model_context import context_of_config, context_of_gguf
from ansible_collections.venom.llm.tests.unit.plugins.module_utils import model_samples as samples


@pytest.mark.parametrize(
    ("config", "tokenizer", "maximum", "default"),
    [
        ({"max_position_embeddings": 4096}, {}, 4096, 4096),
        ({"n_positions": 1024}, {}, 1024, 1024),
        ({"max_position_embeddings": 4096, "max_seq_len": 2048}, {}, 2048, 2048),
        ({"max_position_embeddings": 8192, "model_max_length": 131072}, {}, 131072, 131072),
        ({"max_position_embeddings": 131072}, {"model_max_length": 16384}, 131072, 131072),
        ({"max_position_embeddings": 4096}, {"model_max_length": 1000000000000000019884624838656}, 4096, 4096),
        ({}, {"model_max_length": 512}, 512, 512),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}}, {}, 16384, 16384),
        ({"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, {}, 8192, 8192),
        ({"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "default", "factor": 2.0}}, {}, 4096, 4096),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": "4"}}, {}, 4096, 4096),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 1e30}}, {}, 4096, 4096),
        ({"max_position_embeddings": 32768, "rope_scaling": {"type": "yarn", "factor": 4.0}}, {}, 32768, 32768),
        ({"max_position_embeddings": 4096, "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8}}}, {}, 32768, 32768),
        (samples.LLAMA_31_8B, {}, 131072, 131072),
        (samples.GEMMA_3_27B, {}, 131072, 131072),
        (samples.PHI_3_MINI_128K, {}, 131072, 4096),
        (dict(samples.PHI_3_MINI_128K, rope_scaling={"type": "su"}), {}, 131072, 4096),
    ],
)
def test_context(config: dict[str, t.Any], tokenizer: dict[str, t.Any], maximum: int, default: int) -> None:
    context = context_of_config(config, tokenizer)
    assert context is not None and (context.maximum, context.default) == (maximum, default)


@pytest.mark.parametrize(
    ("positions", "pooling", "tokens", "maximum"),
    [
        ("absolute", True, 512, 512),
        ("absolute", True, 10**30, 514),
        ("absolute", False, 512, 514),
        ("rotary", True, 512, 514),
        (None, True, 512, 514),
    ],
)
def test_a_tokenizer_limits_absolute_positions_of_models_that_write_nothing(
    positions: str | None, pooling: bool, tokens: int, maximum: int
) -> None:
    config = {"max_position_embeddings": 514, "position_embedding_type": positions}
    context = context_of_config(config, {"model_max_length": tokens}, pooling)
    assert context is not None and (context.maximum, context.default) == (maximum, maximum)


@pytest.mark.parametrize("config", [{}, {"max_position_embeddings": True}, {"max_position_embeddings": "4096"}, {"max_position_embeddings": -1}])
def test_nothing_is_guessed(config: dict[str, t.Any]) -> None:
    assert context_of_config(config, {"model_max_length": None}) is None


def test_gguf() -> None:
    context = context_of_gguf("llama", {"llama.context_length": 8192, "llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 2.0})
    assert context is not None and (context.maximum, context.scaling, context.factor) == (8192, "yarn", 2.0)
    assert context_of_gguf(None, {"llama.context_length": 8192}) is None
