# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of an Ollama model: from its GGUF file in the store, or before it is there from the configuration that its registry gives."""
from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import load_json
from ansible_collections.venom.llm.plugins.module_utils.config_values import text, texts
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.gguf_header import check_gguf
from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts, gguf_facts
from ansible_collections.venom.llm.plugins.module_utils.model_quantization import quantization_of_gguf
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import MAX_MANIFEST_SIZE, OllamaManifest

MODEL, PROJECTOR = "application/vnd.ollama.image.model", "application/vnd.ollama.image.projector"
PARAMETERS, LICENSE = "application/vnd.ollama.image.params", "application/vnd.ollama.image.license"
#: Bytes of a configuration or of parameters that are read; real ones have some hundred.
MAX_SMALL = 1024 * 1024
_SIZE = re.compile(r"\A(\d{1,6}(?:\.\d{1,6})?)([KMBT])\Z")
_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def read_store_facts(root: str, manifest_path: str) -> ModelFacts | None:
    """From a store, by the path of a manifest from its root. None where something of it cannot be read."""
    try:
        with open(os.path.join(root, manifest_path), "rb") as stream:
            manifest = OllamaManifest.parse(stream.read(MAX_MANIFEST_SIZE + 1))
    except (OSError, VenomError):
        return None
    parameters: dict[str, t.Any] = {}
    model: str | None = None
    for layer in manifest.layers:
        path = os.path.join(root, "blobs", f"sha256-{layer.digest.hex}")
        if layer.media_type == PARAMETERS and layer.size <= MAX_SMALL:
            parameters = _object(path)
        elif layer.media_type == MODEL and model is None:
            model = path
    if model is None:
        return None
    try:
        facts = gguf_facts(check_gguf(model), weight_bytes(manifest), "gguf", parameters)
    except (OSError, ValueError):
        return None
    vision = any(layer.media_type == PROJECTOR for layer in manifest.layers)
    return ModelFacts(**{**facts.__dict__, "modality": "vision" if vision else facts.modality})


def weight_bytes(manifest: OllamaManifest) -> int:
    """Bytes of the weights: the model, and what brings pictures to it."""
    return sum(layer.size for layer in manifest.layers if layer.media_type in (MODEL, PROJECTOR))


def config_facts(manifest: OllamaManifest, content: bytes) -> ModelFacts:
    """From a manifest and its configuration, as a registry gives both. Layers and context stay unknown: only the GGUF file has them."""
    try:
        config = load_json(content[: MAX_SMALL + 1])
    except ValueError:
        config = {}
    config = config if isinstance(config, dict) else {}
    family = text(config, "model_family") or next(iter(texts(config, "model_families")), None)
    size = _SIZE.match((text(config, "model_type") or "").upper())
    kind, model_format = text(config, "file_type"), text(config, "model_format")
    return ModelFacts(
        formats=(model_format,) if model_format else (),
        architectures=(family,) if family else (),
        model_type=family,
        dtype=kind,
        parameters=int(float(size.group(1)) * _UNITS[size.group(2)]) if size else None,
        weight_bytes=weight_bytes(manifest) or None,
        quantization=quantization_of_gguf(kind),
        sources=dict.fromkeys(("formats", "architectures", "model_type", "dtype", "parameters", "weight_bytes", "quantization"), "registry"),
    )


def _object(path: str) -> dict[str, t.Any]:
    try:
        with open(path, "rb") as stream:
            value = load_json(stream.read(MAX_SMALL + 1))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
