# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A managed host with both runtimes: the stand-in of vLLM, and that of Ollama below a link to its version."""
from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import typing as t
import urllib.request
from pathlib import Path

from ansible_collections.venom.llm.plugins.module_utils import activation, control
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.record import RuntimeRecord
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.runtime_fakes import FakeHost, free_port
from lab.ollama.samples import Sample, samples
from lab.ollama.server import ROOT

SAMPLES = samples()


def digest_of(sample: str) -> str:
    """As the server and the manifest name a model's bytes."""
    return "sha256:" + hashlib.sha256(SAMPLES[sample].manifest).hexdigest()


def refused(call: t.Callable[[], t.Any]) -> VenomError:
    """What a call fails with."""
    try:
        call()
    except VenomError as error:
        return error
    raise AssertionError("it did not fail")


class TwoRuntimes(FakeHost):
    """``call(name="ollama", ...)`` is a call for Ollama; without a name it is one for vLLM, as everywhere."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ollama_port = free_port()
        self.store_dir = root / "store"
        for version in ("1.0", "2.0"):
            self.add_version(version)
        (root / "ollama" / "current").symlink_to("1.0")
        self.write_ollama()

    def add_version(self, version: str, program: str = "") -> None:
        """A program of Ollama beside the others; it runs the stand-in unless it is told to do something else."""
        path = self.root / "ollama" / version / "bin" / "ollama"
        path.parent.mkdir(parents=True)
        path.write_text(program or f'#!/bin/sh\nexport PYTHONPATH={ROOT} LAB_OLLAMA_TIME_SCALE=0.01\nexec {sys.executable} -m lab.ollama.cli "$@"\n')
        path.chmod(0o755)

    def version(self) -> str:
        return os.readlink(self.root / "ollama" / "current")

    def write_ollama(self, **more: str) -> None:
        """The settings of Ollama."""
        values = {
            "VENOM_OLLAMA_BINARY": str(self.root / "ollama" / "current" / "bin" / "ollama"),
            "OLLAMA_HOST": f"127.0.0.1:{self.ollama_port}",
            "OLLAMA_MODELS": str(self.store_dir),
            "OLLAMA_NO_CLOUD": "1",
            "HOME": str(self.root / "home"),
        }
        (self.root / "home").mkdir(exist_ok=True)
        values.update(more)
        (self.root / "config" / "ollama.env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    def store(self, sample: str, name: str, **more: t.Any) -> None:
        """A sample in the store under a name, and in the manifest unless ``installed`` is false."""
        content: Sample = SAMPLES[sample]
        for kind, data in content.content.items():
            path = self.store_dir / "blobs" / f"sha256-{content.digest(kind)}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        model, dummy, tag = name.partition(":")
        path = self.store_dir / "manifests" / "registry.ollama.ai" / "library" / model / (tag or "latest")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.manifest)
        if more.pop("installed", True):
            fields: dict[str, t.Any] = {
                "name": name, "provider": "ollama", "runtime": "ollama", "revision": digest_of(sample), "requested_revision": None,
                "alias": None, "local_path": str(self.store_dir), "size_bytes": content.size, "files": (), "sha256": "0" * 64,
                "installed_at": "2026-01-01T00:00:00+00:00", **more,
            }  # fmt: skip
            Manifest.load(str(self.root / "models")).merge(Entry(**fields)).save()

    def ollama(self, state: str = "active", check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """One call for Ollama."""
        return self.call(check_mode, name="ollama", state=state, **options)

    def both(self, **options: t.Any) -> dict[str, t.Any]:
        """The status of each runtime."""
        info = {"name": None, "probe": False, "probe_timeout": 10.0, "alert_percent": 100.0, **options}
        return t.cast("dict[str, t.Any]", control.inspect(self.params(**info))["runtimes"])

    def ask(self, path: str, body: t.Any = None, method: str | None = None) -> t.Any:
        """One request to Ollama; None for an answer without a body."""
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.ollama_port}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def fault(self, **fault: t.Any) -> None:
        """Something that shall go wrong in Ollama; nothing clears it."""
        self.ask("/_lab/faults", fault or None, "POST" if fault else "DELETE")

    def names(self) -> dict[str, str]:
        """Names of Ollama's models with their digests."""
        return {model["name"]: f"sha256:{model['digest']}" for model in self.ask("/api/tags")["models"]}

    def loaded(self) -> list[str]:
        """Digests of what Ollama has in memory."""
        return sorted(f"sha256:{model['digest']}" for model in self.ask("/api/ps")["models"])

    def says(self, model: str) -> str:
        """What Ollama answers to a client that asks for a model."""
        body = {"model": model, "messages": [{"role": "user", "content": "Who?"}]}
        return str(self.ask("/v1/chat/completions", body)["choices"][0]["message"]["content"])

    def killed_at(self, point: str, **options: t.Any) -> None:
        """A call in a process of its own that gets SIGKILL at a point of the transaction; it has to get that far."""
        child = os.fork()
        if child == 0:
            try:
                KILL_POINTS[point]()
                self.call(**options)
            finally:
                os._exit(0)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise AssertionError(f"the call was not killed at {point}: {status}")

    def power_cut(self) -> None:
        """Every server dies, and what is volatile is gone."""
        for name in ("vllm", "ollama"):
            site = control.make_site(self.params(name=name))
            for pid in site.supervisor.pids():
                os.kill(pid, signal.SIGKILL)
            site.supervisor.stop(5.0)
        for path in (self.root / "run").glob("*"):
            path.unlink()

    def close(self) -> None:
        """Nothing runs any more."""
        for name in ("vllm", "ollama"):
            control.make_site(self.params(name=name)).supervisor.stop(2.0)


def _die(*dummy: object, **dummies: object) -> t.NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def _before(step: str) -> t.Callable[[], None]:
    def patch() -> None:
        activation.STEPS[step] = _die

    return patch


def _between_stop_and_start() -> None:
    activation.Server.start = _die  # type: ignore[method-assign]


def _between_the_writes_of_a_commit() -> None:
    commit = activation.STEPS["commit"]

    def dying(transaction: activation.Transaction) -> str:
        RuntimeRecord.change = _die  # type: ignore[method-assign]
        return commit(transaction)

    activation.STEPS["commit"] = dying


#: Where a run can be killed, and how that is brought about.
KILL_POINTS: dict[str, t.Callable[[], None]] = {
    "during drain": _before("drain"),
    "before switch": _before("switch"),
    "before start": _before("start"),
    "between stop and start": _between_stop_and_start,
    "before prove": _before("prove"),
    "before commit": _before("commit"),
    "between the writes of a commit": _between_the_writes_of_a_commit,
    "during rollback": _before("revert"),
}
