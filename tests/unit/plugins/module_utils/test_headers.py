# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of weight files: what honest tools write is read, what a hostile one writes is refused in little time and memory."""
from __future__ import annotations

import random
import struct
import tracemalloc
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.gguf_header import (
    MAX_METADATA_BYTES,
    MAX_STRINGS,
    check_gguf,
    check_gguf_quick,
    read_gguf,
)
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.policy_headers import check_headers, check_weights
from ansible_collections.venom.llm.plugins.module_utils.safetensors_header import (
    DTYPE_BITS,
    header_length,
    parse_header,
    read_safetensors_header,
    summarise,
)
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.header_samples import (
    KEYS,
    TENSORS,
    GgufTensor,
    array,
    gguf,
    key,
    safetensors,
    tensor,
    text,
)

REF = ModelRef.parse("a/b")


def parse(content: bytes) -> dict[str, t.Any]:
    length = header_length(content[:8], len(content))
    return parse_header(content[8 : 8 + length], len(content) - 8 - length)


def walk(content: bytes, size: int | None = None) -> t.Any:
    return read_gguf(lambda offset, length: content[offset : offset + length], len(content) if size is None else size)


def test_a_safetensors_header_is_read_in_any_order_of_its_tensors(tmp_path: Path) -> None:
    header = {"b": tensor(4, 12, (2, 1)), "__metadata__": {"format": "pt"}, "empty": tensor(4, 4, (0, 7)), "a": tensor(0, 4, ())}
    content = safetensors(header, b"x" * 12)
    assert parse(content) == header
    (tmp_path / "m").write_bytes(content)
    assert read_safetensors_header(str(tmp_path / "m")) == header
    assert parse(safetensors(b"{}   ")) == {}


@pytest.mark.parametrize("dtype", sorted(DTYPE_BITS))
def test_every_dtype_has_its_size(dtype: str) -> None:
    size = DTYPE_BITS[dtype]
    assert set(parse(safetensors({"a": tensor(0, size, (8,), dtype)}, b"x" * size))) == {"a"}
    with pytest.raises(ValueError, match="needs"):
        parse(safetensors({"a": tensor(0, size + 1, (8,), dtype)}, b"x" * (size + 1)))


def test_half_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="needs"):
        parse(safetensors({"a": tensor(0, 1, (3,), "F4")}, b"x"))


BAD_SAFETENSORS = {
    "empty": (b"", "shorter"),
    "short": (b"\2\0\0", "shorter"),
    "long": (struct.pack("<Q", 2**40) + b"{}", "would be"),
    "above the limit": (struct.pack("<Q", 100_000_001) + b"{}", "would be"),
    "a list": (safetensors(b"[]"), "not an object"),
    "space first": (safetensors(b" {}"), "not an object"),
    "cut": (safetensors(b'{"a":'), "not the JSON"),
    "not UTF-8": (safetensors(b'{"\xff":1}'), "not the JSON"),
    "deep": (safetensors(b'{"a":' + b"[" * 200_000), "not the JSON"),
    "twice": (safetensors(b'{"__metadata__":{},"__metadata__":{}}'), "twice"),
    "huge number": (safetensors(b'{"a":' + b"9" * 100_000 + b"}"), "digits"),
    "fraction": (safetensors(b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', b"1234"), "whole numbers"),
    "not a number": (safetensors(b'{"a":NaN}'), "whole numbers"),
    "containers": (safetensors(b'{"a":[' + b"[]," * 1_000_001 + b"0]}"), "more elements"),
    "commas": (safetensors(b'{"a":[' + b"0," * 4_000_001 + b"0]}"), "more elements"),
    "metadata of numbers": (safetensors({"__metadata__": {"a": 1}}), "map of strings"),
    "metadata list": (safetensors({"__metadata__": []}), "map of strings"),
    "no tensor": (safetensors({"a": 5}), "exactly"),
    "a field more": (safetensors({"a": dict(tensor(0, 4), more=1)}, b"1234"), "exactly"),
    "unknown dtype": (safetensors({"a": tensor(0, 4, (1,), "F33")}, b"1234"), "unknown dtype"),
    "dtype list": (safetensors({"a": dict(tensor(0, 4), dtype=["F32"])}, b"1234"), "unknown dtype"),
    "true": (safetensors({"a": dict(tensor(0, 4), shape=[True])}, b"1234"), "proper shape"),
    "negative": (safetensors({"a": tensor(0, 4, (-1, -1))}, b"1234"), "proper shape"),
    "backwards": (safetensors({"a": tensor(4, 0)}, b"1234"), "proper offsets"),
    "three offsets": (safetensors({"a": dict(tensor(0, 4), data_offsets=[0, 4, 4])}, b"1234"), "proper offsets"),
    "too much": (safetensors({"a": tensor(0, 4, (2**40, 2**40))}, b"1234"), "64 bits"),
    "many factors": (safetensors({"a": tensor(0, 4, [10**19] * 100_000)}, b"1234"), "64 bits"),
    "hole": (safetensors({"a": tensor(0, 4), "b": tensor(8, 12)}, b"x" * 12), "hole"),
    "hole first": (safetensors({"a": tensor(4, 8)}, b"x" * 8), "hole"),
    "overlap": (safetensors({"a": tensor(0, 4), "b": tensor(2, 6)}, b"x" * 6), "overlap"),
    "same place": (safetensors({"a": tensor(0, 4), "b": tensor(0, 4)}, b"x" * 4), "overlap"),
    "beyond the end": (safetensors({"a": tensor(0, 4)}, b"123"), "end at byte 4 of 3"),
    "more at the end": (safetensors({"a": tensor(0, 4)}, b"12345"), "end at byte 4 of 5"),
}


@pytest.mark.parametrize("kind", BAD_SAFETENSORS)
def test_a_bad_safetensors_file_is_refused(tmp_path: Path, kind: str) -> None:
    content, why = BAD_SAFETENSORS[kind]
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(ValueError, match=why):
        read_safetensors_header(str(tmp_path / "m"))
    with pytest.raises(VenomError) as caught:
        check_weights(REF, "m.safetensors", str(tmp_path / "m"))
    assert caught.value.reason_code == "unsupported_source"
    assert "'m.safetensors'" in str(caught.value)


@pytest.mark.parametrize("version", [2, 3])
def test_a_gguf_file_tells_its_facts(tmp_path: Path, version: int) -> None:
    (tmp_path / "m").write_bytes(gguf(version=version))
    facts = check_gguf(str(tmp_path / "m"))
    assert (facts.version, facts.tensors, facts.parameters) == (version, 2, 8 + 512)
    assert (facts.architecture, facts.name, facts.context_length, facts.quantization) == ("llama", "tiny", 512, "Q4_K_M")
    assert facts.has_chat_template is True


def test_a_gguf_file_that_says_nothing() -> None:
    facts = walk(gguf((), (), 0))
    assert (facts.architecture, facts.name, facts.context_length, facts.quantization) == (None, None, None, None)
    assert facts.has_chat_template is False
    odd = [key("general.file_type", 8, text("x")), key("llama.context_length", 5, struct.pack("<i", -1)), key("tokenizer.chat_template", 8, text(""))]
    assert walk(gguf([KEYS[0], *odd], (), 0)).quantization is None


def test_a_header_longer_than_one_read_is_walked() -> None:
    tokens = b"".join(text(str(number) * 3) for number in range(60_000))
    keys = (*KEYS[:4], key("tokenizer.ggml.tokens", 9, array(8, 60_000, tokens)), key("long", 8, text("x" * 300_000)), *KEYS[5:])
    reads: list[int] = []
    content = gguf(keys)

    def read(offset: int, length: int) -> bytes:
        reads.append(length)
        return content[offset : offset + length]

    assert read_gguf(read, len(content)).parameters == 520
    assert len(reads) > 2
    assert max(reads) <= 256 * 1024


def test_arrays_of_arrays_are_walked() -> None:
    nested = array(9, 2, array(4, 1, b"\0" * 4) + array(8, 1, text("x")))
    assert walk(gguf([key("n", 9, nested)])).tensors == 2


def test_a_tensor_type_of_the_future_needs_one_bit_an_element() -> None:
    assert walk(gguf(tensors=[("a", (80,), 200, 0)], data=10)).parameters == 80
    with pytest.raises(ValueError, match="a tensor ends"):
        walk(gguf(tensors=[("a", (81,), 200, 0)], data=10))


def gguf_with(keys: t.Sequence[bytes] = (), tensors: t.Sequence[GgufTensor] = TENSORS, **options: t.Any) -> bytes:
    return gguf([*KEYS, *keys], tensors, **options)


BAD_GGUF = {
    "empty": (b"", "begin with GGUF"),
    "old": (b"ggjt" + b"\0" * 100, "begin with GGUF"),
    "only the magic": (b"GGUF1234", "inside its header"),
    "version 1": (gguf(version=1), "version 1"),
    "version 4": (gguf(version=4), "version 4"),
    "big endian": (gguf(order=">"), "big endian"),
    "many keys": (gguf(counts=(2, 2**63)), "metadata keys"),
    "keys beyond the size": (gguf(counts=(2, 100)), "metadata keys"),
    "many tensors": (gguf(counts=(2**64 - 1, 7)), "tensors"),
    "a key more": (gguf(counts=(2, 8)), "a tensor name of"),
    "cut": (gguf()[:100], "beyond its end|announces"),
    "key length": (gguf([struct.pack("<Q", 2**63) + b"x"], (), 0) + b"\0" * 64, "a key of"),
    "key not UTF-8": (gguf([key("x", 4, b"\0" * 4).replace(b"x", b"\xff")], (), 0), "not UTF-8"),
    "key twice": (gguf_with([KEYS[0]]), "twice"),
    "unknown value type": (gguf_with([key("x", 13, b"\0" * 8)]), "unknown type 13"),
    "string length": (gguf_with([key("x", 8, struct.pack("<Q", 2**64 - 8))]), "beyond its end"),
    "general string length": (gguf_with([key("general.x", 8, struct.pack("<Q", 2**64 - 8))]), "beyond its end"),
    "array length": (gguf_with([key("x", 9, array(10, 2**61 + 1, b""))]), "beyond its end"),
    "array type": (gguf_with([key("x", 9, array(77, 1, b""))]), "unknown type 77"),
    "string array length": (gguf_with([key("x", 9, array(8, 2**62, b""))]), "elements"),
    "string array that lies": (gguf_with([key("x", 9, array(8, MAX_STRINGS - 10, b""))], data=10**6), "beyond its end"),
    "string in an array": (gguf_with([key("x", 9, array(8, 1, struct.pack("<Q", 2**64 - 1)))]), "beyond its end"),
    "deep arrays": (gguf_with([key("x", 9, array(9, 1, b"") * 10_000)]), "nested deeper"),
    "alignment 0": (gguf_with([key("general.alignment", 4, b"\0" * 4)]), "alignment"),
    "alignment 3": (gguf_with([key("general.alignment", 4, struct.pack("<I", 3))]), "alignment"),
    "alignment text": (gguf_with([key("general.alignment", 8, text("32"))]), "alignment"),
    "tensor twice": (gguf(tensors=[TENSORS[0], TENSORS[0]]), "twice"),
    "five dimensions": (gguf(tensors=[("a", (1, 1, 1, 1, 1), 0, 0)]), "5 dimensions"),
    "dimensions that overflow": (gguf(tensors=[("a", (2**32, 2**32), 0, 0)]), "64 bits"),
    "shape larger than the file": (gguf(tensors=[("a", (4096, 4096), 0, 0)]), "a tensor ends"),
    "part of a block": (gguf(tensors=[("a", (255,), 12, 0)]), "blocks of 256"),
    "not aligned": (gguf(tensors=[("a", (8,), 0, 4)]), "not aligned"),
    "offset beyond the end": (gguf(tensors=[("a", (8,), 0, 2**63)]), "a tensor ends"),
    "overlap": (gguf(tensors=[("a", (16,), 0, 0), ("b", (8,), 0, 32)]), "overlap"),
    "data cut": (gguf()[:-1], "a tensor ends"),
    "no data": (gguf(data=0).rstrip(b"\0"), "a tensor ends|beyond its end"),
}


@pytest.mark.parametrize("kind", BAD_GGUF)
def test_a_bad_gguf_file_is_refused(tmp_path: Path, kind: str) -> None:
    content, why = BAD_GGUF[kind]
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(ValueError, match=why):
        check_gguf(str(tmp_path / "m"))
    with pytest.raises(VenomError) as caught:
        check_weights(REF, "m.gguf", str(tmp_path / "m"))
    assert caught.value.reason_code == "unsupported_source"


def test_the_quick_check_sees_magic_version_and_counts() -> None:
    content = gguf()
    check_gguf_quick(content[:4096], len(content))
    for kind in ("empty", "old", "only the magic", "version 1", "big endian", "many keys", "many tensors"):
        bad = BAD_GGUF[kind][0]
        with pytest.raises(ValueError, match=BAD_GGUF[kind][1]):
            check_gguf_quick(bad[:4096], len(bad))


def test_a_header_may_not_be_longer_than_the_bound() -> None:
    content = gguf([key("x", 9, array(0, MAX_METADATA_BYTES, b""))], (), 0)
    with pytest.raises(ValueError, match="longer than"):
        walk(content, size=2 * MAX_METADATA_BYTES)


def test_a_file_that_shrinks_while_it_is_read() -> None:
    with pytest.raises(ValueError, match="became shorter"):
        walk(gguf()[:60], size=len(gguf()))


class Remote:
    """Files by name, and what was asked of them."""

    def __init__(self, **contents: bytes) -> None:
        self.contents = {name.replace("__", "."): content for name, content in contents.items()}
        self.reads: list[tuple[str, int, int]] = []

    @property
    def files(self) -> list[RemoteFile]:
        return [RemoteFile(name, len(content), "a" * 63 + str(index), None, "") for index, (name, content) in enumerate(self.contents.items())]

    def read(self, file: RemoteFile, offset: int, length: int) -> bytes:
        self.reads.append((file.path, offset, length))
        return self.contents[file.path][offset : offset + length]


GOOD = safetensors({"w": tensor(0, 4)}, b"1234")


def test_headers_are_read_by_ranges_and_nothing_else() -> None:
    long = {f"layer.{number}.weight": tensor(4 * number, 4 * number + 4) for number in range(5000)}
    sharded = safetensors(long, b"x" * 20_000)
    remote = Remote(a__safetensors=GOOD, b__safetensors=sharded, c__gguf=gguf() + b"x" * 10_000, config__json=b"{")
    check_headers(REF, remote.files, remote.read)
    first = 256 * 1024
    assert sorted(remote.reads) == [
        ("a.safetensors", 0, len(GOOD)),
        ("b.safetensors", 0, first),
        ("b.safetensors", first, len(sharded) - 20_000 - first),
        ("c.gguf", 0, 4096),
    ]


def test_known_content_is_not_read_again() -> None:
    remote = Remote(a__safetensors=GOOD, b__gguf=gguf())
    assert check_headers(REF, remote.files, remote.read, {file.announced for file in remote.files}) == {}
    assert remote.reads == []


def test_what_was_read_tells_the_elements_of_each_type() -> None:
    header = {"a": tensor(0, 12, (3,)), "b": tensor(12, 16, (2, 1), "BF16"), "c": tensor(16, 20, (1, 1)), "__metadata__": {"x": "y"}}
    mixed = safetensors(header, b"x" * 20)
    remote = Remote(a__safetensors=mixed, b__gguf=gguf() + b"x" * 10_000, c__safetensors=GOOD)
    assert check_headers(REF, remote.files, remote.read) == {
        "a.safetensors": {"F32": {"dtype": "F32", "shape": [4]}, "BF16": {"dtype": "BF16", "shape": [2]}},
        "c.safetensors": {"F32": {"dtype": "F32", "shape": [1]}},
    }
    huge = {name: {"dtype": "F4", "shape": [2**62]} for name in "abcd"}
    assert summarise(huge) == {"F4": {"dtype": "F4", "shape": [2**63 - 1]}}


def test_a_shard_must_have_the_tensors_that_the_index_names() -> None:
    remote = Remote(a__safetensors=GOOD)
    known = {file.announced for file in remote.files}
    check_headers(REF, remote.files, remote.read, known, {"a.safetensors": {"w"}})
    for name in ("v", "__metadata__"):
        with pytest.raises(VenomError) as caught:
            check_headers(REF, remote.files, remote.read, known, {"a.safetensors": {"w", name}})
        assert caught.value.reason_code == "unsupported_source"
        assert name in caught.value.found
        assert caught.value.details["file"] == "a.safetensors"


def test_layers_without_a_suffix_are_judged_by_what_their_kind_says() -> None:
    remote = Remote(layer=b"no weights at all, but as long as a header must be")
    check_headers(REF, remote.files, remote.read)
    with pytest.raises(VenomError):
        check_headers(REF, remote.files, remote.read, formats={"layer": "gguf"})


def test_one_bad_header_of_many_is_found() -> None:
    remote = Remote(**{f"m{number}__safetensors": GOOD for number in range(30)})
    remote.contents["m17.safetensors"] = GOOD + b"x"
    with pytest.raises(VenomError) as caught:
        check_headers(REF, remote.files, remote.read)
    assert caught.value.details["file"] == "m17.safetensors"


def test_a_source_that_gives_fewer_bytes_than_asked_for() -> None:
    remote = Remote(a__safetensors=GOOD)
    with pytest.raises(VenomError) as caught:
        check_headers(REF, remote.files, lambda file, offset, length: b"", ())
    assert "0 bytes came" in caught.value.found
    assert remote.reads == []


def test_errors_of_the_source_come_through() -> None:
    def read(file: RemoteFile, offset: int, length: int) -> bytes:
        raise VenomError("hub_unreachable", wanted="x", found="y", todo="z")

    with pytest.raises(VenomError) as caught:
        check_headers(REF, Remote(a__safetensors=GOOD, b__safetensors=GOOD).files, read)
    assert caught.value.reason_code == "hub_unreachable"


def mutate(source: random.Random, content: bytes) -> bytes:
    """A file with a few bytes changed, numbers replaced by extreme ones, parts cut out or doubled."""
    data = bytearray(content)
    for dummy in range(source.randint(1, 6)):
        place = source.randrange(len(data)) if data else 0
        kind = source.randrange(5)
        if kind == 0 and data:
            data[place] = source.randrange(256)
        elif kind == 1:
            data[place : place + 8] = struct.pack("<Q", source.choice((0, 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)))
        elif kind == 2:
            data[place : place + 4] = struct.pack("<I", source.choice((0, 8, 9, 12, 13, 2**31, 2**32 - 1)))
        elif kind == 3:
            del data[place : place + source.randint(1, 40)]
        else:
            data[place:place] = data[place : place + source.randint(1, 40)]
    return bytes(data)


@pytest.mark.parametrize("seed", range(100))
def test_random_damage_ends_in_a_refusal_or_in_acceptance(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    kind = ("safetensors", "gguf")[seed % 2]
    header = {f"t{number}": tensor(4 * number, 4 * number + 4) for number in range(20)}
    content = gguf_with() if kind == "gguf" else safetensors(dict(header, __metadata__={"format": "pt"}), b"x" * 80)
    verdicts: set[str] = set()
    tracemalloc.start()
    try:
        for dummy in range(20):
            damaged = mutate(source, content)
            path = tmp_path / f"m.{kind}"
            path.write_bytes(damaged)
            for is_local in (True, False):
                try:
                    if is_local:
                        check_weights(REF, path.name, str(path))
                    else:
                        check_headers(REF, *remote_of(path.name, damaged))
                    verdicts.add("accepted")
                except VenomError as error:
                    verdicts.add(error.reason_code)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert verdicts <= {"accepted", "unsupported_source"}
    assert "unsupported_source" in verdicts
    assert peak < 8 * 1024 * 1024


def remote_of(name: str, content: bytes) -> tuple[list[RemoteFile], t.Callable[[RemoteFile, int, int], bytes]]:
    remote = Remote()
    remote.contents[name] = content
    return remote.files, remote.read
