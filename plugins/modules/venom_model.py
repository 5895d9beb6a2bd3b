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
  - Installs models from a Hugging Face hub or an Ollama registry, verified byte by byte, repairs and removes them.
  - Each file is compared with the digest that the source announces before it becomes part of a model. A model appears by one
    rename, so it is there as a whole or not at all.
  - Bytes that have arrived are not fetched again, whatever ended the run. After a kill, a power cut or a full disk at most 16 MiB for
    each stream are lost.
  - A call that finds everything as wanted uses no network and reads no model file. It compares sizes, times and inodes with the
    manifest.
  - Several revisions of a model can be installed side by side. Those that share contents share the space.
extends_documentation_fragment:
  - venom.llm.attributes
  - venom.llm.locations
  - venom.llm.locations.backend
  - venom.llm.model
  - venom.llm.model.ollama
  - venom.llm.model.mirrors
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
    type: str
    choices: [auto, huggingface, ollama]
    default: auto
    version_added: 0.1.0
  runtime:
    description:
      - The runtime that is to serve the model. Hugging Face models go to vLLM, Ollama models to Ollama.
    type: str
    choices: [auto, vllm, ollama]
    default: auto
    version_added: 0.1.0
  revision:
    description:
      - Branch, tag or commit. V(main) is asked for when it is left out.
      - For an Ollama model a tag, or the digest of a manifest (C(sha256:...)), which pins the model whatever the tag becomes.
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
        choices: [present, latest, verified, absent]
  state:
    description:
      - With V(present) the model is installed, and files that were changed or lost are repaired.
      - With V(latest) the commit that the branch or tag stands for now is installed. Earlier revisions stay until they are removed. For
        an Ollama model the tag gets the manifest that the registry has now.
      - With V(verified) it is V(present), and every byte is hashed again, on all cores. Files that are bad or missing are fetched
        again, good ones are not.
      - With V(absent) the model is removed, with all contents that nothing else uses. A loaded Ollama model is unloaded first.
    type: str
    choices: [present, latest, verified, absent]
    default: present
    version_added: 0.1.0
  force:
    description:
      - Remove a model even if it is the active one of a runtime.
    type: bool
    default: false
    version_added: 0.1.0
  operation:
    description:
      - How to do the work. Leave it out in playbooks. Then the controller starts the work, shows its progress at least every 15
        seconds, and returns the result of V(run). A play that is interrupted stops the work, and the next run goes on from there.
      - The variable C(venom_progress_interval) of a host changes the 10 seconds between two lines.
      - With V(run) the module works to its end and shows nothing before. Tasks with C(async) and check mode do so, too.
      - With V(start) a process of its own on the host does the work. The result is that of V(run) if there was nothing to do or the
        work took less than O(operation_wait), and RV(call) otherwise.
      - With V(poll) the result is that of V(run) once the work has ended, and RV(call) before.
      - With V(cancel) the work is stopped. What has arrived is kept for the next run.
    type: str
    choices: [run, start, poll, cancel]
    default: run
    version_added: 0.1.0
  operation_id:
    description:
      - The call to ask for with O(operation=poll), or to stop with O(operation=cancel). The latter stops all calls on
        O(models_dir) when it is left out.
      - With O(operation=start) it is the id to give to the call. One is made up when it is left out.
    type: str
    version_added: 0.1.0
  operation_wait:
    description:
      - Seconds that O(operation=start) and O(operation=poll) wait for the end of the work before they answer. 3 and 10 when it is
        left out.
    type: float
    version_added: 0.1.0
  operation_lease:
    description:
      - Seconds without O(operation=poll) after which started work stops itself, as when the controller was killed or its line to the
        host is cut. With V(0) it goes on unattended.
    type: float
    default: 60.0
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

- name: An Ollama model, pinned, in the store of the server on this host
  venom.llm.venom_model:
    name: phi3:mini
    revision: sha256:633fc5be925f9a484b61d6f9b9a78021eeb462100bd557309f01ba84cac26adf

- name: The same from a private registry, at most 50 MB a second
  venom.llm.venom_model:
    name: phi3:mini
    registry: https://models.example.org
    registry_username: fleet
    registry_password_file: /etc/venom/credentials/registry
    bandwidth_limit: 50M

- name: Hash every byte of what is installed, and fetch again what is bad
  venom.llm.venom_model:
    name: google/gemma-2b-it
    token_file: /etc/venom/credentials/hf_token
    state: verified

- name: Without a token and without the internet, from a host that has the model
  venom.llm.venom_model:
    name: google/gemma-2b-it
    plan: "{{ hostvars['gpu1'].seed.plan }}"
    mirrors:
      - http://gpu1.example.org:8090
    mirrors_only: true

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
  description:
    - Bytes that were fetched, what was wrong and had to be thrown away included. V(0) in check mode.
    - Where an Ollama server fetches, the sizes of what it did not have.
  returned: success
  type: int
bytes_kept:
  description: Bytes of the wanted models that were on the host already.
  returned: success
  type: int
bytes_from_mirror:
  description: Bytes that came from mirrors. V(0) in check mode.
  returned: success
  type: int
bytes_by_source:
  description:
    - Bytes by where they came from, the base URL of a mirror or C(origin), which is the hub or the registry. Empty in check mode.
    - Beside O(mirrors) and O(plan) it counts what was read before the plan was made, too, such as headers, and what had to be thrown away.
  returned: success
  type: dict
  sample:
    http://10.0.0.11:8090: 5034567890
    origin: 20480
bytes_free:
  description:
    - Free bytes on the file system that the models come to, of the narrowest where they come to several, null when nothing had to be planned.
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
call:
  description:
    - Work that goes on, with RV(call.id) for O(operation_id). When it is there, nothing else is but C(changed).
  returned: O(operation=start) and O(operation=poll), as long as the work has not ended
  type: dict
  contains:
    id:
      description: Id of the call.
      type: str
    state:
      description: V(pending) or V(in_progress).
      type: str
    models:
      description: Names of the models.
      type: list
      elements: str
    message:
      description: What is being done, null when RV(call.operations) tell it.
      type: str
    operations:
      description: Journal entries of what is being done, with bytes, bytes_total and bytes_per_second.
      type: list
      elements: dict
    waiting_for:
      description: Holder of the lock that the call may be waiting for, null when there is none.
      type: dict
calls:
  description: What was stopped.
  returned: O(operation=cancel)
  type: list
  elements: dict
reason_code:
  description:
    - Why the call failed, for programs. See the documentation of the collection for all of them.
  returned: failure
  type: str
  sample: quota_exceeded
"""

from ansible_collections.venom.llm.plugins.module_utils import models_options
from ansible_collections.venom.llm.plugins.module_utils.models_operation import run_operation
from ansible_collections.venom.llm.plugins.module_utils.module import run


def main() -> None:
    """Build the module and run the operation."""
    run(models_options.model_spec(), run_operation, **models_options.model_rules())


if __name__ == "__main__":
    main()
