# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs as the NVIDIA management library (NVML) shows them. Without it the answer is a reason, never an error."""
from __future__ import annotations

import contextlib
import dataclasses
import os
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.bounded_call import NoAnswer, answer_within
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

_DRIVER = "/proc/driver/nvidia"
#: NVML_TEMPERATURE_GPU of nvml.h.
_TEMPERATURE_GPU = 0
#: Seconds for all questions together. A healthy driver answers in less than one, after a reset of a GPU in a few.
NVML_TIMEOUT = 10.0
NO_DRIVER = "no NVIDIA driver on this host"


@dataclass(frozen=True)
class GpuProcess:
    """A process on a GPU and the memory that it holds there, in bytes; None where the driver does not tell it."""

    pid: int
    memory: int | None = None


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one MIG slice of it (``mig`` true). Memory in bytes; None is what the driver does not tell."""

    index: str
    name: str
    uuid: str | None = None
    memory_total: int | None = None
    memory_used: int | None = None
    utilization_percent: int | None = None
    temperature_c: int | None = None
    compute_capability: str | None = None
    mig: bool = False
    processes: tuple[GpuProcess, ...] = ()


@dataclass(frozen=True)
class GpuReading:
    """All GPUs, the GPU memory of each process in bytes, the driver's version, and why something is missing."""

    gpus: tuple[Gpu, ...] = ()
    process_memory: t.Mapping[int, int] | None = None
    reason: str | None = None
    driver_version: str | None = None


def load_nvml() -> t.Any:
    """The module pynvml, or None where it is not installed."""
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


def has_driver(driver: str = _DRIVER) -> bool:
    """Whether the kernel has an NVIDIA driver, which needs no library to see."""
    return os.path.isdir(driver)


class NeedsBackend(t.Protocol):
    """The part of ``module.Context`` that finds another interpreter."""

    def has_library(self, name: str) -> bool:
        """Whether the running interpreter could import it."""

    def need_backend(self, python: str, library: str) -> None:
        """Go on under the other interpreter. Raises ``backend_missing``."""


def prefer_backend(context: NeedsBackend, python: str, driver: str = _DRIVER) -> None:
    """Go on under the backend venv where only its Python can see the GPUs; without it the status says why it cannot."""
    if has_driver(driver) and not context.has_library("pynvml"):
        with contextlib.suppress(VenomError):
            context.need_backend(python, "pynvml")


def read_gpus(load: t.Callable[[], t.Any] = load_nvml, driver: str = _DRIVER, timeout: float = NVML_TIMEOUT) -> GpuReading:
    """All that NVML tells within ``timeout`` seconds. Names alone come from /proc where the library is missing or does not answer."""
    nvml = load()
    if nvml is None:
        names = _names_from_proc(driver)
        reason = "the Python library nvidia-ml-py is not installed" if names else NO_DRIVER
        return GpuReading(gpus=names, reason=reason)
    try:
        return _from_plain(answer_within(timeout, lambda: dataclasses.asdict(ask_nvml(nvml, driver))))
    except NoAnswer as error:
        return GpuReading(gpus=_names_from_proc(driver), reason=f"NVML: {error}")


def ask_nvml(nvml: t.Any, driver: str = _DRIVER) -> GpuReading:
    """All that the library ``nvml`` tells, asked in this process: a driver that hangs would hold it."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        # The library is on every host of the collection; where there is no driver, NVML complains of its own absence.
        reason = f"NVML: {error}" if has_driver(driver) else NO_DRIVER
        return GpuReading(gpus=_names_from_proc(driver), reason=reason)
    try:
        gpus: list[Gpu] = []
        memory: dict[int, int] = {}
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            slices = [(f"{index}:{number}", part) for number, part in _slices(nvml, handle)]
            found = [_gpu(nvml, handle, str(index), mig=False)] + [_gpu(nvml, part, name, mig=True) for name, part in slices]
            _add_processes(found, memory)
            gpus += found
        return GpuReading(tuple(gpus), memory, driver_version=_text(_ask(nvml, "nvmlSystemGetDriverVersion")))
    except nvml.NVMLError as error:
        return GpuReading(gpus=_names_from_proc(driver), reason=f"NVML: {error}")
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _from_plain(data: t.Mapping[str, t.Any]) -> GpuReading:
    """The reading that ``dataclasses.asdict`` and JSON have made of one: keys of a JSON object are text."""
    memory = data["process_memory"]
    gpus = (dict(gpu, processes=tuple(GpuProcess(**process) for process in gpu["processes"])) for gpu in data["gpus"])
    return GpuReading(
        gpus=tuple(Gpu(**gpu) for gpu in gpus),
        process_memory=None if memory is None else {int(pid): held for pid, held in memory.items()},
        reason=data["reason"],
        driver_version=data["driver_version"],
    )


def _ask(nvml: t.Any, call: str, *arguments: t.Any) -> t.Any:
    """One NVML call; None where this GPU or driver does not know it (MIG hides counters, unified memory has no total)."""
    try:
        return getattr(nvml, call)(*arguments)
    except (nvml.NVMLError, AttributeError):
        return None


def _text(value: t.Any) -> str | None:
    # Older releases of pynvml return bytes.
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _gpu(nvml: t.Any, handle: t.Any, index: str, mig: bool) -> Gpu:
    memory = _ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
    load = _ask(nvml, "nvmlDeviceGetUtilizationRates", handle)
    capability = _ask(nvml, "nvmlDeviceGetCudaComputeCapability", handle)
    return Gpu(
        index=index,
        name=_text(_ask(nvml, "nvmlDeviceGetName", handle)) or "unknown name",
        uuid=_text(_ask(nvml, "nvmlDeviceGetUUID", handle)),
        memory_total=None if memory is None else int(memory.total),
        memory_used=None if memory is None else int(memory.used),
        utilization_percent=None if load is None else int(load.gpu),
        temperature_c=_ask(nvml, "nvmlDeviceGetTemperature", handle, _TEMPERATURE_GPU),
        compute_capability=None if capability is None else ".".join(map(str, capability)),
        mig=mig,
        processes=_processes(nvml, handle),
    )


def _slices(nvml: t.Any, handle: t.Any) -> list[tuple[int, t.Any]]:
    mode = _ask(nvml, "nvmlDeviceGetMigMode", handle)
    if not mode or mode[0] != 1:
        return []
    found = ((number, _ask(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, number)) for number in range(
        _ask(nvml, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0))
    return [(number, part) for number, part in found if part is not None]


def _processes(nvml: t.Any, handle: t.Any) -> tuple[GpuProcess, ...]:
    found = _ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle) or []
    return tuple(GpuProcess(int(process.pid), None if process.usedGpuMemory is None else int(process.usedGpuMemory)) for process in found)


def _add_processes(gpus: t.Sequence[Gpu], memory: dict[int, int]) -> None:
    """Add what the processes of one GPU hold. With MIG, drivers list a process at its slice, at the whole GPU, or at both."""
    whole, slices = gpus[0], gpus[1:]
    held: dict[int, int] = {}
    for part in slices:
        for process in part.processes:
            held[process.pid] = held.get(process.pid, 0) + (process.memory or 0)
    for process in whole.processes:
        held[process.pid] = max(held.get(process.pid, 0), process.memory or 0)
    for pid, amount in held.items():
        memory[pid] = memory.get(pid, 0) + amount


def _names_from_proc(driver: str) -> tuple[Gpu, ...]:
    """Model names from /proc/driver/nvidia/gpus/*/information."""
    folder = os.path.join(driver, "gpus")
    gpus: list[Gpu] = []
    for index, name in enumerate(sorted(os.listdir(folder)) if os.path.isdir(folder) else []):
        try:
            with open(os.path.join(folder, name, "information"), encoding="utf-8", errors="replace") as stream:
                models = [line.partition(":")[2].strip() for line in stream if line.startswith("Model:")]
        except OSError:
            models = []
        gpus.append(Gpu(index=str(index), name=models[0] if models else "unknown name"))
    return tuple(gpus)
