# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The link to the version that runs: read, checked, moved in one step."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.program_link import ProgramLink


@pytest.fixture()
def link(tmp_path: Path) -> ProgramLink:
    for version in ("1.0", "2.0-rc1+cpu"):
        program = tmp_path / version / "bin" / "ollama"
        program.parent.mkdir(parents=True)
        program.touch(0o755)
    (tmp_path / "broken" / "bin").mkdir(parents=True)
    return ProgramLink.from_program(str(tmp_path / "current" / "bin" / "ollama"))


def code(version: str, link: ProgramLink) -> str:
    with pytest.raises(VenomError) as caught:
        link.check(version)
    return caught.value.reason_code


@pytest.mark.parametrize("program", ["/usr/bin/ollama", "/opt/current", "current/bin/x", "/current/bin/x", ""])
def test_a_program_that_goes_through_no_link(program: str) -> None:
    with pytest.raises(VenomError) as caught:
        ProgramLink.from_program(program)
    assert caught.value.reason_code == "invalid_option"


def test_it_is_set_moved_and_removed(link: ProgramLink) -> None:
    assert link.version() == "" and link.installed() == ["1.0", "2.0-rc1+cpu"]
    for version in ("1.0", "2.0-rc1+cpu", "1.0"):
        link.check(version)
        link.point(version)
        assert link.version() == version == os.readlink(link.path) and os.access(os.path.join(link.path, link.tail), os.X_OK)
    link.point("")
    assert link.version() == "" and not os.path.lexists(link.path)
    link.point("")
    assert sorted(os.listdir(link.folder)) == ["1.0", "2.0-rc1+cpu", "broken"]


@pytest.mark.parametrize("version", ["3.0", "broken"])
def test_a_version_that_is_not_there(link: ProgramLink, version: str) -> None:
    assert code(version, link) == "not_installed"


@pytest.mark.parametrize("version", ["", "current", "..", "../1.0", "1.0/", "-1", "a\nb"])
def test_what_is_no_version(link: ProgramLink, version: str) -> None:
    assert code(version, link) == "invalid_option"


def test_something_else_in_its_place_is_not_overwritten_by_a_guess(link: ProgramLink) -> None:
    os.mkdir(link.path)
    with pytest.raises(VenomError) as caught:
        link.version()
    assert caught.value.reason_code == "invalid_option"
    with pytest.raises(OSError, match="directory"):
        link.point("1.0")
    assert sorted(os.listdir(link.folder)) == ["1.0", "2.0-rc1+cpu", "broken", "current"]
