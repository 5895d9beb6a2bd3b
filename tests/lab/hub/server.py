# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub itself: its repositories, one or two listeners, and what a test may change."""
from __future__ import annotations

import typing as t
from pathlib import Path

from lab.hub import api, content
from lab.hub.repos import RepoStore
from lab.hub.site import Site
from lab.hub.wire import Answer, HubError, Request, error, json_answer


class Hub(Site):
    """A hub in this process; use as a context manager, or start() and stop().

    ``cdn_host`` (such as 127.0.0.2) opens a second listener that serves LFS files only. ``tokens`` maps tokens to users.
    ``pem`` is a file with certificate and key for https. ``page_size`` is the most entries of a listing page.
    ``resolve_cache`` answers small files with a relative 307 to /api/resolve-cache first, as huggingface.co does.
    """

    spoken = ("/api",)

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        cdn_host: str | None = None,
        cdn_port: int = 0,
        tokens: t.Mapping[str, str] | None = None,
        page_size: int = 1000,
        resolve_cache: bool = False,
        log_path: str | Path | None = None,
        pem: str | Path | None = None,
    ) -> None:
        super().__init__({"hub": (host, port), **({"cdn": (cdn_host, cdn_port)} if cdn_host else {})}, log_path=log_path, pem=pem)
        self.tokens: dict[str, str] = dict(tokens or {})
        self.page_size = page_size
        self.resolve_cache = resolve_cache
        self.store = RepoStore(self.folder / "blobs")

    def __enter__(self) -> Hub:
        self.start()
        return self

    def down(self, name: str = "hub", seconds: float | None = None) -> None:
        """Close a listener and its connections: clients are refused, for so many seconds or until up()."""
        names = self.listeners(name)
        if seconds is None:
            self.close(*names)
        else:
            self.nap(names, seconds, delay=0.1)

    def refuse(self, request: Request, status: int, message: str, code: str = "") -> Answer:
        """An error as the Hub sends it."""
        return error(status, message, code)

    def route(self, request: Request) -> Answer:
        """Answer a request that is not one of control."""
        parts = request.segments
        if parts[0] == "lfs" and len(parts) > 3 and request.method in ("GET", "HEAD"):
            return content.lfs(self, request)
        if request.listener == "hub":
            if parts[:2] == ("api", "resolve-cache") and len(parts) > 6 and request.method in ("GET", "HEAD"):
                return content.cached(self, request)
            if parts[0] == "api":
                return api.answer(self, request)
            if len(parts) > 3 and "resolve" in parts[1:3] and request.method in ("GET", "HEAD"):
                return content.resolve(self, request)
        raise HubError(404, "Sorry, we can't find the page you are looking for.")

    def control(self, request: Request, route: tuple[str, str]) -> Answer:
        """Repositories, commits and their settings, over HTTP."""
        if route == ("GET", "repos"):
            return json_answer({repo.id: {"branches": repo.branches, "tags": repo.tags} for repo in self.store.repos.values()})
        fields = request.fields()
        if route == ("POST", "commit"):
            known = {key: str(fields[key]) for key in ("branch", "title", "tag") if key in fields}
            return json_answer({"commit": self.add_repo(str(fields["repo"]), str(fields["folder"]), **known)})
        if route == ("POST", "repo"):
            self.configure(str(fields.pop("repo")), **fields)
            return json_answer({})
        raise HubError(404, "no such control route; see README.md")

    def add_repo(self, repo_id: str, folder: str | Path, *, tag: str = "", **options: t.Any) -> str:
        """Add a commit (and the repository, if it is new) with the files of a folder; return the commit id. See RepoStore.commit."""
        commit = self.store.commit(repo_id, folder, **options)
        if tag:
            self.store.repos[repo_id].tags[tag] = commit
        return commit

    def configure(self, repo_id: str, **changes: t.Any) -> None:
        """Set gated, private, disabled, readers, downloads or likes of a repository."""
        repo = self.store.repos[repo_id]
        for name, value in changes.items():
            if name not in ("gated", "private", "disabled", "readers", "downloads", "likes"):
                raise ValueError(f"a repository has no setting {name!r}")
            setattr(repo, name, set(value) if name == "readers" else value)

    def rename(self, old: str, new: str) -> None:
        """Rename a repository; the old name answers 307, as on the Hub."""
        with self.store.lock:
            repo = self.store.repos.pop(old)
            repo.id = new
            self.store.repos[new] = repo
            self.store.renamed[old] = new
            for (name, sha256), file in list(self.store.lfs_files.items()):
                if name == old:
                    self.store.lfs_files[(new, sha256)] = file
