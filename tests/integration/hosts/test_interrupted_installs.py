# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs that lose their power, their line, their disk or their hub in the middle: each resumes, and little is fetched twice."""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from installs import MB, PROMISED, STREAMS, ManifestReader, Meter, big_model, digests_of, digests_on, size_of, slow, wait_for
from operators import Operator, Run

from lab.hosts import Lab
from lab.hub import Hub

pytestmark = pytest.mark.hosts

HOSTS = ("lab1", "lab2", "lab3")
HOST = "lab2"
#: The hosts are prepared once; after that only the models are played.
MODELS = ("--tags", "models")
HERE = (*MODELS, "--limit", HOST)
BIG = "demo/interrupted"
#: Of their own, so that other tests of the session keep their models.
FOLDER, NARROW = "/var/lib/venom/interrupted", "/var/lib/venom/narrow"
MODELS_TASK = "Make the models what the list says"
#: Seconds that a line is dead: longer than the 30 after which a silent stream counts as broken.
BLACKOUT = 34


@pytest.fixture(scope="module")
def prepared(lab: Lab, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> None:
    """All hosts have their account, folders and backend."""
    shared = {"venom_hf_endpoint": hub.url, "venom_wheels_dir": "/srv/wheels"}
    operator = Operator(lab.inventory, tmp_path_factory.mktemp("prepare"), shared)
    operator.play("site", "--tags", "host")


@pytest.fixture(scope="module")
def first(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The commit of the revision that is on the host before anything happens."""
    return hub.add_repo(BIG, big_model(tmp_path_factory.mktemp("first"), 10 * MB, 1), tag="v1")


@pytest.fixture(scope="module")
def source(hub: Hub, first: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the second, large revision, v2."""
    folder = big_model(tmp_path_factory.mktemp("second"), 300 * MB, 2, files=2)
    hub.add_repo(BIG, folder, tag="v2")
    return folder


@pytest.fixture
def on(lab: Lab, hub: Hub, operator: Operator, prepared: None) -> t.Iterator[Operator]:
    """The operator; folders of the hosts are empty before and after."""

    def clear() -> None:
        for host in HOSTS:
            lab.run(host, ["sh", "-c", f"umount {NARROW} 2>/dev/null; rm -rf {FOLDER} {NARROW}"])

    clear()
    limits = {"venom_models_max_parallel": STREAMS, "venom_models_reserve_gib": 0}
    yield replace(operator, variables={**operator.variables, **limits})
    clear()


def models(*revisions: str, repo: str = BIG, folder: str = FOLDER) -> dict[str, t.Any]:
    """Variables that want these revisions in this folder."""
    return {"venom_models": [{"name": repo, "revision": revision} for revision in revisions], "venom_models_dir": folder}


def snapshot(hub: Hub, repo: str, revision: str, folder: str = FOLDER) -> str:
    """Where a revision lies on a host."""
    commit = hub.store.repos[repo].tags.get(revision) or hub.store.repos[repo].branches[revision]
    return f"{folder}/hf/{repo.replace('/', '--')}@{commit}"


def result_of(run: Run, host: str = HOST) -> dict[str, t.Any]:
    """What the module said there."""
    return next(line["result"] for line in run.tasks if line["host"] == host and line["task"].endswith(MODELS_TASK))


def test_power_cuts_in_the_middle_cost_the_promised_bytes_and_no_more(lab: Lab, hub: Hub, on: Operator, first: str, source: Path) -> None:
    on.play("install", *HERE, **models("v1"))
    size, meter = size_of(source), Meter(hub, f"*{BIG}/*")
    with slow(hub, f"*{BIG}/*", 8 * MB), ManifestReader(lab, HOST, FOLDER, first):
        playing = on.begin("install", *HERE, **models("v1", "v2"))
        meter.wait(size / 3)
        lab.power_cut(HOST)
        # The operator's machine hung on the same line.
        playing.kill()
        before = meter.sent
        lab.boot(HOST)
        asked = len(hub.log.entries())
        assert on.play("install", *HERE, **models("v1")).changed() == []
        assert len(hub.log.entries()) == asked, "the earlier revision needs nothing"
        playing = on.begin("install", *HERE, **models("v1", "v2"))
        meter.wait(before + size / 3)
        lab.power_cut(HOST)
        lab.boot(HOST)
        run = playing.end()
    assert run.changed() == [(HOST, run.changed()[0][1])] and "it is started once more" in run.output
    assert result_of(run)["bytes_kept"] > size / 2
    assert meter.sent <= size + 2 * PROMISED
    print(f"{size} bytes, two power cuts, {meter.sent - size} fetched again")
    assert digests_on(lab, HOST, snapshot(hub, BIG, "v2")) == digests_of(source)


def test_one_play_survives_a_cut_line_a_power_cut_and_a_hub_out_of_reach(
    lab: Lab, hub: Hub, on: Operator, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sources = {host: big_model(tmp_path_factory.mktemp(host), 100 * MB, number) for number, host in enumerate(HOSTS, 10)}
    for host, folder in sources.items():
        hub.add_repo(f"demo/fleet-{host}", folder)
    meters = {host: Meter(hub, f"*demo/fleet-{host}/*") for host in HOSTS}
    sizes = {host: size_of(folder) for host, folder in sources.items()}
    with slow(hub, "*demo/fleet-*", 2 * MB):
        # Without pipelining, as is Ansible's default, each poll needs the line several times.
        wanted = {"venom_model_name": "demo/fleet-{{ inventory_hostname }}", "venom_models_dir": FOLDER}
        playing = replace(on, pipelining=False).begin("install", *MODELS, **wanted)
        wait_for(lambda: all(meter.sent > sizes[host] / 3 for host, meter in meters.items()))
        cut, dark, deaf = HOSTS
        lab.cut(cut)
        lab.block(deaf, urlsplit(hub.url).port or 0)
        try:
            lab.power_cut(dark)
            lab.boot(dark)
            time.sleep(BLACKOUT)
            stood = {host: meters[host].sent for host in (cut, deaf)}
        finally:
            lab.heal(cut)
            lab.unblock(deaf)
        run = playing.end()
    assert run.failures() == [] and {host for host, dummy in run.changed()} == set(HOSTS)
    assert f"{cut} | the connection was lost" in run.output and f"{dark} | the process at work ended without a word" in run.output
    for host, folder in sources.items():
        print(f"{host}: {sizes[host]} bytes, {meters[host].sent - sizes[host]} fetched again")
        assert meters[host].sent <= sizes[host] + PROMISED
        assert digests_on(lab, host, snapshot(hub, f"demo/fleet-{host}", "main")) == digests_of(folder)
    assert all(stood[host] < sizes[host] for host in stood), "or no line was cut: it would have been done by then"


def test_a_full_disk_keeps_what_came_and_a_larger_one_takes_the_rest(
    lab: Lab, hub: Hub, on: Operator, tmp_path_factory: pytest.TempPathFactory
) -> None:
    repo = "demo/narrow"
    commit = hub.add_repo(repo, big_model(tmp_path_factory.mktemp("before"), 10 * MB, 3), tag="v1")
    folder = big_model(tmp_path_factory.mktemp("after"), 120 * MB, 4, files=2)
    hub.add_repo(repo, folder, tag="v2")
    size, meter = size_of(folder), Meter(hub, f"*{repo}/*")
    lab.run(HOST, ["sh", "-c", f"mkdir -p {NARROW} && mount -t tmpfs -o size=160m tmpfs {NARROW}"])
    earlier, both = models("v1", repo=repo, folder=NARROW), models("v1", "v2", repo=repo, folder=NARROW)
    on.play("install", *HERE, **earlier)
    begun = meter.sent
    with slow(hub, f"*{repo}/*", 4 * MB):
        playing = on.begin("install", *HERE, **both)
        meter.wait(begun + size / 2)
        # Somebody else's file takes the rest.
        lab.run(HOST, ["dd", "if=/dev/zero", f"of={NARROW}/somebody-else", "bs=64k"], check=False)
        full = playing.end(2)
    assert full.reason_codes() == ["disk_full"]
    assert commit in lab.run(HOST, ["cat", f"{NARROW}/manifest.json"]).stdout
    again = on.play("install", *HERE, expect=2, **both)
    assert again.reason_codes() == ["disk_full"], "and once more, with nothing lost"
    assert on.play("install", *HERE, **earlier).changed() == []
    lab.run(HOST, ["mount", "-o", "remount,size=400m", NARROW])
    run = on.play("install", *HERE, **both)
    assert result_of(run)["bytes_kept"] > size / 4
    print(f"{size} bytes, one full disk, {meter.sent - begun - size} fetched again")
    assert meter.sent - begun <= size + PROMISED
    assert digests_on(lab, HOST, snapshot(hub, repo, "v2", NARROW)) == digests_of(folder)


def test_a_hub_that_restarts_is_waited_for(lab: Lab, hub: Hub, on: Operator, tmp_path_factory: pytest.TempPathFactory) -> None:
    repo = "demo/restarted"
    folder = big_model(tmp_path_factory.mktemp("restarted"), 100 * MB, 5)
    hub.add_repo(repo, folder)
    size, meter = size_of(folder), Meter(hub, f"*{repo}/*")
    with slow(hub, f"*{repo}/*", 6 * MB):
        playing = on.begin("install", *HERE, venom_model_name=repo, venom_models_dir=FOLDER)
        meter.wait(size / 3)
        hub.down()
        stood = meter.sent
        time.sleep(2)
        hub.up()
        playing.end()
    assert stood < size
    print(f"{size} bytes, a hub restarted, {meter.sent - size} fetched again")
    assert meter.sent <= size + PROMISED
    assert digests_on(lab, HOST, snapshot(hub, repo, "main")) == digests_of(folder)
    assert lab.run(HOST, ["sh", "-c", f"ls -A {FOLDER}/calls {FOLDER}/partial; ls -d /tmp/ansible_*"], check=False).stdout == ""


def test_limits_of_the_role_reach_the_work(lab: Lab, hub: Hub, on: Operator, tmp_path_factory: pytest.TempPathFactory) -> None:
    repo = "demo/limited"
    folder = big_model(tmp_path_factory.mktemp("limited"), 120 * MB, 6)
    hub.add_repo(repo, folder)
    wanted: dict[str, t.Any] = {"venom_model_name": repo, "venom_models_dir": FOLDER}
    meter = Meter(hub, f"*{repo}/*")
    run = on.play("install", *HERE, expect=2, venom_models_bandwidth_limit="10M", venom_models_deadline=3, **wanted)
    assert run.reason_codes() == ["deadline_exceeded"]
    done = result_of(run)["bytes_done"]
    assert 0 < done < 60 * MB
    again = on.play("install", *HERE, **wanted)
    assert result_of(again)["bytes_kept"] >= done - PROMISED
    assert meter.sent <= size_of(folder) + PROMISED
    # A byte that rots shows in neither size nor time; the role can ask for every byte to be read.
    path = f"{snapshot(hub, repo, 'main')}/model.safetensors"
    rot = f"touch -r {path} /tmp/time; printf X | dd of={path} bs=1 seek=98765432 conv=notrunc; touch -r /tmp/time {path}"
    lab.run(HOST, ["sh", "-c", rot])
    run = on.play("install", *HERE, venom_models_verify="full", **wanted)
    assert result_of(run)["files_repaired"] == 1
    assert digests_on(lab, HOST, snapshot(hub, repo, "main")) == digests_of(folder)
