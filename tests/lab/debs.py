# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of Debian packages as a flat apt repository, for hosts that have no way out: roles install nginx there with apt itself."""
from __future__ import annotations

import fcntl
import hashlib
import shutil
import typing as t
from pathlib import Path

from lab import images
from lab.hosts import Lab
from lab.settings import Settings
from lab.system import call, require

_INDEX = "Packages"


def ensure(settings: Settings, suite: str, packages: t.Sequence[str]) -> Path:
    """The folder with these packages and all that an image of this suite lacks for them; fetched once, seconds and the network.

    The cache is asked by suite and names, so a package whose version has moved on stays what it was until the cache is cleaned.
    """
    require("apt-get", "dpkg-deb")
    image = images.ensure(settings, suite)
    key = hashlib.sha256("\n".join([image.name, *sorted(packages)]).encode()).hexdigest()[:8]
    folder = settings.cache / "debs" / f"{suite}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            building = folder.with_suffix(".building")
            shutil.rmtree(building, ignore_errors=True)
            _fetch(image, building, packages)
            building.rename(folder)
    return folder


def use(lab: Lab, host: str, folder: str) -> None:
    """Make a folder that the host sees its only source of packages."""
    script = (
        "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*"
        f" && echo 'deb [trusted=yes] file:{folder} ./' > /etc/apt/sources.list && apt-get -qq update"
    )
    lab.run(host, ["sh", "-c", script])


def _fetch(image: Path, building: Path, packages: t.Sequence[str]) -> None:
    """apt of this machine resolves for the image: against its list of installed packages, from its sources."""
    work = building / ".apt"
    for name in ("lists/partial", "archives/partial"):
        (work / name).mkdir(parents=True)
    settings = {
        "Dir::State::status": image / "var/lib/dpkg/status",
        "Dir::State::Lists": work / "lists",
        "Dir::Cache::Archives": work / "archives",
        # In memory only: the files of this machine are about this machine's packages.
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::Etc::sourcelist": image / "etc/apt/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Install-Recommends": "false",
        # The folder is root's, and the account _apt need not be able to reach it.
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "true",
    }
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    call(["apt-get", "-qq", *options, "update"], timeout=300)
    call(["apt-get", "-qq", *options, "install", "--download-only", "--yes", *packages], timeout=600)
    entries = []
    for file in sorted((work / "archives").glob("*.deb")):
        control = call(["dpkg-deb", "--field", str(file)]).stdout.strip()
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        entries.append(f"{control}\nFilename: ./{file.name}\nSize: {file.stat().st_size}\nSHA256: {digest}\n")
        file.rename(building / file.name)
    shutil.rmtree(work)
    (building / _INDEX).write_text("\n".join(entries), encoding="utf-8")
