# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in packed as Ollama packs its releases: ``bin/ollama`` and ``lib/ollama/``, as .tgz or .tar.zst, with any version number."""
from __future__ import annotations

import ctypes
import gzip
import hashlib
import io
import tarfile
import typing as t
from pathlib import Path

from lab.ollama.server import ROOT

#: Finds its own code beside itself, wherever it was unpacked.
_PROGRAM = """\
#!/usr/bin/python3
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "lib", "ollama"))
os.environ.setdefault("LAB_OLLAMA_VERSION", "{version}")
os.environ.setdefault("LAB_OLLAMA_TIME_SCALE", "0.01")
from lab.ollama.cli import main

sys.exit(main())
"""


def content(version: str) -> bytes:
    """The tar archive. A library with a link to it is there because real releases have such."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        _add(archive, "bin/ollama", _PROGRAM.replace("{version}", version).encode(), 0o755)
        _add(archive, "lib/ollama/libggml.so.1.0", b"no library\n", 0o644)
        link = tarfile.TarInfo("lib/ollama/libggml.so.1")
        link.type, link.linkname = tarfile.SYMTYPE, "libggml.so.1.0"
        archive.addfile(link)
        for path in (ROOT / "lab/__init__.py", *sorted((ROOT / "lab/ollama").glob("*.py"))):
            _add(archive, f"lib/ollama/{path.relative_to(ROOT)}", path.read_bytes(), 0o644)
    return packed.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    member = tarfile.TarInfo(f"./{name}")
    member.size, member.mode = len(data), mode
    archive.addfile(member, io.BytesIO(data))


def compress(data: bytes) -> bytes:
    """One Zstandard frame."""
    library = ctypes.CDLL("libzstd.so.1")
    for name in ("ZSTD_compressBound", "ZSTD_compress"):
        getattr(library, name).restype = ctypes.c_size_t
    size = library.ZSTD_compressBound(ctypes.c_size_t(len(data)))
    buffer = ctypes.create_string_buffer(size)
    written = library.ZSTD_compress(buffer, ctypes.c_size_t(size), data, ctypes.c_size_t(len(data)), ctypes.c_int(3))
    if library.ZSTD_isError(ctypes.c_size_t(written)):
        raise OSError("ZSTD_compress failed")
    return buffer.raw[:written]


#: Suffix of the file: how its content is packed.
KINDS: dict[str, t.Callable[[bytes], bytes]] = {"tgz": lambda data: gzip.compress(data, mtime=0), "tar.zst": compress}


def build(folder: Path, version: str, kind: str) -> tuple[Path, str]:
    """Write an archive; its path and its SHA-256."""
    packed = KINDS[kind](content(version))
    path = folder / f"ollama-{version}.{kind}"
    path.write_bytes(packed)
    return path, hashlib.sha256(packed).hexdigest()
