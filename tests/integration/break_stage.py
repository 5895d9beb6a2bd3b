# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where activations are broken on purpose in this process: a managed host in a folder, with stand-in servers, and the hands that break it."""
from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

from integration.breaks import BEFORE, NEW, NOTHING
from integration.failures_page import Outcome
from integration.runtime_support import SAMPLES, TwoRuntimes, digest_of

from ansible_collections.venom.llm.plugins.module_utils import activation, activation_server, activation_trial, files, processes
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeHost, wait_until

TARGET = "target"
#: Before the names of Ollama's models: no two models of a host share a name.
PREFIX = "tiny-"
#: Holds a TCP port as soon as it is free.
_TAKER = """
import socket, sys, time
holder = socket.socket()
holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
print("ready", flush=True)
while True:
    try:
        holder.bind(("127.0.0.1", int(sys.argv[1])))
        holder.listen()
        while True:
            holder.accept()[0].close()
    except OSError:
        time.sleep(0.001)
"""


class Answer(t.NamedTuple):
    """Of a real request, made beside the collection."""

    status: int
    data: t.Any


def ask(port: int, method: str, path: str, body: t.Any = None, timeout: float = 20.0) -> Answer | None:
    """One request to this host; None when nobody answers it within ``timeout`` seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        return Answer(response.status, json.loads(text) if text else None)
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def says(port: int, model: str, timeout: float = 20.0) -> str:
    """What a model answers to a client; empty when it does not."""
    body = {"model": model, "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 16}
    answer = ask(port, "POST", "/v1/chat/completions", body, timeout)
    return str(answer.data["choices"][0]["message"]["content"]) if answer is not None and answer.status == 200 else ""


class Stage(t.Protocol):
    """A host on which two good models take turns, and on which a third, the target, is what a case makes of it."""

    host: FakeHost
    runtime: str
    good: tuple[str, str]

    @property
    def port(self) -> int:
        """Where clients ask."""

    def activate(self, name: str, **options: t.Any) -> dict[str, t.Any]:
        """Activate by the name that clients use."""

    def serving(self) -> str | None:
        """The name of the model that gives a client an answer, or None when nothing runs."""

    def prepare(self, do: t.Mapping[str, t.Any], before: str | None) -> None:
        """Break what is to be broken before the activation."""

    def repair(self) -> None:
        """Make whole again what was broken."""

    def committed(self) -> str | None:
        """The name of the model that the record says."""

    def status(self) -> dict[str, t.Any]:
        """What the collection says, with a probe."""


class VllmStage:
    """vLLM's stand-in: a model on trial is another server."""

    runtime = "vllm"
    good = ("one", "two")

    def __init__(self, host: FakeHost, fresh: bool = True) -> None:
        self.host = host
        self.gauge = host.root / "in-flight"
        if fresh:
            for name in (*self.good, TARGET):
                host.install(f"lab/{name}")
        manifest = Manifest.load(str(host.root / "models"))
        found = {name: manifest.find(f"lab/{name}", None) for name in (*self.good, TARGET)}
        self.entries = {name: entry for name, entry in found.items() if entry is not None}
        if fresh:
            self.repair()

    @property
    def port(self) -> int:
        """See ``Stage``."""
        return self.host.port

    def activate(self, name: str, **options: t.Any) -> dict[str, t.Any]:
        """See ``Stage``."""
        return self.host.activate(f"lab/{name}", **options)

    def status(self) -> dict[str, t.Any]:
        """See ``Stage``."""
        return self.host.status()

    def serving(self) -> str | None:
        """See ``Stage``."""
        listed = ask(self.host.port, "GET", "/v1/models")
        if listed is None:
            return None
        name = str(listed.data["data"][0]["id"])
        return name if says(self.host.port, name) == f"I am {name}" else None

    def prepare(self, do: t.Mapping[str, t.Any], before: str | None) -> None:
        """See ``Stage``."""
        self.host.behave(self.entries[TARGET], **do.get("behave", {}))
        if before is not None and "good" in do:
            self.host.behave(self.entries[before], **do["good"])
        weights = Path(self.entries[TARGET].local_path, "model.safetensors")
        if do.get("weights") == "missing":
            weights.unlink()
        elif do.get("weights") == "cut":
            weights.write_bytes(b"wei")
        if "busy" in do or do.get("kill") == "server at drain":
            self.gauge.write_text("1", encoding="ascii")

    def repair(self) -> None:
        """See ``Stage``."""
        self.gauge.write_text("0", encoding="ascii")
        for name, entry in self.entries.items():
            Path(entry.local_path, "model.safetensors").write_bytes(b"weights")
            self.host.behave(entry, **({} if name == TARGET else {"in_flight": str(self.gauge)}))

    def committed(self) -> str | None:
        """See ``Stage``."""
        return committed(self.host, self.runtime)


class OllamaStage:
    """Ollama's stand-in: one server that changes what it has in memory. Without a model before, it runs with none."""

    runtime = "ollama"
    good = ("one", "two")

    def __init__(self, host: TwoRuntimes, fresh: bool = True) -> None:
        self.host = host
        self.samples = {"one": "tiny", "two": "mid", TARGET: "big"}
        if fresh:
            self._store()
        self._listed: dict[str, str] | None = None
        self._hidden = False

    @property
    def port(self) -> int:
        """See ``Stage``."""
        return self.host.ollama_port

    def _store(self) -> None:
        for name, sample in self.samples.items():
            self.host.store(sample, PREFIX + name)

    def activate(self, name: str, **options: t.Any) -> dict[str, t.Any]:
        """See ``Stage``."""
        return self.host.ollama(model=PREFIX + name, **options)

    def status(self) -> dict[str, t.Any]:
        """See ``Stage``."""
        status: dict[str, t.Any] = self.host.both(probe=True)[self.runtime]
        names = {key: (status[key] or "").replace(PREFIX, "") or None for key in ("alias", "active_model")}
        return {**status, **names}

    def serving(self) -> str | None:
        """See ``Stage``. Asking for a model loads it, so what is in memory is looked at first."""
        loaded = ask(self.port, "GET", "/api/ps")
        names = {digest_of(sample): name for name, sample in self.samples.items()}
        found = [f"sha256:{model['digest']}" for model in loaded.data["models"]] if loaded is not None else []
        if len(found) != 1:
            return None if not found else f"several: {found}"
        name = names[found[0]]
        return name if found[0][7:19] in says(self.port, PREFIX + name) else None

    def prepare(self, do: t.Mapping[str, t.Any], before: str | None) -> None:
        """See ``Stage``."""
        if before is None and "port" not in do:
            self.host.ollama("started")
        spoil, weights = do.get("spoil"), self.host.store_dir / "blobs" / f"sha256-{SAMPLES['big'].digest('model')}"
        if spoil == "delete":
            ask(self.port, "DELETE", "/api/delete", {"model": PREFIX + TARGET})
        elif spoil == "move":
            ask(self.port, "POST", "/api/copy", {"source": f"{PREFIX}two", "destination": PREFIX + TARGET})
        elif spoil == "missing":
            weights.unlink()
        elif spoil == "cut":
            weights.write_bytes(weights.read_bytes()[:64])
        self._hidden = any(fault["kind"] == "ps_hides" for fault in do.get("fault", ()))
        for fault in do.get("fault", ()):
            path = fault.get("path", "").replace("BEFORE", PREFIX + (before or ""))
            assert ask(self.port, "POST", "/_lab/faults", {**fault, "path": path}) is not None
        if "port" not in do:
            self._listed = self.host.names()

    def repair(self) -> None:
        """See ``Stage``. Names that a failure left behind would show here."""
        answered = ask(self.port, "DELETE", "/_lab/faults") is not None
        if self._hidden:
            # What a server hides nobody can take out of its memory, before it tells the truth again.
            ask(self.port, "POST", "/api/generate", {"model": PREFIX + TARGET, "keep_alive": 0})
        if answered and self._listed is not None:
            given = set(self.host.names()) - {f"{PREFIX}{name}:latest" for name in self.samples}
            assert not given, f"left behind: {given}"
        self._store()

    def committed(self) -> str | None:
        """See ``Stage``."""
        alias = committed(self.host, self.runtime)
        return None if alias is None else alias.replace(PREFIX, "")


def committed(host: FakeHost, runtime: str) -> str | None:
    """The alias that the record says."""
    with contextlib.suppress(FileNotFoundError):
        active = host.record()["active"].get(runtime)
        return None if active is None else str(active["alias"])
    return None


def pid_of(host: FakeHost, runtime: str) -> int | None:
    """The server's process by its pid file; None also while it is being started, when the file has no process yet."""
    with contextlib.suppress(OSError, ValueError):
        return int(json.loads((host.root / "run" / f"venom-{runtime}.pid.json").read_text(encoding="ascii"))["pid"]) or None
    return None


def pid_of_unit(runtime: str) -> int:
    """The server's process by systemd; 0 when it does not run."""
    done = subprocess.run(["systemctl", "show", "-P", "MainPID", f"venom-{runtime}.service"], capture_output=True, text=True, check=True)
    return int(done.stdout)


def leftovers(host: FakeHost) -> list[int]:
    """Living servers of this host, by what stands in their command line or environment."""
    mark = str(host.root)
    found = []
    for pid in processes.pids():
        if pid != os.getpid() and processes.start_ticks(pid) is not None and "VENOM_SERVER_ID" in processes.environment(pid):
            words = (*processes.command_line(pid), *processes.environment(pid).values())
            if any(mark in word for word in words):
                found.append(pid)
    return found


@contextlib.contextmanager
def killer(stage: Stage, moment: str) -> t.Iterator[None]:
    """SIGKILL to the server at a moment: while the next one starts, while the present one is drained, while the rollback's one starts."""
    first = pid_of(stage.host, stage.runtime)
    stopped = threading.Event()

    def is_due(later: set[int | None]) -> bool:
        if moment == "server at drain":
            return time.monotonic() > begun + 0.2
        if moment == "server at load":
            waiting = ask(stage.port, "GET", "/_lab/faults")
            return waiting is not None and waiting.data == []
        said = log.read_text(encoding="utf-8").count("stand-in starts") - starts
        return said == len(later) == {"server at start": 1, "server at rollback": 2}[moment]

    def work() -> None:
        later: set[int | None] = set()
        while not stopped.wait(0.005):
            pid = pid_of(stage.host, stage.runtime)
            later |= {pid} - {first, None}
            if pid is not None and is_due(later):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                return

    begun, log = time.monotonic(), stage.host.root / "log" / f"{stage.runtime}.log"
    starts = log.read_text(encoding="utf-8").count("stand-in starts") if log.exists() else 0

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@contextlib.contextmanager
def port_taker(stage: Stage, patch: t.Any, how: str) -> t.Iterator[None]:
    """Somebody else takes the server's port: before the activation, between stop and start, or there for a moment only."""
    port = str(stage.port)
    argv = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", port] if how == "before" else [sys.executable, "-", port]
    taker = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        if how == "before":
            wait_until(lambda: ask(stage.port, "GET", "/") is not None or processes.listeners(stage.port))
        else:
            # From standard input: no path with the name of a runtime shall be in its command line.
            assert taker.stdin is not None and taker.stdout is not None
            taker.stdin.write(_TAKER.encode())
            taker.stdin.close()
            assert taker.stdout.readline() == b"ready\n"
        if how == "moment":
            real = activation.Transaction._give_up

            def give_up(*arguments: t.Any, **options: t.Any) -> None:
                taker.kill()
                taker.wait()
                real(*arguments, **options)

            patch.setattr(activation.Transaction, "_give_up", give_up)
        yield
    finally:
        taker.kill()
        taker.wait()
        for stream in (taker.stdin, taker.stdout):
            if stream is not None:
                stream.close()


def fill_disk(stage: Stage, patch: t.Any, step: str) -> None:
    """No file of the configuration can be written any more, from a step on."""
    full = [False]
    write, run_step = files.write_atomic, activation.Transaction._step

    def refused(path: str, *arguments: t.Any, **options: t.Any) -> None:
        if full[0] and path.startswith(str(stage.host.root / "config")):
            raise OSError(28, "No space left on device", path)
        write(path, *arguments, **options)

    def stepping(self: t.Any, name: str, *arguments: t.Any, **options: t.Any) -> None:
        full[0] = full[0] or name == step
        run_step(self, name, *arguments, **options)

    patch.setattr(files, "write_atomic", refused)
    patch.setattr(activation.Transaction, "_step", stepping)


def in_child(work: t.Callable[[], t.Any]) -> tuple[int, t.Any]:
    """Do it in a process of its own: the exit code, minus the signal if one ended it, and what it gave or how it failed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            try:
                result = work()
            except VenomError as error:
                result = error.to_result()
            os.write(writing, json.dumps(result).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        text = stream.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), json.loads(text) if text else None


def stop_at(moment: str, action: t.Callable[[], None]) -> None:
    """From now on this process does something when an activation comes to a step, between stop and start, in the commit, or to its end."""
    step, start, run = activation.Transaction._step, activation_server.Server.start, activation.Transaction.run
    write = activation_trial.write_environment

    def stepping(self: t.Any, name: str, *arguments: t.Any, **options: t.Any) -> None:
        if options.get("label", arguments[0] if arguments else "") + name == moment:
            action()
        step(self, name, *arguments, **options)

    def starting(self: t.Any, limits: t.Any) -> float:
        if moment == "between stop and start":
            action()
        return start(self, limits)

    def writing(runtime: t.Any, path: str, active: t.Any) -> None:
        write(runtime, path, active)
        # The commit begins with the file that a boot reads.
        if moment == "the middle of the commit" and path == runtime.active_path:
            action()

    def running(self: t.Any, steps: t.Sequence[str]) -> None:
        run(self, steps)
        if moment == "the end":
            action()

    activation.Transaction._step = stepping  # type: ignore[method-assign]
    activation_server.Server.start = starting  # type: ignore[method-assign]
    activation_trial.write_environment = writing
    activation.Transaction.run = running  # type: ignore[method-assign]


def die() -> None:
    """SIGKILL to this very process."""
    os.kill(os.getpid(), signal.SIGKILL)


def outcome_of(stage: Stage, before: str | None, work: t.Callable[[], t.Any]) -> tuple[Outcome, dict[str, t.Any]]:
    """Do it, and see what came of it."""
    step = reason = cause = ""
    log: tuple[str, ...] = ()
    rolled_back: bool | None = None
    details: dict[str, t.Any] = {}
    try:
        details = work() or {}
    except VenomError as error:
        details = error.to_result()
        reason = error.reason_code
        mark = str(stage.host.root)
        step, cause = details.get("step", "refused"), details.get("cause", error.found).replace(mark, "...").replace(sys.executable, "python")
        rolled_back, log = details.get("rolled_back"), tuple(line.replace(mark, "...") for line in details.get("log_tail", ()))
    return Outcome(step, reason, cause, log, rolled_back, whose(stage.serving(), before)), details


def whose(serving: str | None, before: str | None) -> str:
    """The model that serves, in the words of the catalogue."""
    if serving is None:
        return NOTHING
    return BEFORE if serving == before else NEW if serving == TARGET else serving
