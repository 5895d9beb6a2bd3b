#!/usr/bin/python
# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has and uses."""
from __future__ import annotations

DOCUMENTATION = r"""
module: venom_host_info
short_description: Tell processors, memory, GPUs, disk and models of a host
version_added: 0.1.0
description:
  - Reads what the host has for models and how much of it is in use.
  - GPUs need the Python library C(nvidia-ml-py) and an NVIDIA driver. Without them RV(gpu_reason) says what is missing, and it is
    no failure.
author:
  - The venom.llm authors (@venom-llm)
extends_documentation_fragment:
  - venom.llm.attributes.info_module
  - venom.llm.locations
  - venom.llm.locations.backend
options:
  max_disk_gb:
    description:
      - Quota of the models folder in GB (10^9 bytes), of which the used share is told.
    type: float
    version_added: 0.1.0
seealso:
  - module: venom.llm.venom_runtime_info
"""

EXAMPLES = r"""
- name: Read what the host has
  venom.llm.venom_host_info:
    max_disk_gb: 50
  register: machine

- name: Show its GPUs
  ansible.builtin.debug:
    msg: "{{ machine.gpus or machine.gpu_reason }}"
"""

RETURN = r"""
cpu:
  description: Processors that may be used, load averages, busy share in percent.
  returned: success
  type: dict
memory:
  description: Main memory in MiB, and the used share in percent.
  returned: success
  type: dict
disk:
  description: The models folder, its file system in GB, and the used share of the quota in percent.
  returned: success
  type: dict
gpus:
  description:
    - Each GPU, and each MIG slice of it, with memory in MiB, use in percent, temperature in degrees Celsius, and the processes on it
      with the memory that they hold in MiB. Null is what the driver does not tell.
  returned: success
  type: list
  elements: dict
gpu_reason:
  description: Why GPUs, or their numbers, are missing. A driver that does not answer within 10 s is such a reason.
  returned: success
  type: str
gpu_driver:
  description: Version of the NVIDIA driver.
  returned: success
  type: str
models:
  description: Count and bytes of the installed models, and each with its size.
  returned: success
  type: dict
runtimes:
  description: For each runtime that is set up here, its port and who listens on it.
  returned: success
  type: list
  elements: dict
system:
  description: Operating system, kernel, Python of the module, and whether systemd is PID 1.
  returned: success
  type: dict
"""

import typing as t

from ansible_collections.venom.llm.plugins.module_utils import gpus, host_report, module

OPTIONS: dict[str, t.Any] = {
    "models_dir": {"type": "path", "default": "/var/lib/venom/models"},
    "config_dir": {"type": "path", "default": "/etc/venom"},
    "backend_python": {"type": "path", "default": "/opt/venom/backend/bin/python"},
    "max_disk_gb": {"type": "float"},
}


def operate(params: dict[str, t.Any], context: module.Context) -> dict[str, t.Any]:
    """Observe; see ``host_report``."""
    gpus.prefer_backend(context, params["backend_python"])
    return dict(host_report.describe(params["models_dir"], params["config_dir"], params["max_disk_gb"]), changed=False)


def main() -> None:
    """Run the module."""
    module.run(OPTIONS, operate)


if __name__ == "__main__":
    main()
