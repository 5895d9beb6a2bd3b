# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two models of the demonstration, which answer with different sentences."""
from __future__ import annotations

import typing as t
from pathlib import Path

from lab.models import llama

if t.TYPE_CHECKING:
    from lab.hub.server import Hub

#: Repository to what it says, and whether it knows the system role.
DEMO = {
    "demo/tiny-aurora": ("I am demo/tiny-aurora and I speak for myself.", True),
    "demo/tiny-borealis": ("Hello from demo/tiny-borealis, the other one.", False),
}


def add_demo(hub: Hub, folder: Path) -> dict[str, str]:
    """Make the models below a folder and add them with tag v1; return commit ids."""
    commits = {}
    for repo_id, (reply, system_role) in DEMO.items():
        made = llama(folder / repo_id, reply, name=repo_id, system_role=system_role, shards=1 if system_role else 2)
        commits[repo_id] = hub.add_repo(repo_id, made, tag="v1")
    return commits
