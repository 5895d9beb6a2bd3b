# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hundred starts and stops under the process supervisor, half of them broken by SIGKILL: nothing is left, ever."""
from __future__ import annotations

import os
import pwd
import socket
import sys
from pathlib import Path

import cycles
import pytest

from ansible_collections.venom.llm.plugins.module_utils.supervisors.process import Command, ProcessSupervisor

CYCLES = 100
#: No file of accounts has it, so nothing else of this machine runs under it.
UID = 61987


def test_nothing_is_left_after_a_hundred_cycles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    name = f"cycles{os.getpid()}"
    account, python = None, sys.executable
    if os.geteuid() == 0:
        # The system's Python, which every account may run.
        account, python = "cycles", "/usr/bin/python3"
        entry = pwd.struct_passwd(("cycles", "x", UID, UID, "", "/", "/bin/false"))
        monkeypatch.setattr(pwd, "getpwnam", lambda dummy: entry)
    # Read here and given as a text: the account may not be able to look into the checkout.
    source = Path(__file__).with_name("cycle_server.py").read_text(encoding="utf-8")
    command = Command((python, "-I", "-S", "-c", source, str(port), name), {})
    supervisor = ProcessSupervisor("cycles", str(tmp_path / "log"), str(tmp_path / "run"), lambda: command, account)
    try:
        tally = cycles.run(supervisor, port, name, CYCLES, seed=4, uid=UID if account else None)
    finally:
        supervisor.stop(0.1)
    assert tally.left == []
    assert sum(tally.went.values()) == CYCLES and tally.went["nothing"] == CYCLES // 2 and set(tally.went) == {"nothing", *cycles.VICTIMS}
    assert len(tally.seen) > 2 * CYCLES
