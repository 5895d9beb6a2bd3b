# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which supervisor a host has."""
from __future__ import annotations

import os

#: Where a booted systemd shows itself (sd_booted(3)).
_SYSTEMD_MARK = "/run/systemd/system"


def has_systemd(mark: str = _SYSTEMD_MARK, init: str = "/proc/1/comm") -> bool:
    """Whether systemd is PID 1 here. The folder alone is not enough: a container may have it bound in from its host."""
    try:
        with open(init, encoding="utf-8", errors="replace") as stream:
            return os.path.isdir(mark) and stream.read().strip() == "systemd"
    except OSError:
        return False


def choose(wanted: str, systemd: bool | None = None, root: bool | None = None) -> str:
    """'systemd' or 'process'. ``auto`` takes systemd where it is PID 1 and we may command it, which needs root."""
    if wanted != "auto":
        return wanted
    systemd = has_systemd() if systemd is None else systemd
    root = os.geteuid() == 0 if root is None else root
    return "systemd" if systemd and root else "process"
