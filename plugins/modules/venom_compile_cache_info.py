#!/usr/bin/python
# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM has compiled on a host, and for which hosts."""
from __future__ import annotations

DOCUMENTATION = r"""
module: venom_compile_cache_info
short_description: Tell what vLLM has compiled on a host, and which hosts could use it
version_added: 0.1.0
description:
  - Hosts with the same RV(key_id) can use each other's compiled code, see M(venom.llm.venom_compile_cache).
  - A host that can take no part, for lack of vLLM or of a known driver, is told why. That is no failure.
author:
  - The venom.llm authors (@venom-llm)
extends_documentation_fragment:
  - venom.llm.attributes.info_module
  - venom.llm.locations
  - venom.llm.locations.backend
  - venom.llm.runtime
options:
  state_dir:
    description:
      - Folder of vLLM's own files on the managed host, in whose folder C(cache) its settings put what it compiles.
    type: path
    default: /var/lib/venom/vllm
    version_added: 0.1.0
seealso:
  - module: venom.llm.venom_compile_cache
"""

EXAMPLES = r"""
- name: Look at the compile cache
  venom.llm.venom_compile_cache_info:
  register: compiled

- name: Show for which hosts it is
  ansible.builtin.debug:
    msg: "{{ compiled.key }}"
"""

RETURN = r"""
key_id:
  description: Hosts with the same one can use each other's cache. Null where there is none.
  returned: success
  type: str
key:
  description: What it is made of. Null where there is none.
  returned: success
  type: dict
  contains:
    gpus:
      description: Kinds of GPUs with their compute capability. Their number does not matter.
      type: list
      elements: str
    driver:
      description: Version of the GPU's driver.
      type: str
    machine:
      description: Architecture of the processor.
      type: str
    processor:
      description: Its name with a digest of its features, since code is compiled for this very processor.
      type: str
    system:
      description: Distribution and C library.
      type: str
    python:
      description: Series of vLLM's Python.
      type: str
    packages:
      description: Releases of vLLM, torch, Triton and what else compiles.
      type: list
      elements: str
    program:
      description: Path of vLLM's Python.
      type: str
    folder:
      description: Path of the cache's folder, which compiled code has inside.
      type: str
entries:
  description: What is there.
  returned: success
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
size_bytes:
  description: Bytes of all entries.
  returned: success
  type: int
can_save:
  description: Whether there is something to save, and nobody writes it.
  returned: success
  type: bool
reason:
  description: Why this host has no key, or cannot save. Null when it can, and where it is merely empty.
  returned: success
  type: str
"""

import typing as t

from ansible_collections.venom.llm.plugins.module_utils import compile_cache, gpus, module
from ansible_collections.venom.llm.plugins.module_utils.specs import RUNTIME_OPTIONS

OPTIONS: dict[str, t.Any] = dict(RUNTIME_OPTIONS, state_dir={"type": "path", "default": "/var/lib/venom/vllm"})


def operate(params: dict[str, t.Any], context: module.Context) -> dict[str, t.Any]:
    """Observe; see ``compile_cache``."""
    gpus.prefer_backend(context, params["backend_python"])
    return dict(compile_cache.inspect(params), changed=False)


def main() -> None:
    """Run the module."""
    module.run(OPTIONS, operate)


if __name__ == "__main__":
    main()
