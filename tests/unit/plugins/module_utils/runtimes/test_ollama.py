# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama's settings, its command, its active model and what its server says."""
from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import envfile, http_probe
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.runtimes import base, ollama, ollama_http
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active, CompletionFailed, ServedModel

A, B = "a" * 64, "b" * 64
ACTIVE = Active("chat", f"sha256:{A}", "phi3:mini")


@pytest.fixture()
def runtime(tmp_path: Path) -> ollama.OllamaRuntime:
    program = tmp_path / "1.0" / "ollama"
    program.parent.mkdir()
    program.touch(0o755)
    (tmp_path / "current").symlink_to("1.0")
    made = ollama.OllamaRuntime(str(tmp_path), str(tmp_path / "run"))
    write(made)
    return made


def write(runtime: ollama.OllamaRuntime, **more: str) -> None:
    folder = os.path.dirname(runtime.settings_path)
    values = {"OLLAMA_HOST": "0.0.0.0:11500", "VENOM_OLLAMA_BINARY": f"{folder}/current/ollama", "OLLAMA_KEEP_ALIVE": "30m", **more}
    Path(runtime.settings_path).write_text(envfile.render({name: value for name, value in values.items() if value != "-"}))


@pytest.fixture()
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    """What the server says by path: a body for 200, (status, body), or an error."""
    said: dict[str, t.Any] = {}

    def answer(path: str) -> http_probe.Answer:
        content = said[path]
        if isinstance(content, Exception):
            raise content
        status, body = content if isinstance(content, tuple) else (200, content)
        return http_probe.Answer(status, json.dumps(body).encode(), 0.01)

    monkeypatch.setattr(http_probe, "request", lambda host, port, path, *dummy, **dummies: answer(path))
    monkeypatch.setattr(ollama_http, "ask", lambda url, method, path, *dummy, **dummies: answer(path))
    return said


def test_what_the_settings_say(runtime: ollama.OllamaRuntime) -> None:
    settings = runtime.settings()
    assert (settings.host, settings.port, settings.probe_host) == ("0.0.0.0", 11500, "127.0.0.1")  # noqa: S104
    assert runtime.command() == (settings.program, "serve") and runtime.endpoint() == "http://127.0.0.1:11500"
    write(runtime, OLLAMA_HOST="[::1]:9")
    assert runtime.endpoint() == "http://[::1]:9"


@pytest.mark.parametrize("wrong", [{"OLLAMA_HOST": "-"}, {"OLLAMA_HOST": "a b"}, {"VENOM_OLLAMA_BINARY": "ollama"}, {"VENOM_OLLAMA_BINARY": "-"}])
def test_settings_without_sense(runtime: ollama.OllamaRuntime, wrong: dict[str, str]) -> None:
    write(runtime, **wrong)
    with pytest.raises(VenomError) as caught:
        runtime.settings()
    assert caught.value.reason_code == "not_configured" and next(iter(wrong)) in caught.value.found


def test_settings_that_are_no_text(runtime: ollama.OllamaRuntime) -> None:
    path = Path(runtime.settings_path)
    path.write_bytes(path.read_bytes() + b"OLLAMA_ORIGINS=M\xfcller\n")
    with pytest.raises(VenomError) as caught:
        runtime.settings()
    assert caught.value.reason_code == "not_configured" and "OLLAMA_ORIGINS" in caught.value.found


def test_without_settings_or_program_it_is_not_installed(runtime: ollama.OllamaRuntime) -> None:
    os.unlink(os.path.join(os.path.dirname(runtime.settings_path), "current"))
    for dummy in range(2):
        with pytest.raises(VenomError) as caught:
            runtime.command()
        assert caught.value.reason_code == "not_installed"
        Path(runtime.settings_path).unlink(missing_ok=True)
    assert not runtime.is_configured()


def test_another_model_is_no_other_server_but_settings_and_program_are(runtime: ollama.OllamaRuntime) -> None:
    first = runtime.digest()
    Path(runtime.active_path).write_text(envfile.render(runtime.active_variables(ACTIVE)))
    assert runtime.digest() == first != runtime.digest("another unit")
    write(runtime, OLLAMA_NUM_PARALLEL="2")
    second = runtime.digest()
    folder = Path(runtime.settings_path).parent
    (folder / "1.0").rename(folder / "2.0")
    (folder / "current").unlink()
    (folder / "current").symlink_to("2.0")
    assert len({first, second, runtime.digest()}) == 3


def test_the_active_model_is_the_committed_one_unless_another_is_on_trial(runtime: ollama.OllamaRuntime) -> None:
    assert runtime.active() is None
    Path(runtime.active_path).write_text(envfile.render(runtime.active_variables(ACTIVE)))
    assert runtime.active() == ACTIVE == runtime.make_active("chat", f"sha256:{A}", "phi3:mini")
    os.mkdir(os.path.dirname(runtime.trial_path))
    Path(runtime.trial_path).write_text("LLM_MODEL_NAME=x\nVENOM_OLLAMA_MODEL=y\nVENOM_OLLAMA_DIGEST=" + B + "\n")
    assert runtime.active() == Active("x", f"sha256:{B}", "y")
    # Half a file, or a digest that is none, names nothing.
    Path(runtime.trial_path).write_text("LLM_MODEL_NAME=x\nVENOM_OLLAMA_MODEL=y\nVENOM_OLLAMA_DIGEST=sha256:1\n")
    assert runtime.active() == ACTIVE


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({"version": "0.16.2"}, "ready"),
        ((503, {}), "loading"),
        ((500, {}), "broken"),
        (http_probe.ProbeFailed("refused", "nobody"), "loading"),
    ],
)
def test_health(runtime: ollama.OllamaRuntime, answers: dict[str, t.Any], answer: t.Any, state: str) -> None:
    answers["/api/version"] = answer
    assert runtime.health().state == state


def test_served_and_loaded(runtime: ollama.OllamaRuntime, answers: dict[str, t.Any]) -> None:
    answers["/api/tags"] = {"models": [{"name": "phi3:mini", "digest": A}, {"name": "chat:latest", "digest": A}, {"name": "bad"}]}
    answers["/api/ps"] = {"models": [{"name": "phi3:mini", "digest": B}]}
    assert runtime.served() == (ServedModel("phi3:mini", f"sha256:{A}"), ServedModel("chat", f"sha256:{A}"))
    live = runtime.live()
    assert live.loaded() == (ServedModel("phi3:mini", f"sha256:{B}"),) and live.listed() == runtime.served()
    asks: base.Runtime = runtime
    assert asks.in_flight() is None and runtime.spelling("Chat") == "chat:latest"
    answers["/api/tags"] = (500, {"error": "no"})
    with pytest.raises(http_probe.ProbeFailed):
        runtime.served()


def test_what_has_no_name_any_more_cannot_be_unloaded_and_is_not_said_to_be(runtime: ollama.OllamaRuntime, answers: dict[str, t.Any]) -> None:
    answers["/api/tags"] = {"models": [{"name": "phi3:mini", "digest": A}]}
    answers["/api/ps"] = {"models": [{"name": "phi3:mini", "digest": B}]}
    live = runtime.live()
    live.unload([f"sha256:{A}"], 0.0)
    with pytest.raises(VenomError) as caught:
        live.unload([f"sha256:{A}", f"sha256:{B}"], 0.0)
    assert caught.value.reason_code == "model_active" and f"phi3:mini (sha256:{B}) is in memory and has no name" in caught.value.found
    # What stays although it was asked for by name is told first.
    answers["/api/tags"] = {"models": [{"name": "phi3:mini", "digest": B}]}
    answers["/api/generate"] = {"done_reason": "unload"}
    with pytest.raises(VenomError) as caught:
        live.unload([f"sha256:{B}"], 0.0)
    assert caught.value.reason_code == "model_active" and "phi3:mini is still in memory" in caught.value.found


def test_what_has_the_weights_of_a_model_or_may_have_them(runtime: ollama.OllamaRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server tells them in the FROM of a model that has a name, as recorded; where it tells nothing, nothing is ruled out."""
    held = {"twin:latest": A, "other:latest": B, "odd:latest": "c" * 64, "gone:latest": "d" * 64, "broken:latest": "e" * 64}
    listed = {name: digest for name, digest in held.items() if name != "gone:latest"}
    files = {"wanted": "1", "twin:latest": "1", "other:latest": "2"}

    def ask(dummy_url: object, dummy_method: str, path: str, body: t.Any, *dummies: object) -> http_probe.Answer:
        if path == "/api/show":
            if body["model"] == "broken:latest":
                return http_probe.Answer(500, b'{"error": "unexpected EOF"}', 0.0)
            weights = files.get(body["model"])
            text = f"# FROM x\n\nFROM /m/blobs/sha256-{weights * 64}\nSYSTEM FROM sha256-{B}\n" if weights else "FROM /somewhere\n"
            return http_probe.Answer(200, json.dumps({"modelfile": text}).encode(), 0.0)
        models = listed if path == "/api/tags" else held
        return http_probe.Answer(200, json.dumps({"models": [{"name": n, "digest": d} for n, d in models.items()]}).encode(), 0.0)

    monkeypatch.setattr(ollama_http, "ask", ask)
    assert [model.id for model in runtime.live().sharing("wanted")] == ["twin", "odd", "gone", "broken"]
    del files["wanted"]
    assert len(runtime.live().sharing("wanted")) == len(held)


@pytest.mark.parametrize(("keep_alive", "keeps"), [("30m", True), ("-1", True), ("0", False), ("0s", False), ("0.5s", True), ("-", True)])
def test_whether_a_model_stays_in_memory(runtime: ollama.OllamaRuntime, keep_alive: str, keeps: bool) -> None:
    write(runtime, OLLAMA_KEEP_ALIVE=keep_alive)
    assert runtime.live().keeps_models is keeps


def test_a_completion(runtime: ollama.OllamaRuntime, answers: dict[str, t.Any]) -> None:
    answers["/v1/chat/completions"] = {"choices": [{"message": {"content": "Hi"}}]}
    assert runtime.complete("chat", 5.0).text == "Hi"
    wrong: t.Any
    for wrong in ((404, {"error": {"message": "model 'chat' not found"}}), {"choices": []}, http_probe.ProbeFailed("broken", "gone")):
        answers["/v1/chat/completions"] = wrong
        with pytest.raises(CompletionFailed):
            runtime.complete("chat", 5.0)
