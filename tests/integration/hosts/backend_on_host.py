# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend on a host of the lab, for scripts that call it there directly instead of through a play for each call."""

from __future__ import annotations

import base64
import io
import tarfile
from pathlib import Path

from lab.hosts import Lab
from lab.settings import CHECKOUT

#: Where the host has the backend and the files beside it.
CODE = "/opt/venom-test"
_UNPACK = "import base64, io, sys, tarfile; tarfile.open(fileobj=io.BytesIO(base64.b64decode(sys.stdin.read()))).extractall(sys.argv[1])"


def put(lab: Lab, host: str, *files: Path) -> None:
    """Copy the backend and these files there."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(
            CHECKOUT / "plugins/module_utils",
            "ansible_collections/venom/llm/plugins/module_utils",
            filter=lambda entry: None if "__pycache__" in entry.name else entry,
        )
        for file in files:
            archive.add(file, file.name)
    text = base64.b64encode(packed.getvalue()).decode("ascii")
    lab.run(host, ["python3", "-c", _UNPACK, CODE], stdin=text)


def run(lab: Lab, host: str, script: str, *arguments: str) -> str:
    """What a Python script says that has the backend and the files of ``put`` on its path."""
    environment = ["env", f"PYTHONPATH={CODE}", "PYTHONDONTWRITEBYTECODE=1"]
    return lab.run(host, [*environment, "python3", "-c", script, *arguments]).stdout
