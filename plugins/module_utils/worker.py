# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process behind a call that outlives its module. It stops itself when nobody waits any more.

It is started by ``spawn`` in a session of its own, on a copy of the code: the archive that Ansible brings is gone when the module
ends. Parameters come through standard input, so a token is in no file, no argument list and no environment.
"""
from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.calls import GRACE, Call, to_payload, write_private
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.failures import backend_missing, to_failure
from ansible_collections.venom.llm.plugins.module_utils.interrupts import Interrupted, ignore_signals, raise_on_signals
from ansible_collections.venom.llm.plugins.module_utils.processes import start_ticks

#: Arguments: folder or archive of the code, models_dir, id of the call, "again" under the second interpreter.
_BOOT = (
    "import sys; sys.path[0] = sys.argv[1]; "
    "from ansible_collections.venom.llm.plugins.module_utils.worker import main; main(sys.argv[1:])"
)
#: Seconds between two writes of the same message with other numbers.
STATUS_INTERVAL = 1.0
MASK = "********"

Operation = t.Callable[[dict[str, t.Any], "WorkerContext"], dict[str, t.Any]]


def code_path() -> str | None:
    """Where this code was loaded from: an archive, a folder on the module search path, or None when it came from elsewhere."""
    archive = getattr(globals().get("__loader__"), "archive", None)
    if archive:
        return str(archive)
    path, inside = os.path.abspath(__file__), f"{__name__.replace('.', os.sep)}.py"
    return path[: -len(inside)] if path.endswith(os.sep + inside) and os.path.isfile(path) else None


def spawn(call: Call, code: str, payload: bytes) -> subprocess.Popen[bytes]:
    """Start the worker of a call. Raises ``OSError``."""
    if os.path.isfile(code):
        code = shutil.copyfile(code, call.path("code.zip"))
    log = os.open(call.path("worker.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, code, call.models_dir, call.id], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
        )
    finally:
        os.close(log)
    call.note_process(process.pid)
    try:
        if process.stdin is not None:
            with process.stdin as stream:
                stream.write(payload)
    except BrokenPipeError:
        # It died at once; its log says why, and whoever waits for it will find out.
        process.wait()
    return process


class WorkerContext:
    """What the operation may ask of the worker; the same as of a module."""

    check_mode = False
    diff_mode = True

    def __init__(self, call: Call, payload: bytes, code: str, again: bool, clock: t.Callable[[], float] = time.monotonic) -> None:
        self.warnings: list[str] = []
        self._call = call
        self._payload = payload
        self._code = code
        self._again = again
        self._clock = clock
        self._guard = threading.Lock()
        self._status: dict[str, t.Any] = {"state": "in_progress", "message": None, "pid": os.getpid(), "pid_started": start_ticks(os.getpid())}
        self._written_at = self._clock()
        write_private(call.path("status.json"), self._status)

    def warn(self, text: str) -> None:
        """Keep the sentence for the result."""
        self.warnings.append(text)

    def report(self, message: str, done: int | None = None, total: int | None = None) -> None:
        """Note what is being done. The same message with other numbers is written at most once a second."""
        with self._guard:
            news = message != self._status["message"]
            self._status.update(message=message, done=done, total=total)
            if not news and self._clock() - self._written_at < STATUS_INTERVAL:
                return
            self._written_at = self._clock()
            try:
                write_private(self._call.path("status.json"), self._status)
            except OSError:
                # A disk that is full is the operation's to tell.
                return

    def has_library(self, name: str = "huggingface_hub") -> bool:
        """Whether the running interpreter could import the library; nothing is imported."""
        return importlib.util.find_spec(name) is not None

    def need_backend(self, python: str, library: str = "huggingface_hub") -> None:
        """Start again as the same process under the backend venv's Python, if the running one lacks the library."""
        if self.has_library(library):
            return
        if self._again or not os.access(python, os.X_OK):
            raise backend_missing(python, library, self._again)
        ignore_signals()
        source, target = os.pipe()
        if os.fork() == 0:
            # A pipe holds less than a long list of models, so somebody has to stay and write.
            os.close(source)
            with os.fdopen(target, "wb") as stream:
                stream.write(self._payload)
            os._exit(0)
        os.close(target)
        os.dup2(source, 0)
        os.execv(python, [python, "-c", _BOOT, self._code, self._call.models_dir, self._call.id, "again"])  # noqa: S606


class Watch(threading.Thread):
    """Ends the process when the lease has not been renewed for so many seconds: the play was killed, or its line is cut."""

    def __init__(self, path: str, seconds: float, grace: float = GRACE, clock: t.Callable[[], float] = time.monotonic) -> None:
        super().__init__(name="lease", daemon=True)
        self.reason: str | None = None
        self._path = path
        self._seconds = seconds
        self._grace = grace
        self._clock = clock
        self._seen: tuple[int | None, float] | None = None

    def run(self) -> None:
        """Look until it is over."""
        while not self.is_over():
            time.sleep(min(1.0, self._seconds / 4))
        self.reason = f"nobody asked for its progress for {self._seconds:g} s"
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(self._grace)
        # The main thread sits in something that no signal gets it out of. What it had is in the partial files.
        os.kill(0, signal.SIGKILL)

    def is_over(self) -> bool:
        """Whether nobody has touched the file for so long. The host's clock may jump, so only a change of the time counts."""
        try:
            touched: int | None = os.stat(self._path).st_mtime_ns
        except OSError:
            touched = None
        if self._seen is None or touched != self._seen[0]:
            self._seen = (touched, self._clock())
        return self._clock() - self._seen[1] > self._seconds


def perform(operation: Operation, params: dict[str, t.Any], context: WorkerContext) -> tuple[str, dict[str, t.Any]]:
    """Run the operation; the state it ends in, and its result."""
    try:
        return "completed", operation(params, context)
    except (Exception, Interrupted) as error:
        stopped = isinstance(error, Interrupted) or (isinstance(error, VenomError) and error.reason_code == "cancelled")
        return "cancelled" if stopped else "failed", to_failure(error)


def mask(value: t.Any, secrets: t.Sequence[str]) -> t.Any:
    """The value with every secret in it replaced."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        return value
    if isinstance(value, dict):
        return {mask(key, secrets): mask(item, secrets) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask(item, secrets) for item in value]
    return value


def run_models(params: dict[str, t.Any], context: WorkerContext) -> dict[str, t.Any]:
    """The operation itself, loaded when there is somebody to tell that it does not load."""
    from ansible_collections.venom.llm.plugins.module_utils import models

    return models.run_models(params, context)


def read_payload(again: bool) -> bytes:
    """What came through standard input, which is nothing from here on."""
    with open(0, "rb", closefd=False) as stream:
        payload = stream.read()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    if again:
        # Whoever handed it over has ended by now.
        os.waitpid(-1, 0)
    return payload


def main(arguments: t.Sequence[str]) -> t.NoReturn:
    """The whole life of a worker."""
    code, models_dir, call_id, *rest = arguments
    call = Call(models_dir, call_id)
    watch: Watch | None = None
    raise_on_signals(lambda: watch.reason if watch else None)
    try:
        payload = read_payload(bool(rest))
        told = json.loads(payload)
        if told["lease"]:
            watch = Watch(call.path("lease"), told["lease"])
            watch.start()
        context = WorkerContext(call, payload, code, bool(rest))
        state, result = perform(run_models, told["params"], context)
        ignore_signals()
        call.end(state, mask(result, told["secrets"]), mask(context.warnings, told["secrets"]))
    except Interrupted as error:
        call.end("cancelled", error.to_error().to_result())
    sys.stderr.flush()
    # Not through the interpreter's own end, which waits for threads that may still be in a read.
    os._exit(0)


def begin(call: Call, models: t.Sequence[str], params: dict[str, t.Any], secrets: t.Sequence[str], lease: float, code: str) -> None:
    """Make the call and start its worker. Raises ``OSError`` and leaves nothing behind then; FileExistsError for a taken id."""
    call.create(models, lease)
    try:
        spawn(call, code, to_payload(params, secrets, lease))
    except OSError:
        call.forget()
        raise
