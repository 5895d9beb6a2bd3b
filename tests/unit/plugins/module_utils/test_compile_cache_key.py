# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts share compiled code only when everything is equal that it was compiled for."""
from __future__ import annotations

import dataclasses
import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.compile_cache_key import CacheKey, differences, read_key
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.gpus import Gpu, GpuReading
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.compile_cache_samples import KEY

X86 = (
    "processor\t: {n}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Intel(R) Xeon(R) Platinum 8480+\nstepping\t: 8\n"
    "microcode\t: 0x2b\ncpu MHz\t\t: 2{n}00.0\nflags\t\t: {flags}\nbugs\t\t: spectre\n\n"
)
ARM = "processor\t: 0\nBogoMIPS\t: 2000\nFeatures\t: fp asimd sve\nCPU implementer\t: 0x41\nCPU variant\t: 0x0\nCPU part\t: 0xd4f\n\n"
DRIVER = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs-builder@U16)\nGCC version:  gcc 12\n"
H100 = Gpu("0", "NVIDIA H100 80GB HBM3", compute_capability="9.0")
L4 = Gpu("1", "NVIDIA L4", compute_capability="8.9")
DISTS = ("vllm-0.32.0", "torch-2.13.0", "triton-3.9.0", "flashinfer_python-0.6.8", "numpy-2.4.0", "vllm_gguf_plugin-1.0")


class Machine:
    """Files that the key is read from."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.program = root / "vllm/current/bin/python"
        self.packages(*DISTS)
        self.proc("cpuinfo", "".join(X86.format(n=n, flags="avx2 fpu avx512f") for n in range(2)))
        (root / "os-release").write_text('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n')

    def packages(self, *names: str, series: str = "3.11") -> None:
        for name in names:
            (self.root / f"vllm/current/lib/python{series}/site-packages/{name}.dist-info").mkdir(parents=True)

    def proc(self, name: str, content: str) -> None:
        path = self.root / "proc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def key(self, *gpus: Gpu, driver: str | None = "570.86.15", reason: str | None = None) -> CacheKey:
        reading = GpuReading(gpus, reason=reason, driver_version=driver)
        return read_key(str(self.program), "/var/lib/venom/vllm", reading, str(self.root / "proc"), str(self.root / "os-release"))


@pytest.fixture()
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_a_key_is_made_of(machine: Machine) -> None:
    key = machine.key(H100)
    assert key.gpus == ("NVIDIA H100 80GB HBM3 (9.0)",) and key.driver == "570.86.15" and key.machine == os.uname().machine
    assert key.processor.startswith("Intel(R) Xeon(R) Platinum 8480+ (") and key.system.startswith("debian 12, ")
    assert key.python == "3.11" and key.packages == ("flashinfer_python 0.6.8", "torch 2.13.0", "triton 3.9.0", "vllm 0.32.0")
    assert (key.program, key.folder) == (str(machine.program), "/var/lib/venom/vllm")
    assert json.loads(json.dumps(key.describe())) == key.describe()


def test_the_number_and_the_order_of_gpus_do_not_count(machine: Machine) -> None:
    assert machine.key(H100, L4, H100) == machine.key(L4, H100)
    assert machine.key(H100) != machine.key(H100, L4) and machine.key(H100).short != machine.key(H100, L4).short


def test_a_host_without_gpu_has_no_driver(machine: Machine) -> None:
    machine.proc("driver/nvidia/version", DRIVER)
    assert machine.key(driver=None) == machine.key(driver="570.86.15") and machine.key().driver == ""


def test_the_driver_is_known_without_nvml_too(machine: Machine) -> None:
    machine.proc("driver/nvidia/version", DRIVER)
    assert machine.key(H100, driver=None) == machine.key(H100)


def test_a_gpu_without_a_known_driver_has_no_key(machine: Machine) -> None:
    with pytest.raises(VenomError) as caught:
        machine.key(H100, driver=None, reason="NVML: no answer within 10 s")
    assert caught.value.reason_code == "io_error" and caught.value.found == "NVML: no answer within 10 s"


def test_the_processor_is_what_a_compiler_looks_at(machine: Machine) -> None:
    before = machine.key().processor
    machine.proc("cpuinfo", X86.format(n=7, flags="fpu avx512f avx2").replace("0x2b", "0x2c"))
    assert machine.key().processor == before, "clock, microcode and order"
    machine.proc("cpuinfo", X86.format(n=0, flags="avx2 fpu"))
    assert machine.key().processor != before
    machine.proc("cpuinfo", ARM)
    arm = machine.key().processor
    machine.proc("cpuinfo", ARM.replace("sve", "sve2"))
    assert arm.startswith("0xd4f (") and machine.key().processor != arm


@pytest.mark.parametrize("name", ["vllm_gguf_plugin-1.0", "numpy-2.4.0"])
def test_without_vllm(tmp_path: Path, name: str) -> None:
    machine = Machine(tmp_path)
    for path in (tmp_path / "vllm/current/lib/python3.11/site-packages").iterdir():
        path.rmdir()
    machine.packages(name)
    with pytest.raises(VenomError) as caught:
        machine.key()
    assert caught.value.reason_code == "not_installed"


def test_the_python_that_has_vllm_counts(machine: Machine) -> None:
    machine.packages("pip-25.0", series="3.10")
    assert machine.key().python == "3.11"


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(CacheKey)])
def test_every_difference_is_named(field: str) -> None:
    value: t.Any = ("other",) if isinstance(getattr(KEY, field), tuple) else "other"
    other = dataclasses.replace(KEY, **{field: value})
    assert other.short != KEY.short
    (told,) = differences(KEY.describe(), other.describe())
    assert told.startswith(f"{field}: ") and "other" in told and differences(KEY.describe(), KEY.describe()) == []
