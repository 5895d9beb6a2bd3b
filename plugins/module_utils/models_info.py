# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on the host, told without changing or fetching anything. The operation behind ``venom_model_info``."""
from __future__ import annotations

import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.calls import running_calls
from ansible_collections.venom.llm.plugins.module_utils.host import percent
from ansible_collections.venom.llm.plugins.module_utils.journal import read_operations
from ansible_collections.venom.llm.plugins.module_utils.lock_holders import read_holders
from ansible_collections.venom.llm.plugins.module_utils.manifest import SCHEMA, Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import GB, Entry, FileRecord
from ansible_collections.venom.llm.plugins.module_utils.models import ModuleContext, Params
from ansible_collections.venom.llm.plugins.module_utils.models_observe import observe
from ansible_collections.venom.llm.plugins.module_utils.store.ollama_layout import size_of


def run_info(params: Params, context: ModuleContext) -> dict[str, t.Any]:
    """Models, the last operations, what is going on now and, if asked for, the usage of the models folder."""
    manifest = Manifest.load(params["models_dir"])
    for warning in manifest.warnings:
        context.warn(warning)
    name = params["name"]
    result: dict[str, t.Any] = {
        "changed": False,
        "models": [_as_seen(entry, context) for entry in manifest.models if name is None or entry.answers_to(name)],
        "operations": read_operations(os.path.join(params["models_dir"], "operations"), max(0, params["limit"])),
        "manifest": {"path": manifest.path, "schema": SCHEMA, "is_damaged": manifest.is_damaged},
        "declared": manifest.declared,
        "calls": [call.describe() for call in running_calls(params["models_dir"])],
        "locks": read_holders(params["models_dir"]),
    }
    if params.get("plan"):
        from ansible_collections.venom.llm.plugins.module_utils.plan_making import make_plan

        result["plan"] = make_plan(manifest, [entry for entry in manifest.models if name is None or entry.answers_to(name)], context.warn)
    if params["usage"]:
        result["usage"] = _usage(manifest, params)
    return result


def _as_seen(entry: Entry, context: ModuleContext) -> dict[str, t.Any]:
    """The record, corrected by what is there: a model whose files were changed or lost is not installed."""
    try:
        damaged = [record.path for record in (observe(entry).damaged if entry.is_vouched_for else _of_another_size(entry))]
    except PermissionError as error:
        # A store of mode 0700 is closed to everybody but its service and root.
        context.warn(f"The files of {entry.name} are told as recorded: {error.strerror}, {error.filename}.")
        damaged = []
    shown = entry.replace(status="incomplete") if damaged else entry
    is_hashed = entry.is_vouched_for or not entry.local_path
    return dict(shown.to_dict(), damaged_files=damaged, is_hashed=is_hashed, served_name=entry.served_name)


def _of_another_size(entry: Entry) -> list[FileRecord]:
    """Files of a rebuilt record that cannot be right; whether the others are takes hashing, which is not done here."""
    return [record for record in entry.files if entry.local_path and size_of(os.path.join(entry.local_path, record.path)) != record.size]


def _usage(manifest: Manifest, params: Params) -> dict[str, t.Any]:
    from ansible_collections.venom.llm.plugins.module_utils.models_usage import distinct_bytes, usage_by_model
    from ansible_collections.venom.llm.plugins.module_utils.store.snapshots import measure_free, measure_usage

    used = measure_usage(manifest.models_dir)
    limit = params.get("max_disk_gb")
    return {
        "used_bytes": used,
        "used_gb": round(used / GB, 3),
        "free_bytes": measure_free(manifest.models_dir),
        "limit_gb": limit,
        "limit_used_percent": percent(used, int(limit * GB)) if limit else None,
        "model_count": len(manifest.models),
        "models_bytes": distinct_bytes(manifest),
        "by_model": [usage.to_dict() for usage in usage_by_model(manifest, params.get("config_dir"))],
    }
