# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each failure that venom_model promises, caused by a hub or a host that does it: the reason code, and nothing left behind."""
from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from integration.models_support import install, model_params, small_model, tree

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.journal import read_operations
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import GB
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy
from lab.hub import HOSTILE_NAMES, Hub
from lab.models import safetensors
from lab.models.hostile import hostile

pytest.importorskip("huggingface_hub")

TOKEN = "hf_goodTokenForTests"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RetryPolicy, "delay", lambda self, attempt, error: error.retry_after or 0.01)


@pytest.fixture
def hub(tmp_path: Path) -> t.Iterator[Hub]:
    with Hub(cdn_host="127.0.0.2", tokens={TOKEN: "alice"}) as running:
        running.add_repo("a/b", small_model(tmp_path / "repo", 1, README__md="x"), tag="v1")
        yield running


def refused(folder: Path, hub: Hub | None, code: str, **options: t.Any) -> VenomError:
    """The call fails with the code in check mode and for real, and writes nothing."""
    folder.mkdir(exist_ok=True)
    before = tree(folder)
    for check in (True, False):
        with pytest.raises(VenomError) as caught:
            install(folder, hub, check, **options)
        assert caught.value.reason_code == code
        assert tree(folder) == before
    return caught.value


def test_missing_repository(tmp_path: Path, hub: Hub) -> None:
    assert "no token" in refused(tmp_path / "host", hub, "not_found", name="a/missing").found
    assert "account" in refused(tmp_path / "host", hub, "not_found", name="a/missing", token=TOKEN).todo


def test_private_repository(tmp_path: Path, hub: Hub) -> None:
    hub.configure("a/b", private=True, readers=["alice"])
    refused(tmp_path / "host", hub, "not_found", name="a/b")
    assert install(tmp_path / "host", hub, name="a/b", token=TOKEN)["changed"] is True


def test_missing_revision(tmp_path: Path, hub: Hub) -> None:
    refused(tmp_path / "host", hub, "revision_not_found", name="a/b", revision="v9")
    refused(tmp_path / "host", hub, "revision_not_found", name="a/b", revision="0" * 40)


def test_wrong_token(tmp_path: Path, hub: Hub) -> None:
    error = refused(tmp_path / "host", hub, "unauthorized", name="a/b", token="hf_wrong")
    assert "hf_wrong" not in repr(error.to_result())


def test_gated_repository(tmp_path: Path, hub: Hub) -> None:
    hub.configure("a/b", gated="manual")
    for options in ({}, {"token": TOKEN}):
        error = refused(tmp_path / "host", hub, "gated", name="a/b", **options)
        assert error.details["access_url"] == f"{hub.url}/a/b"
        assert error.details["access_url"] in error.todo
    hub.configure("a/b", readers=["alice"])
    assert install(tmp_path / "host", hub, name="a/b", token=TOKEN)["changed"] is True


def test_a_hub_that_is_down(tmp_path: Path, hub: Hub) -> None:
    hub.down()
    refused(tmp_path / "host", hub, "hub_unreachable", name="a/b")


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_a_hub_with_server_errors(tmp_path: Path, hub: Hub, status: int) -> None:
    hub.fault("status", path="/api/*", status=status, times=-1)
    refused(tmp_path / "host", hub, "hub_unreachable", name="a/b")


def test_passing_errors_are_survived(tmp_path: Path, hub: Hub) -> None:
    hub.fault("status", path="/api/models/a/b/revision/*", status=503, times=1)
    hub.fault("status", path="/api/models/a/b/tree/*", status=429, retry_after=0, times=1)
    hub.fault("status", path="/a/b/resolve/*", status=502, times=1)
    hub.fault("cut", path="*", after=10, listener="cdn", times=1)
    assert install(tmp_path / "host", hub, name="a/b", retries=3)["changed"] is True


def test_a_rate_limit_longer_than_the_budget(tmp_path: Path, hub: Hub) -> None:
    hub.fault("status", path="/api/*", status=429, retry_after=4000, times=-1)
    assert refused(tmp_path / "host", hub, "rate_limited", name="a/b").details["retry_after"] == 4000.0


@pytest.mark.parametrize("body", ["", "<html>", "[]", "{}", '{"sha": "../../x"}', '{"sha": null}'])
def test_an_endpoint_that_is_no_hub(tmp_path: Path, body: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                connection, dummy = server.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            refused(tmp_path / "host", None, "unsupported_source", name="a/b", endpoint=f"http://127.0.0.1:{server.getsockname()[1]}")
        finally:
            stop.set()
            socket.create_connection(server.getsockname()).close()
            thread.join(10)


def test_quota(tmp_path: Path, hub: Hub) -> None:
    hub.add_repo("c/big", small_model(tmp_path / "big", 2000))
    install(tmp_path / "host", hub, name="a/b")
    used = sum(size for mode, size, when in tree(tmp_path / "host" / "models").values() if mode & 0o100000)
    before = tree(tmp_path / "host")
    for check in (True, False):
        with pytest.raises(VenomError) as caught:
            install(tmp_path / "host", hub, check, name="c/big", max_disk_gb=(used + 10000) / GB)
        assert caught.value.reason_code == "quota_exceeded"
        assert tree(tmp_path / "host") == before
    details = caught.value.details
    assert details["bytes_needed"] > 10000
    assert details["largest_models"][0]["name"] == "a/b"
    assert "a/b" in caught.value.found
    swap = [{"name": "c/big"}, {"name": "a/b", "state": "absent"}]
    assert install(tmp_path / "host", hub, models=swap, max_disk_gb=(details["bytes_needed"] + 10000) / GB)["changed"] is True


def test_what_a_failed_run_verified_is_kept_until_its_space_is_needed(tmp_path: Path, hub: Hub) -> None:
    hub.add_repo("c/d", small_model(tmp_path / "other", 3, README__md="y", tokenizer_config__json='{"chat_template": "none of a/b"}'))
    # The smallest file comes last, and while it is waited for the others are verified.
    hub.fault("status", path="*README*", status=503, retry_after=1, times=-1)
    with pytest.raises(VenomError):
        install(tmp_path / "host", hub, name="c/d", max_parallel=1)
    hub.faults.clear()
    assert install(tmp_path / "host", hub, name="a/b")["bytes_fetched"] > 0
    again = install(tmp_path / "host", hub, True, name="c/d")
    assert again["bytes_kept"] == again["bytes_total"] - 1 > 0
    assert again["bytes_to_fetch"] == 1, "another model came meanwhile"
    install(tmp_path / "host", hub, name="a/b", state="absent")
    assert install(tmp_path / "host", hub, True, name="c/d")["bytes_to_fetch"] == 1, "and went"

    hub.add_repo("e/f", small_model(tmp_path / "third", 4))
    used = sum(size for mode, size, when in tree(tmp_path / "host" / "models").values() if mode & 0o100000)
    small = install(tmp_path / "host", hub, True, name="e/f")["bytes_to_fetch"]
    install(tmp_path / "host", hub, name="e/f", max_disk_gb=(used + small - 1) / GB)
    assert install(tmp_path / "host", hub, True, name="c/d")["bytes_to_fetch"] > 1


def test_what_an_interrupted_run_fetched_of_a_large_file_is_kept_while_others_come(tmp_path: Path, hub: Hub) -> None:
    big = small_model(tmp_path / "big")
    safetensors.write_model(big, [safetensors.constant("weight", (2 * 1024 * 1024, 1), 3)])
    hub.add_repo("c/big", big)
    hub.fault("cut", path="/lfs/*", after=3 * 1024 * 1024, times=-1)
    with pytest.raises(VenomError):
        install(tmp_path / "host", hub, name="c/big", max_parallel=1, retries=0)
    hub.faults.clear()
    before = install(tmp_path / "host", hub, True, name="c/big")
    assert before["bytes_kept"] > 1024 * 1024
    install(tmp_path / "host", hub, name="a/b")
    after = install(tmp_path / "host", hub, True, name="c/big")
    assert after["bytes_kept"] >= before["bytes_kept"] and after["bytes_to_fetch"] <= before["bytes_to_fetch"]
    assert install(tmp_path / "host", hub, name="c/big")["bytes_fetched"] == after["bytes_to_fetch"]


def test_confirmation(tmp_path: Path, hub: Hub) -> None:
    error = refused(tmp_path / "host", hub, "confirmation_required", name="a/b", confirm_above_gb=100 / GB)
    assert error.details["bytes_needed"] > 100
    assert install(tmp_path / "host", hub, name="a/b", confirm_above_gb=100 / GB, confirm_large=True)["changed"] is True


def test_over_20_gb_by_default(tmp_path: Path, hub: Hub) -> None:
    hub.fault("listing", what="size", file="README.md", value=21 * GB)
    refused(tmp_path / "host", hub, "confirmation_required", name="a/b", max_disk_gb=1000.0)


def test_free_space_with_the_reserve(tmp_path: Path, hub: Hub) -> None:
    error = refused(tmp_path / "host", hub, "disk_full", name="a/b", reserve_gib=1e6)
    assert error.details["bytes_free"] > 0


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_file_names(tmp_path: Path, hub: Hub, name: str) -> None:
    hub.fault("listing", what="add", names=[name])
    refused(tmp_path / "host", hub, "invalid_name", name="a/b")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("pickle", "pickle_refused"),
        ("remote_code", "remote_code_refused"),
        ("traversal_shard", "invalid_name"),
        ("missing_shard", "unsupported_source"),
        ("broken_config", "unsupported_source"),
    ],
)
def test_repositories_that_the_policy_refuses(tmp_path: Path, hub: Hub, kind: str, code: str) -> None:
    hub.add_repo("evil/one", hostile(tmp_path / kind, kind))
    refused(tmp_path / "host", hub, code, name="evil/one")
    assert hub.log.entries(listener="cdn") == []


@pytest.mark.parametrize("kind", ["short_header", "long_header", "short_body"])
def test_broken_weights_are_not_published(tmp_path: Path, hub: Hub, kind: str) -> None:
    hub.add_repo("evil/one", hostile(tmp_path / kind, kind))
    with pytest.raises(VenomError) as caught:
        install(tmp_path / "host", hub, name="evil/one")
    assert caught.value.reason_code == "unsupported_source"
    assert not (tmp_path / "host" / "models" / "hf").exists()
    assert not (tmp_path / "host" / "models" / "manifest.json").exists()


def test_trusted_repositories_are_let_in(tmp_path: Path, hub: Hub) -> None:
    hub.add_repo("evil/pickle", hostile(tmp_path / "pickle", "pickle"))
    hub.add_repo("evil/code", hostile(tmp_path / "code", "remote_code"))
    options: dict[str, t.Any] = {"models": [{"name": "evil/pickle"}, {"name": "evil/code"}], "allow_pickle": True, "allow_remote_code": True}
    assert install(tmp_path / "host", hub, **options)["changed"] is True
    assert install(tmp_path / "host", hub, **options)["changed"] is False


@pytest.mark.parametrize("path", ["*.safetensors*", "*config.json*"])
def test_a_flipped_byte(tmp_path: Path, hub: Hub, path: str) -> None:
    hub.fault("flip", path=path, offset=20, times=1)
    assert install(tmp_path / "one", hub, name="a/b")["changed"] is True
    hub.fault("flip", path=path, offset=20, times=-1)
    with pytest.raises(VenomError) as caught:
        install(tmp_path / "two", hub, name="a/b")
    assert caught.value.reason_code == "digest_mismatch"
    assert caught.value.details["expected"] != caught.value.details["actual"]
    assert not (tmp_path / "two" / "models" / "hf").exists()


def test_a_failure_leaves_the_earlier_revision_and_the_manifest(tmp_path: Path, hub: Hub) -> None:
    install(tmp_path / "host", hub, name="a/b", alias="x")
    manifest = (tmp_path / "host" / "models" / "manifest.json").read_bytes()
    # Larger than what planning reads of it.
    hub.add_repo("a/b", small_model(tmp_path / "two", 60000, README__md="x"))
    last = hub.store.repos["a/b"].head.files["model.safetensors"].size - 1
    hub.fault("flip", path="*.safetensors*", offset=last, times=-1)
    with pytest.raises(VenomError) as caught:
        install(tmp_path / "host", hub, name="a/b", state="latest")
    assert caught.value.reason_code == "digest_mismatch"
    assert (tmp_path / "host" / "models" / "manifest.json").read_bytes() == manifest
    assert install(tmp_path / "host", hub, name="a/b", alias="x")["changed"] is False
    newest = read_operations(str(tmp_path / "host" / "models" / "operations"))[0]
    assert (newest["status"], newest["error"]["reason_code"]) == ("failed", "digest_mismatch")
    hub.faults.clear()
    assert install(tmp_path / "host", hub, name="a/b", state="latest")["bytes_kept"] > 0


def test_a_stall_counts_as_a_broken_line(tmp_path: Path, hub: Hub) -> None:
    hub.fault("hang", path="*.safetensors*", when="body", after=5, seconds=60, times=-1, listener="cdn")
    started = time.monotonic()
    with pytest.raises(VenomError) as caught:
        install(tmp_path / "host", hub, name="a/b", stall_timeout=0.5)
    assert caught.value.reason_code == "hub_unreachable"
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("location", ["http://127.0.0.9:1/x", "http://169.254.169.254/x", "file:///etc/passwd", "//evil.example/x"])
def test_a_redirect_to_elsewhere(tmp_path: Path, hub: Hub, location: str) -> None:
    hub.fault("redirect", path="/a/b/resolve/*", location=location)
    refused(tmp_path / "host", hub, "redirect_refused", name="a/b")


def test_a_redirect_of_the_api_to_elsewhere(tmp_path: Path, hub: Hub) -> None:
    hub.fault("redirect", path="/api/*", location="http://127.0.0.9:1/{path}")
    refused(tmp_path / "host", hub, "redirect_refused", name="a/b")


def test_a_redirect_in_a_circle(tmp_path: Path, hub: Hub) -> None:
    hub.fault("redirect", path="/a/b/resolve/*", location=f"{hub.url}{{path}}")
    refused(tmp_path / "host", hub, "redirect_refused", name="a/b")


def test_a_host_that_is_not_listed(tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(VenomError) as caught:
        install(tmp_path / "host", hub, name="a/b", allowed_hosts=[])
    assert caught.value.reason_code == "redirect_refused"


def test_the_token_goes_to_the_hub_and_nowhere_else(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / ".cache" / "huggingface").mkdir(parents=True)
    (home / ".cache" / "huggingface" / "token").write_text("hf_fromHome")
    (home / ".netrc").write_text("machine 127.0.0.1 login x password hf_fromNetrc\nmachine 127.0.0.2 login x password hf_fromNetrc\n")
    (home / ".netrc").chmod(0o600)
    for name, value in {"HOME": str(home), "HF_TOKEN": "hf_fromEnvironment", "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.9:1"}.items():
        monkeypatch.setenv(name, value)
    before = tree(home)
    (tmp_path / "token").write_text(TOKEN + "\n")
    install(tmp_path / "one", hub, name="a/b", token_file=str(tmp_path / "token"))
    assert {entry.user for entry in hub.log.entries(listener="hub")} == {"alice"}
    assert len(hub.log.entries(listener="cdn")) == 1
    assert {entry.authorization for entry in hub.log.entries(listener="cdn")} == {None}
    hub.log.clear()
    install(tmp_path / "two", hub, name="a/b")
    assert {entry.authorization for entry in hub.log.entries()} == {None}
    assert tree(home) == before
    for path in (*(tmp_path / "one").rglob("*"), *(tmp_path / "two").rglob("*")):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


def test_the_environment_is_not_heard_in_a_fresh_process(tmp_path: Path, hub: Hub) -> None:
    """huggingface_hub reads its environment at import, so this needs a process of its own."""
    code = (
        "import sys, json\n"
        "from ansible_collections.venom.llm.plugins.module_utils.models import run_models\n"
        "from integration.models_support import FakeContext\n"
        "print(run_models(json.loads(sys.argv[1]), FakeContext())['changed'])\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = dict(
        os.environ, HOME=str(home), HF_TOKEN="hf_env", HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.9:1", PYTHONPATH=os.pathsep.join(sys.path)
    )
    environment.pop("HF_HOME", None)
    params = json.dumps(model_params(tmp_path / "host", hub, name="a/b"))
    done = subprocess.run([sys.executable, "-c", code, params], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr
    assert tree(home) == {}
    assert {entry.authorization for entry in hub.log.entries()} == {None}
    assert not [entry.path for entry in hub.log.entries() if "agent" in entry.path]


def test_a_killed_run_leaves_nothing_half_and_the_next_one_goes_on(tmp_path: Path, hub: Hub) -> None:
    code = (
        "import sys, json\n"
        "from ansible_collections.venom.llm.plugins.module_utils.models import run_models\n"
        "from integration.models_support import FakeContext\n"
        "run_models(json.loads(sys.argv[1]), FakeContext())\n"
    )
    hub.add_repo("a/b", small_model(tmp_path / "larger", 60000))
    # Planning reads the beginning of the weights; what hangs is the fetch.
    hang = hub.fault("hang", path="*", when="body", after=300000, seconds=60, times=-1, listener="cdn")
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    params = json.dumps(model_params(tmp_path / "host", hub, name="a/b", stall_timeout=60.0))
    process = subprocess.Popen([sys.executable, "-c", code, params], env=environment)
    deadline = time.monotonic() + 60
    while not hang.hits:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    models = tmp_path / "host" / "models"
    assert not (models / "hf").exists()
    assert not (models / "manifest.json").exists()
    assert read_operations(str(models / "operations"))[0]["status"] == "failed"
    hub.faults.clear()
    weights = hub.store.repos["a/b"].head.files["model.safetensors"].size
    result = install(tmp_path / "host", hub, name="a/b")
    # What was verified before the kill is not fetched again; how much that was depends on the moment.
    assert weights <= result["bytes_fetched"] <= result["bytes_total"]
    assert not (models / "partial").exists()
    assert install(tmp_path / "host", hub, name="a/b")["changed"] is False


@pytest.mark.parametrize("token", ["hf a", "hf\nx", "hf\u00e4"])
def test_a_malformed_token_is_not_repeated(tmp_path: Path, hub: Hub, token: str) -> None:
    error = refused(tmp_path / "host", hub, "invalid_option", name="a/b", token=token)
    assert token not in str(error)


def test_https_needs_a_trusted_authority(tmp_path: Path) -> None:
    pem = tmp_path / "hub.pem"
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    pem.write_bytes(key.read_bytes() + certificate.read_bytes())
    with Hub(pem=pem) as hub:
        hub.add_repo("a/b", small_model(tmp_path / "repo", 1))
        refused(tmp_path / "host", hub, "hub_unreachable", name="a/b")
        refused(tmp_path / "host", hub, "invalid_option", name="a/b", ca_path=str(tmp_path / "missing"))
        assert install(tmp_path / "host", hub, name="a/b", ca_path=str(certificate))["changed"] is True


def test_names_from_the_listing_never_reach_the_disk_through_a_link(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "host" / "models").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    commit = hub.store.repos["a/b"].head.id
    (tmp_path / "host" / "models" / "hf").mkdir()
    (tmp_path / "host" / "models" / "hf" / f"a--b@{commit}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VenomError) as caught:
        install(tmp_path / "host", hub, name="a/b")
    assert caught.value.reason_code == "invalid_name"
    assert os.listdir(tmp_path / "elsewhere") == []
    assert Manifest.load(str(tmp_path / "host" / "models")).models == ()
