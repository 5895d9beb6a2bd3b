#!/usr/bin/python
# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama on a host."""
from __future__ import annotations

DOCUMENTATION = r"""
module: venom_ollama_info
short_description: Tell what a host has of Ollama, and whether its settings are in effect
version_added: 0.1.0
description:
  - Finds releases of Ollama, servers, programs and models that were installed by its own script or as a snap, and the devices it could use.
  - Compares the settings of C(ollama.env) with those that the running server wrote to its log when it started. The server takes
    many a wrong value for its default without a word.
author:
  - The venom.llm authors (@venom-llm)
extends_documentation_fragment:
  - venom.llm.attributes.info_module
options:
  folder:
    description:
      - Folder on the managed host with a folder for each release and the link C(current).
    type: path
    default: /opt/venom/ollama
    version_added: 0.1.0
  config_dir:
    description:
      - Folder of C(ollama.env) on the managed host.
    type: path
    default: /etc/venom
    version_added: 0.1.0
  log_dir:
    description:
      - Folder of C(ollama.log) on the managed host.
    type: path
    default: /var/log/venom
    version_added: 0.1.0
seealso:
  - module: venom.llm.venom_release
  - module: venom.llm.venom_runtime_info
"""

EXAMPLES = r"""
- name: Look for Ollama
  venom.llm.venom_ollama_info:
  register: ollama

- name: Show settings that did not reach the server
  ansible.builtin.debug:
    msg: "{{ ollama.settings.differences }}"
"""

RETURN = r"""
foreign:
  description: What others installed.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: C(unit), C(program) or C(models).
      type: str
    name:
      description: Name of the unit.
      type: str
    path:
      description: Where it lies.
      type: str
    runs:
      description: Whether the unit runs.
      type: bool
    enabled:
      description: Whether the unit starts at boot, or can be started by another unit.
      type: bool
    models_dir:
      description: OLLAMA_MODELS of the unit where it says so, or the folder of models itself.
      type: str
devices:
  description: Whether there are C(nvidia) and C(amd) devices.
  returned: success
  type: dict
groups:
  description: Which of the groups C(render) and C(video), that own AMD devices, exist.
  returned: success
  type: list
  elements: str
releases:
  description: Releases of this collection.
  returned: success
  type: dict
  contains:
    current:
      description: The version that the link points to, null without it.
      type: str
    complete:
      description: Those that were unpacked whole, each as the version, a slash and its marker.
      type: list
      elements: str
settings:
  description: What was asked for and what is in effect.
  returned: success
  type: dict
  contains:
    wanted:
      description: Variables of the server in C(ollama.env).
      type: dict
    effective:
      description: What the running server says, null where none runs or its log does not say.
      type: dict
    differences:
      description: Each variable with another value in effect, as C(name), C(wanted) and C(found).
      type: list
      elements: dict
"""

import typing as t

from ansible_collections.venom.llm.plugins.module_utils import module, ollama_setup

OPTIONS: dict[str, t.Any] = {
    "folder": {"type": "path", "default": "/opt/venom/ollama"},
    "config_dir": {"type": "path", "default": "/etc/venom"},
    "log_dir": {"type": "path", "default": "/var/log/venom"},
}


def operate(params: dict[str, t.Any], dummy: module.Context) -> dict[str, t.Any]:
    """Observe; see ``ollama_setup``."""
    return dict(ollama_setup.describe(params), changed=False)


def main() -> None:
    """Run the module."""
    module.run(OPTIONS, operate)


if __name__ == "__main__":
    main()
