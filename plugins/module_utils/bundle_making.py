# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle of this host: models, parts, list of digests, signature. The operation behind ``venom_bundle``.

Signature, list and index come last and in this order. Until then a bundle is what it was before, with files beside that nobody names; in between
it is refused by an import, and the list says already which index is to come, so that the next run finishes it.
"""
from __future__ import annotations

import hashlib
import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils import bundle_kept, bundle_parts, bundle_seal, bundle_signature
from ansible_collections.venom.llm.plugins.module_utils.bundle_index import INDEX_NAME, BundleIndex
from ansible_collections.venom.llm.plugins.module_utils.bundle_seal import SIGNATURE_NAME, SUMS_NAME, Sums
from ansible_collections.venom.llm.plugins.module_utils.bundles import (
    Chosen,
    ExportReport,
    bundle_lock,
    copy_models,
    describe_models,
    partial_folder,
)
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import make_folders, remove_if_there, safe_join, write_atomic
from ansible_collections.venom.llm.plugins.module_utils.interrupts import raise_on_signals
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.models import ModuleContext, Params
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import remove_if_empty


def run_bundle(params: Params, context: ModuleContext) -> dict[str, t.Any]:
    """Make the bundle hold what is asked for. The result is the module's. Raises ``VenomError``, ``OSError``."""
    raise_on_signals()
    root = os.path.abspath(params["path"])
    _check_place(root, params["models_dir"])
    manifest = Manifest.load(params["models_dir"])
    for warning in manifest.warnings:
        context.warn(warning)
    chosen = describe_models(manifest.models_dir, _choose(manifest, params["models"] or ()))
    making = _Making(root, params, context)
    if context.check_mode:
        return making.run(chosen)
    make_folders(root)
    with bundle_lock(root, params["lock_timeout"]):
        return making.run(chosen)


def _check_place(root: str, models_dir: str) -> None:
    own = os.path.abspath(models_dir)
    if os.path.commonpath([root, own]) in (root, own):
        raise VenomError(
            "invalid_option",
            wanted="path, a folder beside the models folder",
            found=f"{root} lies in {own} or around it",
            todo="correct path",
            option="path",
        )


def _choose(manifest: Manifest, names: t.Sequence[str]) -> list[Entry]:
    """The records of these models, of all without a name. Raises ``not_installed``."""
    chosen = {entry.key_and_revision: entry for entry in manifest.models if not names}
    for name in names:
        found = [entry for entry in manifest.models if entry.answers_to(name)]
        if not found:
            raise _not_installed(name)
        chosen.update({entry.key_and_revision: entry for entry in found})
    if not chosen:
        raise _not_installed("a model")
    return list(chosen.values())


def _not_installed(name: str) -> VenomError:
    return VenomError(
        "not_installed",
        wanted=f"{name} on this host, to be carried in the bundle",
        found="the manifest does not have it",
        todo="install it with venom_model, or correct models",
        model=name,
    )


class _Making:
    """One call about one folder, whose lock the caller holds unless nothing is written."""

    def __init__(self, root: str, params: Params, context: ModuleContext) -> None:
        self._root = root
        self._params = params
        self._context = context
        self._is_dry = context.check_mode

    def run(self, chosen: t.Sequence[Chosen]) -> dict[str, t.Any]:
        """Parts, models, list, signature."""
        listed = bundle_seal.read_sums(self._root)
        parts = self._compare_parts()
        kept = self._check_kept(chosen, parts, listed)
        bundle_parts.check_space(self._root, parts)
        new_parts = [part for part in parts if not part.is_there]
        if not self._is_dry:
            self._copy_parts(new_parts)
        report = copy_models(chosen, self._root, self._progress("copying the models"), self._is_dry, writes_index=False)
        content = _list(report.index, parts, kept)
        is_new, is_new_index = content != listed, self._index_digest() != _digest(report.index)
        was_signed = os.path.lexists(os.path.join(self._root, SIGNATURE_NAME))
        key = self._params["signing_key"]
        signs = bool(key) and not bundle_signature.is_signed_by(self._root, content, key)
        unsigns = not key and is_new and was_signed
        is_signed = bool(key) or (was_signed and not unsigns)
        if unsigns:
            self._context.warn(f"{SIGNATURE_NAME} was of another content of {self._root} and goes; set signing_key to have it signed again.")
        if not self._is_dry:
            if unsigns:
                remove_if_there(os.path.join(self._root, SIGNATURE_NAME))
            sealed = {
                SIGNATURE_NAME: bundle_signature.sign(content, key) if signs else None,
                SUMS_NAME: content if is_new else None,
                INDEX_NAME: report.index.to_bytes() if is_new_index else None,
            }
            for name, data in sealed.items():
                if data is not None:
                    write_atomic(safe_join(self._root, name), data)
        copied = sorted([part.path for part in new_parts] + [f"sha256:{sha256}" for sha256 in report.copied_files])
        return {
            "changed": report.changed or bool(new_parts) or is_new or is_new_index or signs,
            "diff": _diff(report, copied, was_signed, is_signed, is_new or is_new_index),
            "path": self._root,
            "models": [{"name": item.name, "revision": item.revision, "alias": item.alias} for item in report.index.models],
            "files_copied": copied,
            "bytes_total": sum(report.index.sizes.values()) + sum(part.size for part in parts),
            "bytes_copied": 0 if self._is_dry else report.copied + sum(part.size for part in new_parts),
            "bytes_kept": report.kept + sum(part.size for part in parts if part.is_there),
            "is_signed": is_signed,
        }

    def _progress(self, message: str) -> t.Callable[[int, int], None]:
        return lambda done, total: self._context.report(f"{message} into {self._root}", done, total)

    def _compare_parts(self) -> list[bundle_parts.Part]:
        params = self._params
        found = bundle_parts.find_parts(params["wheels"], params["archives"] or (), params["collection"])
        advance = self._counter("comparing files", sum(part.size for part in found))
        return [bundle_parts.compare(self._root, part, advance) for part in found]

    def _copy_parts(self, parts: t.Sequence[bundle_parts.Part]) -> None:
        advance = self._counter("copying files", sum(part.size for part in parts))
        for part in parts:
            bundle_parts.copy(self._root, part, advance)
        remove_if_empty(partial_folder(self._root))

    def _counter(self, message: str, total: int) -> bundle_seal.Advance:
        done = 0
        report = self._progress(message)

        def advance(length: int) -> None:
            nonlocal done
            done += length
            report(done, total)

        return advance

    def _check_kept(self, chosen: t.Sequence[Chosen], parts: t.Sequence[bundle_parts.Part], listed: bytes | None) -> Sums:
        """Parts that are there and stay. Raises before anything is written for what neither this run brings nor the list knows."""
        models = [model for model, dummy in chosen]
        kept = bundle_kept.find_kept(self._root, listed, models, _brought(parts))
        key = self._params["signing_key"]
        if key and kept.trusted is not None and listed is not None:
            bundle_kept.check_signed(self._root, key, kept.trusted, listed, _list(kept.index, parts, kept.parts))
        return kept.parts

    def _index_digest(self) -> str | None:
        """Of the index as it lies there."""
        try:
            return bundle_seal.hash_of(safe_join(self._root, INDEX_NAME))
        except FileNotFoundError:
            return None


def _digest(index: BundleIndex) -> str:
    return hashlib.sha256(index.to_bytes()).hexdigest()


def _brought(parts: t.Sequence[bundle_parts.Part]) -> Sums:
    return {part.path: part.sha256 for part in parts}


def _list(index: BundleIndex, parts: t.Sequence[bundle_parts.Part], kept: Sums) -> bytes:
    """What the list has to say."""
    return bundle_seal.to_bytes({INDEX_NAME: _digest(index), **bundle_seal.blob_sums(index), **_brought(parts), **kept})


def _diff(report: ExportReport, copied: t.Sequence[str], was_signed: bool, is_signed: bool, is_new: bool) -> dict[str, t.Any]:
    """What was missing, and what is there afterwards; the same in check mode."""

    def shown(index: BundleIndex) -> list[str]:
        return [f"{model.name}@{model.revision}" for model in index.models]

    return {
        "before": {"models": shown(report.before), "missing": list(copied), "is_listed": not is_new, "is_signed": was_signed},
        "after": {"models": shown(report.index), "missing": [], "is_listed": True, "is_signed": is_signed},
    }
