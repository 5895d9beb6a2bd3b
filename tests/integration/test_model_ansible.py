# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules as an operator runs them: real ansible, this machine as the host, a hub that asks for a token."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from integration.models_support import small_model, tree

from lab.hub import Hub

pytest.importorskip("huggingface_hub")
ANSIBLE = shutil.which("ansible", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
pytestmark = pytest.mark.skipif(ANSIBLE is None, reason="ansible is not installed")

COLLECTIONS = Path(__file__).resolve().parents[2] / "collections"
TOKEN = "hf_secretOfTheOperator"


@pytest.fixture
def hub(tmp_path: Path) -> t.Iterator[Hub]:
    with Hub(tokens={TOKEN: "alice"}) as running:
        running.add_repo("a/b", small_model(tmp_path / "repo", 1))
        running.configure("a/b", gated="manual", readers=["alice"])
        yield running


def ansible(folder: Path, module: str, options: dict[str, t.Any], *flags: str, interpreter: str = sys.executable) -> tuple[dict[str, t.Any], str]:
    """The module's result and everything that ansible printed."""
    environment = dict(
        os.environ,
        ANSIBLE_COLLECTIONS_PATH=str(COLLECTIONS),
        ANSIBLE_LOCAL_TEMP=str(folder / "local"),
        ANSIBLE_REMOTE_TEMP=str(folder / "remote"),
        ANSIBLE_LOAD_CALLBACK_PLUGINS="1",
        ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal",
        ANSIBLE_LOCALHOST_WARNING="0",
        ANSIBLE_INVENTORY_UNPARSED_WARNING="0",
        ANSIBLE_NOCOLOR="1",
    )
    command = [str(ANSIBLE), "localhost", "-m", f"venom.llm.{module}", "-a", json.dumps(options), *flags]
    command += ["-e", f"ansible_python_interpreter={interpreter}", "-t", str(folder / "results")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    path = folder / "results" / "localhost"
    assert path.exists(), done.stdout + done.stderr
    result: dict[str, t.Any] = json.loads(path.read_text())
    path.unlink()
    return result, done.stdout + done.stderr


def options(folder: Path, hub: Hub, **more: t.Any) -> dict[str, t.Any]:
    base = {"models_dir": str(folder / "host" / "models"), "config_dir": str(folder / "host" / "etc"), "endpoint": hub.url}
    return dict(base, backend_python=sys.executable, reserve_gib=0, retries=0, **more)


def test_the_whole_life_of_a_model(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "host").mkdir()
    for more in ({"token": TOKEN}, {"alias": "x", "token": TOKEN}, {"state": "absent"}):
        wanted = options(tmp_path, hub, name="a/b", **more)
        before = tree(tmp_path / "host")
        checked, checked_print = ansible(tmp_path, "venom_model", wanted, "--check", "--diff")
        assert tree(tmp_path / "host") == before
        real, real_print = ansible(tmp_path, "venom_model", wanted, "--diff")
        again, again_print = ansible(tmp_path, "venom_model", wanted, "--diff")
        assert (checked["changed"], real["changed"], again["changed"]) == (True, True, False)
        assert shown_diff(checked_print) == shown_diff(real_print) != ""
        assert shown_diff(again_print) == ""


def shown_diff(printed: str) -> str:
    """What ansible shows of a difference; the saved result lacks it."""
    return printed.partition("--- before")[2].partition("\n\n")[0]


def test_the_token_is_in_no_output_and_no_file(tmp_path: Path, hub: Hub) -> None:
    dummy, printed = ansible(tmp_path, "venom_model", options(tmp_path, hub, name="a/b", token=TOKEN), "-vvvv", "--diff")
    dummy, more = ansible(tmp_path, "venom_model", options(tmp_path, hub, name="a/c", token=TOKEN), "-vvvv")
    dummy, info = ansible(tmp_path, "venom_model_info", {"models_dir": str(tmp_path / "host" / "models")}, "-vvvv")
    assert "venom_model" in printed
    assert TOKEN not in printed + more + info
    for path in (tmp_path / "host").rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


def test_a_failure_has_its_reason(tmp_path: Path, hub: Hub) -> None:
    result, dummy = ansible(tmp_path, "venom_model", options(tmp_path, hub, name="a/b"))
    assert result["reason_code"] == "gated"
    assert result["access_url"] == f"{hub.url}/a/b"
    result, dummy = ansible(tmp_path, "venom_model", options(tmp_path, hub, name="../x"))
    assert result["reason_code"] == "invalid_name"


def test_manifest_and_info(tmp_path: Path, hub: Hub) -> None:
    ansible(tmp_path, "venom_model", options(tmp_path, hub, name="a/b", alias="x", token=TOKEN))
    models_dir = str(tmp_path / "host" / "models")
    declared = {"models_dir": models_dir, "name": "a/b", "capabilities": {"supports_system_role": False}}
    assert ansible(tmp_path, "venom_manifest", declared)[0]["changed"] is True
    assert ansible(tmp_path, "venom_manifest", declared)[0]["changed"] is False
    info = ansible(tmp_path, "venom_model_info", {"models_dir": models_dir, "name": "x", "limit": 1})[0]
    assert info["models"][0]["capabilities"]["supports_system_role"] == {"value": False, "source": "declared"}
    assert info["models"][0]["status"] == "installed"
    assert len(info["operations"]) == 1
    assert info["usage"]["model_count"] == 1


def test_without_a_backend(tmp_path: Path, hub: Hub) -> None:
    """Under a bare interpreter: a missing backend is named, one that is there is used, and a no-op needs none."""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    interpreter = str(bare / "bin" / "python")
    wanted = options(tmp_path, hub, name="a/b", token=TOKEN)
    missing = dict(wanted, backend_python="/nonexistent/python")
    checked, printed = ansible(tmp_path, "venom_model", missing, "--check", interpreter=interpreter)
    assert checked["changed"] is True
    assert "not known in check mode" in printed
    failed, dummy = ansible(tmp_path, "venom_model", missing, interpreter=interpreter)
    assert failed["reason_code"] == "backend_missing"
    assert not (tmp_path / "host").exists()
    assert ansible(tmp_path, "venom_model", wanted, interpreter=interpreter)[0]["changed"] is True
    assert ansible(tmp_path, "venom_model", missing, interpreter=interpreter)[0]["changed"] is False
