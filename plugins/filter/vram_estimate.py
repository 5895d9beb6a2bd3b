# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the memory that a model takes to serve."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.facts_input import estimate_of
from ansible_collections.venom.llm.plugins.plugin_utils.filters import call

DOCUMENTATION = r"""
name: vram_estimate
short_description: Estimate the memory that a model takes to serve
version_added: 0.1.0
author:
  - venom.llm authors (@venom-llm)
description:
  - Adds up weights, cache, activations and what the server itself takes, and shows the arithmetic.
  - The facts are those of a record of the manifest, or of a C(config.json) with the bytes of the weights beside it.
  - See the page on compatibility in the documentation of the collection for what is exact and what is not.
options:
  _input:
    description: A record of the manifest with its C(facts), those facts, or the content of a model's C(config.json).
    type: dict
    required: true
  weight_bytes:
    description: Bytes of the weights, where the input is a C(config.json).
    type: int
  context:
    description: Tokens of one request. What the model serves by default when it is left out.
    type: int
  parallel:
    description: Requests of that length that must have room at once.
    type: int
    default: 1
  kv_cache_dtype:
    description: Type of the cache, such as V(fp8) for vLLM or V(q8_0) for Ollama.
    type: str
    default: auto
  dtype:
    description: Type that the server brings the weights to.
    type: str
    default: auto
  tensor_parallel:
    description: GPUs that share the model. The result is for each of them.
    type: int
    default: 1
  platform:
    description: V(cuda) and V(cpu) are vLLM on a GPU and on a processor.
    type: str
    choices: [cuda, cpu, ollama]
    default: cuda
seealso:
  - plugin: venom.llm.vllm_arguments
    plugin_type: filter
"""

EXAMPLES = r"""
- name: What a model would take on two GPUs
  ansible.builtin.debug:
    msg: "{{ (model | venom.llm.vram_estimate(context=8192, tensor_parallel=2)).arithmetic }}"
  vars:
    model: "{{ models_info.models | first }}"
"""

RETURN = r"""
_value:
  description: C(weights_bytes), C(cache_bytes), C(activations_bytes), C(overhead_bytes), C(total_bytes), C(total_gib), and C(arithmetic) as text.
  type: dict
"""


def vram_estimate(model: t.Any, **options: t.Any) -> dict[str, t.Any]:
    """The filter."""
    return call("vram_estimate", estimate_of, model, options)


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Filters by name."""
        return {"vram_estimate": vram_estimate}
