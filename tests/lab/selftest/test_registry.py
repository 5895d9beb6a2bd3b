# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry, seen from a socket: what an Ollama client meets there, and its logins."""
from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import typing as t
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from lab.models import ollama_layers
from lab.registry import MANIFEST_TYPE, MODES, OCI_MANIFEST_TYPE, Registry
from lab.selftest.registry_support import BLOB, DATA, DIGEST, MANIFEST, MODEL, Reply, ask, basic, code, guarded, link


@pytest.fixture
def registry() -> t.Iterator[Registry]:
    """A registry with one model of one layer, as blobs are handed out to Ollama."""
    with Registry() as made:
        made.add(layers=[(MODEL, DATA)])
        yield made
        assert made.errors == []


def test_a_manifest_by_tag_and_by_digest(registry: Registry) -> None:
    digest = registry.store.repositories["library/tiny"].tags["latest"]
    tagged, pinned = ask(registry, MANIFEST), ask(registry, f"/v2/library/tiny/manifests/{digest}")
    assert tagged.status == pinned.status == 200
    assert tagged.body == pinned.body == registry.manifest()
    assert "sha256:" + hashlib.sha256(tagged.body).hexdigest() == digest
    assert tagged.headers["Docker-Content-Digest"] == pinned.headers["Docker-Content-Digest"] == digest
    assert tagged.headers["Content-Type"] == MANIFEST_TYPE
    data = json.loads(tagged.body)
    assert (data["schemaVersion"], data["mediaType"]) == (2, MANIFEST_TYPE)
    assert data["layers"] == [{"mediaType": MODEL, "digest": DIGEST, "size": len(DATA)}]
    config = ask(registry, f"/v2/library/tiny/blobs/{data['config']['digest']}")
    assert json.loads(ask(registry, config.headers["Location"]).body)["rootfs"]["diff_ids"] == [DIGEST]
    head = ask(registry, MANIFEST, "HEAD")
    assert (head.status, head.headers["Docker-Content-Digest"], head.headers["Content-Length"]) == (200, digest, str(len(tagged.body)))
    assert ask(registry, MANIFEST, If_None_Match=tagged.headers["ETag"]).status == 304
    assert ask(registry, "/v2/").headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_tags_move_and_go(registry: Registry) -> None:
    first = registry.store.repositories["library/tiny"].tags["latest"]
    second = registry.add(tag="next", layers=[(MODEL, b"other")], media_type=OCI_MANIFEST_TYPE)
    assert first != second
    assert ask(registry, "/v2/library/tiny/manifests/next").headers["Content-Type"] == OCI_MANIFEST_TYPE
    assert json.loads(ask(registry, "/v2/library/tiny/tags/list").body) == {"name": "library/tiny", "tags": ["latest", "next"]}
    page = ask(registry, "/v2/library/tiny/tags/list?n=1")
    assert page.headers["Link"] == '</v2/library/tiny/tags/list?last=latest&n=1>; rel="next"'
    assert json.loads(ask(registry, "/v2/library/tiny/tags/list?n=1&last=latest").body)["tags"] == ["next"]
    registry.move_tag("library/tiny", "latest", second)
    assert ask(registry, MANIFEST).headers["Docker-Content-Digest"] == second
    assert ask(registry, f"/v2/library/tiny/manifests/{first}").status == 200
    registry.move_tag("library/tiny", "latest", None)
    assert code(ask(registry, MANIFEST)) == "MANIFEST_UNKNOWN"
    with pytest.raises(KeyError):
        registry.move_tag("library/tiny", "latest", "sha256:" + "0" * 64)


def test_what_is_not_there(registry: Registry) -> None:
    missing = {
        "/v2/library/tiny/manifests/none": "MANIFEST_UNKNOWN",
        "/v2/library/none/manifests/latest": "NAME_UNKNOWN",
        "/v2/library/none/tags/list": "NAME_UNKNOWN",
        "/v2/library/tiny/blobs/sha256:" + "0" * 64: "BLOB_UNKNOWN",
        "/v2/library/tiny/tags/none": "NOT_FOUND",
        "/v1/": "NOT_FOUND",
    }
    for target, expected in missing.items():
        reply = ask(registry, target)
        assert (reply.status, code(reply)) == (404, expected)
    refused = ask(registry, MANIFEST, "DELETE")
    assert (refused.status, code(refused)) == (405, "UNSUPPORTED")


def test_a_blob_of_another_repository_is_unknown(registry: Registry) -> None:
    registry.add("user/other", layers=[(MODEL, b"other")])
    assert code(ask(registry, f"/v2/user/other/blobs/{DIGEST}")) == "BLOB_UNKNOWN"


@pytest.mark.parametrize("mode", list(MODES))
def test_a_head_of_a_blob_is_200_in_every_mode(mode: str) -> None:
    with guarded(mode=mode) as registry:
        head = ask(registry, BLOB, "HEAD")
        assert (head.status, head.headers["Content-Length"], head.headers["Docker-Content-Digest"]) == (200, str(len(DATA)), DIGEST)
        assert "Location" not in head.headers


def test_a_blob_comes_from_another_host_by_a_signed_link(registry: Registry) -> None:
    away = ask(registry, BLOB)
    assert away.status == 307
    assert away.headers["Location"].startswith(f"{registry.cdn_url}/cdn/{DIGEST}?X-Lab-Signature=")
    assert urllib.parse.urlsplit(away.headers["Location"]).hostname != urllib.parse.urlsplit(registry.url).hostname
    part = ask(registry, away.headers["Location"], Range="bytes=10-19")
    assert (part.status, part.body, part.headers["Content-Range"]) == (206, DATA[10:20], f"bytes 10-19/{len(DATA)}")
    assert ask(registry, away.headers["Location"]).body == DATA
    assert registry.bytes_sent(DIGEST) == len(DATA) + 10
    assert ask(registry, str(registry.cdn_url) + MANIFEST).status == 404
    assert ask(registry, away.headers["Location"][:-1]).status == 403
    registry.expire_links()
    assert ask(registry, away.headers["Location"]).status == 403
    assert ask(registry, link(registry)).body == DATA


def test_a_redirect_to_the_host_that_was_asked() -> None:
    with guarded(mode="307-same-host", cdn_host=None) as registry:
        location = link(registry)
        assert location.startswith(registry.url + "/cdn/")
        named = ask(registry, BLOB, Host="registry.example:99").headers["Location"]
        assert named.startswith("http://registry.example:99/cdn/")
        assert ask(registry, location).body == DATA


def test_bytes_at_once_with_and_without_a_location() -> None:
    with guarded(mode="200") as registry:
        plain = ask(registry, BLOB)
        assert (plain.status, plain.body) == (200, DATA)
        assert "Location" not in plain.headers
        assert ask(registry, BLOB, Range="bytes=5-9").body == DATA[5:10]
        registry.mode = "200-location"
        located = ask(registry, BLOB)
        assert (located.status, located.headers["Location"]) == (200, registry.url + BLOB)
        assert ask(registry, located.headers["Location"], Range=f"bytes=0-{len(DATA) - 1}").status == 206
    with pytest.raises(ValueError):
        Registry(mode="307", cdn_host=None)
    with pytest.raises(ValueError):
        Registry(mode="302")


def test_basic() -> None:
    with guarded(auth="basic", users={"reader": "pass"}) as registry:
        refused = ask(registry, MANIFEST)
        assert (refused.status, refused.headers["WWW-Authenticate"], code(refused)) == (401, 'Basic realm="lab"', "UNAUTHORIZED")
        for wrong in (basic("reader", "no"), basic("nobody", "pass"), "Basic !!"):
            assert ask(registry, MANIFEST, Authorization=wrong).status == 401
        assert ask(registry, MANIFEST, Authorization=basic("reader", "pass")).status == 200
        entry = registry.log.entries()[-1]
        assert (entry.user, entry.scheme) == ("reader", "Basic")
        assert entry.authorization == registry.log.hash(basic("reader", "pass").split()[1])
        assert "pass" not in str(entry)


def challenge(reply: Reply) -> dict[str, str]:
    """The parameters of a bearer challenge."""
    scheme, dummy, rest = reply.headers["WWW-Authenticate"].partition(" ")
    assert scheme == "Bearer"
    return {name: value.strip('"') for name, dummy, value in (item.partition("=") for item in rest.split(","))}


def login(registry: Registry, reply: Reply, **headers: str) -> Reply:
    """What the realm of a challenge says."""
    wanted = challenge(reply)
    query = urllib.parse.urlencode({"service": wanted["service"], "scope": wanted["scope"]})
    return ask(registry, f"{wanted['realm']}?{query}", **headers)


def test_bearer_until_the_tokens_expire() -> None:
    with guarded(auth="bearer", users={"reader": "pass"}) as registry:
        registry.add("user/other", layers=[(MODEL, b"other")])
        refused = ask(registry, MANIFEST)
        assert (refused.status, code(refused)) == (401, "UNAUTHORIZED")
        assert challenge(refused) == {"realm": registry.url + "/token", "service": registry.host, "scope": "repository:library/tiny:pull"}
        assert login(registry, refused).status == 401
        assert login(registry, refused, Authorization=basic("reader", "no")).status == 401
        given = json.loads(login(registry, refused, Authorization=basic("reader", "pass")).body)
        bearer = f"Bearer {given['token']}"
        assert given["access_token"] == given["token"]
        assert ask(registry, MANIFEST, Authorization=bearer).status == 200
        assert (registry.log.entries()[-1].user, registry.log.entries()[-1].scheme) == ("reader", "Bearer")
        assert ask(registry, BLOB, Authorization=bearer).status == 307
        assert challenge(ask(registry, "/v2/user/other/manifests/latest", Authorization=bearer))["error"] == "insufficient_scope"
        assert ask(registry, link_with(registry, bearer)).body == DATA
        assert [entry.scheme for entry in registry.log.entries(listener="cdn")] == [None]
        registry.expire_tokens()
        assert challenge(ask(registry, MANIFEST, Authorization=bearer))["error"] == "invalid_token"
        assert given["token"] not in str(registry.log.entries())


def link_with(registry: Registry, authorization: str) -> str:
    return ask(registry, BLOB, Authorization=authorization).headers["Location"]


def test_bearer_for_anybody_and_for_lasting_tokens() -> None:
    with guarded(auth="bearer") as registry:
        given = json.loads(login(registry, ask(registry, MANIFEST), Authorization="c3NoLWtleQ==:signature").body)
        assert ask(registry, MANIFEST, Authorization=f"Bearer {given['token']}").status == 200
    with guarded(auth="bearer", tokens={"lasting": "robot"}) as registry:
        assert login(registry, ask(registry, MANIFEST)).status == 401
        registry.expire_tokens()
        assert ask(registry, MANIFEST, Authorization="Bearer lasting").status == 200
        assert registry.log.entries()[-1].user == "robot"
    with pytest.raises(ValueError):
        Registry(auth="digest")


def test_a_realm_on_a_foreign_host_shows_who_went_there() -> None:
    with guarded(auth="bearer", users={"reader": "pass"}) as registry:
        registry.realm = f"{registry.cdn_url}/token"
        refused = ask(registry, MANIFEST)
        assert challenge(refused)["realm"] == f"{registry.cdn_url}/token"
        assert login(registry, refused, Authorization=basic("reader", "pass")).status == 404
        assert [(entry.path, entry.scheme) for entry in registry.log.entries(listener="cdn")] == [("/token", "Basic")]


def test_large_files_leave_without_a_copy_and_whole(registry: Registry, tmp_path: Path) -> None:
    config, layers = ollama_layers(tmp_path, pad_mb=20, seed=3)
    registry.add("user/big", layers=layers, config=config)
    path = layers[0][1]
    digest = config["rootfs"]["diff_ids"][0]
    location = ask(registry, f"/v2/user/big/blobs/{digest}").headers["Location"]
    assert registry.store.blob(path).path == path.resolve()
    assert "sha256:" + hashlib.sha256(ask(registry, location).body).hexdigest() == digest
    registry.fault("cut", path="/cdn/*", after=3_000_001)
    assert ask(registry, location).body == path.read_bytes()[:3_000_001]
    assert ask(registry, location, Range="bytes=1000000-17000000").body == path.read_bytes()[1_000_000:17_000_001]
    assert registry.bytes_sent(digest) == path.stat().st_size + 3_000_001 + 16_000_001


def test_models_share_the_template_only(tmp_path: Path) -> None:
    first, again, other = (ollama_layers(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert first[0] == again[0]
    assert [one == two for one, two in zip(first[0]["rootfs"]["diff_ids"], other[0]["rootfs"]["diff_ids"])] == [False, True, False]
    assert first[1][0][1].read_bytes()[:4] == b"GGUF"


def test_https_on_both_hosts(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    assert openssl is not None
    key, certificate, pem = (tmp_path / name for name in ("key", "certificate", "pem"))
    argv = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=registry"]
    subprocess.run([*argv, "-addext", "subjectAltName=IP:127.0.0.1,IP:127.0.0.2"], check=True, capture_output=True)
    pem.write_bytes(key.read_bytes() + certificate.read_bytes())
    with guarded(pem=pem) as registry:
        trusted = ssl.create_default_context(cafile=str(certificate))
        with urllib.request.urlopen(registry.url + BLOB, context=trusted) as answer:
            assert answer.url.startswith("https://127.0.0.2")
            assert answer.read() == DATA
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(registry.url + BLOB)
        assert registry.errors == []


def test_control_over_http(registry: Registry) -> None:
    first = registry.store.repositories["library/tiny"].tags["latest"]
    location = link(registry)
    assert ask(registry, "/_lab/faults", "POST", {"kind": "status", "path": "*manifests*"}).status == 200
    assert ask(registry, MANIFEST).status == 503
    assert json.loads(ask(registry, "/_lab/repos").body) == {"library/tiny": {"latest": first}}
    post = {"Content_Type": "application/json"}
    assert ask(registry, "/_lab/tag", "POST", {"repository": "library/tiny", "tag": "v1", "digest": first}, **post).status == 200
    assert ask(registry, "/v2/library/tiny/manifests/v1").status == 200
    assert ask(registry, "/_lab/expire", "POST", {}, **post).status == 200
    assert ask(registry, location).status == 403
    assert ask(registry, "/_lab/mode", "POST", {"mode": "200"}, **post).status == 200
    assert ask(registry, BLOB).status == 200
    assert ask(registry, "/_lab/mode", "POST", {"mode": "none"}, **post).status == 400
    assert ask(registry, "/_lab/none").status == 404
    assert all(entry.path.startswith(("/v2/", "/cdn/")) for entry in registry.log.entries())


def test_the_command_serves_and_its_folder_can_be_an_ollama_store(tmp_path: Path) -> None:
    config, layers = ollama_layers(tmp_path / "layers")
    with Registry() as registry:
        registry.add("user/mine", "v1", layers, config)
        content = registry.manifest("user/mine", "v1")
        blobs = registry.store.repositories["user/mine"].blobs.values()
        (tmp_path / "models/manifests/registry.ollama.ai/user/mine").mkdir(parents=True)
        (tmp_path / "models/manifests/registry.ollama.ai/user/mine/v1").write_bytes(content)
        (tmp_path / "models/blobs").mkdir()
        for blob in blobs:
            shutil.copyfile(blob.path, tmp_path / "models/blobs" / blob.digest.replace(":", "-"))
    port_file = tmp_path / "port"
    argv = [sys.executable, "-m", "lab", "registry", "serve", "--demo", "--models", str(tmp_path / "models"), "--port-file", str(port_file)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["url"].endswith(":" + port_file.read_text().strip())
        assert set(ready["repos"]) == {"library/tiny-aurora", "library/tiny-borealis", "user/mine"}
        with urllib.request.urlopen(ready["url"] + "/v2/user/mine/manifests/v1") as answer:
            assert answer.read() == content
        for blob in blobs:
            with urllib.request.urlopen(f"{ready['url']}/v2/user/mine/blobs/{blob.digest}") as answer:
                assert "sha256:" + hashlib.sha256(answer.read()).hexdigest() == blob.digest
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not port_file.exists()


def test_stop_ends_every_thread() -> None:
    before = set(threading.enumerate())
    registry = guarded().start()
    registry.down(600)
    registry.stop()
    assert set(threading.enumerate()) <= before
    assert not registry.folder.exists()
