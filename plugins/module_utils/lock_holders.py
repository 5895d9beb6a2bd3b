# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds which lock of a models folder, told without touching the locks."""
from __future__ import annotations

import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.files import read_json
from ansible_collections.venom.llm.plugins.module_utils.processes import start_ticks

FOLDER = "locks"


def read_holders(models_dir: str) -> list[dict[str, t.Any]]:
    """``name`` and ``holder`` (pid, since, what and further words of its own) of every lock that is held now.

    Trying the lock would answer the same, and would now and then make somebody's only try fail. So the kernel is asked, which lists
    held locks by inode in /proc/locks (proc(5)); where it hides them, a holder that lives holds.
    """
    folder = os.path.join(models_dir, FOLDER)
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".lock"))
    except OSError:
        return []
    found = []
    held = _held_inodes()
    for name in names:
        path = os.path.join(folder, name)
        try:
            holder, inode = read_json(path), os.stat(path).st_ino
        except (OSError, ValueError):
            # Empty is free: who lets go of a lock empties its file.
            continue
        if isinstance(holder, dict) and _is_held(holder, inode, held):
            found.append({"name": name, "holder": holder})
    return found


def _is_held(holder: dict[str, t.Any], inode: int, held: set[int] | None) -> bool:
    if held is not None:
        return inode in held
    pid = holder.get("pid")
    return isinstance(pid, int) and start_ticks(pid) is not None


def _held_inodes() -> set[int] | None:
    """Inodes of all locks that somebody holds, or None where the kernel does not say."""
    try:
        with open("/proc/locks", encoding="ascii") as stream:
            lines = [line.split() for line in stream]
    except OSError:
        return None
    # "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF"; a second field "->" is somebody who waits.
    return {int(fields[5].rpartition(":")[2]) for fields in lines if len(fields) > 5 and fields[1] in ("FLOCK", "POSIX", "OFDLCK")}
