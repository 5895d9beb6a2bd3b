# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plans of ``venom_runtime``: what each state would do, and what it refuses."""
from __future__ import annotations

import dataclasses
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import activation_trial, control
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.supervisors import systemd
from ansible_collections.venom.llm.plugins.module_utils.supervisors.base import ServiceState
from ansible_collections.venom.llm.plugins.module_utils.system_role import SystemRole
from ansible_collections.venom.llm.plugins.module_utils.targets import auto_timeout
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import COMMIT, FakeHost, FakeSupervisor


@pytest.fixture()
def host(tmp_path: Path) -> t.Iterator[FakeHost]:
    made = FakeHost(tmp_path)
    yield made
    made.call(state="stopped", stop_timeout=0.5)


def code(call: t.Callable[[], t.Any]) -> str:
    with pytest.raises(VenomError) as caught:
        call()
    return caught.value.reason_code


@pytest.mark.parametrize("state", ["active", "started", "restarted"])
def test_a_fresh_host_in_check_mode_is_a_change_with_a_warning(tmp_path: Path, state: str) -> None:
    host = FakeHost(tmp_path)
    host.settings_path.unlink()
    before = host.tree()
    model = "lab/a" if state == "active" else None
    result = host.call(state=state, model=model, check_mode=True)
    assert result["changed"] and len(host.warnings) == 1 and host.tree() == before
    assert result["diff"]["after"]["state"] == "started" and result["diff"]["after"]["model"] == model
    assert code(lambda: host.call(state=state, model=model)) == "not_installed"


def test_stopped_is_no_failure_where_nothing_is_installed(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.settings_path.unlink()
    before = host.tree()
    for check_mode in (True, False):
        result = host.call(state="stopped", check_mode=check_mode)
        assert not result["changed"] and result["status"]["status"] == "offline"
    assert host.tree() == before and host.warnings == []


def test_a_model_that_is_not_installed(host: FakeHost) -> None:
    assert code(lambda: host.activate("lab/none")) == "not_installed"
    assert host.activate("lab/none", check_mode=True)["changed"] and "lab/none is not in the manifest" in host.warnings[0]
    host.install("lab/a")
    assert code(lambda: host.activate("lab/a", revision="f" * 40)) == "not_installed"


@pytest.mark.parametrize("harm", ["missing", "short", "no weights"])
def test_a_model_that_is_not_complete(host: FakeHost, harm: str) -> None:
    entry = host.install("lab/a")
    weights = Path(entry.local_path, "model.safetensors")
    if harm == "missing":
        weights.unlink()
    elif harm == "short":
        weights.write_bytes(b"w")
    else:
        from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest

        files = tuple(record for record in entry.files if record.path == "config.json")
        Manifest.load(str(host.root / "models")).merge(dataclasses.replace(entry, files=files)).save()
    assert code(lambda: host.activate("lab/a")) == "not_installed"
    assert not host.active_path.exists()


def test_an_alias_of_another_model_is_taken(host: FakeHost) -> None:
    host.install("lab/a", alias="chat")
    host.install("lab/b")
    assert code(lambda: host.activate("lab/b", alias="chat")) == "alias_taken"
    assert code(lambda: host.activate("lab/b", alias="lab/a")) == "alias_taken"
    assert code(lambda: host.activate("lab/b", alias="../x")) == "invalid_name"


def test_a_model_is_found_by_alias_and_serves_under_it(host: FakeHost) -> None:
    host.install("lab/a", alias="chat")
    result = host.activate("chat", revision=COMMIT)
    assert result["status"]["served_models"] == ["chat"] and result["status"]["active_model"] == "lab/a"


def test_a_model_without_an_alias_serves_under_its_full_name(host: FakeHost) -> None:
    host.install("lab/a", alias=None)
    assert host.activate("lab/a")["status"]["served_models"] == ["lab/a"]


def test_started_without_an_active_model_is_not_configured(host: FakeHost) -> None:
    for state in ("started", "restarted", "probed"):
        assert code(lambda: host.call(state=state)) == "not_configured"  # noqa: B023


def test_started_stopped_restarted_probed(host: FakeHost) -> None:
    host.install("lab/a")
    pid = host.activate("lab/a")["status"]["pid"]
    assert not host.call(state="started")["changed"]
    assert host.call(state="probed")["status"]["completion"]["text"] == "I am a"
    planned = host.call(state="stopped", check_mode=True)
    assert planned["changed"] and planned["diff"]["after"]["state"] == "stopped" and host.status()["pid"] == pid
    assert host.call(state="stopped")["changed"] and not host.call(state="stopped")["changed"]
    assert code(lambda: host.call(state="probed")) == "start_failed"
    assert host.call(state="started", check_mode=True)["changed"] and host.status()["pids"] == []
    started = host.call(state="started")
    assert started["changed"] and started["status"]["status"] == "online"
    restarted = host.call(state="restarted")
    assert restarted["changed"] and restarted["status"]["pid"] != started["status"]["pid"]
    assert not host.activate("lab/a")["changed"]


def test_a_start_that_dies_is_start_failed_and_not_looped(host: FakeHost) -> None:
    entry = host.install("lab/a")
    host.activate("lab/a")
    host.call(state="stopped")
    host.behave(entry, die=9)
    with pytest.raises(VenomError) as caught:
        host.call(state="started")
    assert caught.value.reason_code == "start_failed" and caught.value.details["exit_status"] == 9
    assert host.active_path.exists() and host.status()["pids"] == []


def test_probed_fails_when_the_model_does_not_answer(host: FakeHost) -> None:
    host.install("lab/a", chat=500)
    with pytest.raises(VenomError):
        host.activate("lab/a", rollback=False)
    pid = host.status()["pid"]
    with pytest.raises(VenomError) as caught:
        host.call(state="probed")
    assert caught.value.reason_code == "start_failed" and "answered 500" in caught.value.details["cause"]
    assert host.status()["pid"] == pid and host.status()["status"] == "degraded"


def test_settings_without_sense_are_not_configured(host: FakeHost) -> None:
    host.install("lab/a")
    host.activate("lab/a")
    host.write_settings(VENOM_VLLM_PORT="x")
    assert code(lambda: host.activate("lab/a")) == "not_configured"
    assert host.status()["status"] == "offline" and "'x'" in host.status()["error_message"]
    # Nor does a file that is no text, in whatever it says or in all of it.
    host.write_settings()
    good = host.settings_path.read_bytes()
    host.settings_path.write_bytes(good + b"# f\xfcr M\xfcller\n")
    assert host.status()["status"] == "online" and not host.activate("lab/a")["changed"], "a comment is nobody's business"
    host.settings_path.write_bytes(good + b"HF_HOME=/srv/M\xfcller\n")
    assert code(lambda: host.activate("lab/a")) == "not_configured" and "HF_HOME" in host.status()["error_message"]
    host.settings_path.write_bytes(b"\xff\xfe\0")
    assert [each["kind"] for each in host.status()["drift"]] == ["settings_missing"]
    assert host.call(state="stopped")["changed"] and host.status()["pids"] == []


def test_the_timeout_grows_with_the_model() -> None:
    assert auto_timeout(0) == 120.0 and auto_timeout(10 * 1024**3) == 320.0
    assert control.parse_timeout("auto") is None and control.parse_timeout("30") == 30.0
    for text in ("soon", "-1", "nan", "inf", ""):
        assert code(lambda: control.parse_timeout(text)) == "invalid_option"  # noqa: B023


def systemd_plan(host: FakeHost, state: str, service: ServiceState, **more: t.Any) -> control.Plan:
    site = dataclasses.replace(control.make_site(host.params()), supervisor=FakeSupervisor(service))
    return control.STATES[state](site, control.Request(state, **more), site.observe())


def test_a_unit_that_is_missing(host: FakeHost) -> None:
    host.install("lab/a")
    missing = ServiceState("stopped", installed=False)
    assert code(lambda: systemd_plan(host, "active", missing, model="lab/a")) == "not_installed"
    plan = systemd_plan(host, "active", missing, model="lab/a", check_mode=True)
    assert plan.changed and plan.steps == () and "systemd does not know it" in plan.warnings[0]


@pytest.mark.parametrize("active", ["running", "stopped"])
@pytest.mark.parametrize("loaded", ["masked", "bad-setting", "error"])
def test_a_unit_that_would_not_start_again_is_refused_before_anything_is_touched(host: FakeHost, active: str, loaded: str) -> None:
    """Also while it serves: a mask does not stop it, and after the stop nothing could start it, not even the model before."""
    entry = host.install("lab/a")
    host.install("lab/b")
    runtime = control.make_site(host.params()).runtime
    activation_trial.write_environment(runtime, runtime.active_path, runtime.make_active("a", entry.local_path, "lab/a"))
    unit = f"LoadState={loaded}\nActiveState={'active' if active == 'running' else 'inactive'}\nUnitFileState={loaded}\n"
    service = systemd.state_from(systemd.parse_show(unit), 0.0)
    assert service.active == active
    for check_mode in (True, False):
        for state, model in (("active", "lab/b"), ("started", None), ("restarted", None)):
            with pytest.raises(VenomError) as caught:
                systemd_plan(host, state, service, model=model, check_mode=check_mode)
            assert caught.value.reason_code == "supervisor_failed" and f"it is {loaded}" in caught.value.found
    if active == "running":
        assert systemd_plan(host, "probed", service).steps == ("prove",)
        assert systemd_plan(host, "stopped", service).steps == ("stop",)


@pytest.mark.parametrize(("active", "runs"), [("running", True), ("starting", True), ("restarting", True), ("failed", False), ("stopped", False)])
def test_stopped_ends_a_restart_loop_too(host: FakeHost, active: str, runs: bool) -> None:
    plan = systemd_plan(host, "stopped", ServiceState(active))
    assert plan.changed is runs and plan.steps == (("stop",) if runs else ())


def test_enabled_is_a_change_of_its_own(host: FakeHost) -> None:
    host.install("lab/a")
    host.activate("lab/a")
    supervisor = FakeSupervisor(ServiceState("stopped", enabled=True))
    site = dataclasses.replace(control.make_site(host.params()), supervisor=supervisor)
    for wanted, call in ((False, "disable"), (True, "enable")):
        change = control.enable_change(site, control.Request("stopped", enabled=wanted), site.observe())
        if change is None:
            raise AssertionError("nothing to change")
        assert change() and supervisor.calls[-1] == call
        assert control.enable_change(site, control.Request("stopped", enabled=wanted), site.observe()) is None
    assert control.enable_change(site, control.Request("stopped"), site.observe()) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_environment_file_gets_the_group_of_the_settings(host: FakeHost) -> None:
    os.chown(host.settings_path, 0, 65534)
    host.install("lab/a")
    host.activate("lab/a")
    status = host.active_path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, 65534, 0o640)


def test_a_neighbour_that_only_starts_at_boot_has_to_make_room_too(host: FakeHost) -> None:
    host.install("lab/a")
    host.activate("lab/a")
    site = control.make_site(host.params())
    neighbour = dataclasses.replace(control.make_site(host.params(name="ollama")), supervisor=FakeSupervisor(ServiceState("stopped", enabled=True)))
    site = dataclasses.replace(site, neighbours=(neighbour,))
    request = control.Request("active", model="lab/a", exclusive=True)
    plan = control.plan_active(site, request, site.observe())
    assert plan.steps == ("check", "switch", "exclusive", "prove", "commit") and plan.before["beside"] == ["ollama"]
    control.apply(site, request, plan, host.params())
    assert t.cast(FakeSupervisor, neighbour.supervisor).calls == ["disable"]
    assert not control.plan_active(site, request, site.observe()).changed


def test_settings_that_lost_their_sense_do_not_keep_a_trial_from_being_stopped(host: FakeHost) -> None:
    entry = host.install("lab/a")
    with pytest.raises(VenomError):
        host.behave(entry, text="")
        host.activate("lab/a", rollback=False)
    assert host.record()["trials"]["vllm"]["activation"]["model"] == "lab/a"
    host.write_settings(VENOM_VLLM_PORT="x")
    assert host.call(state="stopped")["changed"] and host.status()["pids"] == [] and not host.record()["trials"]


def test_the_manifest_learns_what_the_server_does_with_system_messages(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def probe(post: t.Callable[[str, dict[str, t.Any]], t.Any], model: str) -> SystemRole:
        asked.append(model)
        assert post("/v1/chat/completions", {"model": model, "messages": []}).status == 200
        return SystemRole("rejected", "/tokenize", "No")

    monkeypatch.setattr(control.system_role, "probe", probe)
    host.install("lab/a")
    (entry,) = Manifest.load(str(host.root / "models")).models
    known = {"supports_system_role": {"value": True, "source": "detected"}}
    Manifest.load(str(host.root / "models")).merge(entry.replace(capabilities=known)).save()
    assert host.activate("lab/a")["changed"]
    (after,) = Manifest.load(str(host.root / "models")).models
    assert after.capabilities["supports_system_role"] == {"value": False, "source": "probed"}
    assert asked == ["a"] and "refuses system messages (No)" in host.warnings[-1]
    # What was committed is not asked for again, and a manifest that cannot be written fails nothing.
    assert not host.activate("lab/a")["changed"] and asked == ["a"]

    def fail(*dummy: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(control.system_role, "settle", fail)
    assert host.call(state="restarted")["changed"] and "is not recorded: [Errno 28]" in host.warnings[-1]
