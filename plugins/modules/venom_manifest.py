#!/usr/bin/python
# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of a host."""
from __future__ import annotations

DOCUMENTATION = r"""
module: venom_manifest
short_description: Declare, complete and repair what the manifest of a host says
version_added: 0.1.0
author:
  - venom.llm authors (@venom-llm)
description:
  - The manifest records which models are on a host and what they can do. This module changes the record only, never a model's
    files.
  - Every record carries a checksum. A record that was damaged, or edited by hand, is not believed; it is rebuilt from what lies in
    the stores, and the file is kept under a dated name. See the collection's C(docs/manifest.md).
extends_documentation_fragment:
  - venom.llm.attributes
  - venom.llm.locations
options:
  state:
    description:
      - With V(present) the O(capabilities) of a model are what is given here. They win over what a live server was found to do, and
        that over what its files tell, and they stay when the model is removed and installed again. What is left out is taken back.
      - With V(absent) the records of a model and what was declared of it are forgotten. Its files stay, so O(state=discovered) finds
        them again. Remove a model with M(venom.llm.venom_model).
      - With V(discovered) models that the manifest lacks are added to it, from the snapshots, from Ollama's store and from its
        server. Every byte of the former two is hashed once, which takes minutes for large models; what is damaged is not added. Records
        that are there get the facts that their files tell.
      - With V(sanitized) old records are repaired, that is missing fields, times without offset, folders that have moved, and
        operations that never ended. Records that cannot be repaired are dropped.
    type: str
    choices: [present, absent, discovered, sanitized]
    default: present
    version_added: 0.1.0
  name:
    description:
      - Name of the model. Required with O(state=present) and O(state=absent).
    type: str
    version_added: 0.1.0
  provider:
    description:
      - Where the name belongs. With V(auto) a name with a tag or without a slash is one of Ollama, any other of Hugging Face.
    type: str
    choices: [auto, huggingface, ollama]
    default: auto
    version_added: 0.1.0
  revision:
    description:
      - With O(state=absent) only this revision. All when it is left out.
    type: str
    version_added: 0.1.0
  capabilities:
    description:
      - What the operator knows of the model. Required with O(state=present).
    type: dict
    version_added: 0.1.0
    suboptions:
      architectures:
        description: Names of the model classes.
        type: list
        elements: str
      has_chat_template:
        description: Whether the model brings a chat template.
        type: bool
      chat_template_file:
        description: The file that the chat template is in.
        type: str
      max_context_length:
        description: Longest context in tokens.
        type: int
      quantization:
        description: Method of quantization.
        type: str
      generation_parameters:
        description: Parameters of generation with their defaults or ranges.
        type: dict
      supports_system_role:
        description: Whether a system message has an effect.
        type: bool
      system_handling:
        description: What becomes of a system message, one of separate, merged, dropped and rejected.
        type: str
      system_role_error:
        description: The words in which a system message is refused.
        type: str
      allowed_roles:
        description: Roles that messages may have.
        type: list
        elements: str
      requires_alternation:
        description: Whether user and assistant must alternate.
        type: bool
      supports_tools:
        description: Whether the model calls functions.
        type: bool
      supports_thinking:
        description: Whether the model can think before it answers.
        type: bool
      supports_structured_outputs:
        description: Whether the answers can be bound to a schema.
        type: bool
      prompt_template:
        description: The template of prompts.
        type: str
  ollama_models_dir:
    description:
      - Folder of the Ollama server's models (OLLAMA_MODELS). Only looked at, with O(state=discovered).
    type: path
    default: /var/lib/ollama
    version_added: 0.1.0
  ollama_url:
    description:
      - URL of the Ollama server of this host, asked with O(state=discovered) for models that are in no store that can be read here.
        One that does not answer has none.
    type: str
    default: http://127.0.0.1:11434
    version_added: 0.1.0
  lock_timeout:
    description:
      - Seconds to wait for another process that changes the models of this host. With V(0) there is one try.
    type: float
    default: 60.0
    version_added: 0.1.0
seealso:
  - module: venom.llm.venom_model
  - module: venom.llm.venom_model_info
"""

EXAMPLES = r"""
- name: This model takes no system message, whatever its template says
  venom.llm.venom_manifest:
    name: google/gemma-2b-it
    capabilities:
      supports_system_role: false

- name: Record what lies in the models folder and in Ollama's store already
  venom.llm.venom_manifest:
    state: discovered

- name: Mend what an older version, a full disk or a hand left
  venom.llm.venom_manifest:
    state: sanitized
"""

RETURN = r"""
models:
  description: All entries of the manifest.
  returned: success
  type: list
  elements: dict
declared:
  description: Declared capabilities by model.
  returned: success
  type: dict
  sample:
    huggingface:google/gemma-2b-it:
      supports_system_role: false
repaired_operations:
  description: Ids of operations in the journal that were repaired.
  returned: success
  type: list
  elements: str
reason_code:
  description: Why the call failed, for programs.
  returned: failure
  type: str
  sample: model_active
"""

from ansible_collections.venom.llm.plugins.module_utils import models_options
from ansible_collections.venom.llm.plugins.module_utils.manifest_states import run_manifest
from ansible_collections.venom.llm.plugins.module_utils.module import run


def main() -> None:
    """Build the module and run the operation."""
    run(models_options.manifest_spec(), run_manifest, **models_options.manifest_rules())


if __name__ == "__main__":
    main()
