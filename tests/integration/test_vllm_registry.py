# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The architectures that the collection takes for known, against the registry of the real vLLM. Nothing is started or imported."""
from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.runtimes.vllm_knowledge import KNOWN, REMOVED, find_installed


def test_the_list_is_that_of_the_installed_release() -> None:
    python = os.environ.get("VENOM_TEST_VLLM_PYTHON")
    found = find_installed(python) if python else None
    if python is None or found is None or not found.version.startswith("0.32."):
        pytest.fail("VENOM_TEST_VLLM_PYTHON does not name the interpreter of a venv with vLLM 0.32")
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
