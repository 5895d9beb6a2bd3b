# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client and the command with the Ollama stand-in: each recorded case that is no pull and that they can meet, under its name."""
from __future__ import annotations

import socket
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef
from ansible_collections.venom.llm.plugins.module_utils.runtimes import ollama_http
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_api import OllamaApi
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_cli import OllamaCli
from lab.ollama import OllamaServer, command
from lab.ollama.samples import Stage


@pytest.fixture()
def stage(tmp_path: Path) -> t.Iterator[Stage]:
    with Stage(tmp_path) as made:
        yield made


@pytest.fixture()
def api(stage: Stage) -> OllamaApi:
    return OllamaApi(stage.server.url)


def digest(stage: Stage, model: str) -> str:
    return f"sha256:{stage.samples[model].symbols()[model]}"


def code_of(call: t.Callable[..., object], *arguments: t.Any) -> str:
    with pytest.raises(VenomError) as caught:
        call(*arguments)
    return caught.value.reason_code


def load(stage: Stage, model: str) -> None:
    assert stage.server.request("POST", "/api/generate", {"model": model}).status == 200


def test_version_and_root_and_unknown_route(stage: Stage, api: OllamaApi) -> None:
    assert api.version() == "0.32.15" and api.is_up()
    assert ollama_http.ask(api.url, "GET", "/").text() == "Ollama is running"
    below = OllamaApi(f"{stage.server.url}/nope")
    assert code_of(below.version) == code_of(below.delete, "tiny") == "server_unreachable" and not below.is_up()


def test_readiness(tmp_path: Path) -> None:
    with OllamaServer(tmp_path / "models") as server:
        server.stop()
        api = OllamaApi(server.url, timeout=0.2)
        assert not api.is_up()
        server.env.update(LAB_OLLAMA_START_SECONDS="3", LAB_OLLAMA_TIME_SCALE="1")
        server.start(wait=False)
        until = time.monotonic() + 20
        while server.log.count("Listening") < 2 and time.monotonic() < until:
            time.sleep(0.02)
        with socket.create_connection(("127.0.0.1", server.port)):
            assert not api.is_up(), "the port is open, and nobody answers yet"
        while not OllamaApi(server.url).is_up():
            assert time.monotonic() < until


def test_host_header_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    found = socket.getaddrinfo

    def here(host: str, *arguments: t.Any, **options: t.Any) -> t.Any:
        return found("127.0.0.1" if host.startswith("ollama.") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    port = stage.server.port
    with pytest.raises(VenomError) as caught:
        OllamaApi(f"http://ollama.example.com:{port}").models()
    assert caught.value.reason_code == "server_unreachable" and "Host:" in caught.value.todo
    assert OllamaApi(f"http://ollama.internal:{port}").is_up()


def test_tags_empty_and_ps_empty(api: OllamaApi) -> None:
    assert api.models() == () and api.loaded() == ()


def test_tags_with_models(stage: Stage, api: OllamaApi) -> None:
    stage.store("tiny")
    stage.store("mid", "Mid")
    found = {model.name: model for model in api.models()}
    assert set(found) == {"tiny:latest", "Mid:latest"}
    tiny = found["tiny:latest"]
    assert (tiny.digest, tiny.size, tiny.capabilities) == (digest(stage, "tiny"), stage.samples["tiny"].size, ("completion",))
    assert tiny.details["quantization_level"] == "F16"
    by_name = api.find(ModelRef.parse("MID"))
    assert by_name is not None and by_name.name == "Mid:latest"


def test_tags_pulled(stage: Stage, api: OllamaApi) -> None:
    stage.store("tiny", host=stage.registry.host)
    assert api.find(ModelRef.parse("tiny")) is None
    found = api.find_name(f"{stage.registry.host}/library/tiny")
    assert found is not None and found.name == f"{stage.registry.host}/library/tiny:latest"


def test_external_write(stage: Stage, api: OllamaApi) -> None:
    stage.store("mid", "side")
    found = api.find(ModelRef.parse("side"))
    assert found is not None and found.digest == digest(stage, "mid")
    load(stage, "side")
    stage.store("tiny", "side")
    found = api.find(ModelRef.parse("side"))
    assert found is not None and found.digest == digest(stage, "tiny")
    assert [model.digest for model in api.loaded()] == [digest(stage, "mid")], "what is loaded is the old one until the next request"
    stage.manifest_path("side").unlink()
    assert api.models() == () and code_of(api.show, "side") == "not_installed"


def test_show(stage: Stage, api: OllamaApi) -> None:
    stage.store("tiny")
    said = api.show("tiny")
    assert said["template"] == "{{ .System }} {{ .Prompt }}" and said["capabilities"] == ["completion"]
    assert code_of(api.show, "nothere") == "not_installed"
    assert code_of(api.show, "a b") == code_of(api.show, "") == "invalid_name"


def test_copy(stage: Stage, api: OllamaApi) -> None:
    stage.store("tiny")
    for dummy in range(2):
        api.copy("tiny", "tiny-copy")
    assert {model.name: model.digest for model in api.models()} == {name: digest(stage, "tiny") for name in ("tiny:latest", "tiny-copy:latest")}
    assert code_of(api.copy, "nothere", "x") == "not_installed"
    assert code_of(api.copy, "tiny", "a b") == code_of(api.copy, "", "x") == "invalid_name"


def test_blobs(stage: Stage, api: OllamaApi) -> None:
    blob = Digest.parse(f"sha256:{stage.samples['tiny'].digest('model')}")
    assert api.has_blob(blob) is False
    stage.store("tiny")
    assert api.has_blob(blob) is True
    assert api.has_blob(Digest("nonsense", "0")) is False
    stage.server.stop()
    assert code_of(api.has_blob, blob) == "server_unreachable"


def test_idempotence_digests(stage: Stage, api: OllamaApi) -> None:
    for dummy in range(2):
        api.pull(stage.name("tiny"), True)
        api.copy(stage.name("tiny"), "t")
        assert {model.digest for model in api.models()} == {digest(stage, "tiny")}


def test_delete(stage: Stage, api: OllamaApi) -> None:
    stage.store("tiny")
    assert api.delete("tiny") is True and api.delete("tiny") is False
    assert code_of(api.delete, "a b") == code_of(api.delete, "") == "invalid_name"


def test_delete_and_copy_on_disk(stage: Stage, api: OllamaApi) -> None:
    stage.store("mid")
    api.copy("mid", "mid-copy")
    assert api.delete("mid") and stage.blob("mid.model").exists()
    assert api.delete("mid-copy") and not stage.blob("mid.model").exists()


def test_delete_that_the_server_cannot_do(stage: Stage, api: OllamaApi) -> None:
    stage.server.fault("delete_500", text="remove /models/blobs/sha256-63: permission denied")
    stage.store("tiny")
    assert code_of(api.delete, "tiny") == "permission_denied"


def test_delete_while_loaded(stage: Stage, api: OllamaApi) -> None:
    stage.store("tiny")
    load(stage, "tiny")
    assert api.delete("tiny")
    assert len(api.loaded()) == 1 and api.unload("tiny") is False, "too late: unload first"


def test_generate_unload_and_ps_loaded(stage: Stage, api: OllamaApi) -> None:
    stage.store("tiny")
    load(stage, "tiny")
    (model,) = api.loaded()
    assert (model.name, model.digest, model.size_vram, model.context_length) == ("tiny:latest", digest(stage, "tiny"), 0, 512)
    assert model.size > 0 and model.expires_at.endswith("Z")
    for dummy in range(2):
        assert api.unload("TINY:latest") is True
        assert api.loaded() == () and stage.server.children() == []


def test_generate_unload_that_takes_time(stage: Stage, api: OllamaApi) -> None:
    stage.store("tiny")
    load(stage, "tiny")
    stage.server.fault("slow_unload", seconds=0.5)
    assert api.unload("tiny") is True and api.loaded() == ()
    load(stage, "tiny")
    stage.server.fault("slow_unload", seconds=60)
    assert code_of(api.unload, "tiny", 0.3) == "model_active"


def test_generate_missing_model(api: OllamaApi) -> None:
    assert api.unload("nothere") is False and code_of(api.unload, "a b") == "invalid_name"


def test_ps_env(tmp_path: Path) -> None:
    with Stage(tmp_path, {"OLLAMA_KEEP_ALIVE": "-1", "OLLAMA_MAX_LOADED_MODELS": "1", "OLLAMA_CONTEXT_LENGTH": "256"}) as stage:
        api = OllamaApi(stage.server.url)
        for model in ("tiny", "mid"):
            stage.store(model)
            load(stage, model)
            assert [(each.name, each.context_length) for each in api.loaded()] == [(f"{model}:latest", 256)]


def test_a_server_that_hangs_or_fails(stage: Stage, api: OllamaApi) -> None:
    stage.server.fault("hang", path="/api/tags", seconds=30, times=1)
    assert code_of(OllamaApi(stage.server.url, timeout=0.3).models) == "server_unreachable"
    stage.server.fault("answer", path="/api/tags", status=500, text="out of order", times=1)
    assert code_of(api.models) == "io_error"
    assert api.models() == ()


def test_cli(stage: Stage, tmp_path: Path) -> None:
    cli = OllamaCli(str(command(tmp_path / "bin")), stage.server.url, retries=1, sleep=lambda dummy: None)
    name = f"{stage.registry.host}/library/tiny"
    assert cli.models() == {}
    assert code_of(cli.pull, name) == "hub_unreachable"
    told: list[str] = []
    for dummy in range(2):
        cli.pull(name, 60.0, True, lambda dummy_done, dummy_total, status: told.append(status))
        assert cli.find_name(name) == digest(stage, "tiny")[:19] and told[-1] == "success"
    assert code_of(cli.pull, f"{stage.registry.host}/library/nothere", 60.0, True) == "not_found"
    assert code_of(cli.pull, "a b") == "invalid_name"
    cli.copy(name, "t2")
    assert code_of(cli.copy, "nothere", "t3") == "not_installed"
    load(stage, "t2")
    assert cli.unload("t2") is True and cli.unload("nothere") is False
    assert OllamaApi(stage.server.url).loaded() == ()
    assert cli.find(ModelRef.parse("t2")) == digest(stage, "tiny")[:19]
    assert cli.delete("t2") is True and cli.delete("t2") is False
    stage.server.stop()
    for call in (cli.models, lambda: cli.pull(name), lambda: cli.delete(name), lambda: cli.unload(name)):
        assert code_of(call) == "server_unreachable"
