# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle made and made again, really and in check mode: the same answer, and nothing written by a check."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import bundle_making, bundle_signature
from ansible_collections.venom.llm.plugins.module_utils.bundle_making import run_bundle
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import change_manifest
from ansible_collections.venom.llm.plugins.module_utils.models_options import bundle_spec
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.bundle_samples import hub_model, ollama_model, sha256
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.models_samples import Context

WEIGHTS = b"w" * 100_000


class Site:
    """A host with two models and a folder of wheels."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bundle = root / "bundle"
        entries = [
            hub_model(root / "models", {"model.safetensors": WEIGHTS, "config.json": b"{}"}, alias="bee"),
            ollama_model(root / "store", [b"gguf", b"{}"]),
        ]
        for entry in entries:
            change_manifest(str(root / "models"), lambda manifest, entry=entry: manifest.merge(entry))
        (root / "wheels").mkdir()
        (root / "wheels" / "a.whl").write_bytes(b"wheel")

    def run(self, check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """The module's result."""
        self.context = Context(check_mode)
        params = {name: option.get("default") for name, option in bundle_spec().items()}
        params.update(path=str(self.bundle), models_dir=str(self.root / "models"), wheels=str(self.root / "wheels"), lock_timeout=0.0)
        params.update(options)
        return run_bundle(params, self.context)

    def both(self, **options: t.Any) -> dict[str, t.Any]:
        """The result of a real run, after a check that wrote nothing and said the same; then once more without a change."""
        before = self.tree()
        check = self.run(True, **options)
        assert self.tree() == before
        real = self.run(**options)
        assert {key: check[key] for key in ("changed", "diff", "files_copied", "is_signed")} == {
            key: real[key] for key in ("changed", "diff", "files_copied", "is_signed")
        }
        after = self.tree()
        for check_mode in (True, False):
            again = self.run(check_mode, **options)
            assert (again["changed"], again["bytes_copied"], again["files_copied"]) == (False, 0, [])
            assert again["diff"]["before"] == again["diff"]["after"]
        assert self.tree() == after
        return real

    def tree(self) -> dict[str, tuple[int, bytes]]:
        """Every file of the bundle but its lock."""
        files = [path for path in self.bundle.rglob("*") if path.is_file() and path.name != "bundle.lock"]
        return {str(path.relative_to(self.bundle)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def key(tmp_path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    return str(tmp_path / "key")


def refused(site: Site, **options: t.Any) -> VenomError:
    """Really and in check mode alike."""
    codes = set()
    for check_mode in (True, False):
        with pytest.raises(VenomError) as caught:
            site.run(check_mode, **options)
        codes.add(caught.value.reason_code)
    assert len(codes) == 1
    return caught.value


def test_states_of_a_bundle(site: Site, key: str) -> None:
    first = site.both(models=["bee"])
    assert first["changed"] and [model["name"] for model in first["models"]] == ["a/b"]
    assert first["files_copied"] == sorted([f"sha256:{sha256(WEIGHTS)}", f"sha256:{sha256(b'{}')}", "wheels/a.whl"])
    second = site.both()
    assert [model["name"] for model in second["models"]] == ["a/b", "phi3:mini"]
    (site.root / "wheels" / "b.whl").write_bytes(b"more")
    assert site.both()["files_copied"] == ["wheels/b.whl"]
    assert site.both(signing_key=key)["is_signed"]
    # What is not named any more stays, and so does the signature of what is there.
    assert site.run(wheels=None, models=["a/b"])["changed"] is False
    assert site.run(wheels=None, models=["a/b"])["is_signed"]
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=site.bundle, check=True)
    # The index, three contents, two wheels.
    assert len((site.bundle / "SHA256SUMS").read_bytes().splitlines()) == 6


def test_a_signature_of_what_was_there_before_goes(site: Site, key: str) -> None:
    site.both(models=["bee"], signing_key=key)
    result = site.both()
    assert (result["is_signed"], (site.bundle / "SHA256SUMS.sig").exists()) == (False, False)


def test_damage_is_repaired(site: Site, key: str) -> None:
    site.both(signing_key=key)
    blob = site.bundle / "blobs" / "sha256" / sha256(WEIGHTS)[:2] / sha256(WEIGHTS)
    for path, content in ((blob, b"x" + WEIGHTS[1:]), (blob, b""), (site.bundle / "wheels" / "a.whl", b"Wheel")):
        path.write_bytes(content)
        result = site.both(signing_key=key)
        assert result["changed"] and len(result["files_copied"]) == 1
    for name in ("SHA256SUMS", "SHA256SUMS.sig"):
        (site.bundle / name).unlink()
        assert site.both(signing_key=key)["files_copied"] == []
    shutil.rmtree(site.bundle / "blobs")
    assert len(site.both(signing_key=key)["files_copied"]) == 3


def test_what_this_run_does_not_bring_is_not_blessed(site: Site) -> None:
    site.both()
    wheel = site.bundle / "wheels" / "a.whl"
    wheel.write_bytes(b"Wheel")
    assert refused(site, wheels=None).reason_code == "digest_mismatch"
    wheel.unlink()
    assert refused(site, wheels=None).reason_code == "bundle_invalid"
    assert site.both()["files_copied"] == ["wheels/a.whl"]


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_wheel_that_somebody_put_there_is_not_blessed(site: Site, key: str, is_listed: bool) -> None:
    site.both(signing_key=key)
    if not is_listed:
        for name in ("SHA256SUMS", "SHA256SUMS.sig"):
            (site.bundle / name).unlink()
    wheel = site.bundle / "wheels" / "vllm-99.0-py3-none-any.whl"
    wheel.write_bytes(b"not ours")
    before = site.tree()
    for options in ({}, {"wheels": None}, {"signing_key": key}):
        error = refused(site, **options)
        assert error.reason_code == "bundle_invalid" and error.details["file"].startswith("wheels/")
    assert site.tree() == before
    wheel.unlink()
    assert site.both(signing_key=key)["files_copied"] == []


def add_model(site: Site) -> str:
    """Somebody adds a model to the index, with its bytes. Returns the index as it was."""
    path, content = site.bundle / "bundle.json", b"weights of somebody else"
    before = path.read_text(encoding="utf-8")
    blob = site.bundle / "blobs" / "sha256" / sha256(content)[:2] / sha256(content)
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    index = json.loads(before)
    files = [{"path": "model.safetensors", "size": len(content), "sha256": sha256(content), "git_sha1": None}]
    index["models"].append({**index["models"][0], "name": "not/ours", "alias": None, "revision": "2" * 40, "files": files})
    path.write_text(json.dumps(index), encoding="utf-8")
    return before


@pytest.mark.parametrize("options", [{}, {"models": ["bee"]}])
@pytest.mark.parametrize("code", ["digest_mismatch", "bundle_invalid"])
def test_a_model_that_somebody_put_there_is_not_blessed(site: Site, key: str, options: dict[str, t.Any], code: str) -> None:
    site.both(signing_key=key)
    index = add_model(site)
    if code == "bundle_invalid":
        (site.bundle / "SHA256SUMS").unlink()
    before = site.tree()
    for more in ({}, {"signing_key": key}):
        error = refused(site, **options, **more)
        assert (error.reason_code, error.details["file"]) == (code, "bundle.json")
    assert site.tree() == before
    (site.bundle / "bundle.json").write_text(index, encoding="utf-8")
    assert site.both(signing_key=key)["files_copied"] == []


def test_a_record_that_somebody_changed_is_not_blessed_and_is_mended_by_whoever_brings_it(site: Site) -> None:
    site.both()
    path = site.bundle / "bundle.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"alias": "bee"', '"alias": "wasp"'), encoding="utf-8")
    assert refused(site, models=["phi3:mini"]).reason_code == "digest_mismatch"
    assert site.both()["changed"]
    # Also where it says the same in other letters, which is not what the list says.
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
    assert site.both()["changed"]
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=site.bundle, check=True)


def test_a_signature_covers_no_more_than_this_run_and_what_the_key_had_signed(site: Site, key: str) -> None:
    """Whoever changes index and list together has to have the key."""
    site.both(signing_key=key)
    add_model(site)
    index, sums = site.bundle / "bundle.json", site.bundle / "SHA256SUMS"
    content = b"weights of somebody else"
    lines = [line for line in sums.read_text(encoding="utf-8").splitlines() if not line.endswith("bundle.json")]
    index.write_text(json.dumps(json.loads(index.read_text(encoding="utf-8")), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    lines += [f"{sha256(index.read_bytes())}  bundle.json", f"{sha256(content)}  blobs/sha256/{sha256(content)[:2]}/{sha256(content)}"]
    sums.write_text("".join(f"{line}\n" for line in sorted(lines, key=lambda line: line[66:])), encoding="utf-8")
    before = site.tree()
    for change in (lambda: None, (site.bundle / "SHA256SUMS.sig").unlink):
        change()
        assert refused(site, signing_key=key).reason_code == "signature_invalid"
    assert {name: found for name, found in before.items() if not name.endswith(".sig")} == site.tree()
    # Who has looked at it signs it by hand, and then it goes on.
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", bundle_signature.NAMESPACE, "-f", key, str(sums)], check=True)
    assert site.both(signing_key=key)["files_copied"] == []


def test_another_key_signs_what_it_brings(site: Site, key: str, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    site.both(signing_key=key)
    assert refused(site, wheels=None, signing_key=str(tmp_path / "other")).reason_code == "signature_invalid"
    assert site.both(signing_key=str(tmp_path / "other"))["is_signed"]


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("written", ["SHA256SUMS.sig", "SHA256SUMS", "bundle.json"])
def test_an_export_that_is_killed_while_it_seals_goes_on(site: Site, key: str, written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the wheel nor the first model is brought by the run that is killed, nor by the one that finishes it."""
    site.both(models=["bee"], signing_key=key)
    write = bundle_making.write_atomic

    def write_and_die(path: str, content: bytes) -> None:
        write(path, content)
        if os.path.basename(path) == written:
            raise Killed

    wanted: dict[str, t.Any] = {"models": ["phi3:mini"], "wheels": None, "signing_key": key}
    with monkeypatch.context() as patch:
        patch.setattr(bundle_making, "write_atomic", write_and_die)
        with pytest.raises(Killed):
            site.run(**wanted)
    finished = site.both(**wanted)
    assert finished["changed"] is (written != "bundle.json") and finished["files_copied"] == []
    assert [model["name"] for model in finished["models"]] == ["a/b", "phi3:mini"]
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=site.bundle, check=True)


def test_what_cannot_be_carried(site: Site) -> None:
    assert refused(site, models=["nobody/knows"]).reason_code == "not_installed"
    assert refused(site, path=str(site.root / "models" / "bundle")).details["option"] == "path"
    assert refused(site, path=str(site.root)).details["option"] == "path"
    assert refused(site, signing_key=str(site.root / "nokey")).details["option"] == "signing_key"
    assert refused(site, archives=["/nowhere/ollama.tgz"]).reason_code == "not_installed"
    assert refused(site, models_dir=str(site.root / "empty")).reason_code == "not_installed"


def test_progress_is_told(site: Site) -> None:
    site.run()
    assert {report.split(" into ")[0] for report in site.context.reports} == {"comparing files", "copying files", "copying the models"}
