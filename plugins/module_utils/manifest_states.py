# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest itself brought into a state: declared, forgotten, completed, repaired. The operation behind ``venom_manifest``."""
from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.discovery import Hashes, describe, discover, vouch
from ansible_collections.venom.llm.plugins.module_utils.discovery_ollama import Server, discover_served, discover_store
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.journal import sanitize
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest, manifest_lock
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.manifest_facts import with_facts
from ansible_collections.venom.llm.plugins.module_utils.manifest_reading import is_confirmed
from ansible_collections.venom.llm.plugins.module_utils.manifest_seal import SEAL, seal_of, unsealed
from ansible_collections.venom.llm.plugins.module_utils.models import ModuleContext, Params
from ansible_collections.venom.llm.plugins.module_utils.models_observe import check_not_active, observe
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef, parse_revision


class Work:
    """What the steps of one call share: parameters, what was hashed, and the sentences for the operator of the last plan."""

    def __init__(self, params: Params, report: t.Callable[..., None]) -> None:
        self.params = params
        self.hashes = Hashes(report)
        self.warnings: list[str] = []


def run_manifest(params: Params, context: ModuleContext) -> dict[str, t.Any]:
    """Bring the manifest into the wanted state; no model file is changed, no network used but for a server on this host."""
    models_dir = params["models_dir"]
    work = Work(params, context.report)
    before = Manifest.load(models_dir)
    after = _plan(before, work)
    operations = os.path.join(models_dir, "operations")
    is_sanitizing = params["state"] == "sanitized"
    repaired = sanitize(operations, apply=False) if is_sanitizing else []
    changed = bool(repaired) or not after.is_stored()
    shown = _show_stored(before), _show(after)
    if changed and not context.check_mode:
        with manifest_lock(models_dir, params["lock_timeout"]):
            current = Manifest.load(models_dir)
            if current.content != before.content:
                # Somebody else was faster; what was hashed for the plan stays hashed.
                before, after = current, _plan(current, work)
                shown = _show_stored(before), _show(after)
            if not after.is_stored():
                after.save()
            if is_sanitizing:
                repaired = sanitize(operations, apply=True)
    for warning in (*before.warnings, *work.warnings):
        context.warn(warning)
    return {
        "changed": changed,
        "models": [entry.to_dict() for entry in after.models],
        "declared": after.declared,
        "repaired_operations": repaired,
        "diff": {"before_header": before.path, "after_header": before.path, "before": shown[0], "after": shown[1]},
    }


def _plan(manifest: Manifest, work: Work) -> Manifest:
    work.warnings.clear()
    return STATES[work.params["state"]](manifest, work)


def _present(manifest: Manifest, work: Work) -> Manifest:
    """What an operator declares of a model, installed or not."""
    params = work.params
    ref = ModelRef.parse(params["name"], params["provider"])
    declared = {name: value for name, value in params["capabilities"].items() if value is not None}
    context_length = declared.get("max_context_length")
    if context_length is not None and context_length < 1:
        raise VenomError(
            "invalid_option", wanted="max_context_length in tokens", found=str(context_length), todo="give a number above 0", model=str(ref)
        )
    try:
        seal_of(declared)
    except (ValueError, RecursionError) as error:
        raise VenomError(
            "invalid_option",
            wanted="capabilities that JSON in UTF-8 can hold",
            found=ascii(str(error))[1:-1][:200],
            todo="correct capabilities",
            model=str(ref),
            option="capabilities",
        ) from error
    manifest = manifest.declare(ref.key, declared)
    for entry in manifest.revisions(ref.key):
        manifest = manifest.merge(with_facts(entry, declared))
    return manifest


def _absent(manifest: Manifest, work: Work) -> Manifest:
    """Forget a model: its records and what was declared. Its files stay; ``discovered`` would find them again."""
    params = work.params
    ref = ModelRef.parse(params["name"], params["provider"])
    revision = None if params["revision"] is None else parse_revision(params["revision"])
    entries = [entry for entry in manifest.revisions(ref.key) if revision in (None, entry.revision, entry.requested_revision)]
    check_not_active(params["config_dir"], ref, entries, [entry.local_path for entry in entries])
    for entry in entries:
        manifest = manifest.without(entry)
    if not manifest.revisions(ref.key):
        manifest = manifest.declare(ref.key, {})
    return manifest


def _discovered(manifest: Manifest, work: Work) -> Manifest:
    """Models in the snapshots, in Ollama's store and at its server that the manifest lacks; facts of those that it has."""
    for entry in manifest.models:
        manifest = manifest.merge(_completed(entry, manifest, work))
    found, problems = discover(manifest.models_dir, {os.path.basename(entry.local_path) for entry in manifest.models}, work.hashes)
    for entry in found:
        manifest = manifest.merge(with_facts(entry, manifest.declared.get(entry.ref.key, {})))
    work.warnings += problems
    manifest = _discovered_ollama(manifest, work)
    return manifest.sanitized(keep=lambda item: not is_confirmed(item, manifest.models))


def _completed(entry: Entry, manifest: Manifest, work: Work) -> Entry:
    """A record whose facts and, after a rebuild, bytes are looked at again. What is damaged is left to ``venom_model``."""
    if not entry.is_vouched_for and entry.local_path:
        vouched = vouch(entry, work.hashes)
        if vouched is None:
            work.warnings.append(f"The files of {entry.name} are not what was recorded. Install it with state verified.")
        return entry if vouched is None else describe(vouched, manifest.declared.get(entry.ref.key, {}))
    try:
        if observe(entry).damaged:
            return entry
    except PermissionError:
        return entry
    return describe(entry, manifest.declared.get(entry.ref.key, {}))


def _discovered_ollama(manifest: Manifest, work: Work) -> Manifest:
    root, recorded = work.params["ollama_models_dir"], [entry for entry in manifest.models if entry.provider == "ollama"]
    known = {entry.ref.key for entry in recorded if entry.local_path == root and not _is_replaced(entry)}
    found, problems = discover_store(root, known, work.hashes) if os.path.isdir(root) else ([], [])
    for entry in found:
        former = next((other for other in manifest.revisions(entry.ref.key)), None)
        if former is not None:
            # The same tag elsewhere, or what somebody pulled over it: what the operator called it stays.
            manifest = manifest.without(former)
            entry = entry.replace(alias=former.alias, display_name=former.display_name)
        manifest = manifest.merge(describe(entry, manifest.declared.get(entry.ref.key, {})))
    work.warnings += problems
    try:
        keys = {entry.ref.key for entry in manifest.models if entry.provider == "ollama"}
        served, problems = discover_served(_server(work), keys)
    except VenomError as error:
        served, problems = [], [str(error)]
    for entry in served:
        manifest = manifest.merge(with_facts(entry, manifest.declared.get(entry.ref.key, {})))
    work.warnings += problems
    return manifest


def _is_replaced(entry: Entry) -> bool:
    """Whether another manifest lies under the tag now than the one that was recorded."""
    try:
        return any(record.path.startswith("manifests/") for record in observe(entry).damaged)
    except PermissionError:
        return False


def _server(work: Work) -> Server:
    from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_api import OllamaApi

    return OllamaApi(work.params["ollama_url"])


def _sanitized(manifest: Manifest, dummy_work: Work) -> Manifest:
    """Records repaired as far as they can be, the others dropped: ``discovered`` brings back those whose files are there."""
    return manifest.sanitized()


STATES: dict[str, t.Callable[[Manifest, Work], Manifest]] = {
    "present": _present,
    "absent": _absent,
    "discovered": _discovered,
    "sanitized": _sanitized,
}


def _show(manifest: Manifest) -> dict[str, t.Any]:
    """The manifest as it would be written, without the time of writing and the seals."""
    return _shown(manifest.to_dict(""))


def _show_stored(manifest: Manifest) -> dict[str, t.Any]:
    if manifest.content is None or manifest.is_damaged:
        return {}
    return _shown(json.loads(manifest.content.decode("utf-8")))


def _shown(head: dict[str, t.Any]) -> dict[str, t.Any]:
    shown = {key: value for key, value in head.items() if key not in ("updated_at", SEAL)}
    for key, value in shown.items():
        if isinstance(value, list):
            shown[key] = [unsealed(item) if isinstance(item, dict) else item for item in value]
    return shown
