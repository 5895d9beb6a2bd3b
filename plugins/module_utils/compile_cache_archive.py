# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of a compile cache as one file: an index that says for whom they are, and their files. Equal caches make equal bytes."""
from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
import typing as t
import zlib

from ansible_collections.venom.llm.plugins.module_utils.archives import write_new
from ansible_collections.venom.llm.plugins.module_utils.compile_cache_entries import CachedFile, Entry, refused, section_of
from ansible_collections.venom.llm.plugins.module_utils.compile_cache_key import CacheKey, differences
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import make_folders, safe_join

INDEX = "index.json"
_FORMAT = 1
#: Bytes. An entry takes about a hundred of them.
_MAX_INDEX = 16 * 1024 * 1024
#: Compiled code becomes a quarter of its size at any level, and the fastest does not hold up the line.
_LEVEL = 1


class HashingWriter:
    """Where an archive goes: into ``stream``, if there is one, with its digest and size taken on the way."""

    def __init__(self, stream: t.BinaryIO | None) -> None:
        self._stream = stream
        self._sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """All of the data, or ``OSError``."""
        self._sha256.update(data)
        self.size += len(data)
        if self._stream is not None:
            self._stream.write(data)
        return len(data)

    def flush(self) -> None:
        """The stream is whose it was; whoever closes it has all of it written."""

    @property
    def sha256(self) -> str:
        """Of all that was written."""
        return self._sha256.hexdigest()


def pack(folder: str, entries: t.Sequence[Entry], key: CacheKey, sink: HashingWriter) -> None:
    """Write the entries below ``folder`` into the sink. Raises ``locked`` for a file that changes meanwhile, and ``OSError``."""
    index = {"format": _FORMAT, "key": key.describe(), "entries": [entry.describe() for entry in entries]}
    content = json.dumps(index).encode("utf-8")
    with gzip.GzipFile(filename="", fileobj=sink, mode="wb", compresslevel=_LEVEL, mtime=0) as packed, tarfile.open(
        fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT
    ) as archive:
        archive.addfile(_member(INDEX, len(content), False), io.BytesIO(content))
        for entry in entries:
            for item in entry.files:
                _add(archive, folder, item)


def changing(name: str) -> VenomError:
    """Something of the cache was written while it was read."""
    return VenomError(
        "locked", wanted="a compile cache that nobody writes", found=f"{name} changed while it was read", todo="run it again when the server is ready"
    )


def _member(name: str, size: int, executable: bool) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o700 if executable else 0o600
    return member


def _add(archive: tarfile.TarFile, folder: str, item: CachedFile) -> None:
    try:
        # A pipe in the place of the file would hold us for good.
        descriptor = os.open(os.path.join(folder, item.path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise changing(item.path) from None
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or (status.st_size, status.st_mtime_ns, status.st_ino) != (item.size, *item.mark):
            raise changing(item.path)
        try:
            archive.addfile(_member(item.path, item.size, item.executable), stream)
        except OSError as error:
            # tarfile's own word for a file that has become shorter; what the kernel says has a number.
            if error.errno is None:
                raise changing(item.path) from error
            raise


def unpack(stream: t.BinaryIO, folder: str, wanted: frozenset[str], key: CacheKey, max_bytes: int) -> list[str]:
    """Write the files of those entries below an empty folder, for this account alone; the names in the order of the archive.

    Raises ``cache_refused`` for a member that is no plain file or that the index does not announce, for what is wanted and not there
    and for a damaged archive, ``invalid_name`` for a name that leads out, ``incompatible_runtime`` for the code of another kind of host,
    ``disk_full`` before anything is written, and ``OSError``.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|gz") as archive:
            members = iter(archive)
            announced = _read_index(archive, next(members, None), key)
            missing = wanted - set(announced)
            if missing:
                raise refused(f"an archive without {min(missing)}")
            _need_room(folder, [announced[name] for name in wanted], max_bytes)
            counted = {name: [0, 0] for name in announced}
            for member in members:
                name = _entry_of(member, announced)
                counted[name][0] += 1
                counted[name][1] += member.size
                if counted[name][0] > announced[name]["files"] or counted[name][1] > announced[name]["bytes"]:
                    raise refused(f"more of {name} in an archive than its index announces")
                if name in wanted:
                    _write(archive, member, folder)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise refused(f"an archive that is cut or damaged: {error}") from error
    for name, (files, size) in counted.items():
        if (files, size) != (announced[name]["files"], announced[name]["bytes"]):
            raise refused(f"less of {name} in an archive than its index announces")
    return [name for name in announced if name in wanted]


def _read_index(archive: tarfile.TarFile, member: tarfile.TarInfo | None, key: CacheKey) -> dict[str, dict[str, t.Any]]:
    """The announced entries by name."""
    if member is None or member.name != INDEX or not member.isreg() or member.size > _MAX_INDEX:
        raise refused(f"an archive that does not begin with {INDEX}")
    try:
        index = json.loads(t.cast(t.BinaryIO, archive.extractfile(member)).read().decode("utf-8"))
        if index["format"] != _FORMAT:
            raise ValueError(f"format {index['format']!r}")
        entries = {str(entry["name"]): {"files": int(entry["files"]), "bytes": int(entry["bytes"])} for entry in index["entries"]}
        found = dict(index["key"])
    except (ValueError, KeyError, TypeError) as error:
        raise refused(f"an archive with an index that makes no sense: {type(error).__name__}: {error}") from error
    for name in entries:
        section_of(name)
    differing = differences(found, key.describe())
    if differing:
        raise VenomError(
            "incompatible_runtime",
            wanted="code that was compiled on a host like this one",
            found="; ".join(differing),
            todo="take it from a host with the same GPUs, driver, processor, system and vLLM in the same folders",
            differences=differing,
        )
    return entries


def _need_room(folder: str, entries: t.Sequence[t.Mapping[str, int]], max_bytes: int) -> None:
    size = sum(entry["bytes"] for entry in entries)
    check_size(size, max_bytes)
    space = os.statvfs(folder)
    needed = size + sum(entry["files"] for entry in entries) * space.f_frsize
    free = space.f_bavail * space.f_frsize
    if needed > free:
        raise VenomError(
            "disk_full",
            wanted=f"{needed} bytes for a compile cache in {os.path.dirname(folder)}",
            found=f"{free} bytes free",
            todo="free some space; nothing was changed",
        )


def check_size(size: int, max_bytes: int) -> None:
    """Raises ``quota_exceeded`` for a cache over its limit."""
    if size > max_bytes:
        raise VenomError(
            "quota_exceeded",
            wanted=f"a compile cache of at most {max_bytes} bytes",
            found=f"{size} bytes",
            todo="raise max_gb, or delete the cache while the server is stopped and let it be made again, without what no model needs any more",
        )


def _entry_of(member: tarfile.TarInfo, announced: t.Mapping[str, t.Any]) -> str:
    if not member.isreg():
        raise refused(f"{ascii(member.name)} in an archive, which is no plain file")
    name = member.name
    while name and name not in announced:
        name = name.rpartition("/")[0]
    # An entry that is a file has nothing below it, and one that is a folder is no file.
    if not name or section_of(name).folders == (name == member.name):
        raise refused(f"{ascii(member.name)} in an archive, which its index does not announce")
    return name


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: str) -> None:
    path = safe_join(folder, member.name)
    make_folders(os.path.dirname(path), 0o700)
    write_new(t.cast(t.BinaryIO, archive.extractfile(member)), path, 0o700 if member.mode & 0o100 else 0o600)
