# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle that came from elsewhere: told as it is when it is whole, refused with the file's name when it is not."""
from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.bundle_checking import run_bundle_info
from ansible_collections.venom.llm.plugins.module_utils.bundle_making import run_bundle
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import change_manifest
from ansible_collections.venom.llm.plugins.module_utils.models_options import bundle_info_spec, bundle_spec
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.bundle_samples import hub_model, ollama_model, sha256
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.models_samples import Context

WEIGHTS = b"w" * 100_000


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    contents = {"model.safetensors": WEIGHTS, "config.json": b"{}"}
    entries = [hub_model(tmp_path / "models", contents, alias="bee"), ollama_model(tmp_path / "store", [b"g"])]
    for entry in entries:
        change_manifest(str(tmp_path / "models"), lambda manifest, entry=entry: manifest.merge(entry))
    for name in ("a.whl", "ollama-linux-amd64.tar.zst", "venom-llm-1.tar.gz"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "wheels").mkdir()
    (tmp_path / "a.whl").rename(tmp_path / "wheels" / "a.whl")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    (tmp_path / "allowed").write_text(f"ops@example.org {(tmp_path / 'key.pub').read_text()}")
    params = {name: option.get("default") for name, option in bundle_spec().items()}
    params.update(path=str(tmp_path / "bundle"), models_dir=str(tmp_path / "models"), wheels=str(tmp_path / "wheels"))
    params.update(archives=[str(tmp_path / "ollama-linux-amd64.tar.zst")], collection=str(tmp_path / "venom-llm-1.tar.gz"))
    run_bundle(dict(params, signing_key=str(tmp_path / "key")), Context())
    return tmp_path / "bundle"


def ask(bundle: Path, **options: t.Any) -> dict[str, t.Any]:
    params = {name: option.get("default") for name, option in bundle_info_spec().items()}
    return run_bundle_info(dict(params, path=str(bundle), **options), Context())


def refused(bundle: Path, **options: t.Any) -> VenomError:
    with pytest.raises(VenomError) as caught:
        ask(bundle, **options)
    return caught.value


def blob(bundle: Path) -> Path:
    return bundle / "blobs" / "sha256" / sha256(WEIGHTS)[:2] / sha256(WEIGHTS)


@pytest.mark.parametrize("verify", ["index", "files", "full"])
def test_a_whole_bundle(bundle: Path, verify: str) -> None:
    found = ask(bundle, verify=verify, allowed_signers=str(bundle.parent / "allowed"))
    assert (found["changed"], found["signed_by"]) == (False, "ops@example.org")
    assert [(model["name"], model["alias"]) for model in found["models"]] == [("a/b", "bee"), ("phi3:mini", None)]
    assert found["install"][0] == {"name": "a/b", "provider": "huggingface", "revision": "1" * 40, "alias": "bee"}
    assert found["install"][1]["revision"].startswith("sha256:") and "alias" not in found["install"][1]
    assert found["wheels_dir"] == str(bundle / "wheels")
    archive = "ollama-linux-amd64.tar.zst"
    assert found["archives"] == [{"path": str(bundle / "archives" / archive), "sha256": sha256(archive.encode())}]
    assert found["collections"] == [str(bundle / "collection" / "venom-llm-1.tar.gz")]
    assert ask(bundle, verify=verify)["signed_by"] is None


def test_every_byte_only_when_asked_for(bundle: Path) -> None:
    blob(bundle).write_bytes(b"x" + WEIGHTS[1:])
    ask(bundle)
    error = refused(bundle, verify="full")
    assert (error.reason_code, str(error.details["file"]).endswith(sha256(WEIGHTS))) == ("digest_mismatch", True)


def test_what_is_missing_or_too_much(bundle: Path) -> None:
    blob(bundle).write_bytes(WEIGHTS[1:])
    assert refused(bundle).reason_code == "bundle_invalid"
    blob(bundle).unlink()
    assert sha256(WEIGHTS) in refused(bundle).found
    ask(bundle, verify="index")
    blob(bundle).write_bytes(WEIGHTS)
    ask(bundle)
    (bundle / "wheels" / "evil-99.whl").write_bytes(b"")
    error = refused(bundle)
    assert (error.reason_code, error.details["file"]) == ("bundle_invalid", "wheels/evil-99.whl")


def test_other_bytes(bundle: Path) -> None:
    index = bundle / "bundle.json"
    good = index.read_bytes()
    for path in (index, bundle / "wheels" / "a.whl", bundle / "archives" / "ollama-linux-amd64.tar.zst"):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert refused(bundle).reason_code == "digest_mismatch"
        path.write_bytes(content)
    index.write_bytes(good.replace(b'"bee"', b'"wasp"'))
    assert refused(bundle, verify="index").details["file"] == "bundle.json"


def test_a_wanted_signature(bundle: Path) -> None:
    allowed = str(bundle.parent / "allowed")
    sums, signature = bundle / "SHA256SUMS", bundle / "SHA256SUMS.sig"
    good = sums.read_bytes()
    sums.write_bytes(good.replace(good[:1], b"0" if good[:1] != b"0" else b"1", 1))
    assert refused(bundle, allowed_signers=allowed).reason_code == "signature_invalid"
    sums.write_bytes(good)
    signature.unlink()
    assert refused(bundle, allowed_signers=allowed).reason_code == "signature_invalid"
    ask(bundle)
    sums.unlink()
    assert refused(bundle, allowed_signers=allowed).reason_code == "signature_invalid"
    assert refused(bundle).reason_code == "bundle_invalid"
    assert refused(bundle.parent / "nowhere").reason_code == "bundle_invalid"


def test_a_list_that_leaves_something_out(bundle: Path) -> None:
    sums = bundle / "SHA256SUMS"
    lines = sums.read_text().splitlines(keepends=True)
    for left_out in ("bundle.json", sha256(WEIGHTS), "wheels/a.whl"):
        sums.write_text("".join(line for line in lines if left_out not in line))
        assert refused(bundle).reason_code == "bundle_invalid"
