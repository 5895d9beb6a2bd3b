# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens to a manifest's bytes: what is undamaged is kept, what is damaged is not believed, and it is said."""
from __future__ import annotations

import copy
import json
import random
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import to_json
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_reading import Reading, is_confirmed, read_manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_seal import seal_of_head, sealed
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.manifest_samples import (
    MODELS_DIR,
    entry,
    record,
    sample,
    spans,
    text_of,
)

WHOLE = sample()
CONTENT = text_of(WHOLE)
SPANS = spans(CONTENT)
SEALS = {
    **{item["seal"]: item["name"] + item["revision"] for item in WHOLE.to_dict("")["models"]},
    **{item["seal"]: item["model"] for item in WHOLE.to_dict("")["declared"]},
}


def read(content: bytes) -> Reading:
    return read_manifest(content, MODELS_DIR)


def check(content: bytes, is_intact: t.Callable[[int, int], bool]) -> Reading:
    """Nothing wrong is believed; every part is there that ``is_intact`` by its place; what is not as it was is called damaged."""
    reading = read(content)
    assert all(item in WHOLE.models for item in reading.entries)
    assert reading.declared.items() <= WHOLE.declared.items()
    assert (reading.unknown, reading.older, reading.foreign) == ({}, (), ())
    known = {item.name + item.revision for item in reading.entries} | set(reading.declared)
    assert {SEALS[seal] for place, seal in SPANS.items() if is_intact(*place)} <= known
    if len(reading.entries) < len(WHOLE.models) or len(reading.declared) < len(WHOLE.declared):
        assert reading.damage is not None
    return reading


def test_the_sample_is_good() -> None:
    reading = read(CONTENT)
    assert (reading.damage, reading.entries, reading.declared) == (None, WHOLE.models, WHOLE.declared)
    assert len(SPANS) == 5 and set(SPANS.values()) == set(SEALS)


def test_cut_at_every_byte() -> None:
    for length in range(len(CONTENT) - 1):
        content = CONTENT[:length]
        reading = check(content, lambda dummy, end, length=length: end <= length)  # type: ignore[misc]
        assert reading.damage is not None


@pytest.mark.parametrize("seed", [None, 1])
def test_a_bit_flipped_in_every_byte(seed: int | None) -> None:
    """One bit of each byte in turn, from the lowest to the highest; with a seed a second, random one beside it."""
    dice = random.Random(seed)
    for offset in range(len(CONTENT)):
        places = [offset] if seed is None else [offset, dice.randrange(len(CONTENT))]
        content = bytearray(CONTENT)
        content[offset] ^= 1 << (offset % 8 if seed is None else dice.randrange(8))
        for place in places[1:]:
            content[place] ^= 1 << dice.randrange(8)
        if bytes(content) == CONTENT:
            continue
        reading = check(bytes(content), lambda begin, end, places=places: not any(begin <= place < end for place in places))  # type: ignore[misc]
        # Only the line end after the last brace may be another space.
        assert reading.damage is not None or bytes(content[:-1]) == CONTENT[:-1]


def test_every_bit_of_the_schema_and_of_what_names_the_lists() -> None:
    for word in (b'"schema": 2', b'"models"', b'"declared"', b'"seal"', b'"foreign": []'):
        start = CONTENT.rindex(word) if word == b'"seal"' else CONTENT.index(word)
        for offset in range(start, start + len(word)):
            for bit in range(8):
                content = bytearray(CONTENT)
                content[offset] ^= 1 << bit
                assert check(bytes(content), lambda dummy_begin, dummy_end: True).damage is not None


def overwritten(data: t.Any, path: t.Sequence[t.Any], value: t.Any) -> t.Any:
    changed = copy.deepcopy(data)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "kept", "said"),
    [
        (("models", 0, "alias"), "mine", 2, "record of 'a/b'"),
        (("models", 0, "seal"), "0" * 64, 2, "record of 'a/b'"),
        (("models", 0, "files", 0, "size"), 4, 2, "record of 'a/b'"),
        (("models", 0, "files", 0, "size"), 3.0, 2, "record of 'a/b'"),
        (("models", 0, "files", 0, "digest"), "sha256:" + "c" * 64, 2, "record of 'a/b'"),
        (("models", 0), "no record", 2, "record of None"),
        (("declared", 0, "capabilities"), {"supports_tools": True}, 3, "declared of 'huggingface:a/b'"),
        (("updated_at",), "2020-01-01T00:00:00+00:00", 3, "head"),
        (("schema",), 3, 3, "head"),
        (("schema",), True, 3, "head"),
        (("invented",), 1, 3, "head"),
        (("foreign",), [record()], 3, "head"),
    ],
)
def test_an_edit_by_hand_is_found_and_not_believed(path: t.Sequence[t.Any], value: t.Any, kept: int, said: str) -> None:
    reading = read(to_json(overwritten(WHOLE.to_dict("x"), path, value)))
    assert said in str(reading.damage)
    assert len(reading.entries) == kept and all(item in WHOLE.models for item in reading.entries)
    assert (reading.unknown, reading.foreign) == ({}, ())


def test_a_record_that_was_taken_out_added_or_moved_by_hand_is_found() -> None:
    data = WHOLE.to_dict("x")
    models = data["models"]
    for changed in (models[1:], [*models, models[0]], models[::-1], [*models, sealed(entry("e/f").to_dict())]):
        assert "head" in str(read(to_json(dict(data, models=changed))).damage)


def test_a_sealed_record_that_no_name_gate_passes_is_not_acted_on() -> None:
    data = dict(WHOLE.to_dict("x"), models=[sealed(record("../../etc"))])
    data["seal"] = seal_of_head(data)
    reading = read(to_json(data))
    assert (reading.entries, len(reading.foreign), reading.damage) == ((), 1, None)
    assert "is not usable" in reading.warnings[0]


def test_a_newer_manifest_is_refused_unless_it_is_damaged() -> None:
    newer = {"schema": 7, "models": {}, "invented": [1]}
    newer["seal"] = seal_of_head(newer)
    with pytest.raises(VenomError) as caught:
        read(to_json(newer))
    assert caught.value.reason_code == "manifest_unreadable"
    assert read(to_json(dict(newer, schema=8))).damage is not None
    assert read(to_json({"schema": 7, "models": []})).damage is not None


RUINS = [b"", b"\0" * 5000, b"{", b"[]", b"7", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"name": ' * 50_000, b'{"a":' * 900]


@pytest.mark.parametrize("content", RUINS)
def test_ruins(content: bytes) -> None:
    reading = read(content)
    assert (reading.entries, reading.declared) == ((), {})
    assert "unreadable" in str(reading.damage)


@pytest.mark.parametrize("value", ["NaN", "1e999", '"\\ud800"', "9" * 5000, "[" * 990 + "]" * 990])
def test_what_could_not_be_written_again_is_not_taken_over(value: str) -> None:
    assert "unreadable" in str(read(b'{"schema": 1, "models": [], "x": ' + value.encode() + b"}").damage)


def test_stores_that_a_damaged_manifest_names_are_hints() -> None:
    assert read(CONTENT[:-3]).stores == ("/nowhere/store",)
    assert read(CONTENT).stores == ()


ATOMS: t.Sequence[t.Any] = (
    *(None, True, 0, -1, 2**70, 1.5, "", "a/b", "phi3:mini", "ollama", "huggingface", "../x", "\0", "é", "1" * 40, "sha256:" + "a" * 64),
    *("2026-01-01T00:00:00", "installed", [], {}, [[]], {"": {}}),
)
KEYS = (
    *("schema", "models", "declared", "foreign", "updated_at", "seal", "name", "provider", "revision", "requested_revision", "alias", "files"),
    *("path", "size", "digest", "mtime_ns", "inode", "capabilities", "overridden", "value", "source", "supports_tools", "local_path", "formats"),
    *("parameters", "display_name", "installed_at", "size_bytes", "finished_at", "model", "x"),
)


def some_value(dice: random.Random, depth: int = 0) -> t.Any:
    kind = dice.random()
    if depth > 4 or kind < 0.4:
        return dice.choice(ATOMS)
    if kind < 0.6:
        return [some_value(dice, depth + 1) for dummy in range(dice.randrange(3))]
    return {dice.choice(KEYS): some_value(dice, depth + 1) for dummy in range(dice.randrange(6))}


def some_document(dice: random.Random) -> t.Any:
    """A random value, a manifest of random records, or a good one with random values in random places."""
    kind = dice.random()
    if kind < 0.2:
        return some_value(dice)
    if kind < 0.5:
        items = [dict(record(), **{dice.choice(KEYS): some_value(dice, 2)}) for dummy in range(3)]
        return {"schema": 1, "models": items, "declared": some_value(dice, 2), dice.choice(KEYS): some_value(dice, 2)}
    if kind < 0.7:
        return {"models": dice.choice([list, dict])(), dice.choice(KEYS): some_value(dice)}
    data = WHOLE.to_dict("2026-01-02T03:04:05+00:00")
    place = dice.choice([data, *data["models"], *data["declared"], *data["models"][0]["files"]])
    place[dice.choice(KEYS)] = some_value(dice, 2)
    if dice.random() < 0.5:
        # Sealed again, as somebody would do who knows how: then the gates of names and types are all that is left.
        models = data["models"] if isinstance(data["models"], list) else []
        data["models"] = [sealed(item) if isinstance(item, dict) else item for item in models]
        data["seal"] = seal_of_head(data)
    return data


def test_a_thousand_random_documents() -> None:
    """None is fatal, and what is taken over can be written and reads back as the same."""
    damaged = refused = 0
    for seed in range(1000):
        dice = random.Random(seed)
        document = some_document(dice)
        try:
            reading = read(json.dumps(document).encode())
        except VenomError:
            assert document["schema"] > 2
            refused += 1
            continue
        damaged += reading.damage is not None
        manifest = Manifest(MODELS_DIR, reading.entries, reading.declared, reading.foreign, reading.unknown)
        again = read(text_of(manifest))
        assert again.damage is None, (seed, again.damage)
        assert (sorted(map(repr, again.entries)), again.declared) == (sorted(map(repr, manifest.models)), manifest.declared), seed
        assert (list(again.foreign), again.unknown) == (list(manifest.foreign), manifest.unknown), seed
    assert damaged > 100 and refused < 50


def test_an_older_record_is_confirmed_by_a_record_of_the_model() -> None:
    older = {"name": "a/b", "provider": "huggingface"}
    assert is_confirmed(older, [entry()])
    assert not is_confirmed(older, [entry("c/d")])
    assert not is_confirmed("a/b", [entry()]) and not is_confirmed(record(), [entry()])
