# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of the managed host that several modules are told."""
from __future__ import annotations


class ModuleDocFragment:
    """The models folder for all modules that read or change what is installed."""

    DOCUMENTATION = r"""
options:
  models_dir:
    description:
      - Folder of blobs, snapshots and the manifest on the managed host.
    type: path
    default: /var/lib/venom/models
    version_added: 0.1.0
  config_dir:
    description:
      - Folder of C(runtime.json) and the environment files of the runtimes on the managed host.
    type: path
    default: /etc/venom
    version_added: 0.1.0
"""

    BACKEND = r"""
options:
  backend_python:
    description:
      - Python interpreter of the backend venv that the role P(venom.llm.host#role) makes.
      - Used only when there is work to do that needs C(huggingface_hub); a run that changes nothing stays under the interpreter
        that Ansible chose.
    type: path
    default: /opt/venom/backend/bin/python
    version_added: 0.1.0
"""
