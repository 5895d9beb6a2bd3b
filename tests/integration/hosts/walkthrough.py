# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A walk-through of the manual, done as it is written: its files are written, its commands run, and what it shows of their output is looked for.

In a page, a fenced block whose first line is ``# PATH`` is a file, each line of an indented block is a command, and a fenced block of the kind
``text`` is what the command before it prints, as a choice of lines. ``...`` in it stands for what was left out.
"""

from __future__ import annotations

import json
import re
import subprocess
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from operators import BIN, Operator, Run

_BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<fenced>.*?)^```$|^(?P<commands>(?: {4}\S[^\n]*\n)+)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Walk:
    """A reader of a page, in a folder. ``addresses`` gives the real address for each that the page names."""

    page: Path
    folder: Path
    addresses: t.Mapping[str, str]
    done: list[str] = field(default_factory=list)

    @property
    def operator(self) -> Operator:
        """Whoever works on in the folder with the inventory that is there now."""
        return Operator(self.folder / "inventories/fleet", self.folder, {})

    def chapters(self) -> dict[str, str]:
        """The text below each heading of the second order."""
        parts = re.split(r"^## (.+)\n", self.page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2]))

    def take(self, title: str, failing: int | None = None) -> list[Run]:
        """Do what a chapter says. The command with the number ``failing``, counted from 0, has to fail, all others to succeed."""
        runs: list[Run] = []
        for block in _BLOCK.finditer(self.chapters()[title]):
            if block["commands"]:
                for line in block["commands"].splitlines():
                    runs.append(self._run(line.strip(), int(len(runs) == failing) and 2))
            elif block["kind"] == "text":
                missing = [line for line in block["fenced"].splitlines() if not self._is_shown(line, runs[-1].output)]
                assert missing == [], f"{title}: {missing} is not in\n{runs[-1].output}"
            else:
                self._write(block["fenced"])
        self.done.append(title)
        return runs

    def _write(self, content: str) -> None:
        name = content.partition("\n")[0].removeprefix("# ")
        (self.folder / name).write_text(content, encoding="utf-8")

    def _run(self, command: str, status: int) -> Run:
        for shown, real in self.addresses.items():
            command = command.replace(shown, real)
        log = self.folder / "tasks.jsonl"
        log.unlink(missing_ok=True)
        environment = self.operator.environment(log, None)
        environment["PATH"] = f"{BIN}:{environment['PATH']}"
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == status, f"{command} ended with {done.returncode}, wanted {status}\n{done.stdout[-6000:]}"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return Run(done.returncode, done.stdout, tuple(json.loads(line) for line in lines))

    def _is_shown(self, line: str, output: str) -> bool:
        return all(self._plain(part) in self._plain(output) for part in line.split("..."))

    def _plain(self, text: str) -> str:
        """Without what differs from run to run: numbers, and the width of columns."""
        for shown, real in self.addresses.items():
            text = text.replace(real, shown)
        return re.sub(r"\d+", "0", re.sub(r"[\s*]+", " ", text)).strip()
