# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hub says about repositories: JSON for files, trees and models, with the lies of listing faults."""
from __future__ import annotations

import datetime
import fnmatch
import json
import typing as t
from dataclasses import dataclass, replace

from lab.hub.faults import FaultPlan
from lab.hub.repos import Commit, Repo
from lab.hub.wire import Request

#: Content of files that exist only because a listing fault added their names.
BAIT = b"bait of the lab\n"
Json = dict[str, t.Any]


@dataclass(frozen=True)
class Listed:
    """A file as a listing tells it, true or not."""

    path: str
    size: int
    oid: str
    sha256: str | None
    pointer_size: int

    def tree_entry(self) -> Json:
        """As the tree and paths-info endpoints give it."""
        entry: Json = {"type": "file", "oid": self.oid, "size": self.size, "path": self.path}
        if self.sha256 is not None:
            entry["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": self.pointer_size}
        return entry

    def sibling(self, blobs: bool) -> Json:
        """As the siblings of a model give it."""
        entry: Json = {"rfilename": self.path}
        if blobs:
            entry.update(blobId=self.oid, size=self.size)
            if self.sha256 is not None:
                entry["lfs"] = {"sha256": self.sha256, "size": self.size, "pointerSize": self.pointer_size}
        return entry


def listed_files(commit: Commit, request: Request, faults: FaultPlan) -> list[Listed]:
    """The files of a commit in order of path, after listing faults."""
    files = [
        Listed(file.path, file.size, file.oid, file.sha256 if file.lfs else None, file.pointer_size)
        for dummy, file in sorted(commit.files.items())
    ]
    for fault in faults.take_all(request, "listing"):
        if fault.what == "empty":
            files = []
        elif fault.what == "drop":
            files = [file for file in files if not fnmatch.fnmatchcase(file.path, fault.file)]
        elif fault.what in ("add", "hostile"):
            files += [Listed(name, len(BAIT), "0" * 40, None, 0) for name in fault.names]
        else:
            files = [_lie(file, fault.what, fault.value) if fnmatch.fnmatchcase(file.path, fault.file) else file for file in files]
    return files


def _lie(file: Listed, what: str, value: str | int) -> Listed:
    if what == "size":
        return replace(file, size=int(value))
    if what == "oid":
        return replace(file, oid=str(value or "0" * 40))
    if what == "no_lfs":
        return replace(file, sha256=None)
    return replace(file, sha256=str(value or "0" * 64)) if file.sha256 is not None else file


def tree(commit: Commit, files: t.Sequence[Listed], folder: str, recursive: bool) -> list[Json]:
    """Entries of a folder ('' is the root): folders first, as the Hub orders them, then files."""
    prefix = folder + "/" if folder else ""
    folders = [path for path in sorted(commit.trees) if path and path.startswith(prefix)]
    inside = [file for file in files if file.path.startswith(prefix)]
    if not recursive:
        folders = [path for path in folders if "/" not in path[len(prefix) :]]
        inside = [file for file in inside if "/" not in file.path[len(prefix) :]]
    entries: list[Json] = [{"type": "directory", "oid": commit.trees[path], "size": 0, "path": path} for path in folders]
    return entries + [file.tree_entry() for file in inside]


def date(seconds: int) -> str:
    """A time as the Hub writes it."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _card(commit: Commit) -> Json:
    """The front matter of README.md, as far as plain values and lists of them go."""
    file = commit.files.get("README.md")
    lines = file.source.read_text(encoding="utf-8", errors="replace").split("\n") if file else []
    card: Json = {}
    key = ""
    for line in lines[1:] if lines and lines[0] == "---" else []:
        if line == "---":
            break
        name, colon, value = line.partition(":")
        if line.startswith("- ") and key:
            card[key] = [*(card[key] if isinstance(card[key], list) else []), line[2:].strip()]
        elif colon:
            key = name.strip()
            card[key] = value.strip()
    return card


def _json_file(commit: Commit, name: str) -> Json:
    file = commit.files.get(name)
    try:
        data = json.loads(file.source.read_text(encoding="utf-8")) if file else {}
    except ValueError:
        data = {}
    return data if isinstance(data, dict) else {}


def _parameters(commit: Commit) -> Json | None:
    """How many parameters of each type the safetensors headers announce; None for a broken or absent file."""
    counts: dict[str, int] = {}
    for file in commit.files.values():
        if not file.path.endswith(".safetensors"):
            continue
        with open(file.source, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            text = stream.read(length) if length <= file.size - 8 else b""
        try:
            header = json.loads(text)
        except ValueError:
            return None
        header.pop("__metadata__", None)
        for tensor in header.values():
            number = 1
            for size in tensor["shape"]:
                number *= size
            counts[tensor["dtype"]] = counts.get(tensor["dtype"], 0) + number
    return {"parameters": counts, "total": sum(counts.values())} if counts else None


def model(repo: Repo, commit: Commit, files: t.Sequence[Listed] | None, blobs: bool = False) -> Json:
    """A model as /api/models/{id} gives it; ``files`` None leaves the siblings out, as the list of models does."""
    card = _card(commit)
    config = _json_file(commit, "config.json")
    tags = [*(card.get("tags") or []), *([f"license:{card['license']}"] if card.get("license") else [])]
    library = card.get("library_name", "transformers" if config else None)
    known: Json = {key: config[key] for key in ("architectures", "model_type", "auto_map") if key in config}
    first = min(item.time for item in repo.commits.values())
    data: Json = {
        "_id": commit.id[:24],
        "id": repo.id,
        "modelId": repo.id,
        "author": repo.id.partition("/")[0],
        "sha": commit.id,
        "lastModified": date(commit.time),
        "createdAt": date(first),
        "private": repo.private,
        "gated": repo.gated or False,
        "disabled": repo.disabled,
        "downloads": repo.downloads,
        "likes": repo.likes,
        "tags": [*([library] if library else []), *([config["model_type"]] if "model_type" in config else []), *tags],
        "pipeline_tag": card.get("pipeline_tag"),
        "library_name": library,
        "cardData": card,
        "config": known,
        "usedStorage": sum(file.size for file in commit.files.values()),
        "spaces": [],
    }
    parameters = _parameters(commit)
    if parameters:
        data["safetensors"] = parameters
    if files is not None:
        data["siblings"] = [file.sibling(blobs) for file in files]
    return {key: value for key, value in data.items() if value is not None}
