# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An OCI registry for tests, as an Ollama client meets one: manifests, blobs behind a signed redirect, logins, and faults on demand."""
from __future__ import annotations

from lab.registry.images import CONFIG_TYPE, MANIFEST_TYPE, OCI_MANIFEST_TYPE
from lab.registry.server import MODES, Registry

__all__ = ["CONFIG_TYPE", "MANIFEST_TYPE", "MODES", "OCI_MANIFEST_TYPE", "Registry"]
