# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive that another host has made is taken word for word as its index says, or not at all."""
from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import stat
import tarfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import compile_cache_archive as archive
from ansible_collections.venom.llm.plugins.module_utils.compile_cache_entries import scan
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.compile_cache_samples import (
    COMPILED,
    ENTRIES,
    FILES,
    INFO,
    KERNEL,
    KEY,
    fill,
    tree,
)

KERNEL_FILE = f"{KERNEL}/kernel.cubin"
BIG = 10**9
Members = list[tuple[tarfile.TarInfo, bytes]]


def plain(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    """A member that an attacker chose."""
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname, member.mode = kind, len(content), target, 0o6777
    return member, content


def index(*entries: tuple[str, int, int], **more: t.Any) -> tuple[tarfile.TarInfo, bytes]:
    """The index of these entries: name, files, bytes."""
    listed = [{"name": name, "files": files, "bytes": size} for name, files, size in entries]
    return plain(archive.INDEX, json.dumps({"format": 1, "key": KEY.describe(), "entries": listed, **more}).encode())


def made_of(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    """An archive."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    target.seek(0)
    return target


def unpack(folder: Path, stream: t.BinaryIO, *wanted: str, max_bytes: int = BIG) -> list[str]:
    folder.mkdir(exist_ok=True)
    return archive.unpack(stream, str(folder), frozenset(wanted or (KERNEL,)), KEY, max_bytes)


def reason(folder: Path, stream: t.BinaryIO, *wanted: str, max_bytes: int = BIG) -> str:
    with pytest.raises(VenomError) as caught:
        unpack(folder, stream, *wanted, max_bytes=max_bytes)
    return caught.value.reason_code


@pytest.fixture()
def packed(tmp_path: Path) -> bytes:
    """A whole cache."""
    fill(tmp_path / "from")
    (tmp_path / "from").chmod(0o700)
    target = io.BytesIO()
    sink = archive.HashingWriter(target)
    archive.pack(str(tmp_path / "from"), scan(str(tmp_path / "from"), os.getuid()).entries, KEY, sink)
    assert sink.size == len(target.getvalue())
    return target.getvalue()


def test_there_and_back(tmp_path: Path, packed: bytes) -> None:
    assert unpack(tmp_path / "to", io.BytesIO(packed), *ENTRIES) == ENTRIES
    assert tree(tmp_path / "to") == FILES


def test_only_what_is_wanted_is_written(tmp_path: Path, packed: bytes) -> None:
    assert unpack(tmp_path / "to", io.BytesIO(packed), INFO) == [INFO] and set(tree(tmp_path / "to")) == {INFO}


def test_no_owner_no_time_and_no_wide_mode_is_taken(tmp_path: Path) -> None:
    member, content = plain(KERNEL_FILE, b"x")
    member.uid, member.mtime = 0, 1
    unpack(tmp_path / "to", made_of(index((KERNEL, 1, 1)), (member, content)))
    status = (tmp_path / "to" / KERNEL_FILE).stat()
    assert stat.S_IMODE(status.st_mode) == 0o700 and status.st_mtime > 1 and status.st_uid == os.getuid()
    assert stat.S_IMODE((tmp_path / "to" / KERNEL).stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "member",
    [
        plain(KERNEL_FILE, kind=tarfile.SYMTYPE, target="/etc/passwd"), plain(KERNEL_FILE, kind=tarfile.LNKTYPE, target="/etc/passwd"),
        plain(KERNEL_FILE, kind=tarfile.FIFOTYPE), plain(KERNEL_FILE, kind=tarfile.CHRTYPE), plain(KERNEL, kind=tarfile.DIRTYPE),
        plain("/etc/passwd"), plain("../../etc/passwd"), plain(f"{KERNEL}/../../../x"), plain(f"{KERNEL}/.venom.1.x"), plain("cache/triton/OTHER/x"),
        plain("cache/huggingface/token"), plain(KERNEL), plain(f"{KERNEL}/a\\b"), plain(f"{INFO}/below"), plain(archive.INDEX), plain(""),
    ],
    ids=lambda item: f"{item[0].type!r} {item[0].name}",
)  # fmt: skip
def test_members_that_are_not_taken(tmp_path: Path, member: tuple[tarfile.TarInfo, bytes]) -> None:
    stream = made_of(index((KERNEL, 1, 0), (INFO, 1, 0)), member)
    assert reason(tmp_path / "to", stream, KERNEL, INFO) in ("cache_refused", "invalid_name")
    assert tree(tmp_path / "to") == {} and set(os.listdir(tmp_path)) == {"to"}


def test_a_file_twice(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        unpack(tmp_path / "to", made_of(index((KERNEL, 2, 2)), plain(KERNEL_FILE, b"a"), plain(KERNEL_FILE, b"b")))


@pytest.mark.parametrize(
    "members",
    [
        [index((KERNEL, 1, 1)), plain(KERNEL_FILE, b"xx")],
        [index((KERNEL, 1, 9)), plain(KERNEL_FILE, b"x"), plain(f"{KERNEL}/more", b"x")],
        [index((KERNEL, 2, 1)), plain(KERNEL_FILE, b"x")],
        [index((KERNEL, 1, 2)), plain(KERNEL_FILE, b"x")],
        [index((KERNEL, 1, 1))],
        [index((INFO, 1, 1)), plain(INFO, b"x")],
        [plain(KERNEL_FILE, b"x"), index((KERNEL, 1, 1))],
        [plain(archive.INDEX, b"no json")],
        [plain(archive.INDEX, b"[]")],
        [index(format=2)],
        [index(key=None)],
        [index(entries=[{"name": KERNEL}])],
        [index(("cache/huggingface/x", 1, 1))],
        [plain(archive.INDEX, kind=tarfile.DIRTYPE)],
        [],
    ],
)
def test_an_archive_that_is_not_what_its_index_says(tmp_path: Path, members: Members) -> None:
    assert reason(tmp_path / "to", made_of(*members)) == "cache_refused"


def test_an_index_that_would_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_MAX_INDEX", 100)
    assert reason(tmp_path / "to", made_of(index((KERNEL, 1, 1)), plain(KERNEL_FILE, b"x"))) == "cache_refused"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_archive(tmp_path: Path, packed: bytes, share: float) -> None:
    assert reason(tmp_path / "to", io.BytesIO(packed[: int(len(packed) * share)]), *ENTRIES) == "cache_refused"


def test_no_archive_at_all(tmp_path: Path) -> None:
    assert reason(tmp_path / "to", io.BytesIO(b"something else" * 100)) == "cache_refused"
    assert reason(tmp_path / "to", io.BytesIO(gzip.compress(b"something else" * 100))) == "cache_refused"


@pytest.mark.parametrize("field", ["driver", "folder", "gpus", "packages"])
def test_another_kind_of_host(tmp_path: Path, field: str) -> None:
    stream = made_of(index((KERNEL, 1, 1), key={**KEY.describe(), field: "other"}), plain(KERNEL_FILE, b"x"))
    assert reason(tmp_path / "to", stream) == "incompatible_runtime" and tree(tmp_path / "to") == {}
    lacking = made_of(index((KERNEL, 1, 1), key={name: value for name, value in KEY.describe().items() if name != field}), plain(KERNEL_FILE, b"x"))
    assert reason(tmp_path / "to", lacking) == "incompatible_runtime"


def test_the_limit_is_that_of_the_receiver(tmp_path: Path, packed: bytes) -> None:
    assert reason(tmp_path / "to", io.BytesIO(packed), *ENTRIES, max_bytes=1000) == "quota_exceeded" and tree(tmp_path / "to") == {}
    assert unpack(tmp_path / "to", io.BytesIO(packed), INFO, max_bytes=1000) == [INFO], "what is not wanted does not count"


def test_equal_files_make_equal_bytes_whoever_packs(tmp_path: Path, packed: bytes) -> None:
    fill(tmp_path / "again")
    (tmp_path / "again").chmod(0o700)
    entries = scan(str(tmp_path / "again"), os.getuid()).entries
    first, other = archive.HashingWriter(None), archive.HashingWriter(None)
    archive.pack(str(tmp_path / "again"), entries, KEY, first)
    assert first.size == len(packed)
    archive.pack(str(tmp_path / "again"), entries, dataclasses.replace(KEY, driver="571"), other)
    assert first.sha256 != other.sha256


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_has_taken_the_place_of_a_file(tmp_path: Path, packed: bytes, kind: str) -> None:
    folder = tmp_path / "from"
    entries = scan(str(folder), os.getuid()).entries
    path = folder / COMPILED / "cache_key_factors.json"
    path.unlink()
    if kind == "link":
        path.symlink_to("/etc/passwd")
    else:
        os.mkfifo(path)
    sink = archive.HashingWriter(None)
    with pytest.raises((VenomError, OSError)) as caught:
        archive.pack(str(folder), entries, KEY, sink)
    assert getattr(caught.value, "reason_code", "locked") == "locked"
