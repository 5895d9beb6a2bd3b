# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a runtime tells of itself, whichever program it is: configuration, command, and answers over HTTP."""
from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import envfile, http_probe
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

#: Every value of ``Health.state``: ready, loading (more time may help), broken (it will not).
HEALTH_STATES = ("ready", "loading", "broken")
#: Where a server listens on every address, its own host reaches it here.
LOOPBACK = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1", "[::]": "::1"}  # noqa: S104
#: What is there is gone after a boot.
RUN_DIR = "/run/venom"


def refuse_garbled(variables: t.Mapping[str, str], path: str) -> None:
    """Raise ``not_configured`` for settings that no server could be started with."""
    names = envfile.garbled(variables)
    if names:
        raise VenomError(
            "not_configured",
            wanted=f"settings in UTF-8 in {path}",
            found=f"{', '.join(names)} with bytes that are no such text",
            todo="run the role of the runtime again, or correct the file",
            path=path,
        )


@dataclass(frozen=True)
class Active:
    """The model that the runtime is configured to serve under the name ``alias``.

    ``path`` is what the server itself tells of its bytes: the folder for vLLM, ``sha256:<hex>`` of the manifest for Ollama, which
    also has a name of its own for it, ``model``; that is empty for a runtime that knows a model only by its folder.
    """

    alias: str
    path: str
    model: str = ""


@dataclass(frozen=True)
class ServedModel:
    """One model of a server's own list: its name for clients, and where its bytes come from, see ``Active.path``."""

    id: str
    root: str


@dataclass(frozen=True)
class Health:
    """Whether the server answers, in what time (seconds), and in its own words."""

    state: str
    seconds: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Completion:
    """A real answer of the model: the text, the endpoint that gave it, the seconds it took, and a remark for the operator."""

    text: str
    endpoint: str
    seconds: float
    remark: str = ""


class CompletionFailed(Exception):
    """The server did not answer a real request with text; the message says what it did instead."""


class Settings(t.Protocol):
    """What every runtime's settings file says, whatever else it says."""

    @property
    def program(self) -> str:
        """Path of the program that runs the server."""

    @property
    def host(self) -> str:
        """The address that the server listens on."""

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""

    @property
    def probe_host(self) -> str:
        """The address at which this host itself reaches it."""


class LiveModels(t.Protocol):
    """The models of a server that changes what it serves while it runs. Every method may raise ``server_unreachable``."""

    #: Whether a model stays in memory after a request, so that the server's list of loaded models proves something.
    keeps_models: bool

    def listed(self) -> tuple[ServedModel, ...]:
        """Every name that the server has for a model."""

    def loaded(self) -> tuple[ServedModel, ...]:
        """What is in memory now, maybe an older model than the one that is listed under that name."""

    def sharing(self, name: str) -> tuple[ServedModel, ...]:
        """What is in memory with the weights of this model, or may be: a server does not tell them of every one."""

    def load(self, name: str, timeout: float) -> None:
        """Bring a model into memory. Raises ``not_installed``, or ``io_error`` when the server cannot."""

    def unload(self, paths: t.Collection[str], timeout: float) -> None:
        """Take the models with these digests out of memory once their requests have ended.

        Raises ``model_active`` for those that are still there after ``timeout`` seconds, and for those that no name means any more.
        """

    def copy(self, source: str, name: str) -> None:
        """Give a model a further name, also over one that another model has."""

    def remove(self, name: str) -> None:
        """Take a name away, and with a model's last name its bytes."""


class Runtime(t.Protocol):
    """One server of a runtime on this host. Nothing here starts or stops anything."""

    name: str
    unit: str
    log_name: str
    #: What a server of the same kind that somebody else started has in its command line.
    command_mark: str
    #: The port of such a server where nothing says another one.
    default_port: int
    #: Written by the role of the runtime, by a commit, by the commit before, and by an activation for the time of its trial.
    settings_path: str
    active_path: str
    last_good_path: str
    trial_path: str
    #: Whether the server may run without an active model.
    runs_without_model: bool

    def is_configured(self) -> bool:
        """Whether the role of the runtime has written the server's settings on this host."""

    def settings(self) -> Settings:
        """The settings. Raises ``not_installed`` without the file, ``not_configured`` for a file without sense."""

    def active(self) -> Active | None:
        """The model that the server is to serve now: that of a running trial, else the committed one."""

    def read_active(self, path: str) -> Active | None:
        """The model that an environment file names, or None without the file or its variables."""

    def make_active(self, alias: str, path: str, model: str) -> Active:
        """The same as a value, as ``read_active`` would read it back."""

    def active_variables(self, active: Active) -> dict[str, str]:
        """The content of the environment file that names the active model."""

    def environment(self) -> dict[str, str]:
        """The variables of the server."""

    def command(self) -> tuple[str, ...]:
        """The argument list of the server. Raises ``not_installed`` or ``not_configured``."""

    def digest(self, extra: str = "") -> str:
        """SHA-256 of everything that makes a running server differ from one started now, and of ``extra``. Raises like ``command``."""

    def is_there(self, active: Active) -> bool:
        """Whether the bytes of the model are on this host, as far as that shows without the server."""

    def spelling(self, name: str) -> str:
        """The one spelling of all names that mean the same model to the server."""

    def live(self) -> LiveModels | None:
        """The models of a server that needs no restart to serve another one; None when every change is a restart."""

    def endpoint(self) -> str:
        """The URL that clients of this host use."""

    def health(self, timeout: float = 5.0) -> Health:
        """Ask the server how it is."""

    def served(self, timeout: float = 5.0) -> tuple[ServedModel, ...]:
        """The models that the server says it serves. Raises ``ProbeFailed``."""

    def complete(self, model: str, timeout: float) -> Completion:
        """A real completion. Raises ``CompletionFailed``."""

    def post(self, path: str, body: dict[str, t.Any], timeout: float) -> http_probe.Answer:
        """What the server answers to a body of JSON. Raises ``CompletionFailed`` when nothing comes."""

    def in_flight(self, timeout: float = 5.0) -> int | None:
        """Requests that the server works on or holds in its queue, none where nobody listens; None when it does not say."""
