# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role for Ollama has to know of a host: servers that others installed, devices, and whether its own settings are in effect."""
from __future__ import annotations

import grp
import os
import re
import shlex
import typing as t
from dataclasses import asdict, dataclass

from ansible_collections.venom.llm.plugins.module_utils import envfile, processes
from ansible_collections.venom.llm.plugins.module_utils.runtimes import ollama_config
from ansible_collections.venom.llm.plugins.module_utils.supervisors.systemd import Run, parse_show, run_command

#: The unit of Ollama's own install script, and those of its snap.
FOREIGN_UNITS = ("ollama.service", "snap.ollama.*.service")
_PROPERTIES = "Id,ActiveState,UnitFileState,FragmentPath,Environment"
FOREIGN_PROGRAMS = ("/usr/local/bin/ollama", "/usr/bin/ollama", "/snap/bin/ollama")
#: The home of the account that the install script makes, and the data of the snap, each with its models.
FOREIGN_STORES = ("/usr/share/ollama/.ollama/models", "/var/snap/ollama/common/models")
_GROUPS = ("render", "video")
#: How the names of the role's markers begin.
MARKER = ".venom-"


@dataclass(frozen=True)
class Foreign:
    """Something of Ollama that this collection did not install. ``kind`` is unit, program or models; ``runs`` and ``enabled`` are of a unit."""

    kind: str
    path: str
    name: str
    runs: bool = False
    enabled: bool = False
    models_dir: str | None = None


def describe(params: t.Mapping[str, t.Any], run: Run = run_command, root: str = "/") -> dict[str, t.Any]:
    """One call of ``venom_ollama_info``; ``root`` is the root of the file system that is looked at."""
    foreign = find_foreign(run, root)
    return {
        "foreign": [asdict(each) for each in foreign],
        "devices": {
            "nvidia": any(os.path.exists(_below(root, path)) for path in ("/proc/driver/nvidia/gpus", "/dev/nvidiactl")),
            "amd": os.path.exists(_below(root, "/dev/kfd")),
        },
        "groups": [name for name in _GROUPS if _has_group(name)],
        "releases": find_releases(params["folder"]),
        "settings": compare(params["config_dir"], params["log_dir"]),
    }


def find_foreign(run: Run, root: str) -> list[Foreign]:
    """Units, programs and stores of another installation."""
    found = _find_units(run) if os.path.isdir(_below(root, "/run/systemd/system")) else []
    found += [Foreign("program", path, "ollama") for path in FOREIGN_PROGRAMS if os.path.lexists(_below(root, path))]
    found += [Foreign("models", path, "models", models_dir=path) for path in FOREIGN_STORES if os.path.isdir(_below(root, path))]
    return found


def _find_units(run: Run) -> list[Foreign]:
    """Raises ``supervisor_failed`` where systemctl does not answer."""
    listed = run(["systemctl", "list-unit-files", "--no-legend", "--plain", "--no-pager", *FOREIGN_UNITS]).stdout
    names = [line.split()[0] for line in listed.splitlines() if line.strip()]
    if not names:
        return []
    shown = run(["systemctl", "show", "--no-pager", f"--property={_PROPERTIES}", *names]).stdout
    units = (parse_show(block) for block in re.split(r"\n\s*\n", shown.strip()))
    return [
        Foreign(
            "unit",
            unit.get("FragmentPath", ""),
            unit["Id"],
            runs=unit.get("ActiveState") in ("active", "activating", "reloading", "deactivating"),
            enabled=unit.get("UnitFileState", "") in ("enabled", "enabled-runtime", "linked", "linked-runtime", "static", "generated"),
            models_dir=_models_of(unit.get("Environment", "")),
        )
        for unit in units
        if unit.get("Id")
    ]


def _models_of(environment: str) -> str | None:
    """OLLAMA_MODELS from the words of ``Environment=``."""
    try:
        words = shlex.split(environment)
    except ValueError:
        return None
    values = (word.partition("=")[2] for word in words if word.startswith("OLLAMA_MODELS="))
    return next(iter(values), None)


def find_releases(folder: str) -> dict[str, t.Any]:
    """The version that ``current`` points to, None without it, and each version with the markers in it that say that it is whole."""
    link = os.path.join(folder, "current")
    versions = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    folders = [name for name in versions if os.path.isdir(os.path.join(folder, name)) and not os.path.islink(os.path.join(folder, name))]
    markers = (f"{name}/{marker}" for name in folders for marker in sorted(os.listdir(os.path.join(folder, name))) if marker.startswith(MARKER))
    return {"current": os.readlink(link) if os.path.islink(link) else None, "complete": list(markers)}


def compare(config_dir: str, log_dir: str) -> dict[str, t.Any]:
    """The settings of ``ollama.env`` beside those of the running server. Raises ``OSError``.

    Without a server that runs, or without its line in the log, nothing is known and nothing differs.
    """
    wanted = {name: value for name, value in (envfile.read(os.path.join(config_dir, "ollama.env")) or {}).items() if name.startswith("OLLAMA_")}
    effective = ollama_config.last_settings(os.path.join(log_dir, "ollama.log")) if _is_running(wanted) else None
    found = ollama_config.differences(wanted, effective) if effective is not None else ()
    return {"wanted": wanted, "effective": effective, "differences": [asdict(each) for each in found]}


def _is_running(wanted: t.Mapping[str, str]) -> bool:
    """Whether anybody listens where the settings say."""
    port = wanted.get("OLLAMA_HOST", "").rpartition(":")[2]
    return port.isdigit() and bool(processes.listeners(int(port)))


def _has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _below(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))
