# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``docs/failures.md``: the page is written by the tests that cause the failures, from what they saw.

Every test compares its own row with the page. With ``VENOM_FAILURES_PAGE=write`` in the environment it writes the row instead.
"""
from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from integration.breaks import BREAKS, SECTIONS, Break

PAGE = Path(__file__).resolve().parents[2] / "docs" / "failures.md"
WRITE = "VENOM_FAILURES_PAGE"
_HEAD = """\
# What happens when it breaks

Activations that were broken on purpose, and what came of them. The tests that break them write this page from what they see, and fail when it
says something else: `VENOM_FAILURES_PAGE=write pytest tests/integration/test_break_standins.py` and the files `test_break_*.py` in
`tests/integration/hosts` write it anew. The causes are rows of `tests/integration/breaks.py`. Numbers, paths and process ids are left out.

*before*: whether a model served when it happened. *step*: the step that failed; `refused` is before the first one, with nothing touched; `cut` is an
activation that ended with its process, so that nobody got a result. *serves after*: proved by a real request beside the collection, and each
time the record on disk was found to agree, no process to be left over, and the next activation of a good model to work.
"""
_COLUMNS = ("what", "before", "step", "reason code", "cause in the result", "telling line of the log", "rolled back", "serves after")
#: What differs from run to run, and what stands for it. In this order.
_VOLATILE = (
    (r"\x1b\[[0-9;]*m", ""),
    # Folders of this run; paths of a server's interface are left as they are.
    (r"(?<![\w.:/])(?:/(?!v1/|api/)[\w.@+~-]+|\.\.\.)(?:/[\w.@+~-]+)*/(?=[\w.@+~-])", ".../"),
    (r"sha256:[0-9a-f]{12,64}", "sha256:..."),
    (r"\b[0-9a-f]{12,64}\b", "..."),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[\w.,+:]*", "TIME"),
    (r"\b\d\d-\d\d \d\d:\d\d:\d\d\b", "TIME"),
    (r"(127\.0\.0\.1|localhost)([: ])\d+", r"\1\2PORT"),
    (r"(command python -) \d+", r"\1 PORT"),
    (r"\bport \d+", "port PORT"),
    (r"\b(pid[ =]|process )\d+", r"\1N"),
    (r"\b\d+(\.\d+)? s\b", "N s"),
    (r"\b\d+ (bytes|processes)\b", r"N \1"),
    (r"(Failed core proc\(s\)): \{.*?\}", r"\1"),
    # How a connection ends when the other side dies is a matter of microseconds.
    (r"(RemoteDisconnected|ConnectionResetError|BrokenPipeError|IncompleteRead)\b.*$", "the connection ended"),
)
#: A line of a log that says what went wrong, rather than where.
_TELLING = re.compile(r"(?:^|[\])] )[\w.]*(?:Error|Exception): ")


@dataclass(frozen=True)
class Outcome:
    """What a test saw. ``serves`` in the words of ``Break.serves``; ``rolled_back`` is None where nobody got a result."""

    step: str
    reason: str
    cause: str
    log: tuple[str, ...]
    rolled_back: bool | None
    serves: str


def steady(text: str) -> str:
    """The text without what differs from run to run, fit for a cell."""
    text = " ".join(text.split())
    for pattern, instead in _VOLATILE:
        text = re.sub(pattern, instead, text)
    return text.replace("|", "\\|").replace("<", "&lt;").strip()


def telling_line(log: tuple[str, ...]) -> str:
    """The first line that names an error, else the first."""
    return next((line for line in log if _TELLING.search(line)), log[0] if log else "")


def row(case: Break, seen: Outcome) -> str:
    """The line of a case."""
    rolled_back = "" if seen.rolled_back is None else "yes" if seen.rolled_back else "no"
    code = f"`{seen.reason}`" if seen.reason else ""
    # A server that was not started anew for it says what it said before, and one that was killed says something else each time.
    is_its_own = seen.step in ("start", "prove") and case.section != "ollama" and not {"log", "port"} & set(case.do)
    cells = (steady(seen.cause)[:200], steady(telling_line(seen.log))[:160] if is_its_own else "")
    return _join(case.name, case.before, seen.step, code, *cells, rolled_back, seen.serves)


def check(case: Break, seen: Outcome) -> None:
    """The page says what this run saw; or writes it."""
    wanted = row(case, seen)
    if os.environ.get(WRITE) == "write":
        rows = read()
        rows[case.key] = wanted
        PAGE.write_text(render(rows), encoding="utf-8")
        return
    assert read().get(case.key) == wanted, f"docs/failures.md says otherwise; {WRITE}=write writes what this run saw"


def read() -> dict[tuple[str, str, str], str]:
    """The rows of the page by section, name and what was before."""
    rows, section = {}, ""
    for line in PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else ():
        if line.startswith("## "):
            section = next((key for key, title in SECTIONS.items() if title == line[3:]), line)
        elif line.startswith("| ") and not line.startswith(f"| {_COLUMNS[0]} |"):
            name, before = line[2:].split(" | ")[:2]
            rows[section, name, before] = line
    return rows


def render(rows: dict[tuple[str, str, str], str]) -> str:
    """The whole page, in the order of the catalogue. A case that no run has seen yet has no row."""
    parts = [_HEAD]
    for section, title in SECTIONS.items():
        lines = [rows[case.key] for case in BREAKS if case.section == section and case.key in rows]
        if lines:
            parts.append("\n".join((f"## {title}", "", _join(*_COLUMNS), _join(*["---"] * len(_COLUMNS)).replace(" ", ""), *lines, "")))
    return "\n".join(parts)


def _join(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
