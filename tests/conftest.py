# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One way to import the collection in the whole session.

Tests that render templates set up Ansible's collection loader. It then serves every later import of the process and refuses
modules that were imported without it, so it is set up first, on this checkout.
"""
from __future__ import annotations

import importlib.util
from pathlib import Path

# Under ansible-test, which brings a loader of its own, tests of modules see nothing of Ansible but module_utils.
if importlib.util.find_spec("ansible.plugins") is not None:
    from ansible.plugins.loader import init_plugin_loader
    from ansible.utils.collection_loader import AnsibleCollectionConfig

    if AnsibleCollectionConfig.collection_finder is None:
        init_plugin_loader([str(Path(__file__).resolve().parents[1] / "collections")])
