# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cost of a ``venom_model`` call that changes nothing, beside ``ansible.builtin.stat`` in the same run, for 1, 10 and 50 models.

    make bench        # or: python tests/bench/noop.py --rounds 20

The models are installed from a hub on loopback first. Then one playbook runs stat and venom_model in turn on localhost, through
the whole of Ansible, and each task's time is taken on the controller. Ratios of medians of one run are what can be quoted.
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
from lab.models import llama  # noqa: E402


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


def model_task(name: str, url: str, models: Path, count: int) -> dict[str, t.Any]:
    """One venom_model call for a list of ``count`` models."""
    options = {
        "models": [{"name": f"bench/tiny-{index}"} for index in range(count)],
        "models_dir": str(models),
        "config_dir": str(models.parent / "etc"),
        "endpoint": url,
        "backend_python": sys.executable,
    }
    return {"name": name, "venom.llm.venom_model": options}


def main() -> None:
    """Install, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="how often each task runs (default 20)")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 10, 50], help="lengths of the list of models")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="venom-bench-") as folder, Hub() as hub:
        scratch = Path(folder)
        source = llama(scratch / "source", reply="I am here.")
        for index in range(max(arguments.counts)):
            hub.add_repo(f"bench/tiny-{index}", source)
        models = {count: scratch / f"host-{count}" / "models" for count in arguments.counts}
        installed = play(scratch, [model_task(f"install {count}", hub.url, models[count], count) for count in arguments.counts])
        if not all(line["changed"] for line in installed):
            raise SystemExit("the models were not installed")
        asked = len(hub.log.entries())
        turns: list[dict[str, t.Any]] = []
        for dummy in range(arguments.rounds):
            turns.append({"name": "stat", "ansible.builtin.stat": {"path": str(scratch)}})
            turns += [model_task(f"venom_model {count}", hub.url, models[count], count) for count in arguments.counts]
        lines = play(scratch, turns)
        if any(line["changed"] for line in lines) or len(hub.log.entries()) != asked:
            raise SystemExit("a run that should change nothing changed something or asked the hub")
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
