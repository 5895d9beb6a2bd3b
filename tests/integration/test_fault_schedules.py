# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""500 seeded fault schedules: each run ends with the right bytes or a clear failure for the right reason, and nothing unverified appears.

``VENOM_TEST_SEEDS=1000-1500`` (the end not included) or ``VENOM_TEST_SEEDS=17,230`` runs other seeds. A failure names its seed and prints
the schedule; the seed is all it takes to see it again.
"""
from __future__ import annotations

import gc
import os
import shutil
import traceback
import typing as t
from pathlib import Path

import pytest
from integration.fault_runs import PASSWORD, TOKEN, USER, Broken, Lab, play
from integration.fault_schedules import schedule

from ansible_collections.venom.llm.plugins.module_utils.runtimes import ollama_pull
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy
from lab.hub import Hub
from lab.registry import Registry

CHUNK = 25


def chosen_seeds() -> list[int]:
    """The fixed 500, or what the environment says."""
    text = os.environ.get("VENOM_TEST_SEEDS", "0-500")
    first, dash, last = text.partition("-")
    return list(range(int(first), int(last))) if dash else [int(number) for number in text.split(",")]


SEEDS = chosen_seeds()
CHUNKS = [SEEDS[start : start + CHUNK] for start in range(0, len(SEEDS), CHUNK)]


@pytest.fixture(scope="module")
def lab() -> t.Iterator[Lab]:
    with (
        Hub(cdn_host="127.0.0.2", tokens={TOKEN: USER}, page_size=3) as hub,
        Registry() as open_registry,
        Registry(auth="basic", users={USER: PASSWORD}) as basic,
        Registry(auth="bearer", users={USER: PASSWORD}) as bearer,
        Hub("127.0.0.3") as foreign,
    ):
        gc.collect()
        gc.freeze()
        yield Lab(hub, {"none": open_registry, "basic": basic, "bearer": bearer}, foreign)
        gc.unfreeze()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only the waits of our own making are cut short; a second that a server asks for is waited.
    monkeypatch.setattr(RetryPolicy, "delay", lambda self, attempt, error: error.retry_after or 0.002)
    monkeypatch.setattr(ollama_pull, "_BASE_DELAY", 0.002)


def test_the_schedules_have_every_fault() -> None:
    struck = {(schedule(seed).flow, strike.kind) for seed in range(500) for strike in schedule(seed).strikes}
    everywhere = {"status", "drop", "cut", "flip", "redirect", "content_range", "length", "etag", "gzip", "ignore_range", "slow", "hang"}
    assert {(flow, kind) for flow in ("hub", "store") for kind in everywhere} <= struck
    assert {("api", kind) for kind in ("status", "drop", "cut", "flip", "length", "gzip", "redirect")} <= struck
    assert ("hub", "listing") in struck
    assert {("store", "manifest"), ("api", "manifest")} <= struck
    assert schedule(17) == schedule(17)


@pytest.mark.parametrize("seeds", CHUNKS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_fault_schedules(seeds: list[int], lab: Lab, tmp_path: Path) -> None:
    broken: list[str] = []
    for seed in seeds:
        drawn = schedule(seed)
        try:
            play(drawn, lab, tmp_path / str(seed))
        except Broken as error:
            broken.append(f"seed {seed}: {error}\n{drawn}")
        except Exception:
            broken.append(f"seed {seed}: what no caller expects\n{traceback.format_exc()[-3000:]}\n{drawn}")
        shutil.rmtree(tmp_path / str(seed), ignore_errors=True)
    if broken:
        pytest.fail("\n\n".join([f"{len(broken)} of {len(seeds)} schedules", *broken]), pytrace=False)
