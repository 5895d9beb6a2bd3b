# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtimes of a host, each with its neighbours."""
from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import runtime_site, specs
from ansible_collections.venom.llm.plugins.module_utils.supervisors.process import ProcessSupervisor
from ansible_collections.venom.llm.plugins.module_utils.supervisors.systemd import SystemdSupervisor


def params(root: Path, name: str, supervisor: str = "process") -> dict[str, str]:
    folders = {f"{folder}_dir": str(root / folder) for folder in ("config", "models", "log", "run")}
    return {"name": name, "supervisor": supervisor, "account": "", **folders}


@pytest.mark.parametrize("name", specs.RUNTIME_NAMES)
def test_a_runtime_with_its_files(tmp_path: Path, name: str) -> None:
    site = runtime_site.make_site(params(tmp_path, name))
    assert site.runtime.name == name and site.runtime.unit == f"venom-{name}.service" and site.neighbours == ()
    assert site.runtime.trial_path == str(tmp_path / "run" / f"{name}.trial.env") and site.lock_path == str(tmp_path / "run" / f"{name}.lock")
    assert isinstance(site.supervisor, ProcessSupervisor) and site.supervisor.unit == f"venom-{name}"
    assert site.supervisor.log_path == str(tmp_path / "log" / f"{name}.log") and not site.server.is_alive()
    systemd = runtime_site.make_site(params(tmp_path, name, "systemd")).supervisor
    assert isinstance(systemd, SystemdSupervisor) and systemd.unit == site.runtime.unit


def test_only_what_is_configured_is_a_neighbour(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "ollama.env").touch()
    assert [site.runtime.name for site in runtime_site.make_site(params(tmp_path, "vllm")).neighbours] == ["ollama"]
    assert runtime_site.make_site(params(tmp_path, "ollama")).neighbours == ()


def test_the_modules_offer_every_runtime() -> None:
    assert sorted(runtime_site.RUNTIMES) == list(specs.RUNTIME_NAMES)
