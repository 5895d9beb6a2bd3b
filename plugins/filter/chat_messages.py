# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: messages of a chat in the form that a model takes."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.chat_folding import fold
from ansible_collections.venom.llm.plugins.plugin_utils.filters import call

DOCUMENTATION = r"""
name: chat_messages
short_description: Bring chat messages into the form that a model takes
version_added: 0.1.0
author:
  - venom.llm authors (@venom-llm)
description:
  - Where a model refuses or drops the system role, its words are put in front of the first user message, after C(Instructions:).
  - Where a model wants its roles to take turns, neighbours of one role become one message.
  - No text is lost. What is not known of the model changes nothing.
  - Where capabilities contradict each other, what an operator declared or what is given as a plain value wins over what a server was found to do,
    and that over what the files say.
positional: capabilities
options:
  _input:
    description: Messages, each with C(role) and C(content).
    type: list
    elements: dict
    required: true
  capabilities:
    description: A record of the manifest, or its C(capabilities), or plain values such as C(supports_system_role).
    type: dict
    default: {}
seealso:
  - plugin: venom.llm.generation_params
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Ask a model that refuses the system role
  ansible.builtin.uri:
    url: http://127.0.0.1:8001/v1/chat/completions
    method: POST
    body_format: json
    body:
      model: "{{ model.alias }}"
      messages: "{{ messages | venom.llm.chat_messages(model) }}"
  vars:
    model: "{{ models_info.models | first }}"
    messages:
      - role: system
        content: Answer in one word.
      - role: user
        content: Which planet do we live on?
"""

RETURN = r"""
_value:
  description: The messages to send.
  type: list
  elements: dict
"""


def chat_messages(messages: t.Any, capabilities: t.Any = None) -> list[dict[str, t.Any]]:
    """The filter."""
    return call("chat_messages", fold, messages, capabilities)


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Filters by name."""
        return {"chat_messages": chat_messages}
