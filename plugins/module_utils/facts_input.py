# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a model as a playbook has them: a record of the manifest, its facts, or a config.json."""
from __future__ import annotations

import json
import typing as t
from dataclasses import replace

from ansible_collections.venom.llm.plugins.module_utils.compatibility import Device
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.memory_estimate import BLOCK, Workload, estimate
from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts, read_model_facts
from ansible_collections.venom.llm.plugins.module_utils.model_files import ModelFiles
from ansible_collections.venom.llm.plugins.module_utils.quantization_support import capability_number
from ansible_collections.venom.llm.plugins.module_utils.serve_settings import DEFAULT_UTILIZATION
from ansible_collections.venom.llm.plugins.module_utils.vllm_arguments import Prepared, gib_to_bytes, prepare

#: Options of each filter with their type and default.
_ESTIMATE = {
    "weight_bytes": (int, None), "context": (int, None), "parallel": (int, 1), "kv_cache_dtype": (str, "auto"), "dtype": (str, "auto"),
    "tensor_parallel": (int, 1), "platform": (str, "cuda"),
}  # fmt: skip
_ARGUMENTS = {
    "weight_bytes": (int, None), "gpu_memory_gib": (float, None), "compute_capability": (str, None), "gpus": (int, 1), "memory_gib": (float, None),
    "dtype": (str, "auto"), "quantization": (str, None), "context": (int, None), "kv_cache_dtype": (str, "auto"),
    "gpu_memory_utilization": (float, DEFAULT_UTILIZATION),
}  # fmt: skip

Options = t.Mapping[str, t.Any]


def facts_from(model: t.Any, weight_bytes: int | None = None) -> ModelFacts:
    """The facts of whatever a playbook hands over. Raises ``invalid_option`` for a value that has none."""
    if not isinstance(model, t.Mapping):
        raise _bad("the model", "a record of the manifest, its facts, or a config.json", type(model).__name__)
    recorded = model.get("facts")
    if isinstance(recorded, t.Mapping) and recorded:
        facts = ModelFacts.from_dict(recorded)
    elif any(isinstance(item, t.Mapping) and "value" in item for item in model.values()):
        facts = ModelFacts.from_dict(model)
    else:
        content = json.dumps(dict(model), default=str).encode("utf-8")
        facts = read_model_facts(ModelFiles({"config.json": len(content)}, lambda dummy: content))
        # No file was seen, so what the configuration says of the type is all there is.
        told = model.get("torch_dtype") or model.get("dtype")
        facts = replace(facts, dtype=told.replace("torch.", "") if isinstance(told, str) else None)
    if facts.shape is None and facts.weight_bytes is None and not facts.architectures and weight_bytes is None:
        raise _bad("the model", "facts or a configuration", "nothing that tells layers, weights or architecture")
    # The elements that a record has are not those of other bytes.
    return facts if weight_bytes is None else replace(facts, weight_bytes=weight_bytes, parameters=None, float32_elements=0)


def estimate_of(model: t.Any, options: Options) -> dict[str, t.Any]:
    """The estimate that the filter gives. Raises ``invalid_option``."""
    given = _read(options, _ESTIMATE)
    facts = facts_from(model, given["weight_bytes"])
    if given["platform"] not in BLOCK:
        raise _bad("platform", f"one of {', '.join(BLOCK)}", repr(given["platform"]))
    context = given["context"] or (facts.context.default if facts.context else None)
    if context is None:
        raise _bad("context", "the tokens of one request, since the model does not tell", "nothing")
    load = Workload(
        context=_positive("context", context),
        parallel=_positive("parallel", given["parallel"]),
        kv_dtype=given["kv_cache_dtype"],
        dtype=given["dtype"],
        tensor_parallel=_positive("tensor_parallel", given["tensor_parallel"]),
        platform=given["platform"],
    )
    return estimate(facts, load).to_dict()


def arguments_of(model: t.Any, options: Options) -> Prepared:
    """The words that the filter gives. Raises ``invalid_option`` and what ``prepare`` raises."""
    given = _read(options, _ARGUMENTS)
    facts = facts_from(model, given["weight_bytes"])
    name = str(model.get("name") or next(iter(facts.architectures), "the model"))
    device = None
    if given["gpus"] > 0:
        capability = capability_number(given["compute_capability"])
        if given["compute_capability"] is not None and capability is None:
            raise _bad("compute_capability", "two numbers with a point, such as 8.9", repr(given["compute_capability"]))
        device = Device("the GPU", gib_to_bytes(given["gpu_memory_gib"]), capability)
    share = given["gpu_memory_utilization"]
    if not 0 < share <= 1:
        raise _bad("gpu_memory_utilization", "more than 0 and at most 1", str(share))
    return prepare(
        name,
        facts,
        device=device,
        devices=max(1, given["gpus"]),
        dtype=given["dtype"],
        quantization=given["quantization"],
        context=None if given["context"] is None else _positive("context", given["context"]),
        kv_dtype=given["kv_cache_dtype"],
        utilization=share,
        cpu_memory=gib_to_bytes(given["memory_gib"]),
    )


def _read(options: Options, known: t.Mapping[str, tuple[type, t.Any]]) -> dict[str, t.Any]:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise _bad(unknown[0], f"one of {', '.join(known)}", f"the option {unknown[0]}")
    given: dict[str, t.Any] = {}
    for name, (kind, default) in known.items():
        value = options.get(name, default)
        if value is not None:
            try:
                value = kind(value)
            except (TypeError, ValueError, OverflowError):
                raise _bad(name, f"a value of type {kind.__name__}", repr(options.get(name))[:60]) from None
        given[name] = value
    return given


def _positive(name: str, value: int) -> int:
    if not 0 < value <= 2**40:
        raise _bad(name, "a number from 1 on", str(value))
    return value


def _bad(option: str, wanted: str, found: str) -> VenomError:
    return VenomError("invalid_option", wanted=f"{option}: {wanted}", found=found, todo=f"correct {option}", option=option)
