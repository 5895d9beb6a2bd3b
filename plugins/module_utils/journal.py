# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: what was done on this host, one small JSON file for each operation, the last hundred kept."""
from __future__ import annotations

import datetime
import math
import os
import time
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import (
    make_folders,
    read_json,
    remove_if_there,
    to_json,
    write_atomic,
)
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import from_epoch, normalise_time, utc_now
from ansible_collections.venom.llm.plugins.module_utils.processes import start_ticks

KEEP = 100
#: Seconds between two writes of progress; the last one is always written.
PROGRESS_INTERVAL = 1.0
#: Seconds over which the rate is smoothed: one slow second hardly shows, five do.
RATE_SECONDS = 5.0

STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
_UNFINISHED = ("pending", "in_progress")


class Operation:
    """One operation in the making. As a context manager it ends as completed, failed or cancelled, whatever happens."""

    def __init__(self, folder: str, model: str, kind: str, clock: t.Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._written_at: float | None = None
        #: Time and bytes at the last look at the rate.
        self._sample: tuple[float, int] | None = None
        now = time.time()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
        self.record: dict[str, t.Any] = {
            # Sorts by time, also within one second and across processes.
            "id": f"{stamp}-{int(now * 1e6) % 10**6:06d}-{os.urandom(3).hex()}",
            "model": model,
            "type": kind,
            "status": "pending",
            "progress": 0.0,
            "bytes": 0,
            "bytes_total": None,
            "bytes_per_second": None,
            "message": None,
            "error": None,
            "started_at": utc_now(),
            "finished_at": None,
            "duration_seconds": None,
            "pid": os.getpid(),
            "pid_started": start_ticks(os.getpid()),
        }
        self._started = clock()

    def __enter__(self) -> Operation:
        make_folders(self._folder)
        self.record["status"] = "in_progress"
        self._write()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.record.update(status="completed", progress=100.0)
        elif isinstance(error, VenomError) and error.reason_code == "cancelled":
            self.record.update(status="cancelled", message=error.found)
        elif isinstance(error, Exception):
            code = error.reason_code if isinstance(error, VenomError) else "io_error" if isinstance(error, OSError) else "internal_error"
            self.record.update(status="failed", error={"reason_code": code, "message": str(error)})
        else:
            self.record.update(status="cancelled", message=str(error) or "interrupted")
        self.record.update(finished_at=utc_now(), duration_seconds=round(self._clock() - self._started, 3))
        self._write()
        prune(self._folder)

    def advance(self, done: int, total: int, message: str | None = None) -> None:
        """Note progress in bytes. Written at most once a second, so it costs a long transfer nothing."""
        self.record.update(bytes=done, bytes_total=total, progress=round(100.0 * done / total, 1) if total else 0.0)
        if message is not None:
            self.record["message"] = message
        now = self._clock()
        if self._sample is None:
            # What an earlier run left counts as done, not as fast.
            self._sample = (now, done)
        if self._written_at is None or now - self._written_at >= PROGRESS_INTERVAL:
            self._measure(now, done)
            self._write()

    def _measure(self, now: float, done: int) -> None:
        """Exponential smoothing, so that unequal intervals weigh by their length."""
        since, before = self._sample or (now, done)
        if now <= since:
            return
        rate, earlier = (done - before) / (now - since), self.record["bytes_per_second"]
        weight = 1.0 if earlier is None else 1.0 - math.exp(-(now - since) / RATE_SECONDS)
        self.record["bytes_per_second"] = max(0, round(rate if earlier is None else earlier + weight * (rate - earlier)))
        self._sample = (now, done)

    def _write(self) -> None:
        self._written_at = self._clock()
        write_atomic(os.path.join(self._folder, f"{self.record['id']}.json"), to_json(self.record))


def _names(folder: str) -> list[str]:
    try:
        return sorted((name for name in os.listdir(folder) if name.endswith(".json") and name[0] != "."), reverse=True)
    except FileNotFoundError:
        return []


def prune(folder: str, keep: int = KEEP) -> None:
    """Forget all but the newest operations."""
    for name in _names(folder)[keep:]:
        remove_if_there(os.path.join(folder, name))


def read_operations(folder: str, limit: int = 20) -> list[dict[str, t.Any]]:
    """The last operations, newest first. One whose process has died is reported as failed; nothing is written."""
    found: list[dict[str, t.Any]] = []
    for name in _names(folder):
        if len(found) >= limit:
            break
        try:
            record = read_json(os.path.join(folder, name))
        except (OSError, ValueError):
            continue
        if isinstance(record, dict):
            found.append(_as_reported(record))
    return found


def read_running(folder: str, pid: int, started: int) -> list[dict[str, t.Any]]:
    """Operations that a living process has not finished yet, oldest first, each with ``seconds_silent`` since its last word."""
    found: list[dict[str, t.Any]] = []
    now = time.time()
    for name in _names(folder):
        path = os.path.join(folder, name)
        try:
            record, modified = read_json(path), os.stat(path).st_mtime
        except (OSError, ValueError):
            continue
        if not isinstance(record, dict) or record.get("status") not in _UNFINISHED:
            continue
        if (record.get("pid"), record.get("pid_started")) == (pid, started):
            found.append(dict(_as_reported(record), seconds_silent=round(max(0.0, now - modified), 1)))
    return found[::-1]


def sanitize(folder: str, apply: bool) -> list[str]:
    """Ids of old records that miss what every record has: an outcome, times with offset, a duration. With ``apply`` they get it.

    The end of an operation whose process died is the time of its last sign of life, the file's own.
    """
    repaired: list[str] = []
    for name in _names(folder):
        path = os.path.join(folder, name)
        try:
            record, modified = read_json(path), os.stat(path).st_mtime
        except (OSError, ValueError):
            continue
        if not isinstance(record, dict):
            continue
        after = _sanitized(dict(record), modified)
        if after != record:
            repaired.append(str(record.get("id") or name[: -len(".json")]))
            if apply:
                write_atomic(path, to_json(after))
    return repaired


def _sanitized(record: dict[str, t.Any], modified: float) -> dict[str, t.Any]:
    reported = _as_reported(dict(record))
    if reported.get("status") in _UNFINISHED:
        return record
    record.update(status=reported.get("status"), error=reported.get("error"))
    for key, moment in (("started_at", modified), ("finished_at", modified)):
        record[key] = normalise_time(record.get(key)) or from_epoch(moment)
    if not isinstance(record.get("duration_seconds"), (int, float)):
        start, end = (datetime.datetime.fromisoformat(record[key]) for key in ("started_at", "finished_at"))
        record["duration_seconds"] = max(0.0, (end - start).total_seconds())
    return record


def _as_reported(record: dict[str, t.Any]) -> dict[str, t.Any]:
    pid, started = record.pop("pid", None), record.pop("pid_started", None)
    if record.get("status") in _UNFINISHED and (not isinstance(pid, int) or start_ticks(pid) != started):
        record["status"] = "failed"
        message = "The process that did this ended without a word: it was killed, or the power failed."
        record["error"] = {"reason_code": "internal_error", "message": message}
    return record
