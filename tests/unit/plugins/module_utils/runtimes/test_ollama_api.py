# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against a server that answers as a recorded Ollama 0.32.15 did, and as no server should."""
from __future__ import annotations

import json
import socket
import threading
import time
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.http_probe import Answer, ProbeFailed
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.runtimes import ollama_http
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_api import OllamaApi
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.scripted_http import Line, ScriptedHttp, Speaker, reply, stream

BIG = "sha256:6358588e7849d73c9c777d999945a8fc34b9137a019948e0c4932e94cda17ff3"
SMALL = "sha256:fe7ac77b725cda2ccad03f88a880ecdfd7a33192d6cae08fce2c0ee1455991ed"
HEX = "93e3842fd7c3b9e5b5f629dcd87733cb7eaf551e0849aa6b1f7daa396934eec7"
SIZE = 51238336
MANIFEST = {"status": "pulling manifest"}
ENDING = ({"status": "verifying sha256 digest"}, {"status": "writing manifest"}, {"status": "success"})
NAME = "127.0.0.1:5055/library/mid:latest"


def layer(completed: int | None, digest: str = BIG, total: int = SIZE) -> dict[str, t.Any]:
    line: dict[str, t.Any] = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": total}
    return line if completed is None else dict(line, completed=completed)


def entry(name: str, **other: t.Any) -> dict[str, t.Any]:
    return dict({"name": name, "model": name, "digest": HEX, "size": 249937}, **other)


@pytest.fixture()
def server() -> t.Iterator[ScriptedHttp]:
    with ScriptedHttp() as scripted:
        yield scripted


@pytest.fixture()
def naps() -> list[float]:
    return []


@pytest.fixture()
def api(server: ScriptedHttp, naps: list[float]) -> OllamaApi:
    return OllamaApi(server.url, sleep=naps.append)


def failure_of(call: t.Callable[..., object], *arguments: t.Any, **options: t.Any) -> VenomError:
    with pytest.raises(VenomError) as caught:
        call(*arguments, **options)
    return caught.value


# Ready or not


def test_ready_is_an_answer_with_a_version(server: ScriptedHttp, api: OllamaApi) -> None:
    server.on("GET", "/api/version", reply(200, {"version": "0.32.15"}))
    assert api.is_up() and api.version() == "0.32.15"


@pytest.mark.parametrize(
    ("speaker", "words"),
    [
        (reply(200, "Ollama is running", "text/plain"), "no JSON object"),
        (reply(200, {"error": "x"}), "no version"),
        (reply(200, {"version": 5}), "no version"),
        (reply(404, "404 page not found", "text/plain"), "HTTP 404"),
        (reply(503, {"error": {"message": "loading"}}), "HTTP 503"),
        (reply(302), "HTTP 302"),
        (lambda line: line.send(b"SSH-2.0-OpenSSH_9.2\r\n"), "BadStatusLine"),
        (lambda line: None, "RemoteDisconnected"),
    ],
)
def test_anything_else_is_no_server(server: ScriptedHttp, api: OllamaApi, speaker: Speaker, words: str) -> None:
    server.on("GET", "/api/version", speaker)
    error = failure_of(api.version)
    assert error.reason_code == "server_unreachable" and words in error.found and error.todo and error.details["url"] == server.url
    assert not api.is_up()


def test_a_port_that_is_open_is_not_ready_yet(server: ScriptedHttp) -> None:
    server.on("GET", "/api/version", lambda line: line.wait_for_hang_up())
    assert not OllamaApi(server.url, timeout=0.2).is_up()


def test_nobody_listens(naps: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    api = OllamaApi(url, retries=2, sleep=naps.append)
    for call in (api.version, api.models, api.loaded, lambda: api.delete("x"), lambda: api.pull("x")):
        assert failure_of(call).reason_code == "server_unreachable"
    assert len(naps) == 2, "a server that is being restarted is waited for by pulls only"


@pytest.mark.parametrize("call", ["version", "models", "pull"])
def test_a_host_name_that_the_server_refuses(server: ScriptedHttp, api: OllamaApi, call: str) -> None:
    for method, path in (("GET", "/api/version"), ("GET", "/api/tags"), ("POST", "/api/pull")):
        server.on(method, path, reply(403, b"", None))
    error = failure_of(getattr(api, call), *(["x"] if call == "pull" else []))
    assert error.reason_code == "server_unreachable" and "host name" in error.found and "Host:" in error.todo
    assert len(server.requests) == 1


# What is there


def test_models_are_what_the_server_lists(server: ScriptedHttp, api: OllamaApi) -> None:
    details = {"format": "gguf", "family": "llama", "parameter_size": "120K", "quantization_level": "F16", "context_length": 512}
    server.on("GET", "/api/tags", reply(200, {"models": [entry(NAME, details=details, capabilities=["completion"], later="x")]}))
    (model,) = api.models()
    assert (model.name, model.digest, model.size, model.details, model.capabilities) == (NAME, f"sha256:{HEX}", 249937, details, ("completion",))


def test_malformed_entries_are_left_out(server: ScriptedHttp, api: OllamaApi) -> None:
    entries = [None, "x", {}, entry("a", digest="short"), entry("b", digest=None), {"name": 5, "digest": HEX}, entry("c", size="big", details=[1])]
    server.on("GET", "/api/tags", reply(200, {"models": [*entries, entry("d", digest=f"sha256:{HEX}", capabilities=[1, "tools"])]}))
    assert [(model.name, model.digest, model.size, dict(model.details), model.capabilities) for model in api.models()] == [
        ("c", f"sha256:{HEX}", 0, {}, ()),
        ("d", f"sha256:{HEX}", 249937, {}, ("tools",)),
    ]


@pytest.mark.parametrize("body", [{"models": []}, {"models": None}, {}])
def test_an_empty_server(server: ScriptedHttp, api: OllamaApi, body: object) -> None:
    server.on("GET", "/api/tags", reply(200, body))
    assert api.models() == () and api.find(ModelRef.parse("phi3")) is None


@pytest.mark.parametrize("body", [[], {"models": {}}, "null"])
def test_a_list_that_is_none(server: ScriptedHttp, api: OllamaApi, body: object) -> None:
    server.on("GET", "/api/tags", reply(200, body))
    assert failure_of(api.models).reason_code == "server_unreachable"


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        ("phi3:latest", "phi3"),
        ("Phi3:latest", "phi3:latest"),
        ("caps:q4_K_M", "CAPS:Q4_k_m"),
        ("phi3:mini", "registry.ollama.ai/library/phi3:mini"),
        ("hf.co/user/Model:Q4_0", "hf.co/user/model:q4_0"),
        ("user/m:latest", "user/m"),
    ],
)
def test_a_model_is_found_in_any_spelling(server: ScriptedHttp, api: OllamaApi, listed: str, wanted: str) -> None:
    server.on("GET", "/api/tags", reply(200, {"models": [entry("other:latest"), entry(listed)]}))
    found = api.find(ModelRef.parse(wanted, "ollama"))
    assert found is not None and found.name == listed


def test_names_that_only_look_alike_are_kept_apart(server: ScriptedHttp, api: OllamaApi) -> None:
    server.on("GET", "/api/tags", reply(200, {"models": [entry("127.0.0.1:5055/library/tiny:latest"), entry("user/phi3:mini")]}))
    assert api.find(ModelRef.parse("tiny")) is None and api.find(ModelRef.parse("phi3:mini")) is None
    found = api.find_name("127.0.0.1:5055/library/TINY")
    assert found is not None and found.name == "127.0.0.1:5055/library/tiny:latest"


def test_what_is_loaded(server: ScriptedHttp, api: OllamaApi) -> None:
    loaded = entry("tiny:latest", size=2086665, size_vram=0, expires_at="2026-11-20T15:44:16.894256931Z", context_length=512)
    server.on("GET", "/api/ps", reply(200, {"models": [loaded]}))
    (model,) = api.loaded()
    assert (model.name, model.digest, model.size, model.size_vram, model.context_length) == ("tiny:latest", f"sha256:{HEX}", 2086665, 0, 512)
    assert model.expires_at.startswith("2026-11-20")


# Changes


def test_show_and_copy(server: ScriptedHttp, api: OllamaApi) -> None:
    server.on("POST", "/api/show", reply(200, {"template": "{{ .Prompt }}"}), reply(404, {"error": "model 'nothere:latest' not found"}))
    assert api.show("tiny") == {"template": "{{ .Prompt }}"}
    assert failure_of(api.show, "nothere").reason_code == "not_installed"
    server.on("POST", "/api/copy", reply(200, b"", None), reply(404, {"error": 'model "nothere" not found'}))
    api.copy("tiny", "tiny-copy")
    assert failure_of(api.copy, "nothere", "x").reason_code == "not_installed"
    assert [request.json() for request in server.requests] == [
        {"model": "tiny"},
        {"model": "nothere"},
        {"source": "tiny", "destination": "tiny-copy"},
        {"source": "nothere", "destination": "x"},
    ]


def test_delete_sends_a_body_and_takes_an_empty_answer(server: ScriptedHttp, api: OllamaApi) -> None:
    server.on("DELETE", "/api/delete", reply(200, b"", None), reply(404, {"error": f"model '{NAME}' not found"}))
    assert api.delete(NAME) is True
    assert api.delete(NAME) is False
    assert [request.json() for request in server.requests] == [{"model": NAME}, {"model": NAME}]


@pytest.mark.parametrize(
    ("speaker", "code", "words"),
    [
        (reply(500, {"error": "remove /m/blobs/sha256-63: permission denied"}), "permission_denied", "half gone"),
        (reply(500, {"error": "unexpected EOF"}), "io_error", "half gone"),
        (reply(400, {"error": 'name "a b" is invalid'}), "invalid_name", "HTTP 400"),
        (reply(404, "404 page not found", "text/plain"), "server_unreachable", "HTTP 404"),
        (reply(405, "405 method not allowed", "text/plain"), "server_unreachable", "HTTP 405"),
    ],
)
def test_delete_that_fails(server: ScriptedHttp, api: OllamaApi, speaker: Speaker, code: str, words: str) -> None:
    server.on("DELETE", "/api/delete", speaker)
    error = failure_of(api.delete, "a b")
    assert error.reason_code == code and words in error.found


def test_unload_waits_until_the_model_is_gone(server: ScriptedHttp, api: OllamaApi, naps: list[float]) -> None:
    server.on("POST", "/api/generate", reply(200, {"model": "tiny", "response": "", "done": True, "done_reason": "unload"}))
    there, gone = reply(200, {"models": [entry("tiny:latest"), entry("other:latest")]}), reply(200, {"models": [entry("other:latest")]})
    server.on("GET", "/api/ps", there, there, gone)
    assert api.unload("Tiny") is True
    assert server.requests[0].json() == {"model": "Tiny", "keep_alive": 0, "stream": False}
    assert server.paths()[1:] == ["GET /api/ps"] * 3 and len(naps) == 2


def test_unload_of_a_model_that_is_not_there(server: ScriptedHttp, api: OllamaApi) -> None:
    server.on("POST", "/api/generate", reply(404, {"error": "model 'mid' not found"}))
    assert api.unload("mid") is False


def test_unload_of_a_model_that_stays(server: ScriptedHttp) -> None:
    server.on("POST", "/api/generate", reply(200, {"done_reason": "unload"}))
    server.on("GET", "/api/ps", reply(200, {"models": [entry("tiny:latest")]}))
    now = [0.0]
    api = OllamaApi(server.url, clock=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    error = failure_of(api.unload, "tiny", timeout=1.0)
    assert error.reason_code == "model_active" and "still in memory" in error.found


class Slow:
    """A server with models a, b, c in memory, on a clock of its own: each drops after so many seconds, or gives no answer (None)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **models: float | int | None) -> None:
        self.models = dict(models)
        self.asked: list[tuple[str, float]] = []
        self.now = 0.0
        monkeypatch.setattr(ollama_http, "ask", self.ask)
        self.api = OllamaApi(clock=lambda: self.now, sleep=self.pass_by)
        self.names = {self.digest(name): name for name in models}

    def digest(self, name: str) -> str:
        return f"sha256:{name * 64}"

    def pass_by(self, seconds: float) -> None:
        self.now += seconds

    def ask(self, dummy_url: object, dummy_method: str, path: str, body: t.Any, timeout: float, *dummies: object) -> Answer:
        if path == "/api/ps":
            return Answer(200, json.dumps({"models": [entry(name, digest=name * 64) for name in self.models]}).encode(), 0.0)
        name = body["model"]
        self.asked.append((name, timeout))
        needs = self.models[name]
        if needs is None or needs > timeout:
            self.now += timeout
            raise ProbeFailed("timeout", f"no answer within {timeout:g} s")
        self.now += abs(needs)
        if needs < 0:
            return Answer(500, b'{"error": "unexpected EOF"}', 0.0)
        del self.models[name]
        return Answer(200, b"{}", 0.0)


def test_a_model_that_gives_no_answer_takes_no_time_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, a=None, b=12.0, c=6.0)
    error = failure_of(slow.api.unload_all, slow.names, 30.0)
    assert slow.asked == [("a", 10.0), ("b", 10.0), ("c", 10.0)] and list(slow.models) == ["a", "b"]
    assert error.reason_code == "model_active"
    assert error.found.startswith("a, b is still in memory after 30 s, ") and "no answer within 10 s" in error.found


def test_the_time_for_all_models_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, a=6.0, b=6.0, c=6.0)
    error = failure_of(slow.api.unload_all, slow.names, 1.0)
    assert [name for name, dummy in slow.asked] == ["a", "b", "c"] and slow.now == 3.0 and error.reason_code == "model_active"
    slow = Slow(monkeypatch, a=6.0, b=6.0, c=6.0)
    slow.api.unload_all(slow.names, 20.0)
    assert slow.now == 18.0 and not slow.models


def test_a_model_that_is_refused_is_told_after_the_others_have_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, a=-1.0, b=1.0)
    error = failure_of(slow.api.unload_all, slow.names, 20.0)
    assert error.reason_code == "io_error" and list(slow.models) == ["a"] and slow.now == 2.0
    slow = Slow(monkeypatch, a=-1.0, b=None)
    assert failure_of(slow.api.unload_all, slow.names, 20.0).reason_code == "io_error" and len(slow.asked) == 2


# Pull


def test_a_pull_and_its_progress(server: ScriptedHttp, api: OllamaApi) -> None:
    lines = (MANIFEST, layer(None), layer(1245184), layer(51183616), layer(27, SMALL, 27), *ENDING)
    server.on("POST", "/api/pull", stream(*lines))
    seen: list[tuple[int, int | None, str]] = []
    api.pull(NAME, True, lambda *progress: seen.append(progress))
    assert server.requests[0].json() == {"model": NAME, "insecure": True, "stream": True}
    done = [progress[0] for progress in seen]
    assert done == sorted(done) and seen[-1] == (SIZE + 27, SIZE + 27, "success")


def test_a_pull_without_any_layer_line(server: ScriptedHttp, api: OllamaApi) -> None:
    server.on("POST", "/api/pull", stream(MANIFEST, *ENDING))
    api.pull("tiny")
    assert server.requests[0].json()["insecure"] is False


def test_a_name_that_the_server_refuses(server: ScriptedHttp, api: OllamaApi, naps: list[float]) -> None:
    server.on("POST", "/api/pull", reply(400, {"error": "invalid model name"}))
    assert failure_of(api.pull, "host:5000/model").reason_code == "invalid_name"
    assert len(server.requests) == 1 and naps == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("pull model manifest: file does not exist", "not_found"),
        ("pull model manifest: 403: denied", "unauthorized"),
        ("write /m/blobs/sha256-63-partial: no space left on device", "disk_full"),
        ("http: no Location header in response", "unsupported_source"),
        ("the moon is in the wrong house", "pull_failed"),
    ],
)
def test_an_error_line_is_a_failure_and_some_are_final(server: ScriptedHttp, api: OllamaApi, naps: list[float], text: str, code: str) -> None:
    server.on("POST", "/api/pull", stream(MANIFEST, {"error": text}))
    error = failure_of(api.pull, NAME)
    assert error.reason_code == code and text in error.found and error.details["model"] == NAME
    assert len(server.requests) == 1 and naps == []


def test_an_error_that_may_pass_is_tried_again_with_growing_waits(server: ScriptedHttp, api: OllamaApi, naps: list[float]) -> None:
    server.on("POST", "/api/pull", stream(MANIFEST, {"error": "pull model manifest: 503: down"}))
    error = failure_of(api.pull, NAME)
    assert error.reason_code == "hub_unreachable" and error.details["tries"] == 6 and len(server.requests) == 6
    assert len(naps) == 5 and all(0.25 * 2**index <= nap <= 0.5 * 2**index for index, nap in enumerate(naps))


def test_a_limit_that_stays_is_rate_limited(server: ScriptedHttp, api: OllamaApi) -> None:
    server.on("POST", "/api/pull", stream(MANIFEST, {"error": "429: "}))
    assert failure_of(api.pull, NAME).reason_code == "rate_limited"


@pytest.mark.parametrize(
    "first",
    [
        stream(MANIFEST, layer(4849664), is_cut=True),
        stream(MANIFEST, layer(4849664)),
        stream(is_cut=True),
        lambda line: None,
        stream(MANIFEST, layer(None), {"error": "max retries exceeded: EOF"}),
        reply(502, "<html>Bad Gateway</html>", "text/html"),
    ],
    ids=["cut", "ended", "empty", "closed", "error", "proxy"],
)
def test_what_is_no_success_is_tried_again(server: ScriptedHttp, api: OllamaApi, first: Speaker) -> None:
    server.on("POST", "/api/pull", first, stream(MANIFEST, layer(SIZE), *ENDING))
    api.pull(NAME)
    assert len(server.requests) == 2


@pytest.mark.parametrize("is_cut", [True, False])
def test_a_stream_that_always_ends_without_success_is_a_failure(server: ScriptedHttp, api: OllamaApi, is_cut: bool) -> None:
    server.on("POST", "/api/pull", stream(MANIFEST, {"status": "verifying sha256 digest"}, is_cut=is_cut))
    error = failure_of(api.pull, NAME)
    assert error.reason_code == "server_unreachable" and len(server.requests) == 6


def test_a_success_that_is_cut_short_is_none(server: ScriptedHttp) -> None:
    def speak(line: Line) -> None:
        line.start_stream()
        line.say(MANIFEST)
        line.send(b'14\r\n{"status":"success')

    server.on("POST", "/api/pull", speak)
    assert failure_of(OllamaApi(server.url, retries=0).pull, NAME).reason_code == "server_unreachable"


def test_success_needs_no_final_chunk(server: ScriptedHttp, api: OllamaApi) -> None:
    server.on("POST", "/api/pull", stream(MANIFEST, *ENDING, is_cut=True))
    api.pull(NAME)


def test_tries_that_bring_bytes_do_not_count(server: ScriptedHttp, naps: list[float]) -> None:
    cuts = [stream(MANIFEST, layer(5_000_000 * count), is_cut=True) for count in range(1, 9)]
    server.on("POST", "/api/pull", *cuts, stream(MANIFEST, *ENDING))
    OllamaApi(server.url, retries=1, sleep=naps.append).pull(NAME)
    assert len(server.requests) == 9


def test_tries_that_bring_the_same_bytes_do(server: ScriptedHttp, api: OllamaApi) -> None:
    server.on("POST", "/api/pull", stream(MANIFEST, layer(20_000_000), is_cut=True))
    failure_of(api.pull, NAME)
    assert len(server.requests) == 1 + 5


def test_tries_that_bring_next_to_nothing_do_too(server: ScriptedHttp, naps: list[float]) -> None:
    server.on("POST", "/api/pull", *(stream(MANIFEST, layer(1000 * count), is_cut=True) for count in range(1, 9)))
    failure_of(OllamaApi(server.url, retries=2, sleep=naps.append).pull, NAME)
    assert len(server.requests) == 3


def test_wrong_bytes_are_fetched_once_more(server: ScriptedHttp) -> None:
    mismatch = f"digest mismatch, file must be downloaded again: want {BIG}, got {SMALL}"
    server.on("POST", "/api/pull", stream(MANIFEST, {"error": mismatch}), stream(MANIFEST, *ENDING))
    OllamaApi(server.url, retries=0, sleep=lambda dummy: None).pull(NAME)
    server.on("POST", "/api/pull", stream(MANIFEST, {"error": mismatch}))
    error = failure_of(OllamaApi(server.url, retries=9, sleep=lambda dummy: None).pull, NAME)
    assert error.reason_code == "digest_mismatch" and (error.details["expected"], error.details["actual"]) == (BIG, SMALL)
    assert len(server.requests) == 4


def test_lines_without_bytes_are_ended_and_tried_again(server: ScriptedHttp) -> None:
    left = threading.Event()

    def stall(line: Line) -> None:
        line.start_stream()
        line.say(MANIFEST)
        try:
            while True:
                line.say(layer(20381696))
                time.sleep(0.02)
        except OSError:
            left.set()

    server.on("POST", "/api/pull", stall, stream(MANIFEST, layer(21037056), *ENDING))
    OllamaApi(server.url, stall_timeout=0.4, sleep=lambda dummy: None).pull(NAME)
    assert left.wait(20), "only a closed request stops the server's download and keeps its offset"
    assert len(server.requests) == 2


def test_a_stall_that_stays(server: ScriptedHttp) -> None:
    def stall(line: Line) -> None:
        line.start_stream()
        line.say(MANIFEST, layer(None))
        line.wait_for_hang_up()

    server.on("POST", "/api/pull", stall)
    error = failure_of(OllamaApi(server.url, stall_timeout=0.2, retries=2, sleep=lambda dummy: None).pull, NAME)
    assert error.reason_code == "hub_unreachable" and "stalled" in error.found and len(server.requests) == 3


def test_silence_while_verifying_is_no_stall(server: ScriptedHttp) -> None:
    def verify(line: Line) -> None:
        line.start_stream()
        line.say(MANIFEST, layer(SIZE), ENDING[0])
        time.sleep(1.5)
        line.say(*ENDING[1:])
        line.end_stream()

    server.on("POST", "/api/pull", verify)
    OllamaApi(server.url, stall_timeout=0.1, retries=0).pull(NAME)


def test_the_deadline_ends_a_pull_that_moves(server: ScriptedHttp) -> None:
    left = threading.Event()

    def crawl(line: Line) -> None:
        line.start_stream()
        done = 0
        try:
            while True:
                done += 1000
                line.say(layer(done))
                time.sleep(0.02)
        except OSError:
            left.set()

    server.on("POST", "/api/pull", crawl)
    error = failure_of(OllamaApi(server.url).pull, NAME, deadline=0.4)
    assert error.reason_code == "deadline_exceeded" and "bytes there" in error.found and left.wait(20)


def test_no_wait_goes_beyond_the_deadline(server: ScriptedHttp, api: OllamaApi, naps: list[float]) -> None:
    server.on("POST", "/api/pull", stream(MANIFEST, {"error": "500: "}))
    assert failure_of(api.pull, NAME, deadline=0.2).reason_code == "deadline_exceeded"
    assert naps == []


class Cancelled(BaseException):
    """Not an Exception, as what a signal raises."""


def test_whoever_watches_can_end_a_silent_pull(server: ScriptedHttp, api: OllamaApi) -> None:
    left = threading.Event()

    def speak(line: Line) -> None:
        line.start_stream()
        line.say(MANIFEST, ENDING[0])
        if line.wait_for_hang_up():
            left.set()

    calls: list[str] = []

    def watch(dummy_done: int, dummy_total: int | None, status: str) -> None:
        calls.append(status)
        if len(calls) == 3:
            raise Cancelled

    server.on("POST", "/api/pull", speak)
    with pytest.raises(Cancelled):
        api.pull(NAME, progress=watch)
    assert left.wait(20) and len(server.requests) == 1


@pytest.mark.parametrize(
    "speaker",
    [
        reply(200, "<html>Please log in</html>\n", "text/html"),
        reply(200, '["success"]\n'),
        reply(200, b"x" * 2_000_000),
        reply(404, "404 page not found", "text/plain"),
        reply(405, "405 method not allowed", "text/plain"),
    ],
)
def test_a_pull_from_something_else_is_not_tried_again(server: ScriptedHttp, api: OllamaApi, speaker: Speaker) -> None:
    server.on("POST", "/api/pull", speaker)
    assert failure_of(api.pull, NAME).reason_code == "server_unreachable"
    assert len(server.requests) == 1


def test_an_answer_that_is_no_stream_is_taken(server: ScriptedHttp, api: OllamaApi) -> None:
    server.on("POST", "/api/pull", reply(200, '{"status":"success"}'))
    api.pull(NAME)
    server.on("POST", "/api/pull", reply(500, {"error": "pull model manifest: file does not exist"}))
    assert failure_of(api.pull, NAME).reason_code == "not_found"
