# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of killed and of concurrent installs share: models of known bytes, and installs as processes."""
from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from integration.models_support import model_params

from ansible_collections.venom.llm.plugins.module_utils.processes import command_line, descendants, pids, snapshot
from lab.hub import Hub
from lab.hub.repos import Commit, HubFile
from lab.hub.site import Site
from lab.models import safetensors

MIB = 1024 * 1024
#: Seconds that anything here may take before the test is given up.
PATIENCE = 120.0


# Models


def noise(name: str, size_mib: int, seed: int) -> safetensors.Tensor:
    """A tensor of so many MiB; each MiB begins with its number, so no two of them are alike and none can stand for another."""
    block = random.Random(f"{seed} {name}").randbytes(MIB - 8)
    return safetensors.Tensor(name, (size_mib * MIB // 2,), lambda: (struct.pack("<Q", number) + block for number in range(size_mib)))


def make_model(folder: Path, seed: int, *sizes_mib: int, text_mib: int = 0, parts: int = 4) -> Path:
    """A repository with a shard of each size, an index, a configuration, small files, and a text outside of LFS (announced by git's SHA-1)."""
    folder.mkdir(parents=True, exist_ok=True)
    weight_map = {}
    for number, size in enumerate(sizes_mib, 1):
        name = f"model-{number:05d}-of-{len(sizes_mib):05d}.safetensors"
        safetensors.write_file(folder / name, [noise(f"weight{number}", size, seed)])
        weight_map[f"weight{number}"] = name
    safetensors.write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    safetensors.write_json(folder / "config.json", {"architectures": ["TestModel"], "max_position_embeddings": 128, "seed": seed})
    safetensors.write_json(folder / "tokenizer_config.json", {"chat_template": "{{ messages }}"})
    (folder / "vocab").mkdir(exist_ok=True)
    for number in range(parts):
        (folder / "vocab" / f"part-{number}.txt").write_text(f"{seed} {number}\n" * 50)
    if text_mib:
        (folder / "merges.txt").write_bytes(random.Random(seed).randbytes(text_mib * MIB // 2).hex().encode())
    return folder


def commit_of(hub: Hub, name: str, revision: str = "main") -> Commit:
    """What the hub has under a revision."""
    found = hub.store.repos[name].resolve(revision)
    assert found is not None
    return found


def size_of(files: t.Mapping[str, HubFile]) -> int:
    """Bytes of the files, the same content counted once."""
    return sum({file.sha256: file.size for file in files.values()}.values())


# Processes

_CHILD = """
import json, os, sys
from integration.models_support import FakeContext
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.models import run_models
class Context(FakeContext):
    def report(self, message, done=None, total=None):
        if message.startswith("waiting for the lock"):
            os.makedirs(f"{sys.argv[1]}.waiting", exist_ok=True)
            open(f"{sys.argv[1]}.waiting/{os.getpid()}", "w").close()
results = []
try:
    for params in json.load(sys.stdin):
        results.append(run_models(params, Context()))
except VenomError as error:
    results.append(dict(error.to_result(), failed=True))
print(json.dumps(results))
"""


class Install:
    """Calls of venom_model one after the other in a process of its own, which leads a session so that all of it can be killed."""

    def __init__(self, *calls: dict[str, t.Any]) -> None:
        self._models = calls[0]["models_dir"]
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
        self.process = subprocess.Popen(
            # The folder is an argument so that the process can be found by it.
            [sys.executable, "-c", _CHILD, self._models],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        if self.process.stdin is not None:
            self.process.stdin.write(json.dumps(calls))
            self.process.stdin.close()
            self.process.stdin = None

    @property
    def pid(self) -> int:
        return self.process.pid

    def has_planned(self) -> bool:
        """Whether it has made its plan and gone for the lock, or has it."""
        return os.path.exists(f"{self._models}.waiting/{self.pid}")

    def has_ended(self) -> bool:
        """Whether it is over, however."""
        return self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL to it and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def results(self) -> list[dict[str, t.Any]]:
        """What each call returned; that of a failure has ``failed``."""
        output, errors = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, errors[-3000:]
        found: list[dict[str, t.Any]] = json.loads(output)
        return found

    def result(self) -> dict[str, t.Any]:
        """What the last call returned."""
        return self.results()[-1]


@contextlib.contextmanager
def started(*lists: t.Sequence[dict[str, t.Any]] | dict[str, t.Any]) -> t.Iterator[list[Install]]:
    """A process for each list of calls, all at once; none outlives the test."""
    running: list[Install] = []
    try:
        for calls in lists:
            running.append(Install(*([calls] if isinstance(calls, dict) else calls)))
        yield running
    finally:
        for install in running:
            if not install.has_ended():
                install.kill()


def wait_until(condition: t.Callable[[], t.Any], has_ended: t.Callable[[], bool] = lambda: False) -> bool:
    """Wait for something; False when what should bring it about ended before. TimeoutError when neither happens."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if has_ended():
            return bool(condition())
        if time.monotonic() > end:
            raise TimeoutError("it did not come to that")
        time.sleep(0.002)
    return True


def kill_all(members: t.Collection[int]) -> None:
    """SIGKILL to all of them, before one can notice that another is gone."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        signal_all(members, number)


def signal_all(members: t.Collection[int], number: signal.Signals) -> None:
    """The signal to each that is still there."""
    for pid in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def freeze(pid: int) -> list[int]:
    """Stop a process and all that it has started, also what it was just starting; their pids."""
    found: list[int] = []
    while True:
        fresh = [member for member in [pid, *descendants(pid, snapshot())] if member not in found]
        if not fresh:
            return found
        signal_all(fresh, signal.SIGSTOP)
        found += fresh


def users_of(folder: Path) -> list[int]:
    """Pids of living processes whose command line names the folder or something in it."""
    pattern = re.compile(re.escape(str(folder)) + r"(/|\W|$)")
    return [pid for pid in pids() if pid != os.getpid() and any(pattern.search(part) for part in command_line(pid))]


def is_quiet(site: Site) -> bool:
    """Whether the server has noticed the end of every connection."""
    return all(entry.done for entry in site.log.entries())


def call(folder: Path, hub: Hub | None = None, **options: t.Any) -> dict[str, t.Any]:
    """Parameters of a call that waits for its lock, as an operator's does."""
    return model_params(folder, hub, **{"lock_timeout": PATIENCE, "retries": 3, **options})
