# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfers that are killed, cut, slowed down and lied to by a hub: what arrived is not fetched again, and the bytes are right."""
from __future__ import annotations

import signal
import threading
import typing as t
from pathlib import Path

import pytest
from integration.transfer_support import MIB, NAME, add_content, fetch_from, file_of, sent, sent_in_all, source_of, start_child, wait_for

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs
from ansible_collections.venom.llm.plugins.module_utils.store.partials import kept_bytes
from ansible_collections.venom.llm.plugins.module_utils.transfer import pace
from ansible_collections.venom.llm.plugins.module_utils.transfer.engine import TransferOptions, fetch
from lab.hub import Hub

#: What a killed process may cost each stream: bytes that were not safe yet and bytes on the line.
BOUND = 16 * MIB


@pytest.fixture
def hub() -> t.Iterator[Hub]:
    with Hub(cdn_host="127.0.0.2") as running:
        yield running


@pytest.mark.parametrize(("streams", "moments"), [(1, (20, 70)), (2, (30, 90, 150)), (8, (40, 110))])
def test_a_killed_process_costs_little(tmp_path: Path, hub: Hub, streams: int, moments: tuple[int, ...]) -> None:
    content = add_content(hub, tmp_path / "repo", 200 * MIB)
    for moment in moments:
        process = start_child(hub, tmp_path / "host", content, streams)
        reached = sent(hub) + moment * MIB // len(moments)
        wait_for(lambda goal=reached: sent(hub) >= goal, process)  # type: ignore[misc]
        process.kill()
        process.wait()
        assert list((tmp_path / "host" / "partial").iterdir())
    before = sent_in_all(hub)
    report = fetch_from(hub, tmp_path / "host", content, max_parallel=streams)
    assert sent_in_all(hub) - before == report.bytes_fetched == len(content) - report.bytes_resumed
    assert sent_in_all(hub) - len(content) <= len(moments) * streams * BOUND
    assert not (tmp_path / "host" / "partial").exists()


def test_a_slow_line_loses_what_came_within_a_moment(tmp_path: Path, hub: Hub) -> None:
    """What is safe is decided by time too, or a line of 1 MB/s would lose seconds of it."""
    content = add_content(hub, tmp_path / "repo", 20 * MIB)
    hub.fault("slow", path="/lfs/*", rate=MIB)
    process = start_child(hub, tmp_path / "host", content, 2)
    file, root = file_of(hub.url, content), str(tmp_path / "host" / "partial")
    wait_for(lambda: kept_bytes(root, file.announced, file.size) > MIB, process)
    process.kill()
    process.wait()
    kept = kept_bytes(root, file.announced, file.size)
    hub.faults.clear()
    report = fetch_from(hub, tmp_path / "host", content)
    assert (report.bytes_resumed, report.bytes_fetched) == (kept, len(content) - kept)


def test_an_interrupted_process_keeps_everything_that_arrived(tmp_path: Path, hub: Hub) -> None:
    content = add_content(hub, tmp_path / "repo", 100 * MIB)
    hub.fault("slow", path="/lfs/*", rate=20 * MIB)
    process = start_child(hub, tmp_path / "host", content, 2)
    wait_for(lambda: sent(hub) > 20 * MIB, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    hub.faults.clear()
    report = fetch_from(hub, tmp_path / "host", content)
    assert report.bytes_resumed > 10 * MIB


def test_another_hub_with_the_same_content_goes_on(tmp_path: Path, hub: Hub) -> None:
    content = add_content(hub, tmp_path / "repo", 50 * MIB)

    def stop(done: int, total: int) -> None:
        if done > 10 * MIB:
            raise VenomError("cancelled", "x", "y", "z")

    hub.fault("slow", path="/lfs/*", rate=10 * MIB)
    with pytest.raises(VenomError) as caught:
        fetch_from(hub, tmp_path / "host", content, stop)
    assert caught.value.reason_code == "cancelled"
    with Hub(cdn_host="127.0.0.3") as mirror:
        add_content(mirror, tmp_path / "repo", 50 * MIB)
        report = fetch_from(mirror, tmp_path / "host", content)
        assert report.bytes_resumed >= 10 * MIB
        assert sent_in_all(mirror) == len(content) - report.bytes_resumed


def test_a_line_that_is_cut_again_and_again_does_not_use_up_the_tries(tmp_path: Path, hub: Hub) -> None:
    content = add_content(hub, tmp_path / "repo", 60 * MIB)
    hub.fault("cut", path="/lfs/*", after=3 * MIB, times=-1)
    report = fetch_from(hub, tmp_path / "host", content, retry_policy=RetryPolicy(retries=1, base=0.01))
    assert len(hub.log.entries(listener="cdn")) >= 20
    assert report.bytes_fetched == len(content)
    # Only what a cut line had in its buffers was lost.
    assert sent_in_all(hub) == len(content)


def test_a_line_that_resets(tmp_path: Path, hub: Hub) -> None:
    content = add_content(hub, tmp_path / "repo", 30 * MIB)
    hub.fault("cut", path="/lfs/*", after=5 * MIB, how="rst", times=3)
    fetch_from(hub, tmp_path / "host", content)


def test_a_drip_is_a_stall(tmp_path: Path, hub: Hub) -> None:
    content = add_content(hub, tmp_path / "repo", 30 * MIB)
    drip = hub.fault("slow", path="/lfs/*", rate=20, times=1)
    report = fetch_from(hub, tmp_path / "host", content, stall_timeout=1.0)
    assert drip.hits == 1
    assert report.bytes_fetched == len(content)


def test_a_stream_far_below_the_others_is_dialed_again(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WINDOW", 1.0)
    content = add_content(hub, tmp_path / "repo", 120 * MIB)
    slow = hub.fault("slow", path="/lfs/*", rate=100_000, times=1)
    hub.fault("slow", path="/lfs/*", rate=8 * MIB)
    report = fetch_from(hub, tmp_path / "host", content, max_parallel=4, retry_policy=RetryPolicy(retries=0))
    assert slow.hits == 1
    (entry,) = [entry for entry in hub.log.entries(listener="cdn") if entry.faults.count("slow") == 2]
    assert 0 < entry.sent < 8 * MIB
    assert report.bytes_fetched == len(content)


@pytest.mark.parametrize("times", [1, 5, -1])
def test_a_hub_that_ignores_ranges(tmp_path: Path, hub: Hub, times: int) -> None:
    content = add_content(hub, tmp_path / "repo", 40 * MIB)
    fault = hub.fault("ignore_range", path="/lfs/*", times=times)
    fetch_from(hub, tmp_path / "host", content)
    assert fault.hits >= 1
    assert not (tmp_path / "host" / "partial").exists()


def test_what_was_there_is_kept_when_ranges_are_ignored_afterwards(tmp_path: Path, hub: Hub) -> None:
    content = add_content(hub, tmp_path / "repo", 40 * MIB)
    hub.fault("cut", path="/lfs/*", after=2 * MIB, times=-1)
    with pytest.raises(VenomError):
        fetch_from(hub, tmp_path / "host", content, retry_policy=RetryPolicy(retries=0))
    hub.faults.clear()
    hub.fault("ignore_range", path="/lfs/*", times=-1)
    hub.fault("cut", path="/lfs/*", after=20 * MIB, times=1)
    report = fetch_from(hub, tmp_path / "host", content)
    assert report.bytes_resumed > 0


@pytest.mark.parametrize("value", ["", "changed"])
def test_an_etag_that_changes_costs_nothing(tmp_path: Path, hub: Hub, value: str) -> None:
    """Nodes behind one name differ in it for the same bytes, whose digest decides."""
    content = add_content(hub, tmp_path / "repo", 40 * MIB)

    def stop(done: int, total: int) -> None:
        if done > 10 * MIB:
            raise VenomError("cancelled", "x", "y", "z")

    hub.fault("slow", path="/lfs/*", rate=10 * MIB)
    with pytest.raises(VenomError):
        fetch_from(hub, tmp_path / "host", content, stop)
    hub.faults.clear()
    hub.fault("etag", path="/lfs/*", value=value)
    report = fetch_from(hub, tmp_path / "host", content)
    assert report.bytes_resumed >= 10 * MIB
    assert report.bytes_fetched == len(content) - report.bytes_resumed


def test_a_flipped_byte_costs_one_more_fetch(tmp_path: Path, hub: Hub) -> None:
    content = add_content(hub, tmp_path / "repo", 20 * MIB)
    hub.fault("flip", path="/lfs/*", offset=11 * MIB, times=1)
    assert fetch_from(hub, tmp_path / "host", content).bytes_fetched == 2 * len(content)
    hub.fault("flip", path="/lfs/*", offset=11 * MIB, times=-1)
    with pytest.raises(VenomError) as caught:
        fetch_from(hub, tmp_path / "other", content)
    assert caught.value.reason_code == "digest_mismatch"
    assert not (tmp_path / "other" / "partial").exists()
    assert not (tmp_path / "other" / "blobs").exists()


def test_waits_that_the_hub_asks_for(tmp_path: Path, hub: Hub) -> None:
    content = add_content(hub, tmp_path / "repo", 30 * MIB)
    limit = hub.fault("status", path="/lfs/*", status=429, retry_after=1, times=1)
    hub.fault("status", path="/lfs/*", status=503, times=2)
    fetch_from(hub, tmp_path / "host", content)
    assert limit.hits == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_no_try_cures_is_asked_for_once(tmp_path: Path, hub: Hub, status: int) -> None:
    content = add_content(hub, tmp_path / "repo", 2 * MIB)
    fault = hub.fault("status", path="/lfs/*", status=status, times=-1)
    with pytest.raises(VenomError) as caught:
        fetch_from(hub, tmp_path / "host", content)
    assert caught.value.reason_code == ("not_found" if status == 404 else "unauthorized")
    assert fault.hits == 1


def test_a_wrong_length_passes_or_is_told(tmp_path: Path, hub: Hub) -> None:
    content = add_content(hub, tmp_path / "repo", 20 * MIB)
    for delta in (1, -1, 1000):
        hub.fault("length", path="/lfs/*", delta=delta, times=1)
    fetch_from(hub, tmp_path / "host", content)
    hub.fault("length", path="/lfs/*", delta=5, times=-1)
    with pytest.raises(VenomError) as caught:
        fetch_from(hub, tmp_path / "other", content, retry_policy=RetryPolicy(retries=1, base=0.01))
    assert caught.value.reason_code == "unsupported_source"


@pytest.mark.parametrize("delta", [-5, 5])
def test_a_listing_that_lies_about_the_size(tmp_path: Path, hub: Hub, delta: int) -> None:
    content = add_content(hub, tmp_path / "repo", 20 * MIB)
    file = file_of(hub.url, content)
    lying = type(file)(file.path, file.size + delta, file.sha256, None, file.url)
    options = TransferOptions(retry_policy=RetryPolicy(retries=1, base=0.01))
    with pytest.raises(VenomError) as caught:
        fetch([source_of(hub.url, hub.cdn_url)], [lying], Blobs(str(tmp_path / "host")), options, lambda done, total: None)
    assert caught.value.reason_code == "unsupported_source"
    assert not (tmp_path / "host" / "blobs").exists()


def test_the_hub_is_asked_seldom_and_its_cdn_often(tmp_path: Path, hub: Hub) -> None:
    content = add_content(hub, tmp_path / "repo", 150 * MIB)
    fetch_from(hub, tmp_path / "host", content, max_parallel=2)
    assert len(hub.log.entries(listener="hub", path=f"*{NAME}")) <= 2
    assert len(hub.log.entries(listener="cdn")) > 10


def test_links_that_run_out_are_asked_for_anew(tmp_path: Path, hub: Hub) -> None:
    content = add_content(hub, tmp_path / "repo", 100 * MIB)
    expired = threading.Event()

    def expire(done: int, total: int) -> None:
        if done > 20 * MIB and not expired.is_set():
            expired.set()
            hub.expire_links()

    hub.fault("slow", path="/lfs/*", rate=20 * MIB)
    fetch_from(hub, tmp_path / "host", content, expire, max_parallel=2)
    assert 403 in {entry.status for entry in hub.log.entries(listener="cdn")}


def test_a_hub_that_restarts(tmp_path: Path, hub: Hub) -> None:
    content = add_content(hub, tmp_path / "repo", 60 * MIB)
    restarted = threading.Event()

    def restart(done: int, total: int) -> None:
        if done > 10 * MIB and not restarted.is_set():
            restarted.set()
            hub.down("cdn")
            hub.up("cdn")

    hub.fault("slow", path="/lfs/*", rate=20 * MIB)
    report = fetch_from(hub, tmp_path / "host", content, restart, max_parallel=2)
    assert restarted.is_set()
    assert report.bytes_fetched == len(content)


def test_a_hub_that_hangs_before_its_answer_does_not_hold_up_the_end(tmp_path: Path, hub: Hub) -> None:
    content = add_content(hub, tmp_path / "repo", 40 * MIB)
    hub.fault("hang", path="/lfs/*", when="headers", seconds=60, times=1)

    def stop(done: int, total: int) -> None:
        if done >= 30 * MIB:
            raise VenomError("cancelled", "x", "y", "z")

    with pytest.raises(VenomError) as caught:
        fetch_from(hub, tmp_path / "host", content, stop, max_parallel=2, stall_timeout=30.0)
    assert caught.value.reason_code == "cancelled"
    # The thread that is left behind holds nothing that the next run needs.
    assert fetch_from(hub, tmp_path / "host", content).bytes_resumed >= 30 * MIB
