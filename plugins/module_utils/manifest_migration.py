# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests of older layouts as what they are worth today. Values only: no disk is touched.

Schema 1 is this one without seals. Before it there was a layout without a schema, written by another program: a list or a mapping
of records with a name and a provider, local times without offset, and capabilities that mostly were that program's defaults.
"""
from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import normalise_time
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef

#: What the older program wrote of every model without having looked, so it says nothing.
_DEFAULTS: dict[str, t.Any] = {
    "supports_system_role": True,
    "supports_function_calling": False,
    "allowed_roles": ["system", "user", "assistant"],
    "max_context_length": 4096,
}
#: Its capabilities by the names that they have here, with their types.
_NAMES: dict[str, tuple[str, type]] = {
    "supports_system_role": ("supports_system_role", bool),
    "supports_function_calling": ("supports_tools", bool),
    "allowed_roles": ("allowed_roles", list),
    "prompt_template": ("prompt_template", str),
    "max_context_length": ("max_context_length", int),
    "quantization": ("quantization", str),
    "generation_schema": ("generation_parameters", dict),
}
#: Its providers where they are called otherwise here. A runtime was taken for the provider of what it serves.
_PROVIDERS = {"hf": "huggingface", "vllm": "huggingface"}


@dataclass(frozen=True)
class OlderRecord:
    """A record that names a model and neither revision nor files, so only the store can tell whether it is true."""

    ref: ModelRef
    display_name: str | None
    installed_at: str | None
    content: t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Migrated:
    """``records`` are records of today, to be checked like any other; ``declared`` are capabilities by model key."""

    records: tuple[t.Any, ...] = ()
    older: tuple[OlderRecord, ...] = ()
    declared: dict[str, dict[str, t.Any]] = field(default_factory=dict)


def migrate(data: t.Mapping[str, t.Any]) -> Migrated:
    """A document of schema 1 or of the layout before. Raises ``ValueError`` for one that has no models."""
    models = data.get("models")
    if isinstance(models, dict):
        items = [dict(item, name=item.get("name") or name) if isinstance(item, dict) else item for name, item in models.items()]
    elif isinstance(models, list):
        items = models
    else:
        raise ValueError("it has no list of models")
    listed = data.get("declared")
    stated = listed.items() if isinstance(listed, dict) else ()
    declared = {key: dict(value) for key, value in stated if isinstance(value, dict)}
    records: list[t.Any] = []
    older: list[OlderRecord] = []
    for item in items:
        record = _read_older(item)
        if record is None:
            records.append(item)
            continue
        older.append(record)
        said = _stated(item.get("capabilities"))
        if said:
            declared.setdefault(record.ref.key, said)
    return Migrated(tuple(records), tuple(older), declared)


def _read_older(item: t.Any) -> OlderRecord | None:
    """The record where it is one of the layout before schema 1; None for any other."""
    if not isinstance(item, dict) or "revision" in item or "files" in item:
        return None
    provider = item.get("provider")
    try:
        ref = ModelRef.parse(item.get("name") or "", _PROVIDERS.get(str(provider), str(provider or "auto")))
    except VenomError:
        return None
    display_name = item.get("display_name")
    return OlderRecord(ref, display_name if isinstance(display_name, str) else None, normalise_time(item.get("installed_at")), item)


def _stated(capabilities: t.Any) -> dict[str, t.Any]:
    """What somebody must have said on purpose: values that differ from the defaults."""
    if not isinstance(capabilities, dict):
        return {}
    stated: dict[str, t.Any] = {}
    for old, (name, kind) in _NAMES.items():
        value = capabilities.get(old)
        is_number = kind is int and isinstance(value, bool)
        if isinstance(value, kind) and not is_number and value != _DEFAULTS.get(old) and value not in ("", [], {}):
            stated[name] = value
    return stated
