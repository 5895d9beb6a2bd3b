# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of a safetensors file, from a file or from ranges of a remote one.

Format (safetensors, README and ``SafeTensors::validate`` of 0.8): 8 bytes of little-endian length N, N bytes of JSON that begin
with ``{``, then the tensors' bytes without a hole. Each tensor has dtype, shape and data_offsets; keys are unique and
``__metadata__`` maps strings to strings. Everything here raises ``ValueError`` for anything else.
"""
from __future__ import annotations

import os
import struct
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import is_integer, load_json

#: The limit of the format itself, in bytes.
MAX_HEADER_BYTES = 100 * 1000 * 1000
PREFIX_BYTES = 8
#: Larger products than this do not fit the runtimes' own integers.
_MAX_ELEMENTS = 2**63 - 1

#: Bits of one element (safetensors 0.8, ``Dtype::bitsize``).
DTYPE_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}


def header_length(prefix: bytes, size: int) -> int:
    """Length in bytes of the JSON of a file of ``size`` bytes that begins with ``prefix``."""
    if len(prefix) < PREFIX_BYTES or size < PREFIX_BYTES:
        raise ValueError("it is shorter than its header's length field")
    length = int(struct.unpack_from("<Q", prefix)[0])
    if length > MAX_HEADER_BYTES or PREFIX_BYTES + length > size:
        raise ValueError(f"its header would be {length} bytes long")
    return length


def parse_header(text: bytes, data_size: int) -> dict[str, t.Any]:
    """The checked header, from its JSON and the number of bytes that follow it."""
    if not text.startswith(b"{"):
        raise ValueError("its header is not an object")
    try:
        header = load_json(text, is_strict=True)
    except ValueError as error:
        raise ValueError(f"its header is not the JSON of the format ({str(error)[:200]})") from error
    _check_metadata(header.get("__metadata__", {}))
    spans = sorted(_check_tensor(name, tensor) for name, tensor in header.items() if name != "__metadata__")
    end = 0
    for begin, following in spans:
        if begin != end:
            raise ValueError(f"its tensors {'overlap' if begin < end else 'leave a hole'} at byte {min(begin, end)} of its data")
        end = following
    if end != data_size:
        raise ValueError(f"its tensors end at byte {end} of {data_size} after the header")
    return t.cast("dict[str, t.Any]", header)


def _check_metadata(metadata: t.Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its __metadata__ is not a map of strings")


def _check_tensor(name: str, tensor: t.Any) -> tuple[int, int]:
    shown = ascii(name[:200])
    if not isinstance(tensor, dict) or set(tensor) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"its tensor {shown} does not have exactly dtype, shape and data_offsets")
    dtype = tensor["dtype"]
    bits = DTYPE_BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None:
        raise ValueError(f"its tensor {shown} has the unknown dtype {ascii(dtype)[:40]}")
    offsets = tensor["data_offsets"]
    if not _are_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"its tensor {shown} has no proper offsets")
    if not _are_numbers(tensor["shape"]):
        raise ValueError(f"its tensor {shown} has no proper shape")
    needed, left_over = divmod(count_elements(tensor["shape"]) * bits, 8)
    if left_over or needed != offsets[1] - offsets[0]:
        raise ValueError(f"its tensor {shown} needs {needed} bytes and has {offsets[1] - offsets[0]}")
    return offsets[0], offsets[1]


def _are_numbers(value: t.Any) -> bool:
    return isinstance(value, list) and all(is_integer(number) and number >= 0 for number in value)


def count_elements(shape: t.Iterable[int]) -> int:
    """Elements of a tensor. Stops as soon as the product is absurd: with thousands of factors it would take for ever."""
    elements = 1
    for length in shape:
        elements *= length
        if elements > _MAX_ELEMENTS:
            raise ValueError("it has a tensor with more elements than 64 bits can count")
    return elements


def summarise(header: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A header with one tensor for each type, which has all its elements: as much as a plan keeps of files with thousands of tensors."""
    elements: dict[str, int] = {}
    for name, tensor in header.items():
        if name != "__metadata__":
            elements[tensor["dtype"]] = elements.get(tensor["dtype"], 0) + count_elements(tensor["shape"])
    return {dtype: {"dtype": dtype, "shape": [min(count, _MAX_ELEMENTS)]} for dtype, count in elements.items()}


def read_safetensors_header(path: str) -> dict[str, t.Any]:
    """The header of a local file, checked against the file's length. Raises ``ValueError``, ``OSError``."""
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        length = header_length(stream.read(PREFIX_BYTES), size)
        text = stream.read(length)
    if len(text) != length:
        raise ValueError("it became shorter while it was read")
    return parse_header(text, size - PREFIX_BYTES - length)
