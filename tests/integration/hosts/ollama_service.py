# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's Ollama as a systemd service on a host: an account of its own, files that nobody else may read, nothing else writable."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

from installs import wait_for

from lab.hosts import Lab
from lab.ollama.server import ROOT

PORT = 11500
URL = f"http://127.0.0.1:{PORT}"
HOME = "/var/lib/ollama-lab"
STORE = f"{HOME}/models"
#: Where the host has the stand-in.
CODE = "/opt/ollama-lab"
UNIT = "ollama-lab.service"
_UNIT_FILE = f"""\
[Unit]
Description=Ollama, the lab's stand-in
After=network.target

[Service]
User=ollama
Group=ollama
UMask=0077
StateDirectory={Path(HOME).name}
StateDirectoryMode=0700
NoNewPrivileges=yes
ProtectSystem=strict
PrivateTmp=yes
Environment=PYTHONPATH={CODE} PYTHONDONTWRITEBYTECODE=1 HOME={HOME} LAB_OLLAMA_TIME_SCALE=0.01
Environment=OLLAMA_HOST=127.0.0.1:{PORT} OLLAMA_MODELS={STORE} OLLAMA_NO_CLOUD=1
ExecStart=/usr/bin/python3 -m lab.ollama.cli serve
Restart=always

[Install]
WantedBy=multi-user.target
"""
_ASK = """\
import sys, urllib.error, urllib.request as u
request = u.Request(sys.argv[2], sys.argv[3].encode() or None, {'Content-Type': 'application/json'}, method=sys.argv[1])
try:
    print(u.urlopen(request, timeout=60).read().decode())
except urllib.error.HTTPError as error:
    sys.exit(f"{error.code} {error.read().decode()}")
"""


class Facts(t.NamedTuple):
    """Of a path: d or f, user:group, mode in octal, size."""

    kind: str
    owner: str
    mode: str
    size: int


@dataclass(frozen=True)
class OllamaService:
    """The server of one host, asked on the host itself: it listens on loopback only."""

    lab: Lab
    host: str

    def install(self) -> None:
        """Account, code, unit; enabled and running."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name in ("__init__.py", "ollama"):
                archive.add(ROOT / "lab" / name, f"lab/{name}", filter=lambda item: None if item.name.endswith("__pycache__") else item)
        self.sh(f"id ollama 2>/dev/null || useradd --system --user-group --no-create-home --home-dir {HOME} ollama; mkdir -p {CODE}")
        subprocess.run([*self.lab.ssh_argv(self.host), f"tar -x -C {CODE}"], input=packed.getvalue(), check=True, timeout=60)
        self.lab.run(self.host, ["tee", f"/etc/systemd/system/{UNIT}"], stdin=_UNIT_FILE)
        self.sh(f"systemctl daemon-reload && systemctl enable --now {UNIT}")
        self.wait()

    def remove(self) -> None:
        """Nothing of it stays."""
        self.sh(f"systemctl disable --now {UNIT}; rm -rf {CODE} {HOME} /etc/systemd/system/{UNIT}; systemctl daemon-reload; userdel ollama")

    def sh(self, script: str, check: bool = True) -> str:
        """What a shell on the host prints."""
        return self.lab.run(self.host, ["sh", "-c", script], check=check).stdout

    def restart(self) -> None:
        """Stop, start, and wait until it answers."""
        self.sh(f"systemctl restart {UNIT}")
        self.wait()

    def wait(self) -> None:
        """Wait until it answers."""
        ask = ["python3", "-c", _ASK, "GET", f"{URL}/api/version", ""]
        wait_for(lambda: self.lab.run(self.host, ask, check=False).returncode == 0)

    def pid(self) -> int:
        """The server's process."""
        return int(self.sh(f"systemctl show -p MainPID --value {UNIT}"))

    def runners(self) -> int:
        """Processes that serve loaded models."""
        return len(self.sh("pgrep -x llama-server", check=False).split())

    def ask(self, method: str, path: str, body: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """One request."""
        argv = ["python3", "-c", _ASK, method, URL + path, json.dumps(body) if body else ""]
        answer: dict[str, t.Any] = json.loads(self.lab.run(self.host, argv).stdout.strip() or "{}")
        return answer

    def listed(self) -> dict[str, str]:
        """Models of the server: name to digest."""
        return {model["name"]: f"sha256:{model['digest']}" for model in self.ask("GET", "/api/tags")["models"]}

    def loaded(self) -> list[str]:
        """Names of the models that are loaded."""
        return [model["name"] for model in self.ask("GET", "/api/ps")["models"]]

    def says(self, name: str, **options: t.Any) -> str:
        """What a model answers; it is loaded for that."""
        return str(self.ask("POST", "/api/generate", {"model": name, "prompt": "Who are you?", "stream": False, **options})["response"])

    def tree(self) -> dict[str, Facts]:
        """Everything below the store."""
        found = self.lab.run(self.host, ["find", STORE, "-mindepth", "1", "-printf", "%P\\t%y\\t%u:%g\\t%m\\t%s\\n"]).stdout.splitlines()
        parts = (line.split("\t") for line in found)
        return {path: Facts(kind, owner, mode, int(size) if kind == "f" else 0) for path, kind, owner, mode, size in parts}

    def wrong_blobs(self) -> list[str]:
        """Blobs whose bytes are not what their name says; all of them are read."""
        lines = self.sh(f"cd {STORE}/blobs && sha256sum *").splitlines()
        return [name for digest, name in (line.split("  ") for line in lines) if name != f"sha256-{digest}"]
