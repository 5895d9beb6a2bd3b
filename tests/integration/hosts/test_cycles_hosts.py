# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hundred starts and stops under a real systemd, half of them broken by SIGKILL: nothing is left, ever."""

from __future__ import annotations

import json
from pathlib import Path

import backend_on_host
import pytest

from lab.hosts import Lab
from lab.settings import CHECKOUT

pytestmark = pytest.mark.hosts

HOST = "lab3"
CYCLES = 100
PORT = 8123
NAME = "cyclesunit"
INTEGRATION = Path(__file__).resolve().parents[1]
#: What the unit of the role says about processes and what they share; the rest of it is not what is tested here.
TAKEN = ("KillMode=", "SendSIGKILL=", "LimitCORE=", "PrivateIPC=", "TemporaryFileSystem=", "RemoveIPC=", "PrivateTmp=", "Restart=", "KeyringMode=")
UNIT = f"""\
[Unit]
StartLimitIntervalSec=3600
StartLimitBurst=5
[Service]
Type=exec
User=nobody
ExecStart=/usr/bin/python3 -I -S {backend_on_host.CODE}/cycle_server.py {PORT} {NAME}
StandardOutput=append:/var/log/venom-cycles.log
StandardError=inherit
RestartSec=50ms
"""
SCRIPT = """
import json, sys
import cycles
from ansible_collections.venom.llm.plugins.module_utils.supervisors.systemd import SystemdSupervisor
port, name, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
supervisor = SystemdSupervisor("venom-cycles.service", "/var/log/venom-cycles.log")
tally = cycles.run(supervisor, port, name, count, seed=4, uid=65534)
print(json.dumps({"went": tally.went, "seen": len(tally.seen), "left": tally.left}))
"""


def test_nothing_is_left_after_a_hundred_cycles_of_a_unit(lab: Lab) -> None:
    backend_on_host.put(lab, HOST, INTEGRATION / "cycles.py", INTEGRATION / "cycle_server.py")
    # What several units share is in a template of its own.
    sources = [CHECKOUT / "templates" / name for name in ("hardening.j2", "venom-vllm.service.j2")]
    lines = [line for path in sources if path.exists() for line in path.read_text(encoding="utf-8").splitlines()]
    taken = [line for line in lines if line.startswith(TAKEN)]
    assert {line.partition("=")[0] + "=" for line in taken} == set(TAKEN)
    unit = "/etc/systemd/system/venom-cycles.service"
    lab.run(HOST, ["sh", "-c", f"cat > {unit} && systemctl daemon-reload"], stdin=UNIT + "\n".join(taken) + "\n")
    try:
        told = json.loads(backend_on_host.run(lab, HOST, SCRIPT, str(PORT), NAME, str(CYCLES)))
    finally:
        lab.run(HOST, ["sh", "-c", f"systemctl stop venom-cycles; rm {unit}; systemctl daemon-reload"], check=False)
    assert told["left"] == []
    assert sum(told["went"].values()) == CYCLES and told["went"]["nothing"] == CYCLES // 2 and len(told["went"]) == 4
    assert told["seen"] > 2 * CYCLES
