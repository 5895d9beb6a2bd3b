# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How this host is set up to serve: the options of vLLM and the variables of Ollama that decide about memory."""
from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.envfile import split_words
from ansible_collections.venom.llm.plugins.module_utils.memory_estimate import BATCHED_TOKENS, GIB, Workload

Variables = t.Mapping[str, str]

#: Share of the memory that vLLM 0.32 takes unless told otherwise (``config/cache.py``).
DEFAULT_UTILIZATION = 0.92
#: Tokens that Ollama keeps where nothing is set and the GPU memory is small; with much of it the server takes more by itself.
OLLAMA_CONTEXT = 4096
_OPTIONS = {
    "--max-model-len": "context",
    "--kv-cache-dtype": "kv_dtype",
    "--tensor-parallel-size": "tensor_parallel",
    "-tp": "tensor_parallel",
    "--pipeline-parallel-size": "pipeline_parallel",
    "-pp": "pipeline_parallel",
    "--gpu-memory-utilization": "utilization",
    "--max-num-seqs": "sequences",
    "--max-num-batched-tokens": "batched_tokens",
    "--dtype": "dtype",
    "--quantization": "quantization",
    "-q": "quantization",
    "--kv-cache-memory-bytes": "cache_room",
}
#: vLLM's own reading of numbers such as 32k (32000) and 32K (32768).
_NUMBER = re.compile(r"\A(\d{1,15}(?:\.\d{1,6})?)([kmgtKMGT]?)\Z")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class ServeSettings:
    """What is set; None is what is left to the server. ``cache_room`` in bytes is a fixed size of vLLM's cache.

    With ``auto_context`` vLLM shortens the context of the model to what fits.
    """

    context: int | None = None
    parallel: int = 1
    kv_dtype: str = "auto"
    dtype: str = "auto"
    quantization: str | None = None
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    utilization: float = DEFAULT_UTILIZATION
    sequences: int | None = None
    batched_tokens: int = BATCHED_TOKENS
    cache_room: int | None = None
    auto_context: bool = False

    def workload(self, context: int, platform: str) -> Workload:
        """What the server would have to hold with a context of so many tokens."""
        return Workload(
            context=context,
            parallel=self.parallel,
            kv_dtype=self.kv_dtype,
            dtype=self.dtype,
            quantization=self.quantization,
            tensor_parallel=self.tensor_parallel,
            pipeline_parallel=self.pipeline_parallel,
            batched_tokens=self.batched_tokens,
            sequences=self.sequences,
            platform=platform,
        )


def of_vllm(words: t.Sequence[str], variables: Variables) -> ServeSettings:
    """From the arguments and the environment of the server. What makes no sense is left out: the server says so itself."""
    given: dict[str, str] = {}
    position = 0
    while position < len(words):
        option, equals, value = words[position].replace("_", "-", 40).partition("=") if words[position].startswith("-") else ("", "", "")
        position += 1
        name = _OPTIONS.get(option)
        if name is None:
            continue
        if equals:
            given[name] = words[position - 1].partition("=")[2]
        elif position < len(words):
            given[name] = words[position]
            position += 1
    space = number(variables.get("VLLM_CPU_KVCACHE_SPACE"))
    room = number(given.get("cache_room"))
    return ServeSettings(
        context=number(given.get("context")),
        kv_dtype=given.get("kv_dtype", "auto"),
        dtype=given.get("dtype", "auto"),
        quantization=given["quantization"].lower() if "quantization" in given else None,
        tensor_parallel=number(given.get("tensor_parallel")) or 1,
        pipeline_parallel=number(given.get("pipeline_parallel")) or 1,
        utilization=_share(given.get("utilization")) or DEFAULT_UTILIZATION,
        sequences=number(given.get("sequences")),
        batched_tokens=number(given.get("batched_tokens")) or BATCHED_TOKENS,
        cache_room=room if room is not None else space * GIB if space else None,
        auto_context=given.get("context", "").lower() in ("auto", "-1"),
    )


def of_vllm_file(variables: Variables) -> ServeSettings:
    """From the content of ``vllm.env``, whose VENOM_VLLM_ARGS are the arguments."""
    try:
        words = split_words(variables.get("VENOM_VLLM_ARGS", ""))
    except ValueError:
        words = ()
    return of_vllm(words, variables)


def of_ollama(variables: Variables) -> ServeSettings:
    """From the environment of the server. 0 means the default, as to the server; the cache has other types only with flash attention."""
    kind = (variables.get("OLLAMA_KV_CACHE_TYPE") or "f16").lower()
    has_flash = variables.get("OLLAMA_FLASH_ATTENTION", "").lower() not in ("", "0", "f", "false")
    return ServeSettings(
        context=number(variables.get("OLLAMA_CONTEXT_LENGTH")) or OLLAMA_CONTEXT,
        parallel=number(variables.get("OLLAMA_NUM_PARALLEL")) or 1,
        kv_dtype=kind if has_flash else "f16",
    )


def number(text: str | None) -> int | None:
    """A number from 1 on as vLLM reads it, None for anything else."""
    match = _NUMBER.match(text or "")
    if match is None:
        return None
    return int(float(match.group(1)) * _UNITS[match.group(2)]) or None


def _share(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value <= 1 else None
