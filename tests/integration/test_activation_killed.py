# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL of an activation at each point, and a power cut there: the committed model is what a boot serves, and the next run settles it."""
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from runtime_support import KILL_POINTS, TwoRuntimes, digest_of, refused

from ansible_collections.venom.llm.plugins.module_utils import activation_server

#: Points behind the first write of a commit: the new model is what a boot serves.
COMMITTED = ("between the writes of a commit",)


@pytest.fixture()
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[TwoRuntimes]:
    monkeypatch.setattr(activation_server, "POLL_SECONDS", 0.03)
    made = TwoRuntimes(tmp_path)
    yield made
    made.close()


def configured(host: TwoRuntimes, name: str) -> str:
    """The alias that a boot reads."""
    text = (host.root / "config" / f"{name}.active.env").read_text()
    return next(line.partition("=")[2] for line in text.splitlines() if line.startswith("LLM_MODEL_NAME="))


@pytest.mark.parametrize("point", KILL_POINTS)
def test_vllm(host: TwoRuntimes, point: str) -> None:
    host.install("lab/old")
    new = host.install("lab/new", text="" if point == "during rollback" else "fine")
    host.activate("lab/old")
    host.killed_at(point, state="active", model="lab/new")

    # What status says is what a boot serves: that is what was proved.
    survivor = "new" if point in COMMITTED else "old"
    assert configured(host, "vllm") == survivor == host.status()["active_model"].rpartition("/")[2]

    if point == "during rollback":
        # The next run goes on with what serves, finds it as bad as before, and rolls back in full.
        assert refused(lambda: host.activate("lab/new")).details["rolled_back"] is True
        assert host.status()["served_models"] == ["old"] and not host.record()["trials"]
        host.behave(new)
    # The next run of the same play makes it whole, whatever runs.
    again = host.activate("lab/new")
    assert again["changed"] and again["status"]["served_models"] == ["new"] == [configured(host, "vllm")], again
    assert host.record()["active"]["vllm"]["model"] == "lab/new" and not host.record()["trials"]
    assert not host.activate("lab/new")["changed"] and not (host.root / "run" / "vllm.trial.env").exists()


@pytest.mark.parametrize("point", ["before start", "before prove", "between the writes of a commit"])
def test_another_run_takes_back_what_was_tried(host: TwoRuntimes, point: str) -> None:
    host.install("lab/old")
    host.install("lab/new")
    host.activate("lab/old")
    host.killed_at(point, state="active", model="lab/new")
    survivor = "new" if point in COMMITTED else "old"
    planned = host.call(state="started", check_mode=True)
    done = host.call(state="started")
    assert (planned["changed"], planned["plan"]) == (done["changed"], done["plan"]) and done["changed"]
    assert done["plan"]["steps"][0] == ("check" if point in COMMITTED else "settle")
    assert done["status"]["served_models"] == [survivor] and done["status"]["status"] == "online", done
    assert host.record()["active"]["vllm"]["alias"] == survivor and not host.record()["trials"]
    assert not host.call(state="started")["changed"]


@pytest.mark.parametrize("point", ["before start", "before prove", "between the writes of a commit"])
def test_a_power_cut_boots_what_was_committed(host: TwoRuntimes, point: str) -> None:
    host.store("tiny", "tiny")
    host.store("mid", "mid")
    host.install("lab/old")
    host.install("lab/new")
    host.activate("lab/old")
    host.ollama(model="tiny", alias="chat")
    host.killed_at(point, state="active", model="lab/new")
    host.killed_at(point, name="ollama", state="active", model="mid", alias="talk")
    host.power_cut()
    committed = point in COMMITTED
    vllm = host.call(state="started")["status"]
    assert vllm["served_models"] == ["new" if committed else "old"] == [vllm["alias"]] and vllm["alias_ok"]
    ollama = host.ollama("started")["status"]
    assert (ollama["alias"], ollama["alias_ok"]) == ("talk" if committed else "chat", True)
    assert sorted(set(host.names()) - {"tiny:latest", "mid:latest"})[-1:] == ["talk:latest" if committed else "chat:latest"]
    assert not host.record()["trials"]


@pytest.mark.parametrize("point", [point for point in KILL_POINTS if point not in ("between stop and start", "during rollback")])
def test_ollama(host: TwoRuntimes, point: str) -> None:
    host.store("tiny", "tiny")
    host.store("mid", "mid")
    host.store("big", "big", installed=False)
    pid = host.ollama(model="tiny", alias="chat")["status"]["pid"]
    host.ask("/api/copy", {"source": "big", "destination": "talk"})
    host.killed_at(point, name="ollama", state="active", model="mid", alias="talk")
    if point not in COMMITTED:
        # Somebody else's name was taken for the time of the trial, and is given back.
        done = host.ollama("started")
        assert host.names()["talk:latest"] == digest_of("big") and done["status"]["alias"] == "chat"
        assert host.names()["chat:latest"] == digest_of("tiny") and not host.record()["trials"]
        host.killed_at(point, name="ollama", state="active", model="mid", alias="talk")
    again = host.ollama(model="mid", alias="talk")
    assert again["changed"] and again["status"]["pid"] == pid and host.says("talk") != host.says("tiny")
    assert host.names()["talk:latest"] == digest_of("mid") and "chat:latest" not in host.names()
    assert not host.record()["trials"] and not host.ollama(model="mid", alias="talk")["changed"]


def test_a_version_and_a_runtime_that_made_room_come_back_too(host: TwoRuntimes) -> None:
    host.store("tiny", "tiny")
    host.store("mid", "mid")
    host.install("lab/old")
    host.activate("lab/old")
    host.ollama(model="tiny")
    host.killed_at("before prove", name="ollama", state="active", model="mid", version="2.0", exclusive=True)
    assert host.version() == "2.0" and host.status()["service"] == "stopped"
    done = host.ollama("started")
    assert host.version() == "1.0" and "vllm runs again" in done["steps"][0]["outcome"] and host.status()["status"] == "online"
    assert done["status"]["active_model"] == "tiny" and done["status"]["status"] == "online"
    host.killed_at("before prove", name="ollama", state="active", model="mid", version="2.0")
    # The same play goes on where the last one was cut off.
    assert host.ollama(model="mid", version="2.0")["plan"]["steps"] == ["check", "prove", "commit"] and host.version() == "2.0"


def test_a_stop_leaves_no_trial(host: TwoRuntimes) -> None:
    host.install("lab/new")
    host.killed_at("before prove", state="active", model="lab/new")
    assert refused(lambda: host.call(state="started")).reason_code == "not_configured"
    assert host.call(state="stopped")["changed"] and not host.record()["trials"] and host.status()["pids"] == []
    assert not host.call(state="stopped")["changed"] and not (host.root / "run" / "vllm.trial.env").exists()
