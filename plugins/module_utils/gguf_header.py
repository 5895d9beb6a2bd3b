# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of a GGUF file: every count, length, offset and size against the bytes that are really there.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md , versions 2 and 3, little endian. Runtimes have read beyond
their buffers for tensors whose announced shape was larger than the file (CVE-2026-7482, Ollama); such a file does not get onto a
host. Nothing is allocated by an announced count. Everything here raises ``ValueError`` for a file that is not as the format says.
"""
from __future__ import annotations

import os
import struct
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import is_integer

MAGIC = b"GGUF"
VERSIONS = (2, 3)
#: Bytes that ``check_gguf_quick`` wants to see.
QUICK_BYTES = 4096

#: Bounds of one file. A large vocabulary has 260 000 tokens and 500 000 merges in 15 MB, a large model some thousand tensors.
MAX_KEYS = 16_384
MAX_TENSORS = 262_144
MAX_STRINGS = 4_000_000
MAX_METADATA_BYTES = 256 * 1024 * 1024
MAX_KEY_BYTES = 1024
MAX_NESTING = 4
MAX_ALIGNMENT = 1024 * 1024
MAX_DIMENSIONS = 4
_MAX_ELEMENTS = 2**63 - 1
_MAX_VALUE_BYTES = 4096
#: Elements of a list that is kept (the largest models have some hundred layers), and of everything kept, in values and in bytes of text.
_MAX_KEPT = 2048
_MAX_ALL_KEPT = 65_536
#: Bytes of all chat templates of a file that are kept; the longest known has some 30 000.
_MAX_TEMPLATE_BYTES = 2 * 1024 * 1024
_WINDOW = 256 * 1024

_HEAD = struct.Struct("<4sIQQ")
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_STRING, _ARRAY = 8, 9
#: Value types of fixed size: their struct (gguf.md, gguf_metadata_value_type).
_SCALARS = {
    0: struct.Struct("<B"), 1: struct.Struct("<b"), 2: struct.Struct("<H"), 3: struct.Struct("<h"), 4: _U32, 5: struct.Struct("<i"),
    6: struct.Struct("<f"), 7: struct.Struct("<?"), 10: _U64, 11: struct.Struct("<q"), 12: struct.Struct("<d"),
}  # fmt: skip

#: Elements and bytes of one block of each tensor type (ggml, ggml_type and its type traits).
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36), 10: (256, 84), 11: (256, 110),
    12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50),
    20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8),
    29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip
#: Names of general.file_type (llama.cpp, llama_ftype).
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L",
    14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
    36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0",
}  # fmt: skip

ReadRange = t.Callable[[int, int], bytes]


@dataclass(frozen=True)
class GgufFacts:
    """What the header says of the model; None where it says nothing. ``parameters`` counts the elements of all tensors."""

    version: int
    tensors: int
    parameters: int
    architecture: str | None
    name: str | None
    context_length: int | None
    quantization: str | None
    has_chat_template: bool
    #: Numbers, flags, short texts and short lists of numbers of the keys ``general.*`` and ``<architecture>.*``.
    values: t.Mapping[str, t.Any] = field(default_factory=dict)
    #: Texts of ``tokenizer.chat_template`` (``default``) and ``tokenizer.chat_template.<name>``.
    chat_templates: t.Mapping[str, str] = field(default_factory=dict)


def check_gguf_quick(head: bytes, size: int) -> None:
    """Whether a file of ``size`` bytes that begins with ``head`` can be GGUF: magic, version, counts that fit the size."""
    _parse_head(head[: _HEAD.size], size)


def check_gguf(path: str) -> GgufFacts:
    """The facts of a local file after its whole header was walked. Raises ``ValueError``, ``OSError``."""
    with open(path, "rb", buffering=0) as stream:

        def read_range(offset: int, length: int) -> bytes:
            stream.seek(offset)
            return stream.read(length) or b""

        return read_gguf(read_range, os.fstat(stream.fileno()).st_size)


def read_gguf(read_range: ReadRange, size: int) -> GgufFacts:
    """The facts of a file of ``size`` bytes after its whole header was walked."""
    cursor = _Cursor(read_range, size)
    version, tensors, keys = _parse_head(cursor.take(min(size, _HEAD.size)), size)
    walk = _Walk(cursor)
    walk.read_keys(keys)
    parameters = walk.read_tensors(tensors)
    values = walk.values
    architecture, file_type = values.get("general.architecture"), values.get("general.file_type")
    name, context = values.get("general.name"), values.get(f"{architecture}.context_length")
    return GgufFacts(
        version=version,
        tensors=tensors,
        parameters=parameters,
        architecture=architecture if isinstance(architecture, str) else None,
        name=name if isinstance(name, str) else None,
        context_length=context if isinstance(context, int) and is_integer(context) and context > 0 else None,
        quantization=FILE_TYPES.get(file_type) if isinstance(file_type, int) and is_integer(file_type) else None,
        has_chat_template=walk.has_chat_template,
        values={key: value for key, value in values.items() if key.startswith(("general.", f"{architecture}."))},
        chat_templates=walk.chat_templates,
    )


def _parse_head(head: bytes, size: int) -> tuple[int, int, int]:
    if not head.startswith(MAGIC):
        raise ValueError("it does not begin with GGUF")
    if len(head) < _HEAD.size or size < _HEAD.size:
        raise ValueError("it ends inside its header")
    dummy, version, tensors, keys = _HEAD.unpack(head)
    if version not in VERSIONS:
        if int.from_bytes(version.to_bytes(4, "little"), "big") in (1, *VERSIONS):
            raise ValueError("it is big endian, which no runtime here reads")
        raise ValueError(f"it is GGUF version {version}, and {' and '.join(map(str, VERSIONS))} are supported")
    # The smallest entry: name with length, then type and value, or dimensions, type and offset.
    if keys > MAX_KEYS or keys * 13 > size:
        raise ValueError(f"it announces {keys} metadata keys")
    if tensors > MAX_TENSORS or tensors * 24 > size:
        raise ValueError(f"it announces {tensors} tensors")
    return version, tensors, keys


class _Cursor:
    """A position in a file of known size; no read leaves the file or the bound of the header."""

    def __init__(self, read_range: ReadRange, size: int) -> None:
        self.size = size
        self.position = 0
        self._read_range = read_range
        self._end = min(size, MAX_METADATA_BYTES)
        self._start = 0
        self._window = b""

    def take(self, length: int) -> bytes:
        """The next bytes; callers ask for little, never for an announced length that they have not bounded."""
        begin = self.position - self._start
        if begin < 0 or begin + length > len(self._window):
            begin = self._load(length)
        self.position += length
        return self._window[begin : begin + length]

    def _load(self, length: int) -> int:
        if self.position + length > self._end:
            raise self._beyond()
        self._start = self.position
        self._window = self._read_range(self.position, min(max(length, _WINDOW), self._end - self.position))
        if len(self._window) < length:
            raise ValueError("it became shorter while it was read")
        return 0

    def skip(self, length: int) -> None:
        """Go on without reading."""
        if length > self._end - self.position:
            raise self._beyond()
        self.position += length

    def skip_strings(self, count: int) -> None:
        """Go past strings, each behind its length."""
        unpack = _U64.unpack_from
        for dummy in range(count):
            begin = self.position - self._start
            if begin + 8 > len(self._window):
                begin = self._load(8)
            length = unpack(self._window, begin)[0]
            if length > self._end - self.position - 8:
                raise self._beyond()
            self.position += 8 + length

    def _beyond(self) -> ValueError:
        if self.size > self._end:
            return ValueError(f"its header is longer than {MAX_METADATA_BYTES} bytes")
        return ValueError("a length or count in its header leads beyond its end")

    def u32(self) -> int:
        """The next four bytes as a number."""
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        """The next eight bytes as a number."""
        return int(_U64.unpack(self.take(8))[0])


class _Walk:
    """One walk over metadata and tensor list. Only the values that somebody uses are kept."""

    def __init__(self, cursor: _Cursor) -> None:
        self.values: dict[str, t.Any] = {}
        self.has_chat_template = False
        self.chat_templates: dict[str, str] = {}
        self._cursor = cursor
        self._strings = 0
        self._room = _MAX_ALL_KEPT

    def read_keys(self, count: int) -> None:
        """Every metadata key with its value."""
        seen: set[str] = set()
        for dummy in range(count):
            key = self._read_name("key")
            if key in seen:
                raise ValueError(f"it has the key {ascii(key)} twice")
            seen.add(key)
            self._read_value(key, self._cursor.u32())

    def _read_name(self, kind: str) -> str:
        length = self._cursor.u64()
        if length > MAX_KEY_BYTES:
            raise ValueError(f"it has a {kind} of {length} bytes")
        try:
            return self._cursor.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"it has a {kind} that is not UTF-8") from error

    def _read_value(self, key: str, kind: int) -> None:
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            value = scalar.unpack(self._cursor.take(scalar.size))[0]
            if self._has_room(key, 1):
                self.values[key] = value
        elif kind == _STRING:
            self._read_string(key)
        elif kind == _ARRAY:
            if not self._keep_array(key):
                self._skip_array(1)
        else:
            raise ValueError(f"its key {ascii(key)} has the unknown type {kind}")

    def _read_string(self, key: str) -> None:
        length = self._cursor.u64()
        if key == "tokenizer.chat_template" or key.startswith("tokenizer.chat_template."):
            self.has_chat_template = self.has_chat_template or length > 0
            if length <= _MAX_TEMPLATE_BYTES - sum(map(len, self.chat_templates.values())):
                self.chat_templates[key[len("tokenizer.chat_template.") :] or "default"] = self._cursor.take(length).decode("utf-8", "replace")
                return
        if length <= _MAX_VALUE_BYTES and self._has_room(key, length):
            self.values[key] = self._cursor.take(length).decode("utf-8", "replace")
        else:
            self._cursor.skip(length)

    def _has_room(self, key: str, count: int) -> bool:
        """Whether a value of the key is to be kept. What a file repeats without end must not fill the memory."""
        if key.startswith("tokenizer."):
            return False
        if key in ("general.alignment", "general.architecture"):
            return True
        self._room -= count
        return self._room >= 0

    def _keep_array(self, key: str) -> bool:
        """Take a short list of whole numbers or flags, such as heads by layer. Nothing is consumed of any other."""
        position = self._cursor.position
        kind, count = self._cursor.u32(), self._cursor.u64()
        scalar = _SCALARS.get(kind)
        if scalar is None or scalar.format in ("<f", "<d") or not 0 < count <= _MAX_KEPT or not self._has_room(key, count):
            self._cursor.position = position
            return False
        self.values[key] = [item[0] for item in scalar.iter_unpack(self._cursor.take(scalar.size * count))]
        return True

    def _skip_array(self, depth: int) -> None:
        kind, count = self._cursor.u32(), self._cursor.u64()
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            self._cursor.skip(scalar.size * count)
            return
        if kind not in (_STRING, _ARRAY):
            raise ValueError(f"it has an array of the unknown type {kind}")
        self._strings += count
        if self._strings > MAX_STRINGS:
            raise ValueError(f"its arrays announce more than {MAX_STRINGS} elements")
        if kind == _STRING:
            self._cursor.skip_strings(count)
            return
        if depth >= MAX_NESTING:
            raise ValueError(f"it has arrays nested deeper than {MAX_NESTING}")
        for dummy in range(count):
            self._skip_array(depth + 1)

    def read_tensors(self, count: int) -> int:
        """Every tensor of the list, its place and size within the file. Returns the number of elements of all."""
        alignment = self._alignment()
        names: set[str] = set()
        spans: list[tuple[int, int]] = []
        parameters = 0
        for dummy in range(count):
            name = self._read_name("tensor name")
            if name in names:
                raise ValueError(f"it has the tensor {ascii(name)} twice")
            names.add(name)
            elements, size = self._read_shape(name)
            offset = self._cursor.u64()
            if offset % alignment:
                raise ValueError(f"its tensor {ascii(name)} is not aligned to {alignment} bytes")
            parameters += elements
            spans.append((offset, offset + size))
        if spans:
            self._check_spans(spans, alignment)
        return parameters

    def _alignment(self) -> int:
        alignment = self.values.get("general.alignment", 32)
        if not isinstance(alignment, int) or not is_integer(alignment) or not 0 < alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
            raise ValueError(f"its alignment {ascii(alignment)[:40]} is no power of two")
        return alignment

    def _read_shape(self, name: str) -> tuple[int, int]:
        """Elements and bytes of the next tensor."""
        dimensions = self._cursor.u32()
        if dimensions > MAX_DIMENSIONS:
            raise ValueError(f"its tensor {ascii(name)} has {dimensions} dimensions")
        shape = [self._cursor.u64() for dummy in range(dimensions)]
        elements = 1
        for length in shape:
            elements *= length
            if elements > _MAX_ELEMENTS:
                raise ValueError(f"its tensor {ascii(name)} has more elements than 64 bits can count")
        kind = self._cursor.u32()
        if kind not in BLOCKS:
            # A type newer than this table: nothing has less than one bit for an element, so that much must be there.
            return elements, (elements + 7) // 8
        block, size = BLOCKS[kind]
        if (shape[0] if shape else 1) % block:
            raise ValueError(f"its tensor {ascii(name)} has rows of {shape[0] if shape else 1} elements in blocks of {block}")
        return elements, elements // block * size

    def _check_spans(self, spans: list[tuple[int, int]], alignment: int) -> None:
        begin = -(-self._cursor.position // alignment) * alignment
        room = self._cursor.size - begin
        end = 0
        for start, stop in sorted(spans):
            if stop > room:
                raise ValueError(f"a tensor ends at byte {begin + stop} of {self._cursor.size}")
            if start < end:
                raise ValueError(f"two tensors overlap at byte {begin + start}")
            end = max(end, stop)
