# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of a server that goes on writing, rotated by the host's own logrotate: by size, by age, and never more than was said."""

from __future__ import annotations

import pytest
from operators import Operator

from lab.hosts import Lab

pytestmark = pytest.mark.hosts

HOST = "lab2"
FOLDER = "/var/log/venom"
LOG = f"{FOLDER}/vllm.log"
SMALL = {"venom_vllm_log_max_size": "64k", "venom_vllm_log_keep": 3, "venom_vllm_log_max_age_days": 2}
#: As a unit's server has it: the file is opened once, for appending, and stays open.
WRITER = "import itertools, time\nfor number in itertools.count():\n    print(f'line {number:08d}', flush=True)\n    time.sleep(0.02)\n"
UNIT = "venom-writer.service"


def sh(lab: Lab, script: str) -> str:
    """What a shell on the host prints."""
    return lab.run(HOST, ["sh", "-ec", script]).stdout


def rotated(lab: Lab, before: str = "true") -> dict[str, int]:
    """Do ``before``, let the host's logrotate run as it does by itself, and tell the files with their sizes, without the first part of the name."""
    # It may not be started as often as that within seconds, systemd.unit(5) on StartLimitBurst=, unless the count begins anew.
    run = "systemctl reset-failed logrotate.service; systemctl start logrotate.service"
    listing = sh(lab, f"{before}; {run}; cd {FOLDER}; stat -c '%n %s' vllm.log*")
    return {name.replace("vllm.log", ""): int(size) for name, size in (line.split() for line in listing.splitlines())}


def test_the_log_is_rotated_by_size_and_by_age(lab: Lab, operator: Operator) -> None:
    operator.play("site", "--limit", HOST, "--tags", "venom_account,venom_folders,venom_log", **SMALL)
    lab.run(HOST, ["systemd-run", f"--unit={UNIT}", "--uid=venom", f"-pStandardOutput=append:{LOG}", "python3", "-c", WRITER])
    grow = f"head -c 100000 /dev/zero | tr '\\0' x >> {LOG}"
    try:
        # By size, though its day is not over; what the server writes goes on to arrive, at the beginning of an empty file.
        first = rotated(lab, grow)
        assert set(first) == {"", ".1"} and first[".1"] > 100000 and first[""] < 64000
        head = sh(lab, f"sleep 0.2; head -c 40 {LOG}")
        assert head.startswith("line ") and "\0" not in head
        assert sh(lab, f"stat -c '%U %G %a' {LOG} {LOG}.1").split("\n")[:2] == ["venom venom 640"] * 2
        assert set(rotated(lab)) == {"", ".1"}, "a small log of today is left alone"

        # As many as were said, older ones compressed.
        for wanted in ({"", ".1", ".2.gz"}, {"", ".1", ".2.gz", ".3.gz"}, {"", ".1", ".2.gz", ".3.gz"}):
            assert set(rotated(lab, grow)) == wanted
        assert sh(lab, f"zcat {LOG}.3.gz | grep -c xxxx").strip() == "1"

        # By age, though it is small; and a rotated one that is too old goes, though there is room for it.
        aged = rf"sed -i -E 's#^(\"{LOG}\") .*#\1 2020-1-1-0:0:0#' /var/lib/logrotate/status; touch -d '3 days ago' {LOG}.2.gz"
        last = rotated(lab, aged)
        assert set(last) == {"", ".1", ".2.gz"} and last[".1"] < 64000
        assert sh(lab, f"systemctl is-active {UNIT}").strip() == "active"
    finally:
        sh(lab, f"systemctl stop {UNIT}; rm -f {LOG}*")
