# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which temporary mirrors of the role distribute ask for a password, and which get one."""
from __future__ import annotations

import typing as t
from pathlib import Path

import yaml

from ansible_collections.venom.llm.tests.unit.consistency import templating

ROLES = Path(__file__).resolve().parents[3] / "roles"
VARIABLES = yaml.safe_load((ROLES / "distribute/vars/main.yml").read_text(encoding="utf-8"))


def tasks(path: str) -> dict[str, t.Any]:
    """Tasks of a file by their names."""
    return {task["name"]: task for task in yaml.safe_load((ROLES / path).read_text(encoding="utf-8"))}


def test_a_mirror_that_asks_for_no_password_is_given_none() -> None:
    told = tasks("distribute/tasks/serve.yml")["Keep that it serves"]["ansible.builtin.set_fact"]
    hosts: dict[str, dict[str, t.Any]] = {"gpu-4": {}}
    for name, username in (("gpu-1", "fleet"), ("gpu-2", ""), ("gpu-3", None)):
        own = {} if username is None else {"venom_mirror_username": username}
        hosts[name] = {fact: templating.render(value, {"_venom_distribute_url": f"https://{name}:8471", **own}) for fact, value in told.items()}
    variables: dict[str, t.Any] = {**templating.trusted(VARIABLES), "ansible_play_hosts": sorted(hosts), "hostvars": hosts}
    assert templating.render(VARIABLES["_venom_distribute_serving"], variables) == [f"https://gpu-{n}:8471" for n in (1, 2, 3)]
    assert templating.render(VARIABLES["_venom_distribute_serving_open"], variables) == [f"https://gpu-{n}:8471" for n in (2, 3)]


def test_that_is_handed_over_to_the_module() -> None:
    wave = tasks("distribute/tasks/wave.yml")
    chosen, given = wave["Choose who fetches now, and from whom"]["ansible.builtin.set_fact"], wave["Fetch"]["vars"]
    assert chosen["_venom_distribute_mirrors_open"] == "{{ _venom_distribute_serving_open }}"
    assert given["_venom_models_mirrors_open"] == "{{ _venom_distribute_mirrors_open }}"
    call = tasks("models/tasks/models.yml")["Make the models what the list says"]["venom.llm.venom_model"]
    assert call["mirrors_open"] == "{{ _venom_models_mirrors_open }}"
