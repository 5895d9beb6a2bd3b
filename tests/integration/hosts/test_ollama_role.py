# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role for Ollama and the profiles on real systemd hosts: from bare to serving, tuned, upgraded, refused, adopted, left out, removed.

The tests of this file are one story on one Debian 12 host, in order, and a short one on Debian 13. The release is the lab's stand-in,
packed as Ollama packs its own. No vLLM is installed: where one has to be there, it is a unit that does nothing.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from operators import Operator, Run

from lab.hosts import Lab
from lab.models import ollama_layers
from lab.ollama.archive import build
from lab.registry import Registry
from lab.system import call

pytestmark = pytest.mark.hosts

HOST, OTHER = "lab2", "lab3"
UNIT, VLLM = "venom-ollama.service", "venom-vllm.service"
STORE = "/var/lib/ollama"
OLD, NEW = "0.16.3", "0.17.0"
#: Where a host has the archive of the newer release.
ON_HOST = "/srv/ollama.tar.zst"
TINY = "tiny:mini"
ROLE, SERVE = ("--tags", "ollama", "--limit", HOST), ("--tags", "ollama,activate", "--limit", HOST)
SERVED, STOPPED = "Serve the model, and prove it", "Stop the servers"
_ASK = "import sys,urllib.request as u;print(u.urlopen(u.Request(sys.argv[1],sys.argv[2].encode() or None),timeout=30).read().decode())"
_NOISE = re.compile(r"^/(root/\.ansible|tmp|var/tmp|var/log|var/lib/(systemd|dbus)|run|proc|sys|dev|etc/machine-id|etc/\.pwd\.lock)")
_FAKE_VLLM = """\
[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""
#: As Ollama's own install script writes it, but for a program that only waits.
_VENDOR = """\
[Unit]
Description=Ollama Service
[Service]
ExecStart=/usr/local/bin/ollama serve
User=root
Restart=always
Environment="OLLAMA_MODELS=/usr/share/ollama/.ollama/models"
[Install]
WantedBy=default.target
"""


@dataclass(frozen=True)
class Place:
    """A host as its administrator sees it."""

    lab: Lab
    host: str

    def sh(self, script: str, check: bool = True) -> str:
        """What a shell on the host prints."""
        return self.lab.run(self.host, ["sh", "-c", script], check=check).stdout.strip()

    def ask(self, path: str, body: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """One request to the server, made on its own host."""
        url = f"http://127.0.0.1:11434{path}"
        answer: dict[str, t.Any] = json.loads(self.lab.run(self.host, ["python3", "-c", _ASK, url, json.dumps(body) if body else ""]).stdout)
        return answer

    def version(self) -> str:
        """What the running server calls itself."""
        return str(self.ask("/api/version")["version"])

    def says(self, name: str) -> str:
        """What a model answers; it is loaded for that."""
        return str(self.ask("/api/generate", {"model": name, "prompt": "Who are you?", "stream": False})["response"])

    def unit(self, name: str) -> tuple[str, str]:
        """Whether a unit runs, and whether it comes back at boot."""
        return self.sh(f"systemctl is-active {name}", check=False), self.sh(f"systemctl is-enabled {name}", check=False)

    def tree(self, *folders: str) -> dict[str, str]:
        """Every path below the folders: kind, number of the owner, mode, size, time."""
        found = self.lab.run(self.host, ["find", *folders, "-xdev", "-printf", "%p\\t%y %U %m %s %T@\\n"]).stdout.splitlines()
        lines = (line.partition("\t")[::2] for line in found)
        return {path: facts for path, facts in lines if not _NOISE.match(path) and path not in ("/", "/root", "/etc", "/usr", "/var")}

    def settings(self) -> dict[str, str]:
        """What the server wrote of its settings at its last start."""
        line = self.sh("grep 'server config' /var/log/venom/ollama.log | tail -n 1")
        return dict(re.findall(r"(OLLAMA_[A-Z_]+):(\S*)", line))

    def kept(self) -> tuple[str, str]:
        """What an upgrade, a downgrade or another profile must leave alone: the store with every time in it, and the manifest."""
        return json.dumps(self.tree(STORE), sort_keys=True), self.sh("sha256sum /var/lib/venom/models/manifest.json")


@pytest.fixture(scope="module")
def place(lab: Lab) -> t.Iterator[Place]:
    """The host of the story; nothing of it stays."""
    found = Place(lab, HOST)
    yield found
    found.sh(f"systemctl disable --now {VLLM} ollama.service; rm -rf /etc/systemd/system/{VLLM} /etc/systemd/system/{UNIT}.d", check=False)
    found.sh(f"rm -rf /etc/systemd/system/ollama.service /usr/local/bin/ollama /usr/share/ollama {ON_HOST}; systemctl daemon-reload")


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Two releases: the older one as .tgz, the newer as .tar.zst."""
    folder = tmp_path_factory.mktemp("releases")
    return {OLD: build(folder, OLD, "tgz"), NEW: build(folder, NEW, "tar.zst")}


@pytest.fixture(scope="module")
def registry(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Registry]:
    """A registry on the bridge with one model."""
    network = lab.settings.network
    other = str(network.ip + 1)
    call(["ip", "address", "replace", f"{other}/{network.network.prefixlen}", "dev", lab.settings.bridge])
    with Registry(str(network.ip), cdn_host=other) as running:
        config, layers = ollama_layers(tmp_path_factory.mktemp("layers"), 2, 7)
        running.add("library/tiny", "mini", layers, config)
        yield running


def release(releases: dict[str, tuple[Path, str]], version: str, path: str | None = None) -> dict[str, t.Any]:
    """Variables that want a release, from the controller unless a path on the host is given."""
    archive, digest = releases[version]
    return {"venom_ollama_version": version, "venom_ollama_archive": path or str(archive), "venom_ollama_archive_sha256": digest}


@pytest.fixture
def operator(lab: Lab, registry: Registry, releases: dict[str, tuple[Path, str]], tmp_path: Path) -> Operator:
    """An operator who wants Ollama alone, the older release, and one model."""
    variables = {
        "venom_profile": "light",
        "venom_wheels_dir": "/srv/wheels",
        "venom_models": [{"name": TINY}],
        "venom_active": {"ollama": TINY},
        "venom_models_reserve_gib": 0,
        "venom_models_allowed_hosts": [str(registry.cdn_url).rpartition("//")[2]],
        "venom_ollama_registry": registry.url,
        **release(releases, OLD),
    }
    return Operator(lab.inventory, tmp_path, variables)


def put(place: Place, source: Path, path: str) -> None:
    """Carry a file to the host by hand, as across an air gap."""
    argv = [*place.lab.ssh_argv(place.host), f"cat > {path}"]
    subprocess.run(argv, input=source.read_bytes(), check=True, timeout=60)


def only(run: Run) -> list[str]:
    """The names of the tasks that changed something, without their roles."""
    return [task.rpartition(" : ")[2] for dummy, task in run.changed()]


def test_a_bare_host_gets_what_the_check_announced_and_then_nothing(place: Place, operator: Operator) -> None:
    before = place.tree("/")
    announced = operator.play("site", "--check", "--diff", "--limit", HOST)
    assert {path for path, facts in place.tree("/").items() if before.get(path) != facts} == set()
    run = operator.play("site", "--limit", HOST)
    assert run.changed() == announced.changed() and {"Verify and unpack the archive", SERVED} <= set(only(run))
    assert operator.play("site", "--limit", HOST).changed() == []
    assert place.sh("readlink /opt/venom/ollama/current") == OLD
    assert place.sh(f"stat -c '%U %a' {STORE} /etc/venom/ollama.env /var/lib/venom/ollama").split("\n") == ["venom 700", "root 640", "venom 700"]
    assert place.sh("ls -A /opt/venom | sort").split() == ["backend", "ollama"], "nothing of the transfer stays"


def test_it_serves_hardened(place: Place) -> None:
    assert place.unit(UNIT) == ("active", "enabled") and place.version() == OLD
    assert place.says(TINY).strip() and [model["name"] for model in place.ask("/api/ps")["models"]] == [TINY]
    place.sh(f"systemd-analyze security --no-pager --threshold=14 {UNIT}")
    pid = place.sh(f"systemctl show -p MainPID --value {UNIT}")
    status = place.sh(f"cat /proc/{pid}/limits /proc/{pid}/status")
    assert re.search(r"Max core file size\s+0\s+0\s", status) and re.search(r"Uid:\s+(?!0\s)", status) and "NoNewPrivs:\t1" in status
    assert place.sh(f"find {STORE} -type f ! -perm 600 -o -type d ! -perm 700 -o ! -user venom") == "", "a file that the server cannot read"
    # As root among the mounts of the server, which may do more than the server itself.
    inside = f"nsenter --target {pid} --mount"
    closed = ("/etc", "/opt/venom/ollama/current/bin", "/var/lib/venom/models", "/var/log/venom", "/etc/venom", "/usr/bin", "/run", "/run/lock")
    for folder in closed:
        assert "Read-only" in place.sh(f"{inside} touch {folder}/written 2>&1", check=False), folder
    place.sh(f"{inside} touch {STORE}/written /var/lib/venom/ollama/written && rm {STORE}/written /var/lib/venom/ollama/written")
    place.sh("touch /etc/venom/credentials/token")
    assert place.sh(f"{inside} find /root /home /etc/venom/credentials -mindepth 1") == "", "other users' files, or the token of the hub"
    place.sh("rm /etc/venom/credentials/token")


def test_tuning_reaches_the_server_and_an_operators_drop_in_stays(place: Place, operator: Operator) -> None:
    assert place.settings()["OLLAMA_CONTEXT_LENGTH"] == "32768" and place.settings()["OLLAMA_KEEP_ALIVE"] == "30m0s"
    drop_in = f"/etc/systemd/system/{UNIT}.d/mine.conf"
    place.sh(f"mkdir {Path(drop_in).parent} && printf '[Service]\\nLimitNOFILE=4321\\nEnvironmentFile=/etc/mine.env\\n' > {drop_in}")
    place.sh("echo OLLAMA_KEEP_ALIVE=7m > /etc/mine.env; systemctl daemon-reload")
    tuned = {"venom_ollama_tuning_profile": "low-vram-8-12gb", "venom_ollama_keep_alive": "5m", "venom_ollama_environment": {"OLLAMA_NOPRUNE": True}}
    refused = operator.play("site", *SERVE, expect=2, **tuned)
    assert only(refused) == ["Write the settings of the server", SERVED]
    assert "settings_not_applied" in refused.output and "OLLAMA_KEEP_ALIVE=5m (in effect: 7m0s)" in refused.output
    assert "OLLAMA_CONTEXT_LENGTH=" not in refused.output, "that one has arrived"
    place.sh(f"sed -i /EnvironmentFile/d {drop_in}; rm /etc/mine.env; systemctl daemon-reload; systemctl restart {UNIT}")
    operator.play("site", *SERVE, **tuned)
    found = place.settings()
    assert (found["OLLAMA_CONTEXT_LENGTH"], found["OLLAMA_KEEP_ALIVE"], found["OLLAMA_KV_CACHE_TYPE"]) == ("16384", "5m0s", "q4_0")
    assert (found["OLLAMA_NOPRUNE"], found["OLLAMA_NO_CLOUD"], found["OLLAMA_LOAD_TIMEOUT"]) == ("true", "true", "10m0s")
    assert place.sh(f"systemctl show -p LimitNOFILE --value {UNIT}") == "4321"


def test_an_upgrade_and_a_downgrade_leave_the_models(place: Place, operator: Operator, releases: dict[str, tuple[Path, str]]) -> None:
    put(place, releases[NEW][0], ON_HOST)
    before, files = place.kept(), place.tree("/opt/venom", "/etc/venom")
    wrong = dict(release(releases, NEW), venom_ollama_archive_sha256="0" * 64)
    refused = operator.play("site", *ROLE, expect=2, **wrong)
    assert "digest_mismatch" in refused.output and refused.changed() == [] and place.tree("/opt/venom", "/etc/venom") == files
    # The tuning of the chapter before goes as well.
    run = operator.play("site", *SERVE, **release(releases, NEW, ON_HOST))
    assert only(run) == ["Verify and unpack the archive", "Write the settings of the server", SERVED]
    assert place.version() == NEW and place.sh("readlink /opt/venom/ollama/current") == NEW
    assert only(operator.play("site", *SERVE)) == [SERVED]
    assert place.version() == OLD and place.kept() == before and place.says(TINY).strip()
    assert place.sh("ls /opt/venom/ollama").split() == [OLD, NEW, "current"]
    assert place.sh(f"ls -A {ON_HOST}"), "an archive on the host belongs to its operator"


def test_profiles_both_ways(place: Place, operator: Operator) -> None:
    place.lab.run(HOST, ["tee", f"/etc/systemd/system/{VLLM}"], stdin=_FAKE_VLLM)
    place.sh(f"systemctl daemon-reload; systemctl enable --now {VLLM}")
    before = place.kept()
    assert operator.play("site", *SERVE, venom_profile="full").changed() == []
    assert place.unit(VLLM) == ("active", "enabled")

    assert only(operator.play("site", "--tags", "vllm,ollama,activate", "--limit", HOST)) == [STOPPED]
    assert place.unit(VLLM) == ("inactive", "disabled") and place.unit(UNIT) == ("active", "enabled")

    refused = operator.play("site", "--limit", HOST, expect=2, venom_profile="llm_off", venom_active={})
    assert "profile_excludes_runtime" in refused.output and "venom_models" in refused.output and refused.changed() == []
    refused = operator.play("site", "--limit", HOST, expect=2, venom_profile="llm_off", venom_models=[])
    assert "profile_excludes_runtime" in refused.output and "venom_active" in refused.output and refused.changed() == []
    off = {"venom_profile": "llm_off", "venom_models": [], "venom_active": {}}
    assert only(operator.play("site", "--limit", HOST, **off)) == [STOPPED]
    assert operator.play("site", "--limit", HOST, **off).changed() == []
    # What the profile stopped is not missed, and no repair brings it back.
    assert operator.play("verify", "--limit", HOST, venom_verify_repair=True, **off).changed() == []
    assert place.unit(UNIT) == ("inactive", "disabled") and place.sh("pgrep -x llama-server", check=False) == ""

    assert only(operator.play("site", *SERVE, venom_profile="full")) == [SERVED]
    assert place.unit(UNIT) == ("active", "enabled") and place.says(TINY).strip() and place.kept() == before


def test_another_installation_is_refused_or_adopted(place: Place, operator: Operator) -> None:
    place.sh("mkdir -p /usr/share/ollama/.ollama/models/manifests && printf '#!/bin/sh\\nexec sleep 1000000\\n' > /usr/local/bin/ollama")
    place.lab.run(HOST, ["tee", "/etc/systemd/system/ollama.service"], stdin=_VENDOR)
    place.sh("chmod 755 /usr/local/bin/ollama; systemctl daemon-reload; systemctl enable --now ollama.service")
    vendor = place.tree("/usr/share/ollama", "/usr/local/bin")
    refused = operator.play("site", "--limit", HOST, expect=2)
    assert refused.changed() == []
    for word in ("duplicate_server", "ollama.service", "/usr/local/bin/ollama", "/usr/share/ollama/.ollama/models", "venom_ollama_adopt"):
        assert word in refused.output, word
    assert place.unit("ollama.service") == ("active", "enabled")
    assert only(operator.play("site", *ROLE, venom_ollama_adopt=True)) == ["Stop and disable the other server"]
    assert place.unit("ollama.service") == ("inactive", "disabled") and place.tree("/usr/share/ollama", "/usr/local/bin") == vendor
    assert operator.play("site", "--check", "--limit", HOST).changed() == [], "what was adopted is no rival any more, and a check finds nothing to do"


def test_removal_leaves_models_until_it_is_told(place: Place, operator: Operator) -> None:
    everything = {"venom_remove_all": True, "venom_remove_confirm": "remove everything"}
    models = place.kept()[0]
    assert operator.play("remove", "--limit", HOST, **everything).changed()
    assert place.kept()[0] == models and place.unit(UNIT)[0] == "inactive"
    for path in (f"/etc/systemd/system/{UNIT}", "/opt/venom", "/etc/venom", "/etc/logrotate.d/venom-ollama", "/var/log/venom"):
        assert place.sh(f"ls -d {path}", check=False) == "", path
    assert place.sh(f"ls /etc/systemd/system/{UNIT}.d") == "mine.conf"
    # The store is still there and its account is not: nobody can be looked up who is to own it.
    assert "Create the account" in only(operator.play("site", "--check", "--limit", HOST))
    operator.play("remove", "--limit", HOST, venom_remove_models=True, **everything)
    assert place.sh(f"ls -d {STORE} /var/lib/venom", check=False) == ""
    assert operator.play("remove", "--limit", HOST, venom_remove_models=True, **everything).changed() == []


def test_debian_13_fetches_the_release_itself(lab: Lab, operator: Operator, releases: dict[str, tuple[Path, str]], tmp_path: Path) -> None:
    place, digest = Place(lab, OTHER), releases[NEW][1]
    (tmp_path / f"v{NEW}").mkdir()
    shutil.copy(releases[NEW][0], tmp_path / f"v{NEW}/ollama-linux-{'arm64' if os.uname().machine == 'aarch64' else 'amd64'}.tar.zst")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer((str(lab.settings.network.ip), 0), handler) as mirror:
        threading.Thread(target=mirror.serve_forever, daemon=True).start()
        wanted = {
            "venom_ollama_version": NEW,
            "venom_ollama_archive": "",
            "venom_ollama_archive_url": f"http://hub:{mirror.server_port}/v{{version}}/ollama-linux-{{arch}}.tar.zst",
            "venom_ollama_archive_sha256": digest,
            "venom_models": [],
            "venom_active": {},
        }
        part = ("--tags", "host,ollama,activate", "--limit", OTHER)
        # Without a model: the profile light runs Ollama all the same.
        operator.play("site", *part, **wanted)
        mirror.shutdown()
    assert place.version() == NEW and place.sh("ls -A /opt/venom").split() == ["backend", "ollama"]
    place.sh(f"systemd-analyze security --no-pager --threshold=14 {UNIT}")
    assert operator.play("site", *part, **wanted).changed() == [], "a host that has the release asks nobody for it"
    operator.play("remove", "--limit", OTHER, venom_remove_all=True, venom_remove_models=True, venom_remove_confirm="remove everything")
    assert place.unit(UNIT)[0] == "inactive" and place.sh(f"ls -d {STORE} /opt/venom", check=False) == ""
