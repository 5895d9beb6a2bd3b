# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator sees when a model cannot be had, and that nothing is left behind on the host."""

from __future__ import annotations

import typing as t

import pytest
from operators import TOKEN, Operator

from lab.hosts import Lab
from lab.hub import Hub

pytestmark = pytest.mark.hosts

HOST = "lab2"
#: The host is prepared once; after that only its token and its models are played.
PARTS = ("--tags", "venom_credential,models", "--limit", HOST)
AURORA = {"name": "demo/tiny-aurora"}
GATED = {"name": "demo/tiny-gated"}


@pytest.fixture(scope="module", autouse=True)
def prepared(lab: Lab, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The host has its account, folders and backend, and no model."""
    operator = Operator(lab.inventory, tmp_path_factory.mktemp("prepare"), {"venom_hf_endpoint": hub.url, "venom_wheels_dir": "/srv/wheels"})
    operator.play("site", "--tags", "host", "--limit", HOST)


def models_tree(lab: Lab) -> list[str]:
    """Every path below the models folder but the journal and the locks, which a failed try may leave as its record."""
    found = lab.run(HOST, ["find", "/var/lib/venom/models", "-printf", "%P %y %s\\n"]).stdout.splitlines()
    return sorted(line for line in found if not line.startswith(("operations", "locks")))


REFUSALS: list[tuple[str, dict[str, t.Any], dict[str, t.Any]]] = [
    ("gated", GATED, {}),
    ("unauthorized", GATED, {"venom_hf_token": "hf_wrong"}),
    ("not_found", {"name": "demo/nobody"}, {"venom_hf_token": TOKEN}),
    ("revision_not_found", {**AURORA, "revision": "no-such-branch"}, {}),
    ("hub_unreachable", AURORA, {"venom_hf_endpoint": "http://127.0.0.1:9"}),
    ("quota_exceeded", AURORA, {"venom_models_max_disk_gb": 0.00001}),
    ("confirmation_required", AURORA, {"venom_models_confirm_above_gb": 0.00001}),
    ("invalid_name", {"name": "../etc/passwd"}, {}),
]


@pytest.mark.parametrize(("reason", "model", "variables"), REFUSALS, ids=[line[0] for line in REFUSALS])
def test_refusal(lab: Lab, operator: Operator, reason: str, model: dict[str, t.Any], variables: dict[str, t.Any]) -> None:
    before = models_tree(lab)
    run = operator.play("install", *PARTS, expect=2, venom_models=[model], **variables)
    assert reason in (run.reason_codes() or [""])[0] or reason in run.output, run.output[-3000:]
    for word in ("Wanted", "Found", "To do"):
        assert word in run.output
    assert models_tree(lab) == before
