# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The argument specs of the modules that deal in models, composed from shared parts."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.capabilities import CAPABILITY_TYPES
from ansible_collections.venom.llm.plugins.module_utils.models_request import STATES

Spec = dict[str, t.Any]

LOCATIONS: Spec = {
    "models_dir": {"type": "path", "default": "/var/lib/venom/models"},
    "config_dir": {"type": "path", "default": "/etc/venom"},
}

BACKEND: Spec = {"backend_python": {"type": "path", "default": "/opt/venom/backend/bin/python"}}

OLLAMA: Spec = {
    "registry": {"type": "str", "default": "https://registry.ollama.ai"},
    "registry_username": {"type": "str"},
    "registry_password": {"type": "str", "no_log": True},
    "registry_password_file": {"type": "path", "no_log": False},
    "registry_token": {"type": "str", "no_log": True},
    "ollama_method": {"type": "str", "choices": ["auto", "store", "api", "cli"], "default": "auto"},
    "ollama_url": {"type": "str", "default": "http://127.0.0.1:11434"},
    "ollama_models_dir": {"type": "path", "default": "/var/lib/ollama"},
    "ollama_owner": {"type": "str"},
}

MIRRORS: Spec = {
    "plan": {"type": "dict"},
    "mirrors": {"type": "list", "elements": "str", "default": []},
    "mirrors_only": {"type": "bool", "default": False},
    "mirrors_open": {"type": "list", "elements": "str", "default": []},
    "mirror_username": {"type": "str"},
    "mirror_password": {"type": "str", "no_log": True},
    "mirror_password_file": {"type": "path", "no_log": False},
}

_MODEL: Spec = {
    "provider": {"type": "str", "choices": ["auto", "huggingface", "ollama"], "default": "auto"},
    "runtime": {"type": "str", "choices": ["auto", "vllm", "ollama"], "default": "auto"},
    "revision": {"type": "str"},
    "alias": {"type": "str"},
    "include": {"type": "list", "elements": "str"},
    "exclude": {"type": "list", "elements": "str"},
}


def model_spec() -> Spec:
    """Options of ``venom_model``."""
    item = dict(_MODEL, name={"type": "str", "required": True}, state={"type": "str", "choices": list(STATES)})
    return dict(
        LOCATIONS,
        **BACKEND,
        **_MODEL,
        name={"type": "str"},
        models={"type": "list", "elements": "dict", "options": item},
        state={"type": "str", "choices": list(STATES), "default": "present"},
        endpoint={"type": "str", "default": "https://huggingface.co"},
        allowed_hosts={"type": "list", "elements": "str", "default": []},
        token={"type": "str", "no_log": True},
        token_file={"type": "path", "no_log": False},
        ca_path={"type": "path"},
        bundle={"type": "path"},
        max_disk_gb={"type": "float", "default": 50.0},
        confirm_above_gb={"type": "float", "default": 20.0},
        confirm_large={"type": "bool", "default": False},
        reserve_gib={"type": "float", "default": 1.0},
        max_parallel={"type": "int", "default": 8},
        retries={"type": "int", "default": 5},
        stall_timeout={"type": "float", "default": 30.0},
        lock_timeout={"type": "float", "default": 60.0},
        deadline={"type": "float", "default": 0.0},
        bandwidth_limit={"type": "str"},
        verify={"type": "str", "choices": ["quick", "full"], "default": "quick"},
        **OLLAMA,
        **MIRRORS,
        allow_pickle={"type": "bool", "default": False},
        allow_remote_code={"type": "bool", "default": False},
        cpu={"type": "bool"},
        fit={"type": "str", "choices": ["refuse", "warn"], "default": "refuse"},
        force={"type": "bool", "default": False},
        operation={"type": "str", "choices": ["run", "start", "poll", "cancel"], "default": "run"},
        operation_id={"type": "str"},
        operation_wait={"type": "float"},
        operation_lease={"type": "float", "default": 60.0},
    )


def model_rules() -> dict[str, t.Any]:
    """What holds between options of ``venom_model``."""
    return {
        "mutually_exclusive": [
            ("name", "models"),
            ("token", "token_file"),
            ("registry_password", "registry_password_file"),
            ("registry_password", "registry_token"),
            ("mirror_password", "mirror_password_file"),
        ],
        "required_if": [
            ("operation", "run", ("name", "models"), True),
            ("operation", "start", ("name", "models"), True),
            ("operation", "poll", ("operation_id",)),
        ],
    }


def bundle_spec() -> Spec:
    """Options of ``venom_bundle``."""
    return {
        "path": {"type": "path", "required": True},
        "models_dir": LOCATIONS["models_dir"],
        "models": {"type": "list", "elements": "str", "default": []},
        "wheels": {"type": "path"},
        "archives": {"type": "list", "elements": "path", "default": []},
        "collection": {"type": "path"},
        "signing_key": {"type": "path", "no_log": False},
        "lock_timeout": {"type": "float", "default": 60.0},
    }


def bundle_info_spec() -> Spec:
    """Options of ``venom_bundle_info``."""
    return {
        "path": {"type": "path", "required": True},
        "allowed_signers": {"type": "path"},
        "verify": {"type": "str", "choices": ["index", "files", "full"], "default": "files"},
    }


def info_spec() -> Spec:
    """Options of ``venom_model_info``."""
    return dict(
        LOCATIONS,
        name={"type": "str"},
        limit={"type": "int", "default": 20},
        usage={"type": "bool", "default": True},
        plan={"type": "bool", "default": False},
        max_disk_gb={"type": "float"},
    )


def _capability(kind: str) -> Spec:
    return {"type": "list", "elements": "str"} if kind == "list" else {"type": kind}


def manifest_spec() -> Spec:
    """Options of ``venom_manifest``."""
    return dict(
        LOCATIONS,
        state={"type": "str", "choices": ["present", "absent", "discovered", "sanitized"], "default": "present"},
        name={"type": "str"},
        provider=_MODEL["provider"],
        revision={"type": "str"},
        capabilities={"type": "dict", "options": {name: _capability(kind) for name, kind in CAPABILITY_TYPES.items()}},
        ollama_models_dir=OLLAMA["ollama_models_dir"],
        ollama_url=OLLAMA["ollama_url"],
        lock_timeout={"type": "float", "default": 60.0},
    )


def manifest_rules() -> dict[str, t.Any]:
    """What holds between options of ``venom_manifest``."""
    return {"required_if": [("state", "present", ("name", "capabilities")), ("state", "absent", ("name",))]}
