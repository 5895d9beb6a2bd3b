# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan rests on: leftovers of a run that was cut off, and whether the present one goes on with them."""
from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import activation_trial, control_checks
from ansible_collections.venom.llm.plugins.module_utils.control_checks import Request
from ansible_collections.venom.llm.plugins.module_utils.record import Activation, NameChange, Trial
from ansible_collections.venom.llm.plugins.module_utils.runtime_site import Site, make_site
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeHost

A = Activation("lab/a", "huggingface", "0" * 40, "a", "/models/a")
B = Activation("lab/b", "huggingface", "0" * 40, "b", "/models/b")


@pytest.fixture()
def site(tmp_path: Path) -> Site:
    made = make_site(FakeHost(tmp_path).params())
    activation_trial.commit(made.server, A)
    return made


def left(site: Site, request: Request, target: Activation | None) -> list[str]:
    found, seen = control_checks.leftovers(site, request, site.observe(), target)
    if found and (seen.trial is not None or seen.active != activation_trial.active_of(site.runtime, A)):
        raise AssertionError("what is left over is still seen as configured")
    return found


def test_nothing_is_left_over(site: Site) -> None:
    assert left(site, Request("active"), B) == []


def test_the_same_activation_goes_on_and_any_other_run_takes_back(site: Site) -> None:
    activation_trial.begin(site.server, Trial(activation=B))
    assert left(site, Request("active"), B) == []
    assert left(site, Request("active", version="1"), B) == ["the activation of lab/b was cut off"]
    assert left(site, Request("active"), dataclasses.replace(B, alias="c")) != []
    assert left(site, Request("started"), A) != [] and left(site, Request("stopped"), None) != []


def test_a_trial_for_which_others_made_room_is_always_taken_back(site: Site) -> None:
    activation_trial.begin(site.server, Trial(activation=B, stopped=("ollama",)))
    assert left(site, Request("active"), B) != []


def test_names_alone_wait_for_a_server_that_can_give_them_up(site: Site) -> None:
    activation_trial.save(site.server, Trial(names=(NameChange("x", "sha256:y"),)))
    assert left(site, Request("stopped"), None) == []


def test_the_file_of_a_trial_is_no_model_for_good(site: Site) -> None:
    activation_trial.begin(site.server, Trial(activation=B))
    os.unlink(site.runtime.active_path)
    seen = dataclasses.replace(site.observe(), trial=None)
    with pytest.raises(control_checks.VenomError) as caught:
        control_checks.check_command(site, Request("started"), seen)
    assert caught.value.reason_code == "not_configured"
    control_checks.check_command(site, Request("started"), site.observe())
