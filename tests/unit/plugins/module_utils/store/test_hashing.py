# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SHA-256 of one file and of many."""
from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.store.hashing import BUFFER_SIZE, sha256_of, sha256_of_all


def write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", [0, 1, BUFFER_SIZE - 1, BUFFER_SIZE, 2 * BUFFER_SIZE + 7])
def test_one_file_and_its_progress(tmp_path: Path, size: int) -> None:
    digest = write(tmp_path / "file", b"x" * size)
    seen: list[int] = []
    assert sha256_of(str(tmp_path / "file"), seen.append) == digest
    assert sum(seen) == size and all(0 < length <= BUFFER_SIZE for length in seen)


def test_a_symlink_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "file", b"x")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError):
        sha256_of(str(tmp_path / "link"))
    assert sha256_of_all([str(tmp_path / "link")]) == {str(tmp_path / "link"): None}


def test_many_files_each_once_and_the_missing_without_a_digest(tmp_path: Path) -> None:
    expected: dict[str, str | None] = {str(tmp_path / str(number)): write(tmp_path / str(number), bytes([number]) * 1000) for number in range(9)}
    expected.update({str(tmp_path / "missing"): None, str(tmp_path / "0" / "below"): None, str(tmp_path): None})
    seen: list[int] = []
    assert sha256_of_all([*expected, *expected], seen.append) == expected
    assert sum(seen) == 9000
    assert sha256_of_all([]) == {}


@pytest.mark.parametrize("count", [1, 3])
def test_a_file_that_this_account_may_not_read_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        sha256_of_all([str(tmp_path / str(number)) for number in range(count)])


def test_a_bad_sector_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = write(tmp_path / "good", b"x")
    write(tmp_path / "bad", b"x")
    really_open = os.open

    def fail(path: str, flags: int) -> int:
        if path.endswith("bad"):
            raise OSError(5, "Input/output error", path)
        return really_open(path, flags)

    monkeypatch.setattr(os, "open", fail)
    assert sha256_of_all([str(tmp_path / "good"), str(tmp_path / "bad")]) == {str(tmp_path / "good"): digest, str(tmp_path / "bad"): None}


def test_progress_comes_from_one_thread_at_a_time(tmp_path: Path) -> None:
    paths = [str(tmp_path / str(number)) for number in range(8)]
    for path in paths:
        write(Path(path), b"x" * (3 * BUFFER_SIZE))
    guard = threading.Lock()

    def advance(length: int) -> None:
        assert guard.acquire(blocking=False), "two at once"
        guard.release()

    assert None not in sha256_of_all(paths, advance).values()


@pytest.mark.parametrize("failure", [KeyError("enough"), OSError(28, "No space left on device")])
def test_a_progress_that_fails_is_not_asked_again_and_is_no_damage(tmp_path: Path, failure: Exception) -> None:
    paths = [str(tmp_path / str(number)) for number in range(4)]
    for path in paths:
        write(Path(path), b"x" * (4 * BUFFER_SIZE))
    asked = 0

    def cancel(length: int) -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise failure

    with pytest.raises(type(failure)) as caught:
        sha256_of_all(paths, cancel)
    assert (caught.value, asked) == (failure, 2)
    asked = 1
    with pytest.raises(type(failure)):
        sha256_of_all(paths[:1], cancel)


def test_a_signal_does_not_wait_for_the_rest(tmp_path: Path) -> None:
    paths = [str(tmp_path / str(number)) for number in range(4)]
    for path in paths:
        write(Path(path), b"x" * (20 * BUFFER_SIZE))
    asked = 0

    def stop(*dummy: object) -> None:
        raise KeyboardInterrupt

    def interrupt(length: int) -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        # As slow as a slow disk, so that the signal's thread gets its turn long before the end.
        time.sleep(0.1)

    earlier = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            sha256_of_all(paths, interrupt)
    finally:
        signal.signal(signal.SIGUSR1, earlier)
    assert asked < 20, "not even one file to its end"
