# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Systemd hosts, a hub on their bridge and an operator, for every test of this folder."""

from __future__ import annotations

import os
import re
import typing as t
from pathlib import Path

import pytest
from operators import TOKEN, Operator

from lab import debs
from lab.hosts import Lab
from lab.hub import Hub
from lab.hub.demo import add_demo
from lab.settings import CHECKOUT, Settings
from lab.wheels import ensure as ensure_wheels

#: Labs of tests that run side by side are told apart by this name, their bridges and subnets by the variables of the lab.
STATE = CHECKOUT / ".lab" / os.environ.get("VENOM_TEST_LAB", "pytest")
#: Where the hosts see the wheel folder.
WHEELS = "/srv/wheels"
#: Where the hosts see Debian packages, after ``debs.use(lab, host, DEBS)``; and what can be installed from there.
DEBS = "/srv/debs"
PACKAGES = ("nginx", "haproxy", "python3-apt")

#: The real vLLM in a size that a small machine serves: one GiB of KV cache, no compilation. Ollama has a file of tests of its own.
SERVING = {
    "venom_ollama_managed": False,
    "venom_wheels_dir": WHEELS,
    "venom_vllm_args": ["--max-model-len", "256", "--enforce-eager"],
    # A start takes half a minute, and five times as long on a busy machine.
    "venom_activation_health_timeout": 600,
    # Two processes in place of three start in a third less of processor time.
    "venom_vllm_environment": {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"},
}


@pytest.fixture(scope="session")
def wheels() -> Path:
    """The folder of wheels that hosts install from."""
    folder = Settings.from_env(STATE).cache / "wheels"
    ensure_wheels(folder)
    # Debian 13 has Python 3.13: the libraries of the modules only, there is no CPU build of torch for it on the default index.
    ensure_wheels(folder, "3.13", ["backend"])
    return folder


@pytest.fixture(scope="session")
def lab(wheels: Path, request: pytest.FixtureRequest) -> t.Iterator[Lab]:
    """Two Debian 12 hosts, lab1 and lab2, and lab3 with Debian 13, as far as the tests name them; gone afterwards whatever happened."""
    hosts = Lab(STATE)
    hosts.down()
    texts = [path.read_text(encoding="utf-8") for path in {item.path for item in request.session.items}]
    last = max(int(number) for text in texts for number in re.findall(r"\blab([1-3])\b", text))
    try:
        for count, suite in [(2, "bookworm"), (3, "trixie")][: 1 + (last > 2)]:
            packages = debs.ensure(hosts.settings, suite, PACKAGES)
            hosts.up(min(count, last), suite, binds_ro=[f"{wheels}:{WHEELS}", f"{packages}:{DEBS}"])
        yield hosts
    finally:
        hosts.down()


@pytest.fixture(scope="session")
def hub(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Hub]:
    """The hub that the hosts see, with the two models of the demo; another one of the same kind is gated."""
    address = str(lab.settings.network.ip)
    with Hub(address, tokens={TOKEN: "operator"}) as running:
        folder = tmp_path_factory.mktemp("models")
        add_demo(running, folder)
        running.add_repo("demo/tiny-gated", folder / "demo/tiny-aurora")
        running.configure("demo/tiny-gated", gated="manual", readers={"operator"})
        yield running


@pytest.fixture
def operator(lab: Lab, hub: Hub, tmp_path: Path) -> Operator:
    """An operator with a fresh folder, the lab's inventory and the lab's hub."""
    return Operator(lab.inventory, tmp_path, {"venom_hf_endpoint": hub.url, **SERVING})
