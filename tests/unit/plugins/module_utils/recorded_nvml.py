# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of NVML out of a file in ``nvml/``, given as the library pynvml gives them.

In a file, ``{"nvml_error": N}`` is the return value N of nvml.h instead of an answer, ``{"hangs": true}`` a call that never comes back,
``{"dies": true}`` one that ends its process. What a device does not have is not supported.
"""
from __future__ import annotations

import json
import os
import signal
import time
import types
import typing as t
from pathlib import Path

FOLDER = Path(__file__).with_name("nvml")
#: nvmlReturn_t of nvml.h, in the words of nvmlErrorString.
_ERRORS = {
    2: "Invalid Argument", 3: "Not Supported", 6: "Not Found", 9: "Driver Not Loaded", 15: "GPU is lost", 18: "Driver/library version mismatch",
}  # fmt: skip
_OF_THE_SYSTEM = ("nvmlInit", "nvmlShutdown", "nvmlSystemGetDriverVersion")


class NVMLError(Exception):
    """As pynvml raises it."""


class RecordedNvml:
    """One recording in the place of the module pynvml."""

    NVMLError = NVMLError

    def __init__(self, name: str) -> None:
        self._data: dict[str, t.Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> t.Callable[..., t.Any]:
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def call(*arguments: t.Any) -> t.Any:
            self.calls.append(name)
            return self._call(name, *arguments)

        return call

    def _call(self, name: str, *arguments: t.Any) -> t.Any:
        devices = self._data["devices"]
        if name == "nvmlDeviceGetCount":
            return len(devices)
        if name == "nvmlDeviceGetHandleByIndex":
            _answer(devices[arguments[0]].get("handle"))
            return devices[arguments[0]]
        if name == "nvmlDeviceGetMigDeviceHandleByIndex":
            slices = arguments[0].get("mig", {})
            return slices[str(arguments[1])] if str(arguments[1]) in slices else _answer({"nvml_error": 6})
        if name in _OF_THE_SYSTEM:
            return _answer(self._data.get(name))
        return _answer(arguments[0].get(name, {"nvml_error": 3}))


def _answer(value: t.Any) -> t.Any:
    if not isinstance(value, dict):
        return [_answer(item) for item in value] if isinstance(value, list) else value
    if "nvml_error" in value:
        raise NVMLError(_ERRORS[value["nvml_error"]])
    if "hangs" in value:
        time.sleep(600)
    if "dies" in value:
        os.kill(os.getpid(), signal.SIGKILL)
    return types.SimpleNamespace(**value)
