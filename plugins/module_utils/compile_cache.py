# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM's compile cache as something that can be carried: told, saved into an archive, loaded from one that another host has made.

What is carried is code that the receivers run and pickles that they load, as the account of their server: see docs/compile-cache.md.
"""
from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils import compile_cache_archive as archives
from ansible_collections.venom.llm.plugins.module_utils import compile_cache_entries as entries
from ansible_collections.venom.llm.plugins.module_utils import compile_cache_loading, files
from ansible_collections.venom.llm.plugins.module_utils.compile_cache_place import Place, leftovers, sweep, writer
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.host import GB
from ansible_collections.venom.llm.plugins.module_utils.interrupts import raise_on_signals
from ansible_collections.venom.llm.plugins.module_utils.store.hashing import sha256_of

#: The folder of the archive: others may pass to a file whose name they know, and its mode decides whether they may read it.
_ARCHIVE_FOLDER_MODE = 0o711


def inspect(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What ``venom_compile_cache_info`` tells; a host that can take no part is told why, and is no failure."""
    result: dict[str, t.Any] = {"key": None, "key_id": None, "entries": [], "size_bytes": 0, "can_save": False, "reason": None}
    try:
        place = Place.find(params)
        key = place.key()
    except VenomError as error:
        return dict(result, reason=f"{error.reason_code}: {error}")
    listing = place.scan()
    busy = writer(place.site.observe())
    size = sum(entry.size for entry in listing.entries)
    return dict(
        result,
        key=key.describe(),
        key_id=key.short,
        entries=[entry.describe() for entry in listing.entries],
        size_bytes=size,
        can_save=size > 0 and not busy and not listing.fault,
        reason=f"cache_refused: {listing.fault}" if listing.fault else busy or None,
    )


def operate(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """One call of ``venom_compile_cache``."""
    raise_on_signals()
    return _STATES[params["state"]](params, check_mode)


def _saved(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """In check mode the archive is made without being written: its digest is the one that the real run finds."""
    place = Place.find(params)
    with contextlib.nullcontext() if check_mode else place.locked(params):
        chosen = _choose(place, params)
        archive = params["archive"]
        temporary = os.path.join(os.path.dirname(archive), files.temporary_name())
        sink = archives.HashingWriter(None)
        try:
            if check_mode:
                _pack(place, chosen, sink)
            else:
                files.make_folders(os.path.dirname(archive), _ARCHIVE_FOLDER_MODE)
                sweep(os.path.dirname(archive))
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with os.fdopen(descriptor, "wb") as stream:
                    sink = archives.HashingWriter(stream)
                    _pack(place, chosen, sink)
            changed = _digest_of(archive) != sink.sha256
            if not check_mode:
                _publish(temporary, archive, params["reader"])
        finally:
            files.remove_if_there(temporary)
    return {
        "changed": changed,
        "sha256": sink.sha256,
        "size_bytes": sink.size,
        "entries": [entry.describe() for entry in chosen],
        "diff": {"before": {"archive": None} if changed else {"archive": archive}, "after": {"archive": archive}},
    }


def _choose(place: Place, params: t.Mapping[str, t.Any]) -> list[entries.Entry]:
    busy = writer(place.site.observe())
    if busy:
        raise VenomError("locked", wanted="a compile cache that nobody writes", found=busy, todo="wait until the server is ready, or stop it")
    listing = place.scan()
    if listing.fault:
        raise entries.refused(listing.fault)
    chosen = [entry for entry in listing.entries if entry.files and (not params["entries"] or entry.name in params["entries"])]
    missing = set(params["entries"]) - {entry.name for entry in chosen}
    if missing or not chosen:
        raise VenomError(
            "not_found",
            wanted=f"compiled code in {place.given}",
            found=f"no {min(missing)}" if missing else "none",
            todo="activate the model on this host first, without --enforce-eager",
        )
    archives.check_size(sum(entry.size for entry in chosen), int(params["max_gb"] * GB))
    return chosen


def _pack(place: Place, chosen: list[entries.Entry], sink: archives.HashingWriter) -> None:
    key = place.key()
    with place.acting():
        archives.pack(place.folder, chosen, key, sink)
    after = {entry.name: entry for entry in place.scan().entries}
    for entry in chosen:
        if after.get(entry.name) != entry:
            raise archives.changing(entry.name)


def _publish(temporary: str, archive: str, reader: int | None) -> None:
    if reader is not None:
        os.chown(temporary, reader, -1)
    os.replace(temporary, archive)
    files.fsync_folder(os.path.dirname(archive))


def _digest_of(path: str) -> str:
    """SHA-256 of a file, nothing without one."""
    try:
        return sha256_of(path)
    except FileNotFoundError:
        return ""


def _absent(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """The archive and what a killed run has left are gone. The cache itself stays."""
    folder = os.path.dirname(params["archive"])
    try:
        place: Place | None = Place.find(params)
    except VenomError:
        place = None
    left = _all_leftovers(params, place)
    if left and not check_mode:
        # Unfinished work may be somebody's who is at it right now.
        with contextlib.nullcontext() if place is None else place.locked(params):
            files.remove_if_there(params["archive"])
            sweep(folder)
            if place is not None:
                place.sweep()
            if folder in left:
                os.rmdir(folder)
    return {"changed": bool(left), "diff": {"before": {"left": left}, "after": {"left": []}}}


def _all_leftovers(params: t.Mapping[str, t.Any], place: Place | None) -> list[str]:
    """Paths, with the folder of the archive when nothing else is in it."""
    archive = params["archive"]
    folder = os.path.dirname(archive)
    left = [archive] if os.path.lexists(archive) else []
    left += leftovers(folder)
    if os.path.isdir(folder) and len(os.listdir(folder)) == len(left):
        left.append(folder)
    return left if place is None else left + place.leftovers()


_STATES: dict[str, t.Callable[[t.Mapping[str, t.Any], bool], dict[str, t.Any]]] = {
    "saved": _saved,
    "loaded": compile_cache_loading.load,
    "absent": _absent,
}
