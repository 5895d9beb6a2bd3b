# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have nginx test a configuration before it is used. Arguments: secrets with their files, as a JSON object; the folder of the unit; the file.

The configuration names what exists while the unit runs only, so a copy names other places. Run with ``python -c``: standard library only.
"""
from __future__ import annotations

import json
import subprocess
import sys
import tempfile

with open(sys.argv[3], encoding="utf-8") as stream:
    text = stream.read()
with tempfile.TemporaryDirectory() as folder:
    for name, path in {**json.loads(sys.argv[1]), sys.argv[2]: folder}.items():
        # With what follows a name in the configuration, so that one name is not taken for the beginning of another.
        for end in "/;":
            text = text.replace(name + end, path + end)
    with open(folder + "/nginx.conf", "w", encoding="utf-8") as stream:
        stream.write(text)
    sys.exit(subprocess.run(["/usr/sbin/nginx", "-t", "-q", "-c", folder + "/nginx.conf"], check=False).returncode)
