# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specs that several modules share, as the doc fragments describe them."""
from __future__ import annotations

import typing as t

#: The runtimes that have a server on a host.
RUNTIME_NAMES = ("ollama", "vllm")

#: The fragments locations, locations.backend and runtime.
RUNTIME_OPTIONS: dict[str, t.Any] = {
    "supervisor": {"type": "str", "choices": ["auto", "systemd", "process"], "default": "auto"},
    "models_dir": {"type": "path", "default": "/var/lib/venom/models"},
    "config_dir": {"type": "path", "default": "/etc/venom"},
    "log_dir": {"type": "path", "default": "/var/log/venom"},
    "run_dir": {"type": "path", "default": "/run/venom"},
    "account": {"type": "str", "default": "venom"},
    "backend_python": {"type": "path", "default": "/opt/venom/backend/bin/python"},
}
