# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A runtime that was stopped on purpose: nobody misses it, nothing but an order brings it back, and an order does."""
from __future__ import annotations

import dataclasses
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import activation_trial, control, drift, metrics
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.record import Activation, RuntimeRecord
from ansible_collections.venom.llm.plugins.module_utils.supervisors.base import ServiceState
from ansible_collections.venom.llm.plugins.module_utils.targets import find_target
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeHost, FakeSupervisor

OTHER = Activation("mid:1b", "ollama", "sha256:1", "mid", "sha256:1")


@pytest.fixture
def fake(tmp_path: Path) -> t.Iterator[FakeHost]:
    """A host with a committed model; its server does not run."""
    fake = FakeHost(tmp_path)
    fake.install("lab/a")
    site = control.make_site(fake.params())
    activation_trial.commit(site.server, find_target(site.models_dir, "vllm", "lab/a", None, None)[0])
    yield fake
    fake.call(state="stopped")


def status_of(fake: FakeHost) -> dict[str, t.Any]:
    options = {"name": "vllm", "probe": False, "probe_timeout": 10.0, "alert_percent": 100.0}
    return t.cast("dict[str, t.Any]", control.inspect(fake.params(**options))["status"])


def is_expected(status: dict[str, t.Any]) -> bool:
    (value,) = [sample.value for sample in metrics.of_runtime(status) if sample.name == "venom_runtime_expected"]
    return bool(value)


def stop(fake: FakeHost, **options: t.Any) -> dict[str, t.Any]:
    return fake.call(state="stopped", enabled=False, **options)


def test_a_stop_for_good_is_no_drift_and_an_ordinary_one_is(fake: FakeHost) -> None:
    assert not fake.call(state="stopped")["changed"]
    ordinary = status_of(fake)
    assert [each["kind"] for each in ordinary["drift"]] == ["not_running"] and is_expected(ordinary) and not ordinary["set_aside"]
    before = fake.tree()
    assert stop(fake, check_mode=True)["changed"] and fake.tree() == before
    assert stop(fake)["changed"] and not stop(fake)["changed"] and not stop(fake, check_mode=True)["changed"]
    aside = status_of(fake)
    assert aside["drift"] == [] and not is_expected(aside) and aside["set_aside"] and "on purpose" in aside["error_message"]
    assert fake.record()["set_aside"] == ["vllm"] and aside["active_model"] == "lab/a", "the model is kept"
    # It needs nothing of what a server needs, until it is wanted again.
    fake.settings_path.unlink()
    assert status_of(fake)["drift"] == []
    fake.write_settings()


@pytest.mark.parametrize("state", ["active", "started", "restarted"])
def test_an_order_brings_it_back(fake: FakeHost, state: str) -> None:
    stop(fake)
    order: dict[str, t.Any] = {"state": state, "model": "lab/a"} if state == "active" else {"state": state}
    assert fake.call(check_mode=True, **order)["changed"] and fake.record()["set_aside"] == ["vllm"]
    assert fake.call(**order)["changed"] and fake.record()["set_aside"] == [] and status_of(fake)["drift"] == []
    assert state == "restarted" or not fake.call(**order)["changed"]


def test_one_that_was_started_by_hand_is_told_and_can_be_kept(fake: FakeHost) -> None:
    fake.call(state="started")
    RuntimeRecord.change(str(fake.root / "config" / "runtime.json"), lambda record: record.with_set_aside("vllm", True))
    (found,) = status_of(fake)["drift"]
    assert (found["kind"], found["repairable"], found["found"]) == ("not_stopped", False, "it is running")
    pid = status_of(fake)["pid"]
    done = fake.activate("lab/a")
    assert done["changed"] and "on purpose" in done["plan"]["reasons"][-1] and fake.record()["set_aside"] == []
    assert status_of(fake)["pid"] == pid and not fake.activate("lab/a")["changed"]


def test_a_failed_activation_leaves_it_stopped_as_it_was(fake: FakeHost) -> None:
    fake.install("lab/bad", die=3)
    stop(fake)
    with pytest.raises(VenomError) as caught:
        fake.activate("lab/bad")
    assert caught.value.details["rolled_back"] is False and fake.record()["set_aside"] == ["vllm"]
    assert status_of(fake)["service"] == "stopped" and status_of(fake)["drift"] == []


def test_where_nothing_was_ever_active_nothing_is_written(tmp_path: Path) -> None:
    fake = FakeHost(tmp_path)
    assert not stop(fake)["changed"] and not (tmp_path / "config" / "runtime.json").exists()


def test_whoever_enables_it_wants_it_back(fake: FakeHost) -> None:
    stop(fake)
    assert not fake.call(state="stopped")["changed"] and fake.record()["set_aside"] == ["vllm"]
    assert fake.call(state="stopped", enabled=True)["changed"] and fake.record()["set_aside"] == []


def test_exclusive_sets_the_others_aside_with_the_commit(fake: FakeHost) -> None:
    path = str(fake.root / "config" / "runtime.json")
    RuntimeRecord.change(path, lambda record: record.with_active("ollama", OTHER))
    site = control.make_site(fake.params())
    # As a version before this one left it: stopped and disabled, and not a word in the record.
    neighbour = dataclasses.replace(control.make_site(fake.params(name="ollama")), supervisor=FakeSupervisor(ServiceState("stopped")))
    site = dataclasses.replace(site, neighbours=(neighbour,))
    request = control.Request("active", model="lab/a", exclusive=True)
    plan = control.plan_active(site, request, site.observe())
    assert plan.changed and plan.before["beside"] == ["ollama"] and fake.record()["set_aside"] == []
    control.apply(site, request, plan, fake.params())
    assert fake.record()["set_aside"] == ["ollama"]
    assert not control.plan_active(site, request, site.observe()).changed
    seen = dataclasses.replace(neighbour.observe(), committed=OTHER)
    assert seen.set_aside and drift.compare(seen, None, [], True, None) == ()


def test_enabled_again_by_hand_is_told(fake: FakeHost) -> None:
    stop(fake)
    seen = dataclasses.replace(control.make_site(fake.params()).observe(), service=ServiceState("stopped", enabled=True))
    (found,) = drift.compare(seen, None, [], True, None)
    assert (found.kind, found.found) == ("not_stopped", "it is enabled")


def test_the_record_keeps_it_and_gives_it_up_with_the_next_activation(tmp_path: Path) -> None:
    path = str(tmp_path / "runtime.json")
    record = RuntimeRecord().with_active("ollama", OTHER).with_set_aside("ollama", True).with_set_aside("vllm", True)
    record.save(path)
    assert record.set_aside == {"ollama"} and RuntimeRecord.load(path) == record
    assert record.with_active("ollama", OTHER).set_aside == frozenset() == record.with_set_aside("ollama", False).set_aside
    data = json.loads(Path(path).read_text())
    del data["set_aside"]
    Path(path).write_text(json.dumps(data))
    assert RuntimeRecord.load(path).set_aside == frozenset(), "a record of an earlier version"
