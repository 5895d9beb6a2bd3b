# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of files: /{repo}/resolve/{revision}/{path}, and the LFS store that it redirects to."""
from __future__ import annotations

import hashlib
import hmac
import itertools
import re
import typing as t
import urllib.parse
from pathlib import Path, PurePosixPath

from lab.hub import access
from lab.hub.listing import BAIT
from lab.hub.repos import HubFile
from lab.hub.wire import Answer, FileSlice, HubError, Request

if t.TYPE_CHECKING:
    from lab.hub.server import Hub
    from lab.hub.site import Site

_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")
_etags = itertools.count(1)


def etag_of(site: Site, request: Request, etag: str) -> str:
    """The ETag that a file has, in quotes, or what a fault makes of it."""
    fault = site.faults.take(request, "etag")
    if fault is None:
        return f'"{etag}"'
    return f'"{fault.value}"' if fault.value else f'"{hashlib.sha256(str(next(_etags)).encode()).hexdigest()}"'


def span(text: str, size: int) -> tuple[int, int] | None:
    """Start and length of a Range header; None if there is nothing to give (416). Raises ValueError for what RFC 9110 says to ignore."""
    match = _RANGE.match(text)
    if match is None or match.groups() == ("", ""):
        raise ValueError(text)
    first, last = match.groups()
    if first == "":
        length = min(int(last), size)
        return (size - length, length) if length else None
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        raise ValueError(text)
    return (start, end - start + 1) if start < size else None


def serve_file(site: Site, request: Request, path: Path, size: int, etag: str, headers: t.Mapping[str, str]) -> Answer:
    """The file or the part of it that Range asks for, with If-Range and If-None-Match."""
    etag = etag_of(site, request, etag)
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", "ETag": etag, **headers}
    whole = Answer(200, headers, FileSlice(path, 0, size), content=True)
    if etag in [item.strip() for item in (request.headers.get("If-None-Match") or "").split(",")]:
        return Answer(304, {"ETag": etag})
    wanted = request.headers.get("Range")
    condition = request.headers.get("If-Range")
    if wanted is None or request.method != "GET" or (condition is not None and condition != etag):
        return whole
    if site.faults.take(request, "ignore_range"):
        return whole
    try:
        part = span(wanted, size)
    except ValueError:
        return whole
    if part is None:
        return Answer(416, {"Content-Range": f"bytes */{size}", "ETag": etag})
    start, length = part
    headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    return Answer(206, headers, FileSlice(path, start, length), content=True)


def signature(site: Site, path: str) -> str:
    """The signature of a link to a large file; ``Site.expire_links`` makes all earlier ones invalid."""
    return hmac.new(site.link_secret, path.encode(), "sha256").hexdigest()[:32]


def small(hub: Hub, request: Request, file: HubFile, headers: dict[str, str]) -> Answer:
    """A file that is not in the LFS store."""
    quoted = urllib.parse.quote(PurePosixPath(file.path).name)
    headers = {**headers, "Content-Disposition": f"inline; filename*=UTF-8''{quoted}; filename=\"{quoted}\";"}
    return serve_file(hub, request, file.source, file.size, file.etag, headers)


def cached(hub: Hub, request: Request) -> Answer:
    """Answer /api/resolve-cache/models/{owner}/{name}/{commit}/{path}."""
    owner, name, revision, *rest = request.segments[3:]
    commit = access.commit_for(access.repo_for(hub, request, f"{owner}/{name}", content=True), revision)
    file = commit.files.get("/".join(rest))
    if file is None:
        raise HubError(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.id)
    return small(hub, request, file, {"X-Repo-Commit": commit.id})


def resolve(hub: Hub, request: Request) -> Answer:
    """Answer /{repo}/resolve/{revision}/{path}: small files at once, LFS files by a redirect to a signed link."""
    mark = request.segments.index("resolve", 1)
    repo_id, revision, path = "/".join(request.segments[:mark]), request.segments[mark + 1], "/".join(request.segments[mark + 2 :])
    redirect = access.moved(hub, request, repo_id)
    if redirect is not None:
        return redirect
    repo = access.repo_for(hub, request, repo_id, content=True)
    commit = access.commit_for(repo, revision)
    headers = {"X-Repo-Commit": commit.id}
    file = commit.files.get(path)
    if file is None and path in hub.faults.peek_names():
        return Answer(200, {**headers, "ETag": f'"{"0" * 40}"'}, BAIT)
    if file is None:
        raise HubError(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.id)
    name = PurePosixPath(path).name
    if not file.lfs:
        if hub.resolve_cache:
            location = "/api/resolve-cache/models/" + urllib.parse.quote(f"{repo_id}/{commit.id}/{path}")
            headers.update({"Location": location, "X-Linked-Etag": etag_of(hub, request, file.etag), "X-Linked-Size": str(file.size)})
            return Answer(307, headers, f"Temporary Redirect. Redirecting to {location}".encode())
        return small(hub, request, file, headers)
    link = f"/lfs/{repo_id}/{file.sha256}/{name}"
    quoted = urllib.parse.quote(link)
    location = f"{hub.cdn_url or request.base_url}{quoted}?X-Lab-Signature={signature(hub, link)}"
    headers.update({"Location": location, "X-Linked-Etag": etag_of(hub, request, file.etag), "X-Linked-Size": str(file.size)})
    return Answer(302, {**headers, "Accept-Ranges": "bytes", "Content-Type": "text/plain"}, f"Found. Redirecting to {location}".encode())


def lfs(hub: Hub, request: Request) -> Answer:
    """Answer a signed link into the LFS store; it asks for no token and takes none."""
    repo_id, sha256 = "/".join(request.segments[1:-2]), request.segments[-2]
    file = hub.store.lfs_files.get((repo_id, sha256))
    if file is None or not hmac.compare_digest(request.option("X-Lab-Signature"), signature(hub, request.path)):
        return Answer(403, {"Content-Type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>")
    return serve_file(hub, request, file.source, file.size, file.etag, {})
