# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama: its settings file, its command, and how its server changes models while it runs (as of Ollama 0.16.2 to 0.32.15)."""
from __future__ import annotations

import hashlib
import json
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import envfile, http_probe
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import fold_name
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
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_api import OllamaApi
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_http import DEFAULT_PORT, ServerUrl

HOST = "OLLAMA_HOST"
BINARY = "VENOM_OLLAMA_BINARY"
KEEP_ALIVE = "OLLAMA_KEEP_ALIVE"
#: The name under which other programs of the host know the active model.
LLM_MODEL_NAME = "LLM_MODEL_NAME"
MODEL = "VENOM_OLLAMA_MODEL"
DIGEST = "VENOM_OLLAMA_DIGEST"

_PREFIX = "sha256:"
_HEX = re.compile(r"\A[0-9a-f]{64}\Z")
#: Durations after which Ollama drops a model at once.
_AT_ONCE = re.compile(r"\A0+(?:\.0*)?(?:ns|us|ms|s|m|h)?\Z")


@dataclass(frozen=True)
class OllamaSettings:
    """What ``ollama.env`` says: the program, address and port; ``environment`` is the whole file."""

    program: str
    host: str
    port: int
    environment: t.Mapping[str, str]

    @classmethod
    def from_variables(cls, variables: t.Mapping[str, str], path: str) -> OllamaSettings:
        """Validate. Raises ``not_configured`` naming the variable."""
        try:
            if not os.path.isabs(variables[BINARY]):
                raise ValueError(f"{BINARY}={variables[BINARY]} is not an absolute path")
            url = ServerUrl.parse(variables[HOST])
            return cls(variables[BINARY], url.host, url.port, dict(variables))
        except (KeyError, ValueError, VenomError) as error:
            if isinstance(error, VenomError):
                what = f"{HOST}: {error.found}"
            else:
                what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            raise VenomError(
                "not_configured",
                wanted=f"settings of Ollama in {path}",
                found=what,
                todo="run the role venom.llm.ollama, which writes it",
                path=path,
            ) from error

    @property
    def probe_host(self) -> str:
        """See ``Settings``."""
        return LOOPBACK.get(self.host, self.host)


class OllamaModels:
    """The models of a running server, see ``LiveModels``."""

    def __init__(self, api: OllamaApi, keeps_models: bool = True) -> None:
        self.keeps_models = keeps_models
        self._api = api

    def listed(self) -> tuple[ServedModel, ...]:
        """See ``LiveModels``."""
        return tuple(ServedModel(_short(model.name), model.digest) for model in self._api.models())

    def loaded(self) -> tuple[ServedModel, ...]:
        """See ``LiveModels``."""
        return tuple(ServedModel(_short(model.name), model.digest) for model in self._api.loaded())

    def sharing(self, name: str) -> tuple[ServedModel, ...]:
        """See ``LiveModels``. Of what has no name any more nothing tells the weights."""
        weights = self._api.weights(name)
        names = {model.digest: model.name for model in self._api.models()}
        own = {model.digest: self._weights(names.get(model.digest)) for model in self._api.loaded()}
        return tuple(model for model in self.loaded() if not weights or own.get(model.root, "") in ("", weights))

    def _weights(self, name: str | None) -> str:
        try:
            return self._api.weights(name) if name is not None else ""
        except VenomError:
            return ""

    def load(self, name: str, timeout: float) -> None:
        """See ``LiveModels``."""
        self._api.load(name, timeout)

    def unload(self, paths: t.Collection[str], timeout: float) -> None:
        """See ``LiveModels``. The server tells a loaded model by the name it was loaded by, which may mean another one by now."""
        names = {model.digest: model.name for model in self._api.models()}
        loaded = {model.digest: model.name for model in self._api.loaded() if model.digest in paths}
        self._api.unload_all({path: names[path] for path in sorted(loaded) if path in names}, timeout)
        nameless = [f"what was {name} ({path})" for path, name in loaded.items() if path not in names]
        if nameless:
            raise VenomError(
                "model_active",
                wanted=f"{', '.join(nameless)} unloaded",
                found=f"{', '.join(nameless)} is in memory and has no name any more, so only a restart takes it out",
                todo="restart the server, or wait until it expires",
            )

    def copy(self, source: str, name: str) -> None:
        """See ``LiveModels``."""
        self._api.copy(source, name)

    def remove(self, name: str) -> None:
        """See ``LiveModels``."""
        self._api.delete(name)


class OllamaRuntime:
    """The Ollama server of this host, as the files in ``config_dir`` describe it."""

    name = "ollama"
    unit = "venom-ollama.service"
    log_name = "ollama.log"
    command_mark = "ollama"
    default_port = DEFAULT_PORT
    #: It serves whatever is asked for; an active model is one that is promised to be there.
    runs_without_model = True

    def __init__(self, config_dir: str, run_dir: str = RUN_DIR) -> None:
        self.settings_path = os.path.join(config_dir, "ollama.env")
        self.active_path = os.path.join(config_dir, "ollama.active.env")
        self.last_good_path = f"{self.active_path}.last-good"
        self.trial_path = os.path.join(run_dir, "ollama.trial.env")

    def is_configured(self) -> bool:
        """See ``Runtime``."""
        return os.path.exists(self.settings_path)

    def settings(self) -> OllamaSettings:
        """See ``Runtime``."""
        variables = envfile.read(self.settings_path)
        if variables is None:
            raise VenomError(
                "not_installed",
                wanted="Ollama on this host",
                found=f"no {self.settings_path}",
                todo="run the role venom.llm.ollama first",
                path=self.settings_path,
            )
        refuse_garbled(variables, self.settings_path)
        return OllamaSettings.from_variables(variables, self.settings_path)

    def active(self) -> Active | None:
        """See ``Runtime``."""
        return self.read_active(self.trial_path) or self.read_active(self.active_path)

    def read_active(self, path: str) -> Active | None:
        """See ``Runtime``."""
        variables = envfile.read(path) or {}
        alias, model, digest = (variables.get(name, "") for name in (LLM_MODEL_NAME, MODEL, DIGEST))
        if not alias or not model or not _HEX.match(digest):
            return None
        return Active(alias, _PREFIX + digest, model)

    def make_active(self, alias: str, path: str, model: str) -> Active:
        """See ``Runtime``."""
        return Active(alias, path, model)

    def active_variables(self, active: Active) -> dict[str, str]:
        """See ``Runtime``."""
        return {LLM_MODEL_NAME: active.alias, MODEL: active.model, DIGEST: active.path[len(_PREFIX) :]}

    def environment(self) -> dict[str, str]:
        """The settings alone: another model must not restart the server."""
        return dict(self.settings().environment)

    def command(self) -> tuple[str, ...]:
        """See ``Runtime``."""
        program = self.settings().program
        if not os.access(program, os.X_OK):
            raise VenomError(
                "not_installed",
                wanted=f"the program {program}",
                found="it is not there or not executable",
                todo="run the role venom.llm.ollama first",
                path=program,
            )
        return (program, "serve")

    def digest(self, extra: str = "") -> str:
        """See ``Runtime``: command, variables, the program behind the link, and ``extra``; no model."""
        command = self.command()
        content = json.dumps([command, self.environment(), os.path.realpath(command[0]), extra], sort_keys=True)
        return hashlib.sha256(content.encode("utf-8")).hexdigest()

    def is_there(self, active: Active) -> bool:
        """See ``Runtime``. Only the server knows what its store holds."""
        return True

    def spelling(self, name: str) -> str:
        """See ``Runtime``."""
        return fold_name(name)

    def live(self) -> OllamaModels:
        """See ``Runtime``."""
        keep_alive = self.settings().environment.get(KEEP_ALIVE, "").strip()
        return OllamaModels(OllamaApi(self.endpoint()), not _AT_ONCE.match(keep_alive))

    def endpoint(self) -> str:
        """See ``Runtime``."""
        settings = self.settings()
        host = f"[{settings.probe_host}]" if ":" in settings.probe_host else settings.probe_host
        return f"http://{host}:{settings.port}"

    def health(self, timeout: float = 5.0) -> Health:
        """See ``Runtime``. The port takes connections before the server answers."""
        settings = self.settings()
        try:
            answer = http_probe.request(settings.probe_host, settings.port, "/api/version", timeout=timeout)
        except http_probe.ProbeFailed as error:
            return Health("loading", detail=str(error))
        if answer.status == 200:
            return Health("ready", answer.seconds)
        state = "loading" if answer.status == 503 else "broken"
        return Health(state, answer.seconds, f"GET /api/version answered {answer.status} {answer.text(200)}".rstrip())

    def served(self, timeout: float = 5.0) -> tuple[ServedModel, ...]:
        """See ``Runtime``. A name for clients is one of /api/tags, without the tag that goes without saying."""
        try:
            return OllamaModels(OllamaApi(self.endpoint(), timeout=timeout)).listed()
        except VenomError as error:
            raise http_probe.ProbeFailed("broken", error.found) from error

    def complete(self, model: str, timeout: float) -> Completion:
        """See ``Runtime``. It loads the model when it is not in memory."""
        return openai_chat.complete(lambda path, body: self.post(path, body, timeout), model)

    def post(self, path: str, body: dict[str, t.Any], timeout: float) -> http_probe.Answer:
        """See ``Runtime``."""
        settings = self.settings()
        try:
            return http_probe.request(settings.probe_host, settings.port, path, body, timeout=timeout)
        except http_probe.ProbeFailed as error:
            raise CompletionFailed(str(error)) from error

    def in_flight(self, timeout: float = 5.0) -> None:
        """See ``Runtime``. Ollama counts no requests: /api/ps tells what is loaded, not whether somebody waits for it."""


def _short(name: str) -> str:
    return name[: -len(":latest")] if name.endswith(":latest") else name
