# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the arguments with which vLLM serves a model."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.facts_input import arguments_of
from ansible_collections.venom.llm.plugins.plugin_utils.filters import call, warn

DOCUMENTATION = r"""
name: vllm_arguments
short_description: Derive the arguments of vLLM from a model's facts
version_added: 0.1.0
author:
  - venom.llm authors (@venom-llm)
description:
  - Gives the words for C(venom_vllm_args) with which vLLM serves the model on the devices that are described.
  - The longest context that fits is chosen, up to what the model holds, and a type that the GPU calculates in.
  - Refuses what cannot work, with the reason codes of the collection, such as C(insufficient_memory) and C(incompatible_quantization).
options:
  _input:
    description: A record of the manifest with its C(facts), those facts, or the content of a model's C(config.json).
    type: dict
    required: true
  weight_bytes:
    description: Bytes of the weights, where the input is a C(config.json).
    type: int
  gpu_memory_gib:
    description: Memory of one GPU in GiB. Without it the context is not chosen by memory.
    type: float
  compute_capability:
    description: Of the GPU, such as V(8.9).
    type: str
  gpus:
    description: GPUs that share the model. With V(0) it runs on the processor.
    type: int
    default: 1
  memory_gib:
    description: Main memory in GiB, where O(gpus=0).
    type: float
  dtype:
    description: Type of the numbers, such as V(bfloat16).
    type: str
    default: auto
  quantization:
    description: How vLLM is to quantise plain weights while it loads them, such as V(fp8). Weights that are stored so need nothing.
    type: str
  context:
    description: Tokens of one request.
    type: int
  kv_cache_dtype:
    description: Type of the cache, such as V(fp8).
    type: str
    default: auto
  gpu_memory_utilization:
    description: Share of the memory that vLLM takes.
    type: float
    default: 0.92
seealso:
  - plugin: venom.llm.vram_estimate
    plugin_type: filter
"""

EXAMPLES = r"""
# In group_vars of hosts with one GPU of 24 GiB; models_info comes from venom.llm.venom_model_info.
- name: Set the arguments of the server by what the model is
  ansible.builtin.set_fact:
    venom_vllm_args: "{{ model | venom.llm.vllm_arguments(gpu_memory_gib=24, compute_capability='8.9') }}"
  vars:
    model: "{{ models_info.models | selectattr('alias', 'equalto', 'gemma-2b-it') | first }}"
"""

RETURN = r"""
_value:
  description: Arguments of vLLM, one word each.
  type: list
  elements: str
"""


def vllm_arguments(model: t.Any, **options: t.Any) -> list[str]:
    """The filter."""
    prepared = call("vllm_arguments", arguments_of, model, options)
    warn(prepared.warnings)
    return list(prepared.words)


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Filters by name."""
        return {"vllm_arguments": vllm_arguments}
