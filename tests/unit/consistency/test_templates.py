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
from ansible_collections.venom.llm.plugins.module_utils.compile_cache_place import CACHE_VARIABLES
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
    return render_text((ROOT / "templates" / template).read_text(encoding="utf-8"), **overrides)


def render_text(text: str, **overrides: t.Any) -> str:
    """The same with a text for the template."""
    variables: dict[str, t.Any] = {"_venom_resolved_supervisor": "systemd"}
    for role in ("host", "vllm", "ollama"):
        for part in ("defaults", "vars"):
            content = yaml.safe_load((ROOT / "roles" / role / part / "main.yml").read_text(encoding="utf-8"))
            variables.update({name: value for name, value in content.items() if name not in variables})
    # Operators' values are data: what looks like a template in them stays as it is.
    return str(templating.render(text, {**templating.trusted(variables), **overrides}, [str(ROOT / "templates")], escape_backslashes=False))


def unit_lines(template: str = "venom-vllm.service.j2", **overrides: t.Any) -> list[str]:
    """The settings of a rendered unit, without comments."""
    return [line for line in render(template, **overrides).splitlines() if line and not line.startswith("#")]


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


def test_what_is_compiled_lies_where_it_is_carried_from() -> None:
    variables = envfile.parse(render("vllm.env.j2"))
    assert {name: variables[name] for name in CACHE_VARIABLES} == {name: f"/var/lib/venom/vllm/{below}" for name, below in CACHE_VARIABLES.items()}


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
        "ReadOnlyPaths=/run",
        "TemporaryFileSystem=/dev/shm:mode=1777,size=50%,nosuid,nodev",
    ],
)
def test_unit_has(setting: str) -> None:
    assert setting in unit_lines()


@pytest.mark.parametrize("setting", ["PrivateDevices", "MemoryDenyWriteExecute", "ProtectClock", "ProcSubset"])
def test_units_leave_out_what_kills_a_gpu_server(setting: str) -> None:
    assert not [line for line in unit_lines() + ollama_lines() if line.startswith(setting)]


def test_unit_opened_to_a_network_says_what_it_gave_up() -> None:
    text = render("venom-vllm.service.j2", venom_vllm_host="0.0.0.0")
    assert "\nIPAddressDeny" not in text
    assert "was given up" in text


@pytest.mark.parametrize("runtime", ["vllm", "ollama"])
def test_log_rotation_keeps_the_open_file(runtime: str) -> None:
    text = render("logrotate.j2", **{f"venom_{runtime}_log_keep": "3", "_venom_rotated": templating.trusted(f"{{{{ _venom_{runtime}_rotated }}}}")})
    assert f"/var/log/venom/{runtime}.log {{" in text
    assert "copytruncate" in text and "maxsize 100M" in text and "su venom venom" in text and "rotate 3" in text


OLLAMA_UNIT = "venom-ollama.service.j2"
PROFILES = {
    "balanced-12-24gb": ("32768", "2", "256", "1", "q8_0", "30m"),
    "low-vram-8-12gb": ("16384", "1", "128", "1", "q4_0", "20m"),
    "max-context-24gb-plus": ("65536", "1", "128", "1", "q8_0", "45m"),
}
TUNED = tuple(f"OLLAMA_{name}" for name in ("CONTEXT_LENGTH", "NUM_PARALLEL", "MAX_QUEUE", "FLASH_ATTENTION", "KV_CACHE_TYPE", "KEEP_ALIVE"))


def seen(nvidia: bool = False, amd: bool = False, groups: t.Sequence[str] = ()) -> dict[str, t.Any]:
    """What the preflight of the role keeps of a host."""
    return {"foreign": [], "devices": {"nvidia": nvidia, "amd": amd}, "groups": list(groups)}


def ollama_lines(**overrides: t.Any) -> list[str]:
    """The settings of the unit of Ollama, without comments."""
    return unit_lines(OLLAMA_UNIT, **{"_venom_ollama_seen": seen(), **overrides})


def ollama_variables(**overrides: t.Any) -> dict[str, str]:
    """The environment of the server."""
    return envfile.parse(render("ollama.env.j2", **overrides))


def test_both_units_are_hardened_alike() -> None:
    own = (
        "Description", "User", "Group", "WorkingDirectory", "EnvironmentFile", "ConditionPathExists", "ExecStart", "StandardOutput", "Timeout",
        "ReadWritePaths", "DeviceAllow", "TemporaryFileSystem", "ReadOnlyPaths",
    )  # fmt: skip
    one, other = ([line for line in lines if not line.startswith(own)] for lines in (unit_lines(), ollama_lines()))
    assert one == other and len(one) > 40


@pytest.mark.parametrize(
    "setting",
    [
        "EnvironmentFile=/etc/venom/ollama.env",
        "ExecStart=/opt/venom/ollama/current/bin/ollama serve",
        "StandardOutput=append:/var/log/venom/ollama.log",
        "ReadWritePaths=/var/lib/venom/ollama /var/lib/ollama",
        "User=venom",
        "Group=venom",
        "TimeoutStopSec=60",
        "ReadOnlyPaths=/run",
        "TemporaryFileSystem=/dev/shm:mode=1777,size=50%,nosuid,nodev",
    ],
)
def test_unit_of_ollama_has(setting: str) -> None:
    assert setting in ollama_lines()


def test_what_vllm_compiles_finds_the_programs_of_its_environment() -> None:
    assert envfile.parse(render("vllm.env.j2"))["PATH"].split(":")[0] == "/opt/venom/vllm/current/bin"
    own = envfile.parse(render("vllm.env.j2", venom_vllm_environment={"PATH": "/usr/bin"}))
    assert own["PATH"] == "/usr/bin", "an operator's word wins"


def test_unit_of_ollama_with_the_account_of_another_installation() -> None:
    lines = ollama_lines(venom_ollama_account="ollama", venom_ollama_models_dir="/usr/share/ollama/.ollama/models")
    assert "User=ollama" in lines and not [line for line in lines if line.startswith("Group=")]
    assert "ReadWritePaths=/var/lib/venom/ollama /usr/share/ollama/.ollama/models" in lines


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        ({}, []),
        ({"_venom_ollama_seen": seen(nvidia=True)}, ["DeviceAllow=char-nvidia* rw"]),
        ({"_venom_ollama_seen": seen(amd=True)}, ["DeviceAllow=/dev/kfd rw", "DeviceAllow=char-drm rw"]),
        (
            {"_venom_ollama_seen": seen(amd=True, groups=["render", "video"])},
            ["DeviceAllow=/dev/kfd rw", "DeviceAllow=char-drm rw", "SupplementaryGroups=render video"],
        ),
        ({"_venom_ollama_seen": seen(nvidia=True, amd=True), "venom_ollama_accelerator": "cpu"}, []),
        ({"venom_ollama_accelerator": "nvidia"}, ["DeviceAllow=char-nvidia* rw"]),
    ],
    ids=str,
)
def test_unit_of_ollama_allows_the_devices_of_the_host_only(overrides: dict[str, t.Any], wanted: list[str]) -> None:
    lines = ollama_lines(**overrides)
    assert "DevicePolicy=closed" in lines
    assert [line for line in lines if line.startswith(("DeviceAllow", "SupplementaryGroups"))] == wanted


@pytest.mark.parametrize("option", [{"venom_ollama_host": "0.0.0.0"}, {"venom_ollama_allow_network": True}, {"venom_ollama_allow_network": "true"}])
def test_unit_of_ollama_opened_says_what_it_gave_up(option: dict[str, t.Any]) -> None:
    text = render(OLLAMA_UNIT, _venom_ollama_seen=seen(), **option)
    assert "\nIPAddressDeny" not in text and "was given up" in text
    assert "\nIPAddressDeny=any\nIPAddressAllow=localhost\n" in render(OLLAMA_UNIT, _venom_ollama_seen=seen())


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_a_tuning_profile_is_what_the_manual_says(profile: str) -> None:
    variables = ollama_variables(venom_ollama_tuning_profile=profile)
    assert tuple(variables[name] for name in TUNED) == PROFILES[profile]
    assert (variables["OLLAMA_LOAD_TIMEOUT"], variables["OLLAMA_NO_CLOUD"]) == ("10m", "1")


@pytest.mark.parametrize(
    ("option", "value", "variable", "wanted"),
    [
        ("venom_ollama_context_length", 8192, "OLLAMA_CONTEXT_LENGTH", "8192"),
        ("venom_ollama_num_parallel", "4", "OLLAMA_NUM_PARALLEL", "4"),
        ("venom_ollama_max_queue", 16, "OLLAMA_MAX_QUEUE", "16"),
        ("venom_ollama_flash_attention", False, "OLLAMA_FLASH_ATTENTION", "0"),
        ("venom_ollama_flash_attention", "false", "OLLAMA_FLASH_ATTENTION", "0"),
        ("venom_ollama_flash_attention", "True", "OLLAMA_FLASH_ATTENTION", "1"),
        ("venom_ollama_flash_attention", "maybe", "OLLAMA_FLASH_ATTENTION", "maybe"),
        ("venom_ollama_kv_cache_type", "f16", "OLLAMA_KV_CACHE_TYPE", "f16"),
        ("venom_ollama_keep_alive", -1, "OLLAMA_KEEP_ALIVE", "-1"),
        ("venom_ollama_load_timeout", "20m", "OLLAMA_LOAD_TIMEOUT", "20m"),
        ("venom_ollama_origins", ["https://a", "https://b"], "OLLAMA_ORIGINS", "https://a,https://b"),
        ("venom_ollama_models_dir", "/srv/ollama", "OLLAMA_MODELS", "/srv/ollama"),
        ("venom_ollama_port", "11500", "OLLAMA_HOST", "127.0.0.1:11500"),
        ("venom_ollama_host", "::1", "OLLAMA_HOST", "[::1]:11434"),
        ("venom_ollama_environment", {"CUDA_VISIBLE_DEVICES": "0,1 $x"}, "CUDA_VISIBLE_DEVICES", "0,1 $x"),
    ],
)
def test_a_single_setting_overrides_the_profile(option: str, value: t.Any, variable: str, wanted: str) -> None:
    variables = ollama_variables(**{option: value})
    assert variables[variable] == wanted
    changed = {name for name, value in ollama_variables().items() if variables.get(name) != value}
    assert changed <= {variable}


def test_settings_of_ollama_are_complete_without_any_override() -> None:
    variables = ollama_variables()
    assert set(variables) == {*TUNED, "HOME", "OLLAMA_HOST", "OLLAMA_LOAD_TIMEOUT", "OLLAMA_MODELS", "OLLAMA_NO_CLOUD", "VENOM_OLLAMA_BINARY"}
    assert (variables["HOME"], variables["VENOM_OLLAMA_BINARY"]) == ("/var/lib/venom/ollama", "/opt/venom/ollama/current/bin/ollama")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{digest}  ./ollama-linux-amd64.tar.zst\n", True),
        ("{digest}  ollama-linux-amd64.tar.zst\n", True),
        ("{digest} *ollama-linux-amd64.tar.zst\n", True),
        ("{other}  ./ollama-linux-amd64-rocm.tar.zst\n{digest}  ./ollama-linux-amd64.tar.zst\n", True),
        ("{other}  ./ollama-linux-amd64.tar.zst.sig\n", False),
        ("{other}  ./Xollama-linux-amd64.tar.zst\n", False),
        ("abc  ollama-linux-amd64.tar.zst\n", False),
    ],
)
def test_the_digest_of_the_archive_is_read_from_the_list_of_the_release(text: str, wanted: bool) -> None:
    digest, other = "a" * 64, "b" * 64
    content = text.replace("{digest}", digest).replace("{other}", other)
    host = {"_venom_observed": {"python": {"machine": "x86_64"}}, "__venom_ollama_sums": {"content": content}}
    assert render_text("{{ _venom_ollama_sha256 }}", **host) == (digest if wanted else "")
