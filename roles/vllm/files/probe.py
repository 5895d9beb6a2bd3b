# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM meets on a host, as one JSON line. Argument: the folder of its versions. Run with ``python -c``: standard library only."""
from __future__ import annotations

import ctypes
import json
import os
import sys

VERSIONS = sys.argv[1]


def loads(library: str) -> bool:
    """Whether the dynamic linker finds it, with the environment that the server will have."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def built() -> dict[str, list[str]]:
    """Every version with the markers of its finished builds, the one that was built last first."""
    try:
        names = [entry.name for entry in os.scandir(VERSIONS) if entry.is_dir(follow_symlinks=False) and entry.name[:1].isdigit()]
    except OSError:
        return {}
    found = {name: sorted(mark for mark in os.listdir(os.path.join(VERSIONS, name)) if mark.startswith(".venom-")) for name in names}
    return dict(sorted(found.items(), key=lambda item: -os.stat(os.path.join(VERSIONS, item[0])).st_mtime))


CURRENT = os.path.join(VERSIONS, "current")
json.dump(
    {
        "folder": VERSIONS,
        "has_gpu": os.path.exists("/proc/driver/nvidia/gpus") or os.path.exists("/dev/nvidiactl"),
        "has_libnuma": loads("libnuma.so.1"),
        "has_logrotate": os.path.isdir("/etc/logrotate.d"),
        "current": os.path.basename(os.path.realpath(CURRENT)) if os.path.exists(CURRENT) else "",
        "built": built(),
    },
    sys.stdout,
)
