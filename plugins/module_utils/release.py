# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release of a program in a folder of its own: its archive verified, unpacked beside, tried, and put in place by one rename."""
from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import archives, files
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import TEMPORARY_PREFIX

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PROOF_TIMEOUT = 60
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Release:
    """What shall be there. ``program`` is a path in the archive, ``proof`` are arguments with which it must end well;
    ``marker`` is the name of the file in ``folder`` that says that all of it is there, ``consume`` that the archive goes afterwards."""

    archive: str
    sha256: str
    folder: str
    program: str
    marker: str
    proof: tuple[str, ...]
    consume: bool
    lock_timeout: float

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Release:
        """Validate. Raises ``invalid_option``."""
        sha256 = params["sha256"].lower()
        if sha256.startswith("sha256:"):
            sha256 = sha256[len("sha256:") :]
        if not _SHA256.fullmatch(sha256):
            raise VenomError("invalid_option", wanted="sha256 as 64 hexadecimal digits", found=ascii(params["sha256"]), todo="correct it")
        marker = params["marker"]
        if os.path.basename(marker) != marker or not marker.startswith("."):
            raise VenomError("invalid_option", wanted="marker as a file name that begins with a dot", found=ascii(marker), todo="correct it")
        names = ("archive", "folder", "program", "consume", "lock_timeout")
        return cls(sha256=sha256, marker=marker, proof=tuple(params["proof"]), **{name: params[name] for name in names})

    def is_there(self) -> bool:
        """Whether it was unpacked whole. One look; nothing is hashed."""
        return os.path.exists(os.path.join(self.folder, self.marker))


def operate(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """One call of ``venom_release``. In check mode an archive that is not there yet is one that an earlier task would have fetched."""
    release = Release.from_params(params)
    result: dict[str, t.Any] = {"changed": not release.is_there(), "folder": release.folder, "files": 0, "size_bytes": 0}
    result["diff"] = {"before": {"folder": None if result["changed"] else release.folder}, "after": {"folder": release.folder}}
    if not result["changed"]:
        return result
    if check_mode:
        if os.path.exists(release.archive):
            with open(release.archive, "rb") as stream:
                verify(stream, release)
        return result
    try:
        result["files"], result["size_bytes"] = install(release)
    finally:
        if release.consume:
            files.remove_if_there(release.archive)
    return result


def verify(stream: t.BinaryIO, release: Release) -> None:
    """Hash the whole archive. Raises ``digest_mismatch`` with both digests."""
    sha256 = hashlib.sha256()
    for block in iter(lambda: stream.read(_CHUNK), b""):
        sha256.update(block)
    stream.seek(0)
    if sha256.hexdigest() != release.sha256:
        raise VenomError(
            "digest_mismatch",
            wanted=f"{release.archive} with the SHA-256 {release.sha256}",
            found=sha256.hexdigest(),
            todo="fetch the archive again, and compare the digest with the one that its release names",
            path=release.archive,
        )


def install(release: Release) -> tuple[int, int]:
    """Put the release into its folder; files and bytes. What was there before stands until the rename. Raises as ``unpack``, and
    ``digest_mismatch``, ``incompatible_runtime`` for a program that does not run here, ``locked``."""
    parent = os.path.dirname(release.folder)
    files.make_folders(parent)
    with files.Lock(os.path.join(parent, ".lock"), release.lock_timeout, {"operation": "venom_release"}), _open(release) as stream:
        if release.is_there():
            return 0, 0
        verify(stream, release)
        _sweep(parent)
        staging = os.path.join(parent, files.temporary_name())
        files.make_folders(staging)
        try:
            counted = archives.unpack(stream, staging)
            prove(release, staging)
            files.write_atomic(os.path.join(staging, release.marker), f"sha256 {release.sha256}\n".encode("ascii"))
            if os.path.lexists(release.folder):
                os.rename(release.folder, os.path.join(parent, files.temporary_name()))
            os.rename(staging, release.folder)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        files.fsync_folder(parent)
        _sweep(parent)
    return counted


def _open(release: Release) -> t.BinaryIO:
    try:
        return open(release.archive, "rb")
    except FileNotFoundError as error:
        raise VenomError(
            "not_installed",
            wanted=f"the archive {release.archive} on the host",
            found="no such file",
            todo="put it there, or correct its path",
            path=release.archive,
        ) from error


def prove(release: Release, root: str) -> None:
    """Run the program once, where it lies. Raises ``unsupported_source`` where it is missing, ``incompatible_runtime`` where it fails."""
    program = os.path.join(root, release.program)
    if not os.path.isfile(program) or not os.access(program, os.X_OK):
        raise VenomError(
            "unsupported_source", wanted=f"the program {release.program} in the archive", found="none", todo="give the archive as it was released"
        )
    if not release.proof:
        return
    try:
        done = subprocess.run(
            [program, *release.proof], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=_PROOF_TIMEOUT, check=False, cwd=root, env={"PATH": os.defpath, "HOME": "/nonexistent", "LC_ALL": "C"},
        )  # fmt: skip
        found = "" if done.returncode == 0 else f"status {done.returncode}: {done.stdout.strip()[-300:]}"
    except (OSError, subprocess.TimeoutExpired) as error:
        found = str(error)
    if found:
        raise VenomError(
            "incompatible_runtime",
            wanted=f"{release.program} {' '.join(release.proof)} to end well on this host",
            found=found,
            todo="give an archive for this processor and this system",
        )


def _sweep(parent: str) -> None:
    """Remove what killed runs left, and what was replaced. Servers that run from there keep their open files."""
    for name in os.listdir(parent):
        if name.startswith(TEMPORARY_PREFIX):
            shutil.rmtree(os.path.join(parent, name), ignore_errors=True)
