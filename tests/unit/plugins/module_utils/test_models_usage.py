# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk by model, and who may go."""
from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord
from ansible_collections.venom.llm.plugins.module_utils.models_usage import (
    distinct_bytes,
    largest,
    least_recently_active,
    read_activity,
    usage_by_model,
)
from ansible_collections.venom.llm.plugins.module_utils.names import Digest


def entry(name: str, files: dict[str, tuple[str, int]]) -> Entry:
    """A record; each file with a digit that stands for its digest, and its size."""
    records = tuple(FileRecord(path, size, Digest("sha256", digit * 64)) for path, (digit, size) in files.items())
    return Entry(name, "huggingface", "vllm", "a" * 40, "main", None, "/x", sum(r.size for r in records), records, "0" * 64, None)


MODELS = (
    entry("a/large", {"w": ("1", 100), "t": ("2", 10)}),
    entry("a/twin", {"w": ("1", 100), "u": ("3", 20), "v": ("3", 20)}),
    entry("a/small", {"w": ("4", 5)}),
    Entry("o:latest", "ollama", "ollama", "sha256:" + "a" * 64, "latest", None, "", 7, (), "", None),
)


@pytest.fixture()
def manifest(tmp_path: Path) -> Manifest:
    found = Manifest(str(tmp_path / "models"))
    for model in MODELS:
        found = found.merge(model)
    return found


def test_shared_contents_count_once(manifest: Manifest) -> None:
    usages = {usage.name: usage for usage in usage_by_model(manifest, None)}
    assert (usages["a/large"].size_bytes, usages["a/large"].own_bytes, usages["a/large"].shared_bytes) == (110, 10, 100)
    assert (usages["a/twin"].size_bytes, usages["a/twin"].own_bytes) == (120, 20)
    assert usages["o:latest"].own_bytes == 7
    assert distinct_bytes(manifest) == 100 + 10 + 20 + 5 + 7
    assert usages["a/small"].to_dict()["shared_bytes"] == 0


def test_the_largest_and_the_idle(manifest: Manifest, tmp_path: Path) -> None:
    item = {"model": "a/large", "revision": "a" * 40, "activated_at": "2026-03-01T00:00:00+00:00"}
    older = dict(item, activated_at="2026-01-01T00:00:00Z")
    twin = dict(item, model="a/twin", activated_at="2026-02-01T00:00:00+00:00")
    (tmp_path / "runtime.json").write_text(json.dumps({"active": {"vllm": twin, "ollama": None}, "history": [twin, older, item, "x", {"model": 5}]}))
    usages = usage_by_model(manifest, str(tmp_path))
    assert [usage.name for usage in largest(usages)] == ["a/twin", "a/large", "o:latest"]
    assert [usage.name for usage in least_recently_active(usages)] == ["o:latest", "a/small", "a/large"]
    known = {usage.name: usage for usage in usages}
    assert known["a/large"].active_at == "2026-03-01T00:00:00+00:00" and not known["a/large"].active and known["a/twin"].active


@pytest.mark.parametrize("content", ["", "{", "[]", '{"active": 5, "history": 6}', '{"active": {"vllm": "x"}}'])
def test_a_record_without_sense_tells_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / "runtime.json").write_text(content)
    assert read_activity(str(tmp_path)) == (set(), {}) == read_activity(str(tmp_path / "none"))
