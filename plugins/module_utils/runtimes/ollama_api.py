# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of one Ollama server, as Ollama 0.32.15 speaks (and 0.16.2 and later)."""
from __future__ import annotations

import re
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.http_probe import Answer, ProbeFailed
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef, fold_name
from ansible_collections.venom.llm.plugins.module_utils.runtimes import ollama_http
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_errors import refusal, said, scrub, unreachable
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_pull import Progress, Pull, Wish, try_again
from ansible_collections.venom.llm.plugins.module_utils.waiting import WaitTimeout, wait_for

DEFAULT_URL = "http://127.0.0.1:11434"
#: Under the 30 s after which the server itself takes a part for stalled and throws away what it has of it; ending the request before
#: keeps it (recorded: 20 MB of 51 fetched again after 31 s, none after a client that left).
STALL_TIMEOUT = 25.0
#: Deleting and copying work on files of many GB.
_FILE_TIMEOUT = 120.0
#: What each question for an unload gets, also where no time is left.
_LEAST_TIMEOUT = 1.0
_BUSY = "so requests are being answered, or new ones came"
_FROM = re.compile(r"(?m)^FROM \S.*\bsha256-([0-9a-f]{64})$")
_HEX = re.compile(r"\A(?:sha256:)?([0-9a-f]{64})\Z")


@dataclass(frozen=True)
class ServedModel:
    """An entry of /api/tags. ``digest`` is ``sha256:<hex>`` of the manifest, ``size`` the bytes that the manifest names."""

    name: str
    digest: str
    size: int
    details: t.Mapping[str, t.Any] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadedModel:
    """An entry of /api/ps: a model in memory, maybe an older one than the store has under that name. Sizes in bytes."""

    name: str
    digest: str
    size: int
    size_vram: int
    expires_at: str
    context_length: int


class OllamaApi:
    """One server. Every method raises ``server_unreachable`` where no Ollama server answers as one does."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        timeout: float = 10.0,
        stall_timeout: float = STALL_TIMEOUT,
        retries: int = 5,
        ca_path: str | None = None,
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        """``timeout`` in seconds bounds a short answer; ``stall_timeout`` and ``retries`` are for pulls. Raises ``invalid_option``."""
        self.url = ollama_http.ServerUrl.parse(url)
        self._timeout = timeout
        self._stall_timeout = stall_timeout
        self._retries = retries
        self._ca_path = ca_path
        self._clock = clock
        self._sleep = sleep

    def version(self) -> str:
        """The server's version, which it gives when it is ready; its port takes connections before that."""
        wanted = f"an Ollama server at {self.url}"
        version = self._get("/api/version", wanted).get("version")
        if not isinstance(version, str) or not version:
            raise unreachable(self.url, wanted, "no version in the answer to /api/version")
        return scrub(version)

    def is_up(self) -> bool:
        """Whether the server is ready."""
        try:
            self.version()
        except VenomError:
            return False
        return True

    def models(self) -> tuple[ServedModel, ...]:
        """What the server has. A model whose files it cannot read is left out, by it and by us."""
        return tuple(
            ServedModel(name, digest, _number(entry, "size"), _mapping(entry.get("details")), _words(entry.get("capabilities")))
            for entry, name, digest in self._listed("/api/tags", f"the models of the Ollama server at {self.url}")
        )

    def find(self, ref: ModelRef) -> ServedModel | None:
        """The model under whatever spelling the server has it."""
        return self.find_name(str(ref))

    def find_name(self, name: str) -> ServedModel | None:
        """The same for a name with a port, ``127.0.0.1:5000/library/tiny``, which is no ``ModelRef``."""
        return next((model for model in self.models() if fold_name(model.name) == fold_name(name)), None)

    def loaded(self) -> tuple[LoadedModel, ...]:
        """What the server has in memory."""
        return tuple(
            LoadedModel(
                name,
                digest,
                _number(entry, "size"),
                _number(entry, "size_vram"),
                str(entry.get("expires_at", "")),
                _number(entry, "context_length"),
            )
            for entry, name, digest in self._listed("/api/ps", f"the loaded models of the Ollama server at {self.url}")
        )

    def show(self, name: str) -> dict[str, t.Any]:
        """What /api/show says of a model. Raises ``not_installed``, ``io_error``."""
        wanted = f"the description of {name}"
        answer = self._ask("POST", "/api/show", wanted, {"model": name}, self._timeout)
        if answer.status != 200:
            raise refusal(self.url, answer, wanted, name)
        return self._object(answer, wanted)

    def weights(self, name: str) -> str:
        """``sha256:<hex>`` of the file with the weights, by which the server knows what it has in memory; empty where it does not tell."""
        modelfile = self.show(name).get("modelfile")
        found = _FROM.search(modelfile) if isinstance(modelfile, str) else None
        return f"sha256:{found.group(1)}" if found else ""

    def has_blob(self, digest: Digest) -> bool:
        """Whether the server has a content whole, so that a pull does not fetch it. One that does not say counts as one that has not."""
        answer = self._ask("HEAD", f"/api/blobs/{digest}", f"whether the Ollama server at {self.url} has {digest}", None, self._timeout)
        return answer.status == 200

    def copy(self, source: str, destination: str) -> None:
        """Give a model a second name, also over an existing one. Raises ``not_installed``, ``invalid_name``, ``permission_denied``."""
        wanted = f"{source} copied to {destination}"
        answer = self._ask("POST", "/api/copy", wanted, {"source": source, "destination": destination}, _FILE_TIMEOUT)
        if answer.status != 200:
            raise refusal(self.url, answer, wanted, source)

    def delete(self, name: str) -> bool:
        """Remove a model; False when the server has none of that name. It stays in memory if it is: unload it first.

        Raises ``permission_denied`` and ``io_error``; the model may then be half gone: unlisted, with its blobs still there.
        """
        wanted = f"{name} removed by the Ollama server"
        answer = self._ask("DELETE", "/api/delete", wanted, {"model": name}, _FILE_TIMEOUT)
        if answer.status == 404 and said(answer) is not None:
            return False
        if answer.status != 200:
            remark = "the model may be half gone, unlisted with its blobs still on the disk" if answer.status >= 500 else ""
            raise refusal(self.url, answer, wanted, name, remark)
        return True

    def load(self, name: str, timeout: float = 600.0) -> None:
        """Bring a model into memory, at most ``timeout`` seconds. Raises ``not_installed``, and ``io_error`` when it cannot be loaded."""
        wanted = f"{name} loaded"
        answer = self._ask("POST", "/api/generate", wanted, {"model": name, "stream": False}, timeout)
        if answer.status != 200:
            raise refusal(self.url, answer, wanted, name)

    def unload(self, name: str, timeout: float = 60.0) -> bool:
        """Take a model out of memory and wait until it is; False when the server knows none of that name.

        A model that was deleted while it was loaded is such a one: nothing but its expiry or a restart unloads it. Raises
        ``model_active`` when requests keep it in memory for longer than ``timeout`` seconds.
        """
        ends = self._clock() + timeout
        if not self.release(name, max(self._timeout, timeout)):
            return False
        self.wait_gone(lambda model: fold_name(model.name) == fold_name(name), ends - self._clock())
        return True

    def unload_all(self, names: t.Mapping[str, str], timeout: float) -> None:
        """Take models, which are names by digest, out of memory within ``timeout`` seconds for all of them, at least one for each question.

        Every one is asked for, whatever became of those before: the server gives no answer for one that it is loading still, and the
        others are to have the time that is left. Raises ``model_active`` for what stays, or else what the server refused with.
        """
        begun = self._clock()
        silent: list[VenomError] = []
        refused: dict[str, VenomError] = {}
        for number, (digest, name) in enumerate(names.items()):
            share = (begun + timeout - self._clock()) / (len(names) - number)
            try:
                self.release(name, max(_LEAST_TIMEOUT, share))
            except VenomError as error:
                if error.reason_code == "server_unreachable":
                    silent.append(error)
                else:
                    refused[digest] = error
        spent = self._clock() - begun
        try:
            self.wait_gone(
                lambda model: model.digest in names and model.digest not in refused,
                timeout - spent,
                spent,
                "; ".join(dict.fromkeys(error.found for error in silent)) or _BUSY,
            )
        except VenomError:
            if not refused:
                raise
        for refusing in refused.values():
            raise refusing

    def release(self, name: str, timeout: float) -> bool:
        """Have the server drop a model once its requests have ended, without waiting for that; False when it knows none of that name."""
        wanted = f"{name} unloaded"
        answer = self._ask("POST", "/api/generate", wanted, {"model": name, "keep_alive": 0, "stream": False}, timeout)
        if answer.status == 404 and said(answer) is not None:
            return False
        if answer.status != 200:
            raise refusal(self.url, answer, wanted, name)
        return True

    def wait_gone(self, is_it: t.Callable[[LoadedModel], bool], timeout: float, spent: float = 0.0, remark: str = _BUSY) -> None:
        """Wait until no such model is in memory. Raises ``model_active`` after ``timeout`` seconds, which follow ``spent`` ones."""
        left: list[str] = []

        def state() -> str:
            left[:] = [model.name for model in self.loaded() if is_it(model)]
            return "loaded" if left else "gone"

        try:
            wait_for(state, ("gone",), ("loaded",), timeout, 0.2, self._clock, self._sleep)
        except WaitTimeout as error:
            names = ", ".join(left)
            raise VenomError(
                "model_active",
                wanted=f"{names} unloaded",
                found=f"{names} is still in memory after {spent + error.waited:.0f} s, {remark}",
                todo="stop its clients and try again, or restart the server",
                model=names,
            ) from error

    def pull(self, name: str, insecure: bool = False, progress: Progress | None = None, deadline: float | None = None) -> None:
        """Have the server fetch a model; it goes on where an earlier pull ended. ``insecure`` lets it use plain http.

        A failure that may pass, a stall and a stream that is cut are tried again ``retries`` times, counted anew after each try that
        brought bytes; ``deadline`` in seconds bounds it all. Returns only after the server's own word of success, which does not say
        whether anything changed: compare digests. It is no repair: blobs that were there are not looked at. Raises what
        ``ollama_errors.classify`` knows, ``deadline_exceeded``, and what ``progress`` raises.
        """
        ends = None if deadline is None else self._clock() + deadline
        wish = Wish(name, insecure, f"{name} pulled by the Ollama server at {self.url}", ends)
        pull = Pull(wish, self.url, self._timeout, self._stall_timeout, progress, self._ca_path, self._clock)
        try_again(pull, wish, self._retries, self._clock, self._sleep)

    def _listed(self, path: str, wanted: str) -> t.Iterator[tuple[dict[str, t.Any], str, str]]:
        entries = self._get(path, wanted).get("models")
        if entries is not None and not isinstance(entries, list):
            raise unreachable(self.url, wanted, f"no list of models in the answer to {path}")
        for entry in entries or ():
            if isinstance(entry, dict):
                name = entry.get("name") or entry.get("model")
                digest = _HEX.match(str(entry.get("digest")))
                if isinstance(name, str) and digest:
                    yield entry, name, f"sha256:{digest.group(1)}"

    def _get(self, path: str, wanted: str) -> dict[str, t.Any]:
        answer = self._ask("GET", path, wanted, None, self._timeout)
        if answer.status != 200:
            raise refusal(self.url, answer, wanted)
        return self._object(answer, wanted)

    def _object(self, answer: Answer, wanted: str) -> dict[str, t.Any]:
        try:
            content = answer.json()
        except (ProbeFailed, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise unreachable(self.url, wanted, f"an answer that is no JSON object: {scrub(answer.text(120))}")
        return content

    def _ask(self, method: str, path: str, wanted: str, body: t.Any, timeout: float) -> Answer:
        try:
            return ollama_http.ask(self.url, method, path, body, timeout, self._ca_path)
        except ProbeFailed as error:
            raise unreachable(self.url, wanted, scrub(str(error))) from error


def _number(entry: t.Mapping[str, t.Any], key: str) -> int:
    value = entry.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _mapping(value: t.Any) -> dict[str, t.Any]:
    return value if isinstance(value, dict) else {}


def _words(value: t.Any) -> tuple[str, ...]:
    return tuple(word for word in value if isinstance(word, str)) if isinstance(value, list) else ()
