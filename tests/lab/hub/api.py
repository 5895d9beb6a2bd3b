# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes under /api, as huggingface_hub 2.4 asks them."""
from __future__ import annotations

import base64
import json
import typing as t
import urllib.parse

from lab.hub import access
from lab.hub.listing import date, listed_files, model, tree
from lab.hub.repos import Commit, Repo
from lab.hub.wire import Answer, HubError, Request, json_answer

if t.TYPE_CHECKING:
    from lab.hub.server import Hub

_ACTIONS = frozenset({"revision", "tree", "paths-info", "refs", "commits", "auth-check", "resolve"})
_SUMMARY = ("_id", "id", "modelId", "likes", "private", "downloads", "tags", "pipeline_tag", "library_name", "createdAt")
_SORTS = ("downloads", "likes", "lastModified", "createdAt")


def answer(hub: Hub, request: Request) -> Answer:
    """Answer a request whose path starts with /api."""
    parts = request.segments[1:]
    if parts == ("whoami-v2",):
        return _whoami(hub, request)
    if parts and parts[0] == "models":
        if len(parts) == 1:
            return _models(hub, request)
        return _model_routes(hub, request, parts[1:])
    raise HubError(404, "Sorry, we can't find the page you are looking for.")


def _model_routes(hub: Hub, request: Request, parts: tuple[str, ...]) -> Answer:
    width = 1 if len(parts) == 1 or parts[1] in _ACTIONS else 2
    repo_id, action, rest = "/".join(parts[:width]), parts[width : width + 1], parts[width + 1 :]
    moved = access.moved(hub, request, repo_id)
    if moved is not None:
        return moved
    repo = access.repo_for(hub, request, repo_id, content=action == ("auth-check",))
    verb = action[0] if action else "revision"
    if verb == "refs":
        return _refs(repo)
    if verb == "auth-check":
        return json_answer({})
    commit = access.commit_for(repo, rest[0] if rest else "main")
    if verb == "revision":
        return _model(hub, request, repo, commit)
    if verb == "tree":
        return _tree(hub, request, commit, "/".join(rest[1:]))
    if verb == "paths-info":
        return _paths_info(hub, request, commit)
    if verb == "commits":
        return json_answer([_commit(item) for item in hub.store.history(repo, commit)], X_Total_Count=str(len(repo.commits)))
    raise HubError(404, "Sorry, we can't find the page you are looking for.")


def _whoami(hub: Hub, request: Request) -> Answer:
    user = access.user_of(hub, request)
    if user is None:
        raise HubError(401, "Invalid username or password.")
    token = {"displayName": "lab", "role": "read", "createdAt": date(0)}
    return json_answer(
        {
            "type": "user",
            "id": hub.log.hash(user),
            "name": user,
            "fullname": user,
            "email": f"{user}@example.org",
            "isPro": False,
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def _page(hub: Hub, request: Request, items: t.Sequence[t.Any], size: int) -> Answer:
    """One page of a list, with the Link header that leads to the next."""
    try:
        start = json.loads(base64.urlsafe_b64decode(request.option("cursor", "MA==")))
    except ValueError:
        raise HubError(400, "Invalid cursor") from None
    found = json_answer(list(items[start : start + size]))
    if start + size < len(items):
        query = {**request.query, "cursor": [base64.urlsafe_b64encode(str(start + size).encode()).decode()]}
        path = urllib.parse.urlsplit(request.target).path
        found.headers["Link"] = f'<{request.base_url}{path}?{urllib.parse.urlencode(query, doseq=True)}>; rel="next"'
    return found


def _size(request: Request, most: int) -> int:
    text = request.option("limit")
    return max(1, min(int(text), most)) if text.isdigit() else most


def _models(hub: Hub, request: Request) -> Answer:
    user = access.user_of(hub, request)
    search, author = request.option("search").lower(), request.option("author")
    wanted = {tag for value in request.query.get("filter", []) for tag in value.split(",")}
    with hub.store.lock:
        repos = [repo for repo in hub.store.repos.values() if not repo.private or user in repo.readers]
    found = []
    for repo in repos:
        data = model(repo, repo.head, None)
        labels = {*data["tags"], data.get("pipeline_tag"), data.get("library_name")}
        if search in repo.id.lower() and author in ("", data["author"]) and wanted <= labels:
            found.append(data)
    order = request.option("sort", "downloads")
    order = order if order in _SORTS else "downloads"
    found.sort(key=lambda data: data["id"])
    found.sort(key=lambda data: t.cast(t.Any, data[order]), reverse=True)
    if not request.flag("full"):
        extra = ("config",) if request.flag("config") else ()
        found = [{key: data[key] for key in (*_SUMMARY, *extra, *request.query.get("expand", ())) if key in data} for data in found]
    return _page(hub, request, found, _size(request, hub.page_size))


def _model(hub: Hub, request: Request, repo: Repo, commit: Commit) -> Answer:
    data = model(repo, commit, listed_files(commit, request, hub.faults), request.flag("blobs"))
    wanted = request.query.get("expand")
    if wanted:
        data = {key: data[key] for key in ("_id", "id", *wanted) if key in data}
    return json_answer(data)


def _tree(hub: Hub, request: Request, commit: Commit, folder: str) -> Answer:
    if folder and folder not in commit.trees:
        raise HubError(404, f"{folder} does not exist on this revision", "EntryNotFound", X_Repo_Commit=commit.id)
    entries = tree(commit, listed_files(commit, request, hub.faults), folder, request.flag("recursive"))
    if request.flag("expand"):
        last = {"id": commit.id, "title": commit.title, "date": date(commit.time)}
        entries = [{**entry, "lastCommit": last} for entry in entries]
    return _page(hub, request, entries, _size(request, hub.page_size))


def _paths_info(hub: Hub, request: Request, commit: Commit) -> Answer:
    try:
        paths = request.fields().get("paths", [])
    except ValueError:
        raise HubError(400, "Invalid body") from None
    wanted = {paths} if isinstance(paths, str) else set(paths)
    entries = tree(commit, listed_files(commit, request, hub.faults), "", True)
    return json_answer([entry for entry in entries if entry["path"] in wanted])


def _refs(repo: Repo) -> Answer:
    def rows(kind: str, names: t.Mapping[str, str]) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit} for name, commit in names.items()]

    return json_answer({"branches": rows("heads", repo.branches), "tags": rows("tags", repo.tags), "converts": [], "pullRequests": []})


def _commit(commit: Commit) -> dict[str, t.Any]:
    return {"id": commit.id, "title": commit.title, "message": "", "authors": [{"user": "lab"}], "date": date(commit.time)}
