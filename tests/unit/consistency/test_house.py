# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the house, read off the code itself."""
from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.venom.llm.plugins.module_utils.errors import REASON_CODES

ROOT = Path(__file__).resolve().parents[3]
MODULES = sorted((ROOT / "plugins/modules").glob("*.py"))
BACKEND = sorted(path for path in (ROOT / "plugins/module_utils").rglob("*.py"))
HEAVY = {"huggingface_hub", "requests", "psutil", "pynvml", "httpx", "httpx2", "urllib3", "jinja2", "yaml"}
#: The layers of CONTRIBUTING.md: a file imports from its own line and the lines above, never from below.
BELOW = {
    "templates": ("capabilities", "manifest", "store", "sources", "transfer", "models", "runtimes", "supervisors", "system", "activation", "module"),
    "capabilities": ("manifest", "store", "sources", "transfer", "models", "runtimes", "supervisors", "system", "activation", "module"),
    "store": ("sources", "transfer", "models", "runtimes", "supervisors", "activation", "module"),
    "sources": ("models", "runtimes", "supervisors", "activation", "module"),
    "transfer": ("models", "runtimes", "supervisors", "activation", "module"),
    "runtimes": ("store", "sources", "transfer", "models", "supervisors", "activation", "module"),
    "system_role": ("store", "sources", "transfer", "models", "supervisors", "activation", "control", "module"),
    "supervisors": ("store", "sources", "transfer", "models", "runtimes", "activation", "module"),
}
PREFIX = "ansible_collections.venom.llm.plugins.module_utils."


def imports(path: Path, top_level: bool = False) -> set[str]:
    """Dotted names that a file imports, anywhere or only when it is loaded."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes: t.Iterable[ast.AST] = tree.body if top_level else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def name_of(path: Path) -> str:
    """Short name for a test's title."""
    return path.relative_to(ROOT / "plugins").as_posix()


@pytest.mark.parametrize("path", BACKEND, ids=name_of)
def test_only_module_py_knows_ansible(path: Path) -> None:
    found = {name for name in imports(path) if name.split(".")[0] == "ansible"}
    assert bool(found) is (path.name == "module.py" and path.parent.name == "module_utils")


@pytest.mark.parametrize("path", [*BACKEND, *MODULES], ids=name_of)
def test_loading_a_file_loads_no_third_party_library(path: Path) -> None:
    assert {name for name in imports(path, top_level=True) if name.split(".")[0] in HEAVY} == set()


@pytest.mark.parametrize("layer", sorted(BELOW))
def test_arrows_point_one_way(layer: str) -> None:
    files = [path for path in BACKEND if path.relative_to(ROOT / "plugins/module_utils").parts[0].split(".")[0] == layer]
    assert files
    for path in files:
        parts = {name[len(PREFIX) :].split(".")[0] for name in imports(path) if name.startswith(PREFIX)}
        wrong = {part for part in parts if part.split("_")[0] in BELOW[layer]}
        assert wrong == set(), path


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_thin(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    code = [node for node in tree.body if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant))]
    lines = sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in code)
    assert lines < 150
    decisions = [node for node in ast.walk(tree) if isinstance(node, (ast.If, ast.For, ast.While, ast.Try)) and node.col_offset > 0]
    assert decisions == [], "a module file decides nothing"


def test_the_action_group_holds_every_module() -> None:
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))
    group = [item for item in runtime["action_groups"]["venom"] if isinstance(item, str)]
    assert sorted(group) == [path.stem for path in MODULES]


def test_every_raised_reason_code_is_known() -> None:
    used: set[str] = set()
    for path in BACKEND:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "VenomError" and node.args and isinstance(node.args[0], ast.Constant):
                used.add(str(node.args[0].value))
    assert len(used) > 20
    assert used - set(REASON_CODES) == set()


def test_the_page_of_reason_codes_is_complete() -> None:
    rows = [line.split(" | ") for line in (ROOT / "docs/reason-codes.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert {code.strip("| `"): text.rstrip("| ") for code, text in rows} == REASON_CODES


@pytest.mark.parametrize("path", [path for path in BACKEND if path.name == "__init__.py"], ids=name_of)
def test_packages_are_empty(path: Path) -> None:
    assert path.read_bytes() == b""


def test_no_two_test_files_have_the_same_name() -> None:
    """Their folders are no packages, so pytest takes the second of a name for the first and ends before any test."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
