# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Weight files of a few bytes, right or wrong in one thing."""
from __future__ import annotations

import json
import struct
import typing as t

#: A tensor of GGUF: name, shape, type, offset.
GgufTensor = tuple[str, t.Sequence[int], int, int]


def safetensors(header: t.Any, data: bytes = b"") -> bytes:
    """A safetensors file of a header, given as a value or as its bytes, and the tensors' bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(begin: int, end: int, shape: t.Sequence[int] = (1,), dtype: str = "F32") -> dict[str, t.Any]:
    """One tensor of a safetensors header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def text(value: str | bytes) -> bytes:
    """A string as GGUF writes it."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def key(name: str, kind: int, value: bytes) -> bytes:
    """A metadata entry of GGUF."""
    return text(name) + struct.pack("<I", kind) + value


def array(kind: int, count: int, items: bytes) -> bytes:
    """The value of a metadata entry of type 9."""
    return struct.pack("<IQ", kind, count) + items


KEYS = (
    key("general.architecture", 8, text("llama")),
    key("general.name", 8, text("tiny")),
    key("general.file_type", 4, struct.pack("<I", 15)),
    key("llama.context_length", 4, struct.pack("<I", 512)),
    key("tokenizer.ggml.tokens", 9, array(8, 2, text("a") + text("bc"))),
    key("tokenizer.ggml.scores", 9, array(6, 3, b"\0" * 12)),
    key("tokenizer.chat_template", 8, text("{{ messages }}")),
)
TENSORS: tuple[GgufTensor, ...] = (("a", (8,), 0, 0), ("b", (256, 2), 12, 32))


def gguf(
    keys: t.Sequence[bytes] = KEYS,
    tensors: t.Sequence[GgufTensor] = TENSORS,
    data: int = 32 + 288,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    order: str = "<",
) -> bytes:
    """A GGUF file; ``data`` bytes of tensors follow the padded header, ``counts`` are the announced tensors and keys."""
    announced = counts or (len(tensors), len(keys))
    content = b"GGUF" + struct.pack(f"{order}IQQ", version, *announced) + b"".join(keys)
    for name, shape, kind, offset in tensors:
        content += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    return content + b"\0" * (-len(content) % 32) + b"\1" * data
