# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A long install over ssh: progress with and without pipelining and sudo, and a line that is cut in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
import typing as t

import pytest
from operators import BIN, Operator

from lab.hosts import Lab
from lab.hub import Hub
from lab.models import safetensors

pytestmark = pytest.mark.hosts

HOST = "lab1"
MODEL = "demo/tiny-slow"
WEIGHTS = 4_000_000
ACCOUNT = "deploy"
LINE = re.compile(rf"^{HOST} \| {MODEL}: (\d+)% \([\d.]+ of 4\.0 MB\)", re.MULTILINE)
#: Of its own, so that other tests of the session keep their models.
MODELS_DIR = "/var/lib/venom/progress"


@pytest.fixture(scope="module", autouse=True)
def prepared(lab: Lab, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The host has its backend and an account that may become root; the hub has a model that takes its time."""
    operator = Operator(lab.inventory, tmp_path_factory.mktemp("prepare"), {"venom_hf_endpoint": hub.url, "venom_wheels_dir": "/srv/wheels"})
    operator.play("site", "--tags", "host", "--limit", HOST)
    script = (
        f"id {ACCOUNT} || useradd --create-home --shell /bin/bash {ACCOUNT}; "
        f"install -d -m 0700 -o {ACCOUNT} -g {ACCOUNT} /home/{ACCOUNT}/.ssh; "
        f"install -m 0600 -o {ACCOUNT} -g {ACCOUNT} /root/.ssh/authorized_keys /home/{ACCOUNT}/.ssh/authorized_keys; "
        f"echo '{ACCOUNT} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{ACCOUNT}"
    )
    lab.run(HOST, ["sh", "-c", script])
    folder = tmp_path_factory.mktemp("slow")
    safetensors.write_model(folder, [safetensors.constant("weight", (1000, WEIGHTS // 2000), 7)])
    safetensors.write_json(folder / "config.json", {"architectures": ["TestModel"], "max_position_embeddings": 128})
    hub.add_repo(MODEL, folder)


@pytest.fixture
def steady(lab: Lab, hub: Hub) -> t.Iterator[None]:
    """The model is not on the host, and takes about eight seconds to come there."""
    lab.run(HOST, ["rm", "-rf", MODELS_DIR])
    fault = hub.fault("slow", path=f"*{MODEL}*", rate=WEIGHTS / 8)
    yield
    # Used up: other tests of the session have faults of their own.
    fault.times = fault.hits


class Run:
    """A play that is watched while it runs."""

    def __init__(self, operator: Operator, hub: Hub, pipelining: bool, **variables: t.Any) -> None:
        options = {"name": MODEL, "models_dir": MODELS_DIR, "endpoint": hub.url, "operation_wait": 0.5, "reserve_gib": 0, "retries": 0}
        book = operator.scratch / "slow.json"
        tasks = [{"name": "Model", "venom.llm.venom_model": options}]
        book.write_text(json.dumps([{"hosts": HOST, "gather_facts": False, "become": True, "tasks": tasks}]), encoding="utf-8")
        # The lab's inventory says how to connect, so only a variable of the command line can say otherwise.
        extra = json.dumps({"venom_progress_interval": 1, "ansible_pipelining": pipelining, **variables})
        self.log = operator.scratch / "tasks.jsonl"
        self.log.unlink(missing_ok=True)
        environment = operator.environment(self.log, None)
        self._output = operator.scratch / "output"
        with self._output.open("w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                [str(BIN / "ansible-playbook"), "-i", str(operator.inventory), str(book), "-e", extra],
                cwd=operator.scratch, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def printed(self) -> str:
        """Everything so far."""
        return self._output.read_text(encoding="utf-8")

    def result(self) -> dict[str, t.Any]:
        """The end of it, as the task saw it."""
        assert self.process.wait(120) == 0, self.printed()[-3000:]
        return t.cast("dict[str, t.Any]", json.loads(self.log.read_text(encoding="utf-8").splitlines()[-1]))


@contextlib.contextmanager
def running(operator: Operator, hub: Hub, pipelining: bool = True, **variables: t.Any) -> t.Iterator[Run]:
    """A play, and nothing of it afterwards."""
    run = Run(operator, hub, pipelining, **variables)
    try:
        yield run
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()


def wait_for(what: t.Callable[[], t.Any], seconds: float = 120.0) -> t.Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = what()
        if answer:
            return answer
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


def workers(lab: Lab) -> list[str]:
    """Accounts that workers run under."""
    return lab.run(HOST, ["sh", "-c", "ps -eo user=,args= | grep 'worker import main' | grep -v grep | cut -d' ' -f1"]).stdout.split()


@pytest.mark.parametrize("user", ["root", ACCOUNT])
@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelining", "files"])
def test_progress_over_ssh(lab: Lab, hub: Hub, operator: Operator, steady: None, pipelining: bool, user: str) -> None:
    with running(operator, hub, pipelining, ansible_user=user) as run:
        wait_for(lambda: LINE.search(run.printed()))
        assert set(workers(lab)) == {"root"}
        assert run.result()["changed"] is True
    shown = [int(percent) for percent in LINE.findall(run.printed())]
    assert len(shown) >= 3 and shown == sorted(shown)
    assert workers(lab) == []
    assert lab.run(HOST, ["sh", "-c", f"ls -A {MODELS_DIR}/calls 2>/dev/null; ls -A /root/.ansible/tmp 2>/dev/null || true"]).stdout.split() == []


def test_a_line_that_is_cut_for_some_seconds_costs_nothing(lab: Lab, hub: Hub, operator: Operator, steady: None) -> None:
    asked = len(hub.log.entries())
    with running(operator, hub) as run:
        wait_for(lambda: LINE.search(run.printed()))
        lab.cut(HOST)
        try:
            lab.close_connections()
            wait_for(lambda: "the connection was lost" in run.printed())
        finally:
            lab.heal(HOST)
        assert run.result()["changed"] is True
    assert "UNREACHABLE" not in run.printed()
    fetched = [entry for entry in hub.log.entries()[asked:] if entry.path.endswith("model.safetensors") and entry.method == "GET"]
    assert sum(entry.sent for entry in fetched) < 2 * WEIGHTS, "the host went on by itself, so nothing was fetched a second time"


def test_interrupting_the_play_stops_the_host(lab: Lab, hub: Hub, operator: Operator, steady: None) -> None:
    with running(operator, hub) as run:
        wait_for(lambda: LINE.search(run.printed()))
        os.killpg(run.process.pid, signal.SIGINT)
        run.process.wait(120)
        wait_for(lambda: workers(lab) == [])
    assert json.loads(lab.run(HOST, ["sh", "-c", f"cat {MODELS_DIR}/operations/*.json"]).stdout)["status"] == "cancelled"
    with running(operator, hub) as again:
        assert again.result()["changed"] is True


def test_a_host_that_reboots_goes_on_when_it_is_back(lab: Lab, hub: Hub, operator: Operator, steady: None) -> None:
    with running(operator, hub) as run:
        wait_for(lambda: LINE.search(run.printed()))
        lab.power_cut(HOST)
        lab.boot(HOST)
        assert run.result()["changed"] is True
    assert "it is started once more" in run.printed()
