# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Zstandard by the library and by the program: whole streams, cut ones, wrong ones, and hosts with neither."""
from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import zstd_stream
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from lab.ollama.archive import compress

DATA = os.urandom(300_000) + b"venom" * 400_000
LIBRARY = zstd_stream.load_library()
PROGRAM = shutil.which("zstd")


def read(path: Path, by: str) -> bytes:
    """All of a compressed file."""
    with path.open("rb") as source:
        library, program = (LIBRARY, None) if by == "library" else (None, PROGRAM)
        with zstd_stream.open_zstd(t.cast(t.BinaryIO, source), library, program) as stream:
            return stream.read()


def write(folder: Path, data: bytes) -> Path:
    """A file with these bytes."""
    path = folder / "data.zst"
    path.write_bytes(data)
    return path


def ways() -> list[t.Any]:
    """Both, each where this machine has it; the library is on every Debian."""
    return ["library", pytest.param("program", marks=pytest.mark.skipif(PROGRAM is None, reason="no program zstd here"))]


def test_the_library_is_here() -> None:
    assert LIBRARY is not None


@pytest.mark.parametrize("by", ways())
def test_frames_one_after_another_are_one_stream(tmp_path: Path, by: str) -> None:
    assert read(write(tmp_path, compress(DATA) + compress(b"") + compress(b"the end")), by) == DATA + b"the end"


@pytest.mark.parametrize("by", ways())
@pytest.mark.parametrize("length", [5, 1000, 200_000])
def test_a_cut_stream_is_an_error(tmp_path: Path, by: str, length: int) -> None:
    path = write(tmp_path, compress(DATA)[:length])
    with pytest.raises(zstd_stream.ZstdError):
        read(path, by)


@pytest.mark.parametrize("by", ways())
def test_other_bytes_are_an_error(tmp_path: Path, by: str) -> None:
    path = write(tmp_path, zstd_stream.MAGIC + b"no frame at all")
    with pytest.raises(zstd_stream.ZstdError):
        read(path, by)


def test_a_host_with_neither_says_what_to_do(tmp_path: Path) -> None:
    with write(tmp_path, compress(b"x")).open("rb") as source, pytest.raises(VenomError) as caught:
        zstd_stream.open_zstd(source, None, None)
    assert caught.value.reason_code == "not_installed" and ".tgz" in caught.value.todo


def test_a_reader_that_is_closed_early_ends_its_program(tmp_path: Path) -> None:
    with write(tmp_path, compress(DATA)).open("rb") as source:
        stream = zstd_stream.open_zstd(source, None, PROGRAM or "cat")
        stream.close()
        stream.close()
    assert stream.closed
