# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of AWX data, execution environments and rulebooks share: venvs beside the toolchain's, and what playbooks take."""
from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import yaml

from ansible_collections.venom.llm.tests.unit.consistency.templating import render, trusted
from lab.settings import CHECKOUT, Settings

CACHE = Settings.from_env().cache
PYTHON = "{}.{}".format(*sys.version_info[:2])


def venv(name: str, requirements: t.Sequence[str]) -> Path:
    """The programs of a venv in the lab's cache with what pip is told to install, made once by whoever comes first."""
    folder = CACHE / f"{name}-{PYTHON}"
    stamp = folder / ".complete"
    wanted = "\n".join(requirements)
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}-{PYTHON}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            pip = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            done = subprocess.run([*pip, *requirements], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            stamp.write_text(wanted, encoding="utf-8")
    return folder / "bin"


def tools() -> Path:
    """The programs of tests/requirements/automation.txt."""
    lines = (CHECKOUT / "tests/requirements/automation.txt").read_text(encoding="utf-8").splitlines()
    return venv("automation", [line for line in lines if line and not line.startswith("#")])


def environment(*programs: Path, **more: str) -> dict[str, str]:
    """The environment of a program that shall see nothing of this checkout but what it is given; ``programs`` come first on PATH."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "HF_", "VENOM_", "PYTHONPATH"))}
    path = os.pathsep.join([*map(str, programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**kept, "PATH": path, "ANSIBLE_NOCOLOR": "1", **more}


def load(path: Path) -> t.Any:
    """The content of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@functools.cache
def playbooks() -> dict[str, Path]:
    """The playbooks of the collection by their fully qualified names."""
    return {f"venom.llm.{path.stem}": path for path in sorted((CHECKOUT / "playbooks").glob("*.yml"))}


@functools.cache
def specs() -> dict[str, dict[str, t.Any]]:
    """Every option of every entry point of every role. Where several have one, the entry point main has the word."""
    found: dict[str, dict[str, t.Any]] = {}
    for path in sorted((CHECKOUT / "roles").glob("*/meta/argument_specs.yml")):
        entries = load(path)["argument_specs"]
        for name in sorted(entries, key=lambda name: name == "main"):
            found.update(entries[name].get("options") or {})
    return found


def dummy_collection(folder: Path, playbook_texts: t.Mapping[str, str]) -> Path:
    """A collections path with a venom.llm that has this checkout's rulebooks, and playbooks of which the test decides what they do."""
    root = folder / "collections/ansible_collections/venom/llm"
    (root / "playbooks").mkdir(parents=True)
    shutil.copytree(CHECKOUT / "extensions", root / "extensions")
    shutil.copy(CHECKOUT / "galaxy.yml", root)
    for name, text in playbook_texts.items():
        (root / "playbooks" / f"{name}.yml").write_text(text, encoding="utf-8")
    return folder / "collections"


def aap_data(**settings: t.Any) -> dict[str, t.Any]:
    """The variables for infra.aap_configuration, rendered with the settings of extensions/aap, some of them replaced."""
    folder = CHECKOUT / "extensions/aap/configuration"
    values = {**load(folder / "settings.yml"), **settings}
    found: dict[str, t.Any] = {}
    for path in sorted(folder.glob("*.yml")):
        if path.name != "settings.yml":
            content = load(path)
            assert not set(content) & set(found), path
            found.update(content)
    return t.cast("dict[str, t.Any]", render(found, trusted(values)))
