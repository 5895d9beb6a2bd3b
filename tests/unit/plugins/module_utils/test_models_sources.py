# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates, secrets, what is remembered of a hub's small files, and who gets which credentials."""
from __future__ import annotations

import base64
import hashlib
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import models_sources
from ansible_collections.venom.llm.plugins.module_utils.bundles import export_bundle
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request
from ansible_collections.venom.llm.plugins.module_utils.models_sources import RememberingSource, Sources, parse_rate, read_secret
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.sources import http
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.plugins.module_utils.sources.bundle import BundleSource
from ansible_collections.venom.llm.plugins.module_utils.sources.http import Part
from ansible_collections.venom.llm.plugins.module_utils.sources.mirror import MirrorSource
from ansible_collections.venom.llm.plugins.module_utils.sources.mirror_choice import Mirror
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.bundle_samples import hub_model
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.models_samples import module_params
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.scripted_http import ScriptedHttp


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        (None, None),
        ("0", None),
        ("1000", 1000),
        ("50M", 50 * 10**6),
        ("50 MB/s", 50 * 10**6),
        ("10MiB/s", 10 * 2**20),
        ("1.5g", 1_500_000_000),
        (" 2k ", 2000),
        ("2KiB", 2048),
        ("8b", 8),
    ],
)
def test_rates(text: str | None, rate: int | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "-1", "1e6", "50MBit/s", "M", "1..5", "5 T", "5\n6"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(VenomError) as caught:
        parse_rate(text)
    assert (caught.value.reason_code, caught.value.details["option"]) == ("invalid_option", "bandwidth_limit")


def test_a_secret_from_its_option_or_its_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("hf_file\n")
    assert read_secret(None, str(path), "token") == "hf_file"
    assert read_secret("hf_own", str(path), "token") == "hf_own"
    assert read_secret("", None, "token") is None
    path.write_text(" \n")
    assert read_secret(None, str(path), "token") is None
    with pytest.raises(FileNotFoundError):
        read_secret(None, str(tmp_path / "missing"), "token")


@pytest.mark.parametrize("secret", ["two words", "line\nline", "h\u00e4", "\x1b[0m"])
def test_a_malformed_secret_is_refused_without_repeating_it(secret: str) -> None:
    with pytest.raises(VenomError) as caught:
        read_secret(secret, None, "token")
    assert caught.value.reason_code == "invalid_option"
    assert secret not in str(caught.value) and ascii(secret) not in str(caught.value)


class Hub:
    """A hub of one file, which counts how often it is asked and may give wrong bytes at first."""

    def __init__(self, content: bytes, wrong: int = 0) -> None:
        self.content = content
        self.wrong = wrong
        self.reads = 0
        self.ranges: list[tuple[int, int | None]] = []

    def find_commit(self, *dummy: t.Any) -> str:
        return "commit"

    def resolve(self, *dummy: t.Any) -> str:
        return "plan"

    def read(self, file: RemoteFile, limit: int) -> bytes:
        self.reads += 1
        return b"wrong" if self.reads <= self.wrong else self.content

    def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> t.Any:
        self.ranges.append((offset, length))
        return models_sources._MemoryStream(self.content[offset : offset + (length or len(self.content))], offset)


def remembering(hub: Hub) -> RememberingSource:
    return RememberingSource(t.cast(t.Any, hub), RetryPolicy(retries=0))


def lfs_file(content: bytes) -> RemoteFile:
    return RemoteFile("model.safetensors", len(content), hashlib.sha256(content).hexdigest(), None, "https://hub/x")


def git_file(content: bytes) -> RemoteFile:
    return RemoteFile("config.json", len(content), None, hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), "https://hub/x")


@pytest.mark.parametrize("describe", [lfs_file, git_file])
def test_a_small_file_is_asked_for_once(describe: t.Callable[[bytes], RemoteFile]) -> None:
    content = b"0123456789"
    hub = Hub(content)
    source, file = remembering(hub), describe(content)
    assert source.read(file) == content
    assert source.read_range(file, 2, 3) == b"234"
    stream = source.open(file, 4, 2)
    assert (stream.offset, b"".join(stream)) == (4, b"45")
    assert b"".join(source.open(file, 8)) == b"89"
    assert (hub.reads, hub.ranges) == (1, [])


def test_a_part_of_a_large_file_is_a_range_and_is_not_remembered() -> None:
    content = bytes(256 * 1024) + b"tail"
    hub = Hub(content)
    source, file = remembering(hub), lfs_file(content)
    assert source.read_range(file, 256 * 1024, 4) == b"tail"
    assert b"".join(source.open(file, 256 * 1024)) == b"tail"
    assert (hub.reads, hub.ranges) == (0, [(256 * 1024, 4), (256 * 1024, None)])


def test_wrong_bytes_are_asked_for_again_once_and_never_remembered() -> None:
    content = b"right"
    assert remembering(Hub(content, wrong=1)).read(lfs_file(content)) == content
    hub = Hub(content, wrong=2)
    source = remembering(hub)
    with pytest.raises(VenomError) as caught:
        source.read(lfs_file(content))
    assert (caught.value.reason_code, hub.reads) == ("digest_mismatch", 2)
    assert source.read(lfs_file(content)) == content


class MadeRegistry:
    def __init__(self, url: str, **options: t.Any) -> None:
        self.url = url
        self.options = options


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_sources, "RegistrySource", MadeRegistry)


@pytest.mark.parametrize(
    ("registry", "url", "gets"),
    [
        ("https://own.example:5000", "https://own.example:5000", True),
        ("own.example:5000", "https://own.example:5000", True),
        ("https://own.example", "https://own.example:443", True),
        ("https://own.example:5000", "https://hf.co", False),
        ("https://own.example", "http://own.example", False),
        ("https://own.example", "https://own.example:5000", False),
    ],
)
def test_credentials_are_for_the_registry_that_the_operator_named(made: None, tmp_path: Path, registry: str, url: str, gets: bool) -> None:
    secrets = {"registry_username": "u", "registry_password": "p", "registry_token": None}
    source: t.Any = Sources(module_params(tmp_path, registry=registry, **secrets), 0.0).registry(url)
    assert (source.options["username"], source.options["password"]) == (("u", "p") if gets else (None, None))
    token: t.Any = Sources(module_params(tmp_path, registry=registry, registry_token="t"), 0.0).registry(url)
    assert token.options["token"] == ("t" if gets else None)


def test_each_registry_is_made_once(made: None, tmp_path: Path) -> None:
    sources = Sources(module_params(tmp_path), 0.0)
    assert sources.registry("https://hf.co") is sources.registry("https://hf.co")
    assert sources.registry("https://hf.co") is not sources.registry("https://registry.ollama.ai")


def test_a_bundle_stands_for_hub_and_registries(made: None, tmp_path: Path) -> None:
    entry = hub_model(tmp_path / "models", {"model.safetensors": b"w", "config.json": b"{}"})
    export_bundle(str(tmp_path / "models"), [entry], str(tmp_path / "bundle"))
    params = module_params(tmp_path, bundle=str(tmp_path / "bundle"), token_file=str(tmp_path / "not-read"))
    sources = Sources(params, 0.0)
    assert isinstance(sources.bundle, BundleSource)
    assert sources.registry("https://hf.co") is sources.registry("https://registry.ollama.ai") is sources.bundle
    plan = sources.hub.resolve(entry.ref, None, (), ())
    assert {file.path: sources.hub.read(file) for file in plan.files} == {"model.safetensors": b"w", "config.json": b"{}"}
    assert Sources(module_params(tmp_path), 0.0).bundle is None
    with pytest.raises(VenomError) as caught:
        Sources(module_params(tmp_path, bundle=str(tmp_path / "nowhere")), 0.0).registry("https://hf.co")
    assert caught.value.reason_code == "bundle_invalid"


@pytest.mark.parametrize("option", [{"mirrors": ["http://127.0.0.1:1"]}, {"plan": {"format": 1}}, {"mirrors_only": True}])
def test_a_bundle_and_mirrors_contradict_each_other(option: dict[str, t.Any], tmp_path: Path) -> None:
    with pytest.raises(VenomError) as caught:
        Sources(module_params(tmp_path, bundle=str(tmp_path), **option), 0.0).library([])
    assert (caught.value.reason_code, caught.value.details["option"]) == ("invalid_option", "bundle")


def test_certificates_that_are_not_there_are_told(made: None, tmp_path: Path) -> None:
    with pytest.raises(VenomError) as caught:
        Sources(module_params(tmp_path, ca_path=str(tmp_path / "missing.pem")), 0.0).registry("https://hf.co")
    assert caught.value.reason_code == "invalid_option"


def test_the_deadline_is_what_is_left_of_the_call(tmp_path: Path) -> None:
    now = time.monotonic()
    assert Sources(module_params(tmp_path), now).transfer_options().deadline is None
    left = Sources(module_params(tmp_path, deadline=1000.0, bandwidth_limit="1M"), now - 400).transfer_options()
    assert left.deadline is not None and 0 < left.deadline <= 600
    assert (left.bandwidth_limit, left.max_parallel) == (10**6, 8)
    with pytest.raises(VenomError) as caught:
        Sources(module_params(tmp_path, deadline=5.0), now - 5).transfer_options()
    assert caught.value.reason_code == "deadline_exceeded"


def test_planning_waits_no_longer_than_the_deadline(tmp_path: Path) -> None:
    """A hub and a registry that ask a call of one second to wait for nine."""
    pytest.importorskip("huggingface_hub")
    with ScriptedHttp() as server:
        limit = b"HTTP/1.1 429 X\r\nRetry-After: 9\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        paths = ("/api/models/a/b/revision/main", "/v2/library/tiny/manifests/latest")
        for path in paths:
            server.on("GET", path, lambda line: line.send(limit))
        params = module_params(tmp_path, endpoint=server.url, registry=server.url, retries=5, deadline=1.0)
        sources = Sources(params, time.monotonic())
        for ask in (
            lambda: sources.hub.find_commit(ModelRef.parse("a/b"), "main"),
            lambda: sources.registry(server.url).find_commit(ModelRef.parse("tiny", "ollama"), ""),
        ):
            with pytest.raises(VenomError) as caught:
                ask()
            assert (caught.value.reason_code, caught.value.details["retry_after"]) == ("rate_limited", 9.0)
        assert server.paths() == [f"GET {path}" for path in paths]


# Mirrors

MIRROR = "http://mirror.example:8090"
#: A plan without models, as a host that has none returns it.
EMPTY: dict[str, t.Any] = {"schema": 1, "created_at": None, "models": []}


def planned(files: t.Sequence[RemoteFile]) -> dict[str, t.Any]:
    """The plan of a/b."""
    described = [{"path": file.path, "size": file.size, "sha256": file.sha256, "git_sha1": None} for file in files]
    model = {"name": "a/b", "provider": "huggingface", "revision": "1" * 40, "requested_revision": "main", "include": [], "exclude": []}
    return dict(EMPTY, models=[dict(model, files=described)])


def request_of(name: str, **options: t.Any) -> Request:
    return Request.parse(dict(options, name=name), "present")


def test_nothing_stands_between_without_mirrors_and_plan(made: None, tmp_path: Path) -> None:
    sources = Sources(module_params(tmp_path), 0.0)
    assert isinstance(sources.registry("https://hf.co"), MadeRegistry)
    assert not sources.has_mirrors
    assert (sources.bytes_by_source(0), sources.bytes_by_source(7), sources.warnings()) == ({}, {"origin": 7}, [])


@pytest.mark.parametrize("options", [{"mirrors": [MIRROR]}, {"plan": EMPTY}, {"mirrors": [MIRROR], "mirrors_only": True}])
def test_no_token_is_read_before_the_origin_is_asked(tmp_path: Path, options: dict[str, t.Any]) -> None:
    missing = str(tmp_path / "missing")
    sources = Sources(module_params(tmp_path, token_file=missing, registry_password_file=missing, **options), 0.0)
    assert isinstance(sources.registry("https://registry.ollama.ai"), MirrorSource)
    assert sources.hub.reject(lfs_file(b"x"), True) is False
    # A server that fetches by itself has no use for mirrors.
    with pytest.raises(FileNotFoundError):
        sources.registry("https://registry.ollama.ai", is_for_store=False)


def test_mirrors_only_needs_mirrors(tmp_path: Path) -> None:
    with pytest.raises(VenomError) as caught:
        Sources(module_params(tmp_path, mirrors_only=True), 0.0).hub.resolve(ModelRef.parse("a/b"), "main", (), ())
    assert (caught.value.reason_code, caught.value.details["option"]) == ("invalid_option", "mirrors")


def test_the_password_of_mirrors_goes_to_them_alone(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("two words\n")
    base = "https://mirror.example:8090"
    sources = Sources(module_params(tmp_path, mirrors=[base], mirror_username="fleet", mirror_password_file=str(secret)), 0.0)
    mirror = sources.mirrors.pick("sha256:aa")
    assert mirror is not None
    headers = [mirror.client._headers(url, Part(0, None, None)).get("Authorization") for url in (f"{base}/x", "https://mirror.example/x")]
    assert headers == ["Basic " + base64.b64encode(b"fleet:two words").decode(), None]


def test_of_mixed_mirrors_some_are_sent_no_password(tmp_path: Path) -> None:
    """As the role distribute hands them over: temporary ones of the fleet, then those that always serve."""
    login = {"mirror_username": "fleet", "mirror_password": "secret"}
    mirrors = ["http://gpu-1:8471", "https://gpu-2:8471/", "https://gpu-3:8471", "https://m.example:8470"]
    sources = Sources(module_params(tmp_path, mirrors=mirrors, mirrors_open=["http://gpu-1:8471", "https://gpu-2:8471"], **login), 0.0)
    asked: list[Mirror] = []
    while (mirror := sources.mirrors.pick("sha256:aa", asked)) is not None:
        asked.append(mirror)
    sent = {each.base: each.client._headers(f"{each.base}/x", Part(0, None, None)).get("Authorization") is not None for each in asked}
    assert sent == {"http://gpu-1:8471": False, "https://gpu-2:8471": False, "https://gpu-3:8471": True, "https://m.example:8470": True}


@pytest.mark.parametrize(
    ("options", "names", "library"),
    [
        ({}, ["a/b"], "huggingface_hub"),
        ({"mirrors": [MIRROR]}, ["a/b"], "huggingface_hub"),
        ({"plan": planned([lfs_file(b"x")])}, ["a/b"], "requests"),
        ({"plan": planned([lfs_file(b"x")])}, ["a/b", "c/d"], "huggingface_hub"),
        ({"plan": planned([lfs_file(b"x")]), "mirrors": [MIRROR], "mirrors_only": True}, ["a/b", "c/d"], "requests"),
    ],
)
def test_the_library_that_it_takes(tmp_path: Path, options: dict[str, t.Any], names: list[str], library: str) -> None:
    pending = [(request_of(name), "main") for name in names]
    assert Sources(module_params(tmp_path, **options), 0.0).library(pending) == library


@pytest.mark.parametrize(
    ("version", "library"),
    [("1.26.12", "huggingface_hub"), ("2.2.3", "huggingface_hub"), ("2.3.0", "requests"), ("2.10", "requests"), ("3.0rc1", "requests")],
)
def test_a_distributions_old_urllib3_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, library: str) -> None:
    monkeypatch.setattr(http.metadata, "version", lambda dummy: version)
    sources = Sources(module_params(tmp_path, plan=planned([lfs_file(b"x")])), 0.0)
    assert sources.library([(request_of("a/b"), "main")]) == library


def test_no_urllib3_is_no_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> t.NoReturn:
        raise http.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(http.metadata, "version", missing)
    assert not http.is_urllib3_old()


def test_a_refusal_counts_when_no_mirror_may_have_lied(tmp_path: Path) -> None:
    sources = Sources(module_params(tmp_path, mirrors=[MIRROR, "http://other.example"]), 0.0)
    asked: list[str] = []

    def check() -> None:
        mirror = sources.mirrors.pick("sha256:aa")
        asked.append(mirror.base if mirror else "origin")
        sources.mirrors.gave("sha256:aa", mirror, 1)
        if len(asked) < wanted:
            raise VenomError("unsupported_source", wanted="x", found=f"refusal {len(asked)}", todo="x")

    wanted = 2
    sources.judge(check)
    assert len(asked) == 2 and asked[0] != asked[1]
    wanted = 9
    asked.clear()
    with pytest.raises(VenomError) as caught:
        sources.judge(check)
    assert (asked[-1], caught.value.found) == ("origin", "refusal 1")
