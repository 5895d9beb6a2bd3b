# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that serve their models to others: what a mirror gives out and what not, and models that come from the hub once for all hosts."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
import subprocess
import typing as t
from pathlib import Path

import pytest
from conftest import DEBS
from installs import MB, Meter, big_model, digests_of, digests_on, size_of, wait_for
from operators import TOKEN, Operator, Run
from test_secrets import SEARCH

from lab import debs, network
from lab.hosts import Lab
from lab.hub import Hub
from lab.models import ollama_layers
from lab.registry import Registry
from lab.system import call

pytestmark = pytest.mark.hosts

HOSTS = ("lab1", "lab2", "lab3")
MODELS = "/var/lib/venom/models"
STORE = "/var/lib/ollama"
PORT, SHARED = 8470, 8471
OLLAMA = "fleet:mini"
PASSWORD = "correct-horse-battery"
OPEN: dict[str, t.Any] = {"venom_mirror_address": "{{ ansible_host }}", "venom_mirror_allow": ["{{ lab_network }}"]}
#: What listens on a host of the lab by itself.
QUIET = {"22"}


@pytest.fixture(scope="module")
def fleet(lab: Lab, hub: Hub) -> Lab:
    """Hosts that can install nginx, and a model that only the operator's token opens."""
    for host in HOSTS:
        debs.use(lab, host, DEBS)
    return lab


@pytest.fixture
def on(operator: Operator, fleet: Lab) -> Operator:
    """The operator, who also knows the network of the lab."""
    return Operator(operator.inventory, operator.scratch, {**operator.variables, "lab_network": str(fleet.settings.network.network)})


@pytest.fixture(scope="module")
def registry(fleet: Lab) -> t.Iterator[Registry]:
    """A registry on the bridge, whose bytes come from another address, as those of the public one do."""
    net = fleet.settings.network
    other = str(net.ip + 1)
    # It goes with the bridge.
    call(["ip", "address", "replace", f"{other}/{net.network.prefixlen}", "dev", fleet.settings.bridge])
    with Registry(str(net.ip), cdn_host=other) as running:
        yield running
    for host in HOSTS:
        sh(fleet, host, f"rm -rf {STORE}")


def sh(lab: Lab, host: str, script: str) -> str:
    """What a shell on the host prints."""
    return lab.run(host, ["sh", "-c", script]).stdout


def listening(lab: Lab, host: str) -> set[str]:
    """Ports that somebody listens on."""
    return {line.split()[3].rpartition(":")[2] for line in sh(lab, host, "ss -Hltn").splitlines()}


def address(lab: Lab, host: str) -> str:
    """The host's own."""
    return next(each.address for each in lab.status() if each.name == host)


def ask(lab: Lab, host: str, path: str, method: str = "GET", ca: Path | None = None, **headers: str) -> tuple[int, bytes]:
    """Status and body of one request from this machine, whose path is sent as it is."""
    line = http.client.HTTPConnection(address(lab, host), PORT, timeout=10)
    if ca:
        line = http.client.HTTPSConnection(address(lab, host), PORT, timeout=10, context=ssl.create_default_context(cafile=str(ca)))
    try:
        line.request(method, path, headers=headers)
        answer = line.getresponse()
        return answer.status, answer.read()
    finally:
        line.close()


def certificate(folder: Path, ip: str) -> tuple[Path, Path]:
    """Certificate and key for an address, signed by itself."""
    paths = folder / "certificate.pem", folder / "key.pem"
    options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=mirror"]
    command = ["openssl", "req", "-x509", *options, "-addext", f"subjectAltName=IP:{ip}", "-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(command, check=True, capture_output=True)
    return paths


def changes(run: Run) -> list[tuple[str, str]]:
    """What changed, by host and task, in an order of its own."""
    return sorted(run.changed())


def test_a_mirror_gives_out_files_by_digest_and_nothing_else(fleet: Lab, on: Operator) -> None:
    host = "lab1"
    on.play("install", "--limit", host, venom_model_name="demo/tiny-aurora")
    told = on.play("mirror", "--limit", host, "--check", "--diff", **OPEN)
    made = on.play("mirror", "--limit", host, "--diff", **OPEN)
    assert changes(told) == changes(made) != []
    assert on.play("mirror", "--limit", host, "--diff", **OPEN).changed() == []

    # The nginx of the distribution was there for a moment only.
    assert listening(fleet, host) == QUIET | {str(PORT)}
    assert sh(fleet, host, "systemctl is-enabled nginx; systemctl is-active nginx; true").split() == ["disabled", "inactive"]
    assert sh(fleet, host, "ps -o user= -C nginx | sort -u").split() == ["venom"]

    path = sh(fleet, host, f"ls {MODELS}/blobs/sha256/*/* | head -1").strip()
    digest = path.rpartition("/")[2]
    status, body = ask(fleet, host, f"/sha256/{digest}")
    assert status == 200 and hashlib.sha256(body).hexdigest() == digest
    assert ask(fleet, host, f"/sha256/{digest}", Range="bytes=3-6") == (206, body[3:7])
    assert ask(fleet, host, f"/sha256/{digest}", "HEAD") == (200, b"")
    assert [ask(fleet, host, f"/sha256/{digest}", method)[0] for method in ("POST", "PUT", "DELETE", "PROPFIND")] == [405] * 4
    for wrong in ("/", "/sha256/", f"/sha256/{digest}0", f"/sha256/{digest.upper()}", f"/sha256-{digest}", f"/blobs/sha256/{digest[:2]}/{digest}",
                  "/manifest.json", f"/sha256/{'0' * 64}", "/sha256/../manifest.json", "/sha256/..%2f..%2f..%2fmanifest.json"):  # fmt: skip
        assert ask(fleet, host, wrong)[0] in (400, 404), wrong
    # A file of Ollama's store, which is closed to others, is served as well; a link that leads out is not.
    blob = hashlib.sha256(b"layer").hexdigest()
    sh(fleet, host, f"install -d -o venom -g venom -m 0700 {STORE} {STORE}/blobs && printf layer > {STORE}/blobs/sha256-{blob}")
    sh(fleet, host, f"ln -s /etc/hostname {STORE}/blobs/sha256-{'1' * 64}; install -d {MODELS}/blobs/sha256/11; "
                    f"ln -s /etc/hostname {MODELS}/blobs/sha256/11/{'1' * 64}")  # fmt: skip
    assert ask(fleet, host, f"/sha256/{blob}") == (200, b"layer")
    assert ask(fleet, host, f"/sha256/{'1' * 64}")[0] in (403, 404)
    sh(fleet, host, f"rm -r {STORE}/blobs {MODELS}/blobs/sha256/11")


def test_a_mirror_with_tls_and_a_password_and_one_that_goes(fleet: Lab, on: Operator, tmp_path: Path) -> None:
    host = "lab1"
    cert, key = certificate(tmp_path, address(fleet, host))
    for file in (cert, key):
        fleet.run(host, ["sh", "-c", f"umask 077; cat > /etc/ssl/private/{file.name}"], stdin=file.read_text(encoding="ascii"))
    secured = {**OPEN, "venom_mirror_username": "fleet", "venom_mirror_password": PASSWORD,
               "venom_mirror_tls_certificate": f"/etc/ssl/private/{cert.name}", "venom_mirror_tls_key": f"/etc/ssl/private/{key.name}",
               "venom_ca_path": f"/etc/ssl/private/{cert.name}"}  # fmt: skip
    run = on.play("mirror", "--limit", host, "--diff", "-vvv", **secured)
    hashed = sh(fleet, host, "cat /etc/venom/credentials/venom-mirror.htpasswd")
    assert hashed.startswith("fleet:$6$") and sh(fleet, host, "stat -c '%a %U' /etc/venom/credentials/venom-mirror.htpasswd") == "600 root\n"
    assert PASSWORD not in run.output.replace(str(on.scratch), "") and hashed.strip().rpartition("$")[2] not in run.output
    assert on.play("mirror", "--limit", host, **secured).changed() == []
    digest = sh(fleet, host, f"ls {MODELS}/blobs/sha256/*/* | head -1").strip().rpartition("/")[2]
    login = "Basic " + base64.b64encode(f"fleet:{PASSWORD}".encode()).decode()
    assert ask(fleet, host, f"/sha256/{digest}", ca=cert)[0] == 401
    assert ask(fleet, host, f"/sha256/{digest}", ca=cert, Authorization="Basic Zm9vOmJhcg==")[0] == 401
    assert ask(fleet, host, f"/sha256/{digest}", ca=cert, Authorization=login)[0] == 200
    assert ask(fleet, host, f"/sha256/{digest}")[0] == 400, "plain http"

    told = on.play("mirror", "--limit", host, "--check", **secured, venom_mirror_state="absent")
    gone = on.play("mirror", "--limit", host, **secured, venom_mirror_state="absent")
    assert changes(told) == changes(gone) != []
    assert on.play("mirror", "--limit", host, venom_mirror_state="absent").changed() == []
    assert listening(fleet, host) == QUIET
    assert sh(fleet, host, "find /etc /run -name '*venom-mirror*'") == ""


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({**OPEN, "venom_mirror_allow": []}, "invalid_option"),
        ({**OPEN, "venom_mirror_username": "fleet", "venom_mirror_password": PASSWORD}, "invalid_option"),
        ({"venom_mirror_address": "192.0.2.1"}, "invalid_option"),
        ({"venom_mirror_tls_certificate": "/etc/hostname", "venom_mirror_tls_key": "/nowhere"}, "not_installed"),
        ({"venom_mirror_address": "0.0.0.0", "venom_mirror_port": SHARED, "venom_mirror_allow": ["10.0.0.0/8"]}, "port_in_use"),
    ],
    ids=["open to all", "password in the clear", "not its address", "no key", "port taken"],
)
def test_what_cannot_work_is_refused_before_anything_changes(fleet: Lab, on: Operator, variables: dict[str, t.Any], code: str) -> None:
    taker = ["systemd-run", "-q", "--unit=taker", "python3", "-m", "http.server", str(SHARED)]
    if code == "port_in_use":
        fleet.run("lab1", taker)
        wait_for(lambda: str(SHARED) in listening(fleet, "lab1"))
    try:
        run = on.play("mirror", "--limit", "lab1", expect=2, **variables)
    finally:
        if code == "port_in_use":
            fleet.run("lab1", ["systemctl", "stop", "taker"])
    (failure,) = run.failures()
    assert failure["result"]["msg"].startswith(f"{code}. Wanted: ") and run.changed() == []
    assert PASSWORD not in run.output
    if code == "port_in_use":
        assert "http.server" in failure["result"]["msg"]


def results(run: Run, host: str) -> list[dict[str, t.Any]]:
    """What the module said there, in order."""
    return [line["result"] for line in run.tasks if line["host"] == host and line["task"].endswith("Make the models what the list says")]


def snapshot(hub: Hub, repo: str) -> str:
    """Where the head of a repository lies on a host."""
    return f"{MODELS}/hf/{repo.replace('/', '--')}@{hub.store.repos[repo].branches['main']}"


def ollama(registry: Registry) -> dict[str, t.Any]:
    """Variables for hosts that have no Ollama: the store is made for the one that comes."""
    allowed = [str(registry.cdn_url).rpartition("//")[2]]
    return {"venom_ollama_method": "store", "venom_ollama_registry": registry.url, "venom_models_allowed_hosts": allowed}


def test_hub_and_registry_are_asked_once_for_all_hosts(fleet: Lab, hub: Hub, registry: Registry, on: Operator, tmp_path: Path) -> None:
    repo = "demo/fleet"
    source = big_model(tmp_path / "model", 40 * MB, 21, files=2)
    hub.add_repo(repo, source)
    config, layers = ollama_layers(tmp_path / "layers", 8, 23)
    digest = registry.add("library/fleet", "mini", layers, config)
    blobs = json.loads(registry.manifest("library/fleet", digest))
    blobs = {layer["digest"].rpartition(":")[2]: layer["size"] for layer in (blobs["config"], *blobs["layers"])}
    for host in HOSTS:
        sh(fleet, host, f"rm -rf {STORE}")
    wanted: dict[str, t.Any] = {"venom_models": [{"name": repo}, {"name": OLLAMA}], "venom_distribute_fanout": 1, **ollama(registry)}
    planned, token = Meter(hub, f"*{repo}/*"), {"HF_TOKEN": TOKEN}

    told = on.play("distribute", "--check", "--limit", "lab1,lab2", **wanted)
    hub.configure(repo, gated="manual", readers={"operator"})
    assert {host for host, dummy in told.changed()} == {"lab1", "lab2"} and planned.sent < MB
    meter, pulled = Meter(hub, f"*{repo}/*"), Meter(registry, "*")
    run = on.play("distribute", environment=token, **wanted)
    assert {host for host, dummy in run.changed()} == set(HOSTS) and run.failures() == []
    assert size_of(source) <= meter.sent <= 1.02 * size_of(source)
    assert sum(blobs.values()) <= pulled.sent <= 1.02 * sum(blobs.values())
    for host in HOSTS:
        assert digests_on(fleet, host, snapshot(hub, repo)) == digests_of(source)
        assert digests_on(fleet, host, f"{STORE}/blobs") == {f"sha256-{blob}": blob for blob in blobs}
        assert sh(fleet, host, f"find {STORE} ! -user venom -o ! -group venom") == "", "Ollama's account has to own it"
        assert sh(fleet, host, f"sha256sum < {STORE}/manifests/registry.ollama.ai/library/fleet/mini").split()[0] == digest.rpartition(":")[2]
    # lab1 served lab2, and then both of them lab3.
    served = [line["host"] for line in run.tasks if line["task"].endswith("Keep the mirror running") and line["changed"]]
    assert served == ["lab1", "lab2"]
    for host, mirrors in (("lab2", {"lab1"}), ("lab3", {"lab1", "lab2"})):
        sources = results(run, host)[-1]["bytes_by_source"]
        assert set(sources) <= {f"http://{address(fleet, each)}:{SHARED}" for each in mirrors}
        assert sum(sources.values()) >= 40 * MB + sum(blobs.values())

    for host in HOSTS:
        assert listening(fleet, host) == QUIET
        assert sh(fleet, host, "find /etc /run -name '*venom-mirror*'") == ""
    for host in HOSTS[1:]:
        assert fleet.run(host, ["python3", "-c", SEARCH], stdin=TOKEN + "\n").stdout == ""
    assert TOKEN not in run.output

    asked = len(hub.log.entries()), len(registry.log.entries())
    again = on.play("distribute", environment=token, **wanted)
    assert again.changed() == [] and (len(hub.log.entries()), len(registry.log.entries())) == asked
    assert not [line for line in again.tasks if line["task"].endswith("Keep the mirror running")]


def rot(lab: Lab, host: str, path: str) -> None:
    """Change a byte of a file on a host in a way that neither size nor time shows.

    Near its end, so that it is also among the bytes of whoever gives only the rest of a file.
    """
    change = f"printf X | dd of={path} bs=1 seek=$(($(stat -c %s {path}) - 1000)) conv=notrunc status=none"
    sh(lab, host, f"touch -r {path} /tmp/time; {change}; touch -r /tmp/time {path}")


@pytest.fixture
def gone(fleet: Lab, tmp_path: Path) -> Path:
    """An inventory of one host more, ``gone``, where nobody answers."""
    path = tmp_path / "gone.json"
    path.write_text(json.dumps({"venom": {"hosts": {"gone": {"ansible_host": address(fleet, "lab1"), "ansible_port": 9}}}}), encoding="utf-8")
    return path


def test_mirrors_that_lie_and_die(fleet: Lab, hub: Hub, registry: Registry, on: Operator, gone: Path, tmp_path: Path) -> None:
    repo = "demo/faulty"
    source = big_model(tmp_path / "model", 60 * MB, 22)
    hub.add_repo(repo, source)
    # With the end of what the test before has brought. Of the seeds, one does not answer.
    models = [{"name": repo}, {"name": OLLAMA, "state": "absent"}]
    wanted: dict[str, t.Any] = {"venom_models": models, "venom_distribute_seeds": ["gone", "lab1", "lab2"], **ollama(registry)}
    on.play("install", "--limit", "lab1,lab2", **wanted)
    rot(fleet, "lab2", f"{snapshot(hub, repo)}/model.safetensors")
    # The liar alone is not enough for a host that may ask nobody else, and its mirror goes all the same.
    alone = {**wanted, "venom_distribute_seeds": ["lab2"], "venom_distribute_mirrors_only": True}
    failed = on.play("distribute", "--limit", "lab2,lab3", expect=2, **alone)
    assert {line["host"] for line in failed.failures()} == {"lab3"}
    assert listening(fleet, "lab2") == QUIET and "faulty" not in sh(fleet, "lab3", f"ls {MODELS}/hf; true")

    # With an honest one that dies half way, and the origin for what is left.
    counter = Path("/sys/class/net") / network.link_name(fleet.machine("lab3").name) / "statistics/tx_bytes"
    before = int(counter.read_text(encoding="ascii"))
    playing = on.begin("distribute", "-i", str(gone), **wanted, venom_models_bandwidth_limit="4M")
    wait_for(lambda: int(counter.read_text(encoding="ascii")) > before + 10 * MB)
    fleet.run("lab1", ["systemctl", "kill", "--signal=SIGKILL", "venom-mirror-temporary"])
    run = playing.end(4)
    assert [line["host"] for line in run.tasks if line["outcome"] == "unreachable"] == ["gone"]
    assert digests_on(fleet, "lab3", snapshot(hub, repo)) == digests_of(source)
    sources = results(run, "lab3")[-1]["bytes_by_source"]
    assert {"origin", f"http://{address(fleet, 'lab2')}:{SHARED}"} <= set(sources), sources
    for host in HOSTS:
        assert listening(fleet, host) == QUIET

    # The only seed does not answer.
    lone = on.play("distribute", "-i", str(gone), "--limit", "gone,lab3", expect=None, **{**wanted, "venom_distribute_seeds": ["gone"]})
    (failure,) = lone.failures()
    assert failure["host"] == "lab3" and failure["result"]["msg"].startswith("invalid_option. Wanted: a host of venom_distribute_seeds")
    assert "name others, add them to --limit, or leave venom_distribute_seeds empty" in failure["result"]["msg"] and lone.changed() == []
