# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another version of vLLM beside the one that runs: taken when it serves, given back when it does not, old ones kept as many as said.

Versions are folders with the stand-in server, so one costs nothing; what is shown is who moves the link, when, and back.
"""

from __future__ import annotations

import hashlib
import typing as t

import pytest
import yaml
from operators import ROOT, Operator

from lab.hosts import Lab

pytestmark = pytest.mark.hosts

HOST = "lab2"
FOLDER = "/opt/venom/vllm"
STAND_IN = ROOT / "tests/unit/plugins/module_utils/stand_in_vllm.py"
FIRST, SECOND, BROKEN = "0.32.0", "0.33.0", "0.34.0"
MODEL = "demo/tiny-aurora"
DECLARED: dict[str, t.Any] = {
    "venom_models": [{"name": MODEL, "alias": "tiny-aurora"}],
    "venom_active": {"vllm": MODEL},
    "venom_vllm_accelerator": "cpu",
    "venom_vllm_args": [],
}


def sh(lab: Lab, script: str) -> str:
    """What a shell on the host prints."""
    return lab.run(HOST, ["sh", "-ec", script]).stdout.strip()


@pytest.fixture(autouse=True)
def bare(lab: Lab) -> t.Iterator[None]:
    """No vLLM on the host before, whatever other tests left there, and none after."""
    clear = f"systemctl disable --now venom-vllm 2>&1 || true; rm -rf {FOLDER} /etc/venom/runtime.json /etc/venom/vllm.active.env*"
    sh(lab, clear)
    yield
    sh(lab, clear)


def put_version(lab: Lab, version: str, program: str) -> None:
    """A finished build of the version, as the role would leave it, whose interpreter is this shell script."""
    torch = yaml.safe_load((ROOT / "roles/vllm/defaults/main.yml").read_text(encoding="utf-8"))["venom_vllm_cpu_torch"]
    series = sh(lab, "python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'")
    spec = "\n".join([f"python {series}", f"vllm-cpu=={version}", torch])
    marker = f".venom-{hashlib.sha256(spec.encode()).hexdigest()[:16]}"
    path = f"{FOLDER}/{version}"
    sh(lab, f"install -d {path}/bin; printf '#!/bin/sh\\n{program}\\n' > {path}/bin/python; chmod 755 {path}/bin/python; touch {path}/{marker}")


def put_server(lab: Lab, version: str) -> None:
    """A version that serves."""
    put_version(lab, version, f'exec python3 {FOLDER}/{version}/server.py "$@"')
    lab.run(HOST, ["sh", "-ec", f"cat > {FOLDER}/{version}/server.py"], stdin=STAND_IN.read_text(encoding="utf-8"))


def runs(lab: Lab) -> tuple[str, str, list[str]]:
    """The version that the link names, that of the process that serves, and all that are installed."""
    command = sh(lab, "tr '\\0' ' ' < /proc/$(systemctl show -p MainPID --value venom-vllm)/cmdline")
    served = next((version for version in (FIRST, SECOND, BROKEN) if f"/{version}/" in command), command)
    return sh(lab, f"readlink {FOLDER}/current"), served, sh(lab, f"ls {FOLDER} | grep -v current").split()


def test_a_version_is_taken_when_it_serves_and_given_back_when_it_does_not(lab: Lab, operator: Operator) -> None:
    put_server(lab, FIRST)
    operator.play("site", "--limit", HOST, venom_vllm_version=FIRST, **DECLARED)
    assert runs(lab) == (FIRST, FIRST, [FIRST])

    put_server(lab, SECOND)
    # Installed, and not yet run: only the activation moves the link.
    operator.play("site", "--limit", HOST, "--tags", "vllm", venom_vllm_version=SECOND, **DECLARED)
    assert runs(lab) == (FIRST, FIRST, [FIRST, SECOND])
    announced = operator.play("site", "--limit", HOST, "--tags", "vllm,activate", "--check", venom_vllm_version=SECOND, **DECLARED)
    upgrade = operator.play("site", "--limit", HOST, "--tags", "vllm,activate", venom_vllm_version=SECOND, **DECLARED)
    assert upgrade.changed() == announced.changed() != []
    assert runs(lab) == (SECOND, SECOND, [FIRST, SECOND])

    put_version(lab, BROKEN, "exit 3")
    failed = operator.play("site", "--limit", HOST, "--tags", "vllm,activate", expect=2, venom_vllm_version=BROKEN, **DECLARED)
    assert '"reason_code": "activation_failed"' in failed.output and '"rolled_back": true' in failed.output, failed.output[-2000:]
    # The oldest made room: two are kept, and these are the wanted one and the one that runs.
    assert runs(lab) == (SECOND, SECOND, [SECOND, BROKEN])
    assert operator.play("site", "--limit", HOST, "--tags", "vllm,activate", venom_vllm_version=SECOND, **DECLARED).changed() == []
