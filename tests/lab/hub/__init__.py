# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Hugging Face Hub for tests: the API as huggingface_hub speaks it, a request log, and faults on demand."""
from __future__ import annotations

from lab.hub.faults import HOSTILE_NAMES, Fault
from lab.hub.log import LogEntry
from lab.hub.repos import Commit, HubFile, Repo
from lab.hub.server import Hub

__all__ = ["HOSTILE_NAMES", "Commit", "Fault", "Hub", "HubFile", "LogEntry", "Repo"]
