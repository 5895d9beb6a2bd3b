# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever bytes a manifest has, what is taken over was written by us, is safe to act on, and reads back as it is."""
from __future__ import annotations

import json
import os
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.manifest_facts import with_facts
from ansible_collections.venom.llm.plugins.module_utils.manifest_reading import Reading, read_manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_seal import is_sealed, seal_of, sealed
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.manifest_samples import MODELS_DIR, entry, record, sample, spans, text_of

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

WHOLE = sample()
CONTENT = text_of(WHOLE)
SPANS = spans(CONTENT)
#: Spelled out, so that another order in the code is noticed.
SOURCES = ("declared", "probed", "detected")
PROFILE = hypothesis.settings(max_examples=150, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], database=None)

#: What JSON can say, also what Python reads and nobody should write.
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("\ud800")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=5,
)
WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=4,
)
FIELDS = st.sampled_from([*record(), "local_path", "status", "capabilities", "overridden", "formats", "parameters", "size_bytes", "seal", "x"])
RECORDS = st.builds(lambda changes: dict(record(), **changes), st.dictionaries(FIELDS, JSON, max_size=3))
HEADS = st.dictionaries(st.sampled_from(["schema", "models", "declared", "foreign", "updated_at", "seal", "x"]), JSON, max_size=4)


def read(content: bytes) -> Reading:
    return read_manifest(content, MODELS_DIR)


@PROFILE
@hypothesis.given(st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode())))
def test_no_bytes_are_fatal(content: bytes) -> None:
    assert read(content).entries == ()


@PROFILE
@hypothesis.given(HEADS, st.lists(RECORDS, max_size=3))
def test_what_is_taken_over_from_an_older_manifest_is_safe_and_stays_as_it_is(head: dict[str, t.Any], records: list[dict[str, t.Any]]) -> None:
    document = {"schema": 1, **head, "models": records}
    try:
        reading = read(json.dumps(document).encode())
    except VenomError as error:
        assert error.reason_code == "manifest_unreadable"
        return
    for item in reading.entries:
        root = item.local_path
        paths = [os.path.normpath(os.path.join(root, file.path)) for file in item.files]
        assert all(path.startswith(root + os.sep) for path in paths)
        assert item.provider != "huggingface" or root.startswith(MODELS_DIR + os.sep)
        assert Entry.from_dict(item.to_dict(), MODELS_DIR) == item
    manifest = Manifest(MODELS_DIR, reading.entries, reading.declared, reading.foreign, reading.unknown)
    again = read(text_of(manifest))
    assert (again.damage, again.entries, again.declared) == (None, manifest.models, manifest.declared)
    assert (again.foreign, again.unknown) == (manifest.foreign, manifest.unknown)


@PROFILE
@hypothesis.given(st.integers(0, len(CONTENT)), st.integers(0, 60), st.binary(max_size=60))
def test_whatever_is_written_over_a_place_only_what_it_touches_is_lost(start: int, length: int, patch: bytes) -> None:
    end = min(len(CONTENT), start + length)
    content = CONTENT[:start] + patch + CONTENT[end:]
    reading = read(content)
    touched = [place for place in SPANS if place[0] < end and start < place[1] or place[0] < start < place[1]]
    assert all(item in WHOLE.models for item in reading.entries) and reading.declared.items() <= WHOLE.declared.items()
    assert len(reading.entries) + len(reading.declared) >= len(SPANS) - len(touched)
    if reading.damage is None:
        assert (reading.entries, reading.declared) == (WHOLE.models, WHOLE.declared)


@PROFILE
@hypothesis.given(st.dictionaries(WORDS, PLAIN, max_size=4), st.randoms())
def test_a_seal_depends_on_what_is_said_and_not_on_how_it_is_written(part: dict[str, t.Any], dice: t.Any) -> None:
    keys = list(part)
    dice.shuffle(keys)
    other = json.loads(json.dumps({key: part[key] for key in keys}, indent=dice.choice([None, 1, 4]), ensure_ascii=dice.choice([True, False])))
    assert seal_of(other) == seal_of(part)
    assert is_sealed(json.loads(json.dumps(sealed(part))))
    assert not is_sealed({**sealed(part), "one key more": None})


NAMES = st.sampled_from(["supports_tools", "allowed_roles", "max_context_length", "other"])
FACTS = st.dictionaries(NAMES, st.one_of(st.booleans(), st.integers(), WORDS, st.lists(WORDS, max_size=2)))


@PROFILE
@hypothesis.given(FACTS, FACTS, FACTS, FACTS)
def test_declared_wins_whatever_the_order_of_events(declared: t.Any, probed: t.Any, detected: t.Any, former: t.Any) -> None:
    at_once = with_facts(entry(), declared, detected, probed)
    one_by_one = with_facts(with_facts(with_facts(with_facts(entry(), former), {}, detected), {}, probed=probed), declared)
    assert at_once == one_by_one
    layers = dict(zip(SOURCES, (declared, probed, detected)))
    for name, item in at_once.capabilities.items():
        best = next((source for source in SOURCES if name in layers[source]), None)
        assert item == {"value": layers[best][name] if best else None, "source": best}
    assert Entry.from_dict(json.loads(json.dumps(at_once.to_dict())), MODELS_DIR) == at_once
