# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold on a host where an install was killed or where many ran at once, and kills at seeded moments with a bound for their cost."""
from __future__ import annotations

import hashlib
import json
import os
import random
import stat
import time
import typing as t
from pathlib import Path

from integration.install_support import MIB, commit_of, is_quiet, size_of, users_of, wait_until
from integration.models_support import FakeContext, tree

from ansible_collections.venom.llm.plugins.module_utils.calls import running_calls
from ansible_collections.venom.llm.plugins.module_utils.files import Lock
from ansible_collections.venom.llm.plugins.module_utils.journal import STATUSES, read_operations
from ansible_collections.venom.llm.plugins.module_utils.lock_holders import read_holders
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.models import lock_path
from ansible_collections.venom.llm.plugins.module_utils.models_info import run_info
from ansible_collections.venom.llm.plugins.module_utils.names import TEMPORARY_PREFIX
from ansible_collections.venom.llm.plugins.module_utils.store.partials import kept_bytes
from lab.hub import Hub
from lab.hub.site import Site

#: What a killed process may cost each of its streams.
BOUND = 16 * MIB
#: What a start may cost besides: the listing, the small files, 256 KiB of each weight file for its header.
START_COST = 3 * MIB


class Sha256s:
    """Hashes of files that were seen before with this size, time and inode are remembered."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int], str] = {}

    def of(self, path: Path) -> str:
        """SHA-256 of a file in hexadecimal."""
        status = path.stat()
        key = (status.st_ino, status.st_size, status.st_mtime_ns)
        if key not in self._known:
            with open(path, "rb") as stream:
                self._known[key] = hashlib.file_digest(stream, "sha256").hexdigest()
        return self._known[key]


class Check(t.Protocol):
    """What a chain of kills asks of a host."""

    @property
    def size(self) -> int:
        """Bytes of the model that is being installed."""

    def kept(self) -> int:
        """Bytes of it that are here and will not be fetched again."""

    def check(self) -> None:
        """Everything that is said is true, everything that is shown is verified."""


class HostCheck:
    """One models folder, the hub's commits of one model that may be on it, and the one that was installed before and must stay."""

    def __init__(self, folder: Path, hub: Hub, name: str, earlier: str, later: str) -> None:
        self.models = folder / "models"
        self.name = name
        self.hub = hub
        self.earlier = earlier
        self.commits = {revision: commit_of(hub, name, revision) for revision in (earlier, later)}
        self.later = self.commits[later]
        self._hashes = Sha256s()
        self._before = tree(self.snapshot(earlier))
        assert self._before

    @property
    def size(self) -> int:
        """Bytes of the later revision."""
        return size_of(self.later.files)

    def snapshot(self, revision: str) -> Path:
        """Where a revision is published."""
        return self.models / "hf" / f"{self.name.replace('/', '--')}@{revision}"

    def check(self, is_removal: bool = False) -> None:
        """After a kill: everything that is said is true, everything that is shown is verified.

        A removal takes the folder away before the record: then nobody is told that the model is there.
        """
        self.check_blobs()
        self.check_published()
        self.check_manifest(is_removal)
        check_journal(self.models)

    def check_blobs(self) -> None:
        """Every blob is what its name says, and nobody may write to it."""
        for path in (self.models / "blobs").rglob("*"):
            if path.is_file():
                assert self._hashes.of(path) == path.name, path
                assert stat.S_IMODE(path.stat().st_mode) == 0o444, path

    def check_published(self) -> None:
        """What is below hf/ consists of blobs only; a published folder is complete, and the earlier one untouched."""
        blobs = {path.stat().st_ino for path in (self.models / "blobs").rglob("*") if path.is_file()}
        for folder in (self.models / "hf").iterdir():
            found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
            assert {path.stat().st_ino for path in found.values()} <= blobs, folder
            if folder.name.startswith(TEMPORARY_PREFIX):
                continue
            revision = folder.name.rpartition("@")[2]
            assert folder == self.snapshot(revision)
            announced = {path: file.sha256 for path, file in self.commits[revision].files.items()}
            assert {path: self._hashes.of(file) for path, file in found.items()} == announced, folder
        assert tree(self.snapshot(self.earlier)) == self._before

    def check_manifest(self, is_removal: bool) -> None:
        """It reads without a complaint, has the earlier revision, and each of its records is true."""
        json.loads((self.models / "manifest.json").read_bytes())
        manifest = Manifest.load(str(self.models))
        assert manifest.warnings == ()
        assert self.earlier in {entry.revision for entry in manifest.models}
        for entry in manifest.models:
            assert (entry.name, entry.status, Path(entry.local_path)) == (self.name, "installed", self.snapshot(entry.revision))
            announced = {path: (file.size, file.sha256) for path, file in self.commits[entry.revision].files.items()}
            assert {record.path: (record.size, record.digest.hex) for record in entry.files} == announced
            if is_removal and entry.revision == self.later.id and not self.snapshot(entry.revision).exists():
                assert self.told_status(entry.revision) == "incomplete"
                continue
            for record in entry.files:
                assert record.matches(os.lstat(os.path.join(entry.local_path, record.path))), record.path

    def told_status(self, revision: str) -> str:
        """What an operator who asks is told of a revision."""
        told = run_info({"models_dir": str(self.models), "name": None, "limit": 0, "usage": False}, FakeContext())
        (status,) = [model["status"] for model in told["models"] if model["revision"] == revision]
        return str(status)

    def kept(self) -> int:
        """Bytes of the later revision that are here and will not be fetched again."""
        total = 0
        for sha256, file in {file.sha256: file for file in self.later.files.values()}.items():
            blob = self.models / "blobs" / "sha256" / sha256[:2] / sha256
            announced = f"sha256:{sha256}" if file.lfs else f"git-sha1:{file.oid}"
            total += file.size if blob.exists() else kept_bytes(str(self.models / "partial"), announced, file.size)
        return total

    def check_complete(self) -> None:
        """The later revision is there in full, hashed anew, and nothing is left over."""
        self._hashes = Sha256s()
        self.check()
        assert self.snapshot(self.later.id).is_dir()
        assert {entry.revision for entry in Manifest.load(str(self.models)).models} == {self.earlier, self.later.id}
        assert not (self.models / "partial").exists()
        assert {path.name for path in (self.models / "hf").iterdir()} == {self.snapshot(revision).name for revision in (self.earlier, self.later.id)}


def check_journal(models: Path) -> None:
    """Every operation can be read, and none is thought to go on."""
    written = sorted((models / "operations").glob("[!.]*.json"))
    found = read_operations(str(models / "operations"), len(written) + 1)
    assert len(found) == len(written)
    assert {item["status"] for item in found} <= set(STATUSES) - {"in_progress", "pending"}


def check_idle(models: Path) -> None:
    """Nobody is at work, and nobody is thought to be."""
    assert users_of(models) == []
    assert read_holders(str(models)) == []
    assert running_calls(str(models)) == []
    for runtime in ("vllm", "ollama"):
        with Lock(lock_path(str(models), runtime), 0):
            pass


class Chain:
    """Starts of one install, each killed until one comes through; then the next install. Moments are seeded."""

    #: By bytes that were sent since the start, by time from the start, by time after the last byte.
    KINDS = ("bytes",) * 8 + ("start", "end")

    def __init__(self, models: Path, site: Site, host: Check, streams: int, seed: int) -> None:
        self.models = models
        self.site = site
        self.host = host
        self.streams = streams
        self.kills = 0
        self._random = random.Random(seed)
        self.begin()

    def begin(self) -> None:
        """Count anew: an install begins."""
        self.site.log.clear()
        self._kept_before = self.host.kept()
        self._kills_before = self.kills
        self._starts = 0

    def moment(self) -> t.Callable[[], bool]:
        """Whether it has come, for the start that is made now."""
        self._starts += 1
        kind, fraction, begun, before = self._random.choice(self.KINDS), self._random.random(), time.monotonic(), self.site.log.sent()
        if kind == "start":
            return lambda: time.monotonic() - begun >= 1.5 * fraction
        if kind == "bytes":
            return lambda: self.site.log.sent() - before > fraction * self.host.size / 5
        missing, ended = self.host.size - self.host.kept(), [0.0]

        def has_come() -> bool:
            if not ended[0] and self.site.log.sent() - before >= missing:
                ended[0] = time.monotonic()
            return bool(ended[0]) and time.monotonic() - ended[0] >= 0.4 * fraction

        return has_come

    def killed(self, is_idle: bool = True) -> None:
        """After a kill everything must be in order, and no more may be lost than what the bound gives each stream."""
        self.kills += 1
        wait_until(lambda: is_quiet(self.site))
        self.host.check()
        if is_idle:
            check_idle(self.models)
        self._check_cost()

    def completed(self) -> None:
        """After an install that came through: every byte was fetched once but for what the kills have cost."""
        assert self.host.kept() == self.host.size
        check_idle(self.models)
        self._check_cost()
        assert self.site.errors == []

    def _check_cost(self) -> None:
        lost = self.site.log.sent() - (self.host.kept() - self._kept_before)
        assert lost <= (self.kills - self._kills_before) * self.streams * BOUND + self._starts * START_COST
