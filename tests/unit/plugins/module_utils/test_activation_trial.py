# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change on trial: what is written when, what a boot finds, and what undoing it leaves."""
from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import activation_trial as trials
from ansible_collections.venom.llm.plugins.module_utils.activation_server import Server
from ansible_collections.venom.llm.plugins.module_utils.observation import committed_of
from ansible_collections.venom.llm.plugins.module_utils.record import Activation, NameChange, RuntimeRecord, Trial
from ansible_collections.venom.llm.plugins.module_utils.runtimes.vllm import VllmRuntime
from ansible_collections.venom.llm.plugins.module_utils.supervisors.base import ServiceState
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeSupervisor

A = Activation("lab/a", "huggingface", "0" * 40, "a", "/models/a", "2026-01-01T00:00:00+00:00")
B = Activation("lab/b", "huggingface", "0" * 40, "b", "/models/b")


@pytest.fixture()
def server(tmp_path: Path) -> Server:
    for version in ("1", "2"):
        (tmp_path / "vllm" / version / "bin").mkdir(parents=True)
    (tmp_path / "vllm" / "current").symlink_to("1")
    (tmp_path / "config").mkdir()
    runtime = VllmRuntime(str(tmp_path / "config"), str(tmp_path / "run"))
    Path(runtime.settings_path).write_text(
        f"VENOM_VLLM_PYTHON={tmp_path}/vllm/current/bin/python\nVENOM_VLLM_HOST=127.0.0.1\nVENOM_VLLM_PORT=1\n"
    )
    return Server(runtime, FakeSupervisor(ServiceState("stopped")), str(tmp_path / "config" / "runtime.json"))


def alias(server: Server, path: str) -> str | None:
    active = server.runtime.read_active(path)
    return active.alias if active else None


def link(server: Server) -> str:
    return trials.link_of(server.runtime).version()


def test_until_the_commit_a_boot_finds_the_model_before(server: Server) -> None:
    runtime = server.runtime
    trials.commit(server, A)
    trials.begin(server, Trial(activation=B, version="2", version_before="1"))
    assert (alias(server, runtime.active_path), alias(server, runtime.trial_path)) == ("a", "b") and link(server) == "2"
    assert runtime.active() == trials.active_of(runtime, B) and committed_of(runtime, server.record()) == A
    trials.commit(server, B)
    assert alias(server, runtime.active_path) == "b" == alias(server, runtime.last_good_path) and not os.path.exists(runtime.trial_path)
    assert server.record().active["vllm"] == B and trials.present(server) is None and link(server) == "2"


def test_what_was_tried_is_taken_back(server: Server) -> None:
    trials.commit(server, A)
    trials.begin(server, Trial(activation=B, version="2", version_before="1"))
    trials.revert(server)
    assert link(server) == "1" and server.runtime.active() == trials.active_of(server.runtime, A)
    trials.close(server)
    assert server.record() == RuntimeRecord().with_active("vllm", A)
    # Nothing on trial: nothing to take back.
    trials.revert(server)
    assert link(server) == "1"


def test_a_first_version_is_taken_back_to_none(server: Server) -> None:
    trials.begin(server, Trial(version="2", version_before=""))
    trials.revert(server)
    assert link(server) == ""


def test_a_commit_that_was_cut_off_behind_its_first_write_counts(server: Server) -> None:
    trials.commit(server, A)
    trials.begin(server, Trial(activation=B))
    assert trials.finish_commit(server) is None
    trials.write_environment(server.runtime, server.runtime.active_path, trials.active_of(server.runtime, B))
    assert server.record().active["vllm"] == A and committed_of(server.runtime, server.record()) == B
    assert trials.finish_commit(server) == B
    assert server.record().active["vllm"] == B and trials.present(server) is None
    assert trials.finish_commit(server) is None


def test_names_that_nobody_is_there_to_give_up_stay_on_the_record(server: Server) -> None:
    change = NameChange("chat", "sha256:" + "a" * 64)
    trials.begin(server, Trial(activation=B))
    trials.add_name(server, change)
    trials.close(server)
    assert trials.present(server) == Trial(names=(change,))
    trials.save(server, None)
    trials.add_name(server, change)
    assert server.record().names == {"vllm": (change,)} and trials.revert_names(server) == []


def test_the_record_of_a_trial_reads_back(tmp_path: Path) -> None:
    path = str(tmp_path / "runtime.json")
    trial = Trial(A, (NameChange("a", "b", "c", "d"),), "2", "1", ("ollama",), "2026-01-01T00:00:00+00:00")
    for value in (trial, replace(trial, activation=None), Trial()):
        record = RuntimeRecord().with_trial("vllm", value).with_names("ollama", trial.names)
        record.save(path)
        assert RuntimeRecord.load(path) == record
    assert RuntimeRecord().with_trial("vllm", trial).with_trial("vllm", None) == RuntimeRecord()


def test_the_previous_model_is_the_newest_other_one() -> None:
    record = RuntimeRecord().with_active("vllm", A).with_active("vllm", B).with_active("ollama", replace(A, model="phi3:mini"))
    assert record.previous("vllm") == A and record.previous("ollama") is None
    assert record.with_active("vllm", A).previous("vllm") == B
    # The same model under another alias is another one to go back to.
    assert record.with_active("vllm", replace(B, alias="c")).previous("vllm") == B
