# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three models as the recorded server had them: same layers, same config, a GGUF of our own; and a stage to play them on."""
from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import tempfile
import typing as t
from pathlib import Path

from lab.models.tiny_gguf import gguf
from lab.ollama.server import OllamaServer
from lab.ollama.store import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE
from lab.registry import Registry

LICENCE = b"Licence text of the test model.\n" * 40
TEMPLATE = b"{{ .System }} {{ .Prompt }}"
#: name: (system, parameters, size as told, length of embeddings, bytes of the GGUF)
_SAMPLES: dict[str, tuple[bytes, bytes, str, int, int]] = {
    "tiny": (b"You are a test.", b'{"stop":["\\u003c/s\\u003e","USER"],"temperature":0}\n', "120K", 64, 0),
    "mid": (b"You are mid.", b'{"stop":["\\u003c/s\\u003e"],"temperature":0}\n', "25.60M", 512, 1_000_000),
    "big": (b"You are big.", b'{"stop":["\\u003c/s\\u003e"],"temperature":0}\n', "127.10M", 1024, 2_542_640),
}
#: Smallest part of a download on the stage: the big model has three parts, as the recorded one.
PART_BYTES = 1_000_000


class Sample:
    """A model: its layers by kind, in the order of the manifest, the config last."""

    def __init__(self, name: str) -> None:
        system, parameters, told, embedding, size = _SAMPLES[name]
        config = {"model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "model_type": told, "file_type": "F16"}
        text = json.dumps({**config, "architecture": "amd64", "os": "linux"}, separators=(",", ":")) + "\n"
        self.name = name
        self.content = {
            "model": _gguf(name, embedding, size),
            "template": TEMPLATE,
            "system": system,
            "license": LICENCE,
            "params": parameters,
            "config": text.encode(),
        }

    def layers(self) -> list[tuple[str, bytes]]:
        """Media type and content of each layer, as Registry.add wants them."""
        return [(LAYER_TYPE + kind, content) for kind, content in self.content.items() if kind != "config"]

    def digest(self, kind: str) -> str:
        """sha256 of a layer, hex only."""
        return hashlib.sha256(self.content[kind]).hexdigest()

    @property
    def size(self) -> int:
        """Sum of all layers."""
        return sum(len(content) for content in self.content.values())

    @property
    def manifest(self) -> bytes:
        """As the real server writes it."""

        def entry(media_type: str, kind: str) -> dict[str, t.Any]:
            return {"mediaType": media_type, "digest": f"sha256:{self.digest(kind)}", "size": len(self.content[kind])}

        layers = [entry(LAYER_TYPE + kind, kind) for kind in self.content if kind != "config"]
        data = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": entry(CONFIG_TYPE, "config"), "layers": layers}
        return (json.dumps(data, separators=(",", ":")) + "\n").encode()

    def symbols(self) -> dict[str, str]:
        """Words of the recorded expectations and what they mean here."""
        found = {self.name: hashlib.sha256(self.manifest).hexdigest(), f"{self.name}.size": str(self.size)}
        found[f"{self.name}.manifest.size"] = str(len(self.manifest))
        for kind, content in self.content.items():
            found[f"{self.name}.{kind}"] = self.digest(kind)
            found[f"{self.name}.{kind}.size"] = str(len(content))
        return found


def _gguf(name: str, embedding: int, size: int) -> bytes:
    folder = Path(tempfile.mkdtemp(prefix="lab-gguf-"))
    try:
        data = (gguf(folder, name=name) / f"{name}.gguf").read_bytes()
    finally:
        shutil.rmtree(folder)
    key = b"llama.embedding_length" + struct.pack("<I", 4)
    data = data.replace(key + struct.pack("<I", 64), key + struct.pack("<I", embedding))
    filler = hashlib.shake_256(name.encode()).digest(max(0, size - len(data)))
    return data + filler


def samples() -> dict[str, Sample]:
    """All of them."""
    return {name: Sample(name) for name in _SAMPLES}


class Stage:
    """A registry that has the samples as library/NAME:latest, and a server with an empty folder; use as a context manager."""

    def __init__(self, folder: Path, env: t.Mapping[str, str] | None = None, user: int | None = None) -> None:
        self.samples = samples()
        self.models = folder / "models"
        self.registry = Registry()
        self.server = OllamaServer(self.models, env={"LAB_OLLAMA_PART_BYTES": str(PART_BYTES), **(env or {})}, user=user)

    def __enter__(self) -> Stage:
        self.registry.start()
        for name in self.samples:
            self.publish(name)
        self.server.start()
        return self

    def __exit__(self, *dummy: object) -> None:
        self.server.__exit__()
        self.registry.stop()

    def publish(self, name: str, repository: str | None = None) -> None:
        """Point library/NAME:latest (or that of another repository) at a sample."""
        sample = self.samples[name]
        repository = f"library/{repository or name}"
        for content in sample.content.values():
            self.registry.add_blob(repository, content)
        self.registry.add_manifest(repository, "latest", sample.manifest)

    def name(self, model: str) -> str:
        """A published sample as a model of the server."""
        return f"{self.registry.host}/library/{model}"

    def blob(self, symbol: str) -> Path:
        """The path of a layer, such as tiny.model."""
        name, dummy, kind = symbol.partition(".")
        return self.models / "blobs" / f"sha256-{self.samples[name].digest(kind)}"

    def manifest_path(self, name: str, tag: str = "latest", host: str = "registry.ollama.ai") -> Path:
        """The path of a manifest."""
        return self.models / "manifests" / host / "library" / name / tag

    def store(self, model: str, name: str | None = None, host: str = "registry.ollama.ai") -> Path:
        """Write a sample into the folder as another program would: blobs first, then the manifest by rename."""
        self.store_blobs(model)
        path = self.manifest_path(name or model, host=host)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.tmp")
        part.write_bytes(self.samples[model].manifest)
        os.replace(part, path)
        return path

    def store_blobs(self, model: str) -> None:
        """Only the blobs of a sample."""
        for kind, content in self.samples[model].content.items():
            path = self.blob(f"{model}.{kind}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def wipe(self) -> None:
        """Empty the folder, as if nothing had ever been there."""
        for folder in ("blobs", "manifests"):
            shutil.rmtree(self.models / folder, ignore_errors=True)
            (self.models / folder).mkdir(parents=True)

    def tree(self) -> dict[str, str]:
        """Files below the folder with their size (the content of part files), and folders that are empty."""
        found: dict[str, str] = {}
        for path in sorted(self.models.rglob("*")):
            key = path.relative_to(self.models).as_posix()
            if path.is_dir():
                if not any(path.iterdir()):
                    found[f"{key}/"] = ""
            elif "-partial-" in path.name:
                found[key] = path.read_text(encoding="utf-8").strip()
            else:
                found[key] = str(path.stat().st_size)
        return found

    def asked(self) -> list[str]:
        """What the registry was asked for since the last call, with the names of layers for digests; sorted."""
        known: dict[str, str] = {}
        for sample in self.samples.values():
            for key, value in sample.symbols().items():
                known.setdefault(value, key)
        found = []
        for entry in self.registry.log.entries():
            if entry.path.startswith(("/v2/", "/cdn/")):
                last = entry.path.rpartition("/")[2].partition("?")[0].rpartition(":")[2]
                where = "cdn" if entry.path.startswith("/cdn/") else entry.path.split("/")[-2]
                found.append(f"{entry.method} {where} {known.get(last, last)}")
        self.registry.log.clear()
        return sorted(found)

    def symbols(self) -> dict[str, str]:
        """Words of the recorded expectations and what they mean here."""
        found = {"registry": self.registry.host, "models": str(self.models), "nowhere": "127.0.0.1:1"}
        for sample in self.samples.values():
            found.update(sample.symbols())
        return found
