# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that say which runtime is meant and where its files are."""
from __future__ import annotations


class ModuleDocFragment:
    """The runtime, its supervisor and its folders, for the modules that change it or tell its status."""

    DOCUMENTATION = r"""
options:
  supervisor:
    description:
      - What keeps the server.
      - V(systemd) is the unit C(venom-vllm.service) or C(venom-ollama.service) that the role of the runtime installs.
      - V(process) is a process of its own session with a pid file, for hosts without systemd as PID 1 and for accounts
        without root. It does not come back after a reboot.
      - V(auto) takes V(systemd) where it is PID 1 and the module runs as root, else V(process).
    type: str
    choices: [auto, systemd, process]
    default: auto
    version_added: 0.1.0
  log_dir:
    description:
      - Folder of the server's log on the managed host.
    type: path
    default: /var/log/venom
    version_added: 0.1.0
  run_dir:
    description:
      - Folder of pid files, locks and models on trial on the managed host. A boot should find it empty.
    type: path
    default: /run/venom
    version_added: 0.1.0
  account:
    description:
      - Account under which the supervisor V(process) runs the server when the module runs as root.
      - Ignored without root, for an account that does not exist, and by V(systemd), whose unit names the account.
    type: str
    default: venom
    version_added: 0.1.0
"""
