# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama on this host: its store, its server, its command, and which of them a call uses."""
from __future__ import annotations

import typing as t
from functools import cached_property
from urllib.parse import urlsplit

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.models_ollama_pulls import PullNotes
from ansible_collections.venom.llm.plugins.module_utils.models_steps import API, CLI, STORE
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef
from ansible_collections.venom.llm.plugins.module_utils.store.ollama import OllamaStore

if t.TYPE_CHECKING:
    from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_api import OllamaApi
    from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_cli import OllamaCli

Params = t.Mapping[str, t.Any]


class OllamaHost:
    """What a call knows of Ollama here. Nothing is asked or loaded before it is needed, and the method is chosen once."""

    def __init__(self, params: Params, check_mode: bool = False) -> None:
        self.params = params
        self.store = OllamaStore(params["ollama_models_dir"], params["ollama_owner"])
        self.pulls = PullNotes(params["models_dir"], params["ollama_url"])
        self._check_mode = check_mode
        self._method: str | None = None

    @cached_property
    def api(self) -> OllamaApi:
        """The server. Raises ``invalid_option`` for a URL that is none."""
        from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_api import STALL_TIMEOUT, OllamaApi

        params = self.params
        stall_timeout = min(params["stall_timeout"], STALL_TIMEOUT)
        return OllamaApi(params["ollama_url"], stall_timeout=stall_timeout, retries=params["retries"], ca_path=params["ca_path"])

    @property
    def method(self) -> str:
        """``store``, ``api`` or ``cli``: the operator's choice, else the first that works here. Raises ``server_unreachable``."""
        if self._method is None:
            wanted = self.params["ollama_method"]
            if self.params.get("bundle"):
                # A server pulls from registries only.
                wanted = _store_only(wanted)
            self._method = self._choose() if wanted == "auto" else wanted
        return self._method

    def _choose(self) -> str:
        if self.store.exists() and self.store.is_writable():
            return STORE
        if self.api.is_up():
            return API
        if _find_command() is not None:
            return CLI
        if self._check_mode:
            # What a role will have installed before the real run gets here has a store.
            return STORE
        raise VenomError(
            "server_unreachable",
            wanted="a way to install Ollama models here",
            found=f"no store at {self.store.root} that this account may write, no server at {self.params['ollama_url']}, no ollama command",
            todo="install Ollama, set ollama_models_dir or ollama_url, or set ollama_method to store, which creates the store",
        )

    def cli(self) -> OllamaCli:
        """The command. Raises ``not_installed`` where there is none."""
        command = _find_command()
        if command is None:
            raise VenomError(
                "not_installed", wanted="the ollama command", found="none on PATH", todo="install Ollama, or choose another ollama_method"
            )
        from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_cli import OllamaCli

        return OllamaCli(command, self.params["ollama_url"], retries=self.params["retries"])

    @property
    def client(self) -> OllamaApi | OllamaCli:
        """Whoever does what the server is asked for, by ``method``. Raises ``not_installed``."""
        return self.cli() if self.method == CLI else self.api

    def find_left(self, ref: ModelRef) -> dict[str, str]:
        """Names under which runs that were killed had a model pulled and that the server still has, with what it shows of their digests."""
        found = {}
        for name in self.pulls.names(ref):
            seen = self.client.find_name(name)
            if seen is not None:
                found[name] = seen if isinstance(seen, str) else seen.digest
        return found

    def served_blobs(self, digests: t.Iterable[Digest]) -> dict[str, Digest]:
        """Which of these contents the server has already, as announced; none where only the command reaches it, which does not tell."""
        if self.method == CLI and not self.api.is_up():
            return {}
        return {str(digest): digest for digest in digests if self.api.has_blob(digest)}

    def registry_of(self, ref: ModelRef) -> str:
        """The URL of the registry that has a model: the one in its name, else the operator's."""
        from ansible_collections.venom.llm.plugins.module_utils.sources.registry import registry_url

        return registry_url(self.params["registry"], ref)

    def pull_name(self, ref: ModelRef) -> tuple[str, bool]:
        """What an Ollama server has to be asked for to fetch a model from the operator's registry, and whether that is plain http."""
        parts = urlsplit(self.registry_of(ref))
        if parts.netloc.lower() == ref.host.lower():
            return str(ref), parts.scheme == "http"
        return f"{parts.netloc}/{ref.repository}:{ref.tag}", parts.scheme == "http"


def _store_only(wanted: str) -> str:
    if wanted not in ("auto", STORE):
        raise VenomError(
            "invalid_option",
            wanted="ollama_method auto or store for models of a bundle",
            found=wanted,
            todo="set ollama_models_dir to the server's OLLAMA_MODELS, and ollama_method to store",
            option="ollama_method",
        )
    return STORE


def _find_command() -> str | None:
    from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_cli import find_command

    return find_command()
