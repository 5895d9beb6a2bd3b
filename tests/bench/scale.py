# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet costs its controller: site.yml that changes nothing and a switch, for 8, 16 and 32 lab hosts, beside as many pings.

    python tests/bench/scale.py --hosts 8 16 32 --forks 5 20

Needs root and the lab. A light server stands in for vLLM, so a switch is the collection's own work. All hosts share this machine's processors with
the controller, which a real fleet does not: what can be quoted is the ratio to the pings of the same run, and the controller's memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "integration/hosts")]

from bench import support  # noqa: E402
from light_vllm import VARIABLES, LightVllm  # noqa: E402

from lab import layers, wheels  # noqa: E402
from lab.hosts import Lab  # noqa: E402
from lab.hub import Hub  # noqa: E402
from lab.hub.demo import add_demo  # noqa: E402
from lab.settings import CHECKOUT, Settings  # noqa: E402

AURORA, BOREALIS = "demo/tiny-aurora", "demo/tiny-borealis"
WHEELS = "/srv/wheels"
LAYER = "bench-scale"
BATCH = 8
#: inotify instances that a booted host takes: the seventeenth systemd found the default of 128 used up and ended.
WATCHERS = 8


@dataclass(frozen=True)
class Figures:
    """Of one playbook run: what it cost the controller, and how many tasks each host ran."""

    cost: support.Cost
    tasks: float
    changed: int


class Fleet:
    """So many lab hosts with everything installed, and playbooks run on the first of them."""

    def __init__(self, scratch: Path, lab: Lab, hub: Hub) -> None:
        self._scratch = scratch
        self._inventory = lab.inventory
        self._variables = {
            "venom_hf_endpoint": hub.url,
            "venom_wheels_dir": WHEELS,
            "venom_ollama_managed": False,
            "venom_models": [{"name": AURORA, "alias": "tiny-aurora"}, {"name": BOREALIS, "alias": "tiny-borealis"}],
            "venom_active": {"vllm": AURORA},
            **VARIABLES,
        }

    def play(self, playbook: str, hosts: int, forks: int, strategy: str = "linear", **variables: t.Any) -> Figures:
        """Run a playbook on the first ``hosts`` hosts. ``Wrong`` when a host failed."""
        extra, out = self._scratch / "extra.json", self._scratch / "times.jsonl"
        extra.write_text(json.dumps({**self._variables, **variables}), encoding="utf-8")
        out.unlink(missing_ok=True)
        limit = ",".join(f"lab{number}" for number in range(1, hosts + 1))
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(self._inventory), "--limit", limit, "--forks", str(forks)]
        cost, dummy = support.run(
            [*command, playbook, "-e", f"@{extra}"],
            scratch=self._scratch,
            ANSIBLE_COLLECTIONS_PATH=str(support.ROOT / "collections"),
            ANSIBLE_CALLBACK_PLUGINS=str(Path(__file__).with_name("callback_plugins")),
            ANSIBLE_CALLBACKS_ENABLED="venom_timing",
            ANSIBLE_HOME=str(self._scratch / "ansible"),
            ANSIBLE_PIPELINING="1",
            ANSIBLE_STRATEGY=strategy,
            VENOM_BENCH_OUT=str(out),
        )
        lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        return Figures(cost, len(lines) / hosts, sum(line["changed"] for line in lines))

    def pings(self, hosts: int, forks: int, count: int) -> Figures:
        """So many pings on each host."""
        book = self._scratch / "pings.json"
        play = {"hosts": "venom", "gather_facts": False, "become": True, "tasks": [{"ansible.builtin.ping": {}} for dummy in range(count)]}
        book.write_text(json.dumps([play]), encoding="utf-8")
        return self.play(str(book), hosts, forks)


@contextlib.contextmanager
def fleet(scratch: Path, count: int) -> t.Iterator[Fleet]:
    """Boot and install; one host is installed and the others start from its disk."""
    lab = Lab(CHECKOUT / ".lab" / "scale")
    folder = Settings.from_env().cache / "wheels"
    wheels.ensure(folder, names=["backend"])
    lab.down()
    try:
        lab.up(1, "bookworm", binds_ro=[f"{folder}:{WHEELS}"])
        with Hub(str(lab.settings.network.ip)) as hub:
            add_demo(hub, scratch / "models")
            found = Fleet(scratch, lab, hub)
            LightVllm(lab, "lab1").install()
            found.play("venom.llm.site", 1, 1, venom_models=[], venom_active={})
            lab.save_layer(LAYER, "lab1")
            # In steps: thirty that boot at once on two processors take more than the minute that each may take.
            for booted in (*range(BATCH, count, BATCH), count):
                lab.up(booted, "bookworm", binds_ro=[f"{folder}:{WHEELS}"], layer=LAYER)
            found.play("venom.llm.site", count, 20)
            yield found
    finally:
        lab.down()
        layers.remove(Settings.from_env(), LAYER, "bookworm")


def measure(found: Fleet, hosts: int, forks: int) -> list[tuple[str, Figures]]:
    """The rows of one size. ``Wrong`` when the run without a change changes something, or the switch does not switch every host."""
    idle = found.play("venom.llm.site", hosts, forks)
    support.need(idle.changed == 0, f"site.yml changed {idle.changed} tasks where nothing was to be done")
    pings = found.pings(hosts, forks, round(idle.tasks))
    installs = [(f"install.yml, no change, {strategy}", found.play("venom.llm.install", hosts, forks, strategy)) for strategy in ("linear", "free")]
    switch = found.play("venom.llm.activate", hosts, forks, venom_active={"vllm": BOREALIS})
    support.need(switch.changed == hosts, f"{switch.changed} hosts switched, wanted {hosts}")
    back = found.play("venom.llm.activate", hosts, forks)
    support.need(back.changed == hosts, f"{back.changed} hosts switched back, wanted {hosts}")
    return [("pings", pings), ("site.yml, no change", idle), *installs, ("activate.yml, switch", switch)]


def main() -> None:
    """Boot, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, nargs="+", default=[8, 16, 32], help="numbers of hosts (default 8 16 32)")
    parser.add_argument("--forks", type=int, nargs="+", default=[20], help="Ansible's forks (default 20)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *dummy: sys.exit(143))
    watchers = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text(encoding="ascii"))
    if watchers < WATCHERS * max(arguments.hosts):
        wanted = WATCHERS * max(arguments.hosts)
        parser.error(f"{max(arguments.hosts)} hosts need fs.inotify.max_user_instances={wanted}, here it is {watchers}: sysctl -w it first")
    rows = []
    with tempfile.TemporaryDirectory(prefix="venom-bench-") as folder, fleet(Path(folder), max(arguments.hosts)) as found:
        for hosts in arguments.hosts:
            for forks in arguments.forks:
                figures = measure(found, hosts, forks)
                base = figures[0][1].cost
                for name, one in figures:
                    cost = one.cost
                    rows.append(
                        (
                            f"{hosts} hosts, {forks} forks",
                            name,
                            f"{one.tasks:.0f}",
                            f"{cost.seconds:.1f} s",
                            f"{cost.seconds / hosts:.2f} s",
                            f"{cost.seconds / base.seconds:.2f}",
                            f"{cost.cpu:.1f} s",
                            f"{cost.peak / support.MIB:.0f} MiB",
                        )
                    )
    print(f"{os.cpu_count()} processors for the controller and all hosts together")
    support.show(("size", "run", "tasks a host", "seconds", "a host", "to pings", "controller CPU", "peak"), rows)


if __name__ == "__main__":
    main()
