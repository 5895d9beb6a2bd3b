# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit and the environment file say to systemd what the process supervisor starts by itself."""
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.venom.llm.plugins.module_utils import envfile
from ansible_collections.venom.llm.plugins.module_utils.runtimes import vllm
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active
from ansible_collections.venom.llm.tests.unit.consistency import templating

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = [
    "--plain=1", "two words", "it's", 'say "so"', "back\\slash", "$HOME ${HOME} `id`", '{"a": {"b": "it\'s \\\\ $x"}}',
    "%h", "-", "ü", "#no", "a;b",
]  # fmt: skip


def render(template: str, **overrides: t.Any) -> str:
    """A shared template with the defaults of the roles and these overrides."""
    variables: dict[str, t.Any] = {"_venom_resolved_supervisor": "systemd"}
    for role in ("host", "vllm"):
        for part in ("defaults", "vars"):
            content = yaml.safe_load((ROOT / "roles" / role / part / "main.yml").read_text(encoding="utf-8"))
            variables.update({name: value for name, value in content.items() if name not in variables})
    text = (ROOT / "templates" / template).read_text(encoding="utf-8")
    # Operators' values are data: what looks like a template in them stays as it is.
    return str(templating.render(text, {**templating.trusted(variables), **overrides}, escape_backslashes=False))


def unit_lines(**overrides: t.Any) -> list[str]:
    """The settings of the rendered unit, without comments."""
    return [line for line in render("venom-vllm.service.j2", **overrides).splitlines() if line and not line.startswith("#")]


def start_words(variables: dict[str, str]) -> list[str]:
    """The argument list that systemd makes of ExecStart= with these variables (systemd.service(5), command lines)."""
    (line,) = (line for line in unit_lines() if line.startswith("ExecStart="))
    words: list[str] = []
    for word in line.partition("=")[2].split():
        if word.startswith("${"):
            words.append(variables[word[2:-1]])
        elif word.startswith("$"):
            words.extend(envfile.split_words(variables[word[1:]]))
        else:
            words.append(word)
    return words


@pytest.mark.parametrize("arguments", [[], ["--max-model-len", "256"], HOSTILE, *([argument] for argument in HOSTILE)])
def test_both_supervisors_start_the_same_words(arguments: list[str]) -> None:
    settings = envfile.parse(render("vllm.env.j2", venom_vllm_args=arguments))
    active = Active(alias="gemma-2b-it", path="/var/lib/venom/models/hf/google--gemma-2b-it@9698")
    variables = {**settings, **vllm.active_variables(active)}
    wanted = vllm.command(vllm.VllmSettings.from_variables(settings, "vllm.env"), active)
    assert start_words(variables) == list(wanted)
    assert list(wanted[-len(arguments) :] if arguments else []) == arguments


@pytest.mark.parametrize("value", HOSTILE)
def test_environment_of_the_operator_arrives_unchanged(value: str) -> None:
    assert envfile.parse(render("vllm.env.j2", venom_vllm_environment={"WANTED": value}))["WANTED"] == value


def test_environment_is_offline_and_stays_in_its_folder() -> None:
    variables = envfile.parse(render("vllm.env.j2"))
    assert (variables["HF_HUB_OFFLINE"], variables["VLLM_NO_USAGE_STATS"], variables["DO_NOT_TRACK"]) == ("1", "1", "1")
    assert {name: value for name, value in variables.items() if value.startswith("/") and name != vllm.PYTHON} != {}
    for name in ("HOME", "HF_HOME", "XDG_CACHE_HOME", "VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        assert variables[name].startswith("/var/lib/venom/vllm")


@pytest.mark.parametrize(
    ("supervisor", "state_dir", "wanted"),
    [
        ("systemd", "/var/lib/venom", None),
        ("process", "/var/lib/venom", "/var/lib/venom/vllm/tmp"),
        ("process", "/" + "long/" * 20 + "state", None),
    ],
)
def test_sockets_lie_in_a_folder_of_the_server_where_their_path_fits(supervisor: str, state_dir: str, wanted: str | None) -> None:
    variables = envfile.parse(render("vllm.env.j2", _venom_resolved_supervisor=supervisor, venom_state_dir=state_dir))
    assert variables.get("TMPDIR") == wanted


def test_numbers_of_a_survey_arrive_as_text() -> None:
    assert "VENOM_VLLM_PORT=8002\n" in render("vllm.env.j2", venom_vllm_port="8002")
    assert "LimitNOFILE=1024" in unit_lines(venom_vllm_open_files="1024")


@pytest.mark.parametrize(
    "setting",
    [
        "LimitCORE=0",
        "KillMode=control-group",
        "Restart=on-failure",
        "ConditionPathExists=|/etc/venom/vllm.active.env",
        "ConditionPathExists=|/run/venom/vllm.trial.env",
        "EnvironmentFile=/etc/venom/vllm.env",
        "EnvironmentFile=-/etc/venom/vllm.active.env",
        "EnvironmentFile=-/run/venom/vllm.trial.env",
        "StandardOutput=append:/var/log/venom/vllm.log",
        "User=venom",
        "ProtectHome=yes",
        "DevicePolicy=closed",
        "IPAddressDeny=any",
        "StartLimitBurst=5",
    ],
)
def test_unit_has(setting: str) -> None:
    assert setting in unit_lines()


@pytest.mark.parametrize("setting", ["PrivateDevices", "MemoryDenyWriteExecute", "ProtectClock", "ProcSubset"])
def test_unit_leaves_out_what_kills_a_gpu_server(setting: str) -> None:
    assert not [line for line in unit_lines() if line.startswith(setting)]


def test_unit_opened_to_a_network_says_what_it_gave_up() -> None:
    text = render("venom-vllm.service.j2", venom_vllm_host="0.0.0.0")
    assert "\nIPAddressDeny" not in text
    assert "was given up" in text


def test_log_rotation_keeps_the_open_file() -> None:
    text = render("logrotate.j2")
    assert "copytruncate" in text and "maxsize 100M" in text and "su venom venom" in text
