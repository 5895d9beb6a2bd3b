# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operator at the keyboard: runs the collection's playbooks on lab hosts and keeps what they printed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
#: The token that the hub of these tests knows.
TOKEN = "hf_0123456789abcdefghijklmnopqrstuvwx"


@dataclass(frozen=True)
class Run:
    """One playbook run: exit status, everything printed, one record for each host and task."""

    status: int
    output: str
    tasks: tuple[dict[str, t.Any], ...]

    def changed(self) -> list[tuple[str, str]]:
        """(host, task) of what changed, in order."""
        return [(line["host"], line["task"]) for line in self.tasks if line["changed"]]

    def failures(self) -> list[dict[str, t.Any]]:
        """Records of what failed."""
        return [line for line in self.tasks if line["outcome"] == "failed"]

    def reason_codes(self) -> list[str]:
        """Reason codes of the failures."""
        return [line["result"].get("reason_code", "") for line in self.failures()]


@dataclass(frozen=True)
class Playing:
    """A playbook run that has begun."""

    name: str
    process: subprocess.Popen[bytes]
    printed: Path
    log: Path

    def end(self, expect: int | None = 0) -> Run:
        """Wait for it; ``expect`` is the wanted exit status, None for any."""
        status = self.process.wait()
        output = self.printed.read_text(encoding="utf-8")
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        run = Run(status, output, tuple(json.loads(line) for line in lines))
        if expect is not None and status != expect:
            raise AssertionError(f"{self.name} ended with {status}, wanted {expect}\n{output[-6000:]}")
        return run

    def kill(self) -> None:
        """SIGKILL to all of it, as when its machine loses power: nothing is told to the hosts. Ansible's workers have sessions of their own."""
        for pid in (self.process.pid, *_descendants(self.process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def _descendants(pid: int) -> list[int]:
    """Processes that it has started, and those that they have."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [each for child in map(int, children) for each in (child, *_descendants(child))]


@dataclass(frozen=True)
class Operator:
    """Where the operator works: an inventory, a scratch folder, extra variables that every run shares.

    With ``pipelining`` a task takes one round trip; that is what an operator of many hosts sets, and not Ansible's default.
    """

    inventory: Path
    scratch: Path
    variables: dict[str, t.Any]
    pipelining: bool = True

    def play(self, name: str, *arguments: str, expect: int | None = 0, environment: dict[str, str] | None = None, **variables: t.Any) -> Run:
        """Run ``venom.llm.<name>``; ``expect`` is the wanted exit status, None for any."""
        return self.begin(name, *arguments, environment=environment, **variables).end(expect)

    def begin(self, name: str, *arguments: str, environment: dict[str, str] | None = None, **variables: t.Any) -> Playing:
        """Start ``venom.llm.<name>`` and return at once. One play of an operator at a time."""
        log, output = self.scratch / "tasks.jsonl", self.scratch / "output"
        log.unlink(missing_ok=True)
        extra = self.scratch / "extra.json"
        # As a variable: the lab's inventory has one of its own, which an environment does not overrule.
        extra.write_text(json.dumps({"ansible_pipelining": self.pipelining, **self.variables, **variables}), encoding="utf-8")
        command = [str(BIN / "ansible-playbook"), "-i", str(self.inventory), f"venom.llm.{name}", "-e", f"@{extra}", *arguments]
        with output.open("w", encoding="utf-8") as stream:
            process = subprocess.Popen(
                command, cwd=self.scratch, env=self.environment(log, environment),
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True,
            )  # fmt: skip
        return Playing(f"venom.llm.{name}", process, output, log)

    def environment(self, log: Path, more: dict[str, str] | None) -> dict[str, str]:
        """The environment of a run; nothing of the caller's own Ansible settings or token gets in."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "HF_", "VENOM_", "MODELS_"))}
        return {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).with_name("callback_plugins")),
            "ANSIBLE_CALLBACKS_ENABLED": "task_log",
            "ANSIBLE_HOME": str(self.scratch / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "VENOM_TASK_LOG": str(log),
            **(more or {}),
        }
