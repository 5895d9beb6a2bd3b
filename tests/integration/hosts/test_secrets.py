# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The token is found in its own file and nowhere else: no output at -vvvv, no other file, no process list or environment."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import pytest
from operators import TOKEN, Operator

from lab.hosts import Lab

pytestmark = pytest.mark.hosts

HOST = "lab2"
OWN_FILE = "/etc/venom/credentials/hf_token"

#: Reads the token from standard input, then looks into every process until it is told to stop; prints what it saw.
WATCH = """
import glob, json, os, select, sys
token = sys.stdin.readline().strip().encode()
seen, rounds = set(), 0
while not select.select([sys.stdin], [], [], 0.02)[0]:
    rounds += 1
    for path in glob.glob('/proc/[0-9]*/cmdline') + glob.glob('/proc/[0-9]*/environ'):
        try:
            data = open(path, 'rb').read()
        except OSError:
            continue
        if token in data:
            seen.add(path + ' ' + open(os.path.dirname(path) + '/comm').read().strip())
print(json.dumps({'rounds': rounds, 'seen': sorted(seen)}))
"""

#: Reads the token from standard input and prints every file of the host that contains it.
SEARCH = """
import os, sys
token = sys.stdin.readline().strip().encode()
files = 0
for folder, folders, names in os.walk('/'):
    folders[:] = [name for name in folders if os.path.join(folder, name) not in ('/proc', '/sys', '/dev', '/srv')]
    for name in names:
        path = os.path.join(folder, name)
        try:
            if os.path.isfile(path) and not os.path.islink(path):
                files += 1
                if token in open(path, 'rb').read():
                    print(path)
        except OSError as error:
            print('unreadable', path, error)
print(files, file=sys.stderr)
"""


def test_the_token_is_nowhere_but_in_its_file(lab: Lab, operator: Operator) -> None:
    watcher = subprocess.Popen(
        [*lab.ssh_argv(HOST), f"python3 -c \"$(cat <<'EOF'\n{WATCH}\nEOF\n)\""],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watcher.stdin is not None
    watcher.stdin.write(TOKEN + "\n")
    watcher.stdin.flush()
    try:
        # Ansible's default: modules with their arguments pass through files of the host.
        run = replace(operator, pipelining=False).play(
            "site", "--tags", "host,models", "--limit", HOST, "-vvvv", "--diff",
            environment={"HF_TOKEN": TOKEN}, venom_models=[{"name": "demo/tiny-gated"}],
        )  # fmt: skip
    finally:
        seen = json.loads(watcher.communicate("stop\n", timeout=180)[0])
    assert run.changed(), "the gated model must really have been fetched with the token"
    assert "demo--tiny-gated@" in lab.run(HOST, ["ls", "/var/lib/venom/models/hf"]).stdout
    assert seen["rounds"] > 20 and seen["seen"] == []
    assert TOKEN not in run.output and len(run.output) > 10_000
    kept = [path for path in operator.scratch.rglob("*") if path.is_file() and TOKEN in path.read_text(encoding="utf-8", errors="replace")]
    assert kept == []

    found = lab.run(HOST, ["python3", "-c", SEARCH], stdin=TOKEN + "\n")
    assert found.stdout.split() == [OWN_FILE] and int(found.stderr.split()[-1]) > 1000
    assert lab.run(HOST, ["stat", "-c", "%a %U", OWN_FILE]).stdout.split() == ["600", "root"]


def test_a_controller_without_the_token_leaves_it_and_absent_removes_it(lab: Lab, operator: Operator) -> None:
    operator.play("site", "--tags", "host", "--limit", HOST)
    assert lab.run(HOST, ["test", "-s", OWN_FILE], check=False).returncode == 0
    assert operator.play("site", "--tags", "host", "--limit", HOST, venom_hf_token_state="absent").changed()
    assert lab.run(HOST, ["test", "-e", OWN_FILE], check=False).returncode == 1
    assert operator.play("site", "--tags", "host", "--limit", HOST, venom_hf_token_state="absent").changed() == []
