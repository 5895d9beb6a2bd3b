# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every ansible-core that the collection names as a controller installs a model, again without a change, removes it, and reads every playbook.

Each release lives in a venv of its own in the lab's cache. The machine itself is the host, without root being used.
"""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lab.hub import Hub
from lab.hub.demo import add_demo
from lab.settings import CHECKOUT, Settings
from lab.wheels import ensure as ensure_wheels

CACHE = Settings.from_env().cache
SERIES = ("2.17", "2.18", "2.19")
PYTHON = "{}.{}".format(*sys.version_info[:2])


def controller(series: str) -> Path:
    """The programs of one release of ansible-core."""
    venv = CACHE / f"ansible-core-{series}-{PYTHON}"
    if not (venv / ".complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        pip = [str(venv / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", f"ansible-core~={series}.0"]
        subprocess.run(pip, check=True, capture_output=True)
        (venv / ".complete").touch()
    return venv / "bin"


def play(bin_folder: Path, home: Path, name: str, *arguments: str, **variables: object) -> tuple[str, int]:
    """Output and number of changes of one playbook."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "HF_", "VENOM_", "PYTHONPATH"))}
    environment = {
        **kept,
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / "collections"),
        "ANSIBLE_HOME": str(home / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "VENOM_HOME": str(home / "venom"),
    }
    book = name if name.startswith("/") else f"venom.llm.{name}"
    command = [str(bin_folder / "ansible-playbook"), "-i", str(CHECKOUT / "inventories/localhost"), book, *arguments]
    command += ["-e", json.dumps({"venom_wheels_dir": str(CACHE / "wheels"), "venom_python": sys.executable, **variables})]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout, int((re.findall(r"changed=(\d+)", done.stdout) or [0])[-1])


#: Writes what the role monitoring gives its exporter. The role itself needs root and systemd.
SETTINGS_PLAY = """
- hosts: localhost
  gather_facts: false
  vars_files: [ROLES/host/defaults/main.yml, ROLES/models/defaults/main.yml, ROLES/monitoring/defaults/main.yml, ROLES/monitoring/vars/main.yml]
  tasks:
    - ansible.builtin.copy: CONTENT
"""


@pytest.mark.parametrize("series", SERIES)
def test_numbers_of_the_exporter_stay_numbers(series: str, tmp_path: Path) -> None:
    present = yaml.safe_load((CHECKOUT / "roles/monitoring/tasks/present.yml").read_text(encoding="utf-8"))
    (copy,) = (task["ansible.builtin.copy"] for task in present if task["name"] == "Write its settings")
    content = json.dumps({"content": copy["content"], "dest": str(tmp_path / "settings.json"), "mode": "0600"})
    book = tmp_path / "settings.yml"
    book.write_text(SETTINGS_PLAY.replace("ROLES", str(CHECKOUT / "roles")).replace("CONTENT", content), encoding="utf-8")
    play(controller(series), tmp_path, str(book), ansible_python_interpreter=sys.executable, venom_models_max_disk_gb="85")
    params = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))["params"]
    assert (params["max_disk_gb"], type(params["max_disk_gb"]), type(params["alert_percent"])) == (85.0, float, float)


@pytest.mark.parametrize("series", SERIES)
def test_a_controller_installs_and_removes(series: str, tmp_path: Path) -> None:
    ensure_wheels(CACHE / "wheels", PYTHON, ["backend"])
    programs = controller(series)
    assert f"[core {series}." in subprocess.run([str(programs / "ansible"), "--version"], capture_output=True, text=True, check=True).stdout
    with Hub() as hub:
        add_demo(hub, tmp_path / "models")
        wanted = {"venom_hf_endpoint": hub.url, "venom_models": [{"name": "demo/tiny-aurora", "alias": "aurora"}]}
        dummy, announced = play(programs, tmp_path, "install", "--check", "--diff", **wanted)
        dummy, changed = play(programs, tmp_path, "install", "--diff", **wanted)
        assert changed == announced > 0
        assert list((tmp_path / "venom/models/hf").glob("demo--tiny-aurora@*"))
        assert play(programs, tmp_path, "install", **wanted)[1] == 0
        assert play(programs, tmp_path, "remove", venom_model_name="demo/tiny-aurora")[1] == 1
        assert play(programs, tmp_path, "remove", venom_model_name="demo/tiny-aurora")[1] == 0
        output, dummy_count = play(programs, tmp_path, "status")
        assert "localhost" in output and "offline" in output
        # A survey, and --extra-vars, give one line of text where an inventory gives a list.
        output, changed = play(programs, tmp_path, "stop", venom_stop_runtimes="vllm")
        assert changed == 0 and "item=vllm" in output and "item=ollama" not in output
        books = [f"venom.llm.{path.stem}" for path in sorted((CHECKOUT / "playbooks").glob("*.yml"))]
        play(programs, tmp_path, "site", *books, "--syntax-check")
        assert hub.errors == []
