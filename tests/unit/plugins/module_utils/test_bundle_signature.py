# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures by the real ssh-keygen: who signed, what, for what purpose."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import bundle_signature
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

CONTENT = b"the list of digests\n"


def make_key(folder: Path, name: str, passphrase: str = "") -> str:
    """A new key; its public half lies beside it."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", str(folder / name)], check=True)
    return str(folder / name)


def allow(folder: Path, **keys: str) -> str:
    """A file of allowed signers: who, by whose key."""
    lines = [f'{who} namespaces="venom-bundle" {Path(key + ".pub").read_text()}' for who, key in keys.items()]
    (folder / "allowed").write_text("".join(lines))
    return str(folder / "allowed")


def refused(root: Path, content: bytes | None, allowed: str) -> VenomError:
    with pytest.raises(VenomError) as caught:
        bundle_signature.verify(str(root), content, allowed)
    return caught.value


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "bundle").mkdir()
    return tmp_path / "bundle"


def test_a_signature_says_who_made_it(tmp_path: Path, bundle: Path) -> None:
    ops, dev = make_key(tmp_path, "ops"), make_key(tmp_path, "dev")
    signature = bundle / "SHA256SUMS.sig"
    signature.write_bytes(bundle_signature.sign(CONTENT, ops))
    assert bundle_signature.verify(str(bundle), CONTENT, allow(tmp_path, dev=dev, ops=ops)) == "ops"
    assert bundle_signature.is_signed_by(str(bundle), CONTENT, ops)
    assert not bundle_signature.is_signed_by(str(bundle), CONTENT, dev)
    assert not bundle_signature.is_signed_by(str(bundle), CONTENT + b" ", ops)
    error = refused(bundle, CONTENT, allow(tmp_path, dev=dev))
    assert (error.reason_code, "not among them" in error.found) == ("signature_invalid", True)
    error = refused(bundle, CONTENT + b" ", allow(tmp_path, ops=ops))
    assert (error.reason_code, "changed afterwards" in error.found) == ("signature_invalid", True)


def test_what_is_no_signature(tmp_path: Path, bundle: Path) -> None:
    ops = make_key(tmp_path, "ops")
    allowed = allow(tmp_path, ops=ops)
    assert "not signed" in refused(bundle, CONTENT, allowed).found
    assert refused(bundle, None, allowed).reason_code == "signature_invalid"
    signature = bundle / "SHA256SUMS.sig"
    signature.write_bytes(b"-----BEGIN SSH SIGNATURE-----\n")
    assert refused(bundle, CONTENT, allowed).reason_code == "signature_invalid"
    assert not bundle_signature.is_signed_by(str(bundle), CONTENT, ops)
    (tmp_path / "data").write_bytes(CONTENT)
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", ops, str(tmp_path / "data")], check=True, capture_output=True)
    shutil.copy(tmp_path / "data.sig", signature)
    assert refused(bundle, CONTENT, allowed).reason_code == "signature_invalid", "it was made for something else"
    assert refused(bundle, CONTENT, str(tmp_path / "missing")).reason_code == "invalid_option"


def test_a_key_that_cannot_sign(tmp_path: Path, bundle: Path) -> None:
    locked = make_key(tmp_path, "locked", "a passphrase")
    for key in (locked, str(tmp_path / "missing")):
        with pytest.raises(VenomError) as caught:
            bundle_signature.sign(CONTENT, key)
        assert (caught.value.reason_code, caught.value.details["option"]) == ("invalid_option", "signing_key")
    with pytest.raises(VenomError) as caught:
        bundle_signature.is_signed_by(str(bundle), CONTENT, str(tmp_path / "missing"))
    assert caught.value.reason_code == "invalid_option"


def test_a_host_without_ssh_keygen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VenomError) as caught:
        bundle_signature.sign(CONTENT, "key")
    assert caught.value.reason_code == "not_installed"
