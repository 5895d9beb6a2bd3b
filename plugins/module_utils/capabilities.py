# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model can do, from the evidence of its files; what they do not tell is null, never a guess from the name.

The facts' places: ``max_position_embeddings``, ``quantization_config.quant_method`` and ``architectures`` in config.json
(transformers, PretrainedConfig), ``chat_template`` in tokenizer_config.json or chat_template.jinja beside it (transformers,
chat templates), ``model_max_length`` in tokenizer_config.json, tensors and shapes in the safetensors header (safetensors, format).
"""
from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils.files import read_json, safe_join
from ansible_collections.venom.llm.plugins.module_utils.safetensors_header import count_elements, read_safetensors_header

#: A configuration above this many bytes is not read.
MAX_CONFIG_BYTES = 64 * 1024 * 1024

#: Every capability of a record with its type. Those that this version has no evidence for are null until they are declared.
CAPABILITY_TYPES = {
    "architectures": "list",
    "has_chat_template": "bool",
    "max_context_length": "int",
    "quantization": "str",
    "generation_parameters": "dict",
    "supports_system_role": "bool",
    "allowed_roles": "list",
    "requires_alternation": "bool",
    "supports_tools": "bool",
    "supports_thinking": "bool",
    "supports_structured_outputs": "bool",
    "prompt_template": "str",
}

_FORMAT_OF_SUFFIX = {".safetensors": "safetensors", ".gguf": "gguf", ".bin": "pickle", ".pt": "pickle", ".pth": "pickle", ".onnx": "onnx"}
_GENERATION_KEYS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens")


@dataclass(frozen=True)
class Facts:
    """What the files of a snapshot say. ``parameters`` counts tensor elements, packed ones as they are stored."""

    formats: tuple[str, ...] = ()
    parameters: int | None = None
    quantization: str | None = None
    detected: dict[str, t.Any] = field(default_factory=dict)

    def capabilities(self, declared: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Each capability with its value and source; what an operator declared wins, what nobody knows has no source."""
        known: dict[str, t.Any] = {}
        for name in CAPABILITY_TYPES:
            if name in declared:
                known[name] = {"value": declared[name], "source": "declared"}
            else:
                value = self.detected.get(name)
                known[name] = {"value": value, "source": None if value is None else "detected"}
        return known


def read_facts(snapshot: str, paths: t.Sequence[str]) -> Facts:
    """Read the facts from a published snapshot. Files that are missing, malformed or oversized tell nothing."""
    config = _read_object(snapshot, "config.json", paths)
    tokenizer = _read_object(snapshot, "tokenizer_config.json", paths)
    generation = _read_object(snapshot, "generation_config.json", paths)
    text_config = config.get("text_config")
    context = _first_int(config, "max_position_embeddings", "n_positions", "seq_length")
    if context is None and isinstance(text_config, dict):
        context = _first_int(text_config, "max_position_embeddings")
    quantization_config = config.get("quantization_config")
    method = quantization_config.get("quant_method") if isinstance(quantization_config, dict) else None
    quantization = method if isinstance(method, str) else None
    architectures = config.get("architectures")
    detected: dict[str, t.Any] = {
        "architectures": architectures if isinstance(architectures, list) else None,
        "max_context_length": context,
        "quantization": quantization,
        "has_chat_template": _has_chat_template(tokenizer, paths),
        "generation_parameters": {key: generation[key] for key in _GENERATION_KEYS if key in generation} or None,
    }
    formats = sorted({_FORMAT_OF_SUFFIX[suffix] for suffix in (os.path.splitext(path)[1] for path in paths) if suffix in _FORMAT_OF_SUFFIX})
    return Facts(tuple(formats), count_parameters(snapshot, paths), quantization, detected)


def _has_chat_template(tokenizer: t.Mapping[str, t.Any], paths: t.Sequence[str]) -> bool | None:
    if "chat_template.jinja" in paths or tokenizer.get("chat_template"):
        return True
    # Without a tokenizer configuration there is no evidence either way.
    return False if tokenizer else None


def _read_object(snapshot: str, name: str, paths: t.Sequence[str]) -> dict[str, t.Any]:
    if name not in paths:
        return {}
    path = safe_join(snapshot, name)
    try:
        if os.path.getsize(path) > MAX_CONFIG_BYTES:
            return {}
        value = read_json(path)
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _first_int(config: t.Mapping[str, t.Any], *keys: str) -> int | None:
    for key in keys:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def count_parameters(snapshot: str, paths: t.Sequence[str]) -> int | None:
    """Elements of all tensors in the safetensors files, or None when there are none or a header is unreadable."""
    total = 0
    weights = [path for path in paths if path.endswith(".safetensors")]
    for path in weights:
        try:
            header = read_safetensors_header(safe_join(snapshot, path))
        except (OSError, ValueError):
            return None
        for name, tensor in header.items():
            if name != "__metadata__":
                total += count_elements(tensor["shape"])
    return total if weights else None
