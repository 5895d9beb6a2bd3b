# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ways of storing weights vLLM can load, on what. Read off vLLM 0.32 itself, not measured.

Capabilities: ``get_min_capability`` of each class in ``model_executor/layers/quantization``, and of each scheme in
``compressed_tensors/schemes``, where vLLM has no other one to fall back to (``_get_scheme_from_parts``); the processor: the kernels listed
under ``PlatformEnum.CPU`` in ``model_executor/kernels/linear`` and ``fused_moe/oracle``. Ollama loads every GGUF type on every processor,
so it has no table.
"""
from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.model_quantization import Quantization

#: The release that the tables were read off.
TABLE_VERSION = (0, 32)


@dataclass(frozen=True)
class Support:
    """``capability`` is the least compute capability of an NVIDIA GPU, ten times the number; ``cpu`` whether a processor will do."""

    capability: int
    cpu: bool


@dataclass(frozen=True)
class Online:
    """``bits`` that are left of an element with its scales, of ``experts`` only or of all layers."""

    bits: float
    experts: bool = False


#: What ``--quantization`` does to weights that are plain, while it loads them (``config/quantization.py``, ``layers/quantization/online``).
ONLINE = {
    "fp8": Online(8),
    "fp8_per_tensor": Online(8),
    "fp8_per_block": Online(8),
    "fp8_per_channel": Online(8),
    "mxfp8": Online(8.25),
    "mxfp4": Online(4.25),
    "int8_per_channel_weight_only": Online(8, experts=True),
    "experts_int8": Online(8, experts=True),
    "nvfp4_per_token": Online(4.5, experts=True),
}
METHODS = {
    "awq": Support(75, True),
    "auto_awq": Support(75, True),
    "awq_marlin": Support(75, True),
    "gptq": Support(60, True),
    "auto_gptq": Support(60, True),
    "gptq_marlin": Support(60, True),
    "fp8": Support(75, True),
    "compressed-tensors": Support(70, True),
    "mxfp4": Support(80, True),
    "gpt_oss_mxfp4": Support(80, True),
    "modelopt": Support(80, True),
    "modelopt_fp4": Support(75, False),
    "modelopt_mixed": Support(75, False),
    "modelopt_mxfp8": Support(80, False),
    "mxfp8": Support(80, False),
    "fbgemm_fp8": Support(80, True),
    "fp_quant": Support(100, False),
    "experts_int8": Support(80, False),
    "quark": Support(70, True),
    "moe_wna16": Support(70, False),
    "torchao": Support(75, True),
    "inc": Support(60, True),
    "humming": Support(75, False),
    "deepseek_v4_fp8": Support(75, False),
}
#: Schemes of compressed-tensors that ask for more than the method.
SCHEMES = {
    "w8a8-int": Support(75, True),
    # From 8.9 on with FP8 activations; on older GPUs the activations stay as they are (CompressedTensorsW8A16Fp8).
    "w8a8-float": Support(75, True),
    "w8a16-float": Support(75, False),
    "w4a16": Support(75, True),
    "w8a16": Support(75, True),
    "w4a8-float": Support(80, False),
    # Experts; plain layers have a kernel on 9.0 only, which nobody tells apart here.
    "w4a8-fp8": Support(75, False),
    "w4a8-int": Support(75, True),
    "w4a4-float": Support(75, False),
    "w4a16-float": Support(75, False),
}
#: Methods that vLLM had and 0.32 has not; the GGUF reader is a package of its own now.
GONE = {
    "bitsandbytes": "vLLM 0.32 no longer has it",
    "gguf": "vLLM 0.32 reads GGUF only with the package vllm-gguf-plugin",
    "aqlm": "vLLM 0.32 no longer has it",
    "hqq": "vLLM 0.32 no longer has it",
    "marlin": "vLLM 0.32 no longer has it",
    "deepspeedfp": "vLLM 0.32 no longer has it",
    "tpu_int8": "vLLM 0.32 no longer has it",
    "ptpc_fp8": "vLLM 0.32 no longer has it",
    "eetq": "vLLM never had it",
    "quanto": "vLLM never had it",
    "vptq": "vLLM never had it",
    "higgs": "vLLM never had it",
    "spqr": "vLLM never had it",
}


def support_of(quantization: Quantization) -> Support | None:
    """What the stored weights need; None for a method that the table does not know."""
    if quantization.method == "compressed-tensors" and quantization.scheme in SCHEMES:
        return SCHEMES[str(quantization.scheme)]
    return METHODS.get(quantization.method)


def capability_number(text: str | None) -> int | None:
    """A compute capability such as ``8.9`` as ten times the number; None for anything else."""
    parts = (text or "").split(".")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) <= 2 for part in parts):
        return None
    return int(parts[0]) * 10 + int(parts[1])


def parse_version(text: str | None) -> tuple[int, ...] | None:
    """The leading numbers of a version, None where there are none."""
    numbers: list[int] = []
    for part in (text or "").split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits or len(digits) > 9:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers) or None


def is_table_version(version: t.Sequence[int] | None) -> bool:
    """Whether the tables speak of a release: others may have gained or lost a method."""
    return version is not None and tuple(version[:2]) == TABLE_VERSION
