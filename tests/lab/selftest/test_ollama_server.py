# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ollama stand-in as a process: what a recorded Ollama 0.32.15 left behind when it was stopped, killed, started, or left alone by its client."""
from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
from pathlib import Path

import pytest

from lab.ollama import OllamaServer, command
from lab.ollama.samples import PART_BYTES, Stage
from lab.ollama.server import ROOT

OLD = 7200


@pytest.fixture
def stage(tmp_path: Path) -> t.Iterator[Stage]:
    with Stage(tmp_path) as found:
        yield found


class Pull:
    """A pull whose lines are read while it goes on."""

    def __init__(self, stage: Stage, model: str, stream: bool = True) -> None:
        self.connection = http.client.HTTPConnection(stage.server.host, stage.server.port, timeout=60)
        body = {"model": stage.name(model), "insecure": True, "stream": stream}
        self.connection.request("POST", "/api/pull", json.dumps(body))
        self.response = self.connection.getresponse() if stream else None
        self.lines: list[dict[str, t.Any]] = []

    def until(self, completed: int) -> None:
        """Read until so much is there."""
        while self.read()["completed"] < completed:
            continue

    def read(self) -> dict[str, t.Any]:
        assert self.response is not None
        line = json.loads(self.response.readline())
        self.lines.append(line)
        return {"completed": 0, **line}

    def rest(self) -> list[dict[str, t.Any]]:
        """Read to the end, whatever kind of end."""
        assert self.response is not None
        self.lines += [json.loads(line) for line in self.response]
        return self.lines

    def leave(self) -> None:
        self.connection.close()
        if self.response is not None:
            self.response.close()


def slow(stage: Stage, rate: int = 1_500_000) -> None:
    stage.registry.fault("slow", path="/cdn/*", rate=rate)


def parts(stage: Stage, model: str) -> list[dict[str, int]]:
    folder = stage.blob(f"{model}.model").parent
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"sha256-{stage.samples[model].digest('model')}-partial-*"))]


def eventually(check: t.Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not check():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def statuses(lines: t.Iterable[dict[str, t.Any]]) -> list[str]:
    return [line["status"] for line in lines if not line.get("digest")]


WHOLE = ["pulling manifest", "verifying sha256 digest", "writing manifest", "success"]


def test_a_client_that_leaves_stops_the_download_and_the_next_pull_resumes(stage: Stage) -> None:
    slow(stage)
    pull = Pull(stage, "mid")
    pull.until(200_000)
    pull.leave()
    eventually(lambda: parts(stage, "mid")[0]["Completed"] > 0)
    kept = parts(stage, "mid")[0]["Completed"]
    partial = Path(f"{stage.blob('mid.model')}-partial")
    assert partial.stat().st_size == len(stage.samples["mid"].content["model"])
    assert stage.server.request("GET", "/api/tags").json == {"models": []}
    stage.registry.faults.clear()
    stage.registry.log.clear()
    assert statuses(Pull(stage, "mid").rest()) == WHOLE
    entries = stage.registry.log.entries(f"*/{'sha256:' + stage.samples['mid'].digest('model')}")
    assert [(entry.method, entry.range) for entry in entries] == [("GET", None), ("GET", f"bytes={kept}-999999")]
    assert stage.blob("mid.model").read_bytes() == stage.samples["mid"].content["model"]
    assert not partial.exists() and parts(stage, "mid") == []


def test_a_client_that_waits_without_a_stream_and_leaves_stops_the_download(stage: Stage) -> None:
    slow(stage)
    pull = Pull(stage, "mid", stream=False)
    eventually(lambda: stage.registry.log.sent("/cdn/*") > 100_000)
    pull.leave()
    eventually(lambda: parts(stage, "mid")[0]["Completed"] > 0)
    assert stage.server.request("GET", "/api/tags").json == {"models": []}


def test_sigterm_ends_the_stream_without_a_word_and_keeps_the_offsets(stage: Stage) -> None:
    slow(stage)
    pull = Pull(stage, "big")
    pull.until(600_000)
    assert stage.server.stop() == 0
    lines = pull.rest()
    assert "error" not in lines[-1] and lines[-1]["status"] != "success"
    kept = parts(stage, "big")
    sizes = (PART_BYTES, PART_BYTES, 542_640)
    assert [(part["N"], part["Offset"], part["Size"]) for part in kept] == [(n, n * PART_BYTES, size) for n, size in enumerate(sizes)]
    assert sum(part["Completed"] for part in kept) >= 600_000
    stage.server.start()
    assert parts(stage, "big") == kept
    stage.registry.faults.clear()
    again = Pull(stage, "big").rest()
    assert statuses(again) == WHOLE and all(line.get("completed", 10**9) >= 600_000 for line in again if line.get("total", 0) > PART_BYTES)
    assert stage.blob("big.model").read_bytes() == stage.samples["big"].content["model"]


def test_sigkill_loses_the_parts_in_flight_and_keeps_finished_ones(stage: Stage) -> None:
    slow(stage, 800_000)
    pull = Pull(stage, "big")
    eventually(lambda: any(part["Completed"] == part["Size"] for part in parts(stage, "big")))
    assert stage.server.kill() == -9
    assert pull.rest()[-1].get("status") != "success"
    assert [part["Completed"] for part in parts(stage, "big")] == [0, 0, 542_640]
    stage.server.start()
    stage.registry.faults.clear()
    stage.registry.log.clear()
    assert statuses(Pull(stage, "big").rest()) == WHOLE
    ranges = [entry.range for entry in stage.registry.log.entries("/cdn/*") if stage.samples["big"].digest("model") in entry.path]
    assert sorted(map(str, ranges)) == ["bytes=0-999999", "bytes=1000000-1999999"]


def test_the_end_of_a_cut_stream_looks_whole_to_a_reader_of_lines(stage: Stage) -> None:
    slow(stage)
    pull = Pull(stage, "big")
    pull.until(300_000)
    stage.server.stop()
    assert pull.response is not None
    with pytest.raises(http.client.IncompleteRead):
        pull.response.read()


@pytest.mark.parametrize("first_leaves", [False, True])
def test_two_pulls_share_one_download(stage: Stage, first_leaves: bool) -> None:
    slow(stage)
    first = Pull(stage, "mid")
    first.until(200_000)
    second = Pull(stage, "mid")
    assert second.read() == {"completed": 0, "status": "pulling manifest"}
    assert second.read()["completed"] >= 200_000
    if first_leaves:
        first.leave()
    else:
        assert statuses(first.rest()) == WHOLE
    assert statuses(second.rest()) == WHOLE
    asked = [entry.path for entry in stage.registry.log.entries("/cdn/*") if stage.samples["mid"].digest("model") in entry.path]
    assert len(asked) == 1


def test_a_delete_during_the_first_pull_finds_nothing_and_harms_nothing(stage: Stage) -> None:
    slow(stage)
    pull = Pull(stage, "mid")
    pull.until(200_000)
    reply = stage.server.request("DELETE", "/api/delete", {"model": stage.name("mid")})
    assert reply.status == 404 and reply.json == {"error": f"model '{stage.name('mid')}' not found"}
    assert statuses(pull.rest()) == WHOLE


def test_completed_falls_when_a_stalled_part_starts_again(tmp_path: Path) -> None:
    with Stage(tmp_path, {"LAB_OLLAMA_TIME_SCALE": "0.02"}) as stage:
        stage.registry.fault("hang", path="/cdn/*" + stage.samples["mid"].digest("model"), when="body", after=400_000, seconds=60, times=1)
        slow(stage)
        lines = Pull(stage, "mid").rest()
        told = [line.get("completed", 0) for line in lines if line.get("total") == 1_000_000]
        assert statuses(lines) == WHOLE
        assert 400_000 in told and any(later < earlier for earlier, later in zip(told, told[1:]))


def test_a_full_disk_is_said_at_once(stage: Stage) -> None:
    stage.server.stop()
    stage.models.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(stage.models)], check=True)
    try:
        stage.server.start()
        partial = f"{stage.blob('mid.model')}-partial"
        error = {"error": f"write {partial}: no space left on device"}
        assert Pull(stage, "mid").rest()[-1] == error
        assert parts(stage, "mid")[0]["Completed"] == 0
        reply = stage.server.request("POST", "/api/pull", {"model": stage.name("mid"), "insecure": True, "stream": False})
        assert (reply.status, reply.json) == (500, error)
        assert stage.server.request("GET", "/api/tags").json == {"models": []}
        stage.server.stop()
    finally:
        subprocess.run(["umount", str(stage.models)], check=True)


def test_a_start_removes_what_is_old_and_belongs_to_no_manifest(stage: Stage) -> None:
    stage.server.stop()
    stage.store("tiny")
    blobs = stage.models / "blobs"
    names = {letter: "sha256-" + letter * 64 for letter in "abcd"}
    young = [names["b"], names["d"] + "-partial", names["d"] + "-partial-0"]
    old = [names["a"], names["c"] + "-partial", names["c"] + "-partial-0", "stray-old.txt", ".ansible-tmp-old", "sha256:" + "e" * 64]
    for name in young + old:
        (blobs / name).write_text("x")
    for name in old + [path.name for path in stage.models.glob("blobs/sha256-[0-9]*")]:
        os.utime(blobs / name, (time.time() - OLD, time.time() - OLD))
    (blobs / "olddir").mkdir()
    (stage.models / "manifests/127.0.0.1:1/library/empty").mkdir(parents=True)
    before = set(stage.tree())
    colon, dash = "blobs/sha256:" + "e" * 64, "blobs/sha256-" + "e" * 64
    stage.server.env["OLLAMA_NOPRUNE"] = "1"
    stage.server.start()
    assert set(stage.tree()) == before - {colon} | {dash}
    stage.server.env["OLLAMA_NOPRUNE"] = "0"
    bad = stage.manifest_path("bad")
    bad.parent.mkdir(parents=True)
    bad.write_text("{oops")
    stage.server.restart()
    assert set(stage.tree()) == before - {colon} | {dash, "manifests/registry.ollama.ai/library/bad/latest"}
    assert (
        'msg="corrupt manifests detected, skipping prune operation.  Re-pull or delete to clear" '
        "error=\"registry.ollama.ai/library/bad:latest invalid character 'o' looking for beginning of object key string\"" in stage.server.log
    )
    bad.unlink()
    stage.server.restart()
    assert set(stage.tree()) == before - {f"blobs/{name}" for name in old} - {"manifests/127.0.0.1:1/library/empty/"}
    assert [model["name"] for model in stage.server.request("GET", "/api/tags").json["models"]] == ["tiny:latest"]


def test_the_port_accepts_before_the_server_answers(tmp_path: Path) -> None:
    server = OllamaServer(tmp_path, port=free_port(), env={"LAB_OLLAMA_START_SECONDS": "60"})
    try:
        server.start(wait=False)

        def accepts() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex((server.host, server.port)) == 0

        eventually(accepts)
        with pytest.raises(TimeoutError):
            server.request("GET", "/api/version", timeout=0.2)
    finally:
        server.__exit__()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"OLLAMA_HOST": "{busy}"}, 1, "Error: listen tcp {busy}: bind: address already in use\n"),
        ({"OLLAMA_HOST": "not a host"}, 1, "Error: listen tcp: lookup not a host: no such host\n"),
        ({"OLLAMA_MODELS": "{folder}/afile/models"}, 1, "Error: mkdir {folder}/afile: not a directory: ensure path elements are traversable\n"),
        ({"HOME": "", "OLLAMA_MODELS": ""}, 2, "panic: $HOME is not defined\n"),
    ],
)
def test_a_start_that_fails(tmp_path: Path, changes: dict[str, str], code: int, said: str) -> None:
    (tmp_path / "afile").write_text("")
    with OllamaServer(tmp_path / "models") as server:
        words = {"{busy}": f"127.0.0.1:{server.port}", "{folder}": str(tmp_path)}

        def fill(text: str) -> str:
            for word, value in words.items():
                text = text.replace(word, value)
            return text

        environment = {**server.environment, "OLLAMA_HOST": "127.0.0.1:0", **{key: fill(value) for key, value in changes.items()}}
        command = [sys.executable, "-m", "lab.ollama.cli", "serve"]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == code
    assert fill(said) in ended.stderr


def config_line(server: OllamaServer) -> dict[str, str]:
    text = server.log.split('msg="server config" env="map[')[-1].split(']"\n')[0]
    return dict(part.partition(":")[::2] for part in text.split(" ") if part.startswith("OLLAMA_"))


def test_values_of_the_environment_as_the_log_shows_them(tmp_path: Path) -> None:
    env = {
        "OLLAMA_NUM_PARALLEL": "abc", "OLLAMA_KEEP_ALIVE": "garbage", "OLLAMA_MAX_QUEUE": "-3", "OLLAMA_DEBUG": "1", "OLLAMA_NOPRUNE": "no",
        "OLLAMA_FLASH_ATTENTION": "maybe", "OLLAMA_GPU_OVERHEAD": "1GB", "OLLAMA_LOAD_TIMEOUT": "0", "OLLAMA_MODELS": f' "{tmp_path}" ',
    }  # fmt: skip
    with OllamaServer(tmp_path, env=env) as server:
        shown = config_line(server)
        assert 'msg="invalid environment variable, using default" key=OLLAMA_NUM_PARALLEL value=abc default=1' in server.log
    wanted = {
        "OLLAMA_NUM_PARALLEL": "1", "OLLAMA_KEEP_ALIVE": "5m0s", "OLLAMA_MAX_QUEUE": "512", "OLLAMA_DEBUG": "DEBUG", "OLLAMA_NOPRUNE": "true",
        "OLLAMA_FLASH_ATTENTION": "true", "OLLAMA_GPU_OVERHEAD": "0", "OLLAMA_LOAD_TIMEOUT": "2562047h47m16.854775807s",
        "OLLAMA_MODELS": str(tmp_path), "OLLAMA_NO_CLOUD": "true", "OLLAMA_CONTEXT_LENGTH": "0",
    }  # fmt: skip
    assert {key: shown[key] for key in wanted} == wanted
    with OllamaServer(tmp_path, env={"OLLAMA_KEEP_ALIVE": "-1", "OLLAMA_DEBUG": "2", "OLLAMA_ORIGINS": "https://a.example,*"}) as server:
        shown = config_line(server)
        assert (shown["OLLAMA_KEEP_ALIVE"], shown["OLLAMA_DEBUG"]) == ("2562047h47m16.854775807s", "DEBUG-4")
        assert shown["OLLAMA_ORIGINS"] == "[https://a.example"
        assert server.request("GET", "/api/tags", headers={"Origin": "http://evil.example"}).status == 200


def test_a_bad_port_silently_means_the_default() -> None:
    from lab.ollama.config import Config

    assert [Config({"OLLAMA_HOST": text}).url for text in ("127.0.0.1:99999", "0.0.0.0", "https://x.example", ":1234", "[::1]:5")] == [
        "http://127.0.0.1:11434",
        "http://0.0.0.0:11434",
        "https://x.example:443",
        "http://:1234",
        "http://[::1]:5",
    ]


def test_one_child_for_each_loaded_model_and_none_after_the_end(stage: Stage) -> None:
    for model in ("tiny", "mid"):
        stage.store(model)
        assert stage.server.request("POST", "/api/generate", {"model": model}).json["done_reason"] == "load"
    assert stage.server.children() == ["llama-server", "llama-server"]
    stage.server.request("POST", "/api/generate", {"model": "mid", "keep_alive": 0})
    assert stage.server.children() == ["llama-server"]
    listing = Path("/proc") / str(stage.server.pid) / "task" / str(stage.server.pid) / "children"
    child = int(listing.read_text().split()[0]) if listing.exists() else 0
    assert stage.server.stop() == 0
    assert not child or not (Path("/proc") / str(child)).exists()


def test_a_model_leaves_memory_when_its_time_is_over(stage: Stage) -> None:
    stage.store("tiny")
    stage.server.request("POST", "/api/generate", {"model": "tiny", "keep_alive": "200ms"})
    eventually(lambda: stage.server.request("GET", "/api/ps").json == {"models": []})
    assert stage.server.children() == []


def test_newest_models_come_first(stage: Stage) -> None:
    for seconds, model in ((20, "mid"), (0, "big"), (10, "tiny")):
        path = stage.store(model)
        os.utime(path, (time.time() - seconds, time.time() - seconds))
    assert [model["name"] for model in stage.server.request("GET", "/api/tags").json["models"]] == ["big:latest", "tiny:latest", "mid:latest"]


def test_files_have_the_modes_of_the_umask(stage: Stage) -> None:
    assert statuses(Pull(stage, "tiny").rest()) == WHOLE
    assert {oct(path.stat().st_mode & 0o777) for path in stage.models.rglob("*") if path.is_file()} == {"0o644"}


@pytest.fixture
def foreign() -> t.Iterator[Stage]:
    """A server that runs as nobody, in a folder it can reach."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="lab-ollama-"))
    folder.chmod(0o755)
    models = folder / "models"
    models.mkdir()
    shutil.chown(models, 65534, 65534)
    try:
        with Stage(folder, user=65534) as found:
            yield found
    finally:
        shutil.rmtree(folder)


def test_files_that_the_server_may_not_touch(foreign: Stage) -> None:
    ask, name = foreign.server.request, foreign.name("mid")
    assert statuses(Pull(foreign, "mid").rest()) == WHOLE
    manifest = foreign.manifest_path("mid", host=foreign.registry.host)
    assert {path.stat().st_uid for path in foreign.models.rglob("*")} == {65534}

    os.chown(manifest, 0, 0)
    manifest.chmod(0o600)
    denied = {"error": f"open {manifest}: permission denied"}
    assert ask("GET", "/api/tags").json == {"models": []}
    assert (ask("POST", "/api/show", {"model": name}).status, ask("POST", "/api/show", {"model": name}).json) == (500, denied)
    assert Pull(foreign, "mid").rest()[-2:] == [{"status": "writing manifest"}, denied]
    assert ask("DELETE", "/api/delete", {"model": name}).json == denied

    manifest.chmod(0o644)
    os.chown(manifest.parent, 0, 0)
    assert ask("GET", "/api/tags").json["models"][0]["name"] == f"{name}:latest"
    assert ask("DELETE", "/api/delete", {"model": name}).json == {"error": f"remove {manifest}: permission denied"}
    manifest.parent.chmod(0o700)
    assert ask("GET", "/api/tags").json == {"models": []}

    for path in (manifest, manifest.parent):
        os.chown(path, 65534, 65534)
    manifest.parent.chmod(0o755)
    blob = foreign.blob("mid.model")
    os.chown(blob, 0, 0)
    blob.chmod(0o600)
    entry = ask("GET", "/api/tags").json["models"][0]
    assert "capabilities" not in entry and "context_length" not in entry["details"]
    assert ask("POST", "/api/show", {"model": name}).json == {"error": f"open {blob}: permission denied"}
    assert ask("POST", "/api/generate", {"model": name}).json == {"error": f'"{name}" does not support generate'}
    assert statuses(Pull(foreign, "mid").rest()) == WHOLE

    os.chown(blob.parent, 0, 0)
    assert Pull(foreign, "tiny").rest()[-1] == {"error": f"open {foreign.blob('tiny.model')}-partial-0: permission denied"}
    reply = ask("DELETE", "/api/delete", {"model": name})
    assert reply.status == 500 and reply.json["error"].startswith(f"remove {blob.parent}/sha256-")
    assert ask("GET", "/api/tags").json == {"models": []}


@pytest.fixture
def ollama(stage: Stage, tmp_path: Path) -> t.Callable[..., subprocess.CompletedProcess[str]]:
    """The command, with the server of the stage."""
    path = command(tmp_path / "bin")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(path), *arguments], env=stage.server.environment, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_the_command_line(stage: Stage, ollama: t.Callable[..., subprocess.CompletedProcess[str]]) -> None:
    name = stage.name("tiny")
    assert (ollama("--version").returncode, ollama("--version").stdout) == (0, "ollama version is 0.32.15\n")
    assert ollama("list").stdout == "NAME    ID    SIZE    MODIFIED \n"
    assert ollama("ps").stdout == "NAME    ID    SIZE    PROCESSOR    CONTEXT    UNTIL \n"
    refused = ollama("pull", name)
    assert refused.returncode == 1
    url = f"https://{stage.registry.host}/v2/library/tiny/manifests/latest"
    assert refused.stderr.endswith(f'\nError: pull model manifest: Get "{url}": tls: first record does not look like a TLS handshake\n')
    pulled = ollama("pull", "--insecure", name)
    assert (pulled.returncode, pulled.stdout) == (0, "") and "success \x1b[K" in pulled.stderr
    listed = ollama("list").stdout.splitlines()
    assert listed[1].split()[:2] == [f"{name}:latest", stage.samples["tiny"].symbols()["tiny"][:12]]
    assert ollama("list", "nothing-like-it").stdout == "NAME    ID    SIZE    MODIFIED \n"
    missing = ollama("pull", "--insecure", stage.name("nothere"))
    assert missing.returncode == 1 and missing.stderr.endswith("\nError: pull model manifest: file does not exist\n")
    assert ollama("pull", "a b").stderr.endswith("\nError: 400 Bad Request: invalid model name\n")
    assert "architecture        llama" in ollama("show", name).stdout
    assert ollama("show", "nothere").stderr == "Error: model 'nothere:latest' not found\n"
    assert ollama("cp", name, "t2").stdout == f"copied '{name}' to 't2'\n"
    assert ollama("cp", "nothere", "t3").stderr == 'Error: model "nothere" not found\n'
    stage.server.request("POST", "/api/generate", {"model": "t2"})
    assert ollama("ps").stdout.splitlines()[1].startswith("t2:latest ")
    assert ollama("stop", "t2").returncode == 0
    assert stage.server.request("GET", "/api/ps").json == {"models": []}
    assert ollama("stop", "nothere").stderr.endswith("Error: couldn't find model \"nothere\" to stop\n")
    assert ollama("rm", "t2").stdout == "deleted 't2'\n"
    again = ollama("rm", "t2")
    assert again.returncode == 1 and again.stderr.endswith("Error: model 't2' not found\n")
    assert ollama("show", "--modelfile", name).stdout.startswith('# Modelfile generated by "ollama show"\n')
    stage.server.stop()
    for arguments in (("list",), ("ps",), ("pull", name)):
        down = ollama(*arguments)
        assert (down.returncode, down.stderr) == (1, "Error: could not connect to ollama server, run 'ollama serve' to start it\n")
    down = ollama("--version")
    assert (down.returncode, down.stdout) == (0, "Warning: could not connect to a running Ollama instance\nWarning: client version is 0.32.15\n")


def test_the_lab_serves_it_too(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    argv = [sys.executable, "-m", "lab", "ollama", "serve", "--models", str(tmp_path / "models"), "--port", "0"]
    with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("Listening on 127.0.0.1:" in line for line in process.stderr)
        process.terminate()
        assert process.wait(20) == 0


class TestFaults:
    def test_a_stream_cut_without_success(self, stage: Stage) -> None:
        stage.server.fault("pull_cut", times=1)
        lines = Pull(stage, "tiny").rest()
        assert statuses(lines) == WHOLE[:-1]
        assert statuses(Pull(stage, "tiny").rest()) == WHOLE

    def test_a_stream_cut_before_the_check(self, stage: Stage) -> None:
        stage.server.fault("pull_cut", times=1, before="verifying")
        assert statuses(Pull(stage, "tiny").rest()) == WHOLE[:1]

    def test_a_pull_that_stalls_goes_on_ticking(self, stage: Stage) -> None:
        slow(stage)
        stage.server.fault("pull_stall", times=1, seconds=0.5)
        told = [line.get("completed") for line in Pull(stage, "mid").rest() if line.get("total") == 1_000_000]
        assert max(told.count(value) for value in told) >= 4

    def test_a_pull_that_fails(self, stage: Stage) -> None:
        stage.server.fault("pull_error", times=1, text="boom")
        assert Pull(stage, "tiny").rest() == [{"status": "pulling manifest"}, {"error": "boom"}]

    def test_a_lying_digest(self, stage: Stage) -> None:
        stage.store("tiny")
        stage.server.fault("tags_digest", times=1)
        assert stage.server.request("GET", "/api/tags").json["models"][0]["digest"] == "f" * 64
        assert stage.server.request("GET", "/api/tags").json["models"][0]["digest"] == stage.samples["tiny"].symbols()["tiny"]

    def test_a_delete_that_fails(self, stage: Stage) -> None:
        stage.store("tiny")
        stage.server.fault("delete_500", times=1)
        assert stage.server.request("DELETE", "/api/delete", {"model": "tiny"}).status == 500
        assert stage.server.request("DELETE", "/api/delete", {"model": "tiny"}).status == 200

    def test_a_slow_unload(self, stage: Stage) -> None:
        stage.store("tiny")
        stage.server.request("POST", "/api/generate", {"model": "tiny"})
        stage.server.fault("slow_unload", times=1, seconds=1)
        assert stage.server.request("POST", "/api/generate", {"model": "tiny", "keep_alive": 0}).json["done_reason"] == "unload"
        assert len(stage.server.request("GET", "/api/ps").json["models"]) == 1
        eventually(lambda: stage.server.request("GET", "/api/ps").json == {"models": []})

    def test_a_load_that_takes_too_long(self, tmp_path: Path) -> None:
        with Stage(tmp_path, {"OLLAMA_LOAD_TIMEOUT": "100ms"}) as stage:
            stage.store("tiny")
            stage.server.fault("slow_load", times=1, seconds=5)
            assert stage.server.request("POST", "/api/generate", {"model": "tiny"}).status == 500
            assert stage.server.request("POST", "/api/generate", {"model": "tiny"}).status == 200

    def test_a_load_that_fails(self, stage: Stage) -> None:
        stage.store("tiny")
        stage.server.fault("load", times=1, path="tiny", status=404, text="gone")
        reply = stage.server.request("POST", "/api/generate", {"model": "tiny"})
        assert (reply.status, reply.json) == (404, {"error": "gone"})
        assert stage.server.request("POST", "/api/generate", {"model": "tiny"}).status == 200

    def test_a_model_that_says_nothing_and_one_that_is_hidden(self, stage: Stage) -> None:
        stage.store("tiny")
        stage.server.fault("mute", times=1)
        asked = {"model": "tiny", "prompt": "Hello", "stream": False}
        assert stage.server.request("POST", "/api/generate", asked).json["response"] == ""
        assert stage.server.request("POST", "/api/generate", asked).json["response"] != ""
        stage.server.fault("ps_hides", times=1, model="tiny:latest")
        assert stage.server.request("GET", "/api/ps").json == {"models": []}
        assert len(stage.server.request("GET", "/api/ps").json["models"]) == 1

    def test_an_endpoint_out_of_order(self, stage: Stage) -> None:
        stage.server.fault("answer", times=1, path="/api/tags", status=503, text="down")
        reply = stage.server.request("GET", "/api/tags")
        assert (reply.status, reply.json) == (503, {"error": "down"})
        assert stage.server.request("GET", "/api/tags").status == 200

    def test_faults_of_the_environment_and_their_end(self, tmp_path: Path) -> None:
        with OllamaServer(tmp_path, env={"LAB_OLLAMA_FAULTS": json.dumps([{"kind": "answer", "path": "/api/ps"}])}) as server:
            assert server.request("GET", "/api/ps").status == 503
            server.clear_faults()
            assert server.request("GET", "/api/ps").status == 200
            with pytest.raises(ValueError, match="there is no fault 'nonsense'"):
                server.fault("nonsense")


def test_many_clients_at_once(stage: Stage) -> None:
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(statuses(Pull(stage, "big").rest()))) for dummy in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [WHOLE] * 8
    assert stage.blob("big.model").read_bytes() == stage.samples["big"].content["model"]
