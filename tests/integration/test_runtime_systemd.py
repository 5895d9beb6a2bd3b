# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of ``venom_runtime`` under a real systemd of Debian 12 and 13, with the stand-in server in the place of vLLM."""
from __future__ import annotations

import json
import typing as t

import pytest

from lab.hosts import Lab
from lab.settings import CHECKOUT

pytestmark = pytest.mark.hosts

COLLECTIONS = "/srv/collections"
UNIT = """\
[Unit]
ConditionPathExists=|/srv/venom/config/vllm.active.env
ConditionPathExists=|/run/venom/vllm.trial.env
StartLimitIntervalSec=3600
StartLimitBurst=3
[Service]
Type=exec
EnvironmentFile=/srv/venom/config/vllm.env
EnvironmentFile=-/srv/venom/config/vllm.active.env
EnvironmentFile=-/run/venom/vllm.trial.env
{exec_start}
StandardOutput=append:/srv/venom/log/vllm.log
StandardError=inherit
Restart=on-failure
RestartSec=60
[Install]
WantedBy=multi-user.target
"""
#: Runs on the host: what it is told on standard input, as calls of the stand-in host; prints the results.
DRIVER = """
import json, os, sys
from pathlib import Path
from ansible_collections.venom.llm.plugins.module_utils import activation
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeHost
host = FakeHost.__new__(FakeHost)
host.root, host.port, host.warnings, host.python = Path("/srv/venom"), 8001, [], Path("/srv/venom/venv/bin/python")
results = []
for options in json.loads(sys.argv[1]):
    try:
        if "install" in options:
            host.install(options.pop("install"), **options)
        elif options == {}:
            FakeHost(host.root)
            host.write_settings()
        elif "kill" in options:
            step = options.pop("kill")
            if os.fork() == 0:
                activation.STEPS[step] = lambda transaction: os.kill(os.getpid(), 9)
                host.call(supervisor="auto", run_dir="/run/venom", **options)
            os.wait()
        else:
            results.append(host.call(supervisor="auto", run_dir="/run/venom", **options))
    except VenomError as error:
        results.append(error.to_result())
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def lab() -> t.Iterator[Lab]:
    """One host of each suite, in a lab beside that of the other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VENOM_LAB_BRIDGE", "venomlabR")
        patch.setenv("VENOM_LAB_NETWORK", "10.217.0.1/24")
        hosts = Lab(CHECKOUT / ".lab" / "runtime")
        hosts.down()
        try:
            hosts.up(2, "mixed", binds_ro=[f"{CHECKOUT}:{COLLECTIONS}/ansible_collections/venom/llm"])
            yield hosts
        finally:
            hosts.down()


class Remote:
    """Calls of ``venom_runtime`` on one host of the lab."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name

    def shell(self, script: str) -> str:
        return self.lab.run(self.name, ["sh", "-c", script]).stdout.strip()

    def call(self, *calls: dict[str, t.Any]) -> list[dict[str, t.Any]]:
        environment = ["env", f"PYTHONPATH={COLLECTIONS}", "PYTHONPYCACHEPREFIX=/var/cache/python"]
        done = self.lab.run(self.name, [*environment, "python3", "-c", DRIVER, json.dumps(calls)])
        return t.cast("list[dict[str, t.Any]]", json.loads(done.stdout))

    def activate(self, model: str) -> dict[str, t.Any]:
        return self.call({"state": "active", "model": model})[0]

    def main_pid(self) -> int:
        return int(self.shell("systemctl show -P MainPID venom-vllm.service"))


@pytest.fixture(params=["lab1", "lab2"])
def host(lab: Lab, request: pytest.FixtureRequest) -> Remote:
    remote = Remote(lab, request.param)
    template = (CHECKOUT / "templates" / "venom-vllm.service.j2").read_text()
    line = next(line for line in template.splitlines() if line.startswith("ExecStart="))
    unit = UNIT.format(exec_start=line.replace("{{ _venom_vllm_current }}", "/srv/venom/venv"))
    remote.call({}, *[{"install": f"lab/{name}", **more} for name, more in MODELS.items()])
    lab.run(remote.name, ["sh", "-c", "cat > /etc/systemd/system/venom-vllm.service; systemctl daemon-reload"], stdin=unit)
    return remote


def _others(lab: Lab, host: Remote) -> None:
    """A unit of somebody else: refused while it only waits for a boot, and while it runs; ended when it is adopted."""
    unit = (
        "[Service]\nExecStart=/srv/venom/venv/bin/python -m vllm.entrypoints.openai.api_server --model /tmp --served-model-name x"
        " --host 127.0.0.1 --port 8001\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    lab.run(host.name, ["sh", "-c", "cat > /etc/systemd/system/their-vllm.service; systemctl daemon-reload"], stdin=unit)
    host.shell("systemctl enable their-vllm.service")
    (waiting,) = host.call({"state": "active", "model": "lab/a"})
    assert waiting["reason_code"] == "duplicate_server" and waiting["unit"] == "their-vllm.service", waiting
    host.call({"state": "stopped"})
    host.shell("systemctl start their-vllm.service; until systemctl is-active their-vllm.service && ss -tln | grep -q :8001; do sleep 0.1; done")
    (running,) = host.call({"state": "started"})
    assert running["reason_code"] == "duplicate_server" and running["listener"]["unit"] == "their-vllm.service", running
    adopted, again = host.call(*[{"state": "active", "model": "lab/a", "adopt": True}] * 2)
    assert adopted["changed"] and adopted["status"]["status"] == "online" and not again["changed"], adopted
    assert host.shell("systemctl is-enabled their-vllm.service || true; systemctl is-active their-vllm.service || true") == "disabled\ninactive"


MODELS: dict[str, dict[str, t.Any]] = {
    "a": {},
    "b": {},
    "stubborn": {"children": 2, "ignore_term": True},
    "dies": {"die": 3},
    "mute": {"text": ""},
}


def test_the_whole_life_of_a_unit(lab: Lab, host: Remote) -> None:
    first = host.activate("lab/a")
    assert first["changed"] and first["status"]["status"] == "online" and first["status"]["enabled"], first
    assert first["status"]["supervisor"] == "systemd" and first["status"]["pid"] == host.main_pid()
    again = host.activate("lab/a")
    assert not again["changed"] and again["status"]["pid"] == first["status"]["pid"]

    # Every process of a server that ignores SIGTERM is gone after the switch.
    stubborn = host.activate("lab/stubborn")
    assert len(stubborn["status"]["pids"]) == 3
    assert host.activate("lab/a")["status"]["status"] == "online"
    left = host.shell(f"ps -o pid= -p {','.join(map(str, stubborn['status']['pids']))} || true")
    assert left == ""

    for model, step in (("lab/dies", "start"), ("lab/mute", "prove")):
        failed = host.activate(model)
        assert failed["reason_code"] == "activation_failed" and failed["step"] == step and failed["rolled_back"], failed
        assert host.call({"state": "probed"})[0]["status"]["active_model"] == "lab/a"

    # systemd would start it again by itself in a minute; the activation does not wait for that.
    host.shell(f"kill -9 {host.main_pid()}")
    assert host.activate("lab/a")["status"]["status"] == "online"

    host.shell(
        "mkdir -p /etc/systemd/system/venom-vllm.service.d; systemctl daemon-reload;"
        "printf '[Service]\\nEnvironment=A=1\\n' > /etc/systemd/system/venom-vllm.service.d/operator.conf; systemctl daemon-reload"
    )
    assert host.activate("lab/a")["plan"]["reasons"] == ["its settings are not those it was started with"]
    assert not host.activate("lab/a")["changed"]

    # More starts than the start limit allows, all of them asked for.
    for restarted in host.call(*[{"state": "restarted"}] * 4):
        assert restarted["status"]["status"] == "online", restarted

    # The power goes while another model serves on trial: the committed one boots, and the next run only tidies up.
    host.call({"state": "active", "model": "lab/b", "kill": "prove"})
    assert "serves b from" in host.call({"state": "probed"})[0]["cause"]
    lab.power_cut(host.name)
    lab.boot(host.name)
    assert host.call({"state": "probed"})[0]["status"]["served_models"] == ["a"]
    booted, again = host.call({"state": "active", "model": "lab/a"}, {"state": "active", "model": "lab/a"})
    assert booted["plan"]["steps"][0] == "settle" and booted["status"]["status"] == "online", booted
    assert not again["changed"] and again["status"]["pid"] == booted["status"]["pid"] == host.main_pid()

    _others(lab, host)
    stopped, twice = host.call({"state": "stopped", "enabled": False}, {"state": "stopped", "enabled": False})
    assert stopped["changed"] and not twice["changed"] and not twice["status"]["enabled"] and twice["status"]["pids"] == []
    assert twice["status"]["set_aside"]

    # systemd holds the port for a socket of somebody: nobody ends PID 1 for that, whoever adopts.
    host.shell(
        "cd /run/systemd/system; printf '[Socket]\\nListenStream=127.0.0.1:8001\\n' > theirs.socket;"
        "printf '[Service]\\nExecStart=/bin/true\\n' > theirs.service;"
        "systemctl daemon-reload; systemctl start theirs.socket"
    )
    (refused,) = host.call({"state": "active", "model": "lab/a", "adopt": True})
    assert refused["reason_code"] == "port_in_use" and "theirs.socket" in refused["msg"], refused
    assert host.shell("systemctl is-active theirs.socket") == "active"
