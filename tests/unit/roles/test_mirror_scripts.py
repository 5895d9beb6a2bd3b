# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role mirror runs on a host: its look at address and port, the hash of the password, the proof at the end."""
from __future__ import annotations

import hashlib
import http.server
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[3] / "roles/mirror/files"


def run(script: str, *arguments: str, stdin: t.Any = None) -> subprocess.CompletedProcess[str]:
    """Run it as the role does."""
    text = json.dumps(stdin) if stdin is not None else ""
    command = [sys.executable, "-c", (FILES / script).read_text(encoding="utf-8"), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)


def probe(**wanted: t.Any) -> dict[str, t.Any]:
    """What the probe says; ``wanted`` is different from what is right everywhere."""
    right = {"address": "127.0.0.1", "port": 1, "unit": "venom-mirror", "networks": [], "account": "root", "group": "root"}
    found: dict[str, t.Any] = json.loads(run("probe.py", json.dumps({**right, "files": [], "folders": ["/"], **wanted})).stdout)
    return found


def test_a_free_port_of_loopback() -> None:
    seen = probe()
    assert (seen["ip"], seen["is_on_host"], seen["is_loopback"], seen["holder"]) == ("127.0.0.1", True, True, None)
    assert (seen["bad_networks"], seen["missing"], seen["lacking"]) == ([], [], [])


def test_a_taken_port_has_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        holder = probe(port=listener.getsockname()[1])["holder"]
    assert holder.startswith(f"pid {os.getpid()}, ")


@pytest.mark.parametrize(("address", "ip"), [("192.0.2.1", "192.0.2.1"), ("no-such-host.invalid", None)])
def test_what_is_no_address_of_this_host(address: str, ip: str | None) -> None:
    seen = probe(address=address)
    assert (seen["ip"], seen["is_on_host"], seen["holder"]) == (ip, False, None)


def test_networks_addresses_names_and_what_is_none_of_them() -> None:
    seen = probe(networks=["10.0.0.0/24", "10.0.0.7", "fd00::/8", "localhost", "10.0.0.7/24", "no-such-host.invalid"])
    assert seen["networks"][:3] == ["10.0.0.0/24", "10.0.0.7/32", "fd00::/8"]
    assert set(seen["networks"][3:]) <= {"127.0.0.1", "::1"} and seen["networks"][3:]
    assert seen["bad_networks"] == ["10.0.0.7/24", "no-such-host.invalid"]


def test_what_the_host_lacks(tmp_path: Path) -> None:
    seen = probe(account="nobody-of-that-name", group="nor-a-group", folders=[str(tmp_path / "nowhere")], files=[str(tmp_path / "key")])
    assert seen["lacking"] == [str(tmp_path / "nowhere"), "account nobody-of-that-name", "group nor-a-group"]
    assert seen["missing"] == [str(tmp_path / "key")]


def test_the_hash_of_a_password_stays_until_the_password_changes(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    wanted = {"path": str(path), "username": "fleet", "password": "one", "is_check": False}
    assert run("htpasswd.py", stdin={**wanted, "is_check": True}).stdout == "changed\n" and not path.exists()
    assert run("htpasswd.py", stdin=wanted).stdout == "changed\n"
    first = path.read_text(encoding="ascii")
    assert first.startswith("fleet:$6$") and "one" not in first.partition(":")[2] and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert run("htpasswd.py", stdin=wanted).stdout == "same\n" and path.read_text(encoding="ascii") == first
    for more in ({"password": "two"}, {"username": "other"}):
        assert run("htpasswd.py", stdin={**wanted, **more}).stdout == "changed\n"
        assert run("htpasswd.py", stdin={**wanted, **more}).stdout == "same\n"
    path.chmod(0o644)
    assert run("htpasswd.py", stdin={**wanted, "username": "other"}).stdout == "changed\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and list(tmp_path.iterdir()) == [path]


class Store(http.server.BaseHTTPRequestHandler):
    """A mirror with the files of ``contents``."""

    contents: t.ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        """The file, or 404."""
        body = self.contents.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *dummy: t.Any) -> None:
        """Nothing."""


@pytest.mark.parametrize(("given", "status"), [(b"layer", 0), (b"laxer", 1), (None, 1)], ids=["right", "lies", "has it not"])
@pytest.mark.parametrize("is_empty", [False, True])
def test_the_proof_hashes_what_comes(tmp_path: Path, given: bytes | None, status: int, is_empty: bool) -> None:
    digest = hashlib.sha256(b"layer").hexdigest()
    blob = tmp_path / "hf/sha256" / digest[:2] / digest
    if not is_empty:
        blob.parent.mkdir(parents=True)
        blob.write_bytes(b"layer")
    Store.contents = {} if given is None else {f"/sha256/{digest}": given}
    with http.server.HTTPServer(("127.0.0.1", 0), Store) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asked = {"url": f"http://127.0.0.1:{server.server_port}", "ca": "", "username": "", "password": ""}
        done = run("prove.py", stdin={**asked, "stores": [str(tmp_path / "hf"), str(tmp_path / "ollama")]})
        server.shutdown()
    assert done.returncode == (0 if is_empty else status), done.stdout
    assert done.stdout.startswith("status 404" if is_empty or given is None else "status 200")
