# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transaction against real processes: every step fails once, and every time the host is left as promised."""
from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import activation_server, control, files
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.record import RuntimeRecord
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeHost, is_alive, wait_until

STEPS = ["check", "drain", "switch", "start", "prove", "commit"]


@pytest.fixture()
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[FakeHost]:
    monkeypatch.setattr(activation_server, "POLL_SECONDS", 0.03)
    made = FakeHost(tmp_path)
    yield made
    if made.settings_path.exists():
        made.call(state="stopped", stop_timeout=0.5)


def refused(call: t.Callable[[], t.Any]) -> VenomError:
    with pytest.raises(VenomError) as caught:
        call()
    return caught.value


def test_activation_serves_proves_and_records(host: FakeHost) -> None:
    entry = host.install("lab/a")
    result = host.activate("lab/a")
    assert result["changed"] and [step["name"] for step in result["steps"]] == STEPS
    assert result["status"]["status"] == "online" and result["status"]["completion"]["text"] == "I am a"
    assert result["diff"]["before"]["model"] is None
    assert result["diff"]["after"] == {"state": "started", "model": "lab/a", "alias": "a", "path": entry.local_path}
    assert host.active_path.stat().st_mode & 0o777 == 0o640
    active = host.record()["active"]["vllm"]
    assert (active["model"], active["alias"], active["path"], active["revision"]) == ("lab/a", "a", entry.local_path, entry.revision)
    assert host.active_path.read_text() == Path(f"{host.active_path}.last-good").read_text()


def test_twice_restarts_nothing_and_writes_nothing(host: FakeHost) -> None:
    host.install("lab/a")
    first = host.activate("lab/a")
    before = host.tree()
    second = host.activate("lab/a")
    assert not second["changed"] and second["steps"] == [] and second["status"]["pid"] == first["status"]["pid"]
    assert host.tree() == before


def test_check_mode_says_the_same_and_touches_nothing(host: FakeHost) -> None:
    host.install("lab/a")
    before = host.tree()
    planned = host.activate("lab/a", check_mode=True)
    assert host.tree() == before and planned["steps"] == []
    done = host.activate("lab/a")
    assert (planned["changed"], planned["plan"], planned["diff"]) == (done["changed"], done["plan"], done["diff"])
    assert not host.activate("lab/a", check_mode=True)["changed"]


def test_switching_leaves_one_server_and_a_history(host: FakeHost) -> None:
    host.install("lab/a")
    host.install("lab/b")
    first = host.activate("lab/a")["status"]
    second = host.activate("lab/b", alias="bee")["status"]
    assert second["served_models"] == ["bee"] and not is_alive(first["pid"])
    assert [item["alias"] for item in host.record()["history"]] == ["bee", "a"]


FAULTS: list[tuple[str, dict[str, t.Any], str, str]] = [
    ("dies at start", {"die": 3}, "start", "exit status 3"),
    ("never listens", {"silent": True}, "start", "not ready after"),
    ("health is an error", {"health": 500}, "start", "is broken: GET /health answered 500"),
    ("health stays unavailable", {"health": 503}, "start", "not ready after"),
    ("wrong name", {"id": "other"}, "prove", "the server serves other from"),
    ("wrong folder", {"root": "/elsewhere"}, "prove", "from /elsewhere"),
    ("empty completion", {"text": "  "}, "prove", "answered 200 without any text"),
    ("error at completion", {"chat": 500}, "prove", "POST /v1/chat/completions answered 500"),
    ("dies at completion", {"die_at_completion": True}, "prove", "no completion"),
]


@pytest.mark.parametrize(("behaviour", "step", "cause"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_a_fault_brings_the_last_good_model_back(host: FakeHost, behaviour: dict[str, t.Any], step: str, cause: str) -> None:
    good = host.install("lab/good")
    host.install("lab/bad", **behaviour)
    host.activate("lab/good")
    record = host.record()
    error = refused(lambda: host.activate("lab/bad", health_timeout="2"))
    assert error.reason_code == "activation_failed" and error.details["step"] == step
    assert cause in error.details["cause"]
    assert error.details["rolled_back"] is True
    assert error.details["log_tail"][0] == "stand-in starts bad"
    names = [report["name"] for report in error.details["steps"]]
    assert names[-3:] == ["rollback switch", "rollback start", "rollback prove"]
    status = host.status()
    assert status["status"] == "online" and status["served_roots"] == [good.local_path] and status["completion"]["text"] == "I am good"
    assert host.record()["active"] == record["active"] and host.record()["history"] == record["history"]
    assert not host.activate("lab/good")["changed"]


@pytest.mark.parametrize("behaviour", [{"die": 3}, {"text": ""}], ids=["start", "prove"])
def test_without_a_good_one_before_the_server_is_left_stopped(host: FakeHost, behaviour: dict[str, t.Any]) -> None:
    host.install("lab/bad", **behaviour)
    error = refused(lambda: host.activate("lab/bad"))
    assert error.details["rolled_back"] is False and "stopped" in error.found
    assert not host.active_path.exists()
    assert host.status()["status"] == "offline" and host.status()["pids"] == []
    assert host.call(state="stopped")["changed"] is False


def test_a_token_in_the_log_is_masked(host: FakeHost) -> None:
    host.install("lab/bad", die=1)
    tail = "\n".join(refused(lambda: host.activate("lab/bad")).details["log_tail"])
    assert "RuntimeError" in tail and "hf_***" in tail and "hf_abc" not in tail


def test_rollback_off_leaves_the_failure_as_it_is(host: FakeHost) -> None:
    host.install("lab/good")
    host.install("lab/bad", text="")
    host.activate("lab/good")
    error = refused(lambda: host.activate("lab/bad", rollback=False))
    assert error.details["rolled_back"] is False
    assert host.status()["served_models"] == ["bad"] and host.status()["status"] == "degraded"


def test_a_failed_rollback_is_told_and_leaves_nothing_running(host: FakeHost) -> None:
    good = host.install("lab/good")
    host.install("lab/bad", die=3)
    host.activate("lab/good")
    host.behave(good, die=4)
    error = refused(lambda: host.activate("lab/bad"))
    assert error.details["rolled_back"] is False and "exit status 4" in error.found and "exit status 3" in error.details["cause"]
    assert host.status()["pids"] == []


def test_the_same_model_with_settings_that_break_it_is_stopped_not_looped(host: FakeHost) -> None:
    entry = host.install("lab/a")
    host.activate("lab/a")
    host.write_settings(VLLM_LOGGING_LEVEL="DEBUG")
    host.behave(entry, die=5)
    error = refused(lambda: host.activate("lab/a"))
    assert error.details["rolled_back"] is False and host.status()["pids"] == []
    assert host.record()["active"]["vllm"]["model"] == "lab/a"


def test_changed_settings_restart_once(host: FakeHost) -> None:
    host.install("lab/a")
    first = host.activate("lab/a")["status"]["pid"]
    host.write_settings(VLLM_LOGGING_LEVEL="DEBUG")
    second = host.activate("lab/a")
    assert second["changed"] and second["plan"]["reasons"] == ["its settings are not those it was started with"]
    assert second["status"]["pid"] != first
    assert not host.activate("lab/a")["changed"]


def test_another_venv_behind_the_same_link_restarts(host: FakeHost) -> None:
    host.install("lab/a")
    (host.root / "current").symlink_to(host.root / "venv")
    host.write_settings(VENOM_VLLM_PYTHON=str(host.root / "current" / "bin" / "python"))
    host.activate("lab/a")
    (host.root / "venv").rename(host.root / "venv2")
    (host.root / "current").unlink()
    (host.root / "current").symlink_to(host.root / "venv2")
    assert host.activate("lab/a")["changed"]


def test_a_server_that_went_down_is_started_again(host: FakeHost) -> None:
    host.install("lab/a")
    pid = host.activate("lab/a")["status"]["pid"]
    subprocess.run(["kill", "-KILL", str(pid)], check=True)
    wait_until(lambda: not is_alive(pid))
    assert host.status()["status"] == "offline" and "ended" in host.status()["error_message"]
    result = host.activate("lab/a")
    assert result["changed"] and result["status"]["status"] == "online"


def test_a_lost_record_is_written_again_after_a_proof(host: FakeHost) -> None:
    host.install("lab/a")
    host.activate("lab/a")
    record = host.record()
    del record["active"]["vllm"]
    (host.root / "config" / "runtime.json").write_text(json.dumps(record))
    result = host.activate("lab/a")
    assert result["changed"] and result["plan"]["steps"] == ["check", "prove", "commit"]
    assert host.record()["active"]["vllm"]["model"] == "lab/a"


def test_draining_waits_for_the_last_request(host: FakeHost, tmp_path: Path) -> None:
    gauge = tmp_path / "gauge"
    gauge.write_text("2")
    host.install("lab/a", in_flight=str(gauge))
    host.install("lab/b")
    host.activate("lab/a")
    timer = threading.Timer(0.6, gauge.write_text, ["0"])
    timer.start()
    result = host.activate("lab/b", drain_timeout=20.0)
    timer.join()
    assert result["steps"][1]["outcome"] == "no request in flight" and gauge.read_text() == "0"


def test_requests_that_outlive_the_drain_are_counted(host: FakeHost) -> None:
    host.install("lab/a", in_flight=2)
    host.install("lab/b")
    host.activate("lab/a")
    result = host.activate("lab/b", drain_timeout=0.3)
    assert result["steps"][1]["outcome"] == "2 requests still in flight after 0.3 s, went on"


def test_drain_policy_fail_leaves_the_old_server_alone(host: FakeHost) -> None:
    host.install("lab/a", in_flight=1)
    host.install("lab/b")
    pid = host.activate("lab/a")["status"]["pid"]
    error = refused(lambda: host.activate("lab/b", drain_timeout=0.3, drain_policy="fail"))
    assert error.details["step"] == "drain" and "nothing was touched" in error.found
    assert host.status()["pid"] == pid and host.status()["status"] == "online"


def test_a_foreign_process_on_the_port_is_named_and_left_alone(host: FakeHost) -> None:
    host.install("lab/a")
    other = subprocess.Popen([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(host.port)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _connects(host.port))
        for check_mode in (True, False):
            error = refused(lambda: host.activate("lab/a", check_mode=check_mode))  # noqa: B023
            assert error.reason_code == "port_in_use" and error.details["listener"]["pid"] == other.pid
            assert "http.server" in error.found and str(other.pid) in error.found
        assert host.call(state="stopped")["changed"] is False and "http.server" in host.warnings[-1]
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_another_vllm_on_the_port_is_a_duplicate(host: FakeHost) -> None:
    entry = host.install("lab/a")
    arguments = ["-m", "vllm.entrypoints.openai.api_server", "--model", entry.local_path, "--served-model-name", "a"]
    other = subprocess.Popen([str(host.python), *arguments, "--host", "127.0.0.1", "--port", str(host.port)])
    try:
        wait_until(lambda: _connects(host.port))
        assert refused(lambda: host.activate("lab/a")).reason_code == "duplicate_server"
        assert other.poll() is None and not host.active_path.exists()
    finally:
        other.kill()
        other.wait()


def _connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_second_activation_at_the_same_time_is_refused_by_name(host: FakeHost) -> None:
    host.install("lab/a")
    with files.Lock(str(host.root / "run" / "vllm.lock"), timeout=0, owner={"operation": "somebody else"}):
        error = refused(lambda: host.activate("lab/a", lock_timeout=0.1))
    assert error.reason_code == "locked" and error.details["holder"]["operation"] == "somebody else"


def test_a_model_without_a_chat_template_is_proved_by_a_plain_completion(host: FakeHost) -> None:
    host.install("lab/a", no_template=True)
    completion = host.activate("lab/a")["status"]["completion"]
    assert completion["endpoint"] == "/v1/completions" and "no chat template" in completion["remark"]


def test_a_server_that_still_loads_after_a_boot_is_waited_for_not_restarted(host: FakeHost) -> None:
    entry = host.install("lab/a")
    pid = host.activate("lab/a")["status"]["pid"]
    subprocess.run(["kill", "-KILL", str(pid)], check=True)
    wait_until(lambda: not is_alive(pid))
    host.behave(entry, delay=4)
    supervisor = control.make_site(host.params()).supervisor
    supervisor.start()
    loading = supervisor.status().pid
    assert host.status()["status"] == "offline" and "does not answer" in host.status()["error_message"]
    result = host.activate("lab/a")
    assert not result["changed"] and [step["name"] for step in result["steps"]] == ["prove"]
    assert result["status"]["pid"] == loading and result["status"]["status"] == "online"


def test_the_previous_model_comes_back_from_the_history_and_needs_one(host: FakeHost) -> None:
    host.install("lab/a", alias="one")
    host.install("lab/b")
    host.activate("lab/a")
    assert refused(lambda: host.call(state="active", previous=True)).reason_code == "not_configured"
    host.activate("lab/b", alias="two")
    planned = host.call(state="active", previous=True, check_mode=True)
    back = host.call(state="active", previous=True)
    assert (planned["changed"], planned["diff"]) == (back["changed"], back["diff"]) and back["status"]["served_models"] == ["one"]
    assert host.call(state="active", previous=True)["status"]["served_models"] == ["two"]
    assert refused(lambda: host.call(state="active", previous=True, model="lab/a")).reason_code == "invalid_option"


def versions(host: FakeHost) -> Path:
    """The interpreter of the stand-in as versions 1 and 2 behind a link, and a version 3 that dies."""
    (host.root / "vllm").mkdir()
    for version in ("1", "2"):
        (host.root / "vllm" / version).symlink_to(host.root / "venv")
    (host.root / "venv3" / "bin").mkdir(parents=True)
    broken = host.root / "venv3" / "bin" / "python"
    broken.write_text("#!/bin/sh\necho ImportError >&2; exit 8\n")
    broken.chmod(0o755)
    (host.root / "vllm" / "3").symlink_to(host.root / "venv3")
    host.write_settings(VENOM_VLLM_PYTHON=str(host.root / "vllm" / "current" / "bin" / "python"))
    return host.root / "vllm" / "current"


def test_a_version_is_set_switched_and_taken_back(host: FakeHost) -> None:
    link = versions(host)
    host.install("lab/a")
    host.install("lab/b")
    first = host.activate("lab/a", version="1")
    assert link.readlink() == Path("1") and first["diff"]["before"]["version"] == "" and not host.activate("lab/a", version="1")["changed"]
    error = refused(lambda: host.activate("lab/b", version="3"))
    assert error.details["exit_status"] == 8 and error.details["rolled_back"] is True and "ImportError" in error.details["log_tail"]
    assert link.readlink() == Path("1") and host.status()["served_models"] == ["a"] and not host.record()["trials"]
    error = refused(lambda: host.call(state="restarted", version="3"))
    assert error.reason_code == "start_failed" and error.details["rolled_back"] is True and link.readlink() == Path("1")
    assert host.call(state="restarted", version="2")["status"]["status"] == "online" and link.readlink() == Path("2")
    assert refused(lambda: host.activate("lab/a", version="9")).reason_code == "not_installed"
    host.write_settings()
    assert refused(lambda: host.activate("lab/a", version="1")).reason_code == "invalid_option"


def test_on_a_disk_that_fills_up_at_any_write_what_serves_is_what_a_boot_finds(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.install("lab/old")
    host.install("lab/new")
    left = [10**6]
    write = files.write_atomic

    def full(path: str, *arguments: t.Any, **options: t.Any) -> None:
        if path.startswith(str(host.root / "config")):
            if left[0] == 0:
                raise OSError(errno.ENOSPC, "No space left on device", path)
            left[0] -= 1
        write(path, *arguments, **options)

    monkeypatch.setattr(files, "write_atomic", full)
    outcomes = []
    for allowed in range(20):
        left[0] = 10**6
        host.activate("lab/old")
        left[0] = allowed
        try:
            host.activate("lab/new")
        except VenomError as error:
            outcomes.append("new" if "boot comes back to" in error.found else "old")
            assert "No space left on device" in error.details["cause"]
            assert error.details["rolled_back"] is (outcomes[-1] == "old"), error
        else:
            break
        status = host.status()
        assert status["status"] == "online" and status["served_models"] == [outcomes[-1]] == [status["alias"]], (allowed, status)
        assert f"LLM_MODEL_NAME={outcomes[-1]}\n" in host.active_path.read_text()
    # Both sides of the commit were met, in this order.
    assert outcomes == sorted(outcomes, reverse=True) and set(outcomes) == {"old", "new"}


def test_two_runtimes_that_change_the_record_at_once_lose_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "runtime.json")

    def note(name: str) -> None:
        for number in range(50):
            RuntimeRecord.change(path, lambda record: record.with_started(name, str(number)))  # noqa: B023

    threads = [threading.Thread(target=note, args=[name]) for name in ("vllm", "ollama")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert RuntimeRecord.load(path).started_with == {"vllm": "49", "ollama": "49"}
