# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run that changes nothing may do: no network, no hashing, no third-party import, no write, no lock."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from integration.models_support import install, model_params, small_model, tree

from lab.hub import Hub

pytest.importorskip("huggingface_hub")

#: Runs the operation in a fresh process in which every forbidden act ends the run.
GUARDED = """
import builtins, hashlib, json, os, socket, sys

def forbid(what):
    def forbidden(*arguments, **options):
        sys.exit(f"forbidden: {what} {arguments[:1]}")
    return forbidden

params = json.loads(sys.argv[1])
from ansible_collections.venom.llm.plugins.module_utils.models import run_models

class Context:
    check_mode = False
    diff_mode = True
    warn = report = has_library = need_backend = staticmethod(forbid("context"))

real_import, real_open, real_os_open = builtins.__import__, builtins.open, os.open
def guarded_import(name, *arguments, **options):
    if name.split(".")[0] in ("huggingface_hub", "requests", "urllib3", "httpx2", "psutil", "pynvml", "concurrent", "ssl"):
        sys.exit(f"forbidden: import {name}")
    return real_import(name, *arguments, **options)
def guarded_open(path, mode="r", *arguments, **options):
    if set(mode) & set("wax+") or "/hf/" in str(path) or "/blobs/" in str(path):
        sys.exit(f"forbidden: open {path} {mode}")
    return real_open(path, mode, *arguments, **options)
builtins.__import__, builtins.open = guarded_import, guarded_open
os.open = forbid("os.open")
socket.socket = forbid("socket")
for name in ("mkdir", "rename", "replace", "link", "unlink", "chmod"):
    setattr(os, name, forbid(name))

# The digest of a snapshot's list of names is computed from the manifest's text; a hash that is fed a file's bytes is not.
real_sha256 = hashlib.sha256
def bounded_sha256(data=b"", **options):
    if len(data) > 10000:
        sys.exit("forbidden: hashing")
    return real_sha256(data, **options)
hashlib.sha256 = bounded_sha256
hashlib.sha1 = hashlib.md5 = hashlib.new = forbid("hash")
print(json.dumps(run_models(params, Context())["changed"]))
"""


@pytest.fixture
def hub(tmp_path: Path) -> t.Iterator[Hub]:
    with Hub() as running:
        running.add_repo("a/b", small_model(tmp_path / "repo", 1))
        yield running


def guarded(params: dict[str, t.Any]) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    return subprocess.run([sys.executable, "-c", GUARDED, json.dumps(params)], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "a/b"},
        {"name": "a/b", "revision": "main", "alias": "x"},
        {"models": [{"name": "a/b"}, {"name": "c/d", "state": "absent"}]},
        {"name": "a/b", "token": "hf_x", "token_file": "/nonexistent", "ca_path": "/nonexistent"},
        {"name": "a/b", "plan": {"schema": 1}, "mirrors": ["http://127.0.0.1:9"], "mirrors_only": True, "mirror_password_file": "/nonexistent"},
    ],
)
def test_a_no_op_does_nothing(tmp_path: Path, hub: Hub, options: dict[str, t.Any]) -> None:
    install(tmp_path, hub, name="a/b", alias="x")
    hub.log.clear()
    before = tree(tmp_path / "models")
    done = guarded(model_params(tmp_path, hub, **options))
    assert (done.stdout, done.stderr) == ("false\n", "")
    assert tree(tmp_path / "models") == before
    assert hub.log.entries() == []


def test_the_guard_would_notice(tmp_path: Path, hub: Hub) -> None:
    assert "forbidden: context" in guarded(model_params(tmp_path, hub, name="a/b")).stderr


def test_a_no_op_on_an_empty_host_creates_nothing(tmp_path: Path, hub: Hub) -> None:
    done = guarded(model_params(tmp_path / "host", hub, name="a/b", state="absent"))
    assert (done.stdout, done.stderr) == ("false\n", "")
    assert not (tmp_path / "host").exists()
