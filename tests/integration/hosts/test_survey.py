# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One model as the survey of a job template gives it: single variables, all of them text, on a host of Debian 13 with its own Python 3.13."""
from __future__ import annotations

import pytest
from operators import Operator

from lab.hosts import Lab
from lab.hub import Hub

pytestmark = pytest.mark.hosts

HOST = "lab3"
ANSWERS = {
    "venom_model_name": "demo/tiny-aurora",
    "venom_model_alias": "from-a-survey",
    "venom_model_revision": "v1",
    "venom_models_confirm_large": "true",
    "venom_models_max_disk_gb": "50",
    "venom_models_max_parallel": "4",
}


def test_a_survey_installs_one_model_beside_the_list_and_removes_it(lab: Lab, hub: Hub, operator: Operator) -> None:
    assert operator.play("install", "--check", "--limit", HOST, **ANSWERS).changed()
    assert operator.play("install", "--limit", HOST, **ANSWERS).changed()
    manifest = lab.run(HOST, ["cat", "/var/lib/venom/models/manifest.json"]).stdout
    assert '"from-a-survey"' in manifest and '"requested_revision": "v1"' in manifest
    assert operator.play("install", "--limit", HOST, **ANSWERS).changed() == []
    assert operator.play("remove", "--limit", HOST, venom_model_name="demo/tiny-aurora").changed()
    assert operator.play("remove", "--limit", HOST, venom_model_name="demo/tiny-aurora").changed() == []


def test_a_table_of_all_hosts_shows_one_that_is_cut_off(lab: Lab, operator: Operator) -> None:
    lab.cut(HOST)
    try:
        run = operator.play("status", expect=None, environment={"ANSIBLE_TIMEOUT": "5"})
    finally:
        lab.heal(HOST)
    rows = {line.split()[0].strip('"'): line for line in run.output.splitlines() if line.strip().startswith('"lab')}
    assert set(rows) == {"lab1", "lab2", "lab3"}
    assert "unreachable" in rows["lab3"] and "unreachable" not in rows["lab1"]
