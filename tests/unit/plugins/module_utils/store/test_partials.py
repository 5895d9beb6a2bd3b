# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unfinished files and their journal: it never says more than what is on the disk."""
from __future__ import annotations

import os
import random
import zlib
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.store import partials
from ansible_collections.venom.llm.plugins.module_utils.store.extents import Extents
from ansible_collections.venom.llm.plugins.module_utils.store.partials import Partial, clean, kept_bytes, leftovers, name_of, remove_unless_held

MIB = 1024 * 1024
SIZE = 8 * MIB
ONE, TWO = "sha256:" + "1" * 64, "git-sha1:" + "2" * 40


def leave(root: Path, announced: str = ONE, size: int = SIZE, pieces: tuple[tuple[int, int], ...] = ((0, MIB), (4 * MIB, 5 * MIB))) -> Path:
    """What a run leaves that wrote these pieces and ended."""
    partial = Partial(str(root), announced, size)
    for start, end in pieces:
        partial.write(b"x" * (end - start), start)
    partial.commit(pieces)
    partial.close()
    return Path(partial.path)


def journal_of(path: Path) -> Path:
    return path.with_name(path.name + ".journal")


def test_extents_are_a_set_of_positions() -> None:
    chance = random.Random(7)
    for dummy in range(200):
        extents, expected = Extents(), set[int]()
        for step in range(40):
            start = chance.randrange(60)
            end = start + chance.randrange(-2, 20)
            positions = set(range(start, end))
            if chance.random() < 0.6:
                assert extents.add(start, end) == len(positions - expected)
                expected |= positions
            else:
                extents.remove(start, end)
                expected -= positions
            ranges = list(extents)
            assert {position for first, last in ranges for position in range(first, last)} == expected
            assert all(first < last for first, last in ranges)
            assert all(left[1] < right[0] for left, right in zip(ranges, ranges[1:]))
            assert extents.total == len(expected)
            assert extents.frontier == next(position for position in range(100) if position not in expected)
            low, high = sorted((chance.randrange(80), chance.randrange(80)))
            gaps = extents.gaps(low, high)
            assert {position for first, last in gaps for position in range(first, last)} == set(range(low, high)) - expected
            assert bool(extents) is bool(expected), step


def test_what_was_committed_is_there_in_the_next_run(tmp_path: Path) -> None:
    path = leave(tmp_path)
    assert kept_bytes(str(tmp_path), ONE, SIZE) == 2 * MIB
    again = Partial(str(tmp_path), ONE, SIZE)
    assert list(again.kept) == [(0, MIB), (4 * MIB, 5 * MIB)]
    again.write(b"y" * MIB, MIB)
    again.commit([(MIB, 2 * MIB)])
    again.close()
    assert kept_bytes(str(tmp_path), ONE, SIZE) == 3 * MIB
    again = Partial(str(tmp_path), ONE, SIZE)
    assert list(again.kept) == [(0, 2 * MIB), (4 * MIB, 5 * MIB)]
    # Opened again it is short: a head and a line for each piece.
    assert len(journal_of(path).read_bytes().splitlines()) == 3
    again.close()


def test_nothing_was_kept_of_another_content_or_size(tmp_path: Path) -> None:
    leave(tmp_path)
    assert kept_bytes(str(tmp_path), ONE, SIZE + 1) == 0
    assert kept_bytes(str(tmp_path), "sha256:" + "3" * 64, SIZE) == 0
    assert kept_bytes(str(tmp_path / "missing"), ONE, SIZE) == 0


def test_a_journal_under_another_name_says_nothing(tmp_path: Path) -> None:
    path = leave(tmp_path)
    other = tmp_path / name_of(TWO, SIZE)
    path.rename(other)
    journal_of(path).rename(journal_of(other))
    assert kept_bytes(str(tmp_path), TWO, SIZE) == 0


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_torn_last_line_is_no_line(tmp_path: Path, cut: int) -> None:
    journal = journal_of(leave(tmp_path))
    journal.write_bytes(journal.read_bytes()[:-cut])
    assert kept_bytes(str(tmp_path), ONE, SIZE) in (0, MIB)
    partial = Partial(str(tmp_path), ONE, SIZE)
    partial.write(b"z", 3 * MIB)
    partial.commit([(3 * MIB, 3 * MIB + 1)])
    partial.close()
    # What is noted after a torn line can be read.
    assert list(Partial(str(tmp_path), ONE, SIZE).kept)[-1] == (3 * MIB, 3 * MIB + 1)


@pytest.mark.parametrize("garbage", [b"\0" * 50 + b"\n", b"have 0 9\n", b"00000000 have 0 9\n", b"\xff\n", b"\n"])
def test_garbage_ends_the_reading(tmp_path: Path, garbage: bytes) -> None:
    journal = journal_of(leave(tmp_path))
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    journal.write_bytes(b"".join([*lines[:2], garbage, lines[2]]))
    assert kept_bytes(str(tmp_path), ONE, SIZE) == MIB
    journal.write_bytes(garbage + b"".join(lines))
    assert kept_bytes(str(tmp_path), ONE, SIZE) == 0


def line(text: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(text), text)


def test_ranges_that_cannot_be_are_ignored(tmp_path: Path) -> None:
    path = leave(tmp_path)
    with open(journal_of(path), "ab") as stream:
        stream.write(line(b"have 7 5") + line(b"have 0 99999999999") + line(b"have 5242880 6291456") + line(b"have -1 5") + line(b"more"))
    assert kept_bytes(str(tmp_path), ONE, SIZE) == 2 * MIB
    os.truncate(path, 4 * MIB + 10)
    assert kept_bytes(str(tmp_path), ONE, SIZE) == MIB + 10
    path.unlink()
    assert kept_bytes(str(tmp_path), ONE, SIZE) == 0


def test_the_journal_is_written_after_the_bytes_are_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = Partial(str(tmp_path), ONE, SIZE)
    partial.write(b"x" * MIB, 0)
    seen: list[tuple[bool, bool]] = []
    real = os.fdatasync

    def watch(descriptor: int) -> None:
        real(descriptor)
        seen.append((descriptor == partial.descriptor, kept_bytes(str(tmp_path), ONE, SIZE) > 0))

    monkeypatch.setattr(os, "fdatasync", watch)
    partial.commit([(0, MIB)])
    partial.close()
    assert seen == [(True, False), (False, True)]


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(tmp_path)
    partial = Partial(str(tmp_path), ONE, SIZE)
    real = os.write
    calls: list[int] = []

    def full(descriptor: int, data: bytes) -> int:
        calls.append(descriptor)
        if len(calls) == 1:
            return real(descriptor, data[:5])
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        partial.commit([(MIB, 2 * MIB)])
    partial.write(b"y" * MIB, 2 * MIB)
    partial.commit([(2 * MIB, 3 * MIB)])
    partial.close()
    assert list(Partial(str(tmp_path), ONE, SIZE).kept) == [(0, MIB), (2 * MIB, 3 * MIB), (4 * MIB, 5 * MIB)]


def test_starting_over_forgets_everything(tmp_path: Path) -> None:
    leave(tmp_path)
    partial = Partial(str(tmp_path), ONE, SIZE)
    partial.restart()
    assert kept_bytes(str(tmp_path), ONE, SIZE) == 0
    partial.write(b"y" * MIB, 0)
    partial.commit([(0, MIB)])
    partial.close()
    assert list(Partial(str(tmp_path), ONE, SIZE).kept) == [(0, MIB)]


def test_a_journal_of_an_earlier_release_is_gone_on_with(tmp_path: Path) -> None:
    """It noted the ETag that each origin gave."""
    leave(tmp_path)
    kept = kept_bytes(str(tmp_path), ONE, SIZE)
    (journal,) = tmp_path.glob("*.journal")
    text = b'from ["http://x:80", "\\"1\\""]'
    first, dummy, rest = journal.read_bytes().partition(b"\n")
    journal.write_bytes(first + b"\n%08x %s\n" % (zlib.crc32(text), text) + rest)
    assert Partial(str(tmp_path), ONE, SIZE).kept.total == kept > 0


def test_a_small_file_has_no_journal_and_stays_only_when_finished(tmp_path: Path) -> None:
    partial = Partial(str(tmp_path), TWO, 10)
    partial.write(b"x" * 10, 0)
    partial.commit([(0, 10)])
    partial.close()
    assert os.listdir(tmp_path) == []


def test_one_process_at_a_time(tmp_path: Path) -> None:
    held = Partial(str(tmp_path), ONE, SIZE)
    with pytest.raises(VenomError) as caught:
        Partial(str(tmp_path), ONE, SIZE)
    assert caught.value.reason_code == "locked"
    held.close()
    Partial(str(tmp_path), ONE, SIZE).close()


@pytest.mark.parametrize("announced", ["sha256:../../x", "git-sha1:None", "md5:" + "1" * 32, "sha256:" + "1" * 63, ""])
def test_only_digests_become_names(tmp_path: Path, announced: str) -> None:
    with pytest.raises(VenomError) as caught:
        Partial(str(tmp_path), announced, 1)
    assert caught.value.reason_code == "invalid_name"
    with pytest.raises(VenomError):
        kept_bytes(str(tmp_path), announced, 1)


def test_a_symlink_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / name_of(ONE, SIZE)).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        Partial(str(tmp_path / "root"), ONE, SIZE)
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_cleaning_keeps_what_is_wanted_young_or_held(tmp_path: Path) -> None:
    wanted, old = leave(tmp_path), leave(tmp_path, TWO)
    young, held = leave(tmp_path, "sha256:" + "3" * 64), leave(tmp_path, "sha256:" + "4" * 64)
    for path in (wanted, old, held):
        os.utime(path, (1000, 1000))
    holder = Partial(str(tmp_path), "sha256:" + "4" * 64, SIZE)
    os.utime(held, (1000, 1000))
    (tmp_path / ".venom.1.x").write_bytes(b"half")
    (tmp_path / name_of(ONE, 5)).write_bytes(b"no journal")
    journal_of(tmp_path / name_of(TWO, 7)).write_bytes(b"no file")
    found = {path: (size, left_at) for path, size, left_at in leftovers(str(tmp_path))}
    assert len(found) == 7 and all(size >= 2 * MIB for size, dummy in (found[str(path)] for path in (wanted, old, young, held)))
    assert found[str(old)][1] == 1000 and found[str(young)][1] > 10**9
    junk = (tmp_path / ".venom.1.x", tmp_path / name_of(ONE, 5), journal_of(tmp_path / name_of(TWO, 7)))
    assert [found[str(path)][1] for path in junk] == [0, 0, 0], "nobody goes on with these, so they are the first to go"
    # All of one content, whatever its size.
    assert set(found) - {path for path, *dummy in leftovers(str(tmp_path), {ONE})} == {str(wanted), str(junk[1])}
    remove_unless_held(str(held))
    assert held.exists()
    clean(str(tmp_path), {ONE}, 3600.0)
    assert set(os.listdir(tmp_path)) == {path.name for kept in (wanted, young, held) for path in (kept, journal_of(kept))}
    holder.close()
    clean(str(tmp_path), (), 0.0)
    assert not tmp_path.exists()
    assert list(leftovers(str(tmp_path))) == []
    remove_unless_held(str(held))


def test_the_smallest_journaled_size_is_small_beside_what_a_stream_may_lose() -> None:
    assert partials.MIN_JOURNALED_SIZE <= 4 * MIB
