# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file for node_exporter: of a real host, of one that cannot be read, and never in part."""
from __future__ import annotations

import os
import stat
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import exporter, metrics
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeHost


def params(fake: FakeHost) -> dict[str, t.Any]:
    return fake.params(alert_percent=85.0, max_disk_gb=50.0)


def line(text: str, start: str) -> float:
    (found,) = [each.rpartition(" ")[2] for each in text.splitlines() if each.startswith(start)]
    return float(found)


def test_a_serving_host(tmp_path: Path) -> None:
    fake = FakeHost(tmp_path)
    fake.install("lab/a")
    fake.activate("lab/a")
    (tmp_path / "textfile").mkdir()
    path = tmp_path / "textfile" / "venom.prom"
    exporter.export(str(path), params(fake))
    text = path.read_text()
    assert line(text, "venom_scrape_success") == 1 and abs(line(text, "venom_scrape_timestamp_seconds") - time.time()) < 60
    assert line(text, 'venom_runtime_up{runtime="vllm"}') == 1 and line(text, 'venom_runtime_alias_ok{runtime="vllm"}') == 1
    assert 'model="lab/a"' in text and line(text, "venom_models_installed") == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o644 and os.listdir(path.parent) == ["venom.prom"]
    fake.call(state="stopped")
    exporter.export(str(path), params(fake))
    assert line(path.read_text(), 'venom_runtime_up{runtime="vllm"}') == 0
    assert line(path.read_text(), 'venom_runtime_drift{runtime="vllm",kind="not_running"}') == 1


def test_a_host_where_nothing_is_installed(tmp_path: Path) -> None:
    fake = FakeHost(tmp_path)
    fake.settings_path.unlink()
    exporter.export(str(tmp_path / "venom.prom"), params(fake))
    text = (tmp_path / "venom.prom").read_text()
    assert line(text, "venom_scrape_success") == 1 and "venom_runtime_" not in text


def test_a_host_that_cannot_be_read_says_so_and_nothing_old(tmp_path: Path) -> None:
    path = tmp_path / "venom.prom"
    path.write_text("venom_runtime_up 1\n")

    def broken(params: t.Mapping[str, t.Any]) -> list[metrics.Sample]:
        raise RuntimeError("the host is half broken")

    with pytest.raises(RuntimeError, match="half broken"):
        exporter.export(str(path), {"alert_percent": 85.0}, broken)
    text = path.read_text()
    assert line(text, "venom_scrape_success") == 0 and line(text, "venom_scrape_timestamp_seconds") > 0 and "venom_runtime_up" not in text


def test_a_record_without_sense_is_such_a_failure(tmp_path: Path) -> None:
    fake = FakeHost(tmp_path)
    (tmp_path / "config" / "runtime.json").write_text("{broken")
    with pytest.raises(Exception, match="runtime.json"):
        exporter.export(str(tmp_path / "venom.prom"), params(fake))
    assert line((tmp_path / "venom.prom").read_text(), "venom_scrape_success") == 0


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "venom.prom"
    path.write_text("old\n")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        exporter.export(str(path), {"alert_percent": 85.0}, lambda params: [])
    assert path.read_text() == "old\n" and os.listdir(tmp_path) == ["venom.prom"]
