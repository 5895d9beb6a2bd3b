# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How weights are stored, in the words of those who stored them."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.model_quantization import quantization_of_config, quantization_of_gguf

W4A16 = {"group_0": {"weights": {"num_bits": 4, "type": "int"}, "input_activations": None}}
W4A8 = {"group_0": {"weights": {"num_bits": 4, "type": "int"}, "input_activations": {"num_bits": 8, "type": "float"}}}
W8A8O8 = {"group_0": {part: {"num_bits": 8, "type": "int"} for part in ("weights", "input_activations", "output_activations")}}
W8A8 = {"group_0": {"weights": {"num_bits": 8, "type": "float"}, "input_activations": {"num_bits": 8, "type": "float"}}}


@pytest.mark.parametrize(
    ("config", "method", "bits", "scheme"),
    [
        ({"quant_method": "awq", "bits": 4, "version": "gemm"}, "awq", 4, "gemm"),
        ({"quant_method": "gptq", "bits": 8, "checkpoint_format": "gptq"}, "gptq", 8, "gptq"),
        ({"quant_method": "FP8", "fmt": "e4m3"}, "fp8", 8, "e4m3"),
        ({"quant_method": "mxfp4"}, "mxfp4", 4, None),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bitsandbytes", 4, "nf4"),
        ({"load_in_8bit": True}, "bitsandbytes", 8, None),
        ({"quant_method": "compressed-tensors", "config_groups": W4A16}, "compressed-tensors", 4, "w4a16"),
        ({"quant_method": "compressed_tensors", "config_groups": W8A8}, "compressed-tensors", 8, "w8a8-float"),
        ({"quant_method": "compressed-tensors", "config_groups": W4A8}, "compressed-tensors", 4, "w4a8-fp8"),
        ({"quant_method": "compressed-tensors", "config_groups": W8A8O8}, "compressed-tensors", 8, "w8a8o8-int"),
        ({"quant_method": "compressed-tensors", "config_groups": {"a": 1, **W8A8, "b": W4A16["group_0"]}}, "compressed-tensors", 4, "w4a16"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "compressed-tensors", None, "pack-quantized"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "modelopt_fp4", 4, "NVFP4"),
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "NVFP4"}}, "modelopt_fp4", 4, "NVFP4"),
        ({"quant_algo": "FP8"}, "modelopt", 8, "FP8"),
        ({"quant_method": "auto-round", "bits": 4}, "inc", 4, None),
        ({"quant_method": "brand_new"}, "brand_new", None, None),
    ],
)
def test_methods(config: dict[str, t.Any], method: str, bits: int | None, scheme: str | None) -> None:
    found = quantization_of_config({"quantization_config": config}, {})
    assert found is not None and (found.method, found.bits, found.scheme) == (method, bits, scheme)


def test_other_places() -> None:
    awq = {"quant_method": "awq"}
    assert quantization_of_config({"text_config": {"quantization_config": awq}}, {}) == quantization_of_config({"compression_config": awq}, {})
    found = quantization_of_config({}, {"quantization": {"quant_algo": "MXFP8"}})
    assert found is not None and found.method == "modelopt_mxfp8"
    for nothing in ({}, {"quantization_config": None}, {"quantization_config": {}}, {"quantization_config": {"quant_method": 4}}):
        assert quantization_of_config(nothing, {}) is None


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"}}, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_scheme": {"num_bits": 4, "type": "float"}}, "nvfp4"),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": {"num_bits": 8, "type": "int"}}, None),
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}}, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "brand new"}, None),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": 8}, None),
        ({"quant_method": "compressed-tensors", "config_groups": W4A16, "kv_cache_scheme": {"num_bits": 8, "type": "float"}}, "fp8"),
        ({"quant_method": "compressed-tensors", "config_groups": W4A16, "kv_cache_scheme": None}, None),
        ({"quant_method": "fp8", "kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False}}, None),
    ],
)
def test_the_cache_as_the_checkpoint_says(config: dict[str, t.Any], kind: str | None) -> None:
    found = quantization_of_config({"quantization_config": config}, {})
    assert found is not None and found.kv_cache == kind and found.to_dict()["kv_cache"] == kind
    legacy = quantization_of_config({}, {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}})
    assert legacy is not None and (legacy.method, legacy.kv_cache) == ("modelopt", "fp8")


def test_gguf() -> None:
    found = quantization_of_gguf("Q4_K_M")
    assert found is not None and (found.method, found.bits, found.scheme) == ("gguf", 4, "Q4_K_M")
    assert [quantization_of_gguf(name) for name in (None, "F16", "BF16", "F32")] == [None] * 4
