# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rolling activation of the real vLLM on three lab hosts behind a real HAProxy under load: how long, and how many requests fail.

    python tests/bench/rolling.py --clients 4

Needs root, the lab, 8 GB of memory, and VENOM_TEST_VLLM_PYTHON as tests/tools/vllm.sh prints it: its packages are bound into the hosts. One roll to
another model, the same again, and one to a model that does not load, which has to leave every host as it was. Status 1 when a request failed.
All servers share this machine's processors, so latencies tell nothing of a real fleet.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import typing as t
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "integration/hosts")]

from bench.support import Wrong, need, show  # noqa: E402
from light_vllm import FOLDER, marker  # noqa: E402
from operators import Operator  # noqa: E402
from traffic import HAProxy, Traffic  # noqa: E402

from lab import debs, wheels  # noqa: E402
from lab.hosts import Lab  # noqa: E402
from lab.hub import Hub  # noqa: E402
from lab.hub.demo import add_demo  # noqa: E402
from lab.settings import CHECKOUT, Settings  # noqa: E402

AURORA, BOREALIS, BROKEN = "demo/tiny-aurora", "demo/tiny-borealis", "demo/tiny-broken"
ALIAS = "chat"
HOSTS = ("lab1", "lab2", "lab3")
BALANCER = "lab1"
VERSION = "0.32.0"
WHEELS, DEBS, PACKAGES = "/srv/wheels", "/srv/debs", "/srv/vllm-packages"
#: One GiB of KV cache, no compilation, two processes in place of three.
SERVING: dict[str, t.Any] = {
    "venom_ollama_managed": False,
    "venom_wheels_dir": WHEELS,
    "venom_vllm_version": VERSION,
    "venom_vllm_accelerator": "cpu",
    "venom_vllm_args": ["--max-model-len", "256", "--enforce-eager"],
    "venom_vllm_environment": {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"},
    "venom_vllm_host": "{{ ansible_host }}",
    "venom_models": [{"name": AURORA}, {"name": BOREALIS}, {"name": BROKEN}],
}
#: A virtual environment of the host's own interpreter around packages that are there already, which the role takes for a finished build.
_ENVIRONMENT = f"""\
mkdir -p {FOLDER}/{VERSION}/bin {FOLDER}/{VERSION}/lib/python3.11
ln -s /usr/bin/python3.11 {FOLDER}/{VERSION}/bin/python
ln -s {PACKAGES} {FOLDER}/{VERSION}/lib/python3.11/site-packages
printf 'home = /usr/bin\\ninclude-system-site-packages = false\\nversion = 3.11\\n' > {FOLDER}/{VERSION}/pyvenv.cfg
touch {FOLDER}/{VERSION}/{marker(VERSION, "3.11")}
"""


def add_broken(hub: Hub, folder: Path) -> None:
    """A model whose weights are not of the shape that its configuration says: all of its files are right, and vLLM cannot load it."""
    made = Path(shutil.copytree(folder / AURORA, folder / BROKEN))
    config = made / "config.json"
    said = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**said, "intermediate_size": said["intermediate_size"] * 2}), encoding="utf-8")
    hub.add_repo(BROKEN, made)


@contextlib.contextmanager
def fleet(scratch: Path) -> t.Iterator[tuple[Operator, HAProxy, str]]:
    """Three hosts that serve aurora, the first of them with HAProxy; its address."""
    python = os.environ.get("VENOM_TEST_VLLM_PYTHON")
    need(bool(python), "VENOM_TEST_VLLM_PYTHON does not name the interpreter of a venv with vLLM")
    packages = Path(str(python)).parents[1] / "lib" / "python3.11" / "site-packages"
    lab = Lab(CHECKOUT / ".lab" / "rolling")
    cache = Settings.from_env().cache / "wheels"
    wheels.ensure(cache, names=["backend"])
    lab.down()
    try:
        archive = debs.ensure(lab.settings, "bookworm", ["haproxy"])
        lab.up(len(HOSTS), "bookworm", binds_ro=[f"{cache}:{WHEELS}", f"{archive}:{DEBS}", f"{packages}:{PACKAGES}"])
        with Hub(str(lab.settings.network.ip)) as hub:
            add_demo(hub, scratch / "models")
            add_broken(hub, scratch / "models")
            for host in HOSTS:
                lab.run(host, ["sh", "-c", _ENVIRONMENT])
            debs.use(lab, BALANCER, DEBS)
            lab.run(BALANCER, ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "install", "--yes", "haproxy"])
            addresses = {host.name: host.address for host in lab.status()}
            haproxy = HAProxy(lab, BALANCER)
            haproxy.start({host: addresses[host] for host in HOSTS})
            behind = {"venom_balancer": "haproxy", "venom_balancer_hosts": [BALANCER], "venom_hf_endpoint": hub.url}
            operator = Operator(lab.inventory, scratch, {**SERVING, **behind})
            operator.play("site", "--tags", "host,vllm,models")
            operator.play("activate", venom_model_name=AURORA, venom_model_alias=ALIAS)
            yield operator, haproxy, addresses[BALANCER]
    finally:
        lab.down()


def measure(what: str, clients: int, address: str, work: t.Callable[[], object]) -> list[str]:
    """One line of the table: a play under load. ``Wrong`` when a request failed."""
    with Traffic(address, ALIAS, short=clients, long=0) as traffic:
        while len(traffic.answers) < 5 * clients:
            time.sleep(0.1)
        began = time.monotonic()
        work()
        seconds = time.monotonic() - began
    need(not traffic.failures, f"{what}: {len(traffic.failures)} requests failed, such as {traffic.failures[:1]}")
    took = sorted(answer.ended - answer.began for answer in traffic.answers)
    texts = ", ".join(f"{count} x {text[:24]!r}" for text, count in traffic.texts().items())
    return [what, f"{seconds:.0f}", str(len(took)), "0", f"{statistics.median(took):.2f}", f"{took[-1]:.2f}", texts]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=4, help="that ask side by side (default: %(default)s)")
    arguments = parser.parse_args()
    table: list[list[str]] = []
    with tempfile.TemporaryDirectory(prefix="venom-rolling-") as folder, fleet(Path(folder)) as (operator, haproxy, address):
        wanted: dict[str, t.Any] = {"venom_model_name": BOREALIS, "venom_model_alias": ALIAS}
        broken = {**wanted, "venom_model_name": BROKEN}
        table.append(measure("roll", arguments.clients, address, lambda: operator.play("activate", **wanted)))
        table.append(measure("again", arguments.clients, address, lambda: need(not operator.play("activate", **wanted).changed(), "changed")))
        table.append(measure("does not load", arguments.clients, address, lambda: operator.play("activate", expect=2, **broken)))
        need(set(haproxy.statuses().values()) == {"UP"}, f"servers are {haproxy.statuses()}")
    print(f"3 hosts with vLLM behind HAProxy, {arguments.clients} clients, one run")
    show(("play", "seconds", "requests", "failed", "median s", "longest s", "answers"), table)


if __name__ == "__main__":
    try:
        main()
    except Wrong as error:
        raise SystemExit(f"{Path(__file__).name}: {error}") from error
