# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which folders are not there as they are wanted: their paths as one JSON line. The argument is a JSON list of path, mode, owner and group.

Run with ``python -c``, so it uses the standard library only.
"""
from __future__ import annotations

import grp
import json
import os
import pwd
import stat
import sys
from typing import Any, Callable


def number(name: str, look_up: Callable[[str], Any]) -> int:
    """The id of an account or a group, given by name or number as the module ``file`` takes it; -1 when there is none."""
    try:
        return int(name)
    except ValueError:
        pass
    try:
        return int(look_up(name)[2])
    except KeyError:
        return -1


def is_right(path: str, mode: str, owner: str, group: str) -> bool:
    """Whether the path leads to a folder of this owner, group and mode."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    wanted = (int(mode, 8), number(owner, pwd.getpwnam), number(group, grp.getgrnam))
    return stat.S_ISDIR(found.st_mode) and (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == wanted


json.dump([folder["path"] for folder in json.loads(sys.argv[1]) if not is_right(**folder)], sys.stdout)
