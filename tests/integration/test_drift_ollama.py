# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift of an Ollama server, whose names and models change while it runs, and of both runtimes side by side; found, mended, exported."""
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from runtime_support import TwoRuntimes, digest_of

from ansible_collections.venom.llm.plugins.module_utils import activation_server, exporter


@pytest.fixture()
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[TwoRuntimes]:
    monkeypatch.setattr(activation_server, "POLL_SECONDS", 0.03)
    made = TwoRuntimes(tmp_path)
    made.store("tiny", "tiny:1b")
    made.store("mid", "mid")
    made.ollama(model="tiny:1b", alias="chat")
    yield made
    made.close()


def drift(host: TwoRuntimes) -> dict[str, dict[str, t.Any]]:
    return {each["kind"]: each for each in host.both()["ollama"]["drift"]}


def mend(host: TwoRuntimes) -> None:
    record = host.record()["active"]["ollama"]
    assert host.ollama(model=record["model"], revision=record["revision"], alias=record["alias"])["changed"]
    assert drift(host) == {} and host.names()["chat:latest"] == digest_of("tiny")


def test_an_alias_that_somebody_gave_to_another_model(host: TwoRuntimes) -> None:
    assert drift(host) == {}
    host.ask("/api/copy", {"source": "mid", "destination": "chat"})
    found = drift(host)["alias_mismatch"]
    assert found["wanted"] == f"chat from {digest_of('tiny')}" and f"from {digest_of('mid')}" in found["found"]


def test_an_alias_that_somebody_took_away_is_given_again(host: TwoRuntimes) -> None:
    host.ask("/api/delete", {"model": "chat"}, "DELETE")
    assert set(drift(host)) == {"alias_mismatch"}
    mend(host)


def test_a_stopped_server_and_an_edited_file(host: TwoRuntimes) -> None:
    host.ollama("stopped")
    path = host.root / "config" / "ollama.active.env"
    path.write_text(path.read_text().replace("LLM_MODEL_NAME=chat", "LLM_MODEL_NAME=other"))
    assert set(drift(host)) == {"not_running", "configuration_differs"}
    mend(host)


def test_a_setting_that_nobody_restarted_for(host: TwoRuntimes) -> None:
    host.write_ollama(OLLAMA_NUM_PARALLEL="2")
    assert set(drift(host)) == {"settings_changed"}
    mend(host)


def test_a_model_that_left_the_manifest_is_named(host: TwoRuntimes) -> None:
    (host.root / "models" / "manifest.json").unlink()
    assert set(drift(host)) == {"model_damaged"} and "not in the manifest" in drift(host)["model_damaged"]["found"]


def test_both_runtimes_are_compared_and_exported(host: TwoRuntimes) -> None:
    host.install("lab/a")
    host.activate("lab/a")
    host.call(state="stopped")
    both = host.both()
    assert both["ollama"]["drift"] == [] and [each["kind"] for each in both["vllm"]["drift"]] == ["not_running"]
    assert both["ollama"]["previous_model"] is None
    host.ollama(model="mid", alias="chat")
    assert host.both()["ollama"]["previous_model"] == "tiny:1b"
    exporter.export(str(host.root / "venom.prom"), host.params(alert_percent=85.0, max_disk_gb=50.0))
    lines = (host.root / "venom.prom").read_text().splitlines()
    assert 'venom_runtime_up{runtime="ollama"} 1' in lines and 'venom_runtime_up{runtime="vllm"} 0' in lines
    assert 'venom_runtime_alias_ok{runtime="ollama"} 1' in lines and 'venom_runtime_drift{runtime="vllm",kind="not_running"} 1' in lines
