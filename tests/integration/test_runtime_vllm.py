# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtime modules against a real vLLM, kept by the process supervisor, on loopback.

``VENOM_TEST_VLLM_PYTHON`` names the interpreter of a venv with vLLM (CPU build); the test fails without it.
"""
from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from vllm_server import share_model_infos

from ansible_collections.venom.llm.plugins.module_utils import processes
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord, snapshot_path, utc_now
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef
from lab import models

pytestmark = pytest.mark.vllm

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPLIES = {"lab/beta": "Beta is the one.", "lab/mute": "Never said."}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def install(models_dir: Path, name: str, make: t.Callable[..., t.Any], **options: t.Any) -> None:
    """A model folder with its manifest entry, as venom_model leaves them."""
    ref = ModelRef.parse(name)
    folder = Path(snapshot_path(str(models_dir), ref, COMMIT))
    make(folder, reply=REPLIES[name], **options)
    records = []
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)
        status = path.stat()
        records.append(FileRecord(path.name, status.st_size, Digest("sha256", "0" * 64), status.st_mtime_ns, status.st_ino))
    entry = Entry(
        name=name,
        provider="huggingface",
        runtime="vllm",
        revision=COMMIT,
        requested_revision="main",
        alias=None,
        local_path=str(folder),
        size_bytes=sum(record.size for record in records),
        files=tuple(records),
        sha256="0" * 64,
        installed_at=utc_now(),
    )
    Manifest.load(str(models_dir)).merge(entry).save()


class Host:
    """The folders of one managed host below a temporary folder, and its modules as Ansible runs them: a process for each call."""

    def __init__(self, root: Path, python: str) -> None:
        self.root = root
        self.port = free_port()
        for name in ("config", "models", "log", "home"):
            (root / name).mkdir()
        share_model_infos(python, root / "home" / "vllm")
        (root / "config" / "vllm.env").write_text(
            f"VENOM_VLLM_PYTHON={python}\nVENOM_VLLM_HOST=127.0.0.1\nVENOM_VLLM_PORT={self.port}\n"
            'VENOM_VLLM_ARGS="--max-model-len 256 --enforce-eager"\n'
            f"HF_HUB_OFFLINE=1\nVLLM_NO_USAGE_STATS=1\nVLLM_CPU_KVCACHE_SPACE=1\nHOME={root}/home\nVLLM_CACHE_ROOT={root}/home/vllm\n"
        )

    def call(self, module: str, **options: t.Any) -> dict[str, t.Any]:
        folders = {f"{name}_dir": str(self.root / name) for name in ("config", "models", "log", "run")}
        if module == "venom_host_info":
            folders = {name: folders[name] for name in ("config_dir", "models_dir")}
        else:
            folders.update(supervisor="process", account="")
        check = options.pop("check", False)
        arguments = {"ANSIBLE_MODULE_ARGS": dict(folders, _ansible_check_mode=check, _ansible_diff=True, **options)}
        path = self.root / "arguments.json"
        path.write_text(json.dumps(arguments))
        done = subprocess.run(
            [sys.executable, "-m", f"ansible_collections.venom.llm.plugins.modules.{module}", str(path)],
            env=dict(os.environ, PYTHONPATH=str(ROOT / "collections")),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.stdout.strip(), done.stderr
        return t.cast("dict[str, t.Any]", json.loads(done.stdout))

    def runtime(self, **options: t.Any) -> dict[str, t.Any]:
        patience = {"health_timeout": "600"} if options.get("state") == "active" else {}
        return self.call("venom_runtime", **patience, **options)

    def leftovers(self) -> list[int]:
        """Living processes that any server of this host started, however deep."""
        mark = f"{self.root}/home"
        return [pid for pid in processes.pids() if processes.environment(pid).get("HOME") == mark and processes.start_ticks(pid)]


@pytest.fixture()
def host(tmp_path: Path) -> t.Iterator[Host]:
    python = os.environ.get("VENOM_TEST_VLLM_PYTHON")
    if not python:
        pytest.fail("VENOM_TEST_VLLM_PYTHON does not name the interpreter of a venv with vLLM")
    made = Host(tmp_path, python)
    install(tmp_path / "models", "lab/beta", models.llama, chat_template="")
    install(tmp_path / "models", "lab/mute", models.hostile, kind="dies_on_first_token")
    yield made
    made.runtime(state="stopped", stop_timeout=20)
    assert made.leftovers() == []


def test_a_real_vllm_from_nothing_to_stopped(host: Host) -> None:
    """Three starts of the server. A model with a chat template, and a switch from one to another: hosts/test_first_light.py."""
    planned = host.runtime(state="active", model="lab/beta", alias="bee", check=True)
    assert planned["changed"] and planned["plan"]["steps"] == ["check", "drain", "switch", "start", "prove", "commit"]
    assert not (host.root / "config" / "vllm.active.env").exists() and not (host.root / "run").exists()

    # A model without a chat template is proved by a plain completion, and the result says so.
    first = host.runtime(state="active", model="lab/beta", alias="bee")
    assert first["changed"], first
    assert first["status"]["status"] == "online" and first["status"]["alias_ok"]
    assert first["status"]["served_models"] == ["bee"] and "Beta is" in first["status"]["completion"]["text"]
    assert "no chat template" in first["status"]["completion"]["remark"]
    assert first["status"]["memory_mb"] > 100 and len(first["status"]["pids"]) > 1
    assert first["diff"]["after"]["model"] == "lab/beta"

    again = host.runtime(state="active", model="lab/beta", alias="bee")
    assert not again["changed"] and again["steps"] == [] and again["status"]["pid"] == first["status"]["pid"]
    assert again["diff"]["before"] == again["diff"]["after"]

    # The new model loads and reports health, but dies at its first token: only a real completion tells.
    failed = host.runtime(state="active", model="lab/mute")
    assert failed["failed"] and failed["reason_code"] == "activation_failed" and failed["step"] == "prove", failed
    assert failed["rolled_back"] and failed["log_tail"]
    probed = host.call("venom_runtime_info", probe=True)["status"]
    assert probed["status"] == "online" and probed["active_model"] == "lab/beta" and "Beta is" in probed["completion"]["text"]
    record = json.loads((host.root / "config" / "runtime.json").read_text())
    assert record["active"]["vllm"]["model"] == "lab/beta"
    assert [item["model"] for item in record["history"]] == ["lab/beta"], "what failed was never active"

    listening = host.call("venom_host_info")["runtimes"][0]["listeners"]
    assert [listener["pid"] for listener in listening] == [probed["pid"]]

    stopped = host.runtime(state="stopped")
    assert stopped["changed"] and stopped["status"]["status"] == "offline"
    assert processes.listeners(host.port) == [] and host.leftovers() == []
    known = {*first["status"]["pids"], *probed["pids"]}
    assert [pid for pid in known if processes.start_ticks(pid) is not None] == []
    assert not host.runtime(state="stopped")["changed"]
