# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle made and made again, really and in check mode: the same answer, and nothing written by a check."""
from __future__ import annotations

import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

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
