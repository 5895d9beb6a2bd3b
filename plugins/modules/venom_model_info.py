#!/usr/bin/python
# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the models of a host."""
from __future__ import annotations

DOCUMENTATION = r"""
module: venom_model_info
short_description: Tell which models are on a host, and what was done with them
version_added: 0.1.0
author:
  - venom.llm authors (@venom-llm)
description:
  - Reads the manifest and the journal of a host. Sizes, times and inodes of the files are compared with the manifest, so a model
    that somebody damaged is not told to be installed.
extends_documentation_fragment:
  - venom.llm.attributes.info_module
  - venom.llm.locations
options:
  name:
    description:
      - Only the model with this name or alias. All when it is left out.
    type: str
    version_added: 0.1.0
  limit:
    description:
      - At most this many operations, newest first.
    type: int
    default: 20
    version_added: 0.1.0
  usage:
    description:
      - Whether to measure what the models folder uses. It takes a walk over all its files.
    type: bool
    default: true
    version_added: 0.1.0
  plan:
    description:
      - Whether to return RV(plan), for hosts that shall install the same models without a hub.
    type: bool
    default: false
    version_added: 0.1.0
  max_disk_gb:
    description:
      - Quota of the models folder in GB (10^9 bytes), of which the used share is then told.
    type: float
    version_added: 0.1.0
seealso:
  - module: venom.llm.venom_model
"""

EXAMPLES = r"""
- name: What is installed
  venom.llm.venom_model_info:
  register: models

- name: What this host has, for others that are to get it from mirrors
  venom.llm.venom_model_info:
    plan: true
  register: seed

- name: Show names, revisions and sizes
  ansible.builtin.debug:
    msg: "{{ models.models | map(attribute='name') | zip(models.models | map(attribute='size_gb')) }}"
"""

RETURN = r"""
plan:
  description:
    - What the models consist of, all of it a host needs to know to install them, with the SHA-256 of every file; for
      O(venom.llm.venom_model#module:plan). The same models give the same plan.
    - A model that is damaged or cannot be read is left out with a warning.
  returned: O(plan=true)
  type: dict
  contains:
    schema:
      description: Version of its layout.
      type: int
    models:
      description: Each model with name, provider, revision, requested_revision, include, exclude, files and the manifest of an Ollama model.
      type: list
      elements: dict
models:
  description:
    - Manifest entries. RV(models[].status) is V(incomplete) when RV(models[].damaged_files) are missing or changed.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the model.
      type: str
    revision:
      description: Commit that is installed.
      type: str
    alias:
      description: Name that clients use, null when there is none.
      type: str
    served_name:
      description: The alias, or the name when there is none.
      type: str
    local_path:
      description: Folder of the snapshot.
      type: str
    status:
      description: V(installed) or V(incomplete).
      type: str
    damaged_files:
      description: Files that are missing or no longer what was published.
      type: list
      elements: str
    is_hashed:
      description:
        - Whether every byte was hashed when it was recorded. V(false) after a damaged manifest was rebuilt, until M(venom.llm.venom_model)
          or M(venom.llm.venom_manifest) with O(venom.llm.venom_manifest#module:state=discovered) has looked; till then only sizes are compared.
      type: bool
    capabilities:
      description:
        - What the model can do, each with its C(value) and its C(source), which is V(declared) by an operator, V(probed) on a live
          server, V(detected) in its files, or null where nobody knows.
      type: dict
    overridden:
      description: What a better source overrides, by capability and source.
      type: dict
    facts:
      description:
        - What the files say of the model, each with its value and the file that says it, such as C(architectures), C(context), C(shape),
          C(dtype), C(quantization), C(weight_bytes), C(modality) and C(license). The filters of the collection take them.
      type: dict
    requires_gpu:
      description: Whether its weights can be used on a GPU only, null where nobody knows.
      type: bool
manifest:
  description: The file itself.
  returned: success
  type: dict
  contains:
    path:
      description: Where it is.
      type: str
    schema:
      description: Version of its layout, described in C(docs/manifest.schema.json) of the collection.
      type: int
    is_damaged:
      description: Whether it is not what was written; then what is shown here was rebuilt, and the next change rewrites the file.
      type: bool
declared:
  description: Declared capabilities by model, also of models that are not installed.
  returned: success
  type: dict
operations:
  description: The last operations, newest first.
  returned: success
  type: list
  elements: dict
calls:
  description: Work that M(venom.llm.venom_model) has started and that goes on now, as RV(venom.llm.venom_model#module:call).
  returned: success
  type: list
  elements: dict
locks:
  description: Locks of the models folder that are held now.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the lock.
      type: str
    holder:
      description: Process id, start time and purpose of the holder.
      type: dict
usage:
  description: Bytes of the models folder and its file system. Contents shared by several models count once.
  returned: O(usage=true)
  type: dict
  contains:
    used_bytes:
      description: Bytes of the models folder, unfinished downloads included.
      type: int
    free_bytes:
      description: Free bytes of its file system.
      type: int
    limit_used_percent:
      description: Used share of O(max_disk_gb), null without it.
      type: float
    models_bytes:
      description: Bytes of all models, each content once.
      type: int
    by_model:
      description:
        - Each model, the largest first, with C(size_bytes), with C(own_bytes) that go when it is removed, with C(shared_bytes), with C(active),
          and with C(active_at), when it was activated last.
      type: list
      elements: dict
"""

from ansible_collections.venom.llm.plugins.module_utils.models_info import run_info
from ansible_collections.venom.llm.plugins.module_utils.models_options import info_spec
from ansible_collections.venom.llm.plugins.module_utils.module import run


def main() -> None:
    """Build the module and run the operation."""
    run(info_spec(), run_info)


if __name__ == "__main__":
    main()
