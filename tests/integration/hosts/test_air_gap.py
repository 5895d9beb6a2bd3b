# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Across an air gap: a bundle is made on one host, carried as a folder, and builds a host that has never seen a network.

The tests are one story, in order: an export that is disturbed and finished, refusals of what came damaged, an import that is killed and
finished. The second host has no folder of wheels, and nothing of the hub reaches it.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

import light_vllm
import pytest
from conftest import STATE
from light_vllm import LightVllm
from operators import BIN, ROOT, Operator, Run

from lab.hosts import Lab
from lab.hub import Hub
from lab.models import llama
from lab.settings import Settings
from lab.wheels import WheelSet
from lab.wheels import ensure as ensure_wheels

pytestmark = pytest.mark.hosts

CONNECTED, ISOLATED = "lab1", "lab2"
AURORA, BIG = "demo/tiny-aurora", "demo/of-size"
#: What the first host sees of this machine: wheels for the modules, and the archive of the collection.
SOURCE = "/srv/source"
BUNDLE, STICK = "/srv/venom-bundle", "/mnt/stick"
KEY, ALLOWED = "/root/bundles", "/etc/ssh/bundle_signers"
BIG_MB = 100
MB = 1_000_000
EXPORTED: dict[str, t.Any] = {
    "venom_bundle_dir": BUNDLE,
    "venom_bundle_wheels": f"{SOURCE}/wheels",
    "venom_bundle_signing_key": KEY,
}
SERVED: dict[str, t.Any] = {
    "venom_bundle_dir": BUNDLE,
    "venom_bundle_allowed_signers": ALLOWED,
    "venom_active": {"vllm": AURORA},
    "venom_ollama_managed": False,
    **light_vllm.VARIABLES,
}
#: On the host: SIGKILL to the holder of a lock as soon as the files in a folder take so many bytes. A holder is a process id in JSON.
KILLER = """
import glob, json, os, signal, sys, time
folder, lock, wanted, is_noted = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "noted"
def size(path):
    try:
        return os.lstat(path).st_blocks * 512
    except FileNotFoundError:
        return 0
def noted():
    try:
        return any(b"have " in open(path, "rb").read() for path in glob.glob(folder + "/*.journal") if size(path))
    except FileNotFoundError:
        return False
print("ready", flush=True)
deadline = time.monotonic() + 120
while sum(map(size, glob.glob(folder + "/*"))) < wanted or is_noted and not noted():
    if time.monotonic() > deadline:
        sys.exit("there was no middle to be hit")
    time.sleep(0.001)
os.kill(json.load(open(lock))["pid"], signal.SIGKILL)
"""


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels of the modules for Python 3.11, and the collection as it is released."""
    folder, cache = tmp_path_factory.mktemp("source"), Settings.from_env(STATE).cache / "wheels"
    ensure_wheels(cache, names=["backend"])
    names = json.loads(WheelSet("backend", "3.11", cache).marker.read_text(encoding="utf-8"))["files"]
    (folder / "wheels").mkdir()
    for name in names:
        (folder / "wheels" / name).write_bytes((cache / name).read_bytes())
    build = [str(BIN / "ansible-galaxy"), "collection", "build", str(ROOT), "--output-path", str(folder)]
    subprocess.run(build, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def lab(source: Path) -> t.Iterator[Lab]:
    """Two Debian 12 hosts; only the first sees what an internet would give."""
    hosts = Lab(STATE)
    hosts.down()
    try:
        hosts.up(1, "bookworm", binds_ro=[f"{source}:{SOURCE}"])
        hosts.up(2, "bookworm")
        yield hosts
    finally:
        hosts.down()


@pytest.fixture(scope="module")
def collection(source: Path) -> str:
    """Where the first host has the archive of the collection."""
    (archive,) = source.glob("venom-llm-*.tar.gz")
    return f"{SOURCE}/{archive.name}"


@pytest.fixture(scope="module", autouse=True)
def connected(lab: Lab, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The first host has two models from the hub and a key; the second knows the key's public half, and the hub cannot answer it."""
    hub.add_repo(BIG, llama(tmp_path_factory.mktemp("big"), name=BIG, pad_mb=BIG_MB))
    lab.block(ISOLATED, urlsplit(hub.url).port or 80)
    models = [{"name": AURORA, "alias": "tiny-aurora"}, {"name": BIG, "revision": "main"}]
    variables = {"venom_hf_endpoint": hub.url, "venom_wheels_dir": f"{SOURCE}/wheels", "venom_ollama_managed": False}
    Operator(lab.inventory, tmp_path_factory.mktemp("prepare"), variables).play("install", "--limit", CONNECTED, venom_models=models)
    sh(lab, CONNECTED, f"ssh-keygen -q -t ed25519 -N '' -C ops -f {KEY}; ssh-keygen -q -t ed25519 -N '' -C other -f {KEY}-other")
    sh(lab, ISOLATED, f"cat > {ALLOWED}", stdin=f"ops@example.org {sh(lab, CONNECTED, f'cat {KEY}.pub')}")


@pytest.fixture
def operator(lab: Lab, tmp_path: Path) -> Operator:
    """An operator who names no hub."""
    return Operator(lab.inventory, tmp_path, {})


def sh(lab: Lab, host: str, script: str, stdin: str | None = None, check: bool = True) -> str:
    """What a shell on a host prints."""
    return lab.run(host, ["sh", "-c", script], stdin=stdin, check=check).stdout


def export(operator: Operator, *arguments: str, expect: int = 0, **variables: t.Any) -> Run:
    return operator.play("bundle_export", "--limit", CONNECTED, *arguments, expect=expect, **{**EXPORTED, **variables})


def arrive(operator: Operator, *arguments: str, expect: int = 0, **variables: t.Any) -> Run:
    # Of site.yml what this host has; the rest would only be skipped, task by task.
    tags = ("--skip-tags", "ollama,status")
    return operator.play("bundle_import", "--limit", ISOLATED, *tags, *arguments, expect=expect, **{**SERVED, **variables})


def ask(lab: Lab, operator: Operator, **options: t.Any) -> dict[str, t.Any]:
    """What ``venom_bundle_info`` says of the bundle that came."""
    arguments = json.dumps({"path": BUNDLE, "allowed_signers": ALLOWED, **options})
    command = [str(BIN / "ansible"), "-i", str(lab.inventory), ISOLATED, "-m", "venom.llm.venom_bundle_info", "-a", arguments, "-o"]
    environment = operator.environment(operator.scratch / "log", None)
    done = subprocess.run(command, cwd=operator.scratch, env=environment, capture_output=True, text=True, check=False)
    answer: dict[str, t.Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return answer


def exported(run: Run) -> dict[str, t.Any]:
    """The result of ``venom_bundle``."""
    return next(line["result"] for line in run.tasks if line["task"].endswith("Make the bundle hold what shall be carried"))


def carry(lab: Lab) -> None:
    """The stick: a copy of the folder, in place of what lies there."""
    sent = subprocess.Popen([*lab.ssh_argv(CONNECTED), f"tar -C {BUNDLE} -cf - ."], stdout=subprocess.PIPE)
    received = [*lab.ssh_argv(ISOLATED), f"rm -rf {BUNDLE} && mkdir -p {BUNDLE} && tar -C {BUNDLE} -xf -"]
    subprocess.run(received, stdin=sent.stdout, check=True)
    assert sent.wait() == 0


@contextlib.contextmanager
def killed(lab: Lab, host: str, folder: str, lock: str, size: int, noted: str = "") -> t.Iterator[None]:
    """Whoever holds the lock is killed once so many bytes lie in the folder; with ``noted`` once a journal has some, which a busy disk delays."""
    argv = shlex.join(["python3", "-c", KILLER, folder, lock, str(size), noted])
    killer = subprocess.Popen([*lab.ssh_argv(host), argv], stdout=subprocess.PIPE, text=True)
    assert killer.stdout is not None and killer.stdout.readline() == "ready\n"
    yield
    assert killer.wait(130) == 0


def blob_of(lab: Lab, host: str) -> str:
    """The largest blob of the bundle on a host."""
    return sh(lab, host, f"find {BUNDLE}/blobs -type f -printf '%s %p\\n' | sort -n | tail -1").split()[1]


def flip(lab: Lab, host: str, path: str, offset: int) -> None:
    """Another byte in this place; the same again mends it."""
    code = "import sys; f = open(sys.argv[1], 'r+b'); n = int(sys.argv[2]); f.seek(n); b = f.read(1)[0]; f.seek(n); f.write(bytes([b ^ 1]))"
    lab.run(host, ["python3", "-c", code, path, str(offset)])


def test_a_full_stick_takes_nothing_and_a_larger_one_takes_all(lab: Lab, operator: Operator) -> None:
    sh(lab, CONNECTED, f"mkdir -p {STICK} && mount -t tmpfs -o size=60m tmpfs {STICK}")
    there = {"venom_bundle_dir": f"{STICK}/bundle"}
    run = export(operator, expect=2, **there)
    assert run.reason_codes() == ["disk_full"]
    assert "Wanted: to write" in run.output and "bytes are free" in run.output
    assert sh(lab, CONNECTED, f"ls {STICK}/bundle") != "bundle.json\n"
    sh(lab, CONNECTED, f"mount -o remount,size=300m {STICK}")
    assert export(operator, **there).changed()
    assert sh(lab, CONNECTED, f"cd {STICK}/bundle && sha256sum --check --strict --quiet SHA256SUMS && umount -l {STICK}") == ""


def test_an_export_that_is_killed_is_refused_and_finished(lab: Lab, operator: Operator, collection: str) -> None:
    wanted = {"venom_bundle_collection": collection}
    announced = export(operator, "--check", **wanted)
    assert announced.changed() and sh(lab, CONNECTED, f"ls -d {BUNDLE}", check=False) == ""
    with killed(lab, CONNECTED, f"{BUNDLE}/partial", f"{BUNDLE}/bundle.lock", 10 * MB):
        export(operator, expect=2, **wanted)
    carry(lab)
    assert ask(lab, operator)["reason_code"] == "signature_invalid"
    assert ask(lab, operator, allowed_signers="")["reason_code"] == "bundle_invalid"

    real = export(operator, **wanted)
    assert real.changed() == announced.changed()
    assert exported(real)["bytes_kept"] >= 10 * MB, "what had been copied is not copied again"
    for arguments in (("--check",), ()):
        assert export(operator, *arguments, **wanted).changed() == []
    assert sh(lab, CONNECTED, f"cd {BUNDLE} && sha256sum --check --strict --quiet SHA256SUMS && ls") == (
        "SHA256SUMS\nSHA256SUMS.sig\nblobs\nbundle.json\nbundle.lock\ncollection\nwheels\n"
    )


def test_what_came_damaged_is_refused_before_anything_is_read_further(lab: Lab, operator: Operator) -> None:
    carry(lab)
    blob = blob_of(lab, ISOLATED)
    signature, index = f"{BUNDLE}/SHA256SUMS.sig", f"{BUNDLE}/bundle.json"

    def refused(code: str, **options: t.Any) -> str:
        answer = ask(lab, operator, **options)
        assert answer["reason_code"] == code, answer
        return str(answer["msg"])

    flip(lab, ISOLATED, f"{BUNDLE}/SHA256SUMS", 0)
    assert "changed afterwards" in refused("signature_invalid")
    flip(lab, ISOLATED, f"{BUNDLE}/SHA256SUMS", 0)
    sh(lab, ISOLATED, f"mv {signature} {signature}.away")
    assert "not signed" in refused("signature_invalid")
    run = arrive(operator, expect=2)
    assert [line["task"].rpartition(": ")[2] for line in run.failures()] == ["Check the bundle and read what it holds"]
    sh(lab, CONNECTED, f"cd /tmp && cp {BUNDLE}/SHA256SUMS . && ssh-keygen -q -Y sign -n venom-bundle -f {KEY}-other SHA256SUMS")
    sh(lab, ISOLATED, f"cat > {signature}", stdin=sh(lab, CONNECTED, "cat /tmp/SHA256SUMS.sig"))
    assert "not among them" in refused("signature_invalid")
    sh(lab, ISOLATED, f"mv {signature}.away {signature}")

    flip(lab, ISOLATED, index, 40)
    assert "bundle.json" in refused("digest_mismatch")
    flip(lab, ISOLATED, index, 40)
    sh(lab, ISOLATED, f"mv {blob} {blob}.away")
    assert blob.rpartition("/")[2] in refused("bundle_invalid")
    sh(lab, ISOLATED, f"mv {blob}.away {blob}")
    flip(lab, ISOLATED, blob, 50 * MB)
    assert blob.rpartition("/")[2] in refused("digest_mismatch", verify="full")
    flip(lab, ISOLATED, blob, 50 * MB)
    assert sh(lab, ISOLATED, "ls /opt/venom /etc/venom /var/lib/venom", check=False) == "", "the host is as bare as before"


def test_a_bundle_builds_a_host_that_never_saw_a_network(lab: Lab, hub: Hub, operator: Operator) -> None:
    asked = len(hub.log.entries())
    light = LightVllm(lab, ISOLATED)
    light.install()
    announced = arrive(operator, "--check", "--diff")
    assert sh(lab, ISOLATED, "ls /etc/venom /var/lib/venom", check=False) == ""

    lock = "/var/lib/venom/models/locks/models-vllm.lock"
    with killed(lab, ISOLATED, "/var/lib/venom/models/partial", lock, 20 * MB, "noted"):
        run = arrive(operator, venom_models_bandwidth_limit="40M")
    assert "the process at work ended without a word; it is started once more" in run.output
    assert run.changed() == announced.changed()
    models = next(line["result"] for line in run.tasks if line["task"].endswith("Make the models what the list says"))
    assert models["bytes_kept"] > 0 and models["bytes_fetched"] < BIG_MB * MB, "what had come is not read again"
    assert light.served() == ["tiny-aurora"]
    wanted = sh(lab, CONNECTED, "cd /var/lib/venom/models/hf && sha256sum */*")
    assert sh(lab, ISOLATED, "cd /var/lib/venom/models/hf && sha256sum */*") == wanted

    pid = light.pid()
    assert arrive(operator).changed() == []
    assert light.pid() == pid
    assert [entry.path for entry in hub.log.entries()[asked:]] == [], "somebody asked the hub"
