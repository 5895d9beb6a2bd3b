# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the Ollama server, faithful to a recorded 0.32.15, in a process of its own; and an ``ollama`` command.

Standard library only, Python 3.9 or newer: hosts of the lab run it too.
"""
from __future__ import annotations

from lab.ollama.server import OllamaServer, command

__all__ = ["OllamaServer", "command"]
