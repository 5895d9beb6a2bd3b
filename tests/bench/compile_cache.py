# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first start of the real vLLM on a host, with nothing compiled, with what it compiled itself, and with what another host has compiled.

The other host is this one with its cache saved, deleted and loaded again; paths, processor and packages are equal, as they have to be.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import support  # noqa: E402

from ansible_collections.venom.llm.plugins.module_utils import compile_cache, processes  # noqa: E402
from ansible_collections.venom.llm.plugins.module_utils.compile_cache_entries import SECTIONS  # noqa: E402
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active  # noqa: E402
from ansible_collections.venom.llm.plugins.module_utils.runtimes.vllm import VllmRuntime, active_variables  # noqa: E402
from lab import models  # noqa: E402

#: Machine code as the C++ compiler leaves it. vLLM 0.32 for the CPU compiles again what is left of its graph, in any case: see README.md.
LIBRARIES = "*.so"
_LOOK = 0.02


@dataclass(frozen=True)
class Start:
    """Until the server answers: seconds, processor time of all its processes, and the libraries that were compiled."""

    seconds: float
    cpu: float
    compiled: int


class Host:
    """Folders and settings of a host as the role vllm makes them, and one model."""

    def __init__(self, scratch: Path, python: str) -> None:
        self.scratch = scratch
        self.state_dir = scratch / "vllm"
        self.archive = scratch / "carry" / "cache.tar.gz"
        self.state_dir.mkdir(mode=0o700)
        for name in ("config", "run", "log", "models"):
            (scratch / name).mkdir()
        self.port = _free_port()
        self.runtime = VllmRuntime(str(scratch / "config"), str(scratch / "run"))
        model = models.llama(scratch / "models/tiny", reply="I am here.")
        cache = self.state_dir / "cache"
        values = {
            "VENOM_VLLM_PYTHON": python, "VENOM_VLLM_HOST": "127.0.0.1", "VENOM_VLLM_PORT": str(self.port),
            "VENOM_VLLM_ARGS": '"--max-model-len 256"', "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
            "HOME": str(self.state_dir), "XDG_CACHE_HOME": str(cache), "VLLM_CACHE_ROOT": f"{cache}/vllm", "HF_HOME": f"{cache}/huggingface",
            "TRITON_CACHE_DIR": f"{cache}/triton", "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor",
        }  # fmt: skip
        (scratch / "config/vllm.env").write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")
        active = active_variables(Active("bench", str(model)))
        Path(self.runtime.active_path).write_text("".join(f"{name}={value}\n" for name, value in active.items()), encoding="utf-8")

    def start(self) -> Start:
        """Start, wait for the first answer, and end it."""
        before = self.libraries()
        log = self.scratch / "log/server.log"
        command, environment = self.runtime.command(), {**os.environ, **self.runtime.environment()}
        began = time.monotonic()
        with log.open("wb") as stream:
            # As the unit does it: what is written belongs to the account alone.
            server = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True, umask=0o077
            )
        try:
            while not self._is_ready():
                alive = server.poll() is None and time.monotonic() - began < 600
                support.need(alive, f"it does not start: {log.read_text('utf-8', 'replace')[-2000:]}")
                time.sleep(_LOOK)
            seconds, cpu = time.monotonic() - began, cpu_of(server.pid)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()
        return Start(seconds, cpu, len(self.libraries() - before))

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def libraries(self) -> set[tuple[str, int]]:
        """What was compiled and can be carried, with the time at which it was written."""
        found = (path for section in SECTIONS for path in (self.state_dir / section.path).rglob(LIBRARIES))
        return {(str(path), path.stat().st_mtime_ns) for path in found}

    def call(self, state: str, **more: t.Any) -> tuple[dict[str, t.Any], float]:
        """The operation of venom_compile_cache, and its seconds."""
        folders = {f"{name}_dir": str(self.scratch / name) for name in ("config", "run", "log", "models")}
        params = {
            "state": state, "archive": str(self.archive), "state_dir": str(self.state_dir), "entries": [], "sha256": None, "reader": None,
            "max_gb": 8.0, "lock_timeout": 0.0, "supervisor": "process", "account": "", **folders, **more,
        }  # fmt: skip
        began = time.monotonic()
        return compile_cache.operate(params, False), time.monotonic() - began

    def forget(self) -> None:
        """Nothing was ever compiled here."""
        support.emptied(self.state_dir)
        self.state_dir.chmod(0o700)


def cpu_of(leader: int) -> float:
    """Processor seconds of a session: of its processes, and of those that they have seen end, such as compilers."""
    ticks = 0
    for process in processes.snapshot().values():
        if process.session == leader:
            fields = Path(f"/proc/{process.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / processes.CLOCK_TICKS


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Round:
    """Three starts, and what it took to carry the cache: seconds to save and to load, bytes and files of it, bytes of the archive."""

    cold: Start
    own: Start
    carried: Start
    save: float
    load: float
    size: int
    files: int
    archive: int


def measure(host: Host) -> Round:
    """One round. ``Wrong`` unless only the first start has compiled."""
    host.forget()
    cold, own = host.start(), host.start()
    saved, save = host.call("saved")
    host.forget()
    names = [entry["name"] for entry in saved["entries"]]
    load = host.call("loaded", sha256=saved["sha256"], entries=names)[1]
    carried = host.start()
    support.need(cold.compiled, "the first start has compiled nothing")
    support.need(own.compiled == carried.compiled == 0, f"compiled again: {own.compiled} with its own code, {carried.compiled} with the other's")
    host.call("absent")
    files, size = sum(entry["files"] for entry in saved["entries"]), sum(entry["bytes"] for entry in saved["entries"])
    return Round(cold, own, carried, save, load, size, files, saved["size_bytes"])


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default %(default)s)")
    parser.add_argument("--vllm", metavar="PYTHON", default=os.environ.get("VENOM_TEST_VLLM_PYTHON", ""), help="the interpreter of a venv with vLLM")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made (default: where temporary files go)")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or not arguments.vllm:
        parser.error("--rounds is 1 or more, and --vllm or VENOM_TEST_VLLM_PYTHON names an interpreter")
    with support.scratch_folder(arguments.folder) as scratch:
        host = Host(scratch, arguments.vllm)
        # The first start of all reads the libraries from the disk.
        host.start()
        found = [measure(host) for dummy in range(arguments.rounds)]
    cold = statistics.median(each.cold.seconds for each in found)
    cold_cpu = statistics.median(each.cold.cpu for each in found)
    lines = {
        "with nothing compiled": [each.cold for each in found],
        "with its own": [each.own for each in found],
        "with another host's": [each.carried for each in found],
    }
    rows = []
    for name, starts in lines.items():
        middle = statistics.median(start.seconds for start in starts)
        cpu = statistics.median(start.cpu for start in starts)
        figures = (f"{middle:.1f} s", f"{middle / cold:.2f}", f"{cpu:.1f} s", f"{cpu / cold_cpu:.2f}")
        rows.append(("start", name, *figures, str(max(start.compiled for start in starts))))
    support.show(("vLLM", f"{len(found)} rounds", "median", "of cold", "processor", "of cold", "compiled"), rows)
    last = found[-1]
    print(f"\nsaved in {last.save:.2f} s, loaded in {last.load:.2f} s: {last.files} files, {last.size} bytes, {last.archive} in the archive")


if __name__ == "__main__":
    main()
