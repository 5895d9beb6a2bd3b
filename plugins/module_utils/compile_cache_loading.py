# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A compile cache that another host has made is put in place: its archive is proved first, and every entry comes whole or not at all."""
from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import typing as t

from ansible_collections.venom.llm.plugins.module_utils import compile_cache_archive as archives
from ansible_collections.venom.llm.plugins.module_utils import compile_cache_entries as entries
from ansible_collections.venom.llm.plugins.module_utils import files
from ansible_collections.venom.llm.plugins.module_utils.compile_cache_place import Place
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.host import GB

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1024 * 1024


def load(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """State ``loaded``. The plan is made from the names alone, so check mode needs no archive."""
    if not _SHA256.fullmatch(params["sha256"]):
        todo = "take it from the result of state=saved"
        raise VenomError("invalid_option", wanted="sha256 as 64 hexadecimal digits", found=ascii(params["sha256"]), todo=todo)
    if not params["entries"]:
        raise VenomError("invalid_option", wanted="names of entries to load", found="none", todo="take them from the result of state=saved")
    # In the order in which they are loaded, whatever the caller's: the diff shall be the same each time.
    names = sorted(set(params["entries"]), key=lambda name: (entries.SECTIONS.index(entries.section_of(name)), name))
    place = Place.find(params)
    if check_mode:
        missing = _missing(place, names)
    else:
        with place.locked(params):
            place.sweep()
            missing = _missing(place, names)
            if missing:
                _unpack(place, params, missing)
    return {"changed": bool(missing), "loaded": missing, "diff": {"before": {"loaded": []}, "after": {"loaded": missing}}}


def _missing(place: Place, names: t.Sequence[str]) -> list[str]:
    with place.acting():
        return [name for name in names if not os.path.lexists(os.path.join(place.folder, name))]


def _unpack(place: Place, params: t.Mapping[str, t.Any], missing: list[str]) -> None:
    """Unpacked aside in full, and then put in place, entry by entry."""
    key = place.key()
    with _open(params["archive"]) as stream:
        found = _digest(stream)
        if found != params["sha256"]:
            raise VenomError(
                "digest_mismatch",
                wanted=f"{params['archive']} with the SHA-256 {params['sha256']}",
                found=found,
                todo="do not use it; save and carry the cache again",
                path=params["archive"],
            )
        stream.seek(0)
        with place.acting():
            staging = os.path.join(place.folder, entries.CACHE, files.temporary_name())
            files.make_folders(staging, 0o700)
            try:
                for name in archives.unpack(stream, staging, frozenset(missing), key, int(params["max_gb"] * GB)):
                    _put(staging, place.folder, name)
            finally:
                shutil.rmtree(staging, ignore_errors=True)


def _digest(stream: t.BinaryIO) -> str:
    sink = archives.HashingWriter(None)
    shutil.copyfileobj(stream, sink, _CHUNK)
    return sink.sha256


def _open(path: str) -> t.BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        todo = "copy it there first"
        raise VenomError("not_installed", wanted=f"the archive {path} on the host", found="no such file", todo=todo, path=path) from error


def _put(staging: str, folder: str, name: str) -> None:
    """One entry in its place, whole. What the server has made itself meanwhile stays."""
    source, target = files.safe_join(staging, name), files.safe_join(folder, name)
    files.make_folders(os.path.dirname(target), 0o700)
    if entries.section_of(name).folders:
        try:
            os.rename(source, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    else:
        # A rename would replace a file that is there.
        with contextlib.suppress(FileExistsError):
            os.link(source, target)
    files.fsync_folder(os.path.dirname(target))
