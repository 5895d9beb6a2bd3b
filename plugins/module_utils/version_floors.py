# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases of the runtimes below which something is known to be wrong. They warn, and refuse nothing."""
from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.quantization_support import parse_version


@dataclass(frozen=True)
class Floor:
    """The first release without the defect, what the defect is, and where that is told."""

    version: str
    defect: str
    source: str


FLOORS: dict[str, tuple[Floor, ...]] = {
    "vllm": (
        Floor("0.11.1", "one request's chat_template_kwargs can hold up the server", "CVE-2025-62426"),
        Floor("0.14.0", "a model's auto_map runs its program although trust_remote_code is off", "CVE-2026-22807, CVE-2025-66448"),
        Floor("0.14.1", "memory leaks to clients, and a URL in a request can lead inside the network", "CVE-2026-22778, CVE-2026-24779"),
        Floor("0.18.0", "some models run their program although trust_remote_code is off", "CVE-2026-27893"),
        Floor("0.22.0", "a check of a request is left out where Python runs optimised", "CVE-2026-41523"),
        Floor("0.31.0", "a request to /tokenize can choose the revision of a model's program", "CVE-2026-114053"),
    ),
    "ollama": (
        Floor("0.1.34", "a digest becomes a path, which lets a registry write files", "CVE-2024-37032"),
        Floor("0.16.2", "the setting OLLAMA_NO_CLOUD is not known", "release notes of Ollama 0.16.2"),
        Floor("0.17.1", "a GGUF file whose tensors are larger than the file makes the server read beyond its memory", "CVE-2026-7482"),
    ),
}


def floor_warnings(runtime: str, version: str | None) -> list[str]:
    """A sentence for each floor that the installed release is under. An unknown release is under none."""
    installed = parse_version(version)
    if installed is None:
        return []
    found: list[str] = []
    for floor in FLOORS.get(runtime, ()):
        wanted = parse_version(floor.version) or ()
        if _padded(installed) < _padded(wanted):
            found.append(f"{runtime} {version} is older than {floor.version}: {floor.defect} ({floor.source})")
    return found


def _padded(version: t.Sequence[int]) -> tuple[int, ...]:
    return (*version, 0, 0, 0)[:3]
