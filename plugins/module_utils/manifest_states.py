# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest itself brought into a state: declared, forgotten, completed, repaired. The operation behind ``venom_manifest``."""
from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.discovery import describe, discover
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.journal import sanitize
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest, manifest_lock
from ansible_collections.venom.llm.plugins.module_utils.models import ModuleContext, Params
from ansible_collections.venom.llm.plugins.module_utils.models_observe import check_not_active
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef, parse_revision


def run_manifest(params: Params, context: ModuleContext) -> dict[str, t.Any]:
    """Bring the manifest into the wanted state; no model file is changed, no network used."""
    models_dir = params["models_dir"]
    before = Manifest.load(models_dir)
    after, warnings = STATES[params["state"]](before, params)
    operations = os.path.join(models_dir, "operations")
    is_sanitizing = params["state"] == "sanitized"
    repaired = sanitize(operations, apply=False) if is_sanitizing else []
    changed = bool(repaired) or not after.is_stored()
    if changed and not context.check_mode:
        with manifest_lock(models_dir, params["lock_timeout"]):
            before = Manifest.load(models_dir)
            after, warnings = STATES[params["state"]](before, params)
            shown = _show_stored(before), _show(after)
            if not after.is_stored():
                after.save()
            if is_sanitizing:
                repaired = sanitize(operations, apply=True)
    else:
        shown = _show_stored(before), _show(after)
    for warning in (*before.warnings, *warnings):
        context.warn(warning)
    return {
        "changed": changed,
        "models": [entry.to_dict() for entry in after.models],
        "declared": after.declared,
        "repaired_operations": repaired,
        "diff": {"before_header": before.path, "after_header": before.path, "before": shown[0], "after": shown[1]},
    }


Planned = tuple[Manifest, list[str]]


def _present(manifest: Manifest, params: Params) -> Planned:
    """What an operator declares of a model, installed or not."""
    ref = ModelRef.parse(params["name"], params["provider"])
    declared = {name: value for name, value in params["capabilities"].items() if value is not None}
    context_length = declared.get("max_context_length")
    if context_length is not None and context_length < 1:
        raise VenomError(
            "invalid_option", wanted="max_context_length in tokens", found=str(context_length), todo="give a number above 0", model=str(ref)
        )
    manifest = manifest.declare(ref.key, declared)
    for entry in manifest.revisions(ref.key):
        manifest = manifest.merge(describe(entry, declared))
    return manifest, []


def _absent(manifest: Manifest, params: Params) -> Planned:
    """Forget a model: its records and what was declared. Its files stay; ``discovered`` would find them again."""
    ref = ModelRef.parse(params["name"], params["provider"])
    revision = None if params["revision"] is None else parse_revision(params["revision"])
    entries = [entry for entry in manifest.revisions(ref.key) if revision in (None, entry.revision, entry.requested_revision)]
    check_not_active(params["config_dir"], ref, entries, [entry.local_path for entry in entries])
    for entry in entries:
        manifest = manifest.without(entry)
    if not manifest.revisions(ref.key):
        manifest = manifest.declare(ref.key, {})
    return manifest, []


def _discovered(manifest: Manifest, dummy_params: Params) -> Planned:
    """Snapshots on disk that the manifest lacks, added to it."""
    found, warnings = discover(manifest.models_dir, {os.path.basename(entry.local_path) for entry in manifest.models})
    for entry in found:
        manifest = manifest.merge(describe(entry, manifest.declared.get(entry.ref.key, {})))
    return manifest, warnings


def _sanitized(manifest: Manifest, dummy_params: Params) -> Planned:
    """Records repaired as far as they can be, the others dropped: ``discovered`` brings back those whose files are there."""
    return manifest.sanitized(), []


STATES: dict[str, t.Callable[[Manifest, Params], Planned]] = {
    "present": _present,
    "absent": _absent,
    "discovered": _discovered,
    "sanitized": _sanitized,
}


def _show(manifest: Manifest) -> dict[str, t.Any]:
    """The manifest as it would be written, without the time of writing."""
    shown = manifest.to_dict("")
    shown.pop("updated_at")
    return shown


def _show_stored(manifest: Manifest) -> dict[str, t.Any]:
    if manifest.content is None or manifest.is_unreadable:
        return {}
    shown: dict[str, t.Any] = json.loads(manifest.content.decode("utf-8"))
    shown.pop("updated_at", None)
    return shown
