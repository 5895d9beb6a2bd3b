# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions of vLLM a host has, as the role's look sees them, and which of them the role removes."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.venom.llm.tests.unit.consistency import templating

ROLE = Path(__file__).resolve().parents[3] / "roles" / "vllm"


def look(folder: Path) -> dict[str, t.Any]:
    """What the probe prints, run as the role runs it."""
    source = (ROLE / "files" / "probe.py").read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", source, str(folder)], capture_output=True, text=True, check=True)
    return t.cast("dict[str, t.Any]", json.loads(done.stdout))


def test_a_host_without_vllm_has_no_version(tmp_path: Path) -> None:
    seen = look(tmp_path / "missing")
    assert (seen["built"], seen["current"], seen["folder"]) == ({}, "", str(tmp_path / "missing"))
    assert all(isinstance(seen[name], bool) for name in ("has_gpu", "has_libnuma", "has_logrotate"))


def test_versions_come_with_their_markers_the_last_built_first(tmp_path: Path) -> None:
    for age, name in enumerate(("0.31.0", "0.32.0", "0.33.0", "notes")):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    (tmp_path / "0.32.0" / ".venom-0123").touch()
    os.utime(tmp_path / "0.32.0", (5000, 5000))
    (tmp_path / "current").symlink_to("0.31.0")
    seen = look(tmp_path)
    assert list(seen["built"].items()) == [("0.32.0", [".venom-0123"]), ("0.31.0", []), ("0.33.0", [])]
    assert seen["current"] == "0.31.0"
    # A link to a version that is gone leads nowhere, so a new one is made.
    (tmp_path / "0.31.0").rmdir()
    assert look(tmp_path)["current"] == ""


@pytest.mark.parametrize(
    ("wanted", "current", "built", "keep", "surplus"),
    [
        ("3", "2", ["2", "1"], 2, ["1"]),
        ("3", "2", ["3", "2", "1"], 3, []),
        ("3", "2", ["3", "2", "1"], 1, ["1"]),
        ("3", "3", ["3", "2", "1", "0"], 2, ["1", "0"]),
        ("1", "3", ["3", "2", "1"], 2, ["2"]),
        ("3", "", [], 2, []),
    ],
)
def test_the_wanted_version_and_the_one_that_runs_always_stay(
    wanted: str, current: str, built: list[str], keep: int, surplus: list[str]
) -> None:
    names = ("_venom_vllm_in_use", "_venom_vllm_others", "_venom_vllm_surplus")
    content = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
    variables = templating.trusted({name: content[name] for name in names})
    seen = {"current": current, "built": dict.fromkeys(built, [])}
    variables.update(venom_vllm_version=wanted, venom_vllm_keep_versions=keep, _venom_vllm_observed=seen)
    assert templating.render("{{ _venom_vllm_surplus }}", variables) == surplus
