# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which mirror is asked next, who is blamed for wrong bytes, and what is said when none is left."""
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.sources.http import HostList, HttpClient, Part
from ansible_collections.venom.llm.plugins.module_utils.sources.mirror_choice import MAX_FAILURES, REAL_PROGRESS, Mirror, Mirrors

ONE, TWO, THREE = "http://one.example:8090", "http://two.example", "http://three.example/base"
CONTENT, OTHER = "sha256:aa", "sha256:bb"


class Fleet:
    """Mirrors on a clock that tests turn; the choice by chance is the last one here."""

    def __init__(self, *bases: str) -> None:
        self.now = 100.0
        self.offered: list[list[str]] = []
        self.mirrors = Mirrors({base: HttpClient(HostList(base)) for base in bases or (ONE, TWO, THREE)}, self._choose, lambda: self.now)

    def _choose(self, mirrors: t.Sequence[Mirror]) -> Mirror:
        self.offered.append([mirror.base for mirror in mirrors])
        return mirrors[-1]

    def pick(self, content: str = CONTENT, *besides: Mirror, may_rest: bool = False) -> Mirror:
        mirror = self.mirrors.pick(content, besides, may_rest)
        assert mirror is not None
        return mirror

    def fail(self, mirror: Mirror, times: int = 1) -> None:
        for dummy in range(times):
            self.now += 0.001
            self.mirrors.failed(mirror, self.now, "no answer")


@pytest.mark.parametrize(
    ("base", "is_sent"),
    [
        ("https://one.example", True),
        ("http://one.example:8090", False),
        ("http://192.0.2.1", False),
        ("http://localhost.example", False),
        ("http://127.0.0.1.example", False),
        ("http://[fd00::1]:8090", False),
        ("http://127.0.0.1:8090", True),
        ("http://127.1.2.3", True),
        ("http://[::1]:8090", True),
        ("http://localhost:8090", True),
    ],
)
def test_a_password_does_not_cross_a_network_in_the_clear(base: str, is_sent: bool) -> None:
    mirrors = Mirrors.parse([base], authorization="Basic Zm9v")
    mirror = mirrors.pick(CONTENT)
    assert mirror is not None
    assert mirror.client._headers(f"{base}/x", Part(0, None, None)).get("Authorization") == ("Basic Zm9v" if is_sent else None)
    mirrors.refused(mirror, "HTTP 401")
    (warning,) = mirrors.warnings()
    assert ("password is not sent" in warning) is not is_sent
    without = Mirrors.parse([base])
    mirror = without.pick(CONTENT)
    assert mirror is not None
    without.refused(mirror, "HTTP 401")
    assert without.warnings()[0].endswith(" was left: HTTP 401.")


def test_a_content_stays_with_its_mirror_and_contents_are_dealt_by_chance() -> None:
    fleet = Fleet()
    assert fleet.pick() is fleet.pick()
    fleet.pick(OTHER)
    assert fleet.offered == [[ONE, TWO, THREE]] * 2


def test_a_mirror_that_failed_comes_last_then_rests_then_is_out() -> None:
    fleet = Fleet(ONE, TWO)
    first = fleet.pick()
    fleet.fail(first)
    assert fleet.pick().base == ONE
    assert fleet.pick(CONTENT, fleet.pick()) is first
    fleet.fail(first)
    assert fleet.mirrors.pick(CONTENT, [fleet.pick()]) is None
    assert fleet.pick(CONTENT, fleet.pick(), may_rest=True) is first
    fleet.now += 3.0
    assert fleet.pick(CONTENT, fleet.pick()) is first
    fleet.fail(first, MAX_FAILURES - 2)
    fleet.now += 1e6
    assert fleet.mirrors.pick(CONTENT, [fleet.pick()], may_rest=True) is None


def test_streams_that_break_together_count_once() -> None:
    fleet = Fleet(ONE)
    mirror = fleet.pick()
    began = fleet.now
    fleet.now += 5.0
    for dummy in range(8):
        fleet.mirrors.failed(mirror, began, "broke")
        fleet.now += 0.001
    assert mirror.failures == 1


def test_progress_makes_good_for_failures() -> None:
    fleet = Fleet(ONE)
    mirror = fleet.pick()
    fleet.fail(mirror, 2)
    fleet.mirrors.gave(CONTENT, mirror, REAL_PROGRESS - 1)
    assert mirror.failures == 2
    fleet.mirrors.gave(CONTENT, mirror, 1)
    assert mirror.failures == 0
    assert fleet.mirrors.received() == {ONE: REAL_PROGRESS}


def test_what_a_mirror_wishes_is_obeyed() -> None:
    fleet = Fleet(ONE)
    mirror = fleet.pick()
    fleet.mirrors.failed(mirror, fleet.now, "answered 429", retry_after=60.0)
    fleet.now += 59.0
    assert not fleet.mirrors.has(CONTENT)
    assert fleet.mirrors.has(CONTENT, may_rest=True)
    fleet.now += 2.0
    assert fleet.mirrors.has(CONTENT)


def test_whoever_alone_gave_wrong_bytes_is_not_asked_for_them_again() -> None:
    fleet = Fleet(ONE, TWO)
    liar = fleet.pick()
    fleet.mirrors.gave(CONTENT, liar, 10)
    assert fleet.mirrors.wrong(CONTENT)
    assert fleet.pick().base == ONE
    assert fleet.mirrors.pick(CONTENT, [fleet.pick()]) is None
    # For other contents it comes last.
    assert fleet.pick(OTHER).base == ONE
    assert fleet.pick("sha256:cc", fleet.pick(OTHER)) is liar


def test_several_are_suspected_until_one_is_convicted() -> None:
    fleet = Fleet(ONE, TWO)
    both = [fleet.pick(), fleet.pick(CONTENT, fleet.pick())]
    for mirror in both:
        fleet.mirrors.gave(CONTENT, mirror, 10)
    assert fleet.mirrors.wrong(CONTENT)
    suspect = fleet.pick()
    fleet.mirrors.gave(CONTENT, suspect, 10)
    assert fleet.mirrors.wrong(CONTENT)
    last = fleet.pick()
    assert last is not suspect
    fleet.mirrors.gave(CONTENT, last, 10)
    assert fleet.mirrors.wrong(CONTENT)
    assert not fleet.mirrors.has(CONTENT, may_rest=True)
    assert not fleet.mirrors.wrong(CONTENT)


def test_nobody_is_blamed_for_what_an_earlier_run_or_the_origin_gave() -> None:
    fleet = Fleet(ONE)
    mirror = fleet.pick()
    fleet.mirrors.gave(CONTENT, mirror, 10)
    assert not fleet.mirrors.wrong(CONTENT, is_fresh=False)
    fleet.mirrors.gave(CONTENT, None, 10)
    assert not fleet.mirrors.wrong(CONTENT)
    assert fleet.mirrors.has(CONTENT)
    assert fleet.mirrors.from_origin == 10
    fleet.mirrors.gave(CONTENT, mirror, 10)
    fleet.mirrors.settle(CONTENT)
    assert not fleet.mirrors.wrong(CONTENT)
    fleet.mirrors.gave(CONTENT, mirror, 10)
    fleet.mirrors.settle_all()
    assert not fleet.mirrors.doubt()
    fleet.mirrors.gave(CONTENT, mirror, 10)
    assert fleet.mirrors.doubt()
    assert not fleet.mirrors.has(CONTENT)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["not_found", "not_found"], "not_found"),
        (["not_found", "hub_unreachable"], "hub_unreachable"),
        (["digest_mismatch", "hub_unreachable"], "digest_mismatch"),
    ],
)
def test_the_error_names_each_mirror_and_what_it_did(codes: list[str], expected: str) -> None:
    fleet = Fleet(ONE, TWO)
    for code in codes:
        mirror = fleet.pick()
        if code == "hub_unreachable":
            fleet.mirrors.refused(mirror, "HTTP 401")
        else:
            fleet.mirrors.lacks(CONTENT, mirror, f"a case of {code}", code)
    error = fleet.mirrors.none_left("model.safetensors", CONTENT)
    causes = [f"a case of {code}" if code != "hub_unreachable" else "HTTP 401" for code in codes]
    assert (error.reason_code, error.details["mirrors"]) == (expected, dict(zip((TWO, ONE), causes)))
    assert all(f"{base}: {cause}" in error.found for base, cause in error.details["mirrors"].items())
    assert len(fleet.mirrors.warnings()) == 2


def test_many_mirrors_do_not_flood_the_message() -> None:
    fleet = Fleet(*(f"http://host{number}.example" for number in range(30)))
    assert "host9.example: it was not asked; and 20 more" in fleet.mirrors.none_left("x", CONTENT).found
    assert fleet.mirrors.warnings() == []


@pytest.mark.parametrize("url", ["", "mirror.example", "ftp://mirror.example", "http://user:secret@mirror.example", "http://mirror.example/?x"])
def test_what_is_no_mirror(url: str) -> None:
    with pytest.raises(VenomError) as caught:
        Mirrors.parse([url])
    assert caught.value.reason_code == "invalid_option"
    assert "secret" not in str(caught.value)


def test_the_same_mirror_twice_is_one() -> None:
    mirrors = Mirrors.parse(["http://one.example/", "http://one.example"])
    picked = mirrors.pick(CONTENT)
    assert picked is not None and mirrors.pick(CONTENT, [picked]) is None
    assert not Mirrors.parse([])
