# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""venom_model with Ollama models, by each method, beside a server: twelve steps, pins, repair, removal; in check mode and for real."""
from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from integration.models_support import FakeContext, model_params, small_model, tree

from ansible_collections.venom.llm.plugins.module_utils import models_limits
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.models import run_models
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_api import OllamaApi
from ansible_collections.venom.llm.plugins.module_utils.store.ollama import OllamaStore
from lab.hub import Hub
from lab.models import ollama_layers
from lab.ollama import OllamaServer, command
from lab.registry import Registry

pytest.importorskip("huggingface_hub")

METHODS = ("store", "api", "cli")


@dataclass
class Host:
    """A registry, a server with its store, and a folder for our own records."""

    folder: Path
    registry: Registry
    server: OllamaServer

    @property
    def store(self) -> Path:
        return self.server.models_dir

    def add(self, seed: int = 1, tag: str = "mini", repository: str = "library/tiny", pad_mb: float = 0) -> str:
        """Put a model into the registry; its digest."""
        config, layers = ollama_layers(self.folder / f"model-{repository.replace('/', '-')}-{seed}-{tag}", pad_mb, seed)
        return self.registry.add(repository, tag, layers, config)

    def run(self, check: bool = False, context: FakeContext | None = None, **options: t.Any) -> dict[str, t.Any]:
        """Run the operation of venom_model."""
        options.setdefault("name", "tiny:mini")
        params = model_params(
            self.folder / "host",
            registry=self.registry.url,
            allowed_hosts=[self.registry.cdn_url.rpartition("//")[2]],
            **{"ollama_url": self.server.url, "ollama_models_dir": str(self.store), **options},
        )
        return run_models(params, context or FakeContext(check))

    def step(self, changed: bool, **options: t.Any) -> dict[str, t.Any]:
        """One step in check mode, which must touch nothing, then for real; both must tell the same."""
        before = tree(self.folder / "host"), tree(self.store)
        checked = self.run(check=True, **options)
        assert (tree(self.folder / "host"), tree(self.store)) == before
        real = self.run(**options)
        assert (checked["changed"], real["changed"]) == (changed, changed)
        for key in ("diff", "plan", "bytes_total", "bytes_to_fetch", "bytes_kept"):
            assert checked[key] == real[key], key
        assert (real["diff"]["before"] != real["diff"]["after"]) is changed
        return real

    def listed(self) -> dict[str, str]:
        """What the server lists: name to digest."""
        return {model["name"]: f"sha256:{model['digest']}" for model in self.server.request("GET", "/api/tags").json["models"]}

    def weights(self, digest: str) -> Path:
        """The largest blob of a model in the store."""
        layers = json.loads(self.registry.manifest("library/tiny", digest))["layers"]
        blobs = [self.store / "blobs" / layer["digest"].replace(":", "-") for layer in layers]
        return max(blobs, key=lambda path: path.stat().st_size if path.exists() else 0)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Host]:
    (tmp_path / "bin").mkdir()
    command(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "store").mkdir()
    with Registry() as registry, OllamaServer(tmp_path / "store") as server:
        yield Host(tmp_path, registry, server)


def rot(path: Path) -> None:
    """Change one byte as a failing disk does: size, time and inode stay."""
    status = path.stat()
    with open(path, "r+b") as stream:
        stream.seek(status.st_size // 2)
        byte = stream.read(1)
        stream.seek(status.st_size // 2)
        stream.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("method", METHODS)
def test_twelve_steps(host: Host, method: str) -> None:
    first = host.add(1)
    created = host.step(True, ollama_method=method)
    assert created["models"][0]["revision"] == first
    assert created["operations"][0]["status"] == "completed"
    assert host.listed() == {"tiny:mini": first}
    host.step(False, ollama_method=method)
    host.step(True, ollama_method=method, alias="short")
    host.step(False, ollama_method=method, alias="short")

    second = host.add(2)
    host.step(False, ollama_method=method)
    host.step(True, ollama_method=method, state="latest")
    assert host.listed() == {"tiny:mini": second}
    assert [entry.revision for entry in Manifest.load(str(host.folder / "host" / "models")).models] == [second]
    host.step(False, ollama_method=method, state="latest")

    host.step(True, ollama_method=method, state="absent")
    assert host.listed() == {}
    assert Manifest.load(str(host.folder / "host" / "models")).models == ()
    host.step(False, ollama_method=method, state="absent")


def test_twelve_steps_verified(host: Host) -> None:
    digest = host.add(1)
    host.step(True, state="verified")
    host.step(False, state="verified")
    bad = host.weights(digest)
    good = bad.read_bytes()
    rot(bad)
    assert host.run()["changed"] is False, "a quick look cannot see it"
    repaired = host.step(True, state="verified")
    assert (repaired["files_repaired"], repaired["bytes_fetched"]) == (1, len(good))
    assert bad.read_bytes() == good
    host.step(False, state="verified")
    host.step(False, verify="full")
    host.step(True, state="absent")
    host.step(False, state="absent")


def test_a_store_install_is_what_a_pull_would_have_made(host: Host, tmp_path: Path) -> None:
    digest = host.add(1)
    host.run(ollama_method="store")
    with OllamaServer(tmp_path / "pulled") as other:
        reply = other.request("POST", "/api/pull", {"model": f"{host.registry.host}/library/tiny:mini", "insecure": True})
        assert reply.lines[-1] == {"status": "success"}
        (pulled,) = other.request("GET", "/api/tags").json["models"]
    (listed,) = host.server.request("GET", "/api/tags").json["models"]
    assert (listed["digest"], listed["size"], listed["details"]) == (pulled["digest"], pulled["size"], pulled["details"])
    assert f"sha256:{listed['digest']}" == digest
    blobs = {path.name: path.read_bytes() for path in (host.store / "blobs").iterdir()}
    assert blobs == {path.name: path.read_bytes() for path in (tmp_path / "pulled" / "blobs").iterdir()}
    answer = host.server.request("POST", "/api/generate", {"model": "tiny:mini", "prompt": "hello", "stream": False})
    assert answer.status == 200
    assert answer.json["response"]


def test_the_store_needs_no_server(host: Host) -> None:
    digest = host.add(1)
    host.server.stop()
    host.run()
    host.server.start()
    assert host.listed() == {"tiny:mini": digest}


def test_a_no_op_asks_nobody(host: Host) -> None:
    host.add(1)
    host.run()
    host.registry.log.clear()
    host.server.stop()
    assert host.run()["changed"] is False
    assert host.registry.log.entries() == []


@pytest.mark.parametrize("method", ["store", "api"])
def test_a_pin_holds_when_the_tag_moves(host: Host, method: str) -> None:
    first = host.add(1)
    second = host.add(2)
    assert host.registry.manifest("library/tiny", "mini") == host.registry.manifest("library/tiny", second)
    if method == "store":
        host.step(True, revision=first, ollama_method=method)
        assert host.listed() == {"tiny:mini": first}
        host.step(False, revision=first, ollama_method=method)
        host.step(False, revision=first, state="latest", ollama_method=method)
    else:
        with pytest.raises(VenomError) as caught:
            host.run(revision=first, ollama_method=method)
        assert caught.value.reason_code == "digest_mismatch"
    with pytest.raises(VenomError) as caught:
        host.run(revision="sha256:" + "0" * 64, ollama_method=method)
    assert caught.value.reason_code == "revision_not_found"


def test_what_somebody_pulled_is_adopted_hashed_and_repaired(host: Host) -> None:
    digest = host.add(1)
    reply = host.server.request("POST", "/api/pull", {"model": f"{host.registry.host}/library/tiny:mini", "insecure": True})
    assert reply.lines[-1] == {"status": "success"}
    host.server.request("POST", "/api/copy", {"source": f"{host.registry.host}/library/tiny:mini", "destination": "tiny:mini"})
    host.registry.log.clear()
    adopted = host.step(True)
    assert (adopted["plan"][0]["action"], adopted["bytes_fetched"], adopted["models"][0]["revision"]) == ("record", 0, digest)
    assert host.registry.log.entries() == []
    host.step(False)

    host.run(state="absent")
    host.server.request("POST", "/api/copy", {"source": f"{host.registry.host}/library/tiny:mini", "destination": "tiny:mini"})
    rot(host.weights(digest))
    repaired = host.step(True)
    assert repaired["files_repaired"] == 1
    host.step(False, state="verified")


def test_shared_layers_are_fetched_once_and_outlive_the_other_model(host: Host) -> None:
    host.add(1, "one")
    host.add(2, "two")
    host.run(name="tiny:one")
    two = host.run(name="tiny:two")
    assert two["bytes_kept"] > 0
    assert host.run(name="tiny:one")["changed"] is False, "publishing the second must not make the first look touched"
    before = tree(host.folder / "host")
    assert host.run(name="tiny:one", check=True)["changed"] is False
    assert tree(host.folder / "host") == before
    host.run(name="tiny:two", state="absent")
    assert host.run(name="tiny:one", state="verified")["changed"] is False
    assert set(host.listed()) == {"tiny:one"}


def test_a_moved_tag_takes_the_blobs_of_its_former_revision_along(host: Host) -> None:
    first = host.add(1)
    host.run()
    old = host.weights(first)
    host.add(2, tag="other")
    host.run(name="tiny:other")
    host.add(3)
    host.run(state="latest")
    assert not old.exists()
    assert host.run(name="tiny:other", state="verified")["changed"] is False
    host.run(state="absent")
    host.run(name="tiny:other", state="absent")
    assert list((host.store / "blobs").iterdir()) == []


def test_what_an_install_left_that_never_ended_gives_way_when_space_is_needed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.add(1, pad_mb=1)
    with monkeypatch.context() as patch:

        def refuse(*dummy: object) -> None:
            raise OSError(5, "gone")

        patch.setattr(OllamaStore, "publish", refuse)
        with pytest.raises(OSError, match="gone"):
            host.run()
    staged = host.store / ".venom" / "staged"
    assert len(list(staged.iterdir())) == 4
    assert host.run(check=True)["bytes_to_fetch"] == 0, "verified bytes are kept for the next run"
    host.add(2, tag="other")
    host.run(name="tiny:other")
    assert len(list(staged.iterdir())) == 3, "another model came meanwhile, which has one of them, too"
    host.add(3, tag="third")
    needed = host.run(name="tiny:third", check=True)["bytes_to_fetch"]
    monkeypatch.setattr(models_limits, "measure_free", lambda path: needed - 1)
    host.run(name="tiny:third")
    assert len(list(staged.iterdir())) == 2, "no more goes than it takes"


@pytest.mark.parametrize("method", ["api", "cli"])
def test_figures_are_of_what_the_server_lacks(host: Host, method: str) -> None:
    config, layers = ollama_layers(host.folder / "model", 1, 1)
    host.registry.add("library/tiny", "mini", layers, config)
    created = host.step(True, ollama_method=method)
    assert created["bytes_fetched"] == created["bytes_to_fetch"] == created["bytes_total"] > 1_000_000
    # The tag moves to the same layers but one.
    host.registry.add("library/tiny", "mini", layers[:-1], config)
    moved = host.step(True, ollama_method=method, state="latest", confirm_above_gb=0.0)
    assert (moved["bytes_fetched"], moved["bytes_to_fetch"], moved["bytes_kept"]) == (0, 0, moved["bytes_total"])


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_kill_between_pull_and_copy_leaves_no_name_for_good(host: Host, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    def killed(*dummy: object) -> None:
        raise KeyboardInterrupt

    host.add(1)
    with monkeypatch.context() as patch:
        patch.setattr(OllamaApi, "copy", killed)
        with pytest.raises(KeyboardInterrupt):
            host.run(ollama_method="api")
    assert list(host.listed()) == [f"{host.registry.host}/library/tiny:mini"]
    host.run(ollama_method="api", state=state)
    assert list(host.listed()) == ([] if state == "absent" else ["tiny:mini"])
    host.run(ollama_method="api", state="absent")
    assert (host.listed(), list((host.store / "blobs").iterdir())) == ({}, [])


def test_a_loaded_model_is_unloaded_before_it_goes(host: Host) -> None:
    host.add(1)
    host.run()
    host.server.request("POST", "/api/generate", {"model": "tiny:mini"})
    assert host.server.request("GET", "/api/ps").json["models"]
    host.run(state="absent")
    assert host.server.request("GET", "/api/ps").json["models"] == []
    assert host.listed() == {}


def test_an_active_model_is_not_removed(host: Host) -> None:
    digest = host.add(1)
    host.run()
    (host.folder / "host" / "etc").mkdir()
    (host.folder / "host" / "etc" / "runtime.json").write_text(json.dumps({"active": {"ollama": {"model": "tiny:mini", "revision": digest}}}))
    with pytest.raises(VenomError) as caught:
        host.run(state="absent")
    assert caught.value.reason_code == "model_active"
    assert host.run(state="absent", force=True)["changed"] is True


def test_a_damaged_manifest_in_the_store_is_replaced(host: Host) -> None:
    digest = host.add(1)
    host.run()
    host.add(2)
    path = next((host.store / "manifests").rglob("mini"))
    path.write_bytes(path.read_bytes()[:40])
    assert host.listed() == {}
    repaired = host.step(True, state="verified")
    assert repaired["models"][0]["revision"] == digest, "what was installed comes back, not what the tag has become"
    assert host.listed() == {"tiny:mini": digest}


def test_a_model_that_the_server_loaded_from_bad_bytes_is_unloaded(host: Host) -> None:
    digest = host.add(1)
    host.run()
    host.server.request("POST", "/api/generate", {"model": "tiny:mini"})
    rot(host.weights(digest))
    context = FakeContext()
    host.run(state="verified", context=context)
    assert host.server.request("GET", "/api/ps").json["models"] == []
    assert "unloaded" in context.warnings[0]


def test_a_server_with_another_store_is_told(host: Host, tmp_path: Path) -> None:
    host.add(1)
    context = FakeContext()
    with OllamaServer(tmp_path / "elsewhere") as other:
        host.run(context=context, ollama_url=other.url)
        assert other.url in context.warnings[0]
    assert set(host.listed()) == {"tiny:mini"}


def test_nothing_of_ollama_here_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.add(1)
    host.server.stop()
    monkeypatch.setenv("PATH", "/nonexistent")
    nowhere = str(host.folder / "nowhere")
    with pytest.raises(VenomError) as caught:
        host.run(ollama_models_dir=nowhere)
    assert caught.value.reason_code == "server_unreachable"
    checked = host.run(check=True, ollama_models_dir=nowhere)
    assert (checked["changed"], checked["plan"][0]["method"]) == (True, "store")


def test_auto_takes_what_works(host: Host) -> None:
    host.add(1)
    nowhere = str(host.folder / "nowhere")
    assert host.run(check=True)["plan"][0]["method"] == "store"
    assert host.run(check=True, ollama_models_dir=nowhere)["plan"][0]["method"] == "api"
    host.server.stop()
    with pytest.raises(VenomError) as caught:
        host.run(ollama_models_dir=nowhere)
    assert "run 'ollama serve'" in str(caught.value), "the command was asked, and it asks the same server"


def test_a_model_that_is_not_there_is_absent(host: Host) -> None:
    assert host.run(check=True, name="other/tiny", provider="ollama", state="absent")["changed"] is False


def test_models_of_both_kinds_in_one_call(host: Host, tmp_path: Path) -> None:
    host.add(1)
    with Hub() as hub:
        hub.add_repo("a/b", small_model(tmp_path / "repo", 1, README__md="one"))
        models = [{"name": "tiny:mini", "alias": "a"}, {"name": "a/b", "alias": "b"}]
        host.step(True, name=None, models=models, endpoint=hub.url)
        host.step(False, name=None, models=models, endpoint=hub.url)
        host.step(False, name=None, models=models, endpoint=hub.url, state="verified")
        host.step(True, name=None, models=[{"name": "tiny:mini", "state": "absent"}, {"name": "a/b", "alias": "a"}], endpoint=hub.url)
    assert host.listed() == {}
    assert [(entry.name, entry.alias) for entry in Manifest.load(str(host.folder / "host" / "models")).models] == [("a/b", "a")]


def test_two_models_in_one_call(host: Host) -> None:
    host.add(1)
    host.add(3, "other")
    result = host.run(name=None, models=[{"name": "tiny:mini", "alias": "a"}, {"name": "tiny:other", "alias": "b"}])
    assert [entry["alias"] for entry in result["models"]] == ["a", "b"]
    assert host.run(name=None, models=[{"name": "tiny:mini"}, {"name": "tiny:other", "state": "absent"}])["changed"] is True
    assert set(host.listed()) == {"tiny:mini"}


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_files_belong_to_the_service_and_have_its_modes(host: Host, tmp_path: Path, mode: int) -> None:
    host.add(1)
    store = tmp_path / "service"
    store.mkdir()
    os.chown(store, 65534, 65534)
    store.chmod(mode)
    host.run(ollama_method="store", ollama_models_dir=str(store))
    found = list(store.rglob("*"))
    assert len(found) > 8
    for path in found:
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (65534, 65534), path
        assert status.st_mode & 0o777 == (mode if path.is_dir() else mode & 0o666), path
