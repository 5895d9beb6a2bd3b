# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What starts a second server at boot, on file systems as hosts have them."""
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.supervisors.autostarts import find_autostarts

OLLAMA = "[Service]\nExecStart=/usr/local/bin/ollama serve\n[Install]\nWantedBy=multi-user.target\n"
Put = t.Callable[..., None]


@pytest.fixture()
def put(tmp_path: Path) -> Put:
    def write(path: str, content: str = "", link: str | None = None) -> None:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(link) if link else target.write_text(content)

    return write


def enable(put: Put, name: str, folder: str = "etc/systemd/system") -> None:
    put(f"etc/systemd/system/multi-user.target.wants/{name}", link=f"/{folder}/{name}")


def names(root: Path, mark: str = "ollama", own: str = "venom-ollama.service") -> list[str]:
    return [item.name for item in find_autostarts(mark, own, str(root))]


def test_an_enabled_unit_is_found_with_its_command_and_a_disabled_one_is_not(put: Put, tmp_path: Path) -> None:
    put("etc/systemd/system/ollama.service", OLLAMA)
    assert names(tmp_path) == []
    enable(put, "ollama.service")
    (found,) = find_autostarts("ollama", "venom-ollama.service", str(tmp_path))
    assert found.command == "/usr/local/bin/ollama serve"
    assert found.path == "/etc/systemd/system/multi-user.target.wants/ollama.service"
    assert found.describe() == f"ollama.service ({found.path}): /usr/local/bin/ollama serve"


def test_our_own_unit_is_none_and_neither_is_what_only_lies_in_such_a_folder(put: Put, tmp_path: Path) -> None:
    for name, command in (("venom-ollama.service", "/opt/ollama/current/bin/ollama serve"), ("backup.service", "/bin/tar c /var/lib/ollama")):
        put(f"usr/lib/systemd/system/{name}", f"[Service]\nExecStart={command}\n")
        enable(put, name, "usr/lib/systemd/system")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("mark", "name", "command"),
    [
        ("vllm", "llm.service", "/opt/x/bin/python -m vllm.entrypoints.openai.api_server --model /m"),
        ("vllm", "llm.service", "-/opt/x/bin/vllm serve /m"),
        ("ollama", "llm.service", '"/opt/o/ollama" serve'),
        ("ollama", "snap.ollama.listener.service", "/usr/bin/snap run ollama.listener"),
        ("vllm", "llm.service", "/usr/bin/docker run --rm --gpus all vllm/vllm-openai:latest"),
        ("vllm", "vllm.service", "/usr/local/bin/wrapper"),
    ],
)
def test_a_server_is_known_by_its_name_or_its_program(put: Put, tmp_path: Path, mark: str, name: str, command: str) -> None:
    put(f"lib/systemd/system/{name}", f"[Service]\nExecStart={command}\n")
    enable(put, name, "lib/systemd/system")
    assert names(tmp_path, mark, "venom-vllm.service") == [name]
    assert names(tmp_path, "other", "venom-vllm.service") == []


def test_drop_ins_instances_sockets_and_timers_count(put: Put, tmp_path: Path) -> None:
    put("etc/systemd/system/plain.service", "[Service]\nExecStart=/bin/true\n")
    put("etc/systemd/system/plain.service.d/x.conf", "[Service]\nExecStart=\nExecStart=/usr/bin/ollama serve\n")
    put("usr/lib/systemd/system/run@.service", "[Service]\nExecStart=/usr/bin/ollama %i\n")
    put("usr/lib/systemd/system/gate.socket", "[Socket]\nListenStream=11434\nService=behind.service\n")
    put("usr/lib/systemd/system/behind.service", OLLAMA)
    put("usr/lib/systemd/system/later.timer", "[Timer]\nOnBootSec=1\n")
    put("usr/lib/systemd/system/later.service", OLLAMA)
    put("usr/lib/systemd/system/mine.timer", "[Timer]\nOnBootSec=1\nUnit=venom-ollama.service\n")
    for name in ("plain.service", "run@serve.service", "gate.socket", "later.timer", "mine.timer"):
        enable(put, name)
    assert names(tmp_path) == ["gate.socket", "later.timer", "plain.service", "run@serve.service"]


def test_a_masked_unit_and_a_link_to_nothing_start_nothing(put: Put, tmp_path: Path) -> None:
    put("usr/lib/systemd/system/ollama.service", OLLAMA)
    enable(put, "ollama.service", "usr/lib/systemd/system")
    put("etc/systemd/system/ollama.service", link="/dev/null")
    enable(put, "ollama-old.service")
    assert names(tmp_path) == []


def test_init_scripts_and_cron_count(put: Put, tmp_path: Path) -> None:
    put("etc/rc3.d/S20ollama")
    put("etc/rc3.d/K20ollama-old")
    put("var/spool/cron/crontabs/anna", "# ollama\n0 3 * * * ollama pull x\n@reboot /usr/local/bin/ollama serve\n")
    found = find_autostarts("ollama", "venom-ollama.service", str(tmp_path))
    assert [(item.name, item.command) for item in found] == [
        ("cron /var/spool/cron/crontabs/anna", "/usr/local/bin/ollama serve"),
        ("ollama", ""),
    ]


def test_a_host_without_any_of_it_has_none(tmp_path: Path) -> None:
    assert names(tmp_path) == [] and names(tmp_path / "missing") == []
