# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A minimal GGUF file (version 3), written by hand: metadata and a few small tensors.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md . Valid to read, too small to run.
"""
from __future__ import annotations

import os
import random
import struct
import typing as t
from pathlib import Path

from lab.models import tokenizer as tok

ALIGNMENT = 32
#: GGUF value types by what Python value they hold.
_UINT32, _FLOAT32, _STRING, _ARRAY, _INT32 = 4, 6, 8, 9, 5
_F32, _I8 = 0, 24
_BLOCK = 1 << 20


def _string(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _scalar(value: str | int | float) -> tuple[int, bytes]:
    if isinstance(value, str):
        return _STRING, _string(value)
    if isinstance(value, int):
        return _UINT32, struct.pack("<I", value)
    return _FLOAT32, struct.pack("<f", value)


def _value(value: t.Any) -> bytes:
    if isinstance(value, list):
        kinds, items = zip(*(_scalar(item) for item in value))
        kind = _INT32 if kinds[0] == _UINT32 else kinds[0]
        return struct.pack("<IIQ", _ARRAY, kind, len(items)) + b"".join(items)
    kind, data = _scalar(value)
    return struct.pack("<I", kind) + data


def _metadata(name: str, architecture: str, context: int, template: str | None) -> dict[str, t.Any]:
    vocab = list(tok.vocabulary([]))
    fields: dict[str, t.Any] = {
        "general.architecture": architecture,
        "general.name": name,
        "general.file_type": 0,
        "general.alignment": ALIGNMENT,
        f"{architecture}.context_length": context,
        f"{architecture}.embedding_length": 64,
        f"{architecture}.block_count": 1,
        f"{architecture}.feed_forward_length": 128,
        f"{architecture}.attention.head_count": 4,
        f"{architecture}.attention.head_count_kv": 2,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": vocab,
        "tokenizer.ggml.token_type": [3 if token in tok.SPECIALS else 1 for token in vocab],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }
    if template is not None:
        fields["tokenizer.chat_template"] = template
    return fields


def _pad(stream: t.BinaryIO, size: int, source: random.Random) -> None:
    """Write so many bytes: one random block over and over, each with its number in front, so that no two are alike."""
    block = source.getrandbits(8 * (_BLOCK - 8)).to_bytes(_BLOCK - 8, "little") if size else b""
    for start in range(0, size, _BLOCK):
        stream.write((struct.pack("<Q", start) + block)[: size - start])


def gguf(
    folder: str | Path,
    *,
    name: str = "tiny",
    file_name: str | None = None,
    architecture: str = "llama",
    context: int = 512,
    system_role: bool = True,
    chat_template: str | None = None,
    seed: str = "",
    pad_mb: float = 0,
) -> Path:
    """Write ``<name>.gguf`` and a README.md; return the folder. ``chat_template=''`` leaves the template out.

    ``pad_mb`` adds a tensor of so many MB (10**6 bytes) that means nothing and does not compress.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    template = tok.chat_template(system_role) if chat_template is None else chat_template
    fields = _metadata(name, architecture, context, template or None)
    shapes = {"token_embd.weight": (64, 263), "output_norm.weight": (64,)}
    source = random.Random(f"{seed}{name}")
    data, infos = b"", b""
    for tensor, shape in shapes.items():
        data += b"\0" * (-len(data) % ALIGNMENT)
        infos += _string(tensor) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", _F32, len(data))
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        data += struct.pack(f"<{count}f", *(source.choice((-1.0, 1.0)) for dummy in range(count)))
    padding = int(pad_mb * 1e6)
    if padding:
        data += b"\0" * (-len(data) % ALIGNMENT)
        infos += _string("pad.weight") + struct.pack("<IQIQ", 1, padding, _I8, len(data))
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(shapes) + bool(padding), len(fields))
    head += b"".join(_string(key) + _value(value) for key, value in fields.items()) + infos
    path = folder / (file_name or f"{name}.gguf")
    with open(path, "wb") as stream:
        stream.write(head + b"\0" * (-len(head) % ALIGNMENT) + data)
        _pad(stream, padding, source)
    os.chmod(path, 0o644)
    readme = folder / "README.md"
    readme.write_bytes(f"---\nlicense: apache-2.0\ntags:\n- gguf\n---\n\n# {name}\n\nA GGUF file made for tests.\n".encode())
    os.chmod(readme, 0o644)
    return folder
