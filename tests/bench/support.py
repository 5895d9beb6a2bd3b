# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benches share: what a command costs, the module's operation as a command, servers in processes of their own, models, scratch."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests")]

from ansible_collections.venom.llm.plugins.module_utils.models_options import model_spec  # noqa: E402
from lab.models import safetensors  # noqa: E402

MIB = 1 << 20
GIB = 1 << 30
#: Seconds between two looks at the memory of a running command.
_LOOK = 0.05
#: Runs the operation of venom_model as its worker does: one process, nothing else in it.
_OPERATION = """
import importlib.util, json, sys
from ansible_collections.venom.llm.plugins.module_utils.models import run_models

class Context:
    check_mode, diff_mode = "check" in sys.argv[2:], True
    warn = report = need_backend = staticmethod(lambda *dummy: None)
    has_library = staticmethod(lambda name="huggingface_hub": importlib.util.find_spec(name) is not None)

with open(sys.argv[1], encoding="utf-8") as stream:
    params = json.load(stream)
print(json.dumps(run_models(params, Context())))
"""


class Wrong(Exception):
    """Bytes, a digest or a result that is not as it must be, or a command that failed: no figure of such a run counts."""


@dataclass(frozen=True)
class Cost:
    """Of one run: seconds on the clock, the same with everything synced, seconds of processor time, resident bytes at their peak."""

    seconds: float
    synced: float
    cpu: float
    peak: int


@dataclass(frozen=True)
class Median:
    """Of several runs of the same: medians, and the range of the seconds."""

    seconds: float
    least: float
    most: float
    synced: float
    cpu: float
    peak: int

    @classmethod
    def of(cls, costs: t.Sequence[Cost]) -> Median:
        """Of all of them; the peak is the highest."""
        seconds = [cost.seconds for cost in costs]
        synced, cpu = (statistics.median(getattr(cost, name) for cost in costs) for name in ("synced", "cpu"))
        return cls(statistics.median(seconds), min(seconds), max(seconds), synced, cpu, max(cost.peak for cost in costs))


# Commands


def environment(scratch: Path, **more: str) -> dict[str, str]:
    """What commands and servers get: no proxies, no tokens, no settings of this machine; temporary files in the scratch folder."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV")}
    paths = os.pathsep.join((str(ROOT / "collections"), str(ROOT / "tests")))
    return {**kept, "HOME": str(scratch), "TMPDIR": str(scratch), "PYTHONPATH": paths, **more}


def peak_of(pid: int) -> int:
    """Peak resident bytes (VmHWM) of what a process executes now; 0 when it has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0


def cpu_of(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> t.Iterator[int]:
    """A process and its descendants."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in path.read_text(encoding="ascii").split():
                yield from _family(int(child))


def run(*commands: t.Sequence[str], scratch: Path, **more: str) -> tuple[Cost, str]:
    """Run a pipe of commands; what it cost, all its processes together, and its output. ``Wrong`` when one of them fails.

    The peak is VmHWM, looked at all the time. The rusage of a child is not of use: it has the memory of this process from before exec.
    """
    running: list[subprocess.Popen[bytes]] = []
    peak, cpu = 0, 0.0
    with tempfile.TemporaryFile(dir=scratch) as output, tempfile.TemporaryFile(dir=scratch) as errors:
        began = time.perf_counter()
        try:
            for number, command in enumerate(commands):
                source = running[-1].stdout if running else subprocess.DEVNULL
                target = output if number == len(commands) - 1 else subprocess.PIPE
                running.append(
                    subprocess.Popen(
                        command,
                        stdin=source,
                        stdout=target,
                        stderr=errors,
                        cwd=scratch,
                        env=environment(scratch, **more),
                        start_new_session=True,
                    )
                )
                if source not in (None, subprocess.DEVNULL):
                    t.cast(t.IO[bytes], source).close()
            for process in running:
                peak = max(peak, _wait(process, running))
                dummy, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                cpu += usage.ru_utime + usage.ru_stime
            seconds = time.perf_counter() - began
        finally:
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                if process.returncode is None:
                    process.wait()
        os.sync()
        synced = time.perf_counter() - began
        output.seek(0)
        errors.seek(0)
        text = output.read().decode()
        if any(process.returncode for process in running):
            raise Wrong(f"{commands[0][0]} failed: {text[-2000:]}{errors.read().decode()[-2000:]}")
    return Cost(seconds, synced, cpu, peak), text


def _wait(process: subprocess.Popen[bytes], running: t.Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for the end of a process; the peaks of all processes that were there at one time, added up."""
    descriptor = os.pidfd_open(process.pid)
    try:
        highest, is_over = 0, False
        while not is_over:
            highest = max(highest, sum(peak_of(pid) for other in running for pid in _family(other.pid)))
            is_over = bool(select.select([descriptor], [], [], _LOOK)[0])
        return highest
    finally:
        os.close(descriptor)


def operate(scratch: Path, check: bool = False, **options: t.Any) -> tuple[Cost, dict[str, t.Any]]:
    """Run venom_model's operation in a fresh process, its options as the module would fill them in."""
    params = {name: option.get("default") for name, option in model_spec().items()}
    params.update(config_dir=str(scratch / "etc"), backend_python=sys.executable, reserve_gib=0.0, confirm_large=True, max_disk_gb=1e6, **options)
    path = scratch / "params.json"
    path.write_text(json.dumps(params), encoding="utf-8")
    cost, output = run([sys.executable, "-c", _OPERATION, str(path), *(["check"] if check else [])], scratch=scratch)
    return cost, json.loads(output)


@contextlib.contextmanager
def serving(scratch: Path, *arguments: str) -> t.Iterator[dict[str, t.Any]]:
    """A server of the lab in a process of its own, so that nobody shares an interpreter with it; what it says of itself."""
    command = [sys.executable, "-m", "lab", *arguments]
    with tempfile.TemporaryFile(dir=scratch) as errors:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, cwd=scratch, env=environment(scratch))
        try:
            line = server.stdout.readline() if server.stdout else b""
            if not line:
                errors.seek(0)
                raise Wrong(f"the server did not start: {errors.read().decode()[-2000:]}")
            yield json.loads(line)
        finally:
            server.terminate()
            server.communicate()


# Models


def make_model(folder: Path, files: int, size: int) -> None:
    """A repository with so many bytes of weights in so many files of one size. Each MiB begins with its number, so none stands for another."""
    folder.mkdir(parents=True)
    block = random.Random(files).randbytes(MIB - 8)
    pieces = max(1, size // files // MIB)
    names = ["model.safetensors"] if files == 1 else [f"model-{number:05d}-of-{files:05d}.safetensors" for number in range(1, files + 1)]
    for number, name in enumerate(names):
        safetensors.write_file(folder / name, [_numbered(f"weight{number}", number * pieces, pieces, block)])
    if files > 1:
        weight_map = {f"weight{number}": name for number, name in enumerate(names)}
        safetensors.write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    safetensors.write_json(folder / "config.json", {"architectures": ["BenchModel"], "max_position_embeddings": 128})


def _numbered(name: str, first: int, count: int, block: bytes) -> safetensors.Tensor:
    return safetensors.Tensor(name, (count * MIB // 2,), lambda: (number.to_bytes(8, "little") + block for number in range(first, first + count)))


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path in there. Reads them all, so they are in the page cache afterwards."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {path.relative_to(folder).as_posix(): digest for path, digest in zip(paths, pool.map(_sha256, paths))}


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def need(condition: object, what: str) -> None:
    """``Wrong`` unless it holds."""
    if not condition:
        raise Wrong(what)


# The run


def filled(folder: Path, size: int) -> Path:
    """The folder with so many bytes and nothing else, for the first that is to find it emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with open(folder / "filling", "wb", buffering=0) as stream:
        for dummy in range(size // MIB):
            stream.write(bytes(MIB))
    return folder


def emptied(folder: Path) -> Path:
    """The folder without what the last measurement has left, at once before the next, and nothing left to be written to the disk.

    Virtual machines give free memory back to their host within seconds, and the next to use it pays for every page: an install took 5.1 s
    instead of 3.1 s after a pause. So what is written to is memory that was in the page cache until now, for all alike.
    """
    os.sync()
    shutil.rmtree(folder)
    folder.mkdir()
    os.sync()
    return folder


def parse(document: str | None, rounds: int) -> argparse.Namespace:
    """The options that the benches share."""
    parser = argparse.ArgumentParser(description=(document or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each is measured (default %(default)s)")
    parser.add_argument("--gib", type=float, default=2.0, help="size of a model in GiB (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made, on the disk to measure (default: where temporary files go)")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.gib <= 0:
        parser.error("--rounds is 1 or more, --gib more than 0")
    return arguments


@contextlib.contextmanager
def scratch_folder(parent: Path | None) -> t.Iterator[Path]:
    """A folder that is removed at the end, also after a failure, Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *dummy: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="venom-bench-", dir=parent) as folder:
        yield Path(folder).resolve()


def rounds(contenders: dict[str, t.Callable[[], Cost]], count: int) -> dict[str, Median]:
    """Measure each so often, in turns, every other round in reverse order."""
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for number in range(count):
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            costs[name].append(contenders[name]())
    return {name: Median.of(found) for name, found in costs.items()}


def show(head: t.Sequence[str], rows: t.Sequence[t.Sequence[str]]) -> None:
    """Print a table: the first two columns are words, the rest numbers."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) if column < 2 else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths))))
