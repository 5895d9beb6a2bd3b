# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Zstandard streams without a package of their own: by the library that dpkg and systemd use anyway, else by the program ``zstd``."""
from __future__ import annotations

import ctypes
import io
import shutil
import subprocess
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

#: The first four bytes of a frame (RFC 8878).
MAGIC = b"\x28\xb5\x2f\xfd"
_CHUNK = 1024 * 1024
_LIBRARY = "libzstd.so.1"


class ZstdError(OSError):
    """The stream is cut or no Zstandard."""


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer of zstd.h."""

    _fields_ = (("pointer", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t))


def load_library() -> ctypes.CDLL | None:
    """The shared library, None where the host has none."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    library.ZSTD_createDStream.restype = ctypes.c_void_p
    library.ZSTD_createDStream.argtypes = ()
    library.ZSTD_freeDStream.argtypes = (ctypes.c_void_p,)
    library.ZSTD_decompressStream.restype = ctypes.c_size_t
    library.ZSTD_decompressStream.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Buffer), ctypes.POINTER(_Buffer))
    library.ZSTD_isError.argtypes = (ctypes.c_size_t,)
    library.ZSTD_getErrorName.restype = ctypes.c_char_p
    library.ZSTD_getErrorName.argtypes = (ctypes.c_size_t,)
    return library


class LibraryReader(io.RawIOBase):
    """What a compressed stream holds, frame after frame. Raises ``ZstdError``."""

    def __init__(self, source: t.BinaryIO, library: ctypes.CDLL) -> None:
        self._source = source
        self._library = library
        self._context = library.ZSTD_createDStream()
        if not self._context:
            raise MemoryError("ZSTD_createDStream")
        self._input = _Buffer(None, 0, 0)
        self._kept = b""
        self._is_inside = False

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: t.Any) -> int:
        """Fill the buffer as far as one step gives; 0 at the end of the last frame."""
        size = len(buffer)
        if not size:
            return 0
        target = (ctypes.c_char * size).from_buffer(buffer)
        output = _Buffer(ctypes.addressof(target), size, 0)
        while output.position == 0:
            if self._input.position == self._input.size and not self._refill():
                if self._is_inside:
                    raise ZstdError("the stream ends in the middle of a frame")
                return 0
            code = self._library.ZSTD_decompressStream(self._context, ctypes.byref(output), ctypes.byref(self._input))
            if self._library.ZSTD_isError(code):
                raise ZstdError(self._library.ZSTD_getErrorName(code).decode("ascii", "replace"))
            self._is_inside = code != 0
        return int(output.position)

    def _refill(self) -> bool:
        self._kept = self._source.read(_CHUNK)
        address = ctypes.cast(ctypes.c_char_p(self._kept), ctypes.c_void_p).value
        self._input = _Buffer(address, len(self._kept), 0)
        return bool(self._kept)

    def close(self) -> None:
        """Give the decoder back; the source stays open."""
        if not self.closed and self._context:
            self._library.ZSTD_freeDStream(self._context)
            self._context = None
        super().close()


class ProgramReader(io.RawIOBase):
    """The same through ``zstd -dc``. Raises ``ZstdError`` at the end when the program did."""

    def __init__(self, source: t.BinaryIO, program: str) -> None:
        argv = [program, "-dc", "--memory=2048MB"]
        self._process = subprocess.Popen(argv, stdin=source.fileno(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: t.Any) -> int:
        """Fill the buffer from the pipe; 0 when the program has ended well."""
        stdout = t.cast(t.BinaryIO, self._process.stdout)
        data = stdout.read(len(buffer))
        buffer[: len(data)] = data
        if not data and len(buffer):
            text = t.cast(t.BinaryIO, self._process.stderr).read().decode("utf-8", "replace").strip()
            if self._process.wait():
                raise ZstdError(text or f"zstd ended with {self._process.returncode}")
        return len(data)

    def close(self) -> None:
        """End the program."""
        if not self.closed:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            for stream in (self._process.stdout, self._process.stderr):
                t.cast(t.BinaryIO, stream).close()
        super().close()


def open_zstd(source: t.BinaryIO, library: ctypes.CDLL | None, program: str | None) -> io.BufferedReader:
    """A stream of what ``source`` holds. Raises ``not_installed`` where neither library nor program is given."""
    raw: io.RawIOBase
    if library is not None:
        raw = LibraryReader(source, library)
    elif program is not None:
        raw = ProgramReader(source, program)
    else:
        raise VenomError(
            "not_installed",
            wanted="to unpack a Zstandard archive",
            found=f"neither the library {_LIBRARY} nor the program zstd on this host",
            todo="install the package zstd, or give an archive that is packed with gzip (.tgz)",
        )
    return io.BufferedReader(raw, _CHUNK)


def open_here(source: t.BinaryIO) -> io.BufferedReader:
    """``open_zstd`` with what this host has."""
    return open_zstd(source, load_library(), shutil.which("zstd"))
