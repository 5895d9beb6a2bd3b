# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bundle carries beside models: wheels, release archives, the collection itself. Copied whole or not at all."""
from __future__ import annotations

import hashlib
import os
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.venom.llm.plugins.module_utils.bundle_index import open_regular
from ansible_collections.venom.llm.plugins.module_utils.bundle_seal import Advance, hash_of
from ansible_collections.venom.llm.plugins.module_utils.bundles import partial_folder
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import fsync_folder, make_folders, remove_if_there, safe_join, temporary_name
from ansible_collections.venom.llm.plugins.module_utils.names import safe_relative_path
from ansible_collections.venom.llm.plugins.module_utils.store.snapshots import measure_free

_CHUNK_SIZE = 1024 * 1024
_MODE = 0o644


@dataclass(frozen=True)
class Part:
    """One file: ``source`` on the host, ``path`` in the bundle, ``size`` in bytes. ``is_there`` once both were hashed and are equal."""

    source: str
    path: str
    size: int
    sha256: str = ""
    is_there: bool = False


def find_parts(wheels: str | None, archives: t.Sequence[str], collection: str | None) -> list[Part]:
    """The files that are wanted, not hashed yet. Raises ``not_installed`` for what is not there, ``invalid_option``, ``invalid_name``."""
    parts = [_part(path, "archives") for path in archives]
    parts += [_part(collection, "collection")] if collection else []
    if wheels:
        try:
            names = sorted(item.name for item in os.scandir(wheels) if item.is_file() and not item.name.startswith("."))
        except OSError as error:
            raise _missing(wheels, error) from error
        parts += [_part(os.path.join(wheels, name), "wheels") for name in names]
    paths = [part.path for part in parts]
    for path in paths:
        if paths.count(path) > 1:
            raise VenomError(
                "invalid_option", wanted="every archive under a name of its own", found=f"{path} twice", todo="rename one of them", option="archives"
            )
    return parts


def _part(source: str, folder: str) -> Part:
    path = safe_relative_path(f"{folder}/{os.path.basename(source)}")
    try:
        if not os.path.isfile(source):
            raise FileNotFoundError(2, "no such file", source)
        return Part(source, path, os.stat(source).st_size)
    except OSError as error:
        raise _missing(source, error) from error


def _missing(path: str, error: OSError) -> VenomError:
    return VenomError(
        "not_installed",
        wanted=f"{path} on this host, to be carried in the bundle",
        found=error.strerror or str(error),
        todo="put it there, or leave it out",
        path=path,
    )


def compare(root: str, part: Part, advance: Advance) -> Part:
    """The part with its digest, and whether the bundle has the same bytes already."""
    target = safe_join(root, part.path)
    sha256 = hash_of(os.path.realpath(part.source), advance)
    try:
        is_there = os.lstat(target).st_size == part.size and hash_of(target) == sha256
    except FileNotFoundError:
        is_there = False
    return replace(part, sha256=sha256, is_there=is_there)


def check_space(root: str, parts: t.Sequence[Part]) -> None:
    """Raises ``disk_full``."""
    needed, free = sum(part.size for part in parts if not part.is_there), measure_free(root)
    if needed > free:
        raise VenomError(
            "disk_full",
            wanted=f"to write {needed} bytes more into {root}",
            found=f"{free} bytes are free",
            todo="free space or use a larger medium, then export again; what was copied is kept",
            path=root,
            bytes_needed=needed,
        )


def copy(root: str, part: Part, advance: Advance) -> None:
    """Put the file into the bundle by a rename. Raises ``io_error`` where it changed since it was hashed, ``OSError``."""
    partials, target = partial_folder(root), safe_join(root, part.path)
    make_folders(partials)
    temporary = os.path.join(partials, temporary_name())
    sha256 = hashlib.sha256()
    try:
        with open_regular(os.path.realpath(part.source)) as reader, open(temporary, "xb") as writer:
            for chunk in iter(lambda: reader.read(_CHUNK_SIZE), b""):
                sha256.update(chunk)
                writer.write(chunk)
                advance(len(chunk))
            writer.flush()
            os.fchmod(writer.fileno(), _MODE)
            os.fsync(writer.fileno())
        if sha256.hexdigest() != part.sha256:
            raise VenomError(
                "io_error",
                wanted=f"{part.source} to stay as it is while it is copied",
                found="other bytes than a moment ago",
                todo="find out what else writes to it, then export again",
                path=part.source,
            )
        make_folders(os.path.dirname(target))
        os.replace(temporary, target)
    except BaseException:
        remove_if_there(temporary)
        raise
    fsync_folder(os.path.dirname(target))
