# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that outlive the module that started them: a folder each below ``<models_dir>/calls``, read by those who ask for progress.

``call.json`` is what was asked, ``status.json`` what the worker says, ``result.json`` the end, ``lease`` a file whose time of change
says that somebody still waits. Nobody but the account that started a call may read them, and no secret is in any of them.
"""
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import make_folders, read_json, remove_if_there, to_json
from ansible_collections.venom.llm.plugins.module_utils.interrupts import Interrupted
from ansible_collections.venom.llm.plugins.module_utils.journal import read_running
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import utc_now
from ansible_collections.venom.llm.plugins.module_utils.processes import start_ticks

FOLDER = "calls"
#: Seconds that a finished or dead call is kept for somebody who comes back to ask.
KEEP_SECONDS = 86400.0
#: Seconds between two looks at a call that is waited for.
LOOK_INTERVAL = 0.2
#: Seconds from SIGTERM to SIGKILL.
GRACE = 10.0
#: Seconds within which a worker shows itself, else its start has failed.
BIRTH_SECONDS = 30.0
#: Bytes set aside for the result, which has to be written also when the disk is full; that may be just what it says.
RESERVE_BYTES = 65536

#: ``died`` is the state of a call whose process ended without a word.
RUNNING = ("pending", "in_progress")
ENDED = ("completed", "failed", "cancelled")

_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")


def new_id() -> str:
    """An id that sorts by time."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.urandom(4).hex()}"


def write_private(path: str, value: t.Any) -> None:
    """Replace a small JSON file. A reader sees the old or the new one; a power cut ends the call, so nothing is synced."""
    temporary = f"{path}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        view = memoryview(to_json(value))
        while view:
            view = view[os.write(descriptor, view):]
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


class Call:
    """One call by its folder."""

    def __init__(self, models_dir: str, call_id: str) -> None:
        if not _ID.fullmatch(call_id):
            raise VenomError(
                "invalid_option",
                wanted="an operation_id of letters, digits and hyphens",
                found=ascii(call_id),
                todo="pass the id that start has returned",
                option="operation_id",
            )
        self.id = call_id
        self.models_dir = models_dir
        self.folder = os.path.join(models_dir, FOLDER, call_id)

    def path(self, name: str) -> str:
        """A file of the call."""
        return os.path.join(self.folder, name)

    def exists(self) -> bool:
        """Whether there is such a call."""
        return os.path.isdir(self.folder)

    def create(self, models: t.Sequence[str], lease: float) -> None:
        """Make the folder. Raises ``OSError``; FileExistsError for an id that is taken."""
        created = _missing_folders(os.path.dirname(self.folder))
        for tries_left in (2, 1, 0):
            make_folders(os.path.dirname(self.folder))
            try:
                os.mkdir(self.folder, 0o700)
                break
            except FileNotFoundError:
                # The end of another call has just removed the folder of calls, which was empty.
                if not tries_left:
                    raise
        os.close(os.open(self.path("lease"), os.O_WRONLY | os.O_CREAT, 0o600))
        self._note({"id": self.id, "models": list(models), "started_at": utc_now(), "lease": lease, "created": created})
        descriptor = os.open(self.path("reserve"), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, b"\0" * RESERVE_BYTES)
        finally:
            os.close(descriptor)

    def note_process(self, pid: int) -> None:
        """Remember who does the work; until then its own word is all there is."""
        self._note(dict(self.record(), pid=pid, pid_started=start_ticks(pid)))

    def _note(self, record: dict[str, t.Any]) -> None:
        write_private(self.path("call.json"), record)

    def record(self) -> dict[str, t.Any]:
        """What was asked for; empty when it cannot be read."""
        return _read(self.path("call.json"))

    def status(self) -> dict[str, t.Any]:
        """What the worker said last; empty before its first word."""
        return _read(self.path("status.json"))

    def process(self) -> tuple[int, int] | None:
        """Pid and start of the worker, if it lives."""
        for source in (self.status(), self.record()):
            pid, started = source.get("pid"), source.get("pid_started")
            if isinstance(pid, int) and isinstance(started, int) and start_ticks(pid) == started:
                return pid, started
        return None

    def outcome(self) -> dict[str, t.Any] | None:
        """How it ended, or None: ``state``, ``result`` and ``warnings``."""
        return _read(self.path("result.json")) or None

    def state(self) -> str:
        """One of RUNNING, one of ENDED, or ``died``."""
        # In this order: a worker that ends between the two looks has left its result before.
        alive = self.process() is not None
        outcome = self.outcome()
        if outcome is not None:
            return str(outcome.get("state"))
        if alive:
            return str(self.status().get("state") or "pending")
        return "pending" if self._is_newborn() else "died"

    def _is_newborn(self) -> bool:
        if "pid" in self.record() or self.status():
            return False
        return _age(self.folder) < BIRTH_SECONDS

    def renew(self) -> None:
        """Somebody still waits for the end."""
        try:
            os.utime(self.path("lease"))
        except FileNotFoundError:
            return

    def wait(self, seconds: float, clock: t.Callable[[], float] = time.monotonic, sleep: t.Callable[[float], None] = time.sleep) -> str:
        """The state after at most so many seconds, at once when it is at an end. Renews the lease all the time."""
        deadline = clock() + seconds
        while True:
            self.renew()
            state = self.state()
            remaining = deadline - clock()
            if state not in RUNNING or remaining <= 0:
                return state
            sleep(min(LOOK_INTERVAL, remaining))

    def end(self, state: str, result: dict[str, t.Any], warnings: t.Sequence[str] = ()) -> None:
        """Write how it ended."""
        remove_if_there(self.path("reserve"))
        write_private(self.path("result.json"), {"state": state, "result": result, "warnings": list(warnings)})

    def stop(self, grace: float = GRACE) -> bool:
        """End the worker: SIGTERM, then SIGKILL to it and its children. Whether there was one to end. Raises ``OSError``."""
        process = self.process()
        if process is None or self.outcome() is not None:
            return False
        _signal(process[0], signal.SIGTERM)
        deadline = time.monotonic() + grace
        while self.process() is not None and time.monotonic() < deadline:
            time.sleep(LOOK_INTERVAL / 4)
        if self.process() is not None:
            # It leads a session and a group of its own.
            _signal(-process[0], signal.SIGKILL)
            while self.process() is not None:
                time.sleep(LOOK_INTERVAL / 4)
        if self.outcome() is None:
            self.end("cancelled", Interrupted("it was stopped by SIGKILL").to_error().to_result())
        return True

    def forget(self) -> None:
        """Remove the folder, and what was made only to hold it."""
        created = self.record().get("created")
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in [os.path.dirname(self.folder), *(created if isinstance(created, list) else [])]:
            try:
                os.rmdir(folder)
            except OSError:
                continue

    def last_words(self, limit: int = 2000) -> str:
        """The end of what the worker wrote to its log."""
        try:
            with open(self.path("worker.log"), encoding="utf-8", errors="replace") as stream:
                return stream.read()[-limit:].strip()
        except OSError:
            return ""

    def describe(self) -> dict[str, t.Any]:
        """What can be told of it now, as plain data."""
        record, status, process = self.record(), self.status(), self.process()
        return {
            "id": self.id,
            "state": self.state(),
            "models": record.get("models") or [],
            "started_at": record.get("started_at"),
            "message": status.get("message"),
            "done": status.get("done"),
            "total": status.get("total"),
            "pid": process[0] if process else None,
            "operations": read_running(os.path.join(self.models_dir, "operations"), *process) if process else [],
        }


def all_calls(models_dir: str) -> list[Call]:
    """Every call that has a folder, oldest first."""
    try:
        names = sorted(os.listdir(os.path.join(models_dir, FOLDER)))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    return [Call(models_dir, name) for name in names if _ID.fullmatch(name)]


def running_calls(models_dir: str) -> list[Call]:
    """Calls at work, as far as this account may see them."""
    return [call for call in all_calls(models_dir) if call.state() in RUNNING]


def prune(models_dir: str, keep_seconds: float = KEEP_SECONDS) -> None:
    """Forget calls that ended long ago and that nobody came back for."""
    for call in all_calls(models_dir):
        if _age(call.folder) > keep_seconds and call.state() not in RUNNING:
            call.forget()


def _age(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_mtime
    except OSError:
        return 0.0


def _read(path: str) -> dict[str, t.Any]:
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _missing_folders(path: str) -> list[str]:
    """The folders that have to be made for a path to exist, innermost first."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing


def to_payload(params: dict[str, t.Any], secrets: t.Sequence[str], lease: float) -> bytes:
    """What a worker is told through its standard input."""
    return json.dumps({"params": params, "secrets": list(secrets), "lease": lease}).encode("utf-8")
