# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators run every day, on two systemd hosts with a light server in the place of vLLM."""

from __future__ import annotations

import typing as t

import light_vllm
import pytest
from light_vllm import LightVllm
from operators import Operator

from lab.hosts import Lab

pytestmark = pytest.mark.hosts

HOSTS = ("lab1", "lab3")
AURORA, BOREALIS = "demo/tiny-aurora", "demo/tiny-borealis"
DECLARED: dict[str, t.Any] = {
    "venom_models": [{"name": AURORA, "alias": "tiny-aurora"}, {"name": BOREALIS, "alias": "tiny-borealis"}],
    "venom_active": {"vllm": AURORA},
    **light_vllm.VARIABLES,
}
LIMIT = ("--limit", ",".join(HOSTS))


@pytest.fixture(scope="module")
def lights(lab: Lab) -> dict[str, LightVllm]:
    """The light server on each host."""
    return light_vllm.on(lab, HOSTS)


def test_a_site_with_the_light_server(lights: dict[str, LightVllm], operator: Operator) -> None:
    operator.play("site", *LIMIT, **DECLARED)
    assert [light.served() for light in lights.values()] == [["tiny-aurora"], ["tiny-aurora"]]
    assert operator.play("site", *LIMIT, **DECLARED).changed() == []
