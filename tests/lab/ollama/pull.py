# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""POST /api/pull: a manifest, its blobs one after another, then the check and the manifest on disk."""
from __future__ import annotations

import os
import time
import typing as t

from lab.ollama.config import Config
from lab.ollama.download import Downloads
from lab.ollama.errors import Cancelled, GoError
from lab.ollama.faults import Faults
from lab.ollama.names import Name
from lab.ollama.registry_client import Context, Registry
from lab.ollama.store import MANIFEST_TYPE, Layer, Store, hash_file, parse_manifest

TICK = 0.06
Say = t.Callable[[t.Mapping[str, t.Any]], None]


class Puller:
    """Pulls of one server."""

    def __init__(self, store: Store, config: Config, faults: Faults) -> None:
        self.store, self.config, self.faults = store, config, faults
        self.downloads = Downloads(config)

    def pull(self, name: Name, insecure: bool, context: Context, say: Say) -> None:
        """Say every line but the last; GoError is the last line of a failure, Cancelled means that nobody listens."""
        say({"status": "pulling manifest"})
        registry = Registry(insecure, context)
        content = self._manifest(registry, name)
        manifest = parse_manifest(content)
        unused = self._replaced(name)
        failing = self.faults.take("pull_error")
        if failing is not None:
            raise GoError(failing.get("text", "boom"))
        fetched = []
        for layer in manifest.all:
            if self._blob(registry, name, layer, say):
                fetched.append(layer.digest)
            unused.discard(layer.digest)
        say({"status": "verifying sha256 digest"})
        for digest in fetched:
            self._verify(digest)
        say({"status": "writing manifest"})
        self.store.write(name, content)
        if unused:
            say({"status": "removing unused layers"})
            self.store.remove_unused(unused)
        say({"status": "success"})

    def _manifest(self, registry: Registry, name: Name) -> bytes:
        url = registry.url(name.host, "v2", name.namespace, name.model, "manifests", name.tag)
        try:
            with registry.ask("GET", url, accept=MANIFEST_TYPE) as answer:
                content = answer.read()
            parse_manifest(content)
            return content
        except GoError as exc:
            raise GoError(f"pull model manifest: {exc.text}") from None

    def _replaced(self, name: Name) -> set[str]:
        """Blobs of the manifest that this pull replaces; none if pruning is off or it cannot be read."""
        if self.config.booleans["OLLAMA_NOPRUNE"]:
            return set()
        try:
            return {layer.digest for layer in self.store.read(name).all}
        except GoError:
            return set()

    def _blob(self, registry: Registry, name: Name, layer: Layer, say: Say) -> bool:
        """Fetch a blob unless a file has its name: that one is taken as it is. True if it was fetched."""
        path = self.store.blob(layer.digest)
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            size = -1
        if size >= 0:
            say(_line(layer.digest, size, size))
            return False
        url = registry.url(name.host, "v2", name.namespace, name.model, "blobs", layer.digest)
        download = self.downloads.join(path, layer.digest, registry, url)
        try:
            while not download.done.wait(TICK):
                line = _line(layer.digest, download.total, download.completed)
                say(line)
                if "completed" in line:
                    self._stall(line, say)
        finally:
            self.downloads.leave(download)
        if download.error is not None:
            raise download.error
        return True

    def _stall(self, line: t.Mapping[str, t.Any], say: Say) -> None:
        fault = self.faults.take("pull_stall")
        if fault is not None:
            end = time.monotonic() + fault.get("seconds", 60)
            while time.monotonic() < end:
                time.sleep(TICK)
                say(line)

    def _verify(self, digest: str) -> None:
        path = self.store.blob(digest)
        found = hash_file(path)
        if found != digest:
            os.remove(path)
            raise GoError(f"digest mismatch, file must be downloaded again: want {digest}, got {found}")


def _line(digest: str, total: int, completed: int) -> dict[str, t.Any]:
    line: dict[str, t.Any] = {"status": f"pulling {digest[7:19]}", "digest": digest}
    if total:
        line["total"] = total
    if completed:
        line["completed"] = completed
    return line


def stop_when_gone(context: Context, say: Say) -> Say:
    """``say`` that raises Cancelled once the client has left."""

    def guarded(line: t.Mapping[str, t.Any]) -> None:
        if context.cancelled:
            raise Cancelled
        say(line)

    return guarded
