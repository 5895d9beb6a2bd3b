# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small manifest of every kind of record, and where in its text the sealed parts are."""
from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.files import to_json
from ansible_collections.venom.llm.plugins.module_utils.manifest import Entry, Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_facts import with_facts

MODELS_DIR = "/nowhere/models"
ONE, TWO = "1" * 40, "2" * 40
NOW = "2026-01-02T03:04:05+00:00"


def record(name: str = "a/b", revision: str = ONE, **changes: t.Any) -> dict[str, t.Any]:
    """A record as schema 1 had it, with what it must have."""
    data = {
        "name": name,
        "provider": "huggingface",
        "revision": revision,
        "requested_revision": "main",
        "alias": None,
        "installed_at": "2026-01-01T00:00:00+00:00",
        "files": [{"path": "config.json", "size": 3, "digest": "sha256:" + "a" * 64, "mtime_ns": 1, "inode": 2}],
    }
    data.update(changes)
    return data


def entry(name: str = "a/b", revision: str = ONE, **changes: t.Any) -> Entry:
    """The record as a value."""
    return Entry.from_dict(record(name, revision, **changes), MODELS_DIR)


def sample(models_dir: str = MODELS_DIR) -> Manifest:
    """Two revisions of one model, one of them with facts from every source, and an Ollama model in a store."""
    pulled = record("phi3:mini", "sha256:" + "b" * 64, provider="ollama", local_path="/nowhere/store", alias="phi")
    records = [record(), record(revision=TWO, alias="gemma", display_name="Gémma"), pulled]
    one, two, three = (Entry.from_dict(item, models_dir) for item in records)
    declared = {"supports_tools": False, "allowed_roles": ["user"]}
    two = with_facts(two, declared, {"supports_tools": True, "max_context_length": 4096}, {"supports_system_role": False})
    return Manifest(models_dir, [one, two, three]).declare("huggingface:a/b", declared).declare("ollama:gone", {"max_context_length": 7})


def text_of(manifest: Manifest) -> bytes:
    """The file that would be written."""
    return to_json(manifest.to_dict(NOW))


def spans(content: bytes) -> dict[tuple[int, int], str]:
    """First byte and end of each sealed part in an undamaged text, with the part's own seal."""
    text = content.decode("utf-8")
    found: dict[tuple[int, int], str] = {}
    for match in re.finditer(r'\{\s*"(?:name|model)":', text):
        part, end = json.JSONDecoder().raw_decode(text, match.start())
        found[(len(text[: match.start()].encode()), len(text[:end].encode()))] = part["seal"]
    return found
