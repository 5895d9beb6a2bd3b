# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root touches the files of an account with the rights of that account, and is root again afterwards."""
from __future__ import annotations

import os
import tempfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.acting_as import acting_as
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")
UID, GID = 1234, 1235


@pytest.fixture()
def open_folder() -> t.Iterator[Path]:
    """Other accounts may pass it, unlike the folders of pytest."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def identity() -> tuple[int, int, list[int], int]:
    return os.geteuid(), os.getegid(), sorted(os.getgroups()), os.getuid()


def test_as_oneself_nothing_changes() -> None:
    before = identity()
    with acting_as(os.geteuid(), os.getegid()):
        assert identity() == before


@as_root
def test_root_becomes_the_account_for_a_while(open_folder: Path) -> None:
    before = identity()
    secret, own = open_folder / "secret", open_folder / "own"
    secret.write_text("x")
    secret.chmod(0o600)
    own.mkdir()
    os.chown(own, UID, GID)
    with acting_as(UID, GID):
        assert identity() == (UID, GID, [GID], 0)
        (own / "file").write_text("x")
        with pytest.raises(PermissionError):
            secret.read_text()
    assert identity() == before and ((own / "file").stat().st_uid, (own / "file").stat().st_gid) == (UID, GID)


@as_root
def test_whatever_happens_root_is_root_again() -> None:
    before = identity()
    with pytest.raises(KeyError), acting_as(UID, GID):
        raise KeyError("x")
    assert identity() == before


@as_root
def test_an_account_cannot_become_another() -> None:
    with acting_as(UID, GID):
        with pytest.raises(VenomError) as caught, acting_as(UID + 1, GID):
            raise AssertionError("it became another account")
        assert caught.value.reason_code == "permission_denied"
