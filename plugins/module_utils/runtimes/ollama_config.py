# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of an Ollama server: what its environment file asks for beside what its own log says it took over.

The server takes a number that makes no sense for its default, an unknown word for true, and says so at most as a warning. The line
``msg="server config" env="map[NAME:value ...]"`` that it logs at its start has the values in effect (seen with Ollama 0.32.15).
"""
from __future__ import annotations

import ast
import os
import re
import typing as t
from dataclasses import dataclass

#: Booleans as strconv.ParseBool reads them; anything else is true for this server.
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
BOOLEANS = (
    "OLLAMA_DEBUG_LOG_REQUESTS", "OLLAMA_FLASH_ATTENTION", "OLLAMA_GO_TEMPLATE", "OLLAMA_NOHISTORY", "OLLAMA_NOPRUNE", "OLLAMA_NO_CLOUD",
    "OLLAMA_SCHED_SPREAD", "OLLAMA_VULKAN",
)  # fmt: skip
_DURATIONS = ("OLLAMA_KEEP_ALIVE", "OLLAMA_LOAD_TIMEOUT")
#: What every supported version shows; one of these that is asked for and not shown is unknown to the server.
_ALWAYS_SHOWN = (
    "OLLAMA_CONTEXT_LENGTH", "OLLAMA_FLASH_ATTENTION", "OLLAMA_HOST", "OLLAMA_KEEP_ALIVE", "OLLAMA_KV_CACHE_TYPE", "OLLAMA_LOAD_TIMEOUT",
    "OLLAMA_MAX_QUEUE", "OLLAMA_MODELS", "OLLAMA_NUM_PARALLEL",
)  # fmt: skip
#: Shown in other words than it is set.
_NOT_COMPARED = ("OLLAMA_DEBUG",)
_MARK = b'msg="server config" env='
_QUOTED_MAP = re.compile(r'env=("map\[(?:[^"\\]|\\.)*\]")')
_NAME = re.compile(r"(?:^| )([A-Z][A-Z0-9_]*|https?_proxy|no_proxy):")
_DURATION = re.compile(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_BLOCK = 1024 * 1024
#: How far back the log is searched; a server that has written more since its start is not compared.
MAX_SEARCH_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Difference:
    """A variable that the server did not take over; ``found`` is None where it does not know the variable."""

    name: str
    wanted: str
    found: str | None


def parse_line(line: str) -> dict[str, str] | None:
    """The values in effect from a line of the log, None for any other line."""
    quoted = _QUOTED_MAP.search(line)
    if quoted is None:
        return None
    text = str(ast.literal_eval(quoted.group(1)))[len("map[") : -1]
    found = list(_NAME.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {match.group(1): text[match.end() : end] for match, end in zip(found, ends)}


def last_settings(log_path: str) -> dict[str, str] | None:
    """What the server said at its last start, from its log or the one rotated before; None when neither has the line. Raises ``OSError``."""
    for path in (log_path, f"{log_path}.1"):
        line = _find_last(path)
        if line is not None:
            return parse_line(line)
    return None


def _find_last(path: str) -> str | None:
    """The last line with the mark, searched from the end."""
    if not os.path.exists(path):
        return None
    with open(path, "rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        stop, tail = max(0, end - MAX_SEARCH_BYTES), b""
        while end > stop:
            start = max(stop, end - _BLOCK)
            stream.seek(start)
            block = stream.read(end - start) + tail
            position = block.rfind(_MARK)
            if position >= 0:
                first = block.rfind(b"\n", 0, position) + 1
                stream.seek(start + first)
                return stream.readline(_BLOCK).decode("utf-8", "replace")
            # A mark may lie across two blocks.
            end, tail = start, block[: len(_MARK)]
    return None


def differences(wanted: t.Mapping[str, str], effective: t.Mapping[str, str]) -> tuple[Difference, ...]:
    """Variables of the environment file whose effective value is another one; those that the line does not show are left out."""
    found = []
    for name, value in sorted(wanted.items()):
        if name in _NOT_COMPARED or not name.startswith("OLLAMA_"):
            continue
        if name not in effective:
            if name in _ALWAYS_SHOWN:
                found.append(Difference(name, value, None))
        elif not _is_same(name, value, effective[name]):
            found.append(Difference(name, value, effective[name]))
    return tuple(found)


def _is_same(name: str, wanted: str, found: str) -> bool:
    if name in BOOLEANS:
        return found == ("false" if wanted in _FALSE else "true")
    if name in _DURATIONS:
        return _seconds(name, wanted) == _seconds(name, found)
    if name == "OLLAMA_HOST":
        return found.rpartition("://")[2].rstrip("/") == wanted.rpartition("://")[2].rstrip("/")
    if name in ("OLLAMA_ORIGINS", "OLLAMA_REMOTES"):
        # The server adds its own; the operator's come first.
        return set(wanted.split(",")) <= set(found.strip("[]").split(" "))
    return wanted == found


def _seconds(name: str, text: str) -> float | None:
    """Seconds of a Go duration or a plain number; infinity for what means for ever. None for no duration."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    if digits.isdigit():
        value = float(digits)
    elif digits and not _DURATION.sub("", digits):
        value = sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(digits))
    else:
        return None
    value *= sign
    is_endless = value < 0 or value > 1e8 or (value == 0 and name == "OLLAMA_LOAD_TIMEOUT")
    return float("inf") if is_endless else round(value, 6)
