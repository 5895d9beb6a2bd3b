#!/usr/bin/python
# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models on a host."""
from __future__ import annotations

DOCUMENTATION = r"""
module: venom_model
short_description: Install, update and remove LLM models
version_added: 0.1.0
author:
  - venom.llm authors (@venom-llm)
description:
  - Installs models from a Hugging Face hub, verified byte by byte, and removes them.
  - Each file is compared with the digest that the hub announces before it becomes part of a snapshot. A snapshot appears by one
    rename, so a model is there as a whole or not at all.
  - A call that finds everything as wanted uses no network and reads no model file. It compares sizes, times and inodes with the
    manifest.
  - Several revisions of a model can be installed side by side. Those that share contents share the space.
extends_documentation_fragment:
  - venom.llm.attributes
  - venom.llm.locations
  - venom.llm.locations.backend
  - venom.llm.model
attributes:
  check_mode:
    details: On a host without the backend's Python the files of a new model are not known, so a warning takes their place.
  diff_mode:
    details: Times, inodes and what is read from the files afterwards are not part of the difference.
  idempotent:
    details: With O(state=latest) the outcome depends on what the hub answers.
options:
  name:
    description:
      - Name of one model, for example V(google/gemma-2b-it).
    type: str
    version_added: 0.1.0
  provider:
    description:
      - Where the name belongs. With V(auto) a name with a tag or without a slash is one of Ollama, any other of Hugging Face.
      - Models of V(ollama) cannot be installed by this version.
    type: str
    choices: [auto, huggingface, ollama]
    default: auto
    version_added: 0.1.0
  runtime:
    description:
      - The runtime that is to serve the model. Hugging Face models go to vLLM.
    type: str
    choices: [auto, vllm, ollama]
    default: auto
    version_added: 0.1.0
  revision:
    description:
      - Branch, tag or commit. V(main) is asked for when it is left out.
      - With O(state=present) a commit is satisfied by that commit only, another name by what was installed under that name, and
        V(main) or nothing by any revision.
      - With O(state=absent) it chooses the revision to remove. All of them go when it is left out.
    type: str
    version_added: 0.1.0
  alias:
    description:
      - The name that clients use. No two models of a host may have the same one.
      - What is recorded stays when it is left out.
    type: str
    version_added: 0.1.0
  include:
    description:
      - Shell patterns of the files to install. All when it is left out.
    type: list
    elements: str
    version_added: 0.1.0
  exclude:
    description:
      - Shell patterns of files to leave out.
    type: list
    elements: str
    version_added: 0.1.0
  models:
    description:
      - Several models in one call. Everything is planned before the first byte moves.
    type: list
    elements: dict
    version_added: 0.1.0
    suboptions:
      name:
        description: See O(name).
        type: str
        required: true
      provider:
        description: See O(provider).
        type: str
        choices: [auto, huggingface, ollama]
        default: auto
      runtime:
        description: See O(runtime).
        type: str
        choices: [auto, vllm, ollama]
        default: auto
      revision:
        description: See O(revision).
        type: str
      alias:
        description: See O(alias).
        type: str
      include:
        description: See O(include).
        type: list
        elements: str
      exclude:
        description: See O(exclude).
        type: list
        elements: str
      state:
        description: State of this model, when it differs from O(state).
        type: str
        choices: [present, latest, absent]
  state:
    description:
      - With V(present) the model is installed, and files that were changed or lost are repaired.
      - With V(latest) the commit that the branch or tag stands for now is installed. Earlier revisions stay until they are removed.
      - With V(absent) the model is removed, with all contents that nothing else uses.
    type: str
    choices: [present, latest, absent]
    default: present
    version_added: 0.1.0
  force:
    description:
      - Remove a model even if it is the active one of a runtime.
    type: bool
    default: false
    version_added: 0.1.0
seealso:
  - module: venom.llm.venom_model_info
  - module: venom.llm.venom_manifest
  - module: venom.llm.venom_runtime
"""

EXAMPLES = r"""
- name: Install one model in one revision
  venom.llm.venom_model:
    name: google/gemma-2b-it
    revision: 96988410cbdaeb8d5093d1ebdc5a8fb563e02bad
    alias: gemma-2b-it
    token_file: /etc/venom/credentials/hf_token

- name: Install what the list says, and see to it that an old model is gone
  venom.llm.venom_model:
    models:
      - name: Qwen/Qwen3-0.6B
        alias: small
      - name: Qwen/Qwen2.5-0.5B
        state: absent
    max_disk_gb: 200

- name: Follow a branch
  venom.llm.venom_model:
    name: Qwen/Qwen3-0.6B
    revision: main
    state: latest
"""

RETURN = r"""
models:
  description: Manifest entries of the models that are wanted, as they are now, or in check mode as far as they are known.
  returned: success
  type: list
  elements: dict
  sample:
    - name: google/gemma-2b-it
      revision: 96988410cbdaeb8d5093d1ebdc5a8fb563e02bad
      alias: gemma-2b-it
      local_path: /var/lib/venom/models/hf/google--gemma-2b-it@96988410cbdaeb8d5093d1ebdc5a8fb563e02bad
      size_bytes: 5034567890
plan:
  description: What had to be done for each model, with the files and their bytes.
  returned: success
  type: list
  elements: dict
  sample:
    - name: google/gemma-2b-it
      action: install
      bytes_to_fetch: 5034567890
operations:
  description: Journal entries of what this call did.
  returned: success
  type: list
  elements: dict
bytes_total:
  description: Size of the wanted models in bytes.
  returned: success
  type: int
bytes_to_fetch:
  description: Bytes that the plan has to fetch, the same content counted once.
  returned: success
  type: int
bytes_fetched:
  description: Bytes that were fetched and verified. V(0) in check mode.
  returned: success
  type: int
bytes_kept:
  description: Bytes of the wanted models that were on the host already.
  returned: success
  type: int
bytes_from_mirror:
  description: Bytes that came from a mirror. Always V(0) in this version.
  returned: success
  type: int
bytes_free:
  description: Free bytes on the file system of the models folder, null when nothing had to be planned.
  returned: success
  type: int
files_repaired:
  description: Files that had been changed or lost and are right again.
  returned: success
  type: int
seconds:
  description: Duration of the call on the host.
  returned: success
  type: float
reason_code:
  description:
    - Why the call failed, for programs. See the documentation of the collection for all of them.
  returned: failure
  type: str
  sample: quota_exceeded
"""

from ansible_collections.venom.llm.plugins.module_utils import models_options
from ansible_collections.venom.llm.plugins.module_utils.models import run_models
from ansible_collections.venom.llm.plugins.module_utils.module import run


def main() -> None:
    """Build the module and run the operation."""
    run(models_options.model_spec(), run_models, **models_options.model_rules())


if __name__ == "__main__":
    main()
