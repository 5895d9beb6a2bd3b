"""Run the parts of ``make test`` side by side: a pool of lanes takes one part after the other, the long ones first.

Many parts wait more than they compute (for hosts that boot, for servers that load), so three lanes keep two processors busy.
Every lane has a lab of its own: state folder, bridge, subnet. A part that fails does not keep the others from running; what it
printed comes when it ends, and again at the end. The last line counts the tests of all parts as pytest counts those of one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / ".cache" / "lanes"
LANES = 3
#: A part that hangs must not take the pipeline's whole time with it. Seconds.
PATIENCE = 2400.0
#: Host files that take minutes, or boot hosts of their own kind, are parts of their own; longest first.
LONG_HOST_FILES = (
    "test_first_light.py",
    "test_ollama_role.py",
    "test_rolling.py",
    "test_mirror_role.py",
    "test_operations_hosts.py",
    "test_break_vllm.py",
    "test_air_gap.py",
    "test_break_hosts.py",
    "test_compile_cache_hosts.py",
)
#: The other host files are dealt into so many parts: those of one part boot their hosts once, and build the backend there once.
HOST_SHARES = 3
#: The other files of tests/integration are dealt into so many parts, so that no lane has a long one alone at the end.
SHARES = 4
#: Files of tests/integration that are parts of their own because of their length.
LONG_FILES = ("test_break_standins.py", "test_fault_schedules.py", "test_install_kills.py", "test_runtime_systemd.py")
_PYTEST = (str(ROOT / "tests/tools/pytest.sh"), "-q", "-p", "no:cacheprovider")
_CLOSING = re.compile(r"^=* ?((?:\d+ \w+(?:, )?)+) in [0-9.]+s")
_WORTH = re.compile(r"^(FAILED|ERROR) |^= |passed|failed|^ansible-test |^INFO +.* scenarios? ")
_TAIL_LINES = 150
_LINE_CHARACTERS = 400


@dataclass(frozen=True)
class Part:
    """A command that tests something, and how its log is named. ``prepares`` comes first, and before it only what is ``plain``."""

    name: str
    argv: tuple[str, ...]
    plain: bool = False
    prepares: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a part ended: exit status (minus the signal, as subprocess tells it), seconds, and all that it printed."""

    part: Part
    status: int
    seconds: float
    output: str


def all_parts() -> list[Part]:
    """What there is to run, the longest first: a long part that begins last would run alone."""
    hosts = sorted((ROOT / "tests/integration/hosts").glob("test_*.py"), key=_host_order)
    here = sorted((ROOT / "tests/integration").glob("test_*.py"))
    alone = [path for path in here if path.name in LONG_FILES]
    rest = [path for path in here if path.name not in LONG_FILES]
    tool = [sys.executable, str(ROOT / "tests/tools/run_ansible_test.py")]
    first, others = hosts[: len(LONG_HOST_FILES)], hosts[len(LONG_HOST_FILES):]
    return [
        Part("prepare", (str(ROOT / "tests/tools/prepare.sh"),), plain=True, prepares=True),
        Part("molecule", (str(ROOT / "tests/tools/molecule.sh"),)),
        *(_pytest(path) for path in first),
        *_dealt("hosts", others, HOST_SHARES),
        Part("sanity", (*tool, "sanity"), plain=True),
        *(_pytest(path) for path in alone),
        *_dealt("integration", rest, SHARES),
        Part("units", (*tool, "units"), plain=True),
        Part("selftest", (*_PYTEST, str(ROOT / "tests/lab/selftest"))),
        Part("lint", (str(ROOT / "tests/tools/lint.sh"),), plain=True),
    ]


def _pytest(path: Path) -> Part:
    return Part(path.stem, (*_PYTEST, str(path)))


def _dealt(name: str, files: t.Sequence[Path], shares: int) -> list[Part]:
    return [Part(f"{name}-{number + 1}", (*_PYTEST, *map(str, files[number::shares]))) for number in range(shares)]


def _host_order(path: Path) -> tuple[int, str]:
    known = LONG_HOST_FILES.index(path.name) if path.name in LONG_HOST_FILES else len(LONG_HOST_FILES)
    return known, path.name


class Lanes:
    """Threads that take parts from one list. ``stop`` ends what runs; only process groups begun here are signalled."""

    def __init__(self, parts: t.Sequence[Part], count: int) -> None:
        self._parts = list(parts)
        self._count = count
        self._lock = threading.Condition()
        self._prepared = not any(part.prepares for part in parts)
        self._running: set[int] = set()
        self._stopped = False
        self.outcomes: list[Outcome] = []

    def run(self) -> list[Outcome]:
        """Run everything; returns when the last part has ended."""
        threads = [threading.Thread(target=self._lane, args=(number,)) for number in range(1, self._count + 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.outcomes

    def stop(self) -> None:
        """Take no more parts, and end those that run: SIGINT, on which pytest and molecule take their labs down."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()
            for pid in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGINT)

    def _lane(self, number: int) -> None:
        environment = dict(
            os.environ,
            VENOM_TEST_LAB=f"lane{number}",
            VENOM_LAB_BRIDGE=f"venomlane{number}",
            VENOM_LAB_NETWORK=f"10.218.{number}.1/24",
            PYTHONUNBUFFERED="1",
        )
        while True:
            part = self._take()
            if part is None:
                return
            outcome = self._run(part, environment)
            with self._lock:
                self.outcomes.append(outcome)
                show(outcome)
                if part.prepares:
                    # Where it failed, the other parts fail by themselves and say why.
                    self._prepared = True
                    self._lock.notify_all()

    def _take(self) -> Part | None:
        """The next part, as soon as it may begin; None when there is none left."""
        with self._lock:
            while self._parts and not self._stopped:
                ready = [part for part in self._parts if self._prepared or part.plain]
                if ready:
                    self._parts.remove(ready[0])
                    return ready[0]
                self._lock.wait()
            return None

    def _run(self, part: Part, environment: t.Mapping[str, str]) -> Outcome:
        log, begun = LOGS / f"{part.name}.log", time.monotonic()
        with log.open("wb") as stream:
            with self._lock:
                if self._stopped:
                    return Outcome(part, -signal.SIGTERM, 0.0, "not begun\n")
                process = subprocess.Popen(
                    part.argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
                )
                self._running.add(process.pid)
            try:
                status = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                stream.write(f"\nended by SIGINT after {PATIENCE:g} s\n".encode())
                os.killpg(process.pid, signal.SIGINT)
                status = process.wait()
            with self._lock:
                self._running.discard(process.pid)
        return Outcome(part, status, time.monotonic() - begun, log.read_text(encoding="utf-8", errors="replace"))


def show(outcome: Outcome) -> None:
    """What is worth reading of a part: its verdict, and of a failure the end of its output."""
    lines = outcome.output.splitlines()
    kept = lines[-_TAIL_LINES:] if outcome.status else [line for line in lines if _WORTH.search(line)][-12:]
    kept = [line if len(line) <= _LINE_CHARACTERS else f"{line[:_LINE_CHARACTERS]} ..." for line in kept]
    verdict = "passed" if outcome.status == 0 else f"FAILED with status {outcome.status}"
    sys.stdout.write("\n".join(["", f"== {outcome.part.name} {verdict} after {outcome.seconds:.0f} s", *kept, ""]))
    sys.stdout.flush()


def closing_line(outcomes: t.Iterable[Outcome], seconds: float) -> str:
    """One line in the form of pytest's own, over all parts that count tests."""
    counts: dict[str, int] = {}
    for outcome in outcomes:
        for line in outcome.output.splitlines():
            found = _CLOSING.match(line)
            for number, word in re.findall(r"(\d+) (\w+)", found.group(1)) if found else []:
                counts[word.rstrip("s") if word.startswith(("error", "warning")) else word] = counts.get(word, 0) + int(number)
    said = ", ".join(f"{number} {word}" for word, number in sorted(counts.items())) or "no tests ran"
    return f"= {said} in {seconds:.2f}s ="


def main() -> int:
    """Run what is named, or everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", help="names of parts; all without any")
    parser.add_argument("--list", action="store_true", help="print the names of the parts")
    parser.add_argument("--lanes", type=int, default=LANES)
    arguments = parser.parse_args()
    parts = all_parts()
    if arguments.list:
        sys.stdout.write("\n".join(part.name for part in parts) + "\n")
        return 0
    unknown = set(arguments.parts) - {part.name for part in parts}
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    LOGS.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    lanes = Lanes([part for part in parts if not arguments.parts or part.name in arguments.parts], arguments.lanes)

    def end(number: int, frame: object) -> t.NoReturn:
        lanes.stop()
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    outcomes = lanes.run()
    failed = [outcome for outcome in outcomes if outcome.status]
    for outcome in sorted(outcomes, key=lambda one: -one.seconds):
        sys.stdout.write(f"= {outcome.part.name} took {outcome.seconds:.0f} s =\n")
    for outcome in failed:
        sys.stdout.write(f"\n== {outcome.part.name} failed with status {outcome.status}; all of it: {LOGS / outcome.part.name}.log\n")
        sys.stdout.writelines(f"{line}\n" for line in outcome.output.splitlines() if line.startswith(("FAILED", "ERROR")))
    sys.stdout.write(closing_line(outcomes, time.monotonic() - begun) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
