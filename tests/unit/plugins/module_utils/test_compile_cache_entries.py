# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a server's folder is an entry, and what in it may not be carried."""
from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import compile_cache_entries
from ansible_collections.venom.llm.plugins.module_utils.compile_cache_entries import is_passing, scan, section_of
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.compile_cache_samples import (
    AHEAD,
    COMPILED,
    ENTRIES,
    FILES,
    GEMM,
    INFO,
    KERNEL,
    SOURCE,
    TUNED,
    fill,
    write,
)

UID = os.getuid()


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """A server's folder with a whole cache."""
    fill(tmp_path)
    tmp_path.chmod(0o700)
    return tmp_path


def test_every_entry_is_found_with_its_files_and_nothing_else(folder: Path) -> None:
    found = scan(str(folder), UID)
    assert found.fault == "" and [entry.name for entry in found.entries] == ENTRIES
    assert {item.path: item.size for entry in found.entries for item in entry.files} == {name: len(content) for name, content in FILES.items()}
    assert {item.path for entry in found.entries for item in entry.files if item.executable} == {name for name in FILES if name.endswith(".so")}


def test_an_empty_folder_is_an_entry_that_was_begun(folder: Path) -> None:
    (folder / "cache/triton/BEGUN/deep").mkdir(parents=True, mode=0o700)
    (entry,) = (entry for entry in scan(str(folder), UID).entries if entry.name == "cache/triton/BEGUN")
    assert entry.files == () and entry.size == 0


def test_no_cache_at_all(tmp_path: Path) -> None:
    assert scan(str(tmp_path / "none"), UID) == compile_cache_entries.Listing()


@pytest.mark.parametrize("where", [f"{KERNEL}/x", f"{COMPILED}/rank_0_0/x", "cache/inductor/xy/x", "cache/vllm/modelinfos/x"])
@pytest.mark.parametrize("kind", ["link", "link to a folder", "pipe", "socket", "writable", "name"])
def test_what_may_not_be_carried(folder: Path, where: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / where
    if kind.startswith("link"):
        path.symlink_to("/etc/passwd" if kind == "link" else "/etc")
        wanted = f"{where} is a symlink"
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
        wanted = f"{where} is neither file nor folder"
    elif kind == "socket":
        # The path of a socket has at most 107 characters.
        monkeypatch.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("x")
        wanted = f"{where} is neither file nor folder"
    elif kind == "writable":
        write(path, mode=0o620)
        wanted = f"{where} can be written by others"
    else:
        write(path.parent / "a\nb")
        wanted = f"{Path(where).parent}/a\nb has a name that is not carried"
    found = scan(str(folder), UID)
    assert found.fault.startswith(wanted)
    assert {item.path for entry in found.entries for item in entry.files} == set(FILES)


@pytest.mark.skipif(UID != 0, reason="only root can give files away")
def test_files_of_another_account(folder: Path) -> None:
    found = scan(str(folder), UID + 1)
    assert found.entries == () and "belongs to uid" in found.fault
    write(folder / KERNEL / "x")
    os.chown(folder / KERNEL / "x", UID + 1, -1)
    assert scan(str(folder), UID).fault == f"{KERNEL}/x belongs to uid {UID + 1}, not to {UID}"


def test_a_folder_above_that_others_may_change(tmp_path: Path) -> None:
    folder = tmp_path / "open/vllm"
    fill(folder)
    folder.chmod(0o700)
    for mode, fault in ((0o775, f"{folder.parent} can be written by others"), (0o1777, ""), (0o755, "")):
        folder.parent.chmod(mode)
        assert scan(str(folder), UID).fault == fault


@pytest.mark.parametrize("part", ["cache", "cache/vllm", "cache/vllm/torch_compile_cache"])
def test_a_link_on_the_way(folder: Path, part: str) -> None:
    (folder / part).rename(folder / "moved")
    (folder / part).symlink_to(folder / "moved")
    assert scan(str(folder), UID).fault == f"{part} is a symlink"


def test_a_file_on_the_way(tmp_path: Path) -> None:
    write(tmp_path / "cache/triton")
    tmp_path.chmod(0o700)
    assert scan(str(tmp_path), UID).fault == "cache/triton is not a folder"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (KERNEL, "cache/triton"), (SOURCE, "cache/inductor"), ("cache/inductor/loose", "cache/inductor"), (INFO, "cache/vllm/modelinfos"),
        (TUNED, "cache/vllm/flashinfer_autotune_cache"), (GEMM, "cache/vllm/deep_gemm/cache"), (COMPILED, "cache/vllm/torch_compile_cache"),
        (AHEAD, "cache/vllm/torch_compile_cache/torch_aot_compile"),
    ],
)  # fmt: skip
def test_where_an_entry_belongs(name: str, path: str) -> None:
    assert section_of(name).path == path


@pytest.mark.parametrize(
    "name",
    [
        "", "/x", "../x", "cache/triton/../x", "cache/triton", "cache/triton/", "cache/triton/a/b", "cache/huggingface/x", "cache/inductor",
        "cache/vllm/startup_plan/x", "cache/vllm/torch_compile_cache/torch_aot_compile", "cache/triton/.venom.1.2", "cache/inductor/x.lock",
        "cache/inductor/locks/x", "cache/inductorx/y", "cache/triton/a\nb", "index.json",
    ],
)  # fmt: skip
def test_names_that_are_no_entry(name: str) -> None:
    with pytest.raises(VenomError) as caught:
        section_of(name)
    assert caught.value.reason_code in ("cache_refused", "invalid_name")


@pytest.mark.parametrize("name", ["x.lock", "lock", "locks", "tmp.pid_1_2", ".autotune_configs.json.ab.tmp", "__pycache__", ".venom.1.ab"])
def test_what_is_there_for_a_moment_only(name: str) -> None:
    assert is_passing(name)


@pytest.mark.parametrize("name", ["model", "clock", "x.locked", "tmp.py", "tmpabc.so", "rank_0_0", "index.json"])
def test_what_stays(name: str) -> None:
    assert not is_passing(name)
