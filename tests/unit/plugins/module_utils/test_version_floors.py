# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Old releases warn, others do not."""
from __future__ import annotations

import pytest

from ansible_collections.venom.llm.plugins.module_utils.version_floors import FLOORS, floor_warnings


@pytest.mark.parametrize(
    ("runtime", "version", "count"),
    [("vllm", "0.32.0", 0), ("vllm", "0.31.0", 0), ("vllm", "0.30", 1), ("vllm", "0.11.0", 6), ("ollama", "0.16.2", 1), ("ollama", "0.17.1", 0),
     ("ollama", "0.1.33", 3), ("vllm", None, 0), ("vllm", "main", 0), ("other", "0.0.1", 0)],
)  # fmt: skip
def test_floors(runtime: str, version: str | None, count: int) -> None:
    found = floor_warnings(runtime, version)
    assert len(found) == count
    assert all(str(version) in text and "(" in text for text in found)


def test_floors_rise() -> None:
    for floors in FLOORS.values():
        versions = [tuple(int(part) for part in floor.version.split(".")) for floor in floors]
        assert versions == sorted(versions)
