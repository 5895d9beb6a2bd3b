# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs through a stand-in for pynvml: several, MIG slices, unified memory, none, and a broken driver."""
from __future__ import annotations

import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils import gpus, host
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.recorded_nvml import RecordedNvml

GIB = 1024**3


class NVMLError(Exception):
    """As pynvml raises it; its text is NVML's own."""


class Nvml:
    """The calls of pynvml that are used, over a list of devices. A device lacks what is not in its dict."""

    NVMLError = NVMLError

    def __init__(self, *devices: dict[str, t.Any], init: str | None = None) -> None:
        self.devices = devices
        self.init = init
        self.open = 0

    def nvmlInit(self) -> None:
        if self.init:
            raise NVMLError(self.init)
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, t.Any]:
        return self.devices[index]

    def _get(self, device: dict[str, t.Any], key: str) -> t.Any:
        if key not in device:
            raise NVMLError("Not Supported")
        return device[key]

    def nvmlDeviceGetName(self, device: dict[str, t.Any]) -> t.Any:
        return self._get(device, "name")

    def nvmlDeviceGetUUID(self, device: dict[str, t.Any]) -> t.Any:
        return self._get(device, "uuid")

    def nvmlDeviceGetMemoryInfo(self, device: dict[str, t.Any]) -> t.Any:
        total, used = self._get(device, "memory")
        return types.SimpleNamespace(total=total, used=used, free=total - used)

    def nvmlDeviceGetUtilizationRates(self, device: dict[str, t.Any]) -> t.Any:
        return types.SimpleNamespace(gpu=self._get(device, "load"), memory=0)

    def nvmlDeviceGetTemperature(self, device: dict[str, t.Any], sensor: int) -> t.Any:
        return self._get(device, "temperature")

    def nvmlDeviceGetCudaComputeCapability(self, device: dict[str, t.Any]) -> t.Any:
        return self._get(device, "capability")

    def nvmlDeviceGetMigMode(self, device: dict[str, t.Any]) -> t.Any:
        return self._get(device, "mig")

    def nvmlDeviceGetMaxMigDeviceCount(self, device: dict[str, t.Any]) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: dict[str, t.Any], index: int) -> t.Any:
        slices = self._get(device, "slices")
        if index not in slices:
            raise NVMLError("Not Found")
        return slices[index]

    def nvmlDeviceGetComputeRunningProcesses(self, device: dict[str, t.Any]) -> t.Any:
        return [types.SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self._get(device, "processes").items()]


H200 = {
    "name": "NVIDIA H200", "uuid": "GPU-1", "memory": (140 * GIB, 126 * GIB), "load": 55, "temperature": 61, "capability": (9, 0),
    "mig": (0, 0), "processes": {100: 60 * GIB, 101: None},
}  # fmt: skip


def test_several_gpus_and_the_memory_of_each_process() -> None:
    nvml = Nvml(H200, dict(H200, uuid=b"GPU-2", name=b"NVIDIA H200", processes={100: 1 * GIB}))
    reading = gpus.ask_nvml(nvml)
    assert [gpu.uuid for gpu in reading.gpus] == ["GPU-1", "GPU-2"] and reading.reason is None
    assert reading.process_memory == {100: 61 * GIB, 101: 0}
    described = host.describe_gpu(reading.gpus[0])
    assert described["memory_used_percent"] == 90.0 and described["memory_total_mb"] == 143360
    assert (described["utilization_percent"], described["temperature_c"], described["compute_capability"]) == (55, 61, "9.0")
    assert nvml.open == 0


def test_mig_slices_follow_their_gpu() -> None:
    part = {"name": "NVIDIA H200 MIG 1g.18gb", "uuid": "MIG-1", "memory": (16 * GIB, 1 * GIB), "processes": {7: GIB}}
    nvml = Nvml(dict(H200, mig=(1, 1), slices={0: part, 2: part}, processes={}))
    reading = gpus.ask_nvml(nvml)
    assert [(gpu.index, gpu.mig) for gpu in reading.gpus] == [("0", False), ("0:0", True), ("0:2", True)]
    assert reading.gpus[1].utilization_percent is None and reading.process_memory == {7: 2 * GIB}


def test_a_gpu_without_memory_of_its_own_tells_the_rest() -> None:
    reading = gpus.read_gpus(lambda: Nvml({"name": "NVIDIA GB10"}))
    assert reading.gpus == (gpus.Gpu("0", "NVIDIA GB10"),) and reading.reason is None
    assert host.describe_gpu(reading.gpus[0])["memory_used_percent"] is None


def test_no_gpu_at_all() -> None:
    assert gpus.read_gpus(Nvml) == gpus.GpuReading((), {}, None)


def test_a_driver_that_fails_is_a_reason_not_an_error(tmp_path: Path) -> None:
    reading = gpus.read_gpus(lambda: Nvml(init="Driver/library version mismatch"), driver=str(tmp_path))
    assert reading == gpus.GpuReading((), None, "NVML: Driver/library version mismatch")


def test_a_gpu_that_falls_off_the_bus_is_a_reason() -> None:
    nvml = Nvml(H200)
    nvml.nvmlDeviceGetHandleByIndex = _lost  # type: ignore[method-assign]
    reading = gpus.ask_nvml(nvml, driver="/nonexistent")
    assert reading.reason == "NVML: GPU is lost" and nvml.open == 0


def _lost(index: int) -> t.NoReturn:
    raise NVMLError("GPU is lost")


def test_without_the_library_proc_gives_the_names(tmp_path: Path) -> None:
    folder = tmp_path / "gpus" / "0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "information").write_text("Model: \t\t NVIDIA H200\nIRQ:   \t\t 100\n")
    (tmp_path / "gpus" / "0000:02:00.0").mkdir()
    reading = gpus.read_gpus(lambda: None, driver=str(tmp_path))
    assert [gpu.name for gpu in reading.gpus] == ["NVIDIA H200", "unknown name"] and reading.process_memory is None
    assert reading.reason == "the Python library nvidia-ml-py is not installed"
    assert gpus.read_gpus(lambda: None, driver=str(tmp_path / "none")).reason == "no NVIDIA driver on this host"


@pytest.mark.parametrize(("driver", "library", "goes"), [(True, False, True), (True, True, False), (False, False, False)])
def test_the_backend_is_preferred_only_where_it_helps(tmp_path: Path, driver: bool, library: bool, goes: bool) -> None:
    asked: list[str] = []

    class Context:
        def has_library(self, name: str) -> bool:
            return library

        def need_backend(self, python: str, library: str) -> None:
            asked.append(python)
            raise VenomError("backend_missing", "a", "b", "c")

    gpus.prefer_backend(Context(), "/python", str(tmp_path if driver else tmp_path / "none"))
    assert asked == (["/python"] if goes else [])


def test_recorded_two_gpus_with_their_processes() -> None:
    reading = gpus.read_gpus(lambda: RecordedNvml("two-gpus"))
    described = [host.describe_gpu(gpu) for gpu in reading.gpus]
    assert [(gpu["uuid"][-1], gpu["memory_used_percent"], gpu["temperature_c"], gpu["utilization_percent"]) for gpu in described] == [
        ("0", 90.1, 63, 97), ("1", 92.5, 58, 97),
    ]  # fmt: skip
    assert described[1]["processes"] == [
        {"pid": 2102, "memory_mb": 71680}, {"pid": 2101, "memory_mb": 512}, {"pid": 3000, "memory_mb": None},
    ]  # fmt: skip
    assert reading.process_memory == {2101: 76 * GIB + GIB // 2, 2102: 70 * GIB, 3000: 0}
    assert (reading.reason, reading.driver_version) == (None, "550.90.07")


def test_recorded_mig_counts_a_process_once_that_is_listed_twice() -> None:
    reading = gpus.read_gpus(lambda: RecordedNvml("mig"))
    assert [(gpu.index, gpu.mig, gpu.utilization_percent, gpu.temperature_c) for gpu in reading.gpus] == [
        ("0", False, None, 63), ("0:0", True, None, None), ("0:2", True, None, None),
    ]  # fmt: skip
    assert reading.process_memory == {4100: 18 * GIB}
    assert host.describe_gpu(reading.gpus[1])["memory_used_percent"] == 92.3


@pytest.mark.parametrize(
    ("name", "count", "reason"),
    [
        ("no-gpus", 0, None),
        ("unified-memory", 1, None),
        ("version-mismatch", 0, "NVML: Driver/library version mismatch"),
        ("not-loaded", 0, "NVML: Driver Not Loaded"),
        ("lost", 0, "NVML: GPU is lost"),
        ("dies", 0, "NVML: the question ended without an answer"),
    ],
)
def test_recorded_drivers_in_trouble(tmp_path: Path, name: str, count: int, reason: str | None) -> None:
    reading = gpus.read_gpus(lambda: RecordedNvml(name), driver=str(tmp_path))
    assert (len(reading.gpus), reading.reason) == (count, reason)


def test_a_library_without_any_driver_is_a_host_without_gpus(tmp_path: Path) -> None:
    reading = gpus.read_gpus(lambda: RecordedNvml("not-loaded"), driver=str(tmp_path / "none"))
    assert reading == gpus.GpuReading((), None, "no NVIDIA driver on this host")


def test_a_library_that_was_opened_is_closed_whatever_happens() -> None:
    for name in ("two-gpus", "lost", "no-gpus"):
        nvml = RecordedNvml(name)
        gpus.ask_nvml(nvml)
        assert nvml.calls[0] == "nvmlInit" and nvml.calls[-1] == "nvmlShutdown"


def test_a_driver_that_hangs_is_left_behind_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "gpus" / "0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "information").write_text("Model: NVIDIA H100 80GB HBM3\n")
    reading = gpus.read_gpus(lambda: RecordedNvml("hangs"), driver=str(tmp_path), timeout=0.3)
    assert reading.reason == "NVML: no answer within 0.3 s" and reading.process_memory is None
    assert [gpu.name for gpu in reading.gpus] == ["NVIDIA H100 80GB HBM3"]


def test_a_reading_survives_its_way_through_the_child() -> None:
    for name in ("two-gpus", "mig", "unified-memory", "version-mismatch"):
        assert gpus.read_gpus(lambda name=name: RecordedNvml(name)) == gpus.ask_nvml(RecordedNvml(name))  # type: ignore[misc]
