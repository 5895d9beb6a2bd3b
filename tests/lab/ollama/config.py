# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's environment: read as the real one reads it, wrong values and all."""
from __future__ import annotations

import ipaddress
import os
import typing as t

from lab.ollama import durations
from lab.ollama.errors import GoError

#: Of the recorded server; a release that `archive.py` packs says its own.
VERSION = os.environ.get("LAB_OLLAMA_VERSION", "0.32.15")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_PASSED = (
    "CUDA_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "HIP_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION",
    "HTTPS_PROXY", "HTTP_PROXY", "LLAMA_ARG_FIT", "LLAMA_ARG_FIT_TARGET", "NO_PROXY", "OLLAMA_EDITOR", "OLLAMA_IGPU_ENABLE",
    "OLLAMA_KV_CACHE_TYPE", "OLLAMA_LLM_LIBRARY", "ROCR_VISIBLE_DEVICES", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
_BOOLEANS = {
    "OLLAMA_DEBUG_LOG_REQUESTS": False, "OLLAMA_FLASH_ATTENTION": False, "OLLAMA_GO_TEMPLATE": True, "OLLAMA_NOHISTORY": False,
    "OLLAMA_NOPRUNE": False, "OLLAMA_NO_CLOUD": False, "OLLAMA_SCHED_SPREAD": False, "OLLAMA_VULKAN": True,
}  # fmt: skip
#: name: (default, line of the real source that its warning names)
_NUMBERS = {
    "OLLAMA_CONTEXT_LENGTH": (0, 263), "OLLAMA_GPU_OVERHEAD": (0, 292), "OLLAMA_MAX_LOADED_MODELS": (0, 263), "OLLAMA_MAX_QUEUE": (512, 263),
    "OLLAMA_MAX_TRANSFER_STREAMS": (4, 263), "OLLAMA_NUM_PARALLEL": (1, 263),
}  # fmt: skip


class Config:
    """Values of the environment; ``warnings`` are (source line, message, fields) for the log.

    What a test sets beside the real variables: LAB_OLLAMA_TIME_SCALE (factor for waits of a pull and of the start), LAB_OLLAMA_PART_BYTES
    (smallest part of a download, 100 MB), LAB_OLLAMA_LOAD_SECONDS, LAB_OLLAMA_START_SECONDS, LAB_OLLAMA_USER
    (account to become, by number), LAB_OLLAMA_FAULTS (see faults.py).
    """

    def __init__(self, environ: t.Mapping[str, str] | None = None) -> None:
        self.environ = dict(os.environ if environ is None else environ)
        self.warnings: list[str] = []
        self.booleans = {name: self._boolean(name, default) for name, default in _BOOLEANS.items()}
        self.numbers = {name: self._number(name, *rest) for name, rest in _NUMBERS.items()}
        self.keep_alive = self._keep_alive()
        self.load_timeout = self._load_timeout()
        self.scheme, self.host, self.port = self._address()
        self.home = self.environ.get("HOME", "")
        self.time_scale = float(self.environ.get("LAB_OLLAMA_TIME_SCALE", "1"))
        self.part_bytes = int(self.environ.get("LAB_OLLAMA_PART_BYTES", "100000000"))
        self.load_seconds = float(self.environ.get("LAB_OLLAMA_LOAD_SECONDS", "0.05"))
        self.start_seconds = float(self.environ.get("LAB_OLLAMA_START_SECONDS", "0.05"))

    def var(self, name: str) -> str:
        """A variable without blanks and quotes around it."""
        return self.environ.get(name, "").strip().strip("\"'")

    @property
    def models(self) -> str:
        """OLLAMA_MODELS; GoError without it and without HOME."""
        folder = self.var("OLLAMA_MODELS")
        if folder:
            return folder
        if not self.home:
            raise GoError("$HOME is not defined")
        return os.path.join(self.home, ".ollama", "models")

    @property
    def url(self) -> str:
        """Where the server listens, and where the command line looks for it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def origins(self) -> list[str]:
        """Patterns of Origin headers that are let in."""
        mine = [origin for origin in self.var("OLLAMA_ORIGINS").split(",") if origin]
        for host in ("localhost", "127.0.0.1", "0.0.0.0"):
            mine += [f"http://{host}", f"https://{host}", f"http://{host}:*", f"https://{host}:*"]
        return [*mine, "app://*", "file://*", "tauri://*", "vscode-webview://*", "vscode-file://*"]

    def show(self) -> str:
        """The map of the log line ``server config``."""
        level = self._level()
        values = {name: self.var(name) for name in _PASSED}
        values.update({name: str(value).lower() for name, value in self.booleans.items()})
        values.update({name: str(value) for name, value in self.numbers.items()})
        values.update(
            OLLAMA_DEBUG=level,
            OLLAMA_HOST=self.url,
            OLLAMA_KEEP_ALIVE=durations.show(self.keep_alive),
            OLLAMA_LOAD_TIMEOUT=durations.show(self.load_timeout),
            OLLAMA_MODELS=self.models,
            OLLAMA_ORIGINS="[" + " ".join(self.origins) + "]",
            OLLAMA_REMOTES="[" + (self.var("OLLAMA_REMOTES") or "ollama.com").replace(",", " ") + "]",
        )
        return "map[" + " ".join(f"{name}:{values[name]}" for name in sorted(values)) + "]"

    def _boolean(self, name: str, default: bool) -> bool:
        value = self.var(name)
        return default if not value else value not in _FALSE

    def _number(self, name: str, default: int, line: int) -> int:
        value = self.var(name)
        if value and not (value.isascii() and value.isdigit()):
            text = f'msg="invalid environment variable, using default" key={name} value={value} default={default}'
            self.warnings.append(f"source=config.go:{line} {text}")
        return int(value) if value.isascii() and value.isdigit() else default

    def _seconds(self, name: str) -> int | None:
        value = self.var(name)
        if not value:
            return None
        try:
            return durations.parse(value)
        except GoError:
            try:
                return int(value) * durations.SECOND
            except ValueError:
                return None

    def _keep_alive(self) -> int:
        value = self._seconds("OLLAMA_KEEP_ALIVE")
        return 300 * durations.SECOND if value is None else durations.FOR_EVER if value < 0 else value

    def _load_timeout(self) -> int:
        value = self._seconds("OLLAMA_LOAD_TIMEOUT")
        return 300 * durations.SECOND if value is None else durations.FOR_EVER if value <= 0 else value

    def _level(self) -> str:
        value = self.var("OLLAMA_DEBUG")
        if not value or value in _FALSE:
            return "INFO"
        return "DEBUG-4" if value == "2" else "DEBUG"

    def _address(self) -> tuple[str, str, int]:
        scheme, separator, rest = self.var("OLLAMA_HOST").strip().partition("://")
        if not separator:
            scheme, rest = "http", scheme
        fallback = {"http": "80", "https": "443"}.get(scheme, "11434") if separator else "11434"
        rest = rest.partition("/")[0]
        host, colon, port = rest.rpartition(":")
        if not colon or (":" in host and not host.startswith("[")):
            host, port = (rest or "127.0.0.1"), fallback
        host = host.strip("[]")
        try:
            host = str(ipaddress.ip_address(host))
        except ValueError:
            host = host if colon else host or "127.0.0.1"
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            self.warnings.append(f'source=config.go:51 msg="invalid port, using default" port={port} default={fallback}')
            port = fallback
        return scheme, host, int(port)
