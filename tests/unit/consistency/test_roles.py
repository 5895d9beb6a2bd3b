# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles and playbooks say the same thing in every place where they say it."""
from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.venom.llm.tests.unit.consistency import templating

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())
PLAYBOOKS = {"site", "install", "activate", "verify", "status", "remove", "stop", "rollback", "diagnose", "monitoring", "mirror", "distribute"}
PLAYBOOKS |= {"bundle_export", "bundle_import", "compile_cache"}
_ENVIRONMENT = ("VENOM_RUNTIME_PROFILE", "MODELS_CACHE_DIR", "MODELS_MAX_DISK_GB", "HF_ENDPOINT", "HF_TOKEN", "VENOM_OLLAMA_PROFILE")
_USED = re.compile(r"\b_{0,2}venom_[a-z0-9_]+")


@functools.cache
def load(path: Path) -> t.Any:
    """The content of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def specs(role: str) -> dict[str, t.Any]:
    """The options of the entry point main of a role."""
    return load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]["main"].get("options") or {}


def defaults(role: str) -> dict[str, t.Any]:
    """The defaults of a role, as written."""
    return load(ROOT / "roles" / role / "defaults" / "main.yml") or {}


@functools.cache
def public_names(folder: Path) -> set[str]:
    """Every public variable of the collection that the files of a folder name."""
    texts = (path.read_text(encoding="utf-8") for pattern in ("*.yml", "*.j2") for path in folder.rglob(pattern))
    lines = (line for text in texts for line in text.splitlines() if not line.strip().startswith("tags:"))
    return {name for line in lines for name in _USED.findall(line) if not name.startswith("_")}


def test_there_are_roles() -> None:
    assert {"host", "vllm", "ollama", "models", "activation"} <= set(ROLES)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("part", ["README.md", "meta/main.yml", "meta/argument_specs.yml", "tasks/main.yml", "defaults/main.yml"])
def test_every_role_has_its_parts(role: str, part: str) -> None:
    assert (ROOT / "roles" / role / part).is_file()


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_name_the_same_variables(role: str) -> None:
    assert list(defaults(role)) == list(specs(role)) or sorted(defaults(role)) == sorted(specs(role))


@pytest.mark.parametrize(("role", "name"), [(role, name) for role in ROLES for name in specs(role)])
def test_default_is_the_documented_one(role: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in _ENVIRONMENT:
        monkeypatch.delenv(variable, raising=False)
    found = templating.render(defaults(role)[name], templating.trusted(defaults("host")))
    wanted = specs(role)[name]["default"]
    assert (found, type(found)) == (wanted, type(wanted)) or str(found) == str(wanted)


@pytest.mark.parametrize(
    ("variable", "value", "name", "wanted"),
    [
        ("VENOM_RUNTIME_PROFILE", "light", "venom_profile", "light"),
        ("MODELS_CACHE_DIR", "/srv/models", "venom_models_dir", "/srv/models"),
        ("MODELS_MAX_DISK_GB", "120", "venom_models_max_disk_gb", 120.0),
        ("HF_ENDPOINT", "https://hub.example.com", "venom_hf_endpoint", "https://hub.example.com"),
        ("HF_TOKEN", "token-of-a-test", "venom_hf_token", "token-of-a-test"),
    ],
)
def test_environment_of_the_controller_gives_the_default(
    variable: str, value: str, name: str, wanted: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    found = templating.render(defaults("host")[name], templating.trusted(defaults("host")))
    assert found == wanted or float(found) == wanted


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_that_a_role_uses_is_documented_somewhere(role: str) -> None:
    known = {name for other in ROLES for name in specs(other)}
    for other in ROLES:
        for entry in load(ROOT / "roles" / other / "meta" / "argument_specs.yml")["argument_specs"].values():
            known |= set(entry.get("options") or {})
    modules = {path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")}
    others = {"venom_models_result", "venom_activation_result", "venom_report", "venom_become"}
    assert public_names(ROOT / "roles" / role / "tasks") - known - modules - others == set()


@functools.cache
def names_in_files() -> set[str]:
    """What is named in the files that do something, and not only where variables are declared."""
    patterns = ((folder, pattern) for folder in ("roles", "playbooks", "templates") for pattern in ("*.yml", "*.j2"))
    paths = (path for folder, pattern in patterns for path in (ROOT / folder).rglob(pattern))
    texts = (path.read_text(encoding="utf-8") for path in paths if path.parent.name not in ("meta", "defaults"))
    return {name for text in texts for name in _USED.findall(text)}


@pytest.mark.parametrize("role", ROLES)
def test_every_documented_variable_is_used(role: str) -> None:
    used = set().union(*(public_names(ROOT / folder) for folder in ("roles", "playbooks", "templates")))
    in_files = names_in_files()
    assert [name for name in specs(role) if name not in in_files and name in used] == []


@pytest.mark.parametrize("role", ROLES)
def test_table_of_contents_stays_one(role: str) -> None:
    lines = (ROOT / "roles" / role / "tasks" / "main.yml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 70
    for task in load(ROOT / "roles" / role / "tasks" / "main.yml"):
        assert set(task) & {"ansible.builtin.import_tasks", "ansible.builtin.import_role", "ansible.builtin.include_tasks", "ansible.builtin.meta"}


@pytest.mark.parametrize("role", ROLES)
def test_every_file_that_tasks_name_is_there(role: str) -> None:
    folder = ROOT / "roles" / role / "tasks"
    for path in folder.glob("*.yml"):
        for name in re.findall(r"(?:import|include)_tasks: (\S+)", path.read_text(encoding="utf-8")):
            assert (folder / name).is_file(), f"{path.name} names {name}"


def test_playbooks_are_those_of_the_manual() -> None:
    assert {path.stem for path in (ROOT / "playbooks").glob("*.yml")} >= PLAYBOOKS


@pytest.mark.parametrize("playbook", sorted(PLAYBOOKS))
def test_every_play_can_be_aimed_and_run_without_root(playbook: str) -> None:
    plays = load(ROOT / "playbooks" / f"{playbook}.yml")
    for play in (play for play in plays if "ansible.builtin.import_playbook" not in play):
        assert play["hosts"] == "{{ venom_hosts | default('venom') }}"
        assert play["become"] == "{{ venom_become | default(true) | bool }}"
        assert all(task.get("tags") for task in play["tasks"])


def test_no_shell_and_no_ignored_errors() -> None:
    for folder in ("roles", "playbooks"):
        for path in (ROOT / folder).rglob("*.yml"):
            text = path.read_text(encoding="utf-8")
            assert "ansible.builtin.shell" not in text, path
            assert "ignore_errors" not in text, path


def test_readmes_are_generated_from_the_argument_specs() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "tools" / "role_readme.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_fleet_example_pins_and_activates_what_it_lists() -> None:
    fleet = load(ROOT / "inventories" / "fleet" / "group_vars" / "venom.yml")
    names = {model["name"] for model in fleet["venom_models"]}
    assert set(fleet["venom_active"].values()) <= names
    assert all(re.fullmatch(r"[0-9a-f]{40}", model["revision"]) for model in fleet["venom_models"])


def test_inventories_set_only_variables_that_exist() -> None:
    known = {name for role in ROLES for name in specs(role)} | {"venom_home", "venom_become", "venom_can_use_units"}
    for path in (ROOT / "inventories").rglob("*vars/*.yml"):
        assert {name for name in load(path) if name.startswith("venom")} <= known, json.dumps(str(path))
