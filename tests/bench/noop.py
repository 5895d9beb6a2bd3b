# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cost of a ``venom_model`` call that changes nothing, beside ``ansible.builtin.stat`` in the same run, for 1, 10 and 50 models.

    make bench        # or: python tests/bench/noop.py --rounds 20

The models are installed from a hub on loopback first, and as many Ollama models from a registry into a store (method ``store``). Then one
playbook runs stat and venom_model in turn on localhost, through the whole of Ansible, and each task's time is taken on the controller. Ratios
of medians of one run are what can be quoted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from lab.hub import Hub  # noqa: E402
from lab.models import llama, ollama_layers  # noqa: E402
from lab.registry import Registry  # noqa: E402


def play(scratch: Path, tasks: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Run the tasks on localhost under the system's Python, as on a managed host; the time of each."""
    book, out = scratch / "play.json", scratch / "times.jsonl"
    out.unlink(missing_ok=True)
    book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    environment = dict(
        os.environ,
        ANSIBLE_COLLECTIONS_PATH=str(ROOT / "collections"),
        ANSIBLE_CALLBACK_PLUGINS=str(Path(__file__).with_name("callback_plugins")),
        ANSIBLE_CALLBACKS_ENABLED="venom_timing",
        ANSIBLE_HOME=str(scratch / "ansible"),
        ANSIBLE_PIPELINING="1",
        VENOM_BENCH_OUT=str(out),
    )
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", str(book)]
    command += ["-e", f"ansible_python_interpreter={os.path.realpath(sys.executable)}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-4000:] + done.stderr[-2000:])
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


class Host:
    """Where so many models go."""

    def __init__(self, folder: Path, hub: Hub, registry: Registry, count: int) -> None:
        self._count = count
        self._options = {
            "models_dir": str(folder / "models"),
            "config_dir": str(folder / "etc"),
            "backend_python": sys.executable,
            "endpoint": hub.url,
            "registry": registry.url,
            "allowed_hosts": [str(registry.cdn_url).rpartition("//")[2]],
            "ollama_method": "store",
            "ollama_models_dir": str(folder / "store"),
        }

    def tasks(self) -> list[dict[str, t.Any]]:
        """A venom_model call for a list of models of the hub, and one for a list of Ollama's."""
        return [self._task("venom_model", "bench/tiny-{}"), self._task("ollama store", "tiny-{}:mini")]

    def _task(self, what: str, name: str) -> dict[str, t.Any]:
        models = [{"name": name.format(index)} for index in range(self._count)]
        return {"name": f"{what} {self._count}", "venom.llm.venom_model": {"models": models, **self._options}}


def main() -> None:
    """Install, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="how often each task runs (default 20)")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 10, 50], help="lengths of the list of models")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="venom-bench-") as folder, Hub() as hub, Registry() as registry:
        scratch = Path(folder)
        source = llama(scratch / "source", reply="I am here.")
        for index in range(max(arguments.counts)):
            hub.add_repo(f"bench/tiny-{index}", source)
            config, layers = ollama_layers(scratch / f"layers-{index}", seed=index)
            registry.add(f"library/tiny-{index}", "mini", layers, config)
        hosts = [Host(scratch / f"host-{count}", hub, registry, count) for count in arguments.counts]
        installed = play(scratch, [task for host in hosts for task in host.tasks()])
        if not all(line["changed"] for line in installed):
            raise SystemExit("the models were not installed")
        asked = len(hub.log.entries()) + len(registry.log.entries())
        turns: list[dict[str, t.Any]] = []
        for dummy in range(arguments.rounds):
            turns.append({"name": "stat", "ansible.builtin.stat": {"path": str(scratch)}})
            turns += [task for host in hosts for task in host.tasks()]
        lines = play(scratch, turns)
        if any(line["changed"] for line in lines) or len(hub.log.entries()) + len(registry.log.entries()) != asked:
            raise SystemExit("a run that should change nothing changed something or asked the hub or the registry")
    times: dict[str, list[float]] = {}
    for line in lines:
        times.setdefault(line["task"], []).append(line["seconds"])
    base = statistics.median(times["stat"])
    print(f"{'task':<18} {'median':>8} {'min':>8} {'max':>8} {'ratio to stat':>14}   ({arguments.rounds} rounds, one run)")
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"{name:<18} {median:>7.3f}s {min(seconds):>7.3f}s {max(seconds):>7.3f}s {median / base:>14.2f}")


if __name__ == "__main__":
    main()
