# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""venom_model behind mirrors: after a plan that another host made, by digest, whatever the mirrors do; with a hub and a registry behind them."""
from __future__ import annotations

import json
import os
import signal
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from integration.install_support import MIB, call, make_model, started, wait_until
from integration.models_support import FakeContext, model_params, tree
from integration.operations_support import Controller, task

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.models import run_models
from ansible_collections.venom.llm.plugins.module_utils.models_info import run_info
from lab.hub import Hub
from lab.mirror import Mirror
from lab.models import ollama_layers
from lab.registry import Registry

pytest.importorskip("huggingface_hub")

#: Shards in MiB, beside a text that the hub announces by git's SHA-1.
SHARDS = (24, 9)
TOKEN = "hf_of_the_seed"
TAG = "tiny:mini"


@dataclass
class Seed:
    """A hub that wants a token and a registry, and a host that has a model of each."""

    hub: Hub
    registry: Registry
    folder: Path
    plan: dict[str, t.Any]

    @property
    def places(self) -> tuple[Path, Path]:
        """What a mirror on this host serves."""
        return self.folder / "models", self.folder / "store"

    @property
    def weights(self) -> str:
        """SHA-256 of the largest file."""
        return str(max(self.files, key=lambda file: file["size"])["sha256"])

    @property
    def files(self) -> list[dict[str, t.Any]]:
        """The files of the model of the hub."""
        return next(model["files"] for model in self.plan["models"] if model["provider"] == "huggingface")

    @property
    def size(self) -> int:
        """Bytes of the model of the hub."""
        return sum(file["size"] for file in self.files)

    def asked(self) -> int:
        """Requests at hub and registry."""
        return len(self.hub.log.entries()) + len(self.registry.log.entries())

    def origin_bytes(self) -> int:
        """Bytes of files that hub and registry sent."""
        return sum(entry.sent for site in (self.hub, self.registry) for entry in site.log.entries(listener="cdn"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Seed]:
    folder = tmp_path_factory.mktemp("seed")
    with Hub(cdn_host="127.0.0.2", tokens={TOKEN: "fleet"}) as hub, Registry() as registry:
        hub.add_repo("a/b", make_model(folder / "repo", 1, *SHARDS, text_mib=1), copy=False)
        hub.configure("a/b", private=True, readers=["fleet"])
        config, layers = ollama_layers(folder / "layers", 3.0, 1)
        registry.add("library/tiny", "mini", layers, config)
        seed = Seed(hub, registry, folder / "host", {})
        run_models(params(seed, seed.folder, models=[{"name": "a/b"}, {"name": TAG}], token=TOKEN), FakeContext())
        asked = {"models_dir": str(seed.folder / "models"), "name": None, "limit": 0, "usage": False, "plan": True}
        # As it travels from host to host.
        seed.plan = json.loads(json.dumps(run_info(asked, FakeContext())["plan"]))
        assert len(seed.plan["models"]) == 2
        yield seed


@pytest.fixture
def seed(made: Seed) -> t.Iterator[Seed]:
    """The seed with hub and registry as they were, their logs empty."""
    for site in (made.hub, made.registry):
        site.log.clear()
    yield made
    for site in (made.hub, made.registry):
        site.faults.clear()
        site.up()
        assert site.errors == []


@pytest.fixture
def mirrors(seed: Seed) -> t.Iterator[tuple[Mirror, Mirror]]:
    with Mirror(*seed.places) as one, Mirror(*seed.places, host="127.0.0.3") as other:
        yield one, other
    assert one.errors == other.errors == []


def params(seed: Seed, folder: Path, **options: t.Any) -> dict[str, t.Any]:
    """Parameters of a call with an Ollama store beside the models."""
    given = {"registry": seed.registry.url, "ollama_method": "store", "ollama_models_dir": str(folder / "store"), "ollama_url": "http://127.0.0.1:9"}
    found = model_params(folder, seed.hub, **{**given, **options})
    found["allowed_hosts"] = [*found["allowed_hosts"], str(seed.registry.cdn_url).rpartition("//")[2]]
    return found


def run(seed: Seed, folder: Path, *mirrors: Mirror, check: bool = False, context: FakeContext | None = None, **options: t.Any) -> dict[str, t.Any]:
    """Install the hub's model from mirrors by the plan, without a token, unless the options say otherwise."""
    given = {"name": "a/b", "plan": seed.plan, "mirrors": [mirror.url for mirror in mirrors], **options}
    if "models" in options:
        del given["name"]
    return run_models(params(seed, folder, **given), context or FakeContext(check))


def step(seed: Seed, folder: Path, *mirrors: Mirror, changed: bool, **options: t.Any) -> dict[str, t.Any]:
    """One step in check mode, which must touch nothing, then for real; both must tell the same."""
    folder.mkdir(exist_ok=True)
    before = tree(folder)
    checked = run(seed, folder, *mirrors, check=True, **options)
    assert tree(folder) == before
    real = run(seed, folder, *mirrors, **options)
    assert (checked["changed"], real["changed"]) == (changed, changed)
    for key in ("diff", "plan", "bytes_total", "bytes_to_fetch", "bytes_kept"):
        assert checked[key] == real[key], key
    assert checked["bytes_by_source"] == {}
    return real


def same_as_seed(seed: Seed, folder: Path, name: str = "a/b") -> bool:
    """Whether a host has the model as the seed has it: the same bytes, and the same record but for places and times."""
    mine, theirs = (next(entry for entry in Manifest.load(str(root / "models")).models if entry.name == name) for root in (folder, seed.folder))
    files = [[(record.path, record.size, record.digest, record.git_sha1) for record in entry.files] for entry in (mine, theirs)]
    contents = [[Path(entry.local_path, record.path).read_bytes() for record in entry.files] for entry in (mine, theirs)]
    return files[0] == files[1] and contents[0] == contents[1] and mine.revision == theirs.revision


def refused(seed: Seed, folder: Path, *mirrors: Mirror, **options: t.Any) -> VenomError:
    """The error of a call that must fail, and leave nothing that looks like a model."""
    with pytest.raises(VenomError) as caught:
        run(seed, folder, *mirrors, **options)
    assert not (folder / "models" / "hf").exists()
    assert Manifest.load(str(folder / "models")).models == ()
    return caught.value


def test_no_token_and_no_request_to_the_origin(
    seed: Seed, mirrors: tuple[Mirror, Mirror], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    wanted = {"models": [{"name": "a/b", "alias": "short"}, {"name": TAG}], "mirrors_only": True}
    real = step(seed, tmp_path, *mirrors, changed=True, **wanted)
    assert seed.asked() == 0
    assert same_as_seed(seed, tmp_path) and same_as_seed(seed, tmp_path, TAG)
    assert sum(real["bytes_by_source"].values()) == real["bytes_from_mirror"] >= real["bytes_fetched"] == real["bytes_to_fetch"]
    assert set(real["bytes_by_source"]) <= {mirror.url for mirror in mirrors}
    step(seed, tmp_path, *mirrors, changed=False, **wanted)
    # The branch stands where the plan says, and what is lost comes again.
    step(seed, tmp_path, *mirrors, changed=False, **dict(wanted, state="latest"))
    for entry in Manifest.load(str(tmp_path / "models")).models:
        os.unlink(Path(entry.local_path, max(entry.files, key=lambda record: record.size).path))
    for blob in (tmp_path / "models" / "blobs").rglob(seed.weights):
        blob.unlink()
    step(seed, tmp_path, *mirrors, changed=True, **dict(wanted, state="verified"))
    assert same_as_seed(seed, tmp_path) and same_as_seed(seed, tmp_path, TAG)
    assert seed.asked() == 0


def test_the_same_records_as_from_the_hub(seed: Seed, mirrors: tuple[Mirror, Mirror], tmp_path: Path) -> None:
    run(seed, tmp_path, *mirrors)
    again = run(seed, tmp_path, plan=None, token=TOKEN, state="latest")
    assert (again["changed"], again["bytes_fetched"]) == (False, 0)
    # A listing that the hub gives by git's SHA-1 finds the same contents.
    pinned = run(seed, tmp_path, plan=None, token=TOKEN, exclude=["vocab/*"])
    assert (pinned["changed"], pinned["bytes_to_fetch"]) == (True, 0)
    back = run(seed, tmp_path, *mirrors)
    assert (back["changed"], back["bytes_to_fetch"]) == (True, 0)


def test_a_mirror_that_lies(seed: Seed, mirrors: tuple[Mirror, Mirror], tmp_path: Path) -> None:
    liar, honest = mirrors
    liar.fault("flip", path=f"*{seed.weights}", offset=20 * MIB, times=-1)
    # One file, one mirror: whoever gave it is to blame, and only this file is fetched again.
    context = FakeContext()
    real = run(seed, tmp_path, liar, context=context, token=TOKEN)
    assert same_as_seed(seed, tmp_path)
    weights = max(file["size"] for file in seed.files)
    assert weights <= real["bytes_by_source"]["origin"] < weights + MIB
    assert f"The mirror {liar.url} was left: it gave wrong bytes." in context.warnings
    seed.hub.log.clear()
    with pytest.raises(VenomError) as caught:
        run(seed, tmp_path / "no token", liar)
    assert (caught.value.reason_code, caught.value.details["mirrors"]) == ("unauthorized", {liar.url: "it gave wrong bytes"})
    seed.hub.log.clear()
    real = run(seed, tmp_path / "two", liar, honest, mirrors_only=True)
    assert same_as_seed(seed, tmp_path / "two")
    assert real["bytes_from_mirror"] - seed.size <= weights + 2 * MIB
    assert seed.asked() == 0


def test_a_header_that_a_mirror_falsified(seed: Seed, mirrors: tuple[Mirror, Mirror], tmp_path: Path) -> None:
    liar, honest = mirrors
    # The length of the header, which is judged before its digest can be known.
    liar.fault("flip", offset=7, times=-1)
    run(seed, tmp_path, liar, honest, models=[{"name": "a/b"}, {"name": TAG}], mirrors_only=True)
    assert same_as_seed(seed, tmp_path) and same_as_seed(seed, tmp_path, TAG)


@pytest.mark.parametrize("fault", ["cut", "hang", "slow", "status", "down"])
def test_a_mirror_that_fails_half_way(seed: Seed, mirrors: tuple[Mirror, Mirror], tmp_path: Path, fault: str) -> None:
    bad, good = mirrors
    if fault == "down":
        bad.close("mirror")
    elif fault == "status":
        bad.fault("status", status=503, times=-1)
    else:
        bad.fault(fault, when="body", after=5 * MIB, how="rst", seconds=600, rate=200, times=-1)
    # Retries are for a source that has no other place: none is needed here.
    run(seed, tmp_path, bad, good, mirrors_only=True, retries=0, stall_timeout=0.5)
    assert same_as_seed(seed, tmp_path)
    assert seed.asked() == 0
    assert good.sent() + bad.sent() <= seed.size + 8 * MIB
    # Alone it is no use; then the hub gives what is left, and keeps what came.
    run(seed, tmp_path / "two", bad, token=TOKEN, retries=1, stall_timeout=0.5)
    assert same_as_seed(seed, tmp_path / "two")
    assert bad.sent() + good.sent() + seed.origin_bytes() <= 2 * seed.size + 16 * MIB


def test_all_mirrors_are_bad(seed: Seed, mirrors: tuple[Mirror, Mirror], tmp_path: Path) -> None:
    one, other = mirrors
    one.fault("status", status=404, path=f"*{seed.weights}", times=-1)
    other.fault("flip", path=f"*{seed.weights}", offset=20 * MIB, times=-1)
    error = refused(seed, tmp_path, one, other, mirrors_only=True)
    assert error.reason_code == "digest_mismatch"
    assert error.details["mirrors"] == {one.url: "it does not have it", other.url: "it gave wrong bytes"}
    assert one.url in str(error) and other.url in str(error)
    assert seed.asked() == 0
    # With the origin behind them it costs one file of it, and what the mirrors gave already stays.
    real = run(seed, tmp_path, one, other, token=TOKEN)
    assert same_as_seed(seed, tmp_path)
    assert real["bytes_by_source"]["origin"] <= max(file["size"] for file in seed.files) + MIB
    assert real["bytes_fetched"] <= seed.size + max(file["size"] for file in seed.files)


def test_unreachable_mirrors_only(seed: Seed, mirrors: tuple[Mirror, Mirror], tmp_path: Path) -> None:
    for mirror in mirrors:
        mirror.close("mirror")
    error = refused(seed, tmp_path, *mirrors, mirrors_only=True)
    assert error.reason_code == "hub_unreachable"
    assert all(mirror.url in error.found for mirror in mirrors)
    error = refused(seed, tmp_path, *mirrors, mirrors_only=True, plan=None)
    assert (error.reason_code, "no plan" in error.found) == ("not_found", True)
    error = refused(seed, tmp_path, *mirrors, mirrors_only=True, name="a/other")
    assert (error.reason_code, "the plan has no such model" in error.found) == ("not_found", True)
    assert refused(seed, tmp_path, mirrors_only=True).details["option"] == "mirrors"
    assert seed.asked() == 0
    # Not half a model, and nothing in the way of the next run.
    run(seed, tmp_path, token=TOKEN)
    assert same_as_seed(seed, tmp_path)


def test_without_a_plan_the_hub_says_what_there_is(seed: Seed, mirrors: tuple[Mirror, Mirror], tmp_path: Path) -> None:
    run(seed, tmp_path, *mirrors, plan=None, token=TOKEN)
    assert same_as_seed(seed, tmp_path)
    assert seed.origin_bytes() == 0
    run(seed, tmp_path, *mirrors, plan=None, name=TAG)
    assert same_as_seed(seed, tmp_path, TAG)
    assert seed.origin_bytes() == 0


def test_credentials_are_for_mirrors_alone(seed: Seed, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret words\n")
    with Mirror(*seed.places, login=("fleet", "s3cret words")) as closed, Mirror(host="127.0.0.3") as elsewhere:
        closed.fault("redirect", path=f"*{seed.weights}", location=f"{elsewhere.url}{{path}}", times=-1)
        given = {"mirror_username": "fleet", "mirror_password_file": str(secret), "token": TOKEN}
        run(seed, tmp_path, closed, **given)
        assert same_as_seed(seed, tmp_path)
        assert elsewhere.log.entries() == []
        assert {entry.scheme for entry in closed.log.entries()} == {"Basic"}
        assert "Basic" not in {entry.scheme for entry in seed.hub.log.entries()}
        error = refused(seed, tmp_path / "two", closed, mirrors_only=True)
        assert "HTTP 401" in error.found


def test_policy_is_as_with_a_hub(seed: Seed, mirrors: tuple[Mirror, Mirror], tmp_path: Path) -> None:
    plan = json.loads(json.dumps(seed.plan))
    model = next(item for item in plan["models"] if item["provider"] == "huggingface")
    honest = list(model["files"])
    model["files"] = [*honest, dict(honest[0], path="modeling_own.py")]
    assert refused(seed, tmp_path, *mirrors, plan=plan).reason_code == "remote_code_refused"
    model["files"] = [dict(file, path=file["path"].replace(".safetensors", ".bin")) for file in honest if not file["path"].endswith("index.json")]
    assert refused(seed, tmp_path, *mirrors, plan=plan).reason_code == "pickle_refused"
    model["files"] = honest
    assert refused(seed, tmp_path, *mirrors, plan=plan, confirm_above_gb=0.001).reason_code == "confirmation_required"
    for path in ("../../evil", "/evil", "a/../../evil"):
        model["files"] = [*honest, dict(honest[0], path=path)]
        error = refused(seed, tmp_path, *mirrors, plan=plan)
        assert (error.reason_code, error.details["option"]) == ("invalid_option", "plan")
    # A digest beside the one that counts is recorded only if it is true.
    model["files"] = [dict(file, git_sha1="0" * 40) for file in honest]
    run(seed, tmp_path, *mirrors, plan=plan)
    (entry,) = Manifest.load(str(tmp_path / "models")).models
    assert {record.git_sha1 for record in entry.files} == {None}


def test_a_damaged_model_is_not_in_the_plan(seed: Seed, mirrors: tuple[Mirror, Mirror], tmp_path: Path) -> None:
    run(seed, tmp_path, *mirrors, models=[{"name": "a/b"}, {"name": TAG}])
    context = FakeContext()
    asked = {"models_dir": str(tmp_path / "models"), "name": None, "limit": 0, "usage": False, "plan": True}
    assert without_times(run_info(asked, context)["plan"]) == without_times(seed.plan)
    assert context.warnings == []
    for entry in Manifest.load(str(tmp_path / "models")).models:
        os.unlink(Path(entry.local_path, entry.files[-1].path))
    assert run_info(asked, context)["plan"]["models"] == []
    assert len(context.warnings) == 2


def without_times(plan: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The models of a plan but for when they were installed."""
    return [dict(model, installed_at=None) for model in plan["models"]]


def test_as_an_operator_hands_it_over(seed: Seed, tmp_path: Path) -> None:
    with Mirror(*seed.places, login=("fleet", "s3cretOfTheMirrors")) as mirror:
        login = {"mirror_username": "fleet", "mirror_password": "s3cretOfTheMirrors"}
        ask = {"models_dir": str(seed.folder / "models"), "plan": True, "usage": False, "name": "a/b"}
        ansible = Controller(tmp_path)
        wanted = ansible.options(seed.hub, plan="{{ seed.plan }}", mirrors=[mirror.url], mirrors_only=True, **login)
        result, output = ansible.play({"venom.llm.venom_model_info": ask, "register": "seed"}, task(wanted))
        assert (result.get("msg"), result.get("changed")) == (None, True)
        assert result["bytes_by_source"] == {mirror.url: result["bytes_from_mirror"]}
    assert same_as_seed(seed, tmp_path / "host")
    assert "s3cret" not in output + json.dumps(result)
    kept = [path for path in (tmp_path / "host").rglob("*") if path.is_file() and path.suffix != ".safetensors" and path.stat().st_size < MIB]
    assert kept and not any(b"s3cret" in path.read_bytes() for path in kept)
    assert seed.asked() == 0


def test_killed_and_gone_on_with_from_another_mirror(seed: Seed, mirrors: tuple[Mirror, Mirror], tmp_path: Path) -> None:
    first, second = mirrors
    first.fault("slow", rate=12 * MIB, times=-1)
    options = params(seed, tmp_path, name="a/b", plan=seed.plan, mirrors=[first.url], mirrors_only=True, max_parallel=1)
    with started(call(tmp_path, **options)) as (process,):
        wait_until(lambda: first.sent() > 8 * MIB, process.has_ended)
        process.kill()
        assert process.process.returncode == -signal.SIGKILL
    real = run(seed, tmp_path, second, mirrors_only=True)
    assert same_as_seed(seed, tmp_path)
    assert real["bytes_kept"] > 0
    assert set(real["bytes_by_source"]) == {second.url}
    assert first.sent() + second.sent() <= seed.size + 16 * MIB
