# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Python of a host can do, and which of the paths in the arguments are there, as one JSON line.

Run with ``python -c``, so it uses the standard library only.
"""
from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys

json.dump(
    {
        "executable": sys.executable,
        "base_prefix": sys.base_prefix,
        "series": ".".join(platform.python_version_tuple()[:2]),
        "machine": platform.machine(),
        "has_venv": importlib.util.find_spec("ensurepip") is not None and importlib.util.find_spec("venv") is not None,
        "there": [path for path in sys.argv[1:] if os.path.exists(path)],
        "folders": [path for path in sys.argv[1:] if os.path.isdir(path)],
    },
    sys.stdout,
)
