# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release is there whole and verified, or what was there before stands."""
from __future__ import annotations

import hashlib
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import archives, files, release
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from lab.ollama.archive import build

VERSION = "0.16.3"


def params(folder: Path, **more: t.Any) -> dict[str, t.Any]:
    """Parameters of the module for a release of the stand-in."""
    (folder / "download").mkdir(exist_ok=True)
    archive, sha256 = build(folder / "download", VERSION, "tar.zst")
    return {
        "archive": str(archive), "sha256": sha256, "folder": str(folder / "opt/ollama" / VERSION), "program": "bin/ollama", "marker": ".complete",
        "proof": ["--version"], "consume": False, "lock_timeout": 5.0, **more,
    }  # fmt: skip


def reason(given: dict[str, t.Any], check_mode: bool = False) -> str:
    """Why it is refused."""
    with pytest.raises(VenomError) as caught:
        release.operate(given, check_mode)
    return caught.value.reason_code


def leftovers(given: dict[str, t.Any]) -> list[str]:
    """What lies in the folder of versions."""
    parent = Path(given["folder"]).parent
    return sorted(path.name for path in parent.iterdir() if path.name != ".lock") if parent.exists() else []


def test_check_mode_says_what_the_real_run_does_and_writes_nothing(tmp_path: Path) -> None:
    given = params(tmp_path)
    assert release.operate(given, True)["changed"] is True and leftovers(given) == []
    result = release.operate(given, False)
    assert result["changed"] is True and result["files"] > 20 and result["size_bytes"] > 100_000
    assert (Path(given["folder"]) / ".complete").read_text(encoding="ascii") == f"sha256 {given['sha256']}\n"
    Path(given["archive"]).unlink()
    assert release.operate(given, False)["changed"] is False, "what is there needs no archive"
    assert release.operate(given, True)["changed"] is False


def test_a_wrong_digest_stops_before_anything_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "unpack", lambda *dummy: pytest.fail("it was unpacked"))
    given = params(tmp_path, sha256="0" * 64)
    assert reason(given) == "digest_mismatch" and reason(given, check_mode=True) == "digest_mismatch"
    assert leftovers(given) == []


@pytest.mark.parametrize("digest", ["SHA256:", "sha256:", ""])
def test_the_digest_may_be_written_as_releases_write_it(tmp_path: Path, digest: str) -> None:
    given = params(tmp_path)
    assert release.operate(dict(given, sha256=digest + given["sha256"].upper()), False)["changed"]


@pytest.mark.parametrize("option", [{"sha256": "abc"}, {"sha256": ""}, {"marker": "../x"}, {"marker": "plain"}])
def test_options_without_sense(tmp_path: Path, option: dict[str, str]) -> None:
    assert reason(params(tmp_path, **option)) == "invalid_option"


def test_what_was_there_without_the_marker_is_replaced(tmp_path: Path) -> None:
    given = params(tmp_path)
    old = Path(given["folder"])
    (old / "bin").mkdir(parents=True)
    (old / "stale").touch()
    assert release.operate(given, False)["changed"]
    assert not (old / "stale").exists() and leftovers(given) == [VERSION]


def test_a_failure_leaves_the_earlier_content_and_no_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = params(tmp_path)
    old = Path(given["folder"])
    old.mkdir(parents=True)
    (old / "earlier").touch()

    def full(*dummy: t.Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "write_new", full)
    with pytest.raises(OSError, match="No space left"):
        release.operate(given, False)
    assert leftovers(given) == [VERSION] and [path.name for path in old.iterdir()] == ["earlier"]


def test_what_a_killed_run_left_is_swept(tmp_path: Path) -> None:
    given = params(tmp_path)
    scratch = Path(given["folder"]).parent / files.temporary_name()
    (scratch / "bin").mkdir(parents=True)
    release.operate(given, False)
    assert leftovers(given) == [VERSION]


def test_a_program_that_is_missing_or_does_not_run_is_not_put_in_place(tmp_path: Path) -> None:
    assert reason(params(tmp_path, program="bin/other")) == "unsupported_source"
    given = params(tmp_path, proof=["no-such-command"])
    assert reason(given) == "incompatible_runtime" and leftovers(given) == []


def test_a_program_for_another_machine(tmp_path: Path) -> None:
    given = params(tmp_path)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/ollama"
    program.write_bytes(b"\x7fELF no program of this machine")
    program.chmod(0o755)
    with pytest.raises(VenomError) as caught:
        release.prove(release.Release.from_params(given), str(tmp_path))
    assert caught.value.reason_code == "incompatible_runtime"


@pytest.mark.parametrize("sha256", [None, "0" * 64])
def test_a_fetched_archive_is_consumed_whatever_happens(tmp_path: Path, sha256: str | None) -> None:
    given = params(tmp_path, consume=True)
    if sha256 is None:
        release.operate(given, False)
    else:
        assert reason(dict(given, sha256=sha256)) == "digest_mismatch"
    assert not Path(given["archive"]).exists()


def test_check_mode_consumes_nothing(tmp_path: Path) -> None:
    given = params(tmp_path, consume=True)
    release.operate(given, True)
    assert hashlib.sha256(Path(given["archive"]).read_bytes()).hexdigest() == given["sha256"]


def test_no_archive(tmp_path: Path) -> None:
    given = params(tmp_path)
    Path(given["archive"]).unlink()
    assert release.operate(given, True)["changed"], "an earlier task would have fetched it"
    assert reason(given) == "not_installed"


def test_another_run_is_waited_for(tmp_path: Path) -> None:
    given = params(tmp_path, lock_timeout=0.0)
    with files.Lock(str(Path(given["folder"]).parent / ".lock"), 0):
        assert reason(given) == "locked"
