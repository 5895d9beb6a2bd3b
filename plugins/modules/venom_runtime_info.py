#!/usr/bin/python
# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Status of a runtime's server."""
from __future__ import annotations

DOCUMENTATION = r"""
module: venom_runtime_info
short_description: Tell the status of a runtime from real requests
version_added: 0.1.0
description:
  - Asks the supervisor, the processes and the server itself, and answers C(online), C(degraded) or C(offline) with the reason.
  - It is never C(unknown). What cannot be found out makes the status C(offline) with its reason.
author:
  - The venom.llm authors (@venom-llm)
extends_documentation_fragment:
  - venom.llm.attributes.info_module
  - venom.llm.locations
  - venom.llm.locations.backend
  - venom.llm.runtime
options:
  name:
    description:
      - The runtime. When left out, all that are configured on the host are told.
    type: str
    choices: [ollama, vllm]
    version_added: 0.1.0
  probe:
    description:
      - Whether to ask the model for a real, short completion. A model that cannot answer is C(degraded).
    type: bool
    default: false
    version_added: 0.1.0
  probe_timeout:
    description:
      - Seconds that the completion may take.
    type: float
    default: 120
    version_added: 0.1.0
  alert_percent:
    description:
      - Use of main memory or GPU memory above which there is an alert.
      - An alert about main memory makes the status C(degraded). One about GPU memory does not, since vLLM takes nine tenths of it
        by design.
    type: float
    default: 85
    version_added: 0.1.0
seealso:
  - module: venom.llm.venom_runtime
"""

EXAMPLES = r"""
- name: Tell the status of every runtime
  venom.llm.venom_runtime_info:
  register: all

- name: Ask vLLM for a real completion
  venom.llm.venom_runtime_info:
    name: vllm
    probe: true
  register: vllm

- name: Refuse a host that does not answer
  ansible.builtin.assert:
    that: vllm.status.status == "online"
    fail_msg: "{{ vllm.status.error_message }}"
"""

RETURN = r"""
runtimes:
  description: The status of each runtime by its name, in the form of RV(status).
  returned: success
  type: dict
status:
  description: The status of the runtime O(name), or of the only one that is configured.
  returned: when there is one
  type: dict
  contains:
    name:
      description: The runtime.
      type: str
    status:
      description: V(online), V(degraded) (answers, but slow, short of memory, under a wrong name, or restarted recently) or V(offline).
      type: str
      sample: online
    service:
      description: What the supervisor says, V(running), V(starting), V(stopping), V(stopped), V(restarting) or V(failed).
      type: str
    supervisor:
      description: V(systemd) or V(process).
      type: str
    enabled:
      description: Whether the server comes back at boot.
      type: bool
    set_aside:
      description:
        - Whether it was stopped on purpose, with O(venom.llm.venom_runtime#module:enabled=false) or to make room for an exclusive one.
          It keeps its model, and nothing starts it but an order.
      type: bool
    pid:
      description: The main process.
      type: int
    pids:
      description: All its processes.
      type: list
      elements: int
    uptime_seconds:
      description: Age of the main process.
      type: float
    memory_mb:
      description: Main memory of all its processes, in MiB.
      type: int
    vram_mb:
      description: GPU memory of all its processes, in MiB. Null when it cannot be measured.
      type: int
    vram_reason:
      description: Why GPU memory cannot be measured.
      type: str
    cpu_percent:
      description: Processor time of all its processes, in percent of one processor.
      type: float
    latency_ms:
      description: Time of the health request.
      type: float
    endpoint:
      description: URL for clients on the host.
      type: str
      sample: http://127.0.0.1:8001
    served_models:
      description: Names that the server itself lists.
      type: list
      elements: str
    served_roots:
      description: Folder of each of these models; for Ollama the digest of its manifest.
      type: list
      elements: str
    active_model:
      description: The model that was activated last.
      type: str
    active_revision:
      description: Its commit, or for Ollama the digest of its manifest.
      type: str
    alias:
      description: The name under which it should be served.
      type: str
    path:
      description: The folder from which it should be served, or for Ollama its digest.
      type: str
    alias_ok:
      description: Whether the server lists the alias with the folder or digest of the active model. Null when it gave no list.
      type: bool
    restarts:
      description: Restarts by the supervisor since the last start.
      type: int
    alerts:
      description: Memory over O(alert_percent).
      type: list
      elements: str
    error_message:
      description: Why the status is not C(online).
      type: str
    completion:
      description: The answer to O(probe).
      type: dict
    autostarts:
      description: Whatever else would start a server of this kind at boot (units, sockets, timers, init scripts, crontabs), each as one phrase.
      type: list
      elements: str
    previous_model:
      description: The model that was active before the present one, which a rollback goes back to. Null when there was none.
      type: str
    drift:
      description:
        - Where the host differs from its own record of the active model. Empty when record, configuration, manifest, unit and the
          server's own list agree, and where nothing was ever activated.
      type: list
      elements: dict
      contains:
        kind:
          description:
            - V(alias_mismatch) (the server answers under another name or from another folder), V(configuration_differs),
              V(settings_changed) (the server was started with others), V(change_unfinished), V(not_running), V(not_answering), V(not_enabled),
              V(not_stopped) (it was stopped on purpose, and runs or is enabled),
              V(model_damaged), V(record_missing), V(settings_missing), V(unit_missing), or V(stray_server) (somebody else has the port,
              or would take it at the next boot).
          type: str
        wanted:
          description: What the record wants, with the name.
          type: str
        found:
          description: What is there instead, with the name.
          type: str
        repairable:
          description: Whether M(venom.llm.venom_runtime) with O(venom.llm.venom_runtime#module:state=active) and the recorded model mends it.
          type: bool
    supports:
      description: States of M(venom.llm.venom_runtime) that apply to this host now.
      type: list
      elements: str
"""

import typing as t

from ansible_collections.venom.llm.plugins.module_utils import control, gpus, module
from ansible_collections.venom.llm.plugins.module_utils.specs import RUNTIME_NAMES, RUNTIME_OPTIONS

OPTIONS: dict[str, t.Any] = dict(
    RUNTIME_OPTIONS,
    name={"type": "str", "choices": list(RUNTIME_NAMES)},
    probe={"type": "bool", "default": False},
    probe_timeout={"type": "float", "default": 120.0},
    alert_percent={"type": "float", "default": 85.0},
)


def operate(params: dict[str, t.Any], context: module.Context) -> dict[str, t.Any]:
    """Observe; see ``control``."""
    gpus.prefer_backend(context, params["backend_python"])
    return dict(control.inspect(params), changed=False)


def main() -> None:
    """Run the module."""
    module.run(OPTIONS, operate)


if __name__ == "__main__":
    main()
