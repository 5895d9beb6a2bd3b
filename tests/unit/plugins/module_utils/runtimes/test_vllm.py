# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM's settings, command line and answers. The recorded texts are of vLLM 0.32.0, CPU build, 2026-11-21."""
from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import envfile, http_probe
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.runtimes import vllm
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import Active, CompletionFailed, ServedModel

SETTINGS = (
    "VENOM_VLLM_PYTHON=/opt/venom/vllm/current/bin/python\nVENOM_VLLM_HOST=127.0.0.1\nVENOM_VLLM_PORT=8001\n"
    "VENOM_VLLM_ARGS=\"--max-model-len 256 --override '{\\\"a\\\": 1}'\"\n"
)
MODELS = (
    b'{"object":"list","data":[{"id":"bee","object":"model","created":1795219632,"owned_by":"vllm","root":"/models/b",'
    b'"parent":null,"max_model_len":256}]}'
)
METRICS = (
    "# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
    "# TYPE vllm:num_requests_running gauge\n"
    'vllm:num_requests_running{engine="0",model_name="bee"} 2.0\n'
    'vllm:num_requests_running{engine="1",model_name="bee"} 1.0\n'
    'vllm:num_requests_waiting{engine="0",model_name="bee"} 4.0\n'
    'vllm:num_requests_waiting_by_reason{engine="0",model_name="bee",reason="capacity"} 9.0\n'
)
NO_TEMPLATE = (
    b'{"error":{"message":"As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template if '
    b'the tokenizer does not define one.","type":"BadRequestError","param":null,"code":400}}'
)
DEAD = (
    b'{"error":{"message":"EngineCore encountered an issue. See stack trace (above) for the root cause.",'
    b'"type":"InternalServerError","param":null,"code":500}}'
)
CHAT = b'{"choices":[{"message":{"role":"assistant","content":"Hello."}}]}'

Answers = dict[str, t.Any]


@pytest.fixture()
def runtime(tmp_path: Path) -> vllm.VllmRuntime:
    (tmp_path / "vllm.env").write_text(SETTINGS)
    return vllm.VllmRuntime(str(tmp_path))


def answer_with(monkeypatch: pytest.MonkeyPatch, answers: Answers) -> list[tuple[str, t.Any, dict[str, str]]]:
    """Let the server answer by path: (status, body), or an error to raise. Returns the requests made."""
    asked: list[tuple[str, t.Any, dict[str, str]]] = []

    def request(host: str, port: int, path: str, body: t.Any = None, headers: t.Any = None, timeout: float = 5.0) -> http_probe.Answer:
        if (host, port) != ("127.0.0.1", 8001):
            raise AssertionError(f"asked {host}:{port}")
        asked.append((path, body, headers or {}))
        answer = answers[path]
        if isinstance(answer, Exception):
            raise answer
        return http_probe.Answer(answer[0], answer[1], 0.01)

    monkeypatch.setattr(http_probe, "request", request)
    return asked


def test_the_command_is_that_of_the_unit(runtime: vllm.VllmRuntime) -> None:
    words = vllm.command(runtime.settings(), Active("bee", "/models/b"))
    assert words == (
        "/opt/venom/vllm/current/bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", "/models/b",
        "--served-model-name", "bee", "--host", "127.0.0.1", "--port", "8001", "--max-model-len", "256", "--override", '{"a": 1}',
    )  # fmt: skip


def test_the_unit_template_gives_the_same_words(runtime: vllm.VllmRuntime) -> None:
    template = Path(__file__).resolve().parents[5] / "templates" / "venom-vllm.service.j2"
    line = next(line for line in template.read_text().splitlines() if line.startswith("ExecStart="))
    settings = runtime.settings()
    values = dict(settings.environment, **vllm.active_variables(Active("bee", "/models/b")))
    words: list[str] = []
    for word in re.sub(r"\{\{.*?\}\}", "", line[len("ExecStart="):]).split():
        if re.match(r"^\$[A-Z_]+$", word):
            words += envfile.split_words(values[word[1:]])
        else:
            words.append(re.sub(r"\$\{([A-Z_]+)\}", lambda found: values[found[1]], word))
    assert words[0].endswith("/bin/python")
    assert tuple(words[1:]) == vllm.command(settings, Active("bee", "/models/b"))[1:]


def test_a_host_without_settings_is_not_installed(tmp_path: Path) -> None:
    runtime = vllm.VllmRuntime(str(tmp_path))
    assert not runtime.is_configured() and runtime.active() is None
    with pytest.raises(VenomError) as caught:
        runtime.settings()
    assert caught.value.reason_code == "not_installed"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("VENOM_VLLM_PORT=8001", "VENOM_VLLM_PORT=many", "many"),
        ("VENOM_VLLM_PORT=8001", "VENOM_VLLM_PORT=70000", "70000 is not a TCP port"),
        ("VENOM_VLLM_PORT=8001", "", "VENOM_VLLM_PORT is missing"),
        ("VENOM_VLLM_HOST=127.0.0.1", "", "VENOM_VLLM_HOST is missing"),
        ("/opt/venom/vllm/current/bin/python", "python3", "not an absolute path"),
        ("'{", "{", "never closed"),
    ],
)
def test_settings_without_sense_name_the_variable(runtime: vllm.VllmRuntime, old: str, new: str, said: str) -> None:
    Path(runtime.settings_path).write_text(SETTINGS.replace(old, new))
    with pytest.raises(VenomError) as caught:
        runtime.settings()
    assert caught.value.reason_code == "not_configured" and said in caught.value.found


def test_nothing_active_and_no_interpreter(runtime: vllm.VllmRuntime) -> None:
    with pytest.raises(VenomError) as caught:
        runtime.command()
    assert caught.value.reason_code == "not_configured"
    Path(runtime.active_path).write_text(envfile.render(vllm.active_variables(Active("bee", "/models/b"))))
    assert runtime.active() == Active("bee", "/models/b")
    with pytest.raises(VenomError) as caught:
        runtime.command()
    assert caught.value.reason_code == "not_installed"


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [("127.0.0.1", "http://127.0.0.1:8001"), ("0.0.0.0", "http://127.0.0.1:8001"), ("::", "http://[::1]:8001"), ("10.0.0.5", "http://10.0.0.5:8001")],
)
def test_the_endpoint_is_one_that_this_host_reaches(runtime: vllm.VllmRuntime, host: str, endpoint: str) -> None:
    Path(runtime.settings_path).write_text(SETTINGS.replace("127.0.0.1", host))
    assert runtime.endpoint() == endpoint


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ((200, b""), "ready"),
        ((503, DEAD), "loading"),
        ((500, DEAD), "broken"),
        ((404, b""), "broken"),
        (http_probe.ProbeFailed("refused", "nobody"), "loading"),
        (http_probe.ProbeFailed("timeout", "slow"), "loading"),
    ],
)
def test_health(runtime: vllm.VllmRuntime, monkeypatch: pytest.MonkeyPatch, answer: t.Any, state: str) -> None:
    answer_with(monkeypatch, {"/health": answer})
    assert runtime.health().state == state


def test_served_models(runtime: vllm.VllmRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, {"/v1/models": (200, MODELS)})
    assert runtime.served() == (ServedModel("bee", "/models/b"),)


@pytest.mark.parametrize("answer", [(500, DEAD), (200, b"<html>"), (200, b"[]"), (200, b'{"data": 3}')])
def test_a_list_that_is_none(runtime: vllm.VllmRuntime, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, bytes]) -> None:
    answer_with(monkeypatch, {"/v1/models": answer})
    with pytest.raises(http_probe.ProbeFailed):
        runtime.served()


def test_a_completion_is_small_and_repeatable(runtime: vllm.VllmRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer_with(monkeypatch, {"/v1/chat/completions": (200, CHAT)})
    completion = runtime.complete("bee", 5)
    assert completion.text == "Hello." and completion.remark == ""
    body = asked[0][1]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("bee", 0, 16)
    assert [message["role"] for message in body["messages"]] == ["user"]


def test_without_a_chat_template_a_plain_completion_is_asked_for(runtime: vllm.VllmRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, {"/v1/chat/completions": (400, NO_TEMPLATE), "/v1/completions": (200, b'{"choices":[{"text":" on"}]}')})
    completion = runtime.complete("bee", 5)
    assert completion.text == " on" and completion.endpoint == "/v1/completions" and "no chat template" in completion.remark


def test_a_thinking_model_may_think_all_the_time(runtime: vllm.VllmRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"choices":[{"message":{"content":null,"reasoning_content":"Hm."}}]}'
    answer_with(monkeypatch, {"/v1/chat/completions": (200, body)})
    assert runtime.complete("bee", 5).text == "Hm."


@pytest.mark.parametrize(
    "answer",
    [
        (500, DEAD),
        (400, b'{"error":{"message":"System role not supported"}}'),
        (200, b'{"choices":[]}'),
        (200, b'{"choices":[{"message":{"content":" "}}]}'),
        (200, b"nothing"),
        (200, b"[]"),
        http_probe.ProbeFailed("timeout", "slow"),
    ],
)
def test_what_is_no_completion(runtime: vllm.VllmRuntime, monkeypatch: pytest.MonkeyPatch, answer: t.Any) -> None:
    answer_with(monkeypatch, {"/v1/chat/completions": answer})
    with pytest.raises(CompletionFailed):
        runtime.complete("bee", 5)


def test_requests_in_flight(runtime: vllm.VllmRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Answers = {"/metrics": (200, METRICS.encode())}
    answer_with(monkeypatch, answers)
    assert runtime.in_flight() == 7
    for nothing in ((200, b"python_info 1.0\n"), (404, b""), (500, b""), http_probe.ProbeFailed("timeout", "slow")):
        answers["/metrics"] = nothing
        assert runtime.in_flight() is None
    answers["/metrics"] = http_probe.ProbeFailed("refused", "nobody")
    assert runtime.in_flight() == 0


def test_the_api_key_of_the_settings_is_used(runtime: vllm.VllmRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(runtime.settings_path).write_text(SETTINGS + "VLLM_API_KEY=secret\n")
    asked = answer_with(monkeypatch, {"/v1/models": (200, MODELS)})
    runtime.served()
    assert asked[0][2] == {"Authorization": "Bearer secret"}
