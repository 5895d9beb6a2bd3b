# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A writer of safetensors files: eight bytes of header length (little endian), a JSON header, raw tensors.

Format: https://huggingface.co/docs/safetensors/index#format . Tensors are streamed, so a big file needs little memory.
"""
from __future__ import annotations

import json
import os
import random
import typing as t
from dataclasses import dataclass
from pathlib import Path

BLOCK = 1 << 20

#: bfloat16 bit patterns.
ONE, MINUS_ONE = 0x3F80, 0xBF80
#: Turns random bytes into high bytes of small bfloat16 numbers (0.0078 to 0.031, both signs).
_SMALL_HIGH = bytes(0x3C if value < 128 else 0xBC for value in range(256))


@dataclass(frozen=True)
class Tensor:
    """A bfloat16 tensor whose bytes come from ``chunks()``."""

    name: str
    shape: tuple[int, ...]
    chunks: t.Callable[[], t.Iterator[bytes]]

    @property
    def nbytes(self) -> int:
        """Size in bytes: two for each number."""
        count = 1
        for size in self.shape:
            count *= size
        return 2 * count


def _repeat(block: bytes, total: int) -> t.Iterator[bytes]:
    while total > 0:
        yield block[:total]
        total -= len(block)


def fixed(name: str, shape: tuple[int, ...], data: bytes) -> Tensor:
    """A tensor of the given bytes."""
    return Tensor(name, shape, lambda: iter((data,)))


def constant(name: str, shape: tuple[int, ...], pattern: int = 0) -> Tensor:
    """A tensor of one number, given as its bfloat16 bits."""
    block = pattern.to_bytes(2, "little") * (BLOCK // 2)
    tensor = Tensor(name, shape, lambda: _repeat(block, tensor.nbytes))
    return tensor


def small_noise(name: str, shape: tuple[int, ...], seed: str) -> Tensor:
    """A tensor of small random numbers; a block of a mebibyte repeats in bigger ones."""

    def chunks() -> t.Iterator[bytes]:
        count = min(tensor.nbytes, BLOCK)
        source = random.Random(seed + name)
        block = bytearray(count)
        block[0::2] = source.getrandbits(4 * count).to_bytes(count // 2, "little")
        block[1::2] = source.getrandbits(4 * count).to_bytes(count // 2, "little").translate(_SMALL_HIGH)
        return _repeat(bytes(block), tensor.nbytes)

    tensor = Tensor(name, shape, chunks)
    return tensor


def write_file(path: Path, tensors: t.Sequence[Tensor]) -> None:
    """Write one safetensors file (mode 0644) with the tensors in the given order."""
    header: dict[str, t.Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        header[tensor.name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [offset, offset + tensor.nbytes]}
        offset += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            for chunk in tensor.chunks():
                stream.write(chunk)
    os.chmod(path, 0o644)


def write_model(folder: Path, tensors: t.Sequence[Tensor], shards: int = 1) -> None:
    """Write ``model.safetensors``, or that many shards of about one size and ``model.safetensors.index.json``."""
    if shards == 1:
        write_file(folder / "model.safetensors", tensors)
        return
    if not 1 < shards <= len(tensors):
        raise ValueError(f"shards must be 1 to {len(tensors)}, not {shards}")
    total = sum(tensor.nbytes for tensor in tensors)
    groups: list[list[Tensor]] = [[] for dummy in range(shards)]
    seen, index = 0, 0
    for position, tensor in enumerate(tensors):
        left = len(tensors) - position
        full = bool(groups[index]) and seen >= total * (index + 1) / shards
        if index + 1 < shards and (full or left < shards - index or (left == shards - index - 1)):
            index += 1
        groups[index].append(tensor)
        seen += tensor.nbytes
    weight_map: dict[str, str] = {}
    for number, group in enumerate(groups, 1):
        name = f"model-{number:05d}-of-{shards:05d}.safetensors"
        write_file(folder / name, group)
        weight_map.update((tensor.name, name) for tensor in group)
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})


def write_json(path: Path, data: t.Any) -> None:
    """Write JSON the way the Hub's own tools do: two spaces, a final newline, mode 0644."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with mode 0644."""
    path.write_bytes(text.encode("utf-8"))
    os.chmod(path, 0o644)
