# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON schema that is shipped, against manifests as they are written, and against ones that are wrong."""
from __future__ import annotations

import copy
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.manifest import SCHEMA, Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.manifest_samples import MODELS_DIR, NOW, sample

jsonschema = pytest.importorskip("jsonschema")

PATH = Path(__file__).resolve().parents[4] / "docs/manifest.schema.json"
WHOLE = sample().to_dict(NOW)


def problems(document: t.Any) -> list[str]:
    shipped = json.loads(PATH.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(shipped)
    return [error.json_path for error in jsonschema.Draft202012Validator(shipped).iter_errors(document)]


def test_what_is_written_is_as_the_schema_says() -> None:
    assert problems(json.loads(json.dumps(WHOLE))) == []
    assert problems(Manifest(MODELS_DIR).to_dict(NOW)) == []
    assert problems(Manifest(MODELS_DIR, unknown={"invented": 1}, foreign=["x", {}]).to_dict(NOW)) == []


def test_the_schema_knows_every_field_and_no_other() -> None:
    shipped = json.loads(PATH.read_text(encoding="utf-8"))
    record = shipped["$defs"]["model"]
    written = WHOLE["models"][0]
    assert set(record["properties"]) == set(record["required"]) == set(written)
    assert set(shipped["$defs"]["file"]["properties"]) == set(written["files"][0])
    assert set(shipped["properties"]) == set(shipped["required"]) == set(WHOLE)
    assert shipped["properties"]["schema"] == {"const": SCHEMA}
    assert set(record["properties"]) - {"seal"} == set(Entry.from_dict(written, MODELS_DIR).to_dict())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 1),
        (("updated_at",), "2026-01-01T00:00:00"),
        (("models", 0, "installed_at"), "2026-01-01T00:00:00"),
        (("models", 0, "provider"), "elsewhere"),
        (("models", 0, "revision"), "main"),
        (("models", 0, "size_bytes"), -1),
        (("models", 0, "capabilities"), {"supports_tools": True}),
        (("models", 0, "capabilities"), {"supports_tools": {"value": True, "source": "rumour"}}),
        (("models", 0, "files", 0, "digest"), "md5:1"),
        (("models", 0, "seal"), ""),
        (("declared",), {}),
    ],
)
def test_what_is_wrong_is_told(path: t.Sequence[t.Any], value: t.Any) -> None:
    document = copy.deepcopy(WHOLE)
    place: t.Any = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert problems(document)
