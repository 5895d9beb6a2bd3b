# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Activations broken on purpose with the real vLLM under a real systemd, where the real server matters: what it makes of bad models, and its death.

The tests are one story in order, as each start of the server costs half a minute: three models that do not load on a host that has
none, then a good one, which has to come back. What was seen is the part "The real vLLM" of ``docs/failures.md``. The build is that of
``VENOM_TEST_VLLM_PYTHON``, whose packages the host sees beside its own interpreter.
"""
from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from break_units import CONDITIONS, HERE, PYTHONPATH, UNIT
from integration import breaks, failures_page
from integration.break_stage import whose
from integration.breaks import BEFORE, NOTHING, Break
from integration.failures_page import Outcome

from lab.hosts import Lab
from lab.settings import CHECKOUT

pytestmark = [pytest.mark.hosts, pytest.mark.vllm]

DRIVER = f"{HERE}/tests/integration/hosts/break_driver_vllm.py"
PACKAGES = "/srv/vllm-packages"
#: A virtual environment of the host's own interpreter around packages that are there already.
_ENVIRONMENT = f"""\
mkdir -p /srv/vllm/bin /srv/vllm/lib/python3.11
ln -s /usr/bin/python3.11 /srv/vllm/bin/python
ln -s {PACKAGES} /srv/vllm/lib/python3.11/site-packages
printf 'home = /usr/bin\\ninclude-system-site-packages = false\\nversion = 3.11\\n' > /srv/vllm/pyvenv.cfg
"""


class Host:
    """The host, and which good model serves there."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.name = lab, "lab1"
        self.before: str | None = None

    def shell(self, script: str) -> str:
        return self.lab.run(self.name, ["sh", "-c", script]).stdout.strip()

    def argv(self, order: dict[str, t.Any]) -> list[str]:
        return ["env", f"PYTHONPATH={PYTHONPATH}", "PYTHONPYCACHEPREFIX=/var/cache/python", "python3", DRIVER, json.dumps(order)]

    def tell(self, **order: t.Any) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
        """The result, if something was to be done, and what serves now."""
        result, seen = json.loads(self.lab.run(self.name, self.argv(order), timeout=900).stdout)
        return result, seen

    def main_pid(self) -> int:
        return int(self.shell("systemctl show -P MainPID venom-vllm.service"))


@pytest.fixture(scope="module")
def host() -> t.Iterator[Host]:
    python = os.environ.get("VENOM_TEST_VLLM_PYTHON")
    if not python:
        pytest.fail("VENOM_TEST_VLLM_PYTHON does not name the interpreter of a venv with vLLM")
    packages = Path(python).parents[1] / "lib" / "python3.11" / "site-packages"
    assert packages.is_dir(), "the packages have to be those of Debian 12's series of Python"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VENOM_LAB_BRIDGE", "venomlabV")
        patch.setenv("VENOM_LAB_NETWORK", "10.218.101.1/24")
        lab = Lab(CHECKOUT / ".lab" / "breaks-vllm")
        lab.down()
        try:
            lab.up(1, "bookworm", binds_ro=[f"{CHECKOUT}:{HERE}", f"{packages}:{PACKAGES}"])
            made = Host(lab)
            made.shell(_ENVIRONMENT)
            template = (CHECKOUT / "templates" / "venom-vllm.service.j2").read_text(encoding="utf-8")
            (line,) = (line for line in template.splitlines() if line.startswith("ExecStart="))
            command = line.replace("{{ _venom_vllm_current }}", "/srv/vllm")
            unit = UNIT.format(runtime="vllm", command=command, conditions=CONDITIONS)
            lab.run("lab1", ["tee", "/etc/systemd/system/venom-vllm.service"], stdin=unit)
            made.shell("systemctl daemon-reload")
            yield made
        finally:
            lab.down()


def judge(case: Break, host: Host, result: dict[str, t.Any], seen: dict[str, t.Any]) -> None:
    """The result and what serves are as the catalogue says; where nothing serves, nothing runs."""
    outcome = Outcome(
        result.get("step", ""), result.get("reason_code", ""), result.get("cause", ""), tuple(result.get("log_tail", ())),
        result.get("rolled_back"), whose(seen["serving"], host.before),
    )  # fmt: skip
    assert (outcome.step, outcome.reason, outcome.serves, outcome.rolled_back) == (case.step, case.reason, case.serves, case.rolled_back), result
    assert case.said in outcome.cause and outcome.log and seen["committed"] == host.before
    if case.serves == NOTHING:
        assert (seen["service"], seen["pids"], seen["unit_pid"]) == ("stopped", [], 0)
        # Longer than systemd waits before it starts a failed server again.
        assert host.shell("sleep 0.7; systemctl show -P ActiveState venom-vllm.service") == "inactive"
    else:
        assert case.serves == BEFORE and seen["status"] == "online" and seen["pid"] == seen["unit_pid"]
    failures_page.check(case, outcome)


def case_of(name: str) -> Break:
    """The row of the catalogue."""
    return next(case for case in breaks.of("real") if case.name == name)


@pytest.mark.parametrize("case", [case for case in breaks.of("real") if "model" in case.do], ids=lambda case: case.name)
def test_a_model_that_does_not_load(host: Host, case: Break) -> None:
    result, seen = host.tell(activate=case.do["model"])
    judge(case, host, result, seen)


def test_a_server_that_is_killed_while_it_starts(host: Host) -> None:
    result, seen = host.tell(activate="one")
    assert result["changed"] and seen["serving"] == "one" and seen["status"] == "online", result
    host.before = "one"
    old = host.main_pid()
    argv = " ".join(f"'{word}'" for word in host.argv({"activate": "two"}))
    running = subprocess.Popen([*host.lab.ssh_argv(host.name), argv], stdout=subprocess.PIPE, text=True)
    new = f"pid=$(systemctl show -P MainPID venom-vllm.service); [ $pid != 0 ] && [ $pid != {old} ]"
    # By now it has begun to load its libraries.
    host.shell(f"for dummy in $(seq 600); do {new} && break; sleep 0.1; done; sleep 2; kill -9 $(systemctl show -P MainPID venom-vllm.service)")
    result, seen = json.loads(running.communicate(timeout=900)[0])
    judge(case_of("the server is killed while it starts"), host, result, seen)


def test_settings_that_serve_other_bytes_under_the_name(host: Host) -> None:
    result, seen = host.tell(args="--model {two}", activate="one")
    judge(case_of("settings that serve other bytes under the name"), host, result, seen)
