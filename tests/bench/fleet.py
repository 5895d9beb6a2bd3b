# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet saves: a model for 8 lab hosts from an origin behind a narrow line, by distribute.yml and by every host for itself.

    python tests/bench/fleet.py --hosts 8 --mib 512 --rate 100mbit

Needs root and the lab. All hosts share the processors, the memory and the disk of this machine with the controller and the hub, which a real fleet
does not, so the copies from host to host are slower here than there. What can be quoted is the ratio of both runs, and the bytes of the origin.
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "integration/hosts")]

from bench import support  # noqa: E402
from installs import Meter, digests_of, digests_on  # noqa: E402

from lab import debs, wheels  # noqa: E402
from lab.hosts import Lab  # noqa: E402
from lab.hub import Hub  # noqa: E402
from lab.settings import CHECKOUT, Settings  # noqa: E402

REPO = "bench/fleet"
MODELS = "/var/lib/venom/models"
WHEELS, DEBS = "/srv/wheels", "/srv/debs"
LAYER = "bench-fleet"
SUITE = "bookworm"


@dataclass(frozen=True)
class Run:
    """Of one playbook: seconds from its start to its end, and bytes that the origin sent for the model meanwhile."""

    seconds: float
    sent: int


class Fleet:
    """Prepared lab hosts, a hub, and playbooks run on all of them."""

    def __init__(self, scratch: Path, lab: Lab, hub: Hub) -> None:
        self._scratch = scratch
        self._lab = lab
        self.hub = hub

    def play(self, playbook: str, *arguments: str, **variables: t.Any) -> Run:
        """Run a playbook. ``Wrong`` when a host failed."""
        extra = self._scratch / "extra.json"
        shared = {"venom_hf_endpoint": self.hub.url, "venom_wheels_dir": WHEELS, "venom_ollama_managed": False}
        extra.write_text(json.dumps({**shared, **variables}), encoding="utf-8")
        meter = Meter(self.hub, f"*{REPO}/*")
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(self._lab.inventory), "--forks", "20"]
        cost, dummy = support.run(
            [*command, playbook, "-e", f"@{extra}", *arguments],
            scratch=self._scratch,
            ANSIBLE_COLLECTIONS_PATH=str(support.ROOT / "collections"),
            ANSIBLE_HOME=str(self._scratch / "ansible"),
            ANSIBLE_PIPELINING="1",
        )
        return Run(cost.seconds, meter.sent)

    def check(self, hosts: t.Sequence[str], folder: Path) -> None:
        """``Wrong`` unless every host has the right bytes, and nothing serves them any more."""
        wanted = digests_of(folder)
        for host in hosts:
            found = digests_on(self._lab, host, f"{MODELS}/hf/{REPO.replace('/', '--')}@{self.hub.store.repos[REPO].branches['main']}")
            support.need(found == wanted, f"{host} has other bytes than the hub")
            ports = self._lab.run(host, ["ss", "-Hltn"]).stdout
            support.need(len(ports.splitlines()) <= 2, f"something listens on {host}: {ports}")

    def clear(self, hosts: t.Sequence[str]) -> None:
        """The hosts without the model."""
        with ThreadPoolExecutor(len(hosts)) as pool:
            list(pool.map(lambda host: self._lab.run(host, ["sh", "-c", f"rm -rf {MODELS}/*"]), hosts))


@contextlib.contextmanager
def fleet(scratch: Path, count: int, rate: str) -> t.Iterator[Fleet]:
    """Boot and prepare: one host gets backend and nginx, and the others start from its disk."""
    lab = Lab(CHECKOUT / ".lab" / "fleet")
    folder = Settings.from_env().cache / "wheels"
    wheels.ensure(folder, names=["backend"])
    lab.down()
    try:
        packages = debs.ensure(lab.settings, SUITE, ("nginx", "haproxy", "python3-apt"))
        binds = [f"{folder}:{WHEELS}", f"{packages}:{DEBS}"]
        lab.up(1, SUITE, binds_ro=binds)
        debs.use(lab, "lab1", DEBS)
        with Hub(str(lab.settings.network.ip)) as hub:
            found = Fleet(scratch, lab, hub)
            found.play("venom.llm.install", venom_models=[])
            found.play("venom.llm.mirror")
            found.play("venom.llm.mirror", venom_mirror_state="absent")
            lab.save_layer(LAYER, "lab1")
            lab.up(count, SUITE, binds_ro=binds, layer=LAYER)
            # The first contact of ssh with a host is not what is measured.
            found.play("venom.llm.install", venom_models=[])
            lab.limit(urlsplit(hub.url).port or 0, rate)
            yield found
    finally:
        lab.down()


def main() -> None:
    """Boot, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, default=8, help="number of hosts (default 8)")
    parser.add_argument("--mib", type=int, default=512, help="size of the model in MiB (default 512)")
    parser.add_argument("--rate", default="100mbit", help="what the origin sends at most, as tc(8) writes it (default 100mbit)")
    parser.add_argument("--fanout", type=int, default=4, help="venom_distribute_fanout (default 4)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *dummy: sys.exit(143))
    hosts = [f"lab{number}" for number in range(1, arguments.hosts + 1)]
    with tempfile.TemporaryDirectory(prefix="venom-bench-") as name, fleet(Path(name), arguments.hosts, arguments.rate) as found:
        folder = Path(name) / "model"
        support.make_model(folder, 4, arguments.mib * support.MIB)
        found.hub.add_repo(REPO, folder)
        size = support.size_of(folder)
        wanted = {"venom_models": [{"name": REPO}], "venom_distribute_fanout": arguments.fanout}
        runs: dict[str, Run] = {}
        for title, playbook in (("distribute.yml", "venom.llm.distribute"), ("every host for itself", "venom.llm.install")):
            runs[title] = found.play(playbook, **wanted)
            print(f"{title}: {runs[title].seconds:.1f} s, {runs[title].sent} bytes of the origin", file=sys.stderr)
            found.check(hosts, folder)
            found.clear(hosts)
        alone = runs["every host for itself"].seconds
        print(f"{arguments.hosts} hosts, a model of {arguments.mib} MiB, origin at {arguments.rate}, {os.cpu_count()} processors for all")
        rows = [(title, f"{run.seconds:.1f} s", f"{run.seconds / alone:.2f}", f"{run.sent / size:.3f}") for title, run in runs.items()]
        support.show(("run", "seconds", "to alone", "bytes of the origin to the model"), rows)


if __name__ == "__main__":
    main()
