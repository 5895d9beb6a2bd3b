# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a runtime tells of itself, whichever program it is: configuration, command, and answers over HTTP."""
from __future__ import annotations

import typing as t
from dataclasses import dataclass

#: Every value of ``Health.state``: ready, loading (more time may help), broken (it will not).
HEALTH_STATES = ("ready", "loading", "broken")


@dataclass(frozen=True)
class Active:
    """The model that the runtime is configured to serve: under the name ``alias``, from the folder ``path``."""

    alias: str
    path: str


@dataclass(frozen=True)
class ServedModel:
    """One model of a server's own list: its name for clients, and where it was loaded from."""

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


class Runtime(t.Protocol):
    """One server of a runtime on this host. Nothing here starts or stops anything."""

    name: str

    def is_configured(self) -> bool:
        """Whether the role of the runtime has written the server's settings on this host."""

    def active(self) -> Active | None:
        """The model that the environment file names."""

    def command(self) -> tuple[str, ...]:
        """The argument list of the server. Raises ``not_installed`` or ``not_configured``."""

    def endpoint(self) -> str:
        """The URL that clients of this host use."""

    def health(self, timeout: float) -> Health:
        """Ask the server how it is."""

    def served(self, timeout: float) -> tuple[ServedModel, ...]:
        """The models that the server says it serves. Raises ``ProbeFailed``."""

    def complete(self, model: str, timeout: float) -> Completion:
        """A real completion. Raises ``CompletionFailed``."""

    def in_flight(self, timeout: float) -> int | None:
        """Requests that the server works on or holds in its queue; None when it does not say."""
