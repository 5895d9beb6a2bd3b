# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of digests: what sha256sum reads, and nothing else is taken for one."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import bundle_seal
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.bundle_samples import sha256

ONE, TWO = sha256(b"one"), sha256(b"two")


def test_sha256sum_reads_the_list(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "bundle.json").write_bytes(b"one")
    (tmp_path / "wheels" / "a b.whl").write_bytes(b"two")
    content = bundle_seal.to_bytes({"wheels/a b.whl": TWO, "bundle.json": ONE})
    assert content == f"{ONE}  bundle.json\n{TWO}  wheels/a b.whl\n".encode()
    (tmp_path / "SHA256SUMS").write_bytes(content)
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True)
    assert done.stdout == b"bundle.json: OK\nwheels/a b.whl: OK\n"
    assert bundle_seal.parse_sums(str(tmp_path), content) == {"bundle.json": ONE, "wheels/a b.whl": TWO}
    assert bundle_seal.read_sums(str(tmp_path)) == content


@pytest.mark.parametrize(
    "content",
    [
        f"{ONE}  bundle.json".encode(),
        f"{ONE} *bundle.json\n".encode(),
        f"{ONE[:-1]}  bundle.json\n".encode(),
        f"{ONE.upper()}  bundle.json\n".encode(),
        f"{ONE}  ../bundle.json\n".encode(),
        f"{ONE}  /etc/passwd\n".encode(),
        f"{ONE}  a\n{TWO}  a\n".encode(),
        f"{ONE}  a\n\n".encode(),
        f"\\{ONE}  a\\nb\n".encode(),
        b"\xff",
    ],
)
def test_what_is_no_list(content: bytes) -> None:
    with pytest.raises(VenomError) as caught:
        bundle_seal.parse_sums("/b", content)
    assert caught.value.reason_code == "bundle_invalid"


def test_a_list_is_read_from_a_file_only(tmp_path: Path) -> None:
    assert bundle_seal.read_sums(str(tmp_path)) is None
    os.mkfifo(tmp_path / "SHA256SUMS")
    with pytest.raises(VenomError) as caught:
        bundle_seal.read_sums(str(tmp_path))
    assert caught.value.reason_code == "bundle_invalid"


def test_parts_are_flat_and_of_files(tmp_path: Path) -> None:
    assert bundle_seal.part_files(str(tmp_path)) == []
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a.whl").write_bytes(b"")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes").write_bytes(b"")
    assert bundle_seal.part_files(str(tmp_path)) == ["wheels/a.whl"]
    (tmp_path / "wheels" / "link").symlink_to("/etc/passwd")
    with pytest.raises(VenomError) as caught:
        bundle_seal.part_files(str(tmp_path))
    assert caught.value.reason_code == "bundle_invalid"


def test_a_file_that_is_not_what_the_list_says(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    seen: list[int] = []
    bundle_seal.check_file(str(tmp_path), "a", ONE, seen.append)
    assert seen == [3]
    for path, code in (("a", "digest_mismatch"), ("b", "bundle_invalid")):
        with pytest.raises(VenomError) as caught:
            bundle_seal.check_file(str(tmp_path), path, TWO)
        assert (caught.value.reason_code, caught.value.details["file"]) == (code, path)
