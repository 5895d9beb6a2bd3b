# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: real systemd hosts, a hub and tiny models, to test the collection on. The collection knows nothing of it.

Run it as ``PYTHONPATH=tests python3 -m lab <command>``. Python 3.10 or newer, standard library only.
"""
from __future__ import annotations

#: Part of the key of every cached image: raise it when the way images are made changes.
LAB_VERSION = 1
