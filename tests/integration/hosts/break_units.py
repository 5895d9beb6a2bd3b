# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of the runtimes for hosts where activations are broken, and where such a host finds this checkout."""
from __future__ import annotations

COLLECTIONS = "/srv/collections"
HERE = f"{COLLECTIONS}/ansible_collections/venom/llm"
PYTHONPATH = f"{COLLECTIONS}:{HERE}/tests"
UNIT = """\
[Unit]
{conditions}
StartLimitIntervalSec=3600
StartLimitBurst=3
[Service]
Type=exec
EnvironmentFile=/srv/venom/config/{runtime}.env
EnvironmentFile=-/srv/venom/config/{runtime}.active.env
EnvironmentFile=-/run/venom/{runtime}.trial.env
{command}
StandardOutput=append:/srv/venom/log/{runtime}.log
StandardError=inherit
Restart=on-failure
RestartSec=0.5
[Install]
WantedBy=multi-user.target
"""
CONDITIONS = "ConditionPathExists=|/srv/venom/config/vllm.active.env\nConditionPathExists=|/run/venom/vllm.trial.env"
