# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory a model takes to serve: weights, the cache of keys and values, activations, and what the server itself takes.

Weights are the bytes of the files, brought to the type that the server uses, or quantised while it loads them. The cache is what vLLM 0.32 allocates
(``v1/kv_cache_interface.py``): for each token and layer the keys and values of each head, or one latent vector with multi-head latent
attention; layers with a window keep the window and what is being worked on. Activations are the widest point of one layer for all tokens of
a step: gate, up and their product, and the hidden state twice. docs/compatibility.md compares all of this with published figures.
"""
from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts
from ansible_collections.venom.llm.plugins.module_utils.model_shape import ModelShape
from ansible_collections.venom.llm.plugins.module_utils.quantization_support import ONLINE

GIB = 1024**3
#: Bytes of an element of the cache. Ollama's are llama.cpp's blocks of 32 with a scale; vLLM's types per head have a scale beside them.
KV_BYTES = {
    "float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "half": 2.0, "f32": 4.0, "f16": 2.0, "bf16": 2.0,
    "fp8": 1.0, "fp8_e4m3": 1.0, "fp8_e5m2": 1.0, "fp8_inc": 1.0, "fp8_ds_mla": 1.14, "fp8_per_token_head": 1.04, "int8_per_token_head": 1.04,
    "int4_per_token_head": 0.54, "nvfp4": 0.5625, "q8_0": 34 / 32, "q4_0": 18 / 32, "q4_1": 20 / 32, "q5_0": 22 / 32, "q5_1": 24 / 32,
    "iq4_nl": 18 / 32,
}  # fmt: skip
DTYPE_BYTES = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2, "float64": 8}
#: Tokens that vLLM works on in one step and requests that it samples for, unless told otherwise (``engine/arg_utils.py``).
BATCHED_TOKENS = 2048
MAX_SEQUENCES = {"cuda": 256, "cpu": 128}
#: Bytes of a worker of vLLM on a processor before it has a model, as it reports them itself (measured with 0.32).
WORKER_OVERHEAD = int(0.6 * GIB)
#: Bytes that the server takes beside the model. CUDA context and captured graphs as logs of vLLM show them; on a processor the worker, and
#: the programs around it; llama.cpp's compute buffers.
OVERHEAD = {"cuda": int(0.9 * GIB), "cpu": WORKER_OVERHEAD + int(0.9 * GIB), "ollama": int(0.5 * GIB)}
#: vLLM keeps cache in blocks of so many tokens.
BLOCK = {"cuda": 16, "cpu": 128, "ollama": 1}


@dataclass(frozen=True)
class Workload:
    """How a model is to be served. ``context`` in tokens of one request, ``parallel`` requests that must have room at once.

    ``platform`` is 'cuda', 'cpu' (both vLLM) or 'ollama'. ``dtype`` and ``kv_dtype`` may be 'auto', ``quantization`` is vLLM's for plain
    weights. ``pipeline_parallel`` stages share the layers, and ``tensor_parallel`` devices each layer of a stage.
    """

    context: int
    parallel: int = 1
    kv_dtype: str = "auto"
    dtype: str = "auto"
    tensor_parallel: int = 1
    batched_tokens: int = BATCHED_TOKENS
    sequences: int | None = None
    platform: str = "cuda"
    quantization: str | None = None
    pipeline_parallel: int = 1

    @property
    def devices(self) -> int:
        """All that share the model."""
        return self.tensor_parallel * self.pipeline_parallel


@dataclass(frozen=True)
class Estimate:
    """In bytes on each device. ``cache_per_token`` is what a token costs at the end of a long context on each device."""

    weights: int
    cache: int
    activations: int
    overhead: int
    cache_per_token: int
    workload: Workload
    lines: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.activations + self.overhead

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON, bytes and GiB."""
        parts = {name: getattr(self, name) for name in ("weights", "cache", "activations", "overhead", "total")}
        return {
            **{f"{name}_bytes": value for name, value in parts.items()},
            "cache_bytes_per_token": self.cache_per_token,
            "total_gib": round(self.total / GIB, 3),
            "context": self.workload.context,
            "parallel": self.workload.parallel,
            "kv_cache_dtype": self.workload.kv_dtype,
            "tensor_parallel": self.workload.tensor_parallel,
            "pipeline_parallel": self.workload.pipeline_parallel,
            "platform": self.workload.platform,
            "arithmetic": list(self.lines),
            "unknown": list(self.unknown),
        }


def weight_bytes(facts: ModelFacts, dtype: str = "auto", quantization: str | None = None) -> int | None:
    """Bytes of the weights in memory. vLLM brings weights of 32 bits down to 16 unless told to keep them, and others to ``dtype``.

    With ``quantization`` it quantises plain weights one by one while it loads them, so that they are never there as a whole.
    """
    if not is_quantised_online(facts, quantization):
        return _plain_bytes(facts, dtype)
    plain, online, shape = _plain_bytes(facts, "auto"), ONLINE[str(quantization)], facts.shape
    if plain is None:
        return None
    elements = plain // 2
    # The tables of words are no layers that are quantised. Of models with experts these are nearly all the rest.
    kept = 0 if shape is None else min(elements, shape.embeddings * shape.vocabulary * shape.hidden)
    return kept * 2 + int((elements - kept) * online.bits / 8)


def is_quantised_online(facts: ModelFacts, quantization: str | None) -> bool:
    """Whether the option does something to these weights."""
    online = ONLINE.get(quantization or "")
    if online is None or facts.quantization is not None or facts.formats == ("gguf",):
        return False
    return not online.experts or facts.shape is None or facts.shape.experts > 0


def _plain_bytes(facts: ModelFacts, dtype: str) -> int | None:
    if facts.weight_bytes is None:
        return None
    stored = DTYPE_BYTES.get(facts.dtype or "")
    if facts.quantization is not None or stored is None or facts.formats == ("gguf",):
        return facts.weight_bytes
    wanted = DTYPE_BYTES.get(dtype, 2 if stored >= 4 else stored)
    if facts.parameters:
        # The headers were read: the types that the files really have, whatever the configuration says of them.
        return facts.weight_bytes - facts.float32_elements * (4 - wanted) if wanted < 4 else facts.parameters * wanted
    return facts.weight_bytes * wanted // stored


def cache_elements(shape: ModelShape, tensor_parallel: int = 1, windowed: bool = False) -> int:
    """Elements that one layer keeps of one token on each device. A head is never cut, so small ones are kept on several devices."""
    if shape.latent is not None:
        return shape.latent
    heads, key, value = shape.windowed if windowed else (shape.kv_heads, shape.key_size, shape.value_size)
    return max(1, -(-heads // tensor_parallel)) * (key + value)


def cache_bytes(shape: ModelShape, workload: Workload, element: float) -> int:
    """Bytes of the cache for all requests on each device."""
    if shape.encoder:
        return 0
    block, stages = BLOCK[workload.platform], workload.pipeline_parallel
    whole = -(-workload.context // block) * block
    elements = -(-shape.full_layers // stages) * whole * cache_elements(shape, workload.tensor_parallel)
    if shape.windowed_layers and shape.window is not None:
        kept = min(workload.context, shape.window + (workload.batched_tokens if workload.platform != "ollama" else 0))
        tokens = -(-shape.windowed_layers // stages) * -(-kept // block) * block
        elements += tokens * cache_elements(shape, workload.tensor_parallel, windowed=True)
    return int(elements * element * workload.parallel)


def activation_bytes(shape: ModelShape, workload: Workload, element: int) -> int:
    """Bytes of one step at its widest, and of the logits that the sampler works on, on each device."""
    tokens = max(1, workload.batched_tokens)
    sequences = workload.sequences or MAX_SEQUENCES.get(workload.platform, 1)
    widest = tokens * (3 * -(-shape.intermediate // workload.tensor_parallel) + 2 * shape.hidden) * element
    return widest + min(sequences, tokens) * shape.vocabulary * 4


def estimate(facts: ModelFacts, workload: Workload) -> Estimate:
    """The arithmetic, with what of it nobody could tell. A part that is not known counts nothing, and is named in ``unknown``."""
    unknown: list[str] = []
    weights = weight_bytes(facts, workload.dtype, workload.quantization)
    if weights is None:
        unknown.append("bytes of the weights")
    shape = facts.shape
    if shape is None:
        unknown.append("layers and heads")
    elif shape.other_layers:
        unknown.append(f"the state of {shape.other_layers} layers that are no attention")
    width = 4 if workload.dtype in ("float32", "float") else 2
    element = KV_BYTES.get(cache_type(facts, workload), 2.0 if workload.platform == "ollama" else float(width))
    share = -(-(weights or 0) // workload.devices)
    cache = cache_bytes(shape, workload, element) if shape else 0
    activations = activation_bytes(shape, workload, width) if shape and workload.platform != "ollama" else 0
    layers = -(-shape.full_layers // workload.pipeline_parallel) if shape and not shape.encoder else 0
    per_token = int(layers * cache_elements(shape, workload.tensor_parallel) * element) if shape else 0
    overhead = OVERHEAD[workload.platform]
    found = Estimate(share, cache, activations, overhead, per_token, workload, (), tuple(unknown))
    return replace(found, lines=tuple(_lines(found, facts, shape, element)))


def cache_type(facts: ModelFacts, workload: Workload) -> str:
    """The type of the cache: where nobody chose one, that which the checkpoint tells."""
    stored = facts.quantization
    if workload.kv_dtype != "auto" or workload.platform == "ollama" or stored is None or stored.kv_cache is None:
        return workload.kv_dtype
    # Latent attention does not ask compressed-tensors (mla_attention.py of vLLM 0.32).
    is_asked = stored.method != "compressed-tensors" or facts.shape is None or facts.shape.latent is None
    return stored.kv_cache if is_asked else workload.kv_dtype


def _lines(found: Estimate, facts: ModelFacts, shape: ModelShape | None, element: float) -> t.Iterator[str]:
    """The arithmetic as somebody checks it by hand."""
    load = found.workload
    devices = f" on each of {load.devices} devices" if load.devices > 1 else ""
    brought = f", brought to {load.quantization} while they load" if is_quantised_online(facts, load.quantization) else ""
    stored = f"{facts.quantization.method} " if facts.quantization else f"{facts.dtype} " if facts.dtype else ""
    yield f"weights {gib(found.weights)} ({stored}files of {gib(facts.weight_bytes or 0)}{brought}){devices}"
    if shape is not None:
        yield f"cache {gib(found.cache)} ({_kept(shape, load)} x {element:g} bytes x {load.context} tokens x {load.parallel} requests)"
        if found.activations:
            yield f"activations {gib(found.activations)} ({load.batched_tokens} tokens in a step)"
    yield f"server {gib(found.overhead)}"
    yield f"together {gib(found.total)}"


def _heads(heads: int, key: int, value: int, load: Workload) -> str:
    return f"{max(1, -(-heads // load.tensor_parallel))} heads x ({key} + {value})"


def _kept(shape: ModelShape, load: Workload) -> str:
    """Layers and what each keeps of a token, once where all keep the same."""
    what = _heads(shape.kv_heads, shape.key_size, shape.value_size, load)
    narrow = _heads(*shape.windowed, load)
    if shape.latent is not None:
        what = narrow = f"{shape.latent} latent elements"
    layers = f"{-(-shape.full_layers // load.pipeline_parallel)} layers"
    if not shape.windowed_layers:
        return f"{layers} x {what}"
    windowed = f"{-(-shape.windowed_layers // load.pipeline_parallel)} with a window of {shape.window}"
    return f"{layers} and {windowed} x {what}" if what == narrow else f"{layers} x {what} and {windowed} x {narrow},"


def gib(size: float) -> str:
    """Bytes as GiB, with as many digits as tell something."""
    return f"{size / GIB:.2f} GiB" if size >= GIB / 100 else f"{size / 1024**2:.2f} MiB"


def longest_context(facts: ModelFacts, workload: Workload, room: int) -> int | None:
    """The longest context, in whole blocks, with which everything fits into ``room`` bytes; None where not even one block does."""
    block = max(BLOCK[workload.platform], 16)
    low, high = 0, max(1, workload.context // block)
    while low < high:
        middle = (low + high + 1) // 2
        if estimate(facts, replace(workload, context=middle * block)).total <= room:
            low = middle
        else:
            high = middle - 1
    return low * block or None
