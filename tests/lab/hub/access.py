# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may see what: the answers of the Hub to missing, private and gated repositories and to wrong tokens."""
from __future__ import annotations

import typing as t
import urllib.parse

from lab.hub.repos import Commit, Repo
from lab.hub.wire import Answer, HubError, Request

if t.TYPE_CHECKING:
    from lab.hub.server import Hub


def user_of(hub: Hub, request: Request) -> str | None:
    """The user of the request's token, None without a token; a token that nobody has is refused with 401."""
    token = request.token
    if token is None:
        return None
    user = hub.tokens.get(token)
    if user is None:
        raise HubError(401, "Invalid credentials in Authorization header")
    request.entry.user = user
    return user


def moved(hub: Hub, request: Request, repo_id: str) -> Answer | None:
    """A redirect (307, relative, as the Hub gives it) if the repository was renamed."""
    new = hub.store.renamed.get(repo_id)
    if new is None:
        return None
    parts = urllib.parse.urlsplit(request.target)
    location = parts.path.replace(repo_id, new, 1) + (f"?{parts.query}" if parts.query else "")
    return Answer(307, {"Location": location})


def repo_for(hub: Hub, request: Request, repo_id: str, content: bool = False) -> Repo:
    """The repository, if this request may see it; ``content`` asks for its files, not only for what is told about it.

    Raises HubError: RepoNotFound (401 without a token, 404 with one; a private one looks the same), GatedRepo (401 or 403).
    """
    user = user_of(hub, request)
    repo = hub.store.repos.get(repo_id)
    if repo is None or (repo.private and user not in repo.readers):
        if user is None:
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        raise HubError(404, "Repository not found", "RepoNotFound")
    if repo.disabled:
        raise HubError(403, "Access to this resource is disabled.")
    if content and repo.gated and user not in repo.readers:
        text = f"Access to model {repo_id} is restricted"
        if user is None:
            raise HubError(401, f"{text}. You must have access to it and be authenticated to access it. Please log in.", "GatedRepo")
        raise HubError(403, f"{text} and you are not in the authorized list. Visit its page to ask for access.", "GatedRepo")
    return repo


def commit_for(repo: Repo, revision: str) -> Commit:
    """The commit of a revision; raises HubError RevisionNotFound."""
    commit = repo.resolve(revision)
    if commit is None:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit
