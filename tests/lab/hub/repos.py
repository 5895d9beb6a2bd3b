# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories of the hub: commits of files, branches and tags, with the digests that the real Hub gives."""
from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import threading
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

#: Files that the Hub's default .gitattributes gives to LFS, plus everything above LFS_ABOVE bytes.
LFS_PATTERNS = ("*.safetensors", "*.bin", "*.gguf", "*.pt", "*.pth", "*.ckpt", "*.onnx", "*.h5", "*.msgpack", "*.pkl")
LFS_ABOVE = 10_000_000
#: Commits are dated from here on, one day apart, so that ids do not depend on the clock.
_FIRST_COMMIT = 1_767_225_600
_BLOCK = 1 << 20


@dataclass(frozen=True)
class HubFile:
    """One file of a commit. ``oid`` is its git blob id; for an LFS file that of the pointer, and ``sha256`` names the content."""

    path: str
    size: int
    oid: str
    sha256: str
    lfs: bool
    pointer_size: int
    source: Path

    @property
    def etag(self) -> str:
        """What the Hub gives as the ETag, without quotes: sha256 for LFS, git sha1 for the rest."""
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    """A commit: 40 hex digits that depend on content, parent and title only."""

    id: str
    title: str
    time: int
    parent: str | None
    files: t.Mapping[str, HubFile]
    trees: t.Mapping[str, str]


@dataclass
class Repo:
    """A model repository. ``gated`` is '', 'auto' or 'manual'; ``readers`` are the users who may read a gated or private one."""

    id: str
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    gated: str = ""
    private: bool = False
    disabled: bool = False
    readers: set[str] = field(default_factory=set)
    downloads: int = 0
    likes: int = 0

    def resolve(self, revision: str) -> Commit | None:
        """The commit of a branch, a tag, a commit id, or ``refs/...``; None if there is none."""
        name = revision
        for prefix in ("refs/heads/", "refs/tags/"):
            if revision.startswith(prefix):
                name = revision[len(prefix) :]
        found = self.branches.get(name) or self.tags.get(name) or revision
        return self.commits.get(found)

    @property
    def head(self) -> Commit:
        """The commit that branch main points to."""
        return self.commits[self.branches["main"]]


def _git_object(kind: str, data: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()


def _digests(path: Path) -> tuple[int, str, str]:
    """Size, git blob id and sha256 of a file, read once."""
    size = path.stat().st_size
    sha1, sha256 = hashlib.sha1(f"blob {size}\0".encode()), hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            sha1.update(block)
            sha256.update(block)
    return size, sha1.hexdigest(), sha256.hexdigest()


def _trees(files: t.Iterable[HubFile]) -> dict[str, str]:
    """Git tree id of each folder ('' is the root)."""
    children: dict[str, dict[str, tuple[str, str]]] = {"": {}}
    for file in files:
        folder, dummy, name = file.path.rpartition("/")
        children.setdefault(folder, {})[name] = ("100644", file.oid)
        while folder:
            folder, dummy, dummy = folder.rpartition("/")
            children.setdefault(folder, {})
    ids: dict[str, str] = {}
    for folder in sorted(children, key=lambda path: (-path.count("/"), path == "", path)):
        entries = children[folder]
        order = sorted(entries, key=lambda name: name + ("/" if entries[name][0] == "40000" else ""))
        data = b"".join(f"{entries[name][0]} {name}\0".encode() + bytes.fromhex(entries[name][1]) for name in order)
        ids[folder] = _git_object("tree", data)
        if folder:
            parent, dummy, name = folder.rpartition("/")
            children[parent][name] = ("40000", ids[folder])
    return ids


class RepoStore:
    """All repositories of a hub. Content is copied in (or read in place), so a folder may change after it was added."""

    def __init__(self, blobs: Path) -> None:
        self.blobs = blobs
        self.repos: dict[str, Repo] = {}
        self.renamed: dict[str, str] = {}
        self.lfs_files: dict[tuple[str, str], HubFile] = {}
        self.lock = threading.RLock()

    def _keep(self, path: Path, sha256: str, copy: bool) -> Path:
        if not copy:
            return path
        self.blobs.mkdir(parents=True, exist_ok=True)
        blob = self.blobs / sha256
        if not blob.exists():
            shutil.copyfile(path, blob)
        return blob

    def _read(self, folder: Path, copy: bool, lfs: t.Sequence[str]) -> dict[str, HubFile]:
        files: dict[str, HubFile] = {}
        for root, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if name not in (".git", ".cache"))
            for name in sorted(names):
                path = Path(root) / name
                key = path.relative_to(folder).as_posix()
                size, sha1, sha256 = _digests(path)
                large = size > LFS_ABOVE or any(fnmatch.fnmatchcase(name, pattern) for pattern in lfs)
                pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
                oid = _git_object("blob", pointer) if large else sha1
                files[key] = HubFile(key, size, oid, sha256, large, len(pointer), self._keep(path, sha256, copy))
        return files

    def commit(
        self,
        repo_id: str,
        folder: str | Path,
        *,
        branch: str = "main",
        title: str = "",
        copy: bool = True,
        lfs: t.Sequence[str] = LFS_PATTERNS,
    ) -> str:
        """Add a commit with the files of a folder (all of them: what is not in the folder is gone); return its id.

        A new branch starts from main. ``copy=False`` serves the files in place; they must not change then.
        """
        files = self._read(Path(folder), copy, lfs)
        trees = _trees(files.values())
        with self.lock:
            repo = self.repos.setdefault(repo_id, Repo(repo_id))
            parent = repo.branches.get(branch) or repo.branches.get("main")
            title = title or ("initial commit" if parent is None else "update")
            when = _FIRST_COMMIT + 86400 * len(repo.commits)
            text = f"tree {trees['']}\n" + (f"parent {parent}\n" if parent else "")
            text += f"author lab <lab@example.org> {when} +0000\ncommitter lab <lab@example.org> {when} +0000\n\n{title}\n"
            commit = Commit(_git_object("commit", text.encode()), title, when, parent, files, trees)
            repo.commits[commit.id] = commit
            repo.branches[branch] = commit.id
            repo.branches.setdefault("main", commit.id)
            self.lfs_files.update(((repo_id, file.sha256), file) for file in files.values() if file.lfs)
        return commit.id

    def history(self, repo: Repo, commit: Commit) -> t.Iterator[Commit]:
        """A commit and its ancestors, newest first."""
        current: Commit | None = commit
        while current is not None:
            yield current
            current = repo.commits.get(current.parent) if current.parent else None
