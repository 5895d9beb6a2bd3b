# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models in memory: one child process each, and the time they stay."""
from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
import typing as t
from dataclasses import dataclass

from lab.ollama import durations
from lab.ollama.config import Config
from lab.ollama.errors import GoError
from lab.ollama.faults import Faults
from lab.ollama.models import Model, stamp

DEFAULT_CONTEXT = 4096
AUTOMATIC_MODELS = 3


@dataclass
class Entry:
    """A loaded model. It stays what it was when it was loaded, whatever becomes of its files."""

    name: str
    digest: str
    details: dict[str, t.Any]
    size: int
    context: int
    child: subprocess.Popen[bytes]
    duration: int
    expires: int

    def touch(self, duration: int | None) -> None:
        """A request has used it; without a duration of its own the last one goes on."""
        if duration is not None:
            self.duration = duration
        self.expires = time.time_ns() + self.duration

    def listed(self) -> dict[str, t.Any]:
        """The entry of /api/ps."""
        return {
            "name": self.name,
            "model": self.name,
            "size": self.size,
            "digest": self.digest,
            "details": self.details,
            "expires_at": stamp(self.expires),
            "size_vram": 0,
            "context_length": self.context,
        }


class Loaded:
    """The models in memory, by the blob they were read from."""

    def __init__(self, config: Config, faults: Faults) -> None:
        self.config, self.faults = config, faults
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._stopped = threading.Event()
        home = os.path.join(config.home, ".ollama")
        self._folder = tempfile.mkdtemp(prefix="lib-", dir=home if config.home and os.path.isdir(home) else None)
        self._program = os.path.join(self._folder, "llama-server")
        os.symlink(shutil.which("cat") or "/bin/cat", self._program)

    def watch(self) -> None:
        """Unload what has expired."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._stopped.wait(0.02):
            now = time.time_ns()
            with self._lock:
                for path in [path for path, entry in self._entries.items() if entry.expires <= now]:
                    self._end(path)

    def use(self, model: Model, duration: int | None, options: t.Mapping[str, t.Any]) -> Entry:
        """Load a model, or use the one that is loaded; GoError if it cannot be loaded."""
        header = model.check_whole()
        longest = int(header.of_architecture("context_length") or DEFAULT_CONTEXT)
        wanted = options.get("num_ctx") or model.parameters.get("num_ctx") or self.config.numbers["OLLAMA_CONTEXT_LENGTH"] or DEFAULT_CONTEXT
        context = min(int(wanted), longest)
        with self._lock:
            entry = self._entries.get(model.path)
            if entry is not None and entry.context != context:
                self._end(model.path)
                entry = None
            if entry is None:
                entry = self._load(model, context)
            entry.touch(duration)
            return entry

    def _load(self, model: Model, context: int) -> Entry:
        limit = self.config.numbers["OLLAMA_MAX_LOADED_MODELS"] or AUTOMATIC_MODELS
        while len(self._entries) >= limit:
            self._end(min(self._entries, key=lambda path: self._entries[path].expires))
        slow = self.faults.take("slow_load")
        seconds = self.config.load_seconds + (float(slow.get("seconds", 1)) if slow else 0.0)
        allowed = self.config.load_timeout / durations.SECOND
        time.sleep(min(seconds, allowed))
        if seconds > allowed:
            raise GoError("timed out waiting for llama-server to start")
        child = subprocess.Popen(["llama-server", "-"], executable=self._program, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        size = os.stat(model.path).st_size
        entry = Entry(
            model.name.shortest, model.manifest.digest, model.details(), size + context * 2048, context, child, self.config.keep_alive, 0
        )
        self._entries[model.path] = entry
        return entry

    def unload(self, model: Model) -> None:
        """keep_alive 0: gone at once, unless a fault makes it slow."""
        slow = self.faults.take("slow_unload")
        with self._lock:
            entry = self._entries.get(model.path)
            if entry is None:
                return
            if slow is None:
                self._end(model.path)
            else:
                entry.duration = int(float(slow.get("seconds", 1)) * durations.SECOND)
                entry.expires = time.time_ns() + entry.duration

    def _end(self, path: str) -> None:
        entry = self._entries.pop(path)
        entry.child.kill()
        entry.child.wait()
        if entry.child.stdin is not None:
            entry.child.stdin.close()

    def listed(self) -> list[dict[str, t.Any]]:
        """Entries of /api/ps, the one that stays longest first, by the second."""
        with self._lock:
            entries = sorted(self._entries.values(), key=lambda entry: -(entry.expires // durations.SECOND))
            return [entry.listed() for entry in entries]

    def stop(self) -> None:
        """End every child."""
        self._stopped.set()
        with self._lock:
            for path in list(self._entries):
                self._end(path)
        shutil.rmtree(self._folder, ignore_errors=True)


def keep_alive(value: t.Any) -> int | None:
    """Nanoseconds of a request's keep_alive; None leaves it as it is. GoError for what Go refuses."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        kinds: dict[type, str] = {bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}
        raise GoError(f"Unsupported type: '{kinds[type(value)]}'")
    found = durations.parse(value) if isinstance(value, str) else int(value * durations.SECOND)
    return durations.FOR_EVER if found < 0 else found
