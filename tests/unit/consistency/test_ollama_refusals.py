# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the preflight of the role for Ollama refuses: each condition is asked as Ansible would, with one variable wrong."""
from __future__ import annotations

import typing as t
from functools import lru_cache
from pathlib import Path

import pytest
import yaml

from ansible_collections.venom.llm.tests.unit.consistency import templating

ROOT = Path(__file__).resolve().parents[3]
TASKS = ROOT / "roles" / "ollama" / "tasks"
DIGEST = "a" * 64
UNIT = {"kind": "unit", "name": "ollama.service", "path": "/etc/systemd/system/ollama.service", "models_dir": None}
PROGRAM = {"kind": "program", "name": "ollama", "path": "/usr/local/bin/ollama", "models_dir": None, "runs": False, "enabled": False}


@lru_cache
def asserts() -> dict[str, dict[str, t.Any]]:
    """Every assertion of the preflight, by name."""
    tasks = [task for name in ("refuse.yml", "paths.yml") for task in yaml.safe_load((TASKS / name).read_text(encoding="utf-8"))]
    return {task["name"]: task["ansible.builtin.assert"] for task in tasks if "ansible.builtin.assert" in task}


@lru_cache
def variables() -> dict[str, t.Any]:
    """Defaults and derived variables of the roles, and a host without anything."""
    found: dict[str, t.Any] = {}
    for role in ("host", "ollama"):
        for part in ("defaults", "vars"):
            content = yaml.safe_load((ROOT / "roles" / role / part / "main.yml").read_text(encoding="utf-8"))
            found.update({name: value for name, value in content.items() if name not in found})
    return {
        **templating.trusted(found),
        "_venom_observed": {"python": {"machine": "x86_64"}},
        "_venom_ollama_seen": {"foreign": [], "devices": {"nvidia": False, "amd": False}, "groups": [], "releases": {}},
    }


def holds(task: str, **overrides: t.Any) -> bool:
    """Whether an assertion lets these variables through; its message is rendered too, since a refusal must be able to speak."""
    given = {**variables(), **overrides}
    conditions = asserts()[task]["that"]
    expressions = [conditions] if isinstance(conditions, str) else conditions
    # As in a task: the first that does not hold ends it, and backslashes are those of Jinja.
    answers = (templating.render(f"{{{{ ({each}) | bool }}}}", given, escape_backslashes=False) for each in expressions)
    is_right = all(answer is True for answer in answers)
    message = str(templating.render(asserts()[task]["fail_msg"], given))
    assert "Wanted: " in message and "Found: " in message and "To do: " in message
    return is_right


@pytest.mark.parametrize("task", sorted(asserts()))
def test_the_defaults_pass(task: str) -> None:
    assert holds(task)


NUMBERS, TUNING, MORE = "Check version, address and numbers", "Check the settings of the server", "Check what else goes into the environment file"
SOURCE, ONE, STORE = "Check the source of the program", "Check that there will be one Ollama only", "Check the store"
PROFILE, HIDDEN = "Check that the profile has this runtime", "Check that the unit can see the store"


@pytest.mark.parametrize(
    ("task", "overrides"),
    [
        (PROFILE, {"venom_profile": "llm_off"}),
        (HIDDEN, {"venom_ollama_models_dir": "/home/me/models"}),
        (NUMBERS, {"venom_ollama_version": "0.16.1"}),
        (NUMBERS, {"venom_ollama_version": "0.9.6"}),
        (NUMBERS, {"venom_ollama_version": "../../etc"}),
        (NUMBERS, {"venom_ollama_version": "latest"}),
        (NUMBERS, {"venom_ollama_port": 80}),
        (NUMBERS, {"venom_ollama_port": "70000"}),
        (NUMBERS, {"venom_ollama_host": "0.0.0.0; rm"}),
        (NUMBERS, {"venom_ollama_stop_timeout": 0}),
        (TUNING, {"venom_ollama_context_length": "32k"}),
        (TUNING, {"venom_ollama_context_length": "-1"}),
        (TUNING, {"venom_ollama_num_parallel": "0"}),
        (TUNING, {"venom_ollama_max_queue": "many"}),
        (TUNING, {"venom_ollama_flash_attention": "maybe"}),
        (TUNING, {"venom_ollama_kv_cache_type": "q5_0"}),
        (TUNING, {"venom_ollama_flash_attention": False}),
        (TUNING, {"venom_ollama_keep_alive": "half an hour"}),
        (TUNING, {"venom_ollama_keep_alive": "30 m"}),
        (TUNING, {"venom_ollama_load_timeout": "soon"}),
        (MORE, {"venom_ollama_environment": {"OLLAMA_NOPRUNE": "no"}}),
        (MORE, {"venom_ollama_environment": {"OLLAMA_SCHED_SPREAD": "maybe"}}),
        (MORE, {"venom_ollama_environment": {"OLLAMA_MAX_LOADED_MODELS": "two"}}),
        (MORE, {"venom_ollama_environment": {"OLLAMA_GPU_OVERHEAD": "1GB"}}),
        (MORE, {"venom_ollama_environment": {"OLLAMA_NO_CLOUD": "0"}}),
        (MORE, {"venom_ollama_environment": {"OLLAMA_MODELS": "/x"}}),
        (MORE, {"venom_ollama_environment": {"OLLAMA_KEEP_ALIVE": "5m"}}),
        (MORE, {"venom_ollama_environment": {"VENOM_OLLAMA_BINARY": "/x"}}),
        (MORE, {"venom_ollama_environment": {"not a name": "x"}}),
        (MORE, {"venom_ollama_environment": {"A": "two\nlines"}}),
        (MORE, {"venom_ollama_origins": ["https://a, https://b"]}),
        (SOURCE, {"venom_ollama_archive_sha256": "abc"}),
        (SOURCE, {"venom_ollama_archive": "/srv/ollama.tgz"}),
        (SOURCE, {"venom_ollama_archive_url": "http://mirror/{version}.tgz"}),
        (SOURCE, {"venom_ollama_archive_url": "file:///etc/passwd", "venom_ollama_archive_sha256": DIGEST}),
        (SOURCE, {"_venom_observed": {"python": {"machine": "riscv64"}}}),
        (ONE, {"_venom_ollama_seen": {"foreign": [{**UNIT, "runs": True, "enabled": False}]}}),
        (ONE, {"_venom_ollama_seen": {"foreign": [{**UNIT, "runs": False, "enabled": True}, PROGRAM]}}),
        *((STORE, {"venom_ollama_models_dir": path}) for path in (
            "relative", "/", "/usr", "/var/lib/", "/srv/../etc", "/srv/a b", "/etc/venom", "/var/lib/venom/models", "/var/lib/venom/models/ollama",
            "/opt/venom/ollama", "/var/lib", "/srv/%h", "/etc/venom/store", "/var/lib/venom/ollama", "/var/lib/venom//ollama/models",
            "/var/lib/venom/vllm/m", "/var/log/venom/models", "/run/venom/",
        )),
    ],
)  # fmt: skip
def test_is_refused(task: str, overrides: dict[str, t.Any]) -> None:
    assert not holds(task, **overrides)


@pytest.mark.parametrize(
    ("task", "overrides"),
    [
        (PROFILE, {"venom_profile": "light"}),
        (NUMBERS, {"venom_ollama_version": "0.33.0-rc2", "venom_ollama_port": "11500", "venom_ollama_host": "::1"}),
        (TUNING, {"venom_ollama_flash_attention": "false", "venom_ollama_kv_cache_type": "f16"}),
        (TUNING, {"venom_ollama_keep_alive": -1, "venom_ollama_load_timeout": "1h30m"}),
        (MORE, {"venom_ollama_environment": {"OLLAMA_NOPRUNE": True, "OLLAMA_MAX_LOADED_MODELS": 2, "CUDA_VISIBLE_DEVICES": "0"}}),
        (SOURCE, {"venom_ollama_archive": "/srv/ollama.tgz", "venom_ollama_archive_sha256": f"sha256:{DIGEST.upper()}"}),
        (SOURCE, {"venom_ollama_archive_url": "http://mirror/{version}.tgz", "venom_ollama_archive_sha256": DIGEST}),
        (ONE, {"_venom_ollama_seen": {"foreign": [{**UNIT, "runs": True, "enabled": True}]}, "venom_ollama_adopt": "true"}),
        (ONE, {"_venom_ollama_seen": {"foreign": [{**UNIT, "runs": False, "enabled": False}, PROGRAM]}}),
        (STORE, {"venom_ollama_models_dir": "/usr/share/ollama/.ollama/models"}),
        (STORE, {"venom_ollama_models_dir": "/srv/ollama"}),
    ],
)
def test_passes(task: str, overrides: dict[str, t.Any]) -> None:
    assert holds(task, **overrides)


def test_the_refusal_names_everything_that_was_found() -> None:
    given = {**variables(), "_venom_ollama_seen": {"foreign": [{**UNIT, "runs": True, "enabled": True, "models_dir": "/srv/m"}, PROGRAM]}}
    message = str(templating.render(asserts()[ONE]["fail_msg"], given))
    for word in ("duplicate_server", "ollama.service", "running", "/srv/m", "/usr/local/bin/ollama", "venom_ollama_adopt", "venom_ollama_managed"):
        assert word in message
