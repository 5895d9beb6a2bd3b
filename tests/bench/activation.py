# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A switch of the active model through the whole of Ansible, beside a bare restart of the same server, and what it costs clients.

Two models of one server, in turns, kept by the process supervisor on this machine: the light stand-in, or with --vllm the real vLLM.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import support  # noqa: E402

from ansible_collections.venom.llm.plugins.module_utils import envfile, processes  # noqa: E402
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest  # noqa: E402
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord, snapshot_path, utc_now  # noqa: E402
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef  # noqa: E402
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active  # noqa: E402
from ansible_collections.venom.llm.plugins.module_utils.runtimes.vllm import VllmRuntime, active_variables  # noqa: E402
from ansible_collections.venom.llm.plugins.module_utils.supervisors.process import Command, ProcessSupervisor  # noqa: E402
from lab import models  # noqa: E402

STAND_IN = support.ROOT / "tests/unit/plugins/module_utils/stand_in_vllm.py"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODELS = ("bench/first", "bench/second")
#: Clients know one name, whichever model is behind it.
ALIAS = "bench"
#: Seconds that the stand-in takes for a completion, and for its start, so that there is something to wait for.
COMPLETION, START = 0.3, 0.5
CLIENTS = 4
_READY = re.compile(r"ready after ([0-9.]+) s")
_LOOK = 0.005


@dataclass
class Requests:
    """What clients met: answers, requests cut off by the switch, and those that found nobody."""

    answered: int = 0
    cut: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Switch:
    """One activation in seconds: playbook start to proof, until the module runs, the module, the server's own start, from ready to seen."""

    total: float
    before: float
    module: float
    cold: float
    detection: float


class Host:
    """A managed host in the scratch folder, with both models installed."""

    def __init__(self, scratch: Path, python: str) -> None:
        self.scratch = scratch
        self.port = _free_port()
        self.is_real = bool(python)
        self.folders = {f"{name}_dir": scratch / name for name in ("config", "models", "log", "run")}
        for folder in self.folders.values():
            folder.mkdir()
        self.runtime = VllmRuntime(str(self.folders["config_dir"]))
        if not python:
            program = scratch / "python"
            program.write_text(f'#!/bin/sh\nexec {sys.executable} -S {STAND_IN} "$@"\n', encoding="utf-8")
            program.chmod(0o755)
            python = str(program)
        (self.folders["config_dir"] / "vllm.env").write_text(
            f"VENOM_VLLM_PYTHON={python}\nVENOM_VLLM_HOST=127.0.0.1\nVENOM_VLLM_PORT={self.port}\n"
            'VENOM_VLLM_ARGS="--max-model-len 256 --enforce-eager"\n'
            f"HF_HUB_OFFLINE=1\nVLLM_NO_USAGE_STATS=1\nVLLM_CPU_KVCACHE_SPACE=1\nHOME={scratch}\nVLLM_CACHE_ROOT={scratch}/cache\n",
            encoding="utf-8",
        )
        for name in MODELS:
            self._install(name)

    def _install(self, name: str) -> None:
        ref = ModelRef.parse(name, "huggingface")
        folder = Path(snapshot_path(str(self.folders["models_dir"]), ref, COMMIT))
        models.llama(folder, reply="I am here.")
        records = []
        for path in sorted(folder.iterdir()):
            path.chmod(0o644)
            status = path.stat()
            records.append(FileRecord(path.name, status.st_size, Digest("sha256", "0" * 64), status.st_mtime_ns, status.st_ino))
        size = sum(record.size for record in records)
        entry = Entry(
            name=name, provider="huggingface", runtime="vllm", revision=COMMIT, requested_revision="main", alias=None, local_path=str(folder),
            size_bytes=size, files=tuple(records), sha256="0" * 64, installed_at=utc_now(),
        )  # fmt: skip
        Manifest.load(str(self.folders["models_dir"])).merge(entry).save()
        (folder / "behaviour.json").write_text(json.dumps({"seconds": COMPLETION, "delay": START}), encoding="utf-8")
        # What the last activation would have left, for the bare restart.
        active = active_variables(Active(ALIAS, str(folder)))
        Path(self.runtime.active_path).write_text(envfile.render(active), encoding="utf-8")

    def stop(self) -> None:
        """Leave nothing, whatever happened."""
        unit, run_dir = self.runtime.unit.rpartition(".")[0], str(self.folders["run_dir"])
        ProcessSupervisor(unit, "", run_dir, lambda: Command((), {})).stop(10)

    def play(self, **options: t.Any) -> tuple[dict[str, t.Any], dict[str, t.Any], float]:
        """Run venom_runtime by a playbook: its result, the line of the timing callback, and when the playbook was started."""
        book, out, result = (self.scratch / name for name in ("play.json", "times.jsonl", "result.json"))
        out.unlink(missing_ok=True)
        folders = {name: str(folder) for name, folder in self.folders.items()}
        task = {"name": "switch", "venom.llm.venom_runtime": {"name": "vllm", "supervisor": "process", "account": "", **folders, **options}}
        keep = {"name": "keep", "ansible.builtin.copy": {"content": "{{ told | to_json }}", "dest": str(result), "mode": "0600"}}
        tasks = [{**task, "register": "told"}, keep]
        book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
        environment = {
            "ANSIBLE_COLLECTIONS_PATH": str(support.ROOT / "collections"),
            "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).with_name("callback_plugins")),
            "ANSIBLE_CALLBACKS_ENABLED": "venom_timing",
            "ANSIBLE_HOME": str(self.scratch / "ansible"),
            "ANSIBLE_PIPELINING": "1",
            "VENOM_BENCH_OUT": str(out),
        }
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", str(book)]
        command += ["-e", f"ansible_python_interpreter={os.path.realpath(sys.executable)}"]
        began = time.monotonic()
        support.run(command, scratch=self.scratch, **environment)
        line = json.loads(out.read_text(encoding="utf-8").splitlines()[0])
        return json.loads(result.read_text(encoding="utf-8")), line, began

    def activate(self, number: int, **options: t.Any) -> tuple[dict[str, t.Any], dict[str, t.Any], float]:
        """Activate one of the models; ``Wrong`` unless it is that one that serves."""
        told, line, began = self.play(state="active", model=MODELS[number % 2], alias=ALIAS, **options)
        support.need(told["changed"] and told["status"]["active_model"] == MODELS[number % 2], f"not switched: {told}")
        return told, line, began

    def is_ready(self) -> bool:
        """Whether the server answers on /health."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


# The bare restart


def bare(host: Host, count: int) -> tuple[list[float], list[float]]:
    """Stop and start the server as the supervisor would, and nothing else: the seconds of each stop and of each start until it is ready."""
    command, environment = host.runtime.command(), {**os.environ, **host.runtime.environment()}
    stops, starts = [], []
    server: subprocess.Popen[bytes] | None = None
    with (host.scratch / "bare.log").open("ab") as log:
        for dummy in range(count + 1):
            if server is not None:
                stops.append(_end(server))
            began = time.monotonic()
            server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            try:
                while not host.is_ready():
                    support.need(server.poll() is None and time.monotonic() - began < 300, f"it does not start: see {log.name}")
                    time.sleep(_LOOK)
            except support.Wrong:
                os.killpg(server.pid, signal.SIGKILL)
                raise
            starts.append(time.monotonic() - began)
    if server is not None:
        _end(server)
    # The first start finds cold caches.
    return stops, starts[1:]


def _end(server: subprocess.Popen[bytes]) -> float:
    began = time.monotonic()
    os.killpg(server.pid, signal.SIGTERM)
    while server.poll() is None or any(process.session == server.pid and process.is_alive() for process in processes.snapshot().values()):
        if time.monotonic() - began > 60:
            os.killpg(server.pid, signal.SIGKILL)
        time.sleep(_LOOK)
    return time.monotonic() - began


# The activation


@dataclass
class Watcher:
    """Looks at the server all the time: when it answered again after it had not."""

    host: Host
    ready: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watcher:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        was_down = False
        while not self._over.is_set():
            is_up = self.host.is_ready()
            if is_up and was_down:
                self.ready = time.monotonic()
            was_down = not is_up
            time.sleep(_LOOK)


def switch(host: Host, number: int) -> Switch:
    """One activation of the other model, nobody asking."""
    with Watcher(host) as watcher:
        told, line, began = host.activate(number)
    process = processes.read_process(told["status"]["pid"])
    support.need(process is not None and watcher.ready, "the server was not seen")
    born = time.monotonic() - processes.uptime_of(t.cast(processes.Process, process))
    said = [found.group(1) for found in (_READY.search(step["outcome"]) for step in told["steps"]) if found]
    support.need(said, f"no step says when the server was ready: {told['steps']}")
    cold = watcher.ready - born
    total = line["ended"] - began
    return Switch(total, total - line["seconds"], line["seconds"], cold, max(0.0, float(said[-1]) - cold))


# Clients


class Clients:
    """So many clients that ask one after the other; ``hold`` is a load balancer that sends nobody any more."""

    def __init__(self, host: Host) -> None:
        self.met = Requests()
        self._host = host
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._open = threading.Event()
        self._open.set()
        self._threads = [threading.Thread(target=self._ask) for dummy in range(CLIENTS)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.set()
        self._over.set()
        for thread in self._threads:
            thread.join()

    def hold(self) -> None:
        """No new requests; those on their way go on."""
        self._open.clear()

    def resume(self) -> None:
        """As before."""
        self._open.set()

    def _ask(self) -> None:
        body = json.dumps({"model": ALIAS, "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 16})
        while not self._over.is_set():
            self._open.wait()
            what = self._one(body)
            with self._lock:
                setattr(self.met, what, getattr(self.met, what) + 1)
            if what == "refused":
                time.sleep(0.05)

    def _one(self, body: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._host.port, timeout=60)
        try:
            try:
                connection.connect()
            except OSError:
                return "refused"
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            return "answered" if connection.getresponse().status == 200 else "cut"
        except (OSError, http.client.HTTPException):
            return "cut"
        finally:
            connection.close()


def under_load(host: Host, number: int, drain: float, is_held: bool) -> Requests:
    """One activation while clients ask; ``is_held``: the balancer takes the host out before and puts it back after the proof."""
    with Clients(host) as clients:
        time.sleep(1.0)
        if is_held:
            clients.hold()
        host.activate(number, drain_timeout=drain)
        clients.resume()
        time.sleep(1.0)
    return clients.met


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="how often each is measured (default %(default)s)")
    parser.add_argument("--vllm", metavar="PYTHON", default="", help="the interpreter of a venv with vLLM (default: the stand-in)")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made (default: where temporary files go)")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds is 1 or more")
    with support.scratch_folder(arguments.folder) as scratch:
        host = Host(scratch, arguments.vllm)
        try:
            stops, starts = bare(host, arguments.rounds)
            host.activate(1)
            switches = [switch(host, number) for number in range(arguments.rounds)]
            last = arguments.rounds
            loads = {
                "no drain, clients go on": under_load(host, last, 0.0, False),
                "drain 3 s, clients go on": under_load(host, last + 1, 3.0, False),
                "drain, out of the balancer": under_load(host, last + 2, 30.0, True),
            }
        finally:
            host.stop()
    show(stops, starts, switches, loads, "vLLM" if arguments.vllm else "stand-in")


def show(stops: list[float], starts: list[float], switches: list[Switch], loads: dict[str, Requests], server: str) -> None:
    """Both tables."""
    stop = statistics.median(stops)
    lines = {
        ("bare restart", "stop"): stops,
        ("", "cold start until ready"): starts,
        ("", "both"): [one + other for one, other in zip(stops, starts)],
        ("activation", "playbook start to proved"): [each.total for each in switches],
        ("", "  ansible-playbook until the module runs"): [each.before for each in switches],
        ("", "  the server's own stop and cold start"): [stop + each.cold for each in switches],
        ("", "  ours: the rest of the module"): [each.module - each.cold - stop for each in switches],
        ("", "    of it from ready to seen"): [each.detection for each in switches],
    }
    rows = [(*names, *(f"{value:.2f} s" for value in (statistics.median(found), min(found), max(found)))) for names, found in lines.items()]
    support.show((server, f"{len(switches)} rounds", "median", "min", "max"), rows)
    print()
    counts = [(name, f"{CLIENTS} clients", str(met.answered), str(met.cut), str(met.refused)) for name, met in loads.items()]
    support.show(("requests during a switch", "", "answered", "cut off", "nobody there"), counts)


if __name__ == "__main__":
    main()
