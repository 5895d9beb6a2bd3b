# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulls of the client through the Ollama stand-in: each recorded case of a pull that a client can meet, under the name of the case."""
from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_api import OllamaApi, ServedModel
from lab.ollama.samples import Stage

NOBODY = 65534


@pytest.fixture()
def stage(tmp_path: Path) -> t.Iterator[Stage]:
    with Stage(tmp_path) as made:
        yield made


def client(stage: Stage, **options: t.Any) -> OllamaApi:
    """A client that does not wait between its tries."""
    return OllamaApi(stage.server.url, **{"retries": 2, "sleep": lambda dummy: None, **options})


def pull(stage: Stage, model: str = "mid", **options: t.Any) -> list[tuple[int, int | None, str]]:
    """Pull a published sample; the progress that was told, of which no figure ever falls."""
    told: list[tuple[int, int | None, str]] = []
    client(stage, **options).pull(stage.name(model), True, lambda *progress: told.append(progress))
    done = [each[0] for each in told]
    assert done == sorted(done) and told[-1][2] == "success"
    return told


def failure(stage: Stage, name: str, insecure: bool = True, deadline: float | None = None, **options: t.Any) -> VenomError:
    with pytest.raises(VenomError) as caught:
        client(stage, **options).pull(name, insecure, deadline=deadline)
    assert client(stage).models() == (), "a failed pull leaves no model"
    return caught.value


def served(stage: Stage, model: str) -> ServedModel:
    """The model, as the server has it, with the digest of the registry's manifest."""
    found = client(stage).find_name(stage.name(model))
    assert found is not None and found.digest == f"sha256:{stage.samples[model].symbols()[model]}"
    return found


def manifests_asked(stage: Stage) -> int:
    return stage.asked().count("GET manifests latest")


def test_pull_stream_success(stage: Stage) -> None:
    stage.registry.fault("slow", path="/cdn/*", rate=2_000_000)
    told = pull(stage)
    size = len(stage.samples["mid"].content["model"])
    assert any(0 < done < size and total == size for done, total, dummy in told)
    assert served(stage, "mid").size == stage.samples["mid"].size


def test_pull_small_success(stage: Stage) -> None:
    pull(stage, "tiny")
    assert served(stage, "tiny").details["format"] == "gguf"


def test_pull_present_stream(stage: Stage) -> None:
    pull(stage)
    stage.asked()
    told = pull(stage)
    assert told[-1][0] == told[-1][1] == stage.samples["mid"].size, "complete layers are all told"
    assert stage.asked() == ["GET manifests latest"]
    served(stage, "mid")


def test_pull_updated_tag(stage: Stage) -> None:
    pull(stage, "tiny")
    before = served(stage, "tiny").digest
    stage.publish("mid", "tiny")
    pull(stage, "tiny")
    (after,) = client(stage).models()
    assert before != after.digest == f"sha256:{stage.samples['mid'].symbols()['mid']}", "only the digest tells that something changed"


def test_pull_missing(stage: Stage) -> None:
    error = failure(stage, stage.name("nothere"))
    assert error.reason_code == "not_found" and manifests_asked(stage) == 1


def test_pull_bad_name_and_names(stage: Stage) -> None:
    for name in ("a b", "", "x/y/z/w/v", f"{stage.registry.host}/tiny"):
        assert failure(stage, name).reason_code == "invalid_name"
    for name in (f"{stage.registry.host}/library/tiny", f"{stage.registry.host}/library/TINY:LATEST", f"https://{stage.registry.host}/library/tiny"):
        client(stage).pull(name, True)
    assert len(client(stage).models()) == 1


def test_pull_registry_down(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nowhere = f"127.0.0.1:{listener.getsockname()[1]}"
    for name, insecure, words in ((f"{nowhere}/library/tiny", True, "connection refused"), ("registry.invalid/library/tiny", False, "no such host")):
        error = failure(stage, name, insecure)
        assert error.reason_code == "hub_unreachable" and words in error.found and error.details["tries"] == 3


def test_pull_http_without_insecure(stage: Stage) -> None:
    error = failure(stage, stage.name("tiny"), insecure=False)
    assert error.reason_code == "hub_unreachable" and "http://" in error.todo and error.details["tries"] == 1


@pytest.mark.parametrize(
    ("status", "body", "code", "tries"),
    [
        (500, '{"errors":[{"code":"UNKNOWN"}]}', "hub_unreachable", 3),
        (503, "<html>down</html>", "hub_unreachable", 3),
        (429, "too many requests", "rate_limited", 3),
        (403, "denied", "unauthorized", 1),
        (401, "", "redirect_refused", 1),
        (200, "this is not json", "unsupported_source", 1),
    ],
)
def test_pull_manifest_faults(stage: Stage, status: int, body: str, code: str, tries: int) -> None:
    stage.registry.fault("status", path="*/manifests/*", times=-1, status=status, body=body)
    error = failure(stage, stage.name("tiny"))
    assert (error.reason_code, error.details["tries"], manifests_asked(stage)) == (code, tries, tries)
    assert len(body) == 0 or body in error.found or code == "unsupported_source"


def test_pull_manifest_faults_closed_connection(stage: Stage) -> None:
    stage.registry.fault("drop", path="*/manifests/*", times=2)
    pull(stage, "tiny")
    served(stage, "tiny")


def test_pull_manifest_faults_empty_object(stage: Stage) -> None:
    stage.registry.fault("status", path="*/manifests/*", times=-1, status=200, body="{}")
    pull(stage, "tiny")
    (model,) = client(stage).models()
    assert model.digest != f"sha256:{stage.samples['tiny'].symbols()['tiny']}", "success is no proof: digests have to be compared"


@pytest.mark.parametrize(("status", "code", "tries"), [(500, "hub_unreachable", 3), (429, "rate_limited", 3), (404, "not_found", 1)])
def test_pull_blob_head_errors(stage: Stage, status: int, code: str, tries: int) -> None:
    digest = stage.samples["mid"].digest("model")
    stage.registry.fault("status", path=f"*{digest}", method="HEAD", status=status, times=-1, body="", headers={"Retry-After": "5"})
    error = failure(stage, stage.name("mid"))
    assert (error.reason_code, error.details["tries"]) == (code, tries)
    stage.registry.faults.clear()
    pull(stage)
    served(stage, "mid")


@pytest.mark.parametrize("status", [429, 500])
def test_pull_blob_get_errors(stage: Stage, status: int) -> None:
    digest = stage.samples["mid"].digest("model")
    stage.registry.fault("status", path=f"*/blobs/*{digest}", method="GET", status=status, times=-1, body="slow down")
    error = failure(stage, stage.name("mid"), retries=1)
    assert error.reason_code == "hub_unreachable" and "context deadline exceeded" in error.found
    stage.registry.faults.clear()
    pull(stage)


def test_pull_blob_corrupt(stage: Stage) -> None:
    digest = stage.samples["mid"].digest("model")
    stage.registry.fault("flip", path=f"/cdn/*{digest}", offset=7)
    pull(stage, retries=0)
    served(stage, "mid")
    asked = stage.asked()
    assert asked.count("GET cdn mid.model") == 2 and asked.count("GET cdn mid.config") == 1, "only the bad blob comes again"


def test_pull_blob_corrupt_twice(stage: Stage) -> None:
    digest = stage.samples["mid"].digest("model")
    stage.registry.fault("flip", path=f"/cdn/*{digest}", offset=7, times=-1)
    error = failure(stage, stage.name("mid"))
    assert error.reason_code == "digest_mismatch" and error.details["expected"] == f"sha256:{digest}" != error.details["actual"]


def test_pull_cdn_error_body_longer_than_layer(stage: Stage) -> None:
    stage.registry.fault("status", path=f"/cdn/*{stage.samples['mid'].digest('params')}", status=500, times=1, body="X" * 4096)
    pull(stage)
    served(stage, "mid")


def test_pull_cdn_500_forever(stage: Stage) -> None:
    stage.registry.fault("status", path=f"/cdn/*{stage.samples['mid'].digest('model')}", status=500, times=-1, body="boom")
    error = failure(stage, stage.name("mid"), retries=1)
    assert error.reason_code == "hub_unreachable" and "max retries exceeded" in error.found and error.details["tries"] == 2


@pytest.mark.parametrize(
    "fault",
    [
        ("status", {"status": 500, "times": 2, "body": "boom"}),
        ("status", {"status": 429, "times": 1, "body": "slow down", "headers": {"Retry-After": "20"}}),
        ("drop", {"times": 2}),
        ("cut", {"after": 400_000, "times": 1}),
    ],
)
def test_pull_cdn_errors_then_ok(stage: Stage, fault: tuple[str, dict[str, t.Any]]) -> None:
    kind, options = fault
    stage.registry.fault(kind, path=f"/cdn/*{stage.samples['mid'].digest('model')}", **options)
    pull(stage, retries=0)
    served(stage, "mid")


def test_pull_cdn_stall_that_the_server_ends(stage: Stage) -> None:
    stage.registry.fault("hang", path=f"/cdn/*{stage.samples['mid'].digest('model')}", when="body", after=400_000, seconds=75, times=1)
    pull(stage, retries=0)
    served(stage, "mid")


def test_pull_cdn_stall_that_the_client_ends(tmp_path: Path) -> None:
    with Stage(tmp_path, {"LAB_OLLAMA_TIME_SCALE": "1"}) as stage:
        digest = stage.samples["mid"].digest("model")
        stage.registry.fault("hang", path=f"/cdn/*{digest}", when="body", after=400_000, seconds=75, times=1)
        # With its waits: a pull that comes before the server has seen that the first one left would join its download.
        told = pull(stage, retries=2, stall_timeout=1.0, sleep=time.sleep)
        served(stage, "mid")
        assert any(0 < done < len(stage.samples["mid"].content["model"]) for done, dummy, dummy_status in told)
        asked = [entry for entry in stage.registry.log.entries(listener="cdn") if entry.path.startswith(f"/cdn/sha256:{digest}")]
        assert [entry.range for entry in asked] == ["bytes=0-999999", "bytes=400000-999999"], "a request that is ended in time loses nothing"


def test_pull_docker_registry_and_registry_redirect_modes(stage: Stage) -> None:
    for mode in ("200", "307-same-host"):
        stage.registry.mode = mode
        error = failure(stage, stage.name("tiny"))
        assert error.reason_code == "unsupported_source" and "redirect" in error.todo
    for mode in ("200-location", "307"):
        stage.wipe()
        stage.registry.mode = mode
        pull(stage, "tiny")


def test_pull_disk_full(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(models)], check=True)
    try:
        with Stage(tmp_path) as stage:
            error = failure(stage, stage.name("mid"))
            assert error.reason_code == "disk_full" and error.details["tries"] == 1
    finally:
        subprocess.run(["umount", "--lazy", str(models)], check=True)


def test_pull_over_bad_local_files(stage: Stage) -> None:
    pull(stage)
    blob = stage.blob("mid.model")
    blob.write_bytes(blob.read_bytes()[:1000])
    pull(stage)
    assert blob.stat().st_size == 1000, "a pull is no repair"
    served(stage, "mid")
    blob.unlink()
    served(stage, "mid")
    pull(stage)
    assert blob.read_bytes() == stage.samples["mid"].content["model"]
    path = stage.manifest_path("mid", host=stage.registry.host)
    path.write_bytes(path.read_bytes()[:100])
    assert client(stage).models() == ()
    for call in (client(stage).show, client(stage).delete):
        with pytest.raises(VenomError) as caught:
            call(stage.name("mid"))
        assert caught.value.reason_code == "io_error" and "unexpected EOF" in caught.value.found
    pull(stage)
    served(stage, "mid")


def test_pull_interrupted_resumed(stage: Stage) -> None:
    stage.registry.fault("slow", path="/cdn/*", rate=800_000, times=1)

    class Stopped(BaseException):
        pass

    def stop(done: int, dummy_total: int | None, dummy_status: str) -> None:
        if done > 200_000:
            raise Stopped

    with pytest.raises(Stopped):
        client(stage).pull(stage.name("mid"), True, stop)
    state = next(iter(stage.models.glob("blobs/*-partial-0")))
    until = time.monotonic() + 20
    while '"Completed":0' in state.read_text() and time.monotonic() < until:
        time.sleep(0.02)
    stage.asked()
    pull(stage)
    served(stage, "mid")
    assert "HEAD blobs mid.model" not in stage.asked(), "the server goes on from its partial files"


@pytest.mark.parametrize("signal", ["stop", "kill"])
def test_pull_server_killed_and_stream_cut(stage: Stage, signal: str) -> None:
    stage.registry.fault("slow", path=f"/cdn/*{stage.samples['big'].digest('model')}", rate=1_000_000, times=3)
    ended = threading.Event()

    def end(done: int, dummy_total: int | None, dummy_status: str) -> None:
        if done > 200_000 and not ended.is_set():
            getattr(stage.server, signal)()
            ended.set()

    waits: list[float] = []

    def restart(seconds: float) -> None:
        waits.append(seconds)
        stage.server.start()

    client(stage, retries=1, sleep=restart).pull(stage.name("big"), True, end)
    assert ended.is_set() and len(waits) == 1
    served(stage, "big")


def test_stream_cut_by_server_stop_for_good(stage: Stage) -> None:
    stage.server.fault("pull_cut", times=9)
    error = failure_without_models(stage)
    assert error.reason_code == "server_unreachable" and error.details["tries"] == 3


def failure_without_models(stage: Stage) -> VenomError:
    with pytest.raises(VenomError) as caught:
        client(stage).pull(stage.name("tiny"), True)
    return caught.value


def test_pull_two_at_once(stage: Stage) -> None:
    stage.registry.fault("slow", path=f"/cdn/*{stage.samples['mid'].digest('model')}", rate=2_000_000)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            pull(stage)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for dummy in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == [] and stage.asked().count("GET cdn mid.model") == 1
    served(stage, "mid")


def test_pull_that_stalls_for_ever(stage: Stage) -> None:
    stage.server.fault("pull_stall", seconds=60)
    stage.registry.fault("slow", path="/cdn/*", rate=1_000_000)
    error = failure(stage, stage.name("mid"), retries=0, stall_timeout=0.5)
    assert error.reason_code == "hub_unreachable" and "stalled" in error.found


def test_pull_past_its_deadline(stage: Stage) -> None:
    stage.registry.fault("slow", path="/cdn/*", rate=20_000)
    assert failure(stage, stage.name("mid"), deadline=0.5).reason_code == "deadline_exceeded"


def test_file_ownership(tmp_path: Path) -> None:
    # Root without its capabilities may write only what is its own, as any account.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec setpriv --bounding-set=-all {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    stage = Stage(tmp_path)
    stage.server.python = str(python)
    with stage:
        pull(stage, "tiny")
        manifest = stage.manifest_path("tiny", host=stage.registry.host)
        for path in (manifest, manifest.parent):
            os.chown(path, NOBODY, NOBODY)
        with pytest.raises(VenomError) as caught:
            client(stage).pull(stage.name("tiny"), True)
        assert caught.value.reason_code == "permission_denied"
        with pytest.raises(VenomError) as caught:
            client(stage).delete(stage.name("tiny"))
        assert caught.value.reason_code == "permission_denied" and "half gone" in caught.value.found
