# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a repository's files a runtime loads."""
from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.model_files import ModelFiles
from ansible_collections.venom.llm.plugins.module_utils.model_weights import formats_of, weights_of

INDEX = "model.safetensors.index.json"


def files(sizes: dict[str, int], index: t.Any = None, tensors: dict[str, t.Any] | None = None) -> ModelFiles:
    content = json.dumps({"weight_map": index}).encode()
    if index is not None:
        sizes = {**sizes, INDEX: len(content)}
    return ModelFiles(sizes, {INDEX: content}.get, (tensors or {}).get)


@pytest.mark.parametrize(
    ("sizes", "index", "size"),
    [
        ({"model.safetensors": 5}, None, 5),
        ({"a.safetensors": 5, "b.safetensors": 6, "c.safetensors": 7}, {"x": "a.safetensors", "y": "b.safetensors"}, 11),
        ({"a.safetensors": 5}, {"x": "../../etc/passwd", "y": 5}, 5),
        ({"model.safetensors": 5, "consolidated.safetensors": 5}, None, 5),
        ({"consolidated.safetensors": 5}, None, 5),
        ({"model.safetensors": 5, "original/model.safetensors": 5, "x.gguf": 9}, None, 5),
        ({"sub/model.safetensors": 5}, None, 5),
        ({"b-Q8.gguf": 8, "a-Q4.gguf": 4}, None, 4),
        ({"m-00001-of-00003.gguf": 20, "m-00002-of-00003.gguf": 21, "m-00003-of-00003.gguf": 22}, None, 63),
        ({"Q4/m-00001-of-00002.GGUF": 20, "Q4/m-00002-of-00002.gguf": 21, "Q8/m-00001-of-00002.gguf": 50}, None, 41),
        ({"m-00001-of-00002.gguf": 20, "m-00001-of-00003.gguf": 7, "m-00002-of-00002.gguf": 21, "n-00002-of-00002.gguf": 9}, None, 41),
        ({"m.a-00001-of-00002.gguf": 20, "m_a-00002-of-00002.gguf": 21}, None, 20),
        ({"pytorch_model.bin": 3}, None, 3),
    ],
)
def test_what_counts(sizes: dict[str, int], index: t.Any, size: int) -> None:
    found = weights_of(files(sizes, index))
    assert found is not None and found.size == size


def test_elements_and_types() -> None:
    header = {"__metadata__": {}, "a": {"dtype": "F32", "shape": [2, 3]}, "b": {"dtype": "BF16", "shape": [10]}}
    found = weights_of(files({"m.safetensors": 100}, tensors={"m.safetensors": header}))
    assert found is not None and (found.elements, found.parameters, found.dtype) == ({"F32": 6, "BF16": 10}, 16, "bfloat16")
    assert weights_of(files({"README.md": 5})) is None


def test_formats() -> None:
    assert formats_of(["a.safetensors", "b.GGUF", "c.bin", "d.txt", "e.onnx"]) == ("gguf", "onnx", "pickle", "safetensors")
