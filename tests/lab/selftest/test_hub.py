# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub as the real huggingface_hub client sees it, and its end."""
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
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from lab.hub import Hub
from lab.hub.content import span
from lab.models import llama

hf = pytest.importorskip("huggingface_hub")
TOKENS = {"hf_reader": "reader", "hf_stranger": "stranger"}


@pytest.fixture(autouse=True)
def plain_client() -> None:
    """huggingface_hub as it comes: other tests of the session give its one HTTP client rules of their own."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import _http

    set_client_factory(_http.default_client_factory)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with a few more files than a listing page has."""
    folder = llama(tmp_path / "model", "I am the first one.", shards=2)
    for name in ("docs/a.txt", "docs/deep/b.txt", "with space & ünïcode.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    return folder


@pytest.fixture
def hub(model: Path) -> t.Iterator[Hub]:
    """A hub with one repository, two listeners, and pages of three entries."""
    with Hub(cdn_host="127.0.0.2", tokens=TOKENS, page_size=3) as made:
        made.add_repo("demo/tiny", model, tag="v1")
        yield made
        assert made.errors == []


def contents(folder: Path) -> dict[str, str]:
    """Path to digest of all files that are not the client's own."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.relative_to(folder).parts)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def download(hub: Hub, target: Path, **options: t.Any) -> t.Any:
    options = {"token": False, **options}
    return hf.snapshot_download("demo/tiny", endpoint=hub.url, cache_dir=target / "cache", local_dir=target / "out", **options)


@pytest.mark.parametrize("resolve_cache", [False, True])
def test_a_snapshot_is_the_folder(hub: Hub, model: Path, tmp_path: Path, resolve_cache: bool) -> None:
    hub.resolve_cache = resolve_cache
    download(hub, tmp_path)
    assert contents(tmp_path / "out") == contents(model)


def test_the_token_reaches_the_hub_and_never_the_cdn(hub: Hub, tmp_path: Path) -> None:
    download(hub, tmp_path, token="hf_reader")
    asked, fetched = hub.log.entries(listener="hub"), hub.log.entries(listener="cdn")
    assert {entry.authorization for entry in asked} == {hub.log.hash("hf_reader")}
    assert {entry.user for entry in asked} == {"reader"}
    assert len(fetched) >= 2
    assert {entry.authorization for entry in fetched} == {None}
    assert "hf_reader" not in json.dumps([entry.__dict__ for entry in hub.log.entries()])


def test_a_dry_run_tells_sizes_and_fetches_nothing(hub: Hub, model: Path, tmp_path: Path) -> None:
    plan = download(hub, tmp_path, dry_run=True)
    assert {item.filename: item.file_size for item in plan} == {name: (model / name).stat().st_size for name in contents(model)}
    assert hub.log.entries(listener="cdn") == []


def test_model_info_has_digests_and_sizes(hub: Hub, model: Path) -> None:
    info = hf.HfApi(endpoint=hub.url, token=False).model_info("demo/tiny", files_metadata=True)
    assert info.sha == hub.store.repos["demo/tiny"].head.id
    assert (info.pipeline_tag, info.library_name, info.config["model_type"]) == ("text-generation", "transformers", "llama")
    assert info.safetensors.total > 100_000
    digests = contents(model)
    weights = {item.rfilename: item.lfs for item in info.siblings if item.lfs}
    assert {name: lfs.sha256 for name, lfs in weights.items()} == {n: digests[n] for n in digests if n.endswith(".safetensors")}
    blobs = {item.rfilename: item.blob_id for item in info.siblings}
    text = (model / "config.json").read_bytes()
    assert blobs["config.json"] == hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest()


def test_the_tree_comes_in_pages_and_paths_can_be_asked(hub: Hub, model: Path) -> None:
    api = hf.HfApi(endpoint=hub.url, token=False)
    entries = list(api.list_repo_tree("demo/tiny", recursive=True))
    assert {item.path for item in entries if isinstance(item, hf.hf_api.RepoFile)} == set(contents(model))
    assert {item.path for item in entries if isinstance(item, hf.hf_api.RepoFolder)} == {"docs", "docs/deep"}
    assert len(hub.log.entries("/api/models/demo/tiny/tree/*")) == -(-len(entries) // 3) > 2
    assert [item.path for item in api.list_repo_tree("demo/tiny", "docs")] == ["docs/deep", "docs/a.txt"]
    assert [item.path for item in api.get_paths_info("demo/tiny", ["docs/a.txt", "none"])] == ["docs/a.txt"]


def test_errors_become_the_right_exceptions(hub: Hub, tmp_path: Path) -> None:
    errors = hf.errors
    anonymous, stranger = (hf.HfApi(endpoint=hub.url, token=token) for token in (False, "hf_stranger"))
    with pytest.raises(errors.RepositoryNotFoundError, match="401"):
        anonymous.model_info("demo/none")
    with pytest.raises(errors.RepositoryNotFoundError, match="404"):
        stranger.model_info("demo/none")
    with pytest.raises(errors.RevisionNotFoundError):
        anonymous.model_info("demo/tiny", revision="none")
    with pytest.raises(errors.EntryNotFoundError):
        hf.hf_hub_download("demo/tiny", "none.txt", endpoint=hub.url, cache_dir=tmp_path, token=False)
    with pytest.raises(errors.HfHubHTTPError, match="401") as wrong:
        hf.HfApi(endpoint=hub.url, token="hf_wrong").model_info("demo/tiny")
    assert not isinstance(wrong.value, errors.RepositoryNotFoundError)


def test_gated_and_private_repositories(hub: Hub, tmp_path: Path) -> None:
    hub.configure("demo/tiny", gated="auto", readers=["reader"])
    assert hf.HfApi(endpoint=hub.url, token=False).model_info("demo/tiny").gated == "auto"
    for token in (False, "hf_stranger"):
        with pytest.raises(hf.errors.GatedRepoError):
            download(hub, tmp_path, token=token)
    download(hub, tmp_path, token="hf_reader")
    hub.configure("demo/tiny", gated="", private=True)
    with pytest.raises(hf.errors.RepositoryNotFoundError):
        hf.HfApi(endpoint=hub.url, token="hf_stranger").model_info("demo/tiny")
    assert hf.HfApi(endpoint=hub.url, token="hf_reader").model_info("demo/tiny").private


def test_commits_branches_tags_and_renames(hub: Hub, tmp_path: Path) -> None:
    first = hub.store.repos["demo/tiny"].head.id
    second = hub.add_repo("demo/tiny", llama(tmp_path / "two", "I am the second one."))
    other = hub.add_repo("demo/tiny", llama(tmp_path / "three", "I am the third one."), branch="feature/x")
    api = hf.HfApi(endpoint=hub.url, token=False)
    found = {name: api.model_info("demo/tiny", revision=name).sha for name in ("main", "v1", "feature/x", "refs/heads/main", first)}
    assert found == {"main": second, "v1": first, "feature/x": other, "refs/heads/main": second, first: first}
    refs = api.list_repo_refs("demo/tiny")
    assert ({item.name for item in refs.branches}, {item.name for item in refs.tags}) == ({"main", "feature/x"}, {"v1"})
    assert [item.commit_id for item in api.list_repo_commits("demo/tiny")] == [second, first]
    hub.rename("demo/tiny", "demo/newer")
    assert api.model_info("demo/tiny").id == "demo/newer"
    download(hub, tmp_path, revision=first)
    assert contents(tmp_path / "out") == contents(tmp_path / "model")


def test_search_and_whoami(hub: Hub, tmp_path: Path) -> None:
    for number in range(7):
        hub.add_repo(f"many/model-{number}", llama(tmp_path / str(number)))
        hub.configure(f"many/model-{number}", downloads=number, likes=-number)
    api = hf.HfApi(endpoint=hub.url, token="hf_reader")
    assert [item.id for item in api.list_models(search="MODEL", sort="downloads", limit=5)] == [f"many/model-{n}" for n in (6, 5, 4, 3, 2)]
    assert len(list(api.list_models(author="many", filter="llama"))) == 7
    assert list(api.list_models(filter="no-such-tag")) == []
    assert api.whoami()["name"] == "reader"


def test_commit_ids_depend_on_content_only(model: Path) -> None:
    def commit() -> str:
        hub = Hub()
        try:
            return hub.add_repo("demo/tiny", model)
        finally:
            hub.stop()

    first = commit()
    assert len(first) == 40
    assert commit() == first
    (model / "docs/a.txt").write_text("changed")
    assert commit() != first


def test_a_folder_may_change_after_it_was_added(hub: Hub, model: Path, tmp_path: Path) -> None:
    before = contents(model)
    (model / "config.json").write_text("{}")
    download(hub, tmp_path)
    assert contents(tmp_path / "out") == before


def test_the_client_resumes_after_a_cut(hub: Hub, tmp_path: Path) -> None:
    step = 10 * 1024 * 1024  # huggingface_hub keeps what it has in steps of this size
    big = llama(tmp_path / "big", pad_mb=15)
    hub.add_repo("demo/tiny", big)
    hub.fault("cut", path="/lfs/*", after=step + 1000)
    download(hub, tmp_path)
    assert contents(tmp_path / "out") == contents(big)
    assert [(entry.range, entry.status) for entry in hub.log.entries(listener="cdn")] == [(None, 200), (f"bytes={step}-", 206)]


def test_https(model: Path, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate")
    key, certificate, pem = (tmp_path / name for name in ("key", "certificate", "pem"))
    argv = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=hub"]
    subprocess.run([*argv, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    pem.write_bytes(key.read_bytes() + certificate.read_bytes())
    with Hub(pem=pem) as hub:
        hub.add_repo("demo/tiny", model)
        trusted = ssl.create_default_context(cafile=str(certificate))
        weights = hub.url + "/demo/tiny/resolve/main/model-00001-of-00002.safetensors"
        with urllib.request.urlopen(weights, context=trusted) as answer:
            assert answer.url.startswith("https://127.0.0.1")
            assert answer.read() == (model / "model-00001-of-00002.safetensors").read_bytes()
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(weights)
        assert hub.errors == []


@pytest.mark.parametrize(
    ("text", "part"),
    [("bytes=0-3", (0, 4)), ("bytes=5-", (5, 5)), ("bytes=-4", (6, 4)), ("bytes=2-99", (2, 8)), ("bytes=10-", None), ("bytes=-0", None)],
)
def test_ranges(text: str, part: tuple[int, int] | None) -> None:
    assert span(text, 10) == part


@pytest.mark.parametrize("text", ["bytes=-", "bytes=3-2", "lines=1-2", "bytes=0-1,3-4", "bytes=a-b"])
def test_ranges_to_ignore(text: str) -> None:
    with pytest.raises(ValueError):
        span(text, 10)


def test_stop_ends_every_thread_even_of_idle_and_hanging_connections(model: Path) -> None:
    before = set(threading.enumerate())
    hub = Hub(cdn_host="127.0.0.2").start()
    hub.add_repo("demo/tiny", model)
    hub.fault("hang", path="*config.json", seconds=600)
    hub.down("cdn", 600)
    caught: list[OSError] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(hub.url + "/demo/tiny/resolve/main/config.json").close()
        except OSError as error:
            caught.append(error)

    client = threading.Thread(target=ask)
    client.start()
    while not hub.log.entries():
        client.join(0.01)
    hub.stop()
    client.join()
    assert len(caught) == 1
    assert set(threading.enumerate()) <= before


def test_the_command_serves_the_demo_and_ends_cleanly(tmp_path: Path) -> None:
    port_file, pid_file = tmp_path / "port", tmp_path / "pid"
    argv = [sys.executable, "-m", "lab.hub", "serve", "--demo", "--port-file", str(port_file), "--pid-file", str(pid_file)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["url"].endswith(":" + port_file.read_text().strip())
        assert int(pid_file.read_text()) == process.pid == ready["pid"]
        with urllib.request.urlopen(ready["url"] + "/api/models/demo/tiny-aurora") as answer:
            assert json.load(answer)["sha"] == ready["repos"]["demo/tiny-aurora"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not port_file.exists()
    assert not pid_file.exists()
