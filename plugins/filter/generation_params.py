# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: parameters of generation in the words of a server."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.generation_mapping import map_parameters
from ansible_collections.venom.llm.plugins.plugin_utils.filters import call, warn

DOCUMENTATION = r"""
name: generation_params
short_description: Write generation parameters in the words of a server
version_added: 0.1.0
author:
  - venom.llm authors (@venom-llm)
description:
  - Takes one neutral set of parameters and gives the part of a request that says the same to vLLM, to Ollama or to the OpenAI API.
  - A value out of range is refused. What the server or the model cannot do is left out, with a warning.
positional: server, capabilities
options:
  _input:
    description:
      - Any of C(temperature), C(max_tokens), C(top_p), C(top_k), C(min_p), C(repeat_penalty), C(stop), C(seed), C(format) or
        C(response_format), C(tools), C(tool_choice) and C(think). Null means not given.
    type: dict
    required: true
  server:
    description: Whose words to use. V(vllm) is vLLM's C(/v1/chat/completions), V(ollama) is Ollama's C(/api/chat).
    type: str
    choices: [vllm, ollama, openai]
    required: true
  capabilities:
    description: A record of the manifest, or its C(capabilities), or plain values such as C(supports_tools).
    type: dict
    default: {}
seealso:
  - plugin: venom.llm.chat_messages
    plugin_type: filter
"""

EXAMPLES = r"""
- name: The same question for two servers
  ansible.builtin.debug:
    msg:
      - "{{ wanted | venom.llm.generation_params('vllm', model) }}"
      - "{{ wanted | venom.llm.generation_params('ollama') }}"
  vars:
    model: "{{ models_info.models | first }}"
    wanted:
      temperature: 0.2
      max_tokens: 200
      repeat_penalty: 1.1
      stop: ["###"]
# vllm: temperature 0.2, max_tokens 200, repetition_penalty 1.1, stop
# ollama: options with temperature 0.2, num_predict 200, repeat_penalty 1.1, stop
"""

RETURN = r"""
_value:
  description: Keys for the body of the request.
  type: dict
"""


def generation_params(wanted: t.Any, server: str, capabilities: t.Any = None) -> dict[str, t.Any]:
    """The filter."""
    mapped = call("generation_params", map_parameters, wanted, server, capabilities)
    warn(mapped.warnings)
    return mapped.body


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Filters by name."""
        return {"generation_params": generation_params}
