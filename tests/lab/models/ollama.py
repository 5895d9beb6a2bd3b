# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tiny model in the parts that Ollama keeps: a config, and layers of weights, template and parameters."""
from __future__ import annotations

import hashlib
import json
import typing as t
from pathlib import Path

from lab.models.tiny_gguf import gguf

CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
MODEL_TYPE = "application/vnd.ollama.image.model"
TEMPLATE_TYPE = "application/vnd.ollama.image.template"
PARAMS_TYPE = "application/vnd.ollama.image.params"
_TEMPLATE = "{{ if .System }}{{ .System }}\n{{ end }}{{ .Prompt }}"
_BLOCK = 1 << 20


def ollama_config(diff_ids: t.Iterable[str]) -> dict[str, t.Any]:
    """The config of a small GGUF model, as ``ollama create`` writes one."""
    return {
        "model_format": "gguf",
        "model_family": "llama",
        "model_families": ["llama"],
        "model_type": "16.9K",
        "file_type": "F32",
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
    }


def _digest(path: Path) -> str:
    sha256 = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            sha256.update(block)
    return "sha256:" + sha256.hexdigest()


def ollama_layers(folder: str | Path, pad_mb: float = 0, seed: int = 1) -> tuple[dict[str, t.Any], list[tuple[str, Path]]]:
    """Write the layers of a model into a folder; return its config and the layers (media type, file), the weights first.

    ``pad_mb`` is in MB (10**6). Another ``seed`` gives other weights and parameters, but the same template: models share that blob.
    """
    folder = Path(folder)
    weights = gguf(folder, name="model", seed=f"{seed} ", pad_mb=pad_mb) / "model.gguf"
    template, params = folder / "template", folder / "params"
    template.write_text(_TEMPLATE, encoding="utf-8")
    params.write_text(json.dumps({"num_ctx": 256, "seed": seed}, separators=(",", ":")), encoding="utf-8")
    layers = [(MODEL_TYPE, weights), (TEMPLATE_TYPE, template), (PARAMS_TYPE, params)]
    return ollama_config(_digest(path) for dummy, path in layers), layers
