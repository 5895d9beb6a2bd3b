# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a model as the readers of facts see them, wherever they lie: names, sizes, and small contents within bounds."""
from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import load_json
from ansible_collections.venom.llm.plugins.module_utils.config_values import Config
from ansible_collections.venom.llm.plugins.module_utils.files import safe_join
from ansible_collections.venom.llm.plugins.module_utils.gguf_header import GgufFacts, check_gguf
from ansible_collections.venom.llm.plugins.module_utils.safetensors_header import read_safetensors_header

#: No configuration that is read is above this many bytes; an index of 200 000 tensors has 20 MB.
MAX_JSON_BYTES = 64 * 1024 * 1024

Read = t.Callable[[str], t.Optional[bytes]]


def _tells_nothing(dummy: str) -> None:
    return None


@dataclass(frozen=True)
class ModelFiles:
    """``sizes`` in bytes by path. ``read`` gives a small file, ``tensors`` a safetensors header, ``gguf`` the facts of a GGUF file; each
    None where it cannot be had.
    """

    sizes: t.Mapping[str, int]
    read: Read
    tensors: t.Callable[[str], t.Mapping[str, t.Any] | None] = _tells_nothing
    gguf: t.Callable[[str], GgufFacts | None] = _tells_nothing
    _seen: dict[str, Config] = field(default_factory=dict, compare=False, repr=False)

    def json(self, path: str) -> Config:
        """An object in JSON; empty where the file is missing, oversized, malformed or anything else."""
        if path not in self._seen:
            self._seen[path] = self._load(path)
        return self._seen[path]

    def _load(self, path: str) -> Config:
        if not 0 < self.sizes.get(path, 0) <= MAX_JSON_BYTES:
            return {}
        content = self.read(path)
        try:
            value = {} if content is None else load_json(content)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def with_suffix(self, suffix: str) -> list[str]:
        """Paths that end so, in order."""
        return sorted(path for path in self.sizes if path.lower().endswith(suffix))


def local_files(folder: str, sizes: t.Mapping[str, int]) -> ModelFiles:
    """The files of a folder on this host."""

    def read(path: str) -> bytes | None:
        try:
            with open(safe_join(folder, path), "rb") as stream:
                return stream.read(MAX_JSON_BYTES + 1)
        except OSError:
            return None

    def tensors(path: str) -> t.Mapping[str, t.Any] | None:
        try:
            return read_safetensors_header(safe_join(folder, path))
        except (OSError, ValueError):
            return None

    def gguf(path: str) -> GgufFacts | None:
        try:
            return check_gguf(safe_join(folder, path))
        except (OSError, ValueError):
            return None

    return ModelFiles(sizes, read, tensors, gguf)


def sizes_in(folder: str, paths: t.Iterable[str]) -> dict[str, int]:
    """Sizes of files below a folder, without those that are not there."""
    found: dict[str, int] = {}
    for path in paths:
        try:
            found[path] = os.stat(safe_join(folder, path)).st_size
        except OSError:
            continue
    return found
