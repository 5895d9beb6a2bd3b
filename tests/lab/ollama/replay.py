# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded exchanges, played again on a stage: ``cases/*.json`` say what is sent and what a real 0.32.15 answered.

A case is ``{"about": ..., "env": {...}, "steps": [...]}``. A step has ``do`` (actions of Actions, before it) and, unless it only acts:

- ``ask``: [method, path, body, headers], ``status``, ``type`` (Content-Type, null for none), ``chunked``
- ``json``, ``text`` or ``lines``: the body. Lines that begin with ``pulling`` come by the clock: those that came must fit the layers of the model and
  their order, but any may be missing. With ``exact`` every line is compared.
- ``asked``: what the registry was asked for meanwhile, sorted
- ``tree``: files afterwards

Words in braces stand for what differs: ``{registry}``, ``{models}``, ``{tiny.model}`` (digest of a layer), ``{tiny.size}``; ``{time}``, ``{hex}``,
``{int}``, ``{any}`` match anything of the kind. ``{tiny.model:12}`` is the beginning of a digest.
"""
from __future__ import annotations

import json
import os
import re
import typing as t
from pathlib import Path

from lab.ollama.samples import LICENCE, Stage
from lab.ollama.server import Reply

CASES = Path(__file__).parent / "cases"
_WORD = re.compile(r"\{([a-z]+(?:\.[a-z]+)*)(?::(\d+))?\}")
#: Layers of a sample, with its config.
LAYERS = 6
_KINDS = {"time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "hex": "[0-9a-f]{64}", "int": r"\d+", "any": r"[\s\S]*"}


def names() -> list[str]:
    """Every case there is."""
    return sorted(path.stem for path in CASES.glob("*.json"))


def load(name: str) -> dict[str, t.Any]:
    """A case."""
    data: dict[str, t.Any] = json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"))
    return data


class Mismatch(AssertionError):
    """What was answered is not what was recorded."""


class Player:
    """Plays the steps of one case."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.actions = Actions(stage)

    def play(self, case: t.Mapping[str, t.Any]) -> None:
        """All steps; Mismatch at the first that differs."""
        for number, step in enumerate(case["steps"]):
            for action in step.get("do", []):
                getattr(self.actions, action[0])(*action[1:])
            if "ask" not in step:
                continue
            self.stage.asked()
            reply = self._ask(*step["ask"])
            try:
                self._check(step, reply)
            except Mismatch as exc:
                raise Mismatch(f"step {number} {step['ask'][:3]}: {exc}\nanswer: {reply.status} {reply.text[:2000]}") from None

    def _ask(self, method: str, path: str, body: t.Any = None, headers: t.Mapping[str, str] | None = None) -> Reply:
        if body == "{upload}":
            content: t.Any = self.stage.samples["tiny"].content["model"]
            return self.stage.server.request(method, self.fill(path), content, headers)
        return self.stage.server.request(method, self.fill(path), _deep(body, self.fill), headers, timeout=60)

    def fill(self, text: str) -> str:
        """A text with the words that have one meaning."""
        symbols = self.stage.symbols()

        def value(match: re.Match[str]) -> str:
            found = symbols.get(match.group(1))
            if match.group(1) == "licence":
                return LICENCE.decode()
            return match.group(0) if found is None else found[: int(match.group(2))] if match.group(2) else found

        return _WORD.sub(value, text)

    def _check(self, step: t.Mapping[str, t.Any], reply: Reply) -> None:
        kind = reply.headers.get("Content-Type")
        chunked = "Transfer-Encoding" in reply.headers
        for what, wanted, found in (
            ("status", step["status"], reply.status),
            ("Content-Type", step["type"], kind),
            ("chunked", step.get("chunked", chunked), chunked),
        ):
            if wanted != found:
                raise Mismatch(f"{what} is {found}, recorded {wanted}")
        for name, value in step.get("headers", {}).items():
            self._same(value, reply.headers.get(name), name)
        if "json" in step:
            self._same(step["json"], reply.json, "body")
        if "text" in step:
            self._same(step["text"], reply.text, "body")
        if "lines" in step:
            self._lines(step["lines"], reply.lines, bool(step.get("exact")))
        if "asked" in step:
            self._same(step["asked"], self.stage.asked(), "registry")
        if "tree" in step:
            self._same({self.fill(path): size for path, size in step["tree"].items()}, self.stage.tree(), "files")

    def _lines(self, wanted: list[t.Any], found: list[t.Any], exact: bool) -> None:
        if exact:
            self._same(wanted, found, "lines")
            return
        self._same([line for line in wanted if not _is_progress(line)], [line for line in found if not _is_progress(line)], "lines")
        order = [digest for sample in self.stage.samples.values() for digest in (sample.digest(kind) for kind in sample.content)]
        last = -1
        for line in found:
            if not _is_progress(line):
                continue
            digest = line["digest"].partition(":")[2]
            keys = ["status", "digest", "total", "completed"]
            if digest not in order or list(line) not in (keys, keys[:3]) or line["status"] != f"pulling {digest[:12]}":
                raise Mismatch(f"bad progress: {line}")
            if not 0 < line.get("completed", 1) <= line["total"]:
                raise Mismatch(f"bad numbers: {line}")
            place = order.index(digest) % LAYERS
            if place < last:
                raise Mismatch(f"out of order: {line}")
            last = place

    def _same(self, wanted: t.Any, found: t.Any, where: str) -> None:
        """Equal, apart from the words; raises Mismatch with the place."""
        if isinstance(wanted, dict) and isinstance(found, dict):
            if list(wanted) != list(found) and where != "files":
                raise Mismatch(f"{where} has {list(found)}, recorded {list(wanted)}")
            if set(wanted) != set(found):
                raise Mismatch(f"{where}: {sorted(set(found) ^ set(wanted))} differ")
            for key in wanted:
                self._same(wanted[key], found[key], f"{where}.{key}")
        elif isinstance(wanted, list) and isinstance(found, list):
            if where == "body.models":
                wanted, found = self._sorted(wanted), self._sorted(found)
            if len(wanted) != len(found):
                raise Mismatch(f"{where} has {len(found)} items, recorded {len(wanted)}: {found}, recorded {wanted}")
            for number, (one, other) in enumerate(zip(wanted, found)):
                self._same(one, other, f"{where}[{number}]")
        elif isinstance(wanted, str):
            if not re.fullmatch(self._pattern(wanted), found if isinstance(found, str) else json.dumps(found)):
                raise Mismatch(f"{where} is {found!r}, recorded {self.fill(wanted)!r}")
        elif wanted != found or type(wanted) is not type(found):
            raise Mismatch(f"{where} is {found!r}, recorded {wanted!r}")

    def _sorted(self, entries: list[t.Any]) -> list[t.Any]:
        """Models of the same second come in any order."""
        return sorted(entries, key=lambda entry: (self.fill(entry["name"]), self.fill(entry["digest"])))

    def _pattern(self, text: str) -> str:
        parts = re.split(r"(\{(?:time|hex|int|any)\})", self.fill(text))
        return "".join(_KINDS[part[1:-1]] if part[1:-1] in _KINDS and part.startswith("{") else re.escape(part) for part in parts)


def _is_progress(line: t.Any) -> bool:
    return isinstance(line, dict) and str(line.get("status", "")).startswith("pulling ") and "digest" in line


def _deep(value: t.Any, change: t.Callable[[str], str]) -> t.Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_deep(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _deep(item, change) for key, item in value.items()}
    return value


class Actions:
    """What was done between the recorded exchanges."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.tiny = stage.samples["tiny"]

    def store(self, model: str, name: str | None = None) -> None:
        """Another program writes a model, with the default host."""
        self.stage.store(model, name)

    def store_pulled(self, model: str) -> None:
        """A model as a pull from the registry leaves it."""
        self.stage.store(model, host=self.stage.registry.host)

    def blobs(self, model: str) -> None:
        """Another program writes blobs only."""
        self.stage.store_blobs(model)

    def manifest(self, model: str, name: str, tag: str = "latest", change: t.Sequence[str] = ()) -> None:
        """Write the manifest of a sample; ``change``: a text in it, and what stands there instead."""
        content = self.stage.samples[model].manifest.decode()
        if change:
            content = content.replace(Player(self.stage).fill(change[0]), change[1])
        path = self.stage.manifest_path(name, tag)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")

    def rename(self, name: str, old: str, new: str) -> None:
        """Rename a manifest."""
        os.rename(self.stage.manifest_path(name, old), self.stage.manifest_path(name, new))

    def forget(self, name: str, tag: str = "latest") -> None:
        """Remove a manifest."""
        self.stage.manifest_path(name, tag).unlink()

    def older(self, name: str, seconds: int) -> None:
        """Make a manifest of the default host older."""
        path = self.stage.manifest_path(name)
        found = path.stat()
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns - seconds * 10**9))

    def older_pulled(self, name: str, seconds: int) -> None:
        """The same for a pulled one."""
        path = self.stage.manifest_path(name, host=self.stage.registry.host)
        found = path.stat()
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns - seconds * 10**9))

    def upload(self) -> None:
        """A GGUF is put where create looks for it."""
        content = self.tiny.content["model"]
        self.stage.server.request("POST", f"/api/blobs/sha256:{self.tiny.digest('model')}", content)

    def spoil_blob(self, symbol: str) -> None:
        """A byte of a blob is wrong."""
        path = self.stage.blob(symbol)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)

    def cut_manifest(self, model: str) -> None:
        """Half of a pulled manifest is left."""
        path = self.stage.manifest_path(model, host=self.stage.registry.host)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def remove_blob(self, symbol: str) -> None:
        """A blob is gone."""
        self.stage.blob(symbol).unlink()

    def cut_blob(self, symbol: str, size: int = 1000) -> None:
        """A blob has lost its end."""
        os.truncate(self.stage.blob(symbol), size)

    def wipe(self) -> None:
        """An empty folder."""
        self.stage.wipe()

    def heal(self) -> None:
        """The registry works again."""
        self.stage.registry.faults.clear()

    def fault(self, kind: str, options: t.Mapping[str, t.Any]) -> None:
        """The registry fails."""
        filled = {key: Player(self.stage).fill(value) if isinstance(value, str) else value for key, value in options.items()}
        self.stage.registry.fault(kind, **filled)

    def mode(self, mode: str) -> None:
        """The registry hands out blobs in another way."""
        self.stage.registry.mode = mode

    def publish(self, model: str, repository: str) -> None:
        """A tag moves."""
        self.stage.publish(model, repository)

    def restart(self, env: t.Mapping[str, str]) -> None:
        """Start the server with another environment."""
        self.stage.server.env.update(env)
        self.stage.server.restart()

    def raw(self, method: str, path: str, body: t.Any) -> None:
        """A request that was not recorded here."""
        reply = self.stage.server.request(method, path, _deep(body, Player(self.stage).fill))
        if reply.status != 200 or '{"error"' in reply.text:
            raise Mismatch(f"{method} {path}: {reply.status} {reply.text}")
