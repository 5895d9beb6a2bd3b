# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Members of a tar archive as files below one folder, and nothing outside it, whatever their names, links and kinds say."""
from __future__ import annotations

import os
import posixpath
import shutil
import tarfile
import typing as t
import zlib

from ansible_collections.venom.llm.plugins.module_utils import zstd_stream
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import make_folders, safe_join

_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1024 * 1024


def unpack(source: t.BinaryIO, folder: str) -> tuple[int, int]:
    """Unpack a .tgz or .tar.zst, told apart by its first bytes, into an empty folder. Returns the files and their bytes.

    Files get 0755 or 0644 and belong to this process; owners, times and other bits of the archive are left aside. Raises
    ``invalid_name`` for a member that would leave the folder, ``unsupported_source`` for one that is neither file, folder nor link
    and for a damaged archive, ``not_installed`` where Zstandard cannot be read, and ``OSError``.
    """
    magic = source.read(4)
    source.seek(0)
    if magic.startswith(_GZIP_MAGIC):
        counted = _unpack_stream(source, "r|gz", folder)
    elif magic == zstd_stream.MAGIC:
        with zstd_stream.open_here(source) as stream:
            counted = _unpack_stream(t.cast(t.BinaryIO, stream), "r|", folder)
    else:
        raise _not_an_archive(f"a file that begins with {magic.hex() or 'nothing'}")
    _refuse_links_out(folder)
    return counted


def _unpack_stream(stream: t.BinaryIO, mode: t.Literal["r|", "r|gz"], folder: str) -> tuple[int, int]:
    files = size = 0
    try:
        with tarfile.open(fileobj=stream, mode=mode) as archive:
            for member in archive:
                written = _extract(archive, member, folder)
                files += written is not None
                size += written or 0
    except (tarfile.TarError, EOFError, zlib.error, zstd_stream.ZstdError) as error:
        raise _not_an_archive(f"it is cut or damaged: {error}") from error
    return files, size


def _not_an_archive(found: str) -> VenomError:
    return VenomError("unsupported_source", wanted="a .tgz or .tar.zst archive", found=found, todo="give the archive as it was released")


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: str) -> int | None:
    """Write one member. Returns the bytes of a file, None for anything else."""
    name = member.name
    while name.startswith("./"):
        name = name[2:]
    if name in ("", ".") and member.isdir():
        return None
    path = safe_join(folder, name.rstrip("/"))
    if member.isdir():
        make_folders(path)
        return None
    make_folders(os.path.dirname(path))
    if member.isreg():
        return write_new(t.cast(t.BinaryIO, archive.extractfile(member)), path, 0o755 if member.mode & 0o111 else 0o644)
    if member.issym():
        _refuse_leaving(name, member.linkname)
        os.symlink(member.linkname, path)
        return None
    if member.islnk():
        os.link(safe_join(folder, _without_dot(member.linkname)), path, follow_symlinks=False)
        return None
    raise VenomError(
        "unsupported_source",
        wanted="files, folders and links in the archive",
        found=f"{ascii(name)} is of the kind {member.type!r}",
        todo="do not use this archive",
    )


def _without_dot(name: str) -> str:
    return name[2:] if name.startswith("./") else name


def _refuse_leaving(name: str, target: str) -> None:
    """Raise ``invalid_name`` for a symlink that leads out of the folder."""
    end = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if posixpath.isabs(target) or end == ".." or end.startswith("../"):
        raise _leaving(name, target)


def _refuse_links_out(folder: str) -> None:
    """Links that stay inside one by one can leave together: ``here -> .``, ``up -> here/..``. So each is followed when all are there."""
    inside = os.path.realpath(folder)
    for parent, folders, names in os.walk(inside):
        for path in (os.path.join(parent, name) for name in (*folders, *names)):
            if os.path.islink(path) and not os.path.realpath(path).startswith(inside + os.sep) and os.path.realpath(path) != inside:
                raise _leaving(os.path.relpath(path, inside), os.readlink(path))


def _leaving(name: str, target: str) -> VenomError:
    found = f"{ascii(name)} leads to {ascii(target)}"
    return VenomError("invalid_name", wanted="links that stay in the archive", found=found, todo="do not use this archive")


def write_new(source: t.BinaryIO, path: str, mode: int) -> int:
    """A file of this mode that was not there, synced. Returns its bytes. Raises ``OSError``."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        shutil.copyfileobj(source, stream, _CHUNK)
        stream.flush()
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
        return stream.tell()
