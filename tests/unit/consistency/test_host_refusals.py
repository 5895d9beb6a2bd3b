# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which folders the role host refuses: models must not lie where a removal takes everything away."""
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.venom.llm.tests.unit.consistency import templating

ROLE = Path(__file__).resolve().parents[3] / "roles" / "host"


def are_apart(**given: str) -> bool:
    """Whether the assertion lets these folders through; its message is rendered too."""
    found: dict[str, t.Any] = {}
    for part in ("defaults", "vars"):
        found.update(yaml.safe_load((ROLE / part / "main.yml").read_text(encoding="utf-8")))
    variables = {**templating.trusted(found), **given}
    task = yaml.safe_load((ROLE / "tasks/paths.yml").read_text(encoding="utf-8"))[1]["ansible.builtin.assert"]
    assert "invalid_option" in str(templating.render(task["fail_msg"], variables))
    answers = (templating.render(f"{{{{ ({each}) | bool }}}}", variables, escape_backslashes=False) for each in task["that"])
    return all(answer is True for answer in answers)


@pytest.mark.parametrize("path", ["/var/lib/venom/models", "/var/lib/venom/models/", "/srv/m", "/var/lib/venom/ollama-m", "/var/lib/venoms/vllm"])
def test_models_apart_from_what_a_removal_takes(path: str) -> None:
    assert are_apart(venom_models_dir=path)


@pytest.mark.parametrize(
    "path",
    [
        "/opt/venom", "/opt/venom/models", "/etc/venom/m", "/var/log/venom/models", "/run/venom/x", "/var/lib/venom/vllm",
        "/var/lib/venom/vllm/models", "/var/lib/venom//ollama/m",
    ],
)  # fmt: skip
def test_models_that_a_removal_would_take(path: str) -> None:
    assert not are_apart(venom_models_dir=path)
    assert not are_apart(venom_models_dir=path, venom_install_dir="/opt/venom/", venom_state_dir="/var/lib/venom/")
