# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What else would start the same kind of server at boot: enabled units, timers and sockets, init scripts, ``@reboot`` lines of cron.

Read off the files that decide it (systemd.unit(5), crontab(5), init-d-script(5)), so it needs no systemd that runs and no other program.
"""
from __future__ import annotations

import contextlib
import glob
import os
import re
import typing as t
from dataclasses import dataclass

#: Earlier folders win over later ones, systemd.unit(5).
_UNIT_DIRS = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
#: Links in these mean "enabled": what the target wants at boot.
_WANTS = ("*.target.wants", "*.target.requires")
_ENABLED_KINDS = (".service", ".socket", ".timer", ".path")
_CRONTABS = ("etc/crontab", "etc/cron.d/*", "var/spool/cron/crontabs/*", "var/spool/cron/*")
_INIT_SCRIPTS = "etc/rc[2-5].d/S*"
_EXEC = re.compile(r"^Exec(?:Start|StartPre|StartPost)\s*=\s*[-@:+!]*(.+)$", re.MULTILINE)
_ACTIVATES = re.compile(r"^(?:Service|Unit)\s*=\s*(\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Autostart:
    """``name`` is the unit, script or crontab; ``path`` the file that enables it; ``command`` what it runs, as far as it is told."""

    name: str
    path: str
    command: str

    def describe(self) -> str:
        """One phrase for an operator."""
        return f"{self.name} ({self.path}): {self.command}" if self.command else f"{self.name} ({self.path})"


def find_autostarts(mark: str, own_unit: str, root: str = "/") -> list[Autostart]:
    """Everything but ``own_unit`` that would start a server with ``mark`` ('vllm', 'ollama') in its name or its command at boot, by name.

    ``root`` is the root of the host's file system. What may not be read is left out; nothing is changed.
    """
    found = {item.name: item for item in (*_scripts(mark, root), *_cron(mark, root), *_units(mark, own_unit, root))}
    return [found[name] for name in sorted(found)]


def _units(mark: str, own_unit: str, root: str) -> t.Iterator[Autostart]:
    for link in _enabled_links(root):
        name = os.path.basename(link)
        if name == own_unit or not name.endswith(_ENABLED_KINDS):
            continue
        texts = [_unit_text(name, link, root)]
        # A socket or a timer starts a service of its own name unless it says another.
        if not name.endswith(".service"):
            target = _ACTIVATES.search(texts[0])
            service = target.group(1) if target else f"{name.rpartition('.')[0]}.service"
            if service == own_unit:
                continue
            texts.append(_unit_text(service, "", root))
        if not any(texts):
            # A link to a unit that is not there any more starts nothing.
            continue
        command = next((match.strip() for text in texts for match in _EXEC.findall(text)), "")
        if _is_meant(mark, name, command):
            yield Autostart(name, _shown(link, root), command)


def _enabled_links(root: str) -> list[str]:
    links: dict[str, str] = {}
    for folder in _UNIT_DIRS:
        for pattern in _WANTS:
            for link in sorted(glob.glob(os.path.join(glob.escape(os.path.join(root, folder)), pattern, "*"))):
                links.setdefault(os.path.basename(link), link)
    return [link for name, link in sorted(links.items()) if not _is_masked(name, root)]


def _is_masked(name: str, root: str) -> bool:
    """Whether the first file of the name is a link to /dev/null, or empty."""
    for folder in _UNIT_DIRS:
        path = os.path.join(root, folder, name)
        if os.path.lexists(path):
            is_null = os.path.islink(path) and os.readlink(path) == os.devnull
            return is_null or (os.path.isfile(path) and os.path.getsize(path) == 0)
    return False


def _unit_text(name: str, link: str, root: str) -> str:
    """The unit file and its drop-ins; of an instance such as server@one.service its template."""
    template = re.sub(r"@[^.]*(?=\.)", "@", name)
    paths = [os.path.join(root, folder, one) for one in (name, template) for folder in _UNIT_DIRS]
    first = next((path for path in paths if os.path.isfile(path)), link)
    folders = [os.path.join(root, folder, f"{name}.d") for folder in _UNIT_DIRS]
    drop_ins = sorted(path for folder in folders for path in glob.glob(os.path.join(glob.escape(folder), "*.conf")))
    # A drop-in that sets the command comes after an empty one that takes the first away, so what it says is looked at first.
    return "\n".join(_read(path) for path in [*reversed(drop_ins), first] if path)


def _scripts(mark: str, root: str) -> t.Iterator[Autostart]:
    for path in sorted(glob.glob(os.path.join(glob.escape(root), _INIT_SCRIPTS))):
        name = re.sub(r"^S[0-9]*", "", os.path.basename(path))
        if _is_meant(mark, name, ""):
            yield Autostart(name, _shown(path, root), "")


def _cron(mark: str, root: str) -> t.Iterator[Autostart]:
    for pattern in _CRONTABS:
        for path in sorted(glob.glob(os.path.join(glob.escape(root), pattern))):
            for line in _read(path).splitlines():
                if line.startswith("@reboot") and _is_meant(mark, "", line):
                    yield Autostart(f"cron {_shown(path, root)}", _shown(path, root), line.split(maxsplit=1)[-1])


def _is_meant(mark: str, name: str, command: str) -> bool:
    """Whether it is called so, or runs a program, a Python module or an image of that name: not every command with such a path in it."""
    if name.lower().startswith((mark, f"snap.{mark}")):
        return True
    words = [word.strip("\"'") for word in command.lower().split()]
    for word, following in zip(words, [*words[1:], ""]):
        is_program = os.path.basename(word) == mark and (word == words[0] or following == "serve")
        if is_program or word.startswith((f"{mark}.", f"{mark}/")):
            return True
    return False


def _shown(path: str, root: str) -> str:
    return "/" + os.path.relpath(path, root)


def _read(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()
    return ""
