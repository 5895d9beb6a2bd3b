# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory, processors, disk and the operating system."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import host, host_report
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeHost


def test_memory_is_what_the_kernel_says(tmp_path: Path) -> None:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    250 kB\nHugePages_Total:   0\n")
    memory = host.read_memory(str(path))
    assert (memory.total, memory.available, memory.used) == (1024000, 256000, 768000)
    assert host.describe_memory(memory)["used_percent"] == 75.0


def test_busy_share_is_of_all_processors_and_without_waiting_for_disks(tmp_path: Path) -> None:
    path = tmp_path / "stat"
    path.write_text("cpu  100 0 100 700 100 0 0 0 0 0\n")
    share = host.cpu_percent(0.1, str(path), lambda seconds: None if path.write_text("cpu  130 0 120 740 110 0 0 0 0 0\n") else None)
    assert share == 50.0


def test_a_blob_with_many_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "a").write_bytes(b"x" * 1000)
    (tmp_path / "hf").mkdir()
    os.link(tmp_path / "blobs" / "a", tmp_path / "hf" / "model")
    (tmp_path / "hf" / "other").write_bytes(b"y" * 24)
    assert host.folder_bytes(str(tmp_path)) == 1024 and host.folder_bytes(str(tmp_path / "none")) == 0
    disk = host.describe_disk(str(tmp_path), 1.0)
    assert disk["models_bytes"] == 1024 and disk["limit_gb"] == 1.0 and disk["total_gb"] >= disk["free_gb"]


def test_the_disk_of_a_folder_that_does_not_exist_yet_is_that_of_its_parent(tmp_path: Path) -> None:
    assert host.disk(str(tmp_path / "a" / "b"))["total_bytes"] == host.disk(str(tmp_path))["total_bytes"]


@pytest.mark.parametrize(("part", "whole", "share"), [(1, 4, 25.0), (None, 4, None), (1, None, None), (1, 0, None)])
def test_percent(part: float | None, whole: float | None, share: float | None) -> None:
    assert host.percent(part, whole) == share


def test_os_release(tmp_path: Path) -> None:
    path = tmp_path / "os-release"
    path.write_text('NAME="Debian GNU/Linux"\n# comment\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    assert host.os_release(str(path)) == "Debian GNU/Linux 12 (bookworm)"
    assert host.os_release(str(tmp_path / "none")) == "Linux"


def test_the_report_names_models_and_who_listens(tmp_path: Path) -> None:
    fake = FakeHost(tmp_path)
    fake.install("lab/a")
    pid = fake.activate("lab/a")["status"]["pid"]
    report = host_report.describe(str(tmp_path / "models"), str(tmp_path / "config"), 1.0)
    assert report["models"]["count"] == 1 and report["models"]["installed"][0]["name"] == "lab/a"
    assert [listener["pid"] for listener in report["runtimes"][0]["listeners"]] == [pid]
    fake.call(state="stopped")
    fake.settings_path.write_text("VENOM_VLLM_PORT=x\n")
    assert "'x'" in host_report.describe(str(tmp_path / "models"), str(tmp_path / "config"))["runtimes"][0]["error_message"]
    assert host_report.describe(str(tmp_path / "none"), str(tmp_path / "none"))["runtimes"] == []
