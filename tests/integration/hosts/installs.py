# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs on hosts that are disturbed in the middle, and looks at what came of them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import struct
import threading
import time
import typing as t
from pathlib import Path

from lab.hosts import Lab
from lab.hub.site import Site
from lab.models import safetensors

MB = 1_000_000
MIB = 1024 * 1024
#: Streams of an install, and what one interruption may cost: bytes that are fetched again.
STREAMS = 4
PROMISED = STREAMS * 16 * MIB
_BLOCK = MIB


def big_model(folder: Path, size: int, seed: int, files: int = 1) -> Path:
    """A repository with about so many bytes of weights, no two MiB of them alike: bytes in the wrong place are wrong bytes."""
    noise = random.Random(seed).randbytes(_BLOCK - 8)

    def blocks(first: int, count: int) -> t.Iterator[bytes]:
        for number in range(first, first + count):
            yield struct.pack("<Q", number) + noise

    count = size // files // _BLOCK
    shape = (count, _BLOCK // 2)
    tensors = [safetensors.Tensor(f"weight.{number}", shape, _later(blocks, number * count, count)) for number in range(files)]
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.write_model(folder, tensors, files)
    safetensors.write_json(folder / "config.json", {"architectures": ["TestModel"], "max_position_embeddings": 128, "seed": seed})
    safetensors.write_json(folder / "tokenizer_config.json", {"chat_template": "{{ messages }}"})
    return folder


def _later(blocks: t.Callable[[int, int], t.Iterator[bytes]], first: int, count: int) -> t.Callable[[], t.Iterator[bytes]]:
    return lambda: blocks(first, count)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def digests_of(folder: Path) -> dict[str, str]:
    """File name to SHA-256."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def digests_on(lab: Lab, host: str, folder: str) -> dict[str, str]:
    """File name to SHA-256, of a folder on a host; the host reads every byte."""
    lines = lab.run(host, ["sh", "-c", f"cd '{folder}' && sha256sum *"]).stdout.splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def wait_for(what: t.Callable[[], t.Any], seconds: float = 120.0) -> t.Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = what()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@contextlib.contextmanager
def slow(site: Site, path: str, rate: float) -> t.Iterator[None]:
    """Answers to these paths take their time, each at so many bytes a second: there is a middle to be hit."""
    fault = site.fault("slow", path=path, rate=rate)
    try:
        yield
    finally:
        # Used up: other tests of the session have faults of their own.
        fault.times = fault.hits


class Meter:
    """Counts the body bytes that a hub or a registry sends from now on, for paths that fit a pattern."""

    def __init__(self, site: Site, path: str) -> None:
        self._site, self._path = site, path
        self._since = max((entry.number for entry in site.log.entries()), default=0)

    @property
    def sent(self) -> int:
        """Bytes until now."""
        return self._site.log.sent(self._path, since=self._since)

    @property
    def requests(self) -> list[str]:
        """What was asked until now, whatever the path."""
        return [f"{entry.method} {entry.path}" for entry in self._site.log.entries(since=self._since)]

    def wait(self, sent: float) -> None:
        """Wait until so many bytes are on their way."""
        wait_for(lambda: self.sent >= sent)


class ManifestReader(threading.Thread):
    """Reads manifest.json on the disk of a host again and again, as a context manager.

    ``bad`` tells when it could not be read or lacked a revision that is installed. The disk is there while the host is off, too.
    """

    def __init__(self, lab: Lab, host: str, models_dir: str, *revisions: str) -> None:
        super().__init__(daemon=True)
        self._path = lab.machine(host).root / models_dir.lstrip("/") / "manifest.json"
        self._wanted = set(revisions)
        self._stopped = threading.Event()
        self.looks = 0
        self.bad: list[str] = []

    def run(self) -> None:
        """Until it is told to stop."""
        while not self._stopped.wait(0.01):
            self.looks += 1
            try:
                models = json.loads(self._path.read_text(encoding="utf-8"))["models"]
            except (OSError, ValueError, KeyError) as error:
                self.bad.append(repr(error))
                continue
            missing = self._wanted - {model["revision"] for model in models if model["status"] == "installed"}
            self.bad.extend(sorted(missing))

    def __enter__(self) -> ManifestReader:
        self.start()
        return self

    def __exit__(self, *dummy: object) -> None:
        self._stopped.set()
        self.join()
        assert self.looks > 100 and self.bad == []
