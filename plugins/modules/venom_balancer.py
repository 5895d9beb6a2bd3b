#!/usr/bin/python
# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of a load balancer, out of the traffic and back."""
from __future__ import annotations

DOCUMENTATION = r"""
module: venom_balancer
short_description: Take a server out of the traffic of HAProxy, and back
version_added: 0.1.0
description:
  - Runs on the host of the load balancer, and speaks with HAProxy over its runtime socket, which has to have C(level admin).
  - It is done when the state is true of the traffic. A drained server has no request left, a ready one is up by HAProxy's own health check.
  - What the socket is told is lost when HAProxy is reloaded, unless it keeps its state in a file.
author:
  - The venom.llm authors (@venom-llm)
extends_documentation_fragment:
  - venom.llm.attributes
options:
  socket:
    description:
      - The runtime socket, as the path of a Unix socket or as a loopback address with a port.
    type: str
    default: /run/haproxy/admin.sock
    version_added: 0.1.0
  backend:
    description:
      - Name of the backend.
    type: str
    required: true
    version_added: 0.1.0
  server:
    description:
      - Name of the server in the backend.
    type: str
    required: true
    version_added: 0.1.0
  state:
    description:
      - V(drained) lets what runs end, and sends new requests elsewhere. A server in maintenance is drained too, and one whose weight is 0.
      - V(ready) sends it requests again. A weight of 0 belongs to its operator. It is left, and the module fails.
    type: str
    choices: [drained, ready]
    default: ready
    version_added: 0.1.0
  keep:
    description:
      - How many other servers of the backend must take traffic for a server that does to be taken out. With fewer nothing is touched.
      - Calls for several servers at the same time are taken one after the other until each has told HAProxy, so that none counts on another
        that is about to leave.
    type: int
    default: 1
    version_added: 0.1.0
  timeout:
    description:
      - Seconds until the last request has ended, or until the server is up.
      - A server that could not be drained in time stays out of the traffic.
    type: float
    default: 300
    version_added: 0.1.0
seealso:
  - module: venom.llm.venom_runtime
"""

EXAMPLES = r"""
- name: Take a host out of the traffic
  venom.llm.venom_balancer:
    backend: venom
    server: "{{ inventory_hostname }}"
    state: drained
  delegate_to: balancer-1

- name: Put it back, over a socket on a port
  venom.llm.venom_balancer:
    socket: 127.0.0.1:9999
    backend: venom
    server: "{{ inventory_hostname }}"
    state: ready
  delegate_to: balancer-1
"""

RETURN = r"""
state_before:
  description: What it was, C(ready), C(drained) or C(maintenance).
  returned: success
  type: str
state:
  description: What it is now, or in check mode would be.
  returned: success
  type: str
status:
  description: The word of HAProxy for it.
  returned: success
  type: str
  sample: DRAIN
sessions:
  description: Requests that it has, or that wait for it.
  returned: success
  type: int
waited:
  description: Seconds until the state was true of the traffic.
  returned: success
  type: float
others:
  description: The other servers that take traffic, where they are too few.
  returned: when a server was not taken out because of O(keep)
  type: list
  elements: str
reason_code:
  description: Why it failed, as one fixed word.
  returned: failure
  type: str
  sample: balancer_timeout
"""

import typing as t

from ansible_collections.venom.llm.plugins.module_utils import haproxy, module

OPTIONS: dict[str, t.Any] = {
    "socket": {"type": "str", "default": "/run/haproxy/admin.sock"},
    "backend": {"type": "str", "required": True},
    "server": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["drained", "ready"], "default": "ready"},
    "keep": {"type": "int", "default": 1},
    "timeout": {"type": "float", "default": 300.0},
}


def operate(params: dict[str, t.Any], context: module.Context) -> dict[str, t.Any]:
    """Drain or restore; see ``haproxy``."""
    return haproxy.operate(params, context.check_mode)


def main() -> None:
    """Run the module."""
    module.run(OPTIONS, operate)


if __name__ == "__main__":
    main()
