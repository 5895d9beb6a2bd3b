# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files hold the weights that a runtime loads, and how many bytes of which type they are."""
from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils.config_values import Config, mapping, text, text_part
from ansible_collections.venom.llm.plugins.module_utils.model_files import ModelFiles
from ansible_collections.venom.llm.plugins.module_utils.safetensors_header import count_elements

_INDEX = "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth")
#: A file of several that hold one GGUF model (llama.cpp, llama_split_path).
_SHARD = re.compile(r"(?P<model>.+)-\d{5}-(?P<count>of-\d{5})\.gguf", re.IGNORECASE)
_FORMATS = {".safetensors": "safetensors", ".gguf": "gguf", ".bin": "pickle", ".pt": "pickle", ".pth": "pickle", ".onnx": "onnx"}
#: Names of config.json (torch) by those of safetensors.
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Weights:
    """``size`` in bytes on disk; ``elements`` by their safetensors type, empty where no header was read; ``dtype`` as torch calls it."""

    size: int
    paths: tuple[str, ...]
    elements: t.Mapping[str, int] = field(default_factory=dict)
    dtype: str | None = None

    @property
    def parameters(self) -> int | None:
        """Elements of all tensors, packed ones as they are stored."""
        return sum(self.elements.values()) if self.elements else None


def formats_of(paths: t.Iterable[str]) -> tuple[str, ...]:
    """The formats of weights among files."""
    return tuple(sorted({_FORMATS[suffix] for suffix in (os.path.splitext(path)[1].lower() for path in paths) if suffix in _FORMATS}))


def weights_of(files: ModelFiles) -> Weights | None:
    """The weights of a model, None where there are none. Copies in other formats and in subfolders are not counted."""
    paths = _safetensors(files) or _one_gguf(files.with_suffix(".gguf")) or [path for path in files.sizes if path.endswith(_PICKLES)]
    if not paths:
        return None
    elements: dict[str, int] = {}
    for path in paths:
        header = files.tensors(path)
        if header is None:
            elements = {}
            break
        for name, tensor in header.items():
            if name != "__metadata__":
                elements[tensor["dtype"]] = elements.get(tensor["dtype"], 0) + count_elements(tensor["shape"])
    config = files.json("config.json")
    return Weights(sum(files.sizes[path] for path in paths), tuple(paths), elements, _dtype(config, elements))


def _safetensors(files: ModelFiles) -> list[str]:
    named = mapping(files.json(_INDEX), "weight_map")
    listed = sorted({shard for shard in named.values() if isinstance(shard, str) and shard in files.sizes})
    if listed:
        return listed
    everything = files.with_suffix(".safetensors")
    top = [path for path in everything if "/" not in path]
    # Mistral ships its weights twice, once for its own program.
    plain = [path for path in top if not path.startswith("consolidated")]
    return plain or top or everything


def _one_gguf(paths: t.Sequence[str]) -> list[str]:
    """A repository of GGUF files has the same model in many sizes; a runtime loads one of them. Which, nobody has said, so the first,
    with all of its shards.
    """
    kin = _kin(paths[0]) if paths else None
    return list(paths[:1]) if kin is None else [path for path in paths if _kin(path) == kin]


def _kin(path: str) -> tuple[str, str] | None:
    """What shards of one model have in common; None for a file that is no shard."""
    match = _SHARD.fullmatch(path)
    return None if match is None else (match["model"], match["count"].lower())


def _dtype(config: Config, elements: t.Mapping[str, int]) -> str | None:
    told = text(config, "torch_dtype", "dtype") or text(text_part(config), "torch_dtype", "dtype")
    if told is not None:
        return told.replace("torch.", "")
    floats = {DTYPES[kind]: count for kind, count in elements.items() if kind in DTYPES}
    return max(floats, key=lambda kind: floats[kind]) if floats else None
