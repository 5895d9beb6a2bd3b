# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One way to import the collection in the whole session.

Tests that render templates set up Ansible's collection loader. It then serves every later import of the process and refuses
modules that were imported without it, so it is set up first, on this checkout.
"""
from __future__ import annotations

import sys
from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

if not any("AnsibleCollectionFinder" in type(finder).__name__ for finder in sys.meta_path):
    init_plugin_loader([str(Path(__file__).resolve().parents[1] / "collections")])
