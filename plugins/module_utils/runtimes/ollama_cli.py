# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``ollama``, for hosts on which it reaches a server that we do not. As of Ollama 0.32.15.

It ends with 0 or 1, says why after ``Error: `` on stderr, and draws its progress there with terminal control codes even without a
terminal. It shows only the first 12 digits of a digest.
"""
from __future__ import annotations

import os
import pwd
import re
import selectors
import shutil
import signal
import subprocess
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef, fold_name
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_api import DEFAULT_URL
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_errors import Failure, classify, scrub
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_http import ServerUrl
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_pull import Progress, Wish, too_late, try_again

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CONTROL = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])")
_ID = re.compile(r"\A[0-9a-f]{12}\Z")
_FIGURE = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_MISSING = re.compile(r"\Amodel ['\"].*['\"] not found\Z|\Acouldn't find model ")
#: A list of thousands of models is smaller; of stderr only the end counts.
_MAX_OUTPUT = 4 * 1024 * 1024
_MAX_TAIL = 64 * 1024
_TERM_SECONDS = 5.0
#: What is drawn is rounded to 0.1 GB, and verifying draws no figures, so much more patience is due than with bytes.
IDLE_TIMEOUT = 900.0


def find_command() -> str | None:
    """The path of ``ollama``, also where the PATH of an elevated account leaves /usr/local/bin out."""
    return shutil.which("ollama") or shutil.which("ollama", path=_PATH)


@dataclass(frozen=True)
class _Ended:
    """A command that has ended by itself."""

    status: int
    stdout: str
    stderr: str

    def reason(self) -> str:
        """What stands after the last ``Error: ``, else the last line."""
        head, mark, tail = self.stderr.rpartition("Error: ")
        return " ".join(tail.split()) if mark else _last_line(tail) or f"exit status {self.status}"


class OllamaCli:
    """The command, talking to the server at ``url``. Every method raises ``not_installed`` where the command does not start."""

    def __init__(
        self,
        command: str,
        url: str = DEFAULT_URL,
        timeout: float = 120.0,
        idle_timeout: float = IDLE_TIMEOUT,
        retries: int = 5,
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        """``timeout`` in seconds is for everything but a pull, which ends when the figures it draws stand for ``idle_timeout``."""
        self.command = command
        self.url = ServerUrl.parse(url)
        self._timeout = timeout
        self._idle_timeout = idle_timeout
        self._retries = retries
        self._clock = clock
        self._sleep = sleep

    def pull(self, name: str, deadline: float | None = None, insecure: bool = False, progress: Progress | None = None) -> None:
        """Have the server fetch a model, as ``OllamaApi.pull``; progress has no bytes, only the words that are drawn."""
        _check_name(name)
        ends = None if deadline is None else self._clock() + deadline
        wish = Wish(name, insecure, f"{name} pulled by the command ollama", ends)
        arguments = ("pull", "--insecure", name) if insecure else ("pull", name)
        try_again(lambda: (self._pull_once(arguments, wish, progress), 0), wish, self._retries, self._clock, self._sleep)

    def _pull_once(self, arguments: t.Sequence[str], wish: Wish, progress: Progress | None) -> Failure | None:
        changed_at = self._clock()
        figures: list[str] = []

        def watch(drawn: str) -> None:
            nonlocal changed_at, figures
            line, now = _last_line(drawn), self._clock()
            if progress is not None:
                progress(0, None, line)
            seen = [*_FIGURE.findall(line), re.sub(r"[^A-Za-z ]", "", line)]
            if seen != figures:
                changed_at, figures = now, seen
            if wish.ends is not None and now >= wish.ends:
                raise too_late(wish, line or "no word yet")
            if now - changed_at >= self._idle_timeout:
                raise _Idle(f"stalled: nothing new for {self._idle_timeout:g} s ({line or 'no word yet'})")

        try:
            ended = self._run(arguments, watch)
        except _Idle as error:
            return Failure("hub_unreachable", str(error), "check the way from the Ollama server's host to the registry, then try again", True)
        return None if ended.status == 0 else classify(ended.reason())

    def find(self, ref: ModelRef) -> str | None:
        """``sha256:`` and the first 12 digits of the digest of a model, which is all that the command shows, or None."""
        return self.find_name(str(ref))

    def find_name(self, name: str) -> str | None:
        """The same for a name with a port, which is no ``ModelRef``."""
        return next((digest for listed, digest in self.models().items() if fold_name(listed) == fold_name(name)), None)

    def models(self) -> dict[str, str]:
        """Names, as the server spells them, with ``sha256:`` and 12 digits."""
        ended = self._call("the list of models", "list")
        rows = (re.split(r"\s{2,}", line.strip()) for line in ended.stdout.splitlines()[1:])
        return {row[0]: f"sha256:{row[1]}" for row in rows if len(row) > 1 and _ID.match(row[1])}

    def copy(self, source: str, destination: str) -> None:
        """Give a model a second name. Raises ``not_installed`` for one that is not there."""
        _check_name(source)
        _check_name(destination)
        wanted = f"{source} copied to {destination}"
        if not self._found(wanted, "cp", source, destination):
            raise VenomError("not_installed", wanted=wanted, found="no such model", todo="check the model's name, or install it first", model=source)

    def delete(self, name: str) -> bool:
        """Remove a model; False when there is none. Raises ``permission_denied`` and ``io_error``."""
        _check_name(name)
        return self._found(f"{name} removed", "rm", name)

    def unload(self, name: str) -> bool:
        """Take a model out of memory; False when there is none of that name."""
        _check_name(name)
        return self._found(f"{name} unloaded", "stop", name)

    def _found(self, wanted: str, *arguments: str) -> bool:
        return self._call(wanted, *arguments, may_miss=True).status == 0

    def _call(self, wanted: str, *arguments: str, may_miss: bool = False) -> _Ended:
        until = self._clock() + self._timeout

        def watch(dummy_drawn: str) -> None:
            if self._clock() >= until:
                raise VenomError(
                    "server_unreachable",
                    wanted=wanted,
                    found=f"'ollama {arguments[0]}' did not end within {self._timeout:g} s",
                    todo="see the state and the log of the Ollama server",
                    url=str(self.url),
                )

        ended = self._run(arguments, watch)
        if ended.status == 0 or (may_miss and _MISSING.search(ended.reason())):
            return ended
        failure = classify(ended.reason())
        if failure.reason_code in ("server_unreachable", "invalid_name", "permission_denied", "disk_full"):
            raise failure.to_error(wanted, url=str(self.url))
        raise VenomError("io_error", wanted=wanted, found=failure.found, todo="see the log of the Ollama server", url=str(self.url))

    def _environment(self) -> dict[str, str]:
        # Nothing of ours: a proxy or an OLLAMA_ variable of the play's environment would change what the command does.
        try:
            home = pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            home = "/"
        return {"PATH": _PATH, "HOME": home, "LC_ALL": "C.UTF-8", "OLLAMA_HOST": str(self.url), "OLLAMA_NOHISTORY": "1"}

    def _run(self, arguments: t.Sequence[str], watch: t.Callable[[str], None]) -> _Ended:
        """Run to the end; ``watch`` gets what stderr holds at least every second, and ends command and children by what it raises."""
        try:
            child = subprocess.Popen(
                [self.command, *arguments],
                env=self._environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise VenomError(
                "not_installed",
                wanted=f"to run {self.command}",
                found=error.strerror or str(error),
                todo="install Ollama, or choose another ollama_method",
                path=self.command,
            ) from error
        try:
            stdout, stderr = _read(child, watch)
        finally:
            _end(child)
        return _Ended(child.returncode, stdout, stderr)


class _Idle(Exception):
    """What the command draws has not changed for too long."""


def _read(child: subprocess.Popen[bytes], watch: t.Callable[[str], None]) -> tuple[str, str]:
    """Both outputs, when both are closed and the child has ended."""
    if child.stdout is None or child.stderr is None:
        raise ValueError("the child has pipes")
    output = {child.stdout: bytearray(), child.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in output:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map() or not _has_ended(child):
            for key, dummy_events in selector.select(1.0 if selector.get_map() else 0.05):
                chunk = os.read(key.fd, 65536)
                content = output[t.cast("t.IO[bytes]", key.fileobj)]
                content += chunk
                if not chunk:
                    selector.unregister(key.fileobj)
            del output[child.stdout][_MAX_OUTPUT:], output[child.stderr][:-_MAX_TAIL]
            watch(_plain(output[child.stderr]))
    return _plain(output[child.stdout]), _plain(output[child.stderr])


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    # The child is left unreaped, so that its process group can be named without doubt until the end.
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(child: subprocess.Popen[bytes]) -> None:
    """Nothing of the command is left running: SIGTERM and a little patience where it still runs, SIGKILL to its group in any case."""
    if not _has_ended(child):
        os.killpg(child.pid, signal.SIGTERM)
        until = time.monotonic() + _TERM_SECONDS
        while not _has_ended(child) and time.monotonic() < until:
            time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


def _plain(content: bytes | bytearray) -> str:
    return _CONTROL.sub("", content.decode("utf-8", "replace")).replace("\r", "\n")


def _last_line(text: str) -> str:
    return scrub(next((line for line in reversed(text.split("\n")) if line.strip()), ""))


def _check_name(name: str) -> None:
    if not name or name.startswith("-"):
        raise VenomError("invalid_name", wanted="a model's name", found=f"{ascii(name)} would be read as an option", todo="correct the name")
