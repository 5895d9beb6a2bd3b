# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bundle holds, and whether it is what was exported. The operation behind ``venom_bundle_info``.

It comes from elsewhere, so the order matters: the signature first, over bytes that are in memory, then the list that it covers, then
what the list names. Nothing is believed before that.
"""
from __future__ import annotations

import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils import bundle_seal, bundle_signature
from ansible_collections.venom.llm.plugins.module_utils.bundle_index import INDEX_NAME, BundleIndex, BundleModel, bundle_invalid
from ansible_collections.venom.llm.plugins.module_utils.bundle_seal import PARTS, SUMS_NAME, Sums
from ansible_collections.venom.llm.plugins.module_utils.files import safe_join
from ansible_collections.venom.llm.plugins.module_utils.models import ModuleContext, Params

#: How much is read: the index alone, also the parts and the sizes of all blobs, or every byte.
INDEX, FILES, FULL = "index", "files", "full"


def run_bundle_info(params: Params, context: ModuleContext) -> dict[str, t.Any]:
    """The checked contents of a bundle. Raises ``signature_invalid``, ``bundle_invalid``, ``digest_mismatch``, ``OSError``."""
    root = os.path.abspath(params["path"])
    content = bundle_seal.read_sums(root)
    signers = params["allowed_signers"]
    signed_by = bundle_signature.verify(root, content, signers) if signers else None
    if content is None:
        raise bundle_invalid(root, f"no {SUMS_NAME}: no bundle, or one whose export has not come to its end")
    sums = bundle_seal.parse_sums(root, content)
    if INDEX_NAME not in sums:
        raise bundle_invalid(root, f"{SUMS_NAME} does not name {INDEX_NAME}")
    bundle_seal.check_file(root, INDEX_NAME, sums[INDEX_NAME])
    index = BundleIndex.read(root)
    blobs = bundle_seal.blob_sums(index)
    if any(sums.get(path) != sha256 for path, sha256 in blobs.items()):
        raise bundle_invalid(root, f"a blob of {INDEX_NAME} that {SUMS_NAME} does not name")
    parts = {path: sha256 for path, sha256 in sums.items() if path.split("/")[0] in PARTS}
    if params["verify"] != INDEX:
        _check_contents(root, index, blobs, parts, params["verify"] == FULL, context)
    return {
        "changed": False,
        "path": root,
        "signed_by": signed_by,
        "models": [_show(model) for model in index.models],
        "install": [_wanted(model) for model in index.models],
        "wheels_dir": os.path.join(root, "wheels") if _of(parts, "wheels") else None,
        "archives": [{"path": os.path.join(root, path), "sha256": parts[path]} for path in _of(parts, "archives")],
        "collections": [os.path.join(root, path) for path in _of(parts, "collection")],
        "bytes_total": sum(index.sizes.values()),
    }


def _of(parts: Sums, folder: str) -> list[str]:
    return sorted(path for path in parts if path.startswith(f"{folder}/"))


def _show(model: BundleModel) -> dict[str, t.Any]:
    return {
        "name": model.name,
        "provider": model.provider,
        "revision": model.revision,
        "requested_revision": model.requested_revision,
        "alias": model.alias,
        "include": list(model.include),
        "exclude": list(model.exclude),
        "size_bytes": sum({file.sha256: file.size for file in model.files}.values()),
    }


def _wanted(model: BundleModel) -> dict[str, t.Any]:
    """The model as ``venom_model`` has to be asked for it, pinned."""
    wanted: dict[str, t.Any] = {"name": model.name, "provider": model.provider, "revision": model.revision}
    choices = {"alias": model.alias, "include": list(model.include), "exclude": list(model.exclude)}
    return {**wanted, **{key: value for key, value in choices.items() if value}}


def _check_contents(root: str, index: BundleIndex, blobs: Sums, parts: Sums, is_full: bool, context: ModuleContext) -> None:
    sizes = {path: index.sizes[sha256] for path, sha256 in blobs.items()}
    for path, size in sizes.items():
        try:
            found = os.lstat(safe_join(root, path)).st_size
        except FileNotFoundError as error:
            raise bundle_invalid(root, f"{path} is missing", file=path) from error
        if found != size:
            raise bundle_invalid(root, f"{path} has {found} bytes instead of {size}", file=path)
    # pip takes the newest wheel of a folder, so one that nobody listed must not lie there.
    unlisted = [path for path in bundle_seal.part_files(root) if path not in parts]
    if unlisted:
        raise bundle_invalid(root, f"{ascii(unlisted[0])} is there, and {SUMS_NAME} does not name it", file=unlisted[0])
    to_hash = {**parts, **(blobs if is_full else {})}
    total = sum(sizes.values()) if is_full else None
    done = 0

    def advance(length: int) -> None:
        nonlocal done
        done += length
        context.report(f"hashing {root}", done, total)

    for path, sha256 in to_hash.items():
        bundle_seal.check_file(root, path, sha256, advance)
