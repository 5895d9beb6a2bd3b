# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small files within bounds."""
from __future__ import annotations

from pathlib import Path

from ansible_collections.venom.llm.plugins.module_utils import model_files
from ansible_collections.venom.llm.plugins.module_utils.model_files import ModelFiles, local_files, sizes_in


def test_what_is_no_object_is_empty() -> None:
    contents = {"a.json": b'{"x": 1}', "b.json": b"[1]", "c.json": b"{", "d.json": b"\xff", "e.json": b'{"a":' * 100_000}
    files = ModelFiles({path: len(content) for path, content in contents.items()}, contents.get)
    assert files.json("a.json") == {"x": 1}
    assert [files.json(path) for path in ("b.json", "c.json", "d.json", "e.json", "missing.json")] == [{}] * 5


def test_a_file_is_read_once_and_a_large_one_never() -> None:
    asked: list[str] = []

    def read(path: str) -> bytes:
        asked.append(path)
        return b"{}"

    files = ModelFiles({"a.json": 2, "large.json": model_files.MAX_JSON_BYTES + 1}, read)
    files.json("a.json")
    files.json("a.json")
    assert files.json("large.json") == {} and asked == ["a.json"]


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": 1}')
    (tmp_path / "x.safetensors").write_bytes(b"short")
    (tmp_path / "x.gguf").write_bytes(b"GGUFshort")
    sizes = sizes_in(str(tmp_path), ["config.json", "x.safetensors", "x.gguf", "missing"])
    assert sizes == {"config.json": 8, "x.safetensors": 5, "x.gguf": 9}
    files = local_files(str(tmp_path), dict(sizes, missing=5))
    assert files.json("config.json") == {"a": 1} and files.read("missing") is None
    assert files.tensors("x.safetensors") is None and files.gguf("x.gguf") is None and files.tensors("missing") is None
    assert files.with_suffix(".gguf") == ["x.gguf"]
