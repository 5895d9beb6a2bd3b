# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are carried beside models: found, compared, copied by a rename."""
from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import bundle_parts
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.bundle_samples import sha256


def quiet(dummy: int) -> None:
    """Nobody counts."""


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    (folder / "cache").mkdir(parents=True)
    for name in ("b.whl", "a.whl", ".marker"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_files_of_a_folder_and_single_ones(tmp_path: Path, wheels: Path) -> None:
    for name in ("ollama.tgz", "llm.tar.gz"):
        (tmp_path / name).write_bytes(b"x")
    parts = bundle_parts.find_parts(str(wheels), [str(tmp_path / "ollama.tgz")], str(tmp_path / "llm.tar.gz"))
    assert [part.path for part in parts] == ["archives/ollama.tgz", "collection/llm.tar.gz", "wheels/a.whl", "wheels/b.whl"]
    assert bundle_parts.find_parts(None, [], None) == []


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    for found in ({"wheels": str(tmp_path / "no"), "archives": [], "collection": None}, {"wheels": None, "archives": ["/no/a"], "collection": None}):
        with pytest.raises(VenomError) as caught:
            bundle_parts.find_parts(**found)
        assert caught.value.reason_code == "not_installed"
    (tmp_path / "one").mkdir()
    for path in (tmp_path / "a.tgz", tmp_path / "one" / "a.tgz"):
        path.write_bytes(b"")
    with pytest.raises(VenomError) as caught:
        bundle_parts.find_parts(None, [str(tmp_path / "a.tgz"), str(tmp_path / "one" / "a.tgz")], None)
    assert caught.value.reason_code == "invalid_option"


def test_a_file_is_copied_once_and_again_when_it_is_damaged(tmp_path: Path, wheels: Path) -> None:
    root = tmp_path / "bundle"
    root.mkdir()
    target = root / "wheels" / "a.whl"
    for content in (None, b"A.whl", b"short"):
        if content is not None:
            target.write_bytes(content)
        part = bundle_parts.compare(str(root), bundle_parts.find_parts(str(wheels), [], None)[0], quiet)
        assert (part.is_there, part.sha256) == (False, sha256(b"a.whl"))
        bundle_parts.copy(str(root), part, quiet)
        assert target.read_bytes() == b"a.whl"
        assert bundle_parts.compare(str(root), part, quiet).is_there
    assert [path.name for path in (root / "partial").iterdir()] == []


def test_a_file_that_changes_meanwhile_does_not_come_in(tmp_path: Path, wheels: Path) -> None:
    root = tmp_path / "bundle"
    part = bundle_parts.compare(str(root), bundle_parts.find_parts(str(wheels), [], None)[0], quiet)
    (wheels / "a.whl").write_bytes(b"other")
    with pytest.raises(VenomError) as caught:
        bundle_parts.copy(str(root), part, quiet)
    assert caught.value.reason_code == "io_error"
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_room_is_asked_for_before_anything_is_copied(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = bundle_parts.find_parts(str(wheels), [], None)
    monkeypatch.setattr(bundle_parts, "measure_free", lambda dummy: 9)
    with pytest.raises(VenomError) as caught:
        bundle_parts.check_space(str(tmp_path), parts)
    assert (caught.value.reason_code, caught.value.details["bytes_needed"]) == ("disk_full", 10)
