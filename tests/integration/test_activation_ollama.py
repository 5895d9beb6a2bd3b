# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every state of ``venom_runtime`` for Ollama, against the stand-in of its server kept by the process supervisor."""
from __future__ import annotations

import copy
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from runtime_support import SAMPLES, TwoRuntimes, digest_of, refused

from ansible_collections.venom.llm.plugins.module_utils import activation_server
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import is_alive, wait_until

FULL = ["check", "drain", "switch", "start", "prove", "commit"]


@pytest.fixture()
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[TwoRuntimes]:
    monkeypatch.setattr(activation_server, "POLL_SECONDS", 0.03)
    made = TwoRuntimes(tmp_path)
    made.store("tiny", "tiny:1b")
    made.store("mid", "mid")
    yield made
    made.close()


@pytest.fixture()
def twin(monkeypatch: pytest.MonkeyPatch) -> str:
    """A sample with the weights of ``tiny`` that says something else."""
    sample = copy.copy(SAMPLES["tiny"])
    sample.content = dict(sample.content, system=b"You are a twin.")
    monkeypatch.setitem(SAMPLES, "twin", sample)
    return "twin"


def test_each_state_twice_and_check_mode_says_the_same(host: TwoRuntimes) -> None:
    """The twelve steps: each state in check mode, really, in check mode again, really again."""
    pids = []
    for options in (
        {"state": "started"},
        {"state": "active", "model": "tiny:1b", "alias": "chat"},
        {"state": "active", "model": "mid", "alias": "chat"},
        {"state": "active", "previous": True},
        {"state": "stopped"},
    ):
        before = host.tree()
        planned = host.ollama(check_mode=True, **options)
        assert host.tree() == before and planned["steps"] == [] and planned["changed"], options
        done = host.ollama(**options)
        assert (planned["changed"], planned["plan"], planned["diff"]) == (done["changed"], done["plan"], done["diff"]), options
        assert [step["name"] for step in done["steps"]] == done["plan"]["steps"]
        pids.append(done["status"]["pid"])
        if options.get("previous"):
            continue
        before = host.tree()
        for check_mode in (True, False):
            again = host.ollama(check_mode=check_mode, **options)
            assert not again["changed"] and again["diff"]["before"] == again["diff"]["after"], again["plan"]
        assert host.tree() == before and again["status"]["pid"] == done["status"]["pid"]
    # One server all the time: another model is no restart.
    assert len(set(pids[:4])) == 1 and pids[4] is None


def test_started_without_a_model_and_the_status_of_both(host: TwoRuntimes) -> None:
    started = host.ollama("started")
    assert [step["outcome"] for step in started["steps"]][-1] == "the server answers; no model is active"
    both = host.both()
    assert both["ollama"]["status"] == "online" and both["vllm"]["status"] == "offline"
    assert sorted(both["ollama"]["served_models"]) == ["mid", "tiny:1b"] and both["ollama"]["active_model"] is None
    assert both["ollama"]["endpoint"] == f"http://127.0.0.1:{host.ollama_port}" and both["ollama"]["latency_ms"] is not None
    assert set(both["ollama"]) == set(both["vllm"]) and both["ollama"]["alias_ok"] is None
    assert host.ollama("probed")["changed"] is False
    assert host.ollama("restarted")["status"]["pid"] != started["status"]["pid"]


def test_a_switch_serves_the_new_model_under_the_old_alias(host: TwoRuntimes) -> None:
    first = host.ollama(model="tiny:1b", alias="chat")
    assert [step["name"] for step in first["steps"]] == FULL and first["status"]["alias_ok"] is True
    assert host.loaded() == [digest_of("tiny")] and host.names()["chat:latest"] == digest_of("tiny")
    assert first["status"]["active_revision"] == digest_of("tiny") == first["status"]["path"]
    second = host.ollama(model="mid", alias="chat")
    assert second["status"]["pid"] == first["status"]["pid"] and "unloaded" in second["steps"][3]["outcome"]
    assert host.loaded() == [digest_of("mid")] and host.names()["chat:latest"] == digest_of("mid")
    active = (host.root / "config" / "ollama.active.env").read_text()
    assert "LLM_MODEL_NAME=chat\nVENOM_OLLAMA_MODEL=mid\n" in active and f"VENOM_OLLAMA_DIGEST={digest_of('mid')[7:]}\n" in active
    # Under another alias: the old one is ours, so it goes; the models' own names stay.
    host.ollama(model="mid", alias="talk")
    assert sorted(host.names()) == ["mid:latest", "talk:latest", "tiny:1b"]
    assert "trials" not in [key for key, value in host.record().items() if value]
    back = host.ollama(previous=True)
    assert back["status"]["active_model"] == "mid" and back["status"]["alias"] == "chat"
    assert [item["alias"] for item in host.record()["history"]] == ["chat", "talk", "chat", "chat"]


def test_without_an_alias_the_model_has_its_own_name_and_no_other(host: TwoRuntimes) -> None:
    assert host.ollama(model="mid")["status"]["alias"] == "mid" and sorted(host.names()) == ["mid:latest", "tiny:1b"]
    assert not host.ollama(model="mid")["changed"]


def test_a_model_is_activated_by_every_spelling_of_its_name(host: TwoRuntimes) -> None:
    """An install records ``big:latest``, whatever tag was left out."""
    host.store("big", "big:latest", alias="Chat")
    first = host.ollama(model="big")
    assert first["status"]["active_model"] == "big:latest" and first["status"]["alias"] == "Chat"
    for spelling in ("big:latest", "BIG", "library/big:Latest", "chat", "CHAT:latest"):
        assert not host.ollama(model=spelling)["changed"], spelling
    host.ollama(model="tiny:1b")
    assert host.ollama(previous=True)["status"]["active_model"] == "big:latest"


@pytest.mark.parametrize(
    ("fault", "step", "cause"),
    [
        ({"kind": "answer", "path": "/api/copy", "status": 500}, "start", "out of order"),
        ({"kind": "answer", "path": "/api/generate", "status": 500, "text": "unexpected EOF"}, "start", "unexpected EOF"),
        ({"kind": "answer", "path": "/v1/chat", "status": 500}, "prove", "answered 500"),
    ],
    ids=["copy", "load", "completion"],
)
def test_a_failing_step_brings_the_model_before_back(host: TwoRuntimes, fault: dict[str, t.Any], step: str, cause: str) -> None:
    pid = host.ollama(model="tiny:1b", alias="one")["status"]["pid"]
    record, names = host.record(), host.names()
    host.fault(**fault, times=1)
    error = refused(lambda: host.ollama(model="mid", alias="two"))
    assert error.reason_code == "activation_failed" and error.details["step"] == step and cause in error.details["cause"], error
    assert error.details["rolled_back"] is True
    assert host.names() == names and host.record() == record and digest_of("tiny") in host.loaded()
    assert not host.ollama(model="tiny:1b", alias="one")["changed"] and host.both()["ollama"]["pid"] == pid


def test_a_first_activation_that_fails_leaves_the_server_and_no_alias(host: TwoRuntimes) -> None:
    pid = host.ollama("started")["status"]["pid"]
    host.fault(kind="answer", path="/v1/chat", status=500, times=1)
    error = refused(lambda: host.ollama(model="mid", alias="two"))
    assert error.details["rolled_back"] is False and "the server answers again" in error.found
    assert "two:latest" not in host.names() and host.both()["ollama"]["pid"] == pid
    assert not (host.root / "config" / "ollama.active.env").exists() and not (host.root / "run" / "ollama.trial.env").exists()
    # From a stopped server: stopped again.
    host.ollama("stopped")
    error = refused(lambda: host.ollama(model="mid", alias="bad name"))
    assert error.reason_code == "invalid_name"
    host.add_version("3.0", "#!/bin/sh\necho no such library; exit 7\n")
    error = refused(lambda: host.ollama(model="mid", version="3.0"))
    assert error.details["exit_status"] == 7 and error.details["log_tail"][-1] == "no such library"
    assert host.version() == "1.0" and host.both()["ollama"]["service"] == "stopped"


def test_a_digest_that_is_not_the_installed_one_is_refused_before_anything(host: TwoRuntimes) -> None:
    host.ollama(model="mid")
    host.store("big", "tiny:1b", installed=False)
    error = refused(lambda: host.ollama(model="tiny:1b"))
    assert error.reason_code == "digest_mismatch" and error.details["actual"] == digest_of("big")
    host.ask("/api/delete", {"model": "tiny:1b"}, "DELETE")
    assert refused(lambda: host.ollama(model="tiny:1b")).reason_code == "not_installed"
    host.ollama("stopped")
    # While it is down only the new server can tell; then the model before comes back.
    error = refused(lambda: host.ollama(model="tiny:1b"))
    assert error.details["cause_code"] == "not_installed" and error.details["rolled_back"] is True
    assert host.loaded() == [digest_of("mid")]


def test_a_name_of_somebody_else_is_given_back_or_refused(host: TwoRuntimes) -> None:
    host.store("big", "big", installed=False)
    host.ollama("started")
    # The only name of a model is never taken.
    error = refused(lambda: host.ollama(model="mid", alias="big"))
    assert error.reason_code == "alias_taken" and host.names()["big:latest"] == digest_of("big")
    host.ask("/api/copy", {"source": "big", "destination": "chat"})
    host.fault(kind="answer", path="/v1/chat", status=500, times=1)
    refused(lambda: host.ollama(model="mid", alias="chat"))
    assert host.names()["chat:latest"] == digest_of("big")
    host.ollama(model="mid", alias="chat")
    assert host.names()["chat:latest"] == digest_of("mid")
    host.ollama(model="mid", alias="other")
    assert host.names()["chat:latest"] == digest_of("big") and host.names()["big:latest"] == digest_of("big")
    # A name of an installed model belongs to it, and so does what the other runtime serves.
    assert refused(lambda: host.ollama(model="mid", alias="TINY:1b")).reason_code == "alias_taken"
    host.install("lab/a")
    host.activate("lab/a", alias="talk")
    assert refused(lambda: host.ollama(model="mid", alias="talk")).reason_code == "alias_taken"


def test_an_update_of_the_tag_is_activated_under_the_same_alias_and_can_be_undone(host: TwoRuntimes) -> None:
    host.ollama(model="tiny:1b", alias="chat")
    host.store("big", "tiny:1b")
    host.fault(kind="answer", path="/v1/chat", status=500, times=1)
    error = refused(lambda: host.ollama(model="tiny:1b", revision=digest_of("big"), alias="chat"))
    assert host.names() == {"tiny:1b": digest_of("big"), "mid:latest": digest_of("mid"), "chat:latest": digest_of("tiny")}, error
    host.ollama(model="tiny:1b", revision=digest_of("big"), alias="chat")
    assert host.names() == {"tiny:1b": digest_of("big"), "mid:latest": digest_of("mid"), "chat:latest": digest_of("big")}


def test_an_update_of_the_tag_without_an_alias_takes_the_old_bytes_out_of_memory(host: TwoRuntimes) -> None:
    """Nothing means them any more, so the server cannot be asked to drop them: it is restarted, unless no request may be cut off."""
    pid = host.ollama(model="tiny:1b")["status"]["pid"]
    host.store("big", "tiny:1b")
    update = {"model": "tiny:1b", "revision": digest_of("big")}
    error = refused(lambda: host.ollama(drain_policy="fail", **update))
    assert error.details["step"] == "drain" and "has no name any more" in error.found and "nothing was touched" in error.found
    assert host.both()["ollama"]["pid"] == pid and host.loaded() == [digest_of("tiny")]
    planned = host.ollama(check_mode=True, **update)
    done = host.ollama(**update)
    assert (planned["changed"], planned["plan"], planned["diff"]) == (done["changed"], done["plan"], done["diff"])
    assert done["status"]["pid"] != pid and host.loaded() == [digest_of("big")] and "ready after" in done["steps"][3]["outcome"]
    assert not host.ollama(**update)["changed"]


def test_an_update_of_the_tag_that_fails_leaves_the_server_to_its_other_clients(host: TwoRuntimes) -> None:
    """The bytes before are not there to go back to, and that is no reason to stop a server that is well."""
    pid = host.ollama(model="tiny:1b")["status"]["pid"]
    host.ask("/api/generate", {"model": "tiny:1b", "keep_alive": 0})
    host.store("big", "tiny:1b")
    host.says("mid")
    host.fault(kind="answer", path="/v1/chat", status=500, times=1)
    error = refused(lambda: host.ollama(model="tiny:1b", revision=digest_of("big")))
    assert error.details["step"] == "prove" and error.details["rolled_back"] is False and "the server runs on without it" in error.found
    assert host.both()["ollama"]["pid"] == pid and host.loaded() == [digest_of("mid")]
    # The same where that shows only when the server is up again.
    host.add_version("3.0", "#!/bin/sh\nexit 9\n")
    error = refused(lambda: host.ollama("started", version="3.0"))
    assert error.details["exit_status"] == 9 and error.details["rolled_back"] is False and "digest_mismatch" in error.found
    assert "the server runs on" in error.found and host.version() == "1.0" and host.both()["ollama"]["service"] == "running"


@pytest.mark.parametrize("alias", [None, "chat"])
def test_an_update_of_the_template_alone_serves_with_the_new_one(host: TwoRuntimes, twin: str, alias: str | None) -> None:
    """The weights are the same file, by which the server knows what it has in memory."""
    host.ollama(model="tiny:1b", alias=alias)
    host.store(twin, "tiny:1b")
    done = host.ollama(model="tiny:1b", revision=digest_of(twin), alias=alias)
    assert done["status"]["alias_ok"] is True and host.loaded() == [digest_of(twin)]
    assert not host.ollama(model="tiny:1b", alias=alias)["changed"]


def test_a_model_with_the_same_weights_that_a_client_loaded_makes_room(host: TwoRuntimes, twin: str) -> None:
    pid = host.ollama(model="mid")["status"]["pid"]
    host.store(twin, "twin", installed=False)
    # What else is in memory belongs to somebody, and stays there.
    host.store("big", "big", installed=False)
    host.says("big")
    host.says("twin")
    done = host.ollama(model="tiny:1b", drain_policy="fail")
    assert "another model was in memory in the place of tiny:1b, unloaded twin, loaded" in done["steps"][3]["outcome"]
    assert host.loaded() == sorted([digest_of("big"), digest_of("tiny")]) and done["status"]["pid"] == pid
    host.ask("/api/generate", {"model": "big", "keep_alive": 0})
    # One that stays is ended with the server.
    host.ask("/api/generate", {"model": "tiny:1b", "keep_alive": 0})
    host.ollama(model="mid")
    host.says("twin")
    host.fault(kind="slow_unload", seconds=30)
    done = host.ollama(model="tiny:1b", drain_timeout=0.2)
    assert "ready again after" in done["steps"][3]["outcome"] and host.loaded() == [digest_of("tiny")] and done["status"]["pid"] != pid


def test_a_model_that_stays_busy_goes_by_the_policy(host: TwoRuntimes) -> None:
    host.ollama(model="tiny:1b")
    host.fault(kind="slow_unload", seconds=30)
    error = refused(lambda: host.ollama(model="mid", drain_timeout=0.3, drain_policy="fail"))
    assert error.details["step"] == "start" and "still in memory" in error.details["cause"] and error.details["rolled_back"]
    result = host.ollama(model="mid", drain_timeout=0.3)
    assert "went on" in result["steps"][3]["outcome"] and digest_of("mid") in host.loaded()


def test_a_stop_lets_requests_end_first_and_is_held_up_by_none(host: TwoRuntimes) -> None:
    host.ollama(model="mid")
    host.says("tiny:1b")
    stopped = host.ollama("stopped")["steps"]
    assert [step["name"] for step in stopped] == ["stop"] and stopped[0]["outcome"].startswith("unloaded ")
    assert "mid" in stopped[0]["outcome"] and "tiny:1b" in stopped[0]["outcome"] and "stopped" in stopped[0]["outcome"]
    host.ollama(model="mid")
    host.says("tiny:1b")
    host.fault(kind="slow_unload", seconds=30)
    again = host.ollama("stopped", drain_timeout=0.2, drain_policy="fail")
    assert "still in memory" in again["steps"][0]["outcome"] and again["status"]["service"] == "stopped"


def test_a_model_that_gives_no_answer_holds_up_no_restart_unless_it_is_to(host: TwoRuntimes) -> None:
    pid = host.ollama(model="mid")["status"]["pid"]
    host.says("tiny:1b")
    host.fault(kind="hang", path="/api/generate", seconds=30)
    error = refused(lambda: host.ollama("restarted", drain_timeout=0.2, drain_policy="fail"))
    assert error.details["step"] == "drain" and "no answer" in error.found and host.both()["ollama"]["pid"] == pid
    done = host.ollama("restarted", drain_timeout=0.2)
    assert done["status"]["pid"] != pid and "went on" in done["steps"][1]["outcome"] and host.loaded() == [digest_of("mid")]


def test_changed_settings_restart_once_and_another_model_does_not(host: TwoRuntimes) -> None:
    first = host.ollama(model="mid")["status"]["pid"]
    host.write_ollama(OLLAMA_NUM_PARALLEL="2")
    second = host.ollama(model="mid")
    assert second["plan"]["reasons"] == ["its settings are not those it was started with"] and second["status"]["pid"] != first
    assert "unloaded mid" in second["steps"][1]["outcome"] and not host.ollama(model="mid")["changed"]


def test_a_version_is_switched_proved_and_taken_back(host: TwoRuntimes) -> None:
    host.ollama(model="mid", alias="chat")
    planned = host.ollama("started", check_mode=True, version="2.0")
    assert host.version() == "1.0" and planned["plan"]["steps"] == FULL
    done = host.ollama("started", version="2.0")
    assert host.version() == "2.0" and done["changed"] and planned["diff"] == done["diff"]
    assert done["diff"]["before"]["version"] == "1.0" and host.loaded() == [digest_of("mid")]
    assert not host.ollama("started", version="2.0")["changed"] and not host.ollama(model="mid", alias="chat")["changed"]
    host.add_version("3.0", "#!/bin/sh\nexit 9\n")
    error = refused(lambda: host.ollama("started", version="3.0"))
    assert error.details["rolled_back"] is True and error.details["exit_status"] == 9 and host.version() == "2.0"
    assert host.both()["ollama"]["status"] == "online" and host.loaded() == [digest_of("mid")]
    assert refused(lambda: host.ollama("started", version="4.0")).reason_code == "not_installed"
    assert refused(lambda: host.call(state="started", version="4.0")).reason_code in ("not_configured", "invalid_option")
    # A link that is not there is set.
    host.ollama("stopped")
    (host.root / "ollama" / "current").unlink()
    assert host.ollama("started", version="1.0")["changed"] and host.version() == "1.0"


def test_exclusive_stops_the_other_and_puts_it_back_when_it_fails(host: TwoRuntimes) -> None:
    host.install("lab/a")
    host.install("lab/bad", text="")
    vllm = host.activate("lab/a")["status"]["pid"]
    host.ollama("started")
    host.fault(kind="answer", path="/v1/chat", status=500, times=1)
    error = refused(lambda: host.ollama(model="mid", exclusive=True))
    last = error.details["steps"][-1]
    assert (last["name"], last["outcome"]) == ("rollback exclusive", "vllm runs again")
    assert host.status()["status"] == "online" and not is_alive(vllm)
    done = host.ollama(model="mid", exclusive=True)
    assert done["diff"]["before"]["beside"] == ["vllm"] and host.status()["service"] == "stopped"
    assert not host.ollama(model="mid", exclusive=True)["changed"]
    # It is not missed: a repair would start it beside the other.
    assert host.both()["vllm"]["drift"] == [] == host.both()["ollama"]["drift"] and host.record()["set_aside"] == ["vllm"]
    # And the other way round, with a model that loads and says nothing.
    error = refused(lambda: host.activate("lab/bad", exclusive=True))
    assert error.details["step"] == "prove" and "ollama runs again" in error.details["steps"][-1]["outcome"]
    assert host.both()["ollama"]["status"] == "online" and host.status()["service"] == "stopped"
    assert host.record()["set_aside"] == ["vllm"]
    assert host.activate("lab/a", exclusive=True)["changed"] and host.both()["ollama"]["service"] == "stopped"
    assert host.record()["set_aside"] == ["ollama"]


def test_exclusive_puts_the_other_back_also_when_no_model_comes_back(host: TwoRuntimes) -> None:
    good = host.install("lab/a")
    host.install("lab/bad", die=3)
    host.activate("lab/a")
    host.ollama(model="mid")
    host.behave(good, die=4)
    error = refused(lambda: host.activate("lab/bad", exclusive=True))
    assert error.details["rolled_back"] is False and "exit status 4" in error.found and "exit status 3" in error.details["cause"]
    last = error.details["steps"][-1]
    assert (last["name"], last["outcome"]) == ("rollback exclusive", "ollama runs again") and "; ollama runs again" in error.found
    assert host.both()["ollama"]["status"] == "online" and host.status()["pids"] == []
    # What is left for the next run is not to start again what was stopped since.
    host.ollama("stopped")
    host.behave(good)
    assert host.activate("lab/a")["status"]["status"] == "online" and host.both()["ollama"]["service"] == "stopped"


def test_a_neighbour_that_does_not_come_back_spoils_no_rollback(host: TwoRuntimes) -> None:
    vllm = host.install("lab/a")
    host.activate("lab/a")
    host.ollama(model="mid")
    host.behave(vllm, die=4)
    host.fault(kind="answer", path="/v1/chat", status=500, times=1)
    error = refused(lambda: host.ollama(model="tiny:1b", exclusive=True))
    assert error.details["rolled_back"] is True and "vllm does not run again: the server ended: exit status 4" in error.found
    assert host.both()["ollama"]["status"] == "online" and not host.record()["trials"]
    # The next run is not held up by it either.
    assert host.ollama(model="tiny:1b")["status"]["active_model"] == "tiny:1b"


def test_a_foreign_server_is_named_and_ended_only_when_adopted(host: TwoRuntimes) -> None:
    host.ollama("started")
    host.ollama("stopped")
    environment = dict(os.environ, OLLAMA_HOST=f"127.0.0.1:{host.ollama_port}", OLLAMA_MODELS=str(host.store_dir), HOME=str(host.root / "home"))
    other = subprocess.Popen([str(host.root / "ollama" / "1.0" / "bin" / "ollama"), "serve"], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: "pid" in str(host.both()["ollama"]["error_message"]))
        for check_mode in (True, False):
            error = refused(lambda: host.ollama(check_mode=check_mode, model="mid"))  # noqa: B023
            assert error.reason_code == "duplicate_server" and error.details["listener"]["pid"] == other.pid and "serve" in error.found
        assert host.ollama("stopped")["changed"] is False and other.poll() is None
        planned = host.ollama(check_mode=True, model="mid", adopt=True)
        assert planned["plan"]["steps"] == ["adopt", *FULL] and other.poll() is None
        done = host.ollama(model="mid", adopt=True)
        assert str(other.pid) in done["steps"][0]["outcome"] and done["status"]["status"] == "online"
        assert other.wait(60) is not None and done["status"]["pid"] != other.pid
        assert not host.ollama(model="mid", adopt=True)["changed"]
    finally:
        other.kill()
        other.wait()


def test_a_name_that_cannot_be_taken_away_does_not_spoil_the_commit(host: TwoRuntimes) -> None:
    host.ollama(model="tiny:1b", alias="one")
    host.fault(kind="delete_500", times=1)
    done = host.ollama(model="mid", alias="two")
    assert "stay until the next commit" in done["steps"][-1]["outcome"] and "one:latest" in host.names()
    host.ollama(model="mid", alias="three")
    assert sorted(host.names()) == ["mid:latest", "three:latest", "tiny:1b"]
