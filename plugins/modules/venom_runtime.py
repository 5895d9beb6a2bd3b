#!/usr/bin/python
# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State of a runtime's server, and which model it serves."""
from __future__ import annotations

DOCUMENTATION = r"""
module: venom_runtime
short_description: Start and stop a runtime, and switch the model it serves
version_added: 0.1.0
description:
  - Starts, stops and restarts the server of a runtime, and makes it serve an installed model.
  - O(state=active) is a transaction. It checks that the model is complete and the port is free, drains the old server, writes the
    configuration, starts, and proves with a real completion that the new model serves with its bytes under its alias. When a
    step fails, the last good model is put back and proved in the same way.
  - vLLM is restarted for another model. Ollama runs on; the old model is unloaded and the new one loaded. It is restarted where the old
    one cannot be unloaded, as after an update of its tag, which leaves it no name to be unloaded by.
  - Until the commit a boot comes back to the model before. What a run leaves that was killed in the middle, the next run finishes or
    takes back.
  - A server that this collection did not start is never stopped, unless O(adopt=true). It is named in the error instead.
author:
  - The venom.llm authors (@venom-llm)
extends_documentation_fragment:
  - venom.llm.attributes
  - venom.llm.locations
  - venom.llm.locations.backend
  - venom.llm.runtime
attributes:
  check_mode:
    details:
      - When the model or the runtime is not installed yet, check mode warns and answers C(changed=true), since an earlier task of
        the same play may install it.
  idempotent:
    details:
      - O(state=restarted) restarts every time.
options:
  name:
    description:
      - The runtime.
    type: str
    choices: [ollama, vllm]
    default: vllm
    version_added: 0.1.0
  state:
    description:
      - V(active) serves O(model), or with O(previous=true) the model before. The server is restarted only when something differs.
      - V(started) runs with the model that was activated last. Ollama also runs without one.
      - V(stopped) leaves no process of the server and no GPU memory held. It is no failure where nothing is installed. Ollama unloads
        its models first, for which it gets O(drain_timeout); a stop alone would cut off the requests that it answers.
      - With O(enabled=false) a stop is one on purpose and the record says so. No repair and no rollback of all runtimes brings it back.
      - V(restarted) drains, stops and starts.
      - V(probed) changes nothing, and fails unless a real completion proves that the active model serves.
    type: str
    choices: [active, probed, restarted, started, stopped]
    default: started
    version_added: 0.1.0
  model:
    description:
      - Name or alias of an installed model. Either this or O(previous) is required for O(state=active).
      - A model of Ollama is found as Ollama itself finds it, in any case and without the tag C(latest).
    type: str
    version_added: 0.1.0
  previous:
    description:
      - Activate the model that was active before the present one, in its revision and under its alias. It has to be installed still.
      - Twice in a row goes there and back.
    type: bool
    version_added: 0.1.0
  version:
    description:
      - Version of the runtime to run, one of those that its role has installed side by side. The link C(current) is moved, the server
        started and proved; a failure moves the link back and proves the version before.
      - For O(state=active), O(state=started) and O(state=restarted). When left out, whatever the link leads to runs.
    type: str
    version_added: 0.1.0
  exclusive:
    description:
      - Stop the other runtimes of the host first, so that this one has their memory. Once this model is committed they count as
        stopped on purpose and do not start at boot any more; they run again when the activation fails.
    type: bool
    default: false
    version_added: 0.1.0
  adopt:
    description:
      - End a server that somebody else started on the port, and disable its unit, also one that would only start at the next boot.
      - Without it such a server is named in the error V(port_in_use) or V(duplicate_server), and nothing is touched. So it is with it
        where the port belongs to more than a server, as to a socket of systemd or to a container engine.
    type: bool
    default: false
    version_added: 0.1.0
  revision:
    description:
      - Commit, branch or tag under which the model was installed, when several revisions are.
    type: str
    version_added: 0.1.0
  alias:
    description:
      - Name under which clients ask for the model.
      - The default is the alias it was installed with, else its own full name, as vLLM itself would call it.
      - In Ollama it becomes a second name of the model. The alias of an earlier activation goes away with the commit.
    type: str
    version_added: 0.1.0
  enabled:
    description:
      - Whether the server comes back at boot. Only systemd can do that.
      - When left out, O(state=active) enables it and the other states leave it as it is.
    type: bool
    version_added: 0.1.0
  health_timeout:
    description:
      - Seconds within which a started server has to answer.
      - V(auto) is 120 seconds and 20 more for each GiB of the model.
    type: str
    default: auto
    version_added: 0.1.0
  drain_timeout:
    description:
      - Seconds to wait until no request is in flight before the old server is stopped.
      - Ollama counts no requests. There it is the time that the old model gets to leave the memory, which it does when its requests
        have ended.
    type: float
    default: 30
    version_added: 0.1.0
  drain_policy:
    description:
      - What happens to requests that outlive O(drain_timeout). V(proceed) cuts them off, V(fail) leaves the old server as it is.
      - It decides as well where a server that is up does not say how many requests it has.
    type: str
    choices: [proceed, fail]
    default: proceed
    version_added: 0.1.0
  stop_timeout:
    description:
      - Seconds that the server gets after SIGTERM before SIGKILL.
    type: float
    default: 60
    version_added: 0.1.0
  lock_timeout:
    description:
      - Seconds to wait for another run that changes the same runtime.
    type: float
    default: 60
    version_added: 0.1.0
  rollback:
    description:
      - Whether a failed activation puts the last good model back, or stops the server where there is none.
      - With V(false) everything is left as the failure left it.
    type: bool
    default: true
    version_added: 0.1.0
seealso:
  - module: venom.llm.venom_runtime_info
  - module: venom.llm.venom_model
"""

EXAMPLES = r"""
- name: Serve an installed model
  venom.llm.venom_runtime:
    state: active
    model: google/gemma-2b-it
    alias: gemma-2b-it

- name: Serve an Ollama model, alone on the GPU
  venom.llm.venom_runtime:
    name: ollama
    state: active
    model: phi3:mini
    alias: chat
    exclusive: true

- name: Go back to the model before
  venom.llm.venom_runtime:
    name: vllm
    state: active
    previous: true

- name: Run another installed version of Ollama, or the one before if it fails
  venom.llm.venom_runtime:
    name: ollama
    state: started
    version: 0.16.3

- name: Stop the server and keep it stopped after a reboot
  venom.llm.venom_runtime:
    state: stopped
    enabled: false

- name: Prove that the active model answers
  venom.llm.venom_runtime:
    state: probed
"""

RETURN = r"""
plan:
  description: The steps that the change takes, and why each difference needs them. Empty when nothing is to be done.
  returned: success
  type: dict
  sample:
    reasons: [no model is configured]
    steps: [check, drain, switch, start, prove, commit]
steps:
  description: The steps as they went. Empty in check mode.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description:
        - The step, C(check), C(drain), C(switch), C(start), C(prove), C(commit), C(stop), C(exclusive) (others make room), C(adopt)
          (foreign servers are ended) or C(settle) (a run that was cut off is finished or taken back).
        - Those that put things right begin with C(rollback).
      type: str
    outcome:
      description: What it did, or the cause of its failure.
      type: str
    seconds:
      description: The time it took.
      type: float
status:
  description: The status afterwards, as M(venom.llm.venom_runtime_info) returns it.
  returned: success
  type: dict
reason_code:
  description: Why it failed, as one fixed word.
  returned: failure
  type: str
  sample: activation_failed
step:
  description: The step that failed.
  returned: when a step failed
  type: str
  sample: prove
cause:
  description: Why the step failed.
  returned: when a step failed
  type: str
log_tail:
  description: What the server wrote to its log last, since it was started.
  returned: when a step failed
  type: list
  elements: str
rolled_back:
  description: Whether the last good model serves again, proved.
  returned: when a step failed
  type: bool
exit_status:
  description: Exit status of the server process, minus the signal number when a signal ended it.
  returned: when a step failed
  type: int
"""

import typing as t

from ansible_collections.venom.llm.plugins.module_utils import control, gpus, module
from ansible_collections.venom.llm.plugins.module_utils.specs import RUNTIME_NAMES, RUNTIME_OPTIONS

OPTIONS: dict[str, t.Any] = dict(
    RUNTIME_OPTIONS,
    name={"type": "str", "choices": list(RUNTIME_NAMES), "default": "vllm"},
    state={"type": "str", "choices": sorted(control.STATES), "default": "started"},
    model={"type": "str"},
    previous={"type": "bool"},
    version={"type": "str"},
    exclusive={"type": "bool", "default": False},
    adopt={"type": "bool", "default": False},
    revision={"type": "str"},
    alias={"type": "str"},
    enabled={"type": "bool"},
    health_timeout={"type": "str", "default": "auto"},
    drain_timeout={"type": "float", "default": 30.0},
    drain_policy={"type": "str", "choices": ["proceed", "fail"], "default": "proceed"},
    stop_timeout={"type": "float", "default": 60.0},
    lock_timeout={"type": "float", "default": 60.0},
    rollback={"type": "bool", "default": True},
)


def operate(params: dict[str, t.Any], context: module.Context) -> dict[str, t.Any]:
    """Plan and apply; see ``control``."""
    gpus.prefer_backend(context, params["backend_python"])
    return control.operate(params, context.check_mode, context.warn)


def main() -> None:
    """Run the module."""
    module.run(OPTIONS, operate, required_if=[("state", "active", ("model", "previous"), True)])


if __name__ == "__main__":
    main()
