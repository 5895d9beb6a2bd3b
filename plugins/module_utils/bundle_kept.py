# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an export finds in a bundle and does not bring itself. It has been on a medium since, so the former list has to know it.

A list and a signature that an export writes are for all of the bundle: without this check they would be for whatever somebody put there.
"""
from __future__ import annotations

import hashlib
import os
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import bundle_seal, bundle_signature
from ansible_collections.venom.llm.plugins.module_utils.bundle_index import INDEX_NAME, BundleIndex, BundleModel, bundle_invalid
from ansible_collections.venom.llm.plugins.module_utils.bundle_seal import SIGNATURE_NAME, SUMS_NAME, Sums
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import safe_join


@dataclass(frozen=True)
class Kept:
    """Parts that stay as they are, with their digests, and the index to come.

    ``trusted`` is a file that this run takes on the word of the list, None where it brings everything.
    """

    parts: Sums
    index: BundleIndex
    trusted: str | None


def find_kept(root: str, listed: bytes | None, brought: t.Sequence[BundleModel], parts: Sums) -> Kept:
    """Compare what is there with the list, besides what this run brings.

    Raises ``digest_mismatch`` for what is not what the list says, ``bundle_invalid`` for what it does not know and for what is gone.
    """
    before = bundle_seal.parse_sums(root, listed) if listed is not None else {}
    kept = _kept_parts(root, before, parts)
    index = _merged(root, before, brought)
    is_all_brought = all(model in brought for model in index.models)
    return Kept(kept, index, next(iter(kept), None) if is_all_brought else INDEX_NAME)


def _kept_parts(root: str, before: Sums, brought: Sums) -> Sums:
    kept = {}
    for path in bundle_seal.part_files(root):
        if path in brought:
            continue
        if path not in before:
            found = f"{ascii(path)}, which neither {SUMS_NAME} names nor this export brings; bring it, or remove it if nobody knows where it is from"
            raise bundle_invalid(root, found, file=path)
        kept[path] = bundle_seal.hash_of(safe_join(root, path))
        if kept[path] != before[path]:
            raise bundle_seal.mismatch(root, path, before[path], kept[path])
    for path in before:
        if path.split("/")[0] in bundle_seal.PARTS and path not in kept and path not in brought:
            raise bundle_invalid(root, f"{ascii(path)} is gone, which {SUMS_NAME} names", file=path)
    return kept


def _merged(root: str, before: Sums, brought: t.Sequence[BundleModel]) -> BundleIndex:
    """The index to come. Where a model stays in it, the list has to know the index: this one, or by a run that was killed the one to come."""
    found = BundleIndex.read(root) if os.path.lexists(safe_join(root, INDEX_NAME)) else BundleIndex()
    merged = found
    for model in brought:
        merged = merged.merge(model)
    stranger = next((model for model in merged.models if model not in brought), None)
    if stranger is None:
        return merged
    if INDEX_NAME not in before:
        found_model = f"{stranger.name} in {INDEX_NAME}, which no {SUMS_NAME} names and this export does not bring; bring it, or use a new folder"
        raise bundle_invalid(root, found_model, file=INDEX_NAME)
    digests = [hashlib.sha256(index.to_bytes()).hexdigest() for index in (found, merged)]
    if before[INDEX_NAME] not in digests:
        raise bundle_seal.mismatch(root, INDEX_NAME, before[INDEX_NAME], digests[0])
    return merged


def check_signed(root: str, key: str, trusted: str, listed: bytes, content: bytes) -> None:
    """Whether the key has signed what this run takes on trust: the former list, or the one to come, by a run that was killed.

    Raises ``signature_invalid``.
    """
    if any(bundle_signature.is_signed_by(root, signed, key) for signed in (listed, content)):
        return
    raise VenomError(
        "signature_invalid",
        wanted=f"{SUMS_NAME} of the bundle {root} signed by {key}, since this export does not bring {ascii(trusted)} and would sign for it",
        found=f"no {SIGNATURE_NAME}, or one by another key or of another {SUMS_NAME}",
        todo=f"export all of it at once or into a new folder; or check the bundle and sign it: ssh-keygen -Y sign -n {bundle_signature.NAMESPACE}",
        path=root,
        file=trusted,
    )
