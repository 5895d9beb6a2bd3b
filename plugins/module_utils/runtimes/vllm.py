# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM: its two environment files, its command line, and its OpenAI-compatible HTTP interface (as vLLM 0.32 speaks it)."""
from __future__ import annotations

import hashlib
import json
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import envfile, http_probe
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.runtimes import openai_chat
from ansible_collections.venom.llm.plugins.module_utils.runtimes.base import (
    LOOPBACK,
    RUN_DIR,
    Active,
    Completion,
    CompletionFailed,
    Health,
    ServedModel,
    refuse_garbled,
)

SERVER_MODULE = "vllm.entrypoints.openai.api_server"
PYTHON = "VENOM_VLLM_PYTHON"
HOST = "VENOM_VLLM_HOST"
PORT = "VENOM_VLLM_PORT"
ARGS = "VENOM_VLLM_ARGS"
MODEL_PATH = "VENOM_VLLM_MODEL_PATH"
SERVED_NAME = "VENOM_VLLM_SERVED_NAME"
#: The name under which other programs of the host know the active model.
LLM_MODEL_NAME = "LLM_MODEL_NAME"

#: Both gauges together are what a client still waits for; labels follow the name.
_IN_FLIGHT = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^}]*\})?\s+([0-9.eE+]+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class VllmSettings:
    """What ``vllm.env`` says: the interpreter of the venv, address, port and further arguments; ``environment`` is the whole file."""

    python: str
    host: str
    port: int
    args: tuple[str, ...]
    environment: t.Mapping[str, str]

    @classmethod
    def from_variables(cls, variables: t.Mapping[str, str], path: str) -> VllmSettings:
        """Validate. Raises ``not_configured`` naming the variable."""
        try:
            port = int(variables[PORT])
            if not 0 < port < 65536:
                raise ValueError(f"{port} is not a TCP port")
            if not os.path.isabs(variables[PYTHON]):
                raise ValueError(f"{PYTHON}={variables[PYTHON]} is not an absolute path")
            return cls(
                python=variables[PYTHON],
                host=variables[HOST],
                port=port,
                args=envfile.split_words(variables.get(ARGS, "")),
                environment=dict(variables),
            )
        except (KeyError, ValueError) as error:
            what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            raise VenomError(
                "not_configured",
                wanted=f"settings of vLLM in {path}",
                found=what,
                todo="run the role venom.llm.vllm, which writes it",
                path=path,
            ) from error

    @property
    def program(self) -> str:
        """See ``Settings``."""
        return self.python

    @property
    def probe_host(self) -> str:
        """The address at which this host itself reaches the server."""
        return LOOPBACK.get(self.host, self.host)


def command(settings: VllmSettings, active: Active) -> tuple[str, ...]:
    """The argument list of the server, word for word that of ``ExecStart=`` in the unit ``venom-vllm.service``."""
    return (
        settings.python,
        "-m",
        SERVER_MODULE,
        "--model",
        active.path,
        "--served-model-name",
        active.alias,
        "--host",
        settings.host,
        "--port",
        str(settings.port),
        *settings.args,
    )


def active_variables(active: Active) -> dict[str, str]:
    """The content of ``vllm.active.env``."""
    return {LLM_MODEL_NAME: active.alias, MODEL_PATH: active.path, SERVED_NAME: active.alias}


def in_flight_from(metrics: str) -> int | None:
    """Running and waiting requests in the text of GET /metrics, or None when it has no such gauge."""
    found = _IN_FLIGHT.findall(metrics)
    return int(sum(float(value) for value in found)) if found else None


class VllmRuntime:
    """The vLLM server of this host, as the files in ``config_dir`` describe it."""

    name = "vllm"
    unit = "venom-vllm.service"
    log_name = "vllm.log"
    #: What a foreign server of the same kind has in its command line.
    command_mark = "vllm"
    default_port = 8000
    runs_without_model = False

    def __init__(self, config_dir: str, run_dir: str = RUN_DIR) -> None:
        self.settings_path = os.path.join(config_dir, "vllm.env")
        self.active_path = os.path.join(config_dir, "vllm.active.env")
        self.last_good_path = f"{self.active_path}.last-good"
        self.trial_path = os.path.join(run_dir, "vllm.trial.env")

    def is_configured(self) -> bool:
        """See ``Runtime``."""
        return os.path.exists(self.settings_path)

    def settings(self) -> VllmSettings:
        """The settings. Raises ``not_installed`` without the file, ``not_configured`` for a file without sense."""
        variables = envfile.read(self.settings_path)
        if variables is None:
            raise VenomError(
                "not_installed",
                wanted="vLLM on this host",
                found=f"no {self.settings_path}",
                todo="run the role venom.llm.vllm first",
                path=self.settings_path,
            )
        refuse_garbled(variables, self.settings_path)
        return VllmSettings.from_variables(variables, self.settings_path)

    def active(self) -> Active | None:
        """See ``Runtime``."""
        return self.read_active(self.trial_path) or self.read_active(self.active_path)

    def read_active(self, path: str) -> Active | None:
        """The model that an environment file of the same form names, or None without the file or its variables."""
        variables = envfile.read(path) or {}
        if not variables.get(MODEL_PATH) or not variables.get(SERVED_NAME):
            return None
        return Active(alias=variables[SERVED_NAME], path=variables[MODEL_PATH])

    def make_active(self, alias: str, path: str, model: str) -> Active:
        """See ``Runtime``. vLLM knows a model by its folder."""
        return Active(alias, path)

    def active_variables(self, active: Active) -> dict[str, str]:
        """See ``Runtime``."""
        return active_variables(active)

    def is_there(self, active: Active) -> bool:
        """See ``Runtime``."""
        return os.path.isdir(active.path)

    def spelling(self, name: str) -> str:
        """See ``Runtime``. vLLM compares names byte by byte."""
        return name

    def live(self) -> None:
        """See ``Runtime``. One process serves one model."""

    def environment(self) -> dict[str, str]:
        """The variables of all files, a later one winning, as in the unit."""
        return {**self.settings().environment, **(envfile.read(self.active_path) or {}), **(envfile.read(self.trial_path) or {})}

    def command(self) -> tuple[str, ...]:
        """See ``Runtime``."""
        settings = self.settings()
        active = self.active()
        if active is None:
            raise VenomError(
                "not_configured",
                wanted="an active model for vLLM",
                found=f"no model in {self.active_path}",
                todo="activate one: venom_runtime with state active and model",
                path=self.active_path,
            )
        if not os.access(settings.python, os.X_OK):
            raise VenomError(
                "not_installed",
                wanted=f"the interpreter {settings.python}",
                found="it is not there or not executable",
                todo="run the role venom.llm.vllm first",
                path=settings.python,
            )
        return command(settings, active)

    def digest(self, extra: str = "") -> str:
        """SHA-256 of everything that makes a running server differ: command, variables, the venv behind the link, and ``extra``."""
        settings = self.settings()
        # The path of the interpreter stays the same over an upgrade: `current` leads to another venv then.
        venv = os.path.realpath(os.path.dirname(settings.python))
        content = json.dumps([self.command(), self.environment(), venv, extra], sort_keys=True)
        return hashlib.sha256(content.encode("utf-8")).hexdigest()

    def endpoint(self) -> str:
        """See ``Runtime``."""
        settings = self.settings()
        host = f"[{settings.probe_host}]" if ":" in settings.probe_host else settings.probe_host
        return f"http://{host}:{settings.port}"

    def health(self, timeout: float = 5.0) -> Health:
        """See ``Runtime``. vLLM listens only after the model is loaded, so until then nobody answers."""
        try:
            answer = self._ask("/health", timeout)
        except http_probe.ProbeFailed as error:
            return Health("loading", detail=str(error))
        if answer.status == 200:
            return Health("ready", answer.seconds)
        state = "loading" if answer.status == 503 else "broken"
        return Health(state, answer.seconds, f"GET /health answered {answer.status} {answer.text(200)}".rstrip())

    def served(self, timeout: float = 5.0) -> tuple[ServedModel, ...]:
        """See ``Runtime``."""
        answer = self._ask("/v1/models", timeout)
        if answer.status != 200:
            raise http_probe.ProbeFailed("broken", f"GET /v1/models answered {answer.status} {answer.text(200)}".rstrip())
        data = answer.json()
        items = data.get("data") if isinstance(data, dict) else None
        if not isinstance(items, list):
            raise http_probe.ProbeFailed("broken", f"GET /v1/models answered without a list: {answer.text(200)}")
        return tuple(ServedModel(str(item.get("id")), str(item.get("root"))) for item in items if isinstance(item, dict))

    def complete(self, model: str, timeout: float) -> Completion:
        """See ``Runtime``. A model without a chat template cannot chat; a plain completion proves it instead, and the remark says so."""
        return openai_chat.complete(lambda path, body: self.post(path, body, timeout), model)

    def in_flight(self, timeout: float = 5.0) -> int | None:
        """See ``Runtime``."""
        try:
            answer = self._ask("/metrics", timeout)
        except http_probe.ProbeFailed as error:
            # Where nobody listens, nobody waits for an answer either.
            return 0 if error.kind == "refused" else None
        return in_flight_from(answer.body.decode("utf-8", "replace")) if answer.status == 200 else None

    def _ask(self, path: str, timeout: float) -> http_probe.Answer:
        settings = self.settings()
        return http_probe.request(settings.probe_host, settings.port, path, headers=self._headers(settings), timeout=timeout)

    def post(self, path: str, body: dict[str, t.Any], timeout: float) -> http_probe.Answer:
        """See ``Runtime``."""
        settings = self.settings()
        try:
            return http_probe.request(settings.probe_host, settings.port, path, body, self._headers(settings), timeout)
        except http_probe.ProbeFailed as error:
            raise CompletionFailed(str(error)) from error

    def _headers(self, settings: VllmSettings) -> dict[str, str]:
        key = settings.environment.get("VLLM_API_KEY", "")
        return {"Authorization": f"Bearer {key}"} if key else {}
