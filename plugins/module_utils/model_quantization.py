# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the weights of a model are stored: the method that wrote them, and how many bits it left.

Methods and their keys: ``quantization_config`` of config.json (transformers, quantization), compressed-tensors' ``config_groups``,
NVIDIA ModelOpt's hf_quant_config.json; the file types of GGUF.
"""
from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.config_values import Config, mapping, number, text, text_part

_SPELLINGS = {
    "compressed_tensors": "compressed-tensors",
    "bnb": "bitsandbytes",
    "bitsandbytes_4bit": "bitsandbytes",
    "bitsandbytes_8bit": "bitsandbytes",
    "auto-round": "inc",
    "intel/auto-round": "inc",
    "auto_round": "inc",
}
_BITS = {"fp8": 8, "mxfp4": 4, "awq": 4, "fbgemm_fp8": 8, "mxfp8": 8}


@dataclass(frozen=True)
class Quantization:
    """``method`` as runtimes call it, ``bits`` of a weight, ``scheme`` what tells more, such as w4a16 or Q4_K_M.

    ``kv_cache`` is the type that vLLM gives the cache for these weights where nobody chooses one.
    """

    method: str
    bits: int | None = None
    scheme: str | None = None
    kv_cache: str | None = None

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON."""
        return dict(self.__dict__)


def quantization_of_config(config: Config, modelopt: Config) -> Quantization | None:
    """From config.json and hf_quant_config.json; None for weights as they were trained, and where nothing is told."""
    found = mapping(config, "quantization_config") or mapping(config, "compression_config") or mapping(text_part(config), "quantization_config")
    if not found:
        found = mapping(modelopt, "quantization")
        return None if not found else _modelopt(found)
    method = (text(found, "quant_method") or "").lower()
    method = _SPELLINGS.get(method, method)
    if not method:
        method = "bitsandbytes" if found.get("load_in_4bit") is True or found.get("load_in_8bit") is True else ""
    if not method:
        return _modelopt(found) if text(found, "quant_algo") else None
    if method == "modelopt":
        return _modelopt(found)
    if method == "compressed-tensors":
        return _compressed(found)
    bits = number(found, "bits", "w_bit", "weight_bits", "nbits")
    if method == "bitsandbytes":
        bits = 4 if found.get("load_in_4bit") is True else 8
    return Quantization(method, bits or _BITS.get(method), text(found, "checkpoint_format", "version", "fmt", "bnb_4bit_quant_type"))


def _modelopt(outer: Config) -> Quantization:
    found = mapping(outer, "quantization") or outer
    algorithm = (text(found, "quant_algo") or "").upper()
    cache = _modelopt_cache(found, outer)
    if "FP4" in algorithm:
        return Quantization("modelopt_fp4", 4, algorithm, cache)
    if "MIXED" in algorithm:
        return Quantization("modelopt_mixed", None, algorithm, cache)
    if "MXFP8" in algorithm:
        return Quantization("modelopt_mxfp8", 8, algorithm, cache)
    return Quantization("modelopt", 8, algorithm or None, cache)


def _modelopt_cache(*places: Config) -> str | None:
    """As vLLM 0.32 reads it (``utils/torch_utils.py``, get_kv_cache_quant_algo_string)."""
    schemes = [mapping(found, "kv_cache_scheme") for found in places]
    scheme = next((scheme for scheme in schemes if scheme), None)
    if scheme is not None:
        bits = number(scheme, "num_bits") if text(scheme, "type") == "float" else None
        return {8: "fp8" if scheme.get("dynamic") is False else None, 4: "nvfp4"}.get(bits or 0)
    told = next((name for name in (text(found, "kv_cache_scheme", "kv_cache_quant_algo") for found in places) if name), "").lower()
    return told if told in ("fp8", "nvfp4") else None


def _compressed(found: Config) -> Quantization:
    """The narrowest group decides, since it is what a kernel must be there for."""
    best: Quantization | None = None
    groups = mapping(found, "config_groups")
    # Whatever the scheme is: vLLM takes fp8 where there is one (attention.py), and refuses those of other types.
    cache = "fp8" if mapping(found, "kv_cache_scheme") else None
    for group in list(groups.values())[:64]:
        if not isinstance(group, dict):
            continue
        weights, inputs = mapping(group, "weights"), mapping(group, "input_activations")
        bits, kind = number(weights, "num_bits"), text(weights, "type") or "int"
        if bits is None:
            continue
        activation, output = number(inputs, "num_bits") or 16, number(mapping(group, "output_activations"), "num_bits")
        # vLLM has kernels of their own for numbers that become floats on the way in, and for those that are rounded on the way out too.
        ending = f"fp{activation}" if kind == "int" and text(inputs, "type") == "float" else kind
        scheme = f"w{bits}a{activation}" + (f"o{output}" if output else "") + (f"-{ending}" if activation < 16 or kind == "float" else "")
        if best is None or bits < (best.bits or 99):
            best = Quantization("compressed-tensors", bits, scheme, cache)
    return best or Quantization("compressed-tensors", None, text(found, "format"), cache)


def quantization_of_gguf(file_type: str | None) -> Quantization | None:
    """From the name of a GGUF file type; None for plain floats."""
    if file_type is None or file_type in ("F32", "F16", "BF16"):
        return None
    digits = [character for character in file_type if character.isdigit()]
    return Quantization("gguf", int(digits[0]) if digits else None, file_type)
