# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model from a registry, through every login and over every fault, into the folder of an Ollama server."""
from __future__ import annotations

import hashlib
import json
import socket
import ssl
import subprocess
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import OllamaManifest
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile, TransientError
from ansible_collections.venom.llm.plugins.module_utils.sources.registry import RegistrySource
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy
from ansible_collections.venom.llm.plugins.module_utils.store.ollama import OllamaStore
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.scripted_http import ScriptedHttp, reply
from lab.registry import MODES, OCI_MANIFEST_TYPE, Registry

pytest.importorskip("requests")

REF = ModelRef.parse("tiny:latest", "ollama")
USER, PASSWORD, TOKEN = "alice", "pass:word with s\u00e9crets", "t0kenThatLasts"
WEIGHTS = bytes(range(256)) * 4000
LAYERS = [
    ("application/vnd.ollama.image.model", WEIGHTS),
    ("application/vnd.ollama.image.template", b"{{ .Prompt }}"),
    ("application/vnd.ollama.image.license", b""),
]


def serve(**options: t.Any) -> Registry:
    registry = Registry(**options)
    registry.add("library/tiny", "latest", LAYERS)
    return registry


def client(registry: Registry, endpoint: str = "", **options: t.Any) -> RegistrySource:
    """A source that hardly waits between its tries, and for a silent server but a moment."""
    policy = RetryPolicy(retries=2, base=0.001, cap=0.001)
    options = {"allowed_hosts": cdn_of(registry), "stall_timeout": 5.0, "retry_policy": policy, **options}
    return RegistrySource(endpoint or registry.url, **options)


def cdn_of(registry: Registry) -> list[str]:
    return [registry.address("cdn")]


def fetch(source: RegistrySource, file: RemoteFile, offset: int = 0, length: int | None = None) -> bytes:
    stream = source.open(file, offset, length)
    try:
        assert stream.offset == offset
        return b"".join(stream)
    finally:
        stream.close()


def install(source: RegistrySource, store: OllamaStore, revision: str = "") -> str:
    """What the engine does, without its parallel streams and journals: fetch, verify, put, publish."""
    plan = source.resolve(REF, revision)
    for file in plan.files:
        content = fetch(source, file)
        assert hashlib.sha256(content).hexdigest() == file.sha256
        store.prepare()
        partial = Path(store.partial_root, "arriving")
        partial.write_bytes(content)
        store.put(str(partial), Digest.parse(file.announced))
    store.publish(REF, OllamaManifest.parse(plan.manifest or b""))
    return plan.revision


def refused(code: str, work: t.Callable[[], object]) -> VenomError:
    with pytest.raises(VenomError) as caught:
        work()
    assert caught.value.reason_code == code
    shown = json.dumps(caught.value.to_result(), ensure_ascii=False)
    assert PASSWORD not in shown and TOKEN not in shown
    return caught.value


LOGINS: list[tuple[dict[str, t.Any], dict[str, str]]] = [
    ({}, {}),
    ({"auth": "bearer"}, {}),
    ({"auth": "bearer", "users": {USER: PASSWORD}}, {"username": USER, "password": PASSWORD}),
    ({"auth": "bearer", "tokens": {TOKEN: USER}}, {"token": TOKEN}),
    ({"auth": "basic", "users": {USER: PASSWORD}}, {"username": USER, "password": PASSWORD}),
]
LOGIN_NAMES = ["none", "anonymous token", "token for a password", "lasting token", "password"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("site", "login"), LOGINS, ids=LOGIN_NAMES)
def test_a_model_arrives_whole(tmp_path: Path, mode: str, site: dict[str, t.Any], login: dict[str, str]) -> None:
    with serve(mode=mode, **site) as registry:
        store = OllamaStore(str(tmp_path / "models"))
        revision = install(client(registry, **login), store)
        found = store.read(REF)
        assert found is not None and found.digest == revision
        assert found.content == registry.manifest()
        assert all(store.verify(digest, size) for digest, size in found.blobs.items())
        # Whatever proves who asks went to the registry alone.
        assert [entry for entry in registry.log.entries(listener="cdn") if entry.authorization] == []
        assert bool(registry.log.entries(listener="cdn")) is (mode == "307")
        assert registry.errors == []


@pytest.mark.parametrize("mode", MODES)
def test_ranges_of_a_blob(mode: str) -> None:
    with serve(mode=mode) as registry:
        source = client(registry)
        file = source.resolve(REF, "").files[0]
        assert fetch(source, file, 1000) == WEIGHTS[1000:]
        assert fetch(source, file, 1000, 10) == WEIGHTS[1000:1010]
        assert fetch(source, file, 0, 10) == WEIGHTS[:10]
        assert fetch(source, source.resolve(REF, "").files[1], 0) == b"{{ .Prompt }}"


def test_a_pinned_manifest_and_one_that_is_gone(tmp_path: Path) -> None:
    with serve() as registry:
        old = registry.add("library/tiny", "old", [("x", b"old weights")], media_type=OCI_MANIFEST_TYPE)
        current = client(registry).find_commit(REF)
        assert current != old
        assert install(client(registry), OllamaStore(str(tmp_path / "models")), old) == old
        error = refused("revision_not_found", lambda: client(registry).find_manifest(REF, "sha256:" + "0" * 64))
        assert error.details["current_revision"] == current


def test_a_missing_tag_and_a_missing_model() -> None:
    with serve() as registry:
        assert "latest" in refused("revision_not_found", lambda: client(registry).find_manifest(REF, "none")).found
        refused("not_found", lambda: client(registry).find_manifest(ModelRef.parse("none", "ollama")))


# Logins


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize(
    "login",
    [{}, {"username": USER, "password": "wrong"}, {"username": "mallory"}, {"token": "wrong"}],
    ids=["none", "password", "name", "token"],
)
def test_wrong_or_no_credentials(auth: str, login: dict[str, str]) -> None:
    with serve(auth=auth, users={USER: PASSWORD}) as registry:
        refused("unauthorized", lambda: client(registry, **login).find_manifest(REF))
        assert len(registry.log.entries()) <= 3, "a refusal is not tried again"


def test_a_realm_elsewhere_gets_no_credentials() -> None:
    with Registry(auth="bearer", users={USER: PASSWORD}) as elsewhere, serve(auth="bearer", users={USER: PASSWORD}) as registry:
        registry.realm = f"{elsewhere.url}/token"
        error = refused("redirect_refused", lambda: client(registry, username=USER, password=PASSWORD).find_manifest(REF))
        assert registry.url in error.found and elsewhere.url in error.found
        assert elsewhere.log.entries() == []


def test_a_realm_that_the_operator_listed_gets_them() -> None:
    # The token service gives tokens of its own, so the registry does not take them; what counts is where the password went.
    with Registry(auth="bearer", users={USER: PASSWORD}) as elsewhere, serve(auth="bearer", users={USER: PASSWORD}) as registry:
        registry.realm = f"{elsewhere.url}/token"
        source = client(registry, username=USER, password=PASSWORD, allowed_hosts=[elsewhere.host])
        refused("unauthorized", lambda: source.find_manifest(REF))
        assert [(entry.path, entry.user) for entry in elsewhere.log.entries()] == [("/token", USER)]
        assert {entry.scheme for entry in registry.log.entries()} == {None, "Bearer"}


@pytest.mark.parametrize("mode", ["307", "200"])
def test_a_token_that_ends_in_the_middle_is_renewed_once(mode: str) -> None:
    with serve(auth="bearer", users={USER: PASSWORD}, mode=mode) as registry:
        source = client(registry, username=USER, password=PASSWORD)
        files = source.resolve(REF, "").files
        assert fetch(source, files[1]) == b"{{ .Prompt }}"
        registry.expire_tokens()
        assert fetch(source, files[0]) == WEIGHTS
        registry.expire_tokens()
        assert source.find_commit(REF) == registry.store.repositories["library/tiny"].tags["latest"]
        assert len(registry.log.entries("/token")) == 3


def test_threads_whose_token_ends_share_a_new_one() -> None:
    with serve(auth="bearer", users={USER: PASSWORD}, mode="200") as registry:
        source = client(registry, username=USER, password=PASSWORD)
        file = source.resolve(REF, "").files[0]
        registry.expire_tokens()
        barrier = threading.Barrier(8)
        found: list[bytes] = []

        def work() -> None:
            barrier.wait()
            found.append(fetch(source, file))

        threads = [threading.Thread(target=work) for dummy in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [WEIGHTS] * 8
        assert len(registry.log.entries("/token")) == 2


def test_a_token_that_is_never_good_enough_is_given_up() -> None:
    with serve(auth="bearer", mode="200") as registry:
        source = client(registry)
        file = source.resolve(REF, "").files[0]
        registry.fault("status", path="*/blobs/*", status=401, times=-1)
        refused("unauthorized", lambda: source.open(file))
        assert len(registry.log.entries()) < 8


# TLS


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A server's key and certificate in one file, and the certificate alone."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate, both = (folder / name for name in ("key", "certificate", "both"))
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=registry"]
    subprocess.run([*argv, "-addext", "subjectAltName=IP:127.0.0.1,IP:127.0.0.2"], check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both, certificate


def test_a_private_authority(tmp_path: Path, pem: tuple[Path, Path]) -> None:
    with serve(pem=pem[0], auth="bearer", users={USER: PASSWORD}) as registry:
        login = {"username": USER, "password": PASSWORD}
        # A host without a scheme is asked by https.
        install(client(registry, registry.host, ca_path=str(pem[1]), **login), OllamaStore(str(tmp_path / "models")))
        error = refused("hub_unreachable", lambda: client(registry, **login).find_manifest(REF))
        assert "ca_path" in error.todo


class CutOnce:
    """A server's TLS that ends after the client's first words, once."""

    def __init__(self, pem: Path) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pem)
        self.cuts = 0

    def wrap_socket(self, connection: socket.socket, server_side: bool) -> ssl.SSLSocket:
        if self.cuts == 0:
            self.cuts += 1
            connection.recv(4096)
            raise OSError("cut")
        return self.context.wrap_socket(connection, server_side=server_side)


def test_a_handshake_that_is_cut_is_a_line_that_broke(pem: tuple[Path, Path]) -> None:
    tls = CutOnce(pem[0])
    with ScriptedHttp(tls=t.cast(t.Any, tls)) as server:
        server.on("GET", "/v2/library/tiny/blobs/x", reply(200, b"weights"))
        source = RegistrySource(server.url, ca_path=str(pem[1]))
        file = RemoteFile("x", 7, "0" * 64, None, f"{server.url}/v2/library/tiny/blobs/x")
        with pytest.raises(TransientError):
            source.open(file)
        assert (fetch(source, file), tls.cuts) == (b"weights", 1)


def test_plain_http_has_to_be_written() -> None:
    with serve() as registry:
        error = refused("hub_unreachable", lambda: client(registry, registry.host).find_manifest(REF))
        assert "http://" in error.todo
        assert client(registry, f"http://{registry.host}").find_manifest(REF).size > 0


def test_a_token_never_goes_from_https_to_http(pem: tuple[Path, Path]) -> None:
    with Registry(auth="bearer", users={USER: PASSWORD}) as plain, serve(pem=pem[0], auth="bearer", users={USER: PASSWORD}) as registry:
        registry.realm = f"{plain.url}/token"
        login = {"username": USER, "password": PASSWORD, "ca_path": str(pem[1]), "allowed_hosts": [plain.host]}
        assert "leaves https" in refused("redirect_refused", lambda: client(registry, **login).find_manifest(REF)).found
        assert plain.log.entries() == []


# Faults


@pytest.mark.parametrize(
    ("value", "what", "code"),
    [
        ("{}", "", "unsupported_source"),
        ("{}", "false", "unsupported_source"),
        ("{}", "true", "digest_mismatch"),
        ("<html>sign in</html>", "", "unsupported_source"),
        ("", "", "unsupported_source"),
        ('{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}', "", "unsupported_source"),
        (" " * 5000000, "", "unsupported_source"),
    ],
    ids=["empty object", "and its digest", "and the true digest", "web page", "garbage", "index", "huge"],
)
def test_what_is_no_manifest(value: str, what: str, code: str) -> None:
    with serve() as registry:
        registry.fault("manifest", value=value, what=what, times=-1)
        refused(code, lambda: client(registry).find_manifest(REF))


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 429, "retry_after": 0},
        {"kind": "drop"},
        {"kind": "drop", "how": "rst"},
        {"kind": "cut", "after": 10},
        {"kind": "hang", "seconds": 30.0},
    ],
    ids=lambda fault: " ".join(str(value) for value in fault.values()),
)
@pytest.mark.parametrize("times", [1, -1])
def test_a_passing_failure_of_the_manifest_is_cured_and_a_lasting_one_named(fault: dict[str, t.Any], times: int) -> None:
    with serve() as registry:
        registry.fault(path="*/manifests/*", times=times, **fault)
        source = client(registry, stall_timeout=0.2)
        if times == 1:
            assert source.find_manifest(REF).content == registry.manifest()
        else:
            refused("rate_limited" if fault.get("status") == 429 else "hub_unreachable", lambda: source.find_manifest(REF))


def test_the_registrys_wish_to_wait_is_obeyed() -> None:
    with serve() as registry:
        registry.fault("status", path="*/manifests/*", status=429, retry_after=7)
        waits: list[float] = []
        client(registry, sleep=waits.append).find_manifest(REF)
        assert waits == [7.0]


def test_nobody_there() -> None:
    with serve() as registry:
        registry.down()
        refused("hub_unreachable", lambda: client(registry).find_manifest(REF))


def test_a_redirect_elsewhere_is_not_followed() -> None:
    with Registry() as elsewhere, serve() as registry:
        registry.fault("redirect", location=elsewhere.url + "{path}", path="*/manifests/*", times=1)
        refused("redirect_refused", lambda: client(registry).find_manifest(REF))
        source = client(registry, allowed_hosts=[])
        file = source.resolve(REF, "").files[0]
        error = refused("redirect_refused", lambda: source.open(file))
        assert registry.url in error.found and "127.0.0.2" in error.found
        assert elsewhere.log.entries() == []
        assert registry.log.entries(listener="cdn") == []


def test_a_blob_that_is_not_there_and_one_that_breaks() -> None:
    with serve() as registry:
        source = client(registry)
        files = source.resolve(REF, "").files
        registry.fault("cut", listener="cdn", after=1000)
        with pytest.raises(TransientError):
            assert len(fetch(source, files[0])) == len(WEIGHTS)
        del registry.store.repositories["library/tiny"].blobs[files[1].announced]
        refused("not_found", lambda: source.open(files[1]))
