# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of models share: a context without Ansible, parameters as the module would fill them in, small repositories."""
from __future__ import annotations

import importlib.util
import os
import typing as t
from pathlib import Path

from ansible_collections.venom.llm.plugins.module_utils.models import run_models
from ansible_collections.venom.llm.plugins.module_utils.models_options import manifest_spec, model_spec
from lab.hub import Hub
from lab.models import safetensors

#: Tests use tiny waits: what is tested is that the code tries again, not how long it waits.
FAST = {"retries": 1, "stall_timeout": 5.0, "lock_timeout": 0.0, "reserve_gib": 0.0}


class FakeContext:
    """A module without Ansible."""

    def __init__(self, check_mode: bool = False) -> None:
        self.check_mode = check_mode
        self.diff_mode = True
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        """Keep the warning."""
        self.warnings.append(text)

    def report(self, message: str, done: int | None = None, total: int | None = None) -> None:
        """Nobody waits here."""

    def has_library(self, name: str = "huggingface_hub") -> bool:
        """Whether this interpreter has the library."""
        return importlib.util.find_spec(name) is not None

    def need_backend(self, python: str, library: str = "huggingface_hub") -> None:
        """These tests run where the library is."""
        if not self.has_library(library):
            raise RuntimeError(f"{library} is not installed beside these tests")


def defaults(spec: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Parameters of a module that nobody set."""
    return {name: option.get("default") for name, option in spec.items()}


def model_params(folder: Path, hub: Hub | None = None, **options: t.Any) -> dict[str, t.Any]:
    """Parameters of ``venom_model`` with everything below one folder."""
    params = dict(defaults(model_spec()), **FAST)
    params.update(models_dir=str(folder / "models"), config_dir=str(folder / "etc"), backend_python="/nonexistent/python")
    if hub is not None:
        params["endpoint"] = hub.url
        params["allowed_hosts"] = [hub.cdn_url.rpartition("//")[2]] if hub.cdn_url else []
    params.update(options)
    return params


def manifest_params(folder: Path, **options: t.Any) -> dict[str, t.Any]:
    """Parameters of ``venom_manifest`` with everything below one folder."""
    params = defaults(manifest_spec())
    params.update(models_dir=str(folder / "models"), config_dir=str(folder / "etc"), lock_timeout=0.0)
    # Neither the store nor the server of the machine that runs the tests: nothing listens on the port for discarding.
    params.update(ollama_models_dir=str(folder / "store"), ollama_url="http://127.0.0.1:9")
    params.update(options)
    return params


def install(folder: Path, hub: Hub | None, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
    """Run the operation of ``venom_model``."""
    return run_models(model_params(folder, hub, **options), FakeContext(check))


def small_model(folder: Path, seed: int = 1, **files: str) -> Path:
    """A repository with weights of a few bytes, a configuration and further files by name (``__`` stands for a dot)."""
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.write_model(folder, [safetensors.constant("weight", (4, 8 + seed), seed)])
    safetensors.write_json(folder / "config.json", {"architectures": ["TestModel"], "max_position_embeddings": 128, "seed": seed})
    safetensors.write_json(folder / "tokenizer_config.json", {"chat_template": "{{ messages }}"})
    for name, text in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every path below a folder with mode, size and time of change, to see that nothing was touched."""
    found: dict[str, tuple[int, int, int]] = {}
    for current, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(current, name)
            status = os.lstat(path)
            found[os.path.relpath(path, folder)] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return found
