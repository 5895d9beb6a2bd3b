# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The few things the lab needs from the machine it runs on: commands, tools, mounts, process identity."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

#: Tool -> Debian package that holds it.
PACKAGES = {
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "mount": "mount",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "systemctl": "systemd",
    "systemd-nspawn": "systemd-container",
}


#: PATH with the sbin folders, which not every root has (``su`` without ``-``).
SEARCH_PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


class LabError(Exception):
    """The lab cannot go on; the text says what was found and what to do."""


class NotReady(LabError):
    """This machine or this caller cannot run lab hosts at all: not root, or a tool is missing. Exit status 2."""


def require(*tools: str) -> None:
    """Raise ``NotReady`` in one line unless we are root and every tool is on PATH (``/usr/sbin`` included)."""
    if os.geteuid() != 0:
        raise NotReady("lab hosts need root (mounts, a bridge, systemd-nspawn): run this as root")
    missing = [tool for tool in tools if find_tool(tool) is None]
    if missing:
        packages = sorted({PACKAGES.get(tool, tool) for tool in missing})
        raise NotReady(f"missing: {', '.join(missing)}: apt-get install {' '.join(packages)}")


def find_tool(name: str) -> str | None:
    """The path of a program, looking in the sbin folders too."""
    return shutil.which(name, path=SEARCH_PATH)


def call(
    argv: t.Sequence[str], *, check: bool = True, timeout: float | None = 120, stdin: str | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end and return it with its text. ``timeout`` in seconds. Raises ``LabError`` with the command's own words."""
    program = find_tool(argv[0]) or argv[0]
    fed: dict[str, t.Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env={**os.environ, **(env or {})},
            check=False,
            **fed,
        )
    except FileNotFoundError as exc:
        raise LabError(f"{argv[0]}: not found on this machine") from exc
    except subprocess.TimeoutExpired as exc:
        raise LabError(f"{' '.join(argv)}: no end after {timeout:g} s") from exc
    if check and done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or "no output")[-2000:]
        raise LabError(f"{' '.join(argv)}: exit status {done.returncode}: {words}")
    return done


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo that matters here."""

    point: Path
    kind: str
    options: str


def mounts() -> tuple[Mount, ...]:
    """Every mount of this machine, oldest first. Source: proc_pid_mountinfo(5); octal escapes are undone."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        left, dummy, right = line.partition(" - ")
        kind, dummy, options = right.split(" ", 2)
        found.append(Mount(Path(_unescape(left.split()[4])), kind, _unescape(options)))
    return tuple(found)


def filesystem(path: Path) -> str:
    """The kind of file system that ``path`` lies on, or will lie on ('ext4', 'tmpfs', 'overlay')."""
    while not path.exists():
        path = path.parent
    path = path.resolve()
    best = Mount(Path("/"), "unknown", "")
    for mount in mounts():
        if path.is_relative_to(mount.point) and len(mount.point.parts) >= len(best.point.parts):
            best = mount
    return best.kind


def unmount_under(folder: Path) -> None:
    """Unmount everything at or below a folder, the youngest first. A busy mount is detached, and goes with its last user."""
    for mount in reversed(mounts()):
        if mount.point.is_relative_to(folder) and call(["umount", str(mount.point)], check=False).returncode != 0:
            call(["umount", "--lazy", str(mount.point)])


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one with the same number: start time in clock ticks since boot, proc_pid_stat(5)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The living process with this number, None when there is none. A zombie is not alive."""
        fields = _stat(pid)
        return None if not fields or fields[0] in ("Z", "X") else cls(pid, int(fields[19]))

    def parent(self) -> int:
        """Its parent's number; 0 when it is gone."""
        fields = _stat(self.pid)
        return int(fields[1]) if fields else 0

    def is_alive(self) -> bool:
        return Process.of(self.pid) == self

    def signal(self, number: int) -> None:
        """Send a signal if, and only if, this very process still lives."""
        if self.is_alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def _stat(pid: int) -> list[str]:
    """The fields behind the process's name, state first, proc_pid_stat(5); none when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    # The name in parentheses may hold spaces and parentheses itself.
    return text.rpartition(")")[2].split()


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)
