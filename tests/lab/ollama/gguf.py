# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of a GGUF file: metadata and the list of tensors.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md .
"""
from __future__ import annotations

import struct
import typing as t
from dataclasses import dataclass

from lab.ollama.errors import GoError, path_error

MAGIC = b"GGUF"
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_TENSOR_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 30: "BF16"}
#: bytes of a block and values in it, by tensor type
_BLOCKS = {
    0: (4, 1), 1: (2, 1), 2: (18, 32), 3: (20, 32), 6: (22, 32), 7: (24, 32), 8: (34, 32), 12: (144, 256), 13: (176, 256), 14: (210, 256), 30: (2, 1),
}  # fmt: skip
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L",
    14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 32: "BF16",
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """One tensor of the list."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def type_name(self) -> str:
        """F16, Q4_0."""
        return _TENSOR_TYPES.get(self.type, f"unknown type {self.type}")

    @property
    def values(self) -> int:
        """Number of parameters."""
        count = 1
        for length in self.shape:
            count *= length
        return count

    @property
    def bytes(self) -> int:
        """Length of its data; 0 where the type is not known."""
        size, per = _BLOCKS.get(self.type, (0, 1))
        return self.values // per * size


@dataclass(frozen=True)
class Header:
    """What stands before the data."""

    metadata: dict[str, t.Any]
    tensors: tuple[Tensor, ...]
    data_at: int

    @property
    def architecture(self) -> str:
        """general.architecture."""
        return str(self.metadata.get("general.architecture", "unknown"))

    @property
    def parameters(self) -> int:
        """Number of all parameters."""
        return sum(tensor.values for tensor in self.tensors)

    @property
    def file_type(self) -> str:
        """How most of it is quantized."""
        return _FILE_TYPES.get(int(self.metadata.get("general.file_type", 0)), "unknown")

    @property
    def end(self) -> int:
        """Where the last tensor ends: the least size of a whole file."""
        return self.data_at + max((tensor.offset + tensor.bytes for tensor in self.tensors), default=0)

    def of_architecture(self, key: str) -> t.Any:
        """``<architecture>.<key>``, None if absent."""
        return self.metadata.get(f"{self.architecture}.{key}")


class _Reader:
    def __init__(self, file: t.BinaryIO) -> None:
        self.file = file

    def take(self, count: int) -> bytes:
        if count > 1 << 26:
            raise GoError("unexpected EOF")
        data = self.file.read(count)
        if len(data) < count:
            raise GoError("unexpected EOF")
        return data

    def number(self, code: str) -> t.Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def string(self) -> str:
        return self.take(self.number("<Q")).decode("utf-8", "replace")

    def value(self, kind: int) -> t.Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            inner, count = self.number("<I"), self.number("<Q")
            return [self.value(inner) for dummy in range(count)]
        if kind not in _SCALARS:
            raise GoError(f"invalid type: {kind}")
        return self.number(_SCALARS[kind])


def read(path: str) -> Header:
    """The header; GoError 'unexpected EOF' for a file cut in it, 'invalid file magic' for another format."""
    try:
        file = open(path, "rb")  # noqa: SIM115
    except OSError as exc:
        raise path_error("open", path, exc) from None
    with file:
        reader = _Reader(file)
        if reader.take(4) != MAGIC:
            raise GoError("invalid file magic")
        reader.number("<I")
        tensors, pairs = reader.number("<Q"), reader.number("<Q")
        metadata: dict[str, t.Any] = {}
        for dummy in range(pairs):
            key = reader.string()
            metadata[key] = reader.value(reader.number("<I"))
        found = []
        for dummy in range(tensors):
            name, dimensions = reader.string(), reader.number("<I")
            shape = tuple(reader.number("<Q") for dummy in range(dimensions))
            found.append(Tensor(name, shape, reader.number("<I"), reader.number("<Q")))
        alignment = int(metadata.get("general.alignment", 32)) or 32
        return Header(metadata, tuple(found), -(-file.tell() // alignment) * alignment)


def human(count: int) -> str:
    """120K, 25.60M, 7B: a number of parameters as the server shows it."""
    for unit, name, digits in ((10**9, "B", 1), (10**6, "M", 2)):
        if count >= unit:
            return f"{count // unit}{name}" if count % unit == 0 else f"{count / unit:.{digits}f}{name}"
    return f"{count / 1000:.0f}K" if count >= 1000 else str(count)
