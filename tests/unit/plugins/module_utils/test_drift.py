# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of drift from its cause: as a pure comparison, and on a host where somebody has meddled, until it is mended."""
from __future__ import annotations

import dataclasses
import http.server
import os
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import control, drift
from ansible_collections.venom.llm.plugins.module_utils.observation import Observation
from ansible_collections.venom.llm.plugins.module_utils.processes import Listener
from ansible_collections.venom.llm.plugins.module_utils.record import Activation, Trial
from ansible_collections.venom.llm.plugins.module_utils.runtime_site import make_site
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active, Health, ServedModel
from ansible_collections.venom.llm.plugins.module_utils.supervisors.autostarts import Autostart
from ansible_collections.venom.llm.plugins.module_utils.supervisors.base import ServiceState
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeHost, wait_until

RECORD = Activation("lab/a", "huggingface", "0" * 40, "a", "/models/a")
RUNNING = ServiceState("running", pid=10, uptime_seconds=1000.0, enabled=True)
GOOD = Observation(
    configured=True,
    active=Active("a", "/models/a"),
    service=RUNNING,
    pids=frozenset({10}),
    listeners=(Listener("127.0.0.1", 8001, 10, "vllm", None),),
    health=Health("ready", 0.004),
    served=(ServedModel("a", "/models/a"),),
    committed=RECORD,
    started_with="digest",
    digest="digest",
    endpoint="http://127.0.0.1:8001",
)
STOPPED = ServiceState("stopped", enabled=True, detail="inactive (dead)")
STRAY = (Listener("127.0.0.1", 8001, 99, "python3 -m other", "other.service"),)


def kinds(
    seen: Observation, alias_ok: bool | None = True, can_enable: bool = True, problem: str | None = None, strays: t.Sequence[str] = ()
) -> list[str]:
    return [each.kind for each in drift.compare(seen, alias_ok, ["a from /models/a"], can_enable, problem, strays)]


def test_a_host_as_its_record_says() -> None:
    assert kinds(GOOD) == []


def test_a_host_where_nothing_was_ever_activated() -> None:
    nothing = Observation(configured=False, active=None, service=ServiceState("stopped", installed=False))
    assert kinds(nothing, None) == []
    assert kinds(dataclasses.replace(nothing, configured=True, service=STOPPED), None) == []


@pytest.mark.parametrize(
    ("changes", "alias_ok", "wanted"),
    [
        ({}, False, ["alias_mismatch"]),
        ({"active": Active("b", "/models/a")}, True, ["configuration_differs"]),
        ({"active": Active("a", "/models/b")}, True, ["configuration_differs"]),
        ({"active": None}, True, ["configuration_differs"]),
        ({"service": dataclasses.replace(RUNNING, enabled=False)}, True, ["not_enabled"]),
        ({"service": STOPPED, "listeners": ()}, None, ["not_running"]),
        ({"service": dataclasses.replace(STOPPED, active="failed")}, None, ["not_running"]),
        ({"started_with": "other"}, True, ["settings_changed"]),
        ({"service": dataclasses.replace(RUNNING, needs_reload=True)}, True, ["settings_changed"]),
        ({"health": Health("broken", detail="GET /health answered 500"), "served": None}, None, ["not_answering"]),
        ({"committed": None}, True, ["record_missing"]),
        ({"configured": False}, None, ["settings_missing"]),
        ({"endpoint": None, "health": Health("broken", detail="settings: PORT is missing")}, None, ["settings_missing"]),
        ({"service": ServiceState("stopped", installed=False)}, None, ["unit_missing"]),
        ({"listeners": STRAY, "served": None}, None, []),
        ({"trial": Trial(activation=RECORD, begun_at="now")}, True, ["change_unfinished"]),
        ({"trial": Trial(version="2", begun_at="now"), "committed": None}, None, ["change_unfinished"]),
        ({"active": Active("b", "/models/a"), "service": dataclasses.replace(RUNNING, enabled=False), "started_with": "x"}, False,
         ["configuration_differs", "not_enabled", "settings_changed", "alias_mismatch"]),
    ],
)  # fmt: skip
def test_each_kind_has_its_cause(changes: dict[str, t.Any], alias_ok: bool | None, wanted: list[str]) -> None:
    assert kinds(dataclasses.replace(GOOD, **changes), alias_ok) == wanted


def test_one_that_was_stopped_on_purpose_needs_nothing_but_rest() -> None:
    off = dataclasses.replace(STOPPED, enabled=False)
    resting = dataclasses.replace(GOOD, set_aside=True, service=off, active=None, endpoint=None, listeners=STRAY)
    assert kinds(resting, None, problem="a file is gone", strays=["pid 99 listens"]) == []
    assert kinds(dataclasses.replace(resting, service=STOPPED), None) == ["not_stopped"] == kinds(dataclasses.replace(GOOD, set_aside=True))
    trial = Trial(activation=RECORD, begun_at="now")
    assert kinds(dataclasses.replace(GOOD, set_aside=True, trial=trial)) == ["change_unfinished"], "somebody brings it back right now"


def test_a_damaged_model_is_told_beside_the_rest() -> None:
    assert kinds(GOOD, problem="a file is gone") == ["model_damaged"]
    assert kinds(dataclasses.replace(GOOD, service=STOPPED), None, problem="x") == ["model_damaged", "not_running"]


def test_servers_of_others_are_told_first() -> None:
    stopped = dataclasses.replace(GOOD, listeners=STRAY, service=STOPPED)
    assert kinds(stopped, None, strays=["pid 99 listens"]) == ["stray_server", "not_running"]
    assert kinds(GOOD, strays=["a unit is enabled"]) == ["stray_server"] and not drift.KINDS["stray_server"]


def test_a_supervisor_that_starts_nothing_at_boot_does_not_lack_it() -> None:
    assert kinds(dataclasses.replace(GOOD, service=dataclasses.replace(RUNNING, enabled=False)), can_enable=False) == []


def test_the_words_have_both_names() -> None:
    (found,) = drift.compare(GOOD, False, ["b from /models/b"], True, None)
    assert found.to_dict() == {"kind": "alias_mismatch", "wanted": "a from /models/a", "found": "b from /models/b", "repairable": True}


# On a host.


@pytest.fixture
def fake(tmp_path: Path) -> t.Iterator[FakeHost]:
    fake = FakeHost(tmp_path)
    fake.install("lab/a")
    fake.activate("lab/a")
    yield fake
    fake.call(state="stopped")


def seen(fake: FakeHost) -> dict[str, t.Any]:
    options = {"name": "vllm", "probe": False, "probe_timeout": 10.0, "alert_percent": 100.0}
    status: dict[str, t.Any] = control.inspect(fake.params(**options))["runtimes"]["vllm"]
    return status


def found_on(fake: FakeHost) -> list[str]:
    return [each["kind"] for each in seen(fake)["drift"]]


def restart_by_hand(fake: FakeHost) -> None:
    """As an operator would with systemctl: the record hears nothing of it."""
    supervisor = make_site(fake.params()).supervisor
    supervisor.stop(5.0)
    supervisor.start()
    wait_until(lambda: seen(fake)["served_models"])


def mend(fake: FakeHost) -> None:
    before = fake.record()["active"]["vllm"]
    result = fake.activate(before["model"], revision=before["revision"], alias=before["alias"])
    assert result["changed"] and found_on(fake) == []
    assert fake.record()["active"]["vllm"]["model"] == before["model"]


def test_a_stopped_server_is_found_and_started(fake: FakeHost) -> None:
    assert found_on(fake) == []
    fake.call(state="stopped")
    assert found_on(fake) == ["not_running"]
    mend(fake)


def test_an_edited_environment_is_found_and_put_right(fake: FakeHost) -> None:
    fake.active_path.write_text(fake.active_path.read_text().replace("VENOM_VLLM_SERVED_NAME=a", "VENOM_VLLM_SERVED_NAME=b"))
    assert found_on(fake) == ["configuration_differs", "settings_changed"]
    restart_by_hand(fake)
    assert found_on(fake) == ["configuration_differs", "settings_changed", "alias_mismatch"]
    mend(fake)


def test_a_variable_that_nobody_restarted_for_is_found(fake: FakeHost) -> None:
    fake.write_settings(EXTRA="1")
    assert found_on(fake) == ["settings_changed"]
    mend(fake)


def test_a_server_that_answers_under_another_name_is_found(fake: FakeHost) -> None:
    path = fake.record()["active"]["vllm"]["path"]
    behaviour = Path(path, "behaviour.json")
    behaviour.write_text('{"id": "somebody-else"}')
    restart_by_hand(fake)
    behaviour.write_text("{}")
    (found,) = seen(fake)["drift"]
    assert found["kind"] == "alias_mismatch" and "somebody-else" in found["found"] and found["wanted"].startswith("a from ")
    mend(fake)


def test_a_model_that_was_cut_is_named_and_not_mended(fake: FakeHost) -> None:
    weights = Path(fake.record()["active"]["vllm"]["path"], "model.safetensors")
    weights.write_bytes(b"we")
    (found,) = seen(fake)["drift"]
    assert (found["kind"], found["repairable"]) == ("model_damaged", False) and "2 bytes instead of 7" in found["found"]
    weights.write_bytes(b"weights")
    (Path(fake.root) / "models" / "manifest.json").unlink()
    assert "not in the manifest" in seen(fake)["drift"][0]["found"]


def test_a_stray_server_is_named_with_its_pid(fake: FakeHost) -> None:
    fake.call(state="stopped")
    stray = http.server.HTTPServer(("127.0.0.1", fake.port), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=stray.serve_forever)
    thread.start()
    try:
        stray_server, not_running = seen(fake)["drift"]
        assert stray_server["kind"] == "stray_server" and f"pid {os.getpid()}" in stray_server["found"]
        assert not_running["kind"] == "not_running"
    finally:
        stray.shutdown()
        stray.server_close()
        thread.join()
    mend(fake)


def test_a_lost_record_is_told(fake: FakeHost) -> None:
    (fake.root / "config" / "runtime.json").unlink()
    assert found_on(fake) == ["record_missing"]


def test_what_else_starts_such_a_server_at_boot_is_told(fake: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def find(mark: str, own_unit: str) -> list[Autostart]:
        asked.append((mark, own_unit))
        return [Autostart("serve.timer", "/etc/systemd/system/timers.target.wants/serve.timer", "vllm serve")]

    monkeypatch.setattr(control, "find_autostarts", find)
    assert seen(fake)["autostarts"] == ["serve.timer (/etc/systemd/system/timers.target.wants/serve.timer): vllm serve"]
    assert asked == [("vllm", make_site(fake.params()).supervisor.unit)]


def test_a_server_that_was_stopped_and_comes_back_by_a_boot_is_as_it_should_be(fake: FakeHost) -> None:
    fake.call(state="stopped")
    restart_by_hand(fake)
    assert found_on(fake) == []
    committed = fake.record()["active"]["vllm"]
    again = fake.activate(committed["model"], revision=committed["revision"], alias=committed["alias"])
    assert not again["changed"] and again["steps"] == []
