# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an archive may put where: honest members arrive, hostile ones are refused and nothing lies outside the folder."""
from __future__ import annotations

import gzip
import io
import os
import tarfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import archives, zstd_stream
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from lab.ollama.archive import KINDS

Member = tuple[str, bytes, bytes, str]


def file(name: str, data: bytes = b"data") -> Member:
    """A regular member."""
    return name, tarfile.REGTYPE, data, ""


def tar(members: t.Iterable[Member], mode: int = 0o644) -> bytes:
    """A tar archive of (name, type, content, target)."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, kind, data, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode, member.uid = kind, target, mode, 4711
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def unpack(folder: Path, packed: bytes) -> tuple[int, int]:
    """Unpack into ``folder/inside``."""
    (folder / "inside").mkdir(exist_ok=True)
    path = folder / "archive"
    path.write_bytes(packed)
    with path.open("rb") as stream:
        return archives.unpack(stream, str(folder / "inside"))


def outside(folder: Path) -> list[str]:
    """What lies beside the folder and the archive."""
    return sorted(path.name for path in folder.iterdir() if path.name not in ("inside", "archive"))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_files_folders_and_links_arrive(tmp_path: Path, kind: str) -> None:
    members = [
        ("./", tarfile.DIRTYPE, b"", ""), ("./lib/", tarfile.DIRTYPE, b"", ""), file("./bin/run", b"#!"), file("lib/a.so.1.0", b"lib"),
        ("lib/a.so.1", tarfile.SYMTYPE, b"", "a.so.1.0"), ("lib/up", tarfile.SYMTYPE, b"", "../bin/run"), ("all", tarfile.SYMTYPE, b"", "."),
        ("same", tarfile.LNKTYPE, b"", "./bin/run"),
    ]  # fmt: skip
    assert unpack(tmp_path, KINDS[kind](tar(members, mode=0o6711))) == (2, 5)
    inside = tmp_path / "inside"
    assert (inside / "lib/a.so.1").read_bytes() == b"lib" and (inside / "lib/up").read_bytes() == b"#!"
    assert os.path.samefile(inside / "same", inside / "bin/run")
    status = (inside / "bin/run").stat()
    assert (status.st_mode & 0o7777, status.st_uid) == (0o755, os.geteuid()), "no set-user-ID, no owner of the archive"


@pytest.mark.parametrize(
    "members",
    [
        [file("../out")],
        [file("lib/../../out")],
        [file("/tmp/venom-out")],
        [file("lib\\..\\..\\out")],
        [file("C:/out")],
        [("lib", tarfile.SYMTYPE, b"", "/etc"), file("lib/out")],
        [("lib", tarfile.SYMTYPE, b"", "..")],
        [("lib", tarfile.SYMTYPE, b"", "../out")],
        [("a/b", tarfile.SYMTYPE, b"", "../../out")],
        [("here", tarfile.SYMTYPE, b"", "."), file("here/out")],
        [("real/", tarfile.DIRTYPE, b"", ""), ("alias", tarfile.SYMTYPE, b"", "real"), file("alias/out")],
        [("out", tarfile.LNKTYPE, b"", "../victim")],
        [("out", tarfile.LNKTYPE, b"", "/etc/passwd")],
        [file(".venom.x")],
        [("here", tarfile.SYMTYPE, b"", "."), ("up", tarfile.SYMTYPE, b"", "here/.."), ("secret", tarfile.SYMTYPE, b"", "up/victim")],
        [("secret", tarfile.SYMTYPE, b"", "up/out"), ("up", tarfile.SYMTYPE, b"", "here/.."), ("here", tarfile.SYMTYPE, b"", ".")],
    ],
    ids=str,
)
def test_a_member_that_would_leave_is_refused(tmp_path: Path, members: list[Member]) -> None:
    (tmp_path / "victim").write_text("untouched", encoding="utf-8")
    with pytest.raises(VenomError) as caught:
        unpack(tmp_path, gzip.compress(tar(members)))
    assert caught.value.reason_code == "invalid_name"
    assert outside(tmp_path) == ["victim"] and (tmp_path / "victim").read_text(encoding="utf-8") == "untouched"
    assert not Path("/tmp/venom-out").exists()


def test_a_link_does_not_lead_a_later_member_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched", encoding="utf-8")
    members = [("a", tarfile.SYMTYPE, b"", "b"), file("a", b"through the link")]
    with pytest.raises(VenomError) as caught:
        unpack(tmp_path, gzip.compress(tar(members)))
    assert caught.value.reason_code == "invalid_name" and not (tmp_path / "inside/b").exists()


def test_the_same_file_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        unpack(tmp_path, gzip.compress(tar([file("a", b"first"), file("a", b"second")])))
    assert (tmp_path / "inside/a").read_bytes() == b"first"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(VenomError) as caught:
        unpack(tmp_path, gzip.compress(tar([("null", kind, b"", "")])))
    assert caught.value.reason_code == "unsupported_source" and list((tmp_path / "inside").iterdir()) == []


@pytest.mark.parametrize(
    "packed",
    [
        b"", b"PK\x03\x04 a zip", tar([file("plain")]), gzip.compress(b"no tar"), gzip.compress(tar([file("a", b"x" * 90_000)]))[:-40],
        zstd_stream.MAGIC + b"no",
    ],  # fmt: skip
    ids=["empty", "zip", "plain tar", "no tar inside", "cut", "no zstd inside"],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, packed: bytes) -> None:
    with pytest.raises(VenomError) as caught:
        unpack(tmp_path, packed)
    assert caught.value.reason_code == "unsupported_source"
