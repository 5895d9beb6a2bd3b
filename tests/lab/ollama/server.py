# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in from outside: start it, ask it, stop it, kill it."""
from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

#: The folder that has the package ``lab``.
ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 20.0
_LISTENING = re.compile(r'msg="Listening on \S*?:(\d+) \(version')


class Reply(t.NamedTuple):
    """An answer, read to its end."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> t.Any:
        """The body as JSON."""
        return json.loads(self.text)

    @property
    def lines(self) -> list[t.Any]:
        """The body as JSON lines."""
        return [json.loads(line) for line in self.text.splitlines() if line]


class OllamaServer:
    """A server over a models folder; use as a context manager, or start() and stop(). It keeps its port over restarts.

    ``env`` is added to an environment that has only PATH and HOME (a folder of its own), ``OLLAMA_NO_CLOUD=1``, and short waits
    (``LAB_OLLAMA_TIME_SCALE=0.01``). ``user``: number of the account it runs as.
    """

    def __init__(
        self,
        models_dir: str | Path,
        port: int = 0,
        env: t.Mapping[str, str] | None = None,
        *,
        host: str = "127.0.0.1",
        user: int | None = None,
        python: str = sys.executable,
    ) -> None:
        self.models_dir = Path(models_dir)
        self.host, self.port, self.user, self.python = host, port, user, python
        self.env = dict(env or {})
        self.exit_code: int | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="lab-ollama-server-")
        os.chmod(self._folder.name, 0o755 if user is None else 0o777)  # noqa: S103
        self.log_path = Path(self._folder.name) / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What OLLAMA_HOST of a client should be."""
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process."""
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written to stderr, over all its starts."""
        return self.log_path.read_text(encoding="utf-8") if self.log_path.exists() else ""

    @property
    def environment(self) -> dict[str, str]:
        """The environment it is started with."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": self._folder.name,
            "OLLAMA_HOST": f"{self.host}:{self.port}",
            "OLLAMA_MODELS": str(self.models_dir),
            "OLLAMA_NO_CLOUD": "1",
            "LAB_OLLAMA_TIME_SCALE": "0.01",
            "LAB_OLLAMA_USER": "" if self.user is None else str(self.user),
            **self.env,
        }

    def start(self, wait: bool = True) -> OllamaServer:
        """Start, and wait until it answers; RuntimeError with its log if it ends instead."""
        self.exit_code = None
        before = len(self.log)
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                [self.python, "-m", "lab.ollama.cli", "serve"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        if wait:
            self._wait(before)
        return self

    def _wait(self, before: int) -> None:
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end:
            if self._process is not None and self._process.poll() is not None:
                self.exit_code, self._process = self._process.returncode, None
                raise RuntimeError(f"the server ended with {self.exit_code}: {self.log[before:]}")
            found = _LISTENING.search(self.log[before:])
            if found is not None:
                self.port = int(found.group(1))
                if self.request("GET", "/api/version").status == 200:
                    return
            time.sleep(0.01)
        raise RuntimeError(f"the server did not answer: {self.log[before:]}")

    def stop(self) -> int:
        """SIGTERM; the exit status. Safe to call twice."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL."""
        return self._end(signal.SIGKILL)

    def _end(self, number: int) -> int:
        if self._process is not None:
            self._process.send_signal(number)
            self.exit_code = self._process.wait(START_TIMEOUT)
            self._process = None
        return self.exit_code or 0

    def restart(self) -> OllamaServer:
        """Stop and start on the same port."""
        self.stop()
        return self.start()

    def __enter__(self) -> OllamaServer:
        return self.start()

    def __exit__(self, *dummy: object) -> None:
        self.stop()
        self._folder.cleanup()

    def request(self, method: str, path: str, body: t.Any = None, headers: t.Mapping[str, str] | None = None, timeout: float = 30.0) -> Reply:
        """One request of a test; a body that is no text is sent as JSON."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        data = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        try:
            connection.request(method, path, data, dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read().decode())
        finally:
            connection.close()

    def fault(self, kind: str, **options: t.Any) -> None:
        """Add a fault; see faults.py."""
        reply = self.request("POST", "/_lab/faults", {"kind": kind, **options})
        if reply.status != 200:
            raise ValueError(reply.text)

    def clear_faults(self) -> None:
        """No more faults."""
        self.request("DELETE", "/_lab/faults")

    def children(self) -> list[str]:
        """Names of the processes it has started."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, dummy, rest = path.read_text().partition("(")[2].rpartition(")")
            except OSError:
                continue
            if int(rest.split()[1]) == self.pid and rest.split()[0] != "Z":
                found.append(name)
        return found


def command(folder: str | Path, python: str = sys.executable, root: str | Path = ROOT) -> Path:
    """Put an executable ``ollama`` into a folder, which is to be on PATH. ``root`` is the folder of the package ``lab`` where it will run."""
    path = Path(folder) / "ollama"
    path.parent.mkdir(parents=True, exist_ok=True)
    script = f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(root))} exec {shlex.quote(python)} -m lab.ollama.cli "$@"\n'
    path.write_text(script, encoding="utf-8")
    path.chmod(0o755)
    return path
