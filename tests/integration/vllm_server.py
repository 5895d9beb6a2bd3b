# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real vLLM on the processor with a tiny model, and what its log says about memory."""
from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import typing as t
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import http_probe

GIB = 2**30
#: Lines of vLLM 0.32: ``v1/worker/cpu_worker.py``, ``v1/core/kv_cache_utils.py``, ``model_executor/model_loader/weight_utils.py``.
_CACHE = re.compile(r"(?:Explicitly|Auto) set \(([0-9.]+)/[0-9.]+\) GiB for KV cache")
_TOKENS = re.compile(r"CPU KV cache size: ([0-9,]+) tokens")
_REST = re.compile(r"([0-9.]+) GiB memory was consumed by non-kv usages")
_CHECKPOINT = re.compile(r"Checkpoint size: ([0-9.]+) GiB")


@dataclass(frozen=True)
class Allocated:
    """What the server says it took, in bytes; ``tokens`` fit into the cache. None is what it did not say."""

    cache: float
    tokens: int
    checkpoint: float
    beside_cache: float | None


def allocated(log: str) -> Allocated:
    """Read off the log of a server that is ready."""

    def find(pattern: re.Pattern[str]) -> float | None:
        match = pattern.search(log)
        return float(match.group(1).replace(",", "")) if match else None

    cache, tokens, checkpoint, rest = find(_CACHE), find(_TOKENS), find(_CHECKPOINT), find(_REST)
    assert cache is not None and tokens is not None and checkpoint is not None, log[-3000:]
    return Allocated(cache * GIB, int(tokens), checkpoint * GIB, None if rest is None else rest * GIB)


class Server:
    """A running server: where it answers, and its log."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def post(self, path: str, body: dict[str, t.Any], template: str | None = None) -> http_probe.Answer:
        """One request, with a chat template of its own where there is one."""
        sent = dict(body, model="tiny", **({"chat_template": template} if template else {}))
        return http_probe.request("127.0.0.1", self.port, path, sent, timeout=30.0)

    def chat(self, **body: t.Any) -> http_probe.Answer:
        return http_probe.request("127.0.0.1", self.port, "/v1/chat/completions", dict({"model": "tiny", "max_tokens": 4}, **body), timeout=60.0)


def share_model_infos(python: str, cache_root: Path) -> None:
    """Let the servers of all tests keep in one place what they find out about the classes of models: each loads itself once more for that."""
    shared = Path(python).parents[1] / "modelinfos"
    shared.mkdir(exist_ok=True)
    cache_root.mkdir(parents=True)
    (cache_root / "modelinfos").symlink_to(shared)


@contextmanager
def serving(model: Path, folder: Path, arguments: t.Sequence[str], **variables: str) -> t.Iterator[Server]:
    """Start, wait until it is ready, and end it with everything that it started."""
    python = os.environ.get("VENOM_TEST_VLLM_PYTHON")
    if not python:
        pytest.fail("VENOM_TEST_VLLM_PYTHON does not name the interpreter of a venv with vLLM")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder.mkdir(parents=True, exist_ok=True)
    share_model_infos(python, folder / ".cache" / "vllm")
    # The engine in the server's own process: a third less of processor time for a start.
    alone = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    environment = {**os.environ, "HOME": str(folder), **alone, **variables}
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--served-model-name", "tiny", "--port", str(port)]
    log = folder / "log"
    with open(log, "wb") as stream:
        process = subprocess.Popen([*command, *arguments], env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
    server = Server(port, log)
    try:
        deadline = time.monotonic() + 300
        while not _is_ready(port):
            assert process.poll() is None, server.log[-3000:]
            assert time.monotonic() < deadline, server.log[-3000:]
            time.sleep(0.5)
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_ready(port: int) -> bool:
    try:
        return http_probe.request("127.0.0.1", port, "/health", timeout=5.0).status == 200
    except http_probe.ProbeFailed:
        return False
