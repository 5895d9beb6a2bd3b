# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM has to be told to serve a model on given devices, derived from the model's facts: the words behind ``venom_vllm_args``.

Nothing is converted: vLLM loads the files of a hub as they are, so preparing a model for it is choosing these words and refusing what
cannot work.
"""
from __future__ import annotations

from dataclasses import dataclass, replace

from ansible_collections.venom.llm.plugins.module_utils.compatibility import Device, Host, judge
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.memory_estimate import GIB, Estimate, estimate, longest_context
from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts
from ansible_collections.venom.llm.plugins.module_utils.quantization_support import ONLINE
from ansible_collections.venom.llm.plugins.module_utils.serve_settings import DEFAULT_UTILIZATION, ServeSettings

#: What ``--dtype`` takes (``config/model.py`` of vLLM 0.32).
DTYPES = ("auto", "half", "float16", "bfloat16", "float", "float32")
#: Models whose numbers leave the range of float16 (``_FLOAT16_NOT_SUPPORTED_MODELS`` of vLLM 0.32).
_NO_FLOAT16 = ("gemma2", "gemma3", "gemma3_text", "glm4")
#: The oldest GPUs that calculate in bfloat16, ten times their compute capability.
_BFLOAT16 = 80
#: vLLM is as fast with less, and operators wait for more than this only if they ask for it.
SHORTEST_CONTEXT = 2048


@dataclass(frozen=True)
class Prepared:
    """The words, and how the memory adds up with them; the sum is None where the bytes of the weights are not known."""

    words: tuple[str, ...]
    warnings: tuple[str, ...]
    estimate: Estimate | None


def prepare(
    model: str,
    facts: ModelFacts,
    device: Device | None = None,
    devices: int = 1,
    dtype: str = "auto",
    quantization: str | None = None,
    context: int | None = None,
    kv_dtype: str = "auto",
    utilization: float = DEFAULT_UTILIZATION,
    cpu_memory: int | None = None,
) -> Prepared:
    """The words for vLLM on ``devices`` GPUs such as ``device``, or on a processor with ``cpu_memory`` bytes where there is no device.

    Without ``context`` the longest that fits is taken, up to what the model holds. Raises what ``compatibility`` refuses, and
    ``invalid_option`` for a type that the model or the GPU cannot use.
    """
    _check_types(model, facts, device, dtype, quantization)
    kind = dtype
    if dtype == "auto" and device is not None and device.capability is not None and device.capability < _BFLOAT16 and facts.dtype == "bfloat16":
        kind = "float32" if (facts.model_type or "") in _NO_FLOAT16 else "float16"
    settings = ServeSettings(
        context=context, kv_dtype=kv_dtype, dtype=kind, quantization=quantization, tensor_parallel=devices, utilization=utilization
    )
    platform = "cpu" if device is None else "cuda"
    host = Host(devices=() if device is None else (device,) * devices, memory=cpu_memory, cpu=device is None)
    room = None
    if device is not None and device.memory is not None:
        room = int(device.memory * utilization)
    elif device is None and cpu_memory is not None:
        room = int(cpu_memory * utilization)
    chosen = context
    if context is None and facts.context is not None:
        chosen = _fitting_context(facts, settings, platform, room)
    verdict = judge(model, facts, "vllm", host, replace(settings, context=chosen))
    if verdict.problems:
        raise verdict.problems[0]
    words: list[str] = []
    if kind != "auto":
        words += ["--dtype", kind]
    if quantization is not None and facts.quantization is None:
        words += ["--quantization", quantization]
    if chosen is not None and (facts.context is None or context is not None or chosen != facts.context.default):
        words += ["--max-model-len", str(chosen)]
    if devices > 1:
        words += ["--tensor-parallel-size", str(devices)]
    if kv_dtype != "auto":
        words += ["--kv-cache-dtype", kv_dtype]
    if utilization != DEFAULT_UTILIZATION:
        words += ["--gpu-memory-utilization", f"{utilization:g}"]
    return Prepared(tuple(words), verdict.warnings, verdict.estimate)


def _check_types(model: str, facts: ModelFacts, device: Device | None, dtype: str, quantization: str | None) -> None:
    if dtype not in DTYPES:
        raise _bad("dtype", f"one of {', '.join(DTYPES)}", repr(dtype))
    if dtype in ("half", "float16") and (facts.model_type or "") in _NO_FLOAT16:
        raise _bad("dtype", f"a type whose range {model} stays within", f"{dtype}, which vLLM refuses for {facts.model_type}; bfloat16 or float32")
    if dtype == "bfloat16" and device is not None and device.capability is not None and device.capability < _BFLOAT16:
        raise _bad("dtype", f"a type that {device.name} calculates in", "bfloat16, which needs compute capability 8.0")
    if quantization is None:
        return
    stored = facts.quantization
    if stored is None and quantization not in ONLINE:
        raise _bad("quantization", f"one of {', '.join(ONLINE)} for weights that are plain", repr(quantization))
    if stored is not None and quantization != stored.method:
        raise _bad("quantization", f"nothing, or {stored.method}, which is how the weights of {model} are stored", repr(quantization))


def _bad(option: str, wanted: str, found: str) -> VenomError:
    return VenomError("invalid_option", wanted=f"{option}: {wanted}", found=found, todo=f"correct {option}", option=option)


def _fitting_context(facts: ModelFacts, settings: ServeSettings, platform: str, room: int | None) -> int | None:
    """What the model serves by default, or the longest that fits; None leaves it to vLLM."""
    if facts.context is None:
        return None
    wanted = facts.context.default
    workload = settings.workload(wanted, platform)
    if room is None or estimate(facts, workload).total <= room:
        return wanted
    shorter = longest_context(facts, workload, room)
    return wanted if shorter is None or shorter < min(SHORTEST_CONTEXT, wanted) else shorter


def gib_to_bytes(value: float | None) -> int | None:
    """GiB as bytes."""
    return None if value is None else int(value * GIB)
