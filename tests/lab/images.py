# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpacked Debian roots that hosts boot from, built once by mmdebstrap and kept in the cache."""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import typing as t
from pathlib import Path

from lab import LAB_VERSION
from lab.settings import Settings
from lab.system import LabError, call, require, unmount_under

SUITES = ("bookworm", "trixie")

#: What a host has before Ansible arrives. libnuma1: the CPU build of vLLM needs libnuma.so.1. No compiler, no debugger.
PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "libnuma1",
    "logrotate",
    "lsof",
    "openssh-server",
    "procps",
    "python3",
    "python3-venv",
    "rsync",
    "sudo",
    "systemd",
    "systemd-sysv",
)

#: The Debian 12 packages that make a Python 3.11 for a Debian 13 host: the CPU wheels of vLLM are for cp311.
PYTHON311 = (
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "python3.11",
    "python3.11-minimal",
    "python3.11-venv",
    "python3-pip-whl",
    "python3-setuptools-whl",
)
PYTHON311_HOME = "/opt/python3.11"


def path(settings: Settings, suite: str) -> Path:
    """Where the image of this suite lies, or will lie: the name holds a key of everything that goes into it."""
    if suite not in SUITES:
        raise LabError(f"suite {suite!r}: there are {', '.join(SUITES)}")
    recipe = [str(LAB_VERSION), suite, *PACKAGES, *(PYTHON311 if suite == "trixie" else ())]
    return settings.cache / "images" / f"{suite}-{hashlib.sha256(chr(10).join(recipe).encode()).hexdigest()[:8]}"


def ensure(settings: Settings, suite: str, say: t.Callable[[str], None] = print) -> Path:
    """The image of this suite, built if it is not in the cache (20 to 40 s and the network). Two callers do not build it twice."""
    image = path(settings, suite)
    if image.exists():
        return image
    require("mmdebstrap", "systemctl")
    if suite == "trixie":
        ensure(settings, "bookworm", say)
    image.parent.mkdir(parents=True, exist_ok=True)
    with _locked(image.with_suffix(".lock")):
        if not image.exists():
            say(f"building the image of Debian {suite} (once): {image}")
            building = image.with_suffix(".building")
            if building.exists():
                # A build that was killed leaves this machine's /dev and /proc mounted in there.
                unmount_under(building)
                shutil.rmtree(building)
            _build(settings, suite, building)
            building.rename(image)
    return image


def _build(settings: Settings, suite: str, root: Path) -> None:
    # No mirror is named: mmdebstrap takes this machine's own for its own suite, else deb.debian.org.
    call(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, str(root)], timeout=900)
    for unit in ("systemd-networkd.service", "ssh.service"):
        call(["systemctl", f"--root={root}", "enable", unit])
    # mmdebstrap copies the builder's resolver; hosts have no way out, and an empty file makes look-ups fail at once.
    _replace(root / "etc/resolv.conf", "")
    _replace(root / "etc/machine-id", "")
    _replace(root / "etc/hostname", "lab\n")
    # Each lab brings its own, so that known_hosts can be strict.
    for key in root.glob("etc/ssh/ssh_host_*"):
        key.unlink()
    _replace(root / "etc/ssh/sshd_config.d/50-lab.conf", "HostKey /etc/ssh/ssh_host_ed25519_key\nUseDNS no\n")
    if suite == "trixie":
        _add_python311(path(settings, "bookworm"), root)


def _add_python311(bookworm: Path, root: Path) -> None:
    """Copy Python 3.11 out of the Debian 12 image to /opt/python3.11 and prove that it runs and makes a venv there.

    CPython finds its library from where its binary lies (``lib/python3.11/os.py`` above it); the shared libraries it wants
    are in Debian 13 under the same names. ensurepip's wheels are the exception, see ``_point_ensurepip``.
    """
    home = root / PYTHON311_HOME.lstrip("/")
    for package in PYTHON311:
        for name in _files_of(bookworm, package):
            source, target = bookworm / name.lstrip("/"), home / name.lstrip("/")
            if source.is_symlink() or source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
    _point_ensurepip(home)
    python = f"{PYTHON311_HOME}/usr/bin/python3.11"
    call(["chroot", str(root), python, "-c", "import ssl, ctypes, sqlite3, lzma"])
    call(["chroot", str(root), python, "-m", "venv", "/tmp/proof"])
    call(["chroot", str(root), "/tmp/proof/bin/python", "-m", "pip", "--version"])
    shutil.rmtree(root / "tmp/proof")


def _files_of(root: Path, package: str) -> list[str]:
    """The files of an installed package, by dpkg's own list: ``NAME.list``, or ``NAME:ARCHITECTURE.list`` for a multi-arch one."""
    info = root / "var/lib/dpkg/info"
    for listing in (info / f"{package}.list", *info.glob(f"{package}:*.list")):
        if listing.exists():
            return listing.read_text(encoding="utf-8").splitlines()
    raise LabError(f"{root}: package {package} is not in this image")


def _point_ensurepip(home: Path) -> None:
    """Debian builds the folder of ensurepip's wheels into Python (sysconfig WHEEL_PKG_DIR); make it the one beside this Python."""
    wanted = "/usr/share/python-wheels"
    modules = [module for module in home.glob("usr/lib/python3.11/_sysconfigdata_*.py") if not module.is_symlink()]
    if not any(wanted in module.read_text(encoding="utf-8") for module in modules):
        raise LabError(f"{home}: no sysconfig data with {wanted}; Debian's Python has changed")
    for module in modules:
        text = module.read_text(encoding="utf-8")
        module.write_text(text.replace(wanted, f"{PYTHON311_HOME}{wanted}"), encoding="utf-8")


def _replace(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _locked(file: Path) -> t.Iterator[None]:
    with open(file, "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
