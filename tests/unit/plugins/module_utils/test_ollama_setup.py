# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has of Ollama: other installations, devices, settings in effect."""
from __future__ import annotations

import socket
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import ollama_setup
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

#: systemctl show of a host with the unit of the install script, as Debian 12 prints it, and of the snap's.
VENDOR = """\
Environment=PATH=/usr/bin:/bin "OLLAMA_MODELS=/srv/my models" HOME=/usr/share/ollama
Id=ollama.service
ActiveState=active
FragmentPath=/etc/systemd/system/ollama.service
UnitFileState=enabled
"""
SNAP = """\
Environment=
Id=snap.ollama.listener.service
ActiveState=inactive
FragmentPath=/etc/systemd/system/snap.ollama.listener.service
UnitFileState=enabled
"""
ADOPTED = VENDOR.replace("=active", "=inactive").replace("=enabled", "=disabled")


def systemctl(*blocks: str) -> t.Callable[[t.Sequence[str]], subprocess.CompletedProcess[str]]:
    """A systemctl that knows these units."""

    def run(argv: t.Sequence[str]) -> subprocess.CompletedProcess[str]:
        names = [next(line[3:] for line in block.splitlines() if line.startswith("Id=")) for block in blocks]
        if "list-unit-files" in argv:
            assert {"ollama.service", "snap.ollama.*.service"} <= set(argv)
            return subprocess.CompletedProcess(argv, 0, "".join(f"{name} enabled enabled\n" for name in names), "")
        assert list(argv[-len(names) :]) == names, "only what exists is shown"
        return subprocess.CompletedProcess(argv, 0, "\n".join(blocks), "")

    return run


def root_with(folder: Path, *paths: str) -> str:
    """A root of a file system where systemd runs and these folders are."""
    for path in ("/run/systemd/system", *paths):
        (folder / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return str(folder)


def test_a_bare_host_has_none(tmp_path: Path) -> None:
    assert ollama_setup.find_foreign(systemctl(), root_with(tmp_path)) == []


def test_without_systemd_nobody_asks_it(tmp_path: Path) -> None:
    assert ollama_setup.find_foreign(lambda argv: pytest.fail(str(argv)), str(tmp_path)) == []


def test_everything_of_another_installation_is_named(tmp_path: Path) -> None:
    root = root_with(tmp_path, "/usr/local/bin/ollama", "/usr/share/ollama/.ollama/models", "/var/snap/ollama/common/models")
    unit, snap, *rest = ollama_setup.find_foreign(systemctl(VENDOR, SNAP), root)
    assert (unit.name, unit.path, unit.runs, unit.enabled) == ("ollama.service", "/etc/systemd/system/ollama.service", True, True)
    assert unit.models_dir == "/srv/my models"
    assert (snap.name, snap.runs, snap.enabled, snap.models_dir) == ("snap.ollama.listener.service", False, True, None)
    assert [(each.kind, each.path) for each in rest] == [
        ("program", "/usr/local/bin/ollama"), ("models", "/usr/share/ollama/.ollama/models"), ("models", "/var/snap/ollama/common/models"),
    ]  # fmt: skip


def test_a_unit_that_was_adopted_neither_runs_nor_starts(tmp_path: Path) -> None:
    (unit,) = ollama_setup.find_foreign(systemctl(ADOPTED), root_with(tmp_path))
    assert (unit.runs, unit.enabled) == (False, False)


def test_a_systemd_that_does_not_answer_is_no_empty_host(tmp_path: Path) -> None:
    def run(argv: t.Sequence[str]) -> subprocess.CompletedProcess[str]:
        raise VenomError("supervisor_failed", wanted=" ".join(argv), found="it hangs", todo="look")

    with pytest.raises(VenomError):
        ollama_setup.find_foreign(run, root_with(tmp_path))


@pytest.fixture
def port() -> t.Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def settings(folder: Path, port: int, **more: str) -> None:
    """Write ``ollama.env``."""
    variables = {"OLLAMA_HOST": f"127.0.0.1:{port}", "VENOM_OLLAMA_BINARY": "/x", "HOME": "/h", **more}
    (folder / "ollama.env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()), encoding="utf-8")


def log(folder: Path, port: int, context: str) -> None:
    """Write ``ollama.log``."""
    text = f'msg="server config" env="map[OLLAMA_CONTEXT_LENGTH:{context} OLLAMA_HOST:http://127.0.0.1:{port}]"\n'
    (folder / "ollama.log").write_text(text, encoding="utf-8")


def test_a_setting_that_did_not_reach_the_running_server(tmp_path: Path, port: int) -> None:
    settings(tmp_path, port, OLLAMA_CONTEXT_LENGTH="32768")
    log(tmp_path, port, "4096")
    found = ollama_setup.compare(str(tmp_path), str(tmp_path))
    assert found["differences"] == [{"name": "OLLAMA_CONTEXT_LENGTH", "wanted": "32768", "found": "4096"}]
    assert "HOME" not in found["wanted"] and "VENOM_OLLAMA_BINARY" not in found["wanted"]
    log(tmp_path, port, "32768")
    assert ollama_setup.compare(str(tmp_path), str(tmp_path))["differences"] == []


def test_what_a_server_said_that_does_not_run_any_more_counts_for_nothing(tmp_path: Path, port: int) -> None:
    with socket.socket() as once:
        once.bind(("127.0.0.1", 0))
        free = once.getsockname()[1]
    settings(tmp_path, free, OLLAMA_CONTEXT_LENGTH="32768")
    log(tmp_path, free, "4096")
    found = ollama_setup.compare(str(tmp_path), str(tmp_path))
    assert found["effective"] is None and found["differences"] == []


def test_a_host_without_the_role(tmp_path: Path) -> None:
    assert ollama_setup.compare(str(tmp_path), str(tmp_path)) == {"wanted": {}, "effective": None, "differences": []}


def test_releases_are_those_with_a_marker(tmp_path: Path) -> None:
    assert ollama_setup.find_releases(str(tmp_path / "none")) == {"current": None, "complete": []}
    for name in ("0.16.3", "0.17.0"):
        (tmp_path / name / "bin").mkdir(parents=True)
    (tmp_path / "0.17.0" / ".venom-0123").touch()
    (tmp_path / ".lock").touch()
    (tmp_path / "current").symlink_to("0.17.0")
    assert ollama_setup.find_releases(str(tmp_path)) == {"current": "0.17.0", "complete": ["0.17.0/.venom-0123"]}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/dev/kfd", {"nvidia": False, "amd": True}),
        ("/proc/driver/nvidia/gpus", {"nvidia": True, "amd": False}),
        ("/dev", {"nvidia": False, "amd": False}),
    ],
)
def test_devices(tmp_path: Path, path: str, wanted: dict[str, bool]) -> None:
    given = {"folder": str(tmp_path / "none"), "config_dir": str(tmp_path), "log_dir": str(tmp_path)}
    found = ollama_setup.describe(given, systemctl(), root_with(tmp_path, path))
    assert found["devices"] == wanted and set(found["groups"]) <= {"render", "video"} and found["foreign"] == []
