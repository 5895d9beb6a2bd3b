# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cost of installing a model with every byte verified, beside ``hf download`` (which verifies none) and ``curl | sha256sum``, in one run.

    make bench        # or: python tests/bench/install.py --rounds 3 --gib 2

A model in 1, 4 and 16 files from the lab's hub, then an Ollama model from the lab's registry by method ``store``, beside the pull of the
lab's stand-in for an Ollama server. Servers run in processes of their own on loopback and have their files in the page cache; before each
measurement the last target is removed and everything is synced. After each the bytes are compared; wrong ones end the run with status 1.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import sys
import time
import typing as t
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import support  # noqa: E402
from bench.support import GIB, MIB, Cost, Median, Wrong, digests, emptied, need  # noqa: E402

from lab.models import ollama_layers  # noqa: E402
from lab.ollama import OllamaServer  # noqa: E402

LAYOUTS = (1, 4, 16)
VENOM, HF, PULL = "venom_model", "hf download", "stand-in's pull"
#: Where sha256sum is a plain C loop, it is slower than the line; OpenSSL uses what the processor has, as Python does.
HASHING = {"curl | sha256sum": ["sha256sum"], "curl | openssl dgst": ["openssl", "dgst", "-sha256", "-r"]}
CURL = next(iter(HASHING))
HF_SETTINGS = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_XET": "1",
}


class Curl:
    """Everything through one stream, hashed, kept nowhere: the least that a verified transfer costs."""

    def __init__(self, scratch: Path, urls: t.Sequence[str], paths: t.Sequence[Path]) -> None:
        self._scratch = scratch
        self._urls = urls
        sha256 = hashlib.sha256()
        for path in paths:
            with open(path, "rb") as stream:
                for block in iter(partial(stream.read, MIB), b""):
                    sha256.update(block)
        self._digest = sha256.hexdigest()

    def contenders(self) -> dict[str, t.Callable[[], Cost]]:
        """With each program that hashes; OpenSSL's may not be here."""
        return {name: partial(self._measure, command) for name, command in HASHING.items() if shutil.which(command[0])}

    def _measure(self, command: list[str]) -> Cost:
        os.sync()
        cost, output = support.run(["curl", "--fail", "--silent", "--show-error", "--location", *self._urls], command, scratch=self._scratch)
        need(output.split()[0] == self._digest, f"curl | {command[0]} has other bytes")
        return cost


class HuggingFace:
    """A model of the hub."""

    def __init__(self, scratch: Path, hub: dict[str, t.Any], name: str, source: Path) -> None:
        self._scratch, self._hub, self._name = scratch, hub, name
        self._wanted = digests(source)
        self._target = support.filled(scratch / "target", support.size_of(source))
        files = sorted(self._wanted)
        self._curl = Curl(scratch, [f"{hub['url']}/{name}/resolve/main/{path}" for path in files], [source / path for path in files])

    def contenders(self) -> dict[str, t.Callable[[], Cost]]:
        """What is compared."""
        return {VENOM: self.install, HF: self.download, **self._curl.contenders()}

    def install(self) -> Cost:
        """Verified, by the operation of venom_model."""
        target = emptied(self._target)
        allowed = [urlsplit(self._hub["cdn_url"]).netloc]
        cost, result = support.operate(self._scratch, name=self._name, models_dir=str(target), endpoint=self._hub["url"], allowed_hosts=allowed)
        need(digests(Path(result["models"][0]["local_path"])) == self._wanted, "venom_model installed other bytes")
        return cost

    def download(self) -> Cost:
        """By the client of the hub, with a cache of its own."""
        target = emptied(self._target)
        settings = dict(HF_SETTINGS, HF_ENDPOINT=self._hub["url"], HF_HOME=str(target / "home"))
        command = [str(Path(sys.executable).with_name("hf")), "download", self._name, "--local-dir", str(target / "model")]
        cost, dummy = support.run(command, scratch=self._scratch, **settings)
        shutil.rmtree(target / "model" / ".cache")
        need(digests(target / "model") == self._wanted, "hf download has other bytes")
        return cost


class Ollama:
    """A model of the registry."""

    def __init__(self, scratch: Path, registry: dict[str, t.Any], source: Path) -> None:
        self._scratch, self._registry = scratch, registry
        self._wanted = digests(source / "blobs")
        self._target = support.filled(scratch / "target", support.size_of(source))
        files = sorted(self._wanted)
        urls = [f"{registry['url']}/v2/library/bench/blobs/{name.replace('-', ':')}" for name in files]
        self._curl = Curl(scratch, urls, [source / "blobs" / name for name in files])

    def contenders(self) -> dict[str, t.Callable[[], Cost]]:
        """What is compared."""
        return {VENOM: self.install, PULL: self.pull, **self._curl.contenders()}

    def install(self) -> Cost:
        """Verified, by the operation of venom_model, straight into a store that no server has open."""
        target = emptied(self._target)
        cost, result = support.operate(
            self._scratch,
            name="bench",
            provider="ollama",
            models_dir=str(target / "models"),
            registry=self._registry["url"],
            allowed_hosts=[urlsplit(self._registry["cdn_url"]).netloc],
            ollama_method="store",
            ollama_models_dir=str(target / "store"),
            ollama_url="http://127.0.0.1:9",
        )
        need(result["changed"], "venom_model installed nothing")
        self._check(target / "store")
        return cost

    def pull(self) -> Cost:
        """By a stand-in for the server, started before; the processor time and memory are the server's."""
        target = emptied(self._target)
        name = f"{urlsplit(self._registry['url']).netloc}/library/bench"
        with OllamaServer(target) as server:
            pid = server.pid
            if pid is None:
                raise Wrong("the stand-in did not start")
            cpu = support.cpu_of(pid)
            began = time.perf_counter()
            parts = urlsplit(server.url)
            connection = http.client.HTTPConnection(str(parts.hostname), parts.port)
            connection.request("POST", "/api/pull", json.dumps({"model": name, "insecure": True}))
            lines = connection.getresponse().read().splitlines()
            seconds = time.perf_counter() - began
            os.sync()
            cost = Cost(seconds, time.perf_counter() - began, support.cpu_of(pid) - cpu, support.peak_of(pid))
            connection.close()
        need(lines and json.loads(lines[-1]) == {"status": "success"}, f"the pull failed: {lines[-1:]}")
        self._check(target)
        return cost

    def _check(self, store: Path) -> None:
        need(digests(store / "blobs") == self._wanted, "the store has other bytes")


def make_ollama_model(folder: Path, gib: float) -> None:
    """A folder as Ollama writes one, with the model bench."""
    config, layers = ollama_layers(folder, gib * GIB / 1e6)
    (folder / "config").write_text(json.dumps(config), encoding="utf-8")
    blobs = folder / "blobs"
    blobs.mkdir()
    described = []
    for media_type, path in (("application/vnd.docker.container.image.v1+json", folder / "config"), *layers):
        with open(path, "rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        described.append({"mediaType": media_type, "digest": f"sha256:{sha256}", "size": path.stat().st_size})
        path.rename(blobs / f"sha256-{sha256}")
    manifest = folder / "manifests" / "registry.ollama.ai" / "library" / "bench" / "latest"
    manifest.parent.mkdir(parents=True)
    media_type = "application/vnd.docker.distribution.manifest.v2+json"
    manifest.write_text(json.dumps({"schemaVersion": 2, "mediaType": media_type, "config": described[0], "layers": described[1:]}), encoding="utf-8")


def rows(what: str, found: dict[str, Median]) -> list[list[str]]:
    """Lines of the table. Ratios are of medians of the seconds."""
    rival = next(name for name in found if name in (HF, PULL))
    return [
        [
            what,
            name,
            f"{cost.seconds:.2f}",
            f"{cost.least:.2f}",
            f"{cost.most:.2f}",
            f"{cost.synced:.2f}",
            f"{cost.cpu:.2f}",
            f"{cost.peak / MIB:.0f}",
            f"{cost.seconds / found[rival].seconds:.2f}",
            f"{cost.seconds / found[CURL].seconds:.2f}",
        ]
        for name, cost in found.items()
    ]


def main() -> None:
    """Measure and print."""
    arguments = support.parse(__doc__, rounds=3)
    table: list[list[str]] = []
    with support.scratch_folder(arguments.folder) as scratch:
        for files in LAYOUTS:
            # One layout after the other, so that the disk holds two models at most.
            root = scratch / "hub"
            support.make_model(root / "bench" / "model", files, int(arguments.gib * GIB))
            support.make_model(root / "bench" / "tiny", 1, MIB)
            with support.serving(scratch, "hub", "serve", "--root", str(root), "--cdn-host", "127.0.0.2") as hub, ExitStack() as cleaning:
                cleaning.callback(shutil.rmtree, root)
                for warm in HuggingFace(scratch, hub, "bench/tiny", root / "bench" / "tiny").contenders().values():
                    warm()
                model = HuggingFace(scratch, hub, "bench/model", root / "bench" / "model")
                found = support.rounds(model.contenders(), arguments.rounds)
            table += rows(f"hub, {files} file{'s' if files > 1 else ''}", found)
        make_ollama_model(scratch / "registry", arguments.gib)
        with support.serving(scratch, "registry", "serve", "--models", str(scratch / "registry")) as registry:
            table += rows("registry", support.rounds(Ollama(scratch, registry, scratch / "registry").contenders(), arguments.rounds))
    print(f"{arguments.gib:g} GiB, {arguments.rounds} rounds, {os.cpu_count()} cores; medians of one run, seconds with their range")
    support.show(("source", "who", "seconds", "min", "max", "synced", "CPU s", "peak MiB", "to rival", "to curl"), table)
    print("to rival: seconds as a ratio to hf download, in the last lines to the stand-in's pull. synced: with everything on the disk.")


if __name__ == "__main__":
    try:
        main()
    except Wrong as error:
        raise SystemExit(f"{Path(__file__).name}: {error}") from error
