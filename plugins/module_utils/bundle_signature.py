# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of a bundle's list of digests, made and checked by ssh-keygen(1), which is on every host that ssh reaches."""
from __future__ import annotations

import os
import shutil
import subprocess
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.bundle_seal import SIGNATURE_NAME, SUMS_NAME
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

#: What the signature is for; one that was made for anything else, such as a commit, is not taken.
NAMESPACE = "venom-bundle"
_TIMEOUT = 60


def sign(content: bytes, key: str) -> bytes:
    """The signature of some bytes by a private key without a passphrase, or one that an agent holds. Raises ``invalid_option``."""
    done = _run(["-Y", "sign", "-n", NAMESPACE, "-f", key], content)
    if done.returncode != 0 or not done.stdout:
        raise _bad_key(key, done)
    return done.stdout


def is_signed_by(root: str, content: bytes, key: str) -> bool:
    """Whether the bundle's signature is one of these bytes by this key. Raises ``invalid_option`` for a key that is none."""
    shown = _run(["-l", "-f", key], b"")
    if shown.returncode != 0 or len(shown.stdout.split()) < 2:
        raise _bad_key(key, shown)
    path = os.path.join(root, SIGNATURE_NAME)
    if not os.path.isfile(path):
        return False
    done = _run(["-Y", "check-novalidate", "-n", NAMESPACE, "-s", path], content)
    return done.returncode == 0 and shown.stdout.split()[1] in (done.stdout + done.stderr).split()


def verify(root: str, content: bytes | None, allowed_signers: str) -> str:
    """Who of ``allowed_signers`` signed these bytes. Raises ``signature_invalid``, and ``invalid_option`` without such a file."""
    if not os.path.isfile(allowed_signers):
        raise VenomError(
            "invalid_option",
            wanted="allowed_signers, a file on the host as ssh-keygen(1) describes it",
            found=f"no file {allowed_signers}",
            todo="put it there, or correct allowed_signers",
            option="allowed_signers",
        )
    path = os.path.join(root, SIGNATURE_NAME)
    if content is None:
        raise _invalid(root, f"no {SUMS_NAME} that could be signed", allowed_signers)
    if not os.path.isfile(path) or os.path.islink(path):
        raise _invalid(root, f"no {SIGNATURE_NAME}: the bundle is not signed", allowed_signers)
    named = _run(["-Y", "find-principals", "-s", path, "-f", allowed_signers], b"")
    if named.returncode != 0:
        raise _invalid(root, "a signature by a key that is not among them, or none at all", allowed_signers)
    for principal in named.stdout.decode("utf-8", "replace").splitlines():
        argv = ["-Y", "verify", "-n", NAMESPACE, "-s", path, "-f", allowed_signers, "-I", principal]
        if principal and _run(argv, content).returncode == 0:
            return principal
    raise _invalid(root, f"a signature that is not one of this {SUMS_NAME}: it was changed afterwards", allowed_signers)


def _invalid(root: str, found: str, allowed_signers: str) -> VenomError:
    return VenomError(
        "signature_invalid",
        wanted=f"{SUMS_NAME} of the bundle {root} signed by one of {allowed_signers}",
        found=found,
        todo="export it again with the key of an allowed signer, and carry it again; do not import this one",
        path=root,
    )


def _bad_key(key: str, done: subprocess.CompletedProcess[bytes]) -> VenomError:
    said = done.stderr.decode("utf-8", "replace").strip()[-200:]
    return VenomError(
        "invalid_option",
        wanted="signing_key, a private key of ssh without a passphrase, or the public half of one that an agent holds",
        found=f"ssh-keygen cannot use {key}: {said or 'it said nothing'}",
        todo="correct signing_key",
        option="signing_key",
    )


def _run(arguments: t.Sequence[str], content: bytes) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise VenomError("not_installed", wanted="ssh-keygen on the host", found="none on PATH", todo="install the client of OpenSSH, 8.2 or newer")
    # Of a session of its own, so that it cannot ask a terminal for a passphrase.
    environment = {**os.environ, "LC_ALL": "C", "SSH_ASKPASS_REQUIRE": "never"}
    try:
        return subprocess.run(
            [program, *arguments], input=content, capture_output=True, timeout=_TIMEOUT, check=False, start_new_session=True, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise VenomError(
            "io_error", wanted="an answer of ssh-keygen", found=f"none within {_TIMEOUT} s", todo="see whether its agent or token waits for somebody"
        ) from error
