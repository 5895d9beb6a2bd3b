# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that lie on the host with their records, for tests of whatever reads their files."""
from __future__ import annotations

import hashlib
import json
import typing as t
from pathlib import Path

from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord, snapshot_path, snapshot_sha256
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef
from lab import models

COMMIT = "a" * 40


def installed(root: Path, name: str = "a/b", commit: str = COMMIT, config: t.Mapping[str, t.Any] | None = None, **options: t.Any) -> Entry:
    """A tiny Llama in the models folder ``root``, in its manifest, too; ``config`` changes its configuration."""
    folder = Path(snapshot_path(str(root), ModelRef.parse(name), commit))
    models.llama(folder, **options)
    if config is not None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    records = []
    for path in sorted(folder.iterdir()):
        status = path.stat()
        digest = Digest("sha256", hashlib.sha256(path.read_bytes()).hexdigest())
        records.append(FileRecord(path.name, status.st_size, digest, status.st_mtime_ns, status.st_ino))
    entry = Entry(
        name=name,
        provider="huggingface",
        runtime="vllm",
        revision=commit,
        requested_revision="main",
        alias=None,
        local_path=str(folder),
        size_bytes=sum(record.size for record in records),
        files=tuple(records),
        sha256=snapshot_sha256(records),
        installed_at="2026-01-01T00:00:00+00:00",
    )
    Manifest.load(str(root)).merge(entry).save()
    return entry
