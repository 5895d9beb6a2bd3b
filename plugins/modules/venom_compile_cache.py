#!/usr/bin/python
# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code that vLLM has compiled on a host, carried to others."""
from __future__ import annotations

DOCUMENTATION = r"""
module: venom_compile_cache
short_description: Save vLLM's compile cache into an archive, or load one that a host of the same kind has made
version_added: 0.1.0
description:
  - The first start of a large model on a host compiles for minutes. What it compiled can be used by other hosts with the same GPUs, driver,
    processor, system and packages, whose first start is then like a second one. M(venom.llm.venom_compile_cache_info) tells which these are.
  - The cache is code that the server runs and pickles that it loads. Whoever controls the account of the server on the host that saves,
    runs code as that account on every host that loads. Nothing else than what a host of the same fleet has just saved may be loaded,
    so O(sha256) is required.
  - Files of the cache are read and written with the rights of the account that O(state_dir) belongs to. Loaded files are readable
    for it alone.
  - Each folder that vLLM, Triton or DeepGEMM keep under a hash is one entry, which is loaded whole or not at all. All are unpacked aside
    before the first is put in its place. An entry that is there is kept as it is.
  - What belongs to one machine is not carried, such as measurements of its memory, nor are locks and unfinished files.
author:
  - The venom.llm authors (@venom-llm)
extends_documentation_fragment:
  - venom.llm.attributes
  - venom.llm.locations
  - venom.llm.locations.backend
  - venom.llm.runtime
options:
  state:
    description:
      - With V(saved), O(archive) holds the entries of this host. It is refused while the server is starting, and when a file changes while
        it is read.
      - With V(loaded), this host has the O(entries), from O(archive) those that it lacks.
      - With V(absent), O(archive) is gone, and what killed runs have left. The cache itself stays.
    type: str
    choices: [saved, loaded, absent]
    required: true
    version_added: 0.1.0
  archive:
    description:
      - The archive on the managed host, in a folder of its own that is made for it and, when it is empty, removed with it.
    type: path
    required: true
    version_added: 0.1.0
  state_dir:
    description:
      - Folder of vLLM's own files on the managed host, in whose folder C(cache) its settings put what it compiles.
    type: path
    default: /var/lib/venom/vllm
    version_added: 0.1.0
  entries:
    description:
      - Names of entries, as RV(venom.llm.venom_compile_cache_info#module:entries) has them. V(saved) takes all when it is empty.
        V(loaded) requires them.
    type: list
    elements: str
    default: []
    version_added: 0.1.0
  sha256:
    description:
      - SHA-256 of the archive that V(saved) has told, required by V(loaded). It is checked before anything is read.
    type: str
    version_added: 0.1.0
  reader:
    description:
      - Number of the account that shall own the archive, so that it can be fetched without becoming root. Without it, it is the one that
        the module runs as. Nobody else may read it.
    type: int
    version_added: 0.1.0
  max_gb:
    description:
      - Most that the entries may take unpacked, in GB of 10^9 bytes.
    type: float
    default: 8.0
    version_added: 0.1.0
  lock_timeout:
    description:
      - Seconds to wait for an activation, a start or a stop that runs on this host.
    type: float
    default: 60.0
    version_added: 0.1.0
seealso:
  - module: venom.llm.venom_compile_cache_info
"""

EXAMPLES = r"""
- name: Save what this host has compiled
  venom.llm.venom_compile_cache:
    state: saved
    archive: /var/lib/venom/compile-cache/cache.tar.gz
  register: saved

- name: Load what another host has compiled, after the archive was copied
  venom.llm.venom_compile_cache:
    state: loaded
    archive: /var/lib/venom/compile-cache/cache.tar.gz
    sha256: "{{ hostvars['gpu-1'].saved.sha256 }}"
    entries: "{{ hostvars['gpu-1'].saved.entries | map(attribute='name') | list }}"
"""

RETURN = r"""
sha256:
  description: SHA-256 of the archive. The same in check mode.
  returned: success, with O(state=saved)
  type: str
size_bytes:
  description: Bytes of the archive.
  returned: success, with O(state=saved)
  type: int
entries:
  description: What is in the archive.
  returned: success, with O(state=saved)
  type: list
  elements: dict
  contains:
    name:
      description: Path below O(state_dir).
      type: str
    files:
      description: Number of its files.
      type: int
    bytes:
      description: Their bytes.
      type: int
loaded:
  description: Names of the entries that were missing here. The same in check mode.
  returned: success, with O(state=loaded)
  type: list
  elements: str
reason_code:
  description: Why it failed, as one fixed word.
  returned: failure
  type: str
  sample: cache_refused
"""

import typing as t

from ansible_collections.venom.llm.plugins.module_utils import compile_cache, gpus, module
from ansible_collections.venom.llm.plugins.module_utils.specs import RUNTIME_OPTIONS

OPTIONS: dict[str, t.Any] = dict(
    RUNTIME_OPTIONS,
    state={"type": "str", "choices": ["saved", "loaded", "absent"], "required": True},
    archive={"type": "path", "required": True},
    state_dir={"type": "path", "default": "/var/lib/venom/vllm"},
    entries={"type": "list", "elements": "str", "default": []},
    sha256={"type": "str"},
    reader={"type": "int"},
    max_gb={"type": "float", "default": 8.0},
    lock_timeout={"type": "float", "default": 60.0},
)


def operate(params: dict[str, t.Any], context: module.Context) -> dict[str, t.Any]:
    """Save or load; see ``compile_cache``."""
    gpus.prefer_backend(context, params["backend_python"])
    return compile_cache.operate(params, context.check_mode)


def main() -> None:
    """Run the module."""
    module.run(OPTIONS, operate, required_if=[("state", "loaded", ("sha256",))])


if __name__ == "__main__":
    main()
