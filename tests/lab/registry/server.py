# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry itself: its routes, its listeners, and what a test may change."""
from __future__ import annotations

import hmac
import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

from lab.hub.content import serve_file, signature
from lab.hub.site import Site
from lab.hub.wire import Answer, Refusal, Request, json_answer
from lab.registry.access import Logins, oci_error
from lab.registry.images import MANIFEST_TYPE, Blob, ImageStore, Manifest, Repository, digest_of

#: How a GET of a blob is answered.
MODES = {
    "307": "a redirect to a signed link at cdn_host: what Ollama asks of a registry",
    "307-same-host": "a redirect to a signed link at the host that was asked: refused by Ollama",
    "200": "the bytes at once, with Range: a plain docker-registry, refused by Ollama",
    "200-location": "the bytes at once and a Location header that names the same place: Ollama takes it",
}
_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
_ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags)/(?P<reference>[^/]+)$")
_GARBAGE = "this is not json"


@dataclass(frozen=True)
class _Wanted:
    name: str
    kind: str
    reference: str


class Registry(Site):
    """A registry in this process; use as a context manager, or start() and stop().

    ``mode`` is one of MODES. ``cdn_host`` is the second listener, that blobs are fetched from in mode 307 (None: none).
    ``auth`` is none, basic or bearer; ``users`` maps names to passwords, ``tokens`` lasting bearer tokens to users. Without both, bearer
    gives tokens to anybody. ``realm`` is where a bearer challenge sends the client: the registry's own /token, unless it is set.
    ``pem`` is a file with certificate and key for https.
    """

    spoken = ("manifests", "tags", "token")

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        cdn_host: str | None = "127.0.0.2",
        cdn_port: int = 0,
        mode: str = "307",
        auth: str = "none",
        users: t.Mapping[str, str] | None = None,
        tokens: t.Mapping[str, str] | None = None,
        realm: str | None = None,
        log_path: str | Path | None = None,
        pem: str | Path | None = None,
    ) -> None:
        if mode not in MODES or (mode == "307" and not cdn_host):
            raise ValueError(f"mode is one of {', '.join(MODES)}; 307 needs a cdn_host")
        super().__init__({"registry": (host, port), **({"cdn": (cdn_host, cdn_port)} if cdn_host else {})}, log_path=log_path, pem=pem)
        self.mode = mode
        self.logins = Logins(auth, users or {}, tokens or {})
        self.realm = realm
        self.store = ImageStore(self.folder / "blobs")

    def __enter__(self) -> Registry:
        self.start()
        return self

    @property
    def host(self) -> str:
        """host:port, as it stands in the name of a model."""
        return self.address("registry")

    def add(
        self,
        repository: str = "library/tiny",
        tag: str = "latest",
        layers: t.Sequence[tuple[str, bytes | Path | str]] = (),
        config: bytes | t.Mapping[str, t.Any] | None = None,
        media_type: str = MANIFEST_TYPE,
    ) -> str:
        """Add a model and point the tag at it; return the digest of its manifest. Files are served in place: they must not change."""
        return self.store.add(repository, tag, layers, config, media_type)

    def add_manifest(self, repository: str, tag: str, content: bytes, media_type: str = MANIFEST_TYPE) -> str:
        """Add a manifest as it is, also a hostile one; return its digest."""
        return self.store.put(repository, tag, content, media_type)

    def add_blob(self, repository: str, source: bytes | Path | str) -> str:
        """Add a blob, for a manifest added as it is; return its digest."""
        blob = self.store.blob(source)
        with self.store.lock:
            self.store.repositories.setdefault(repository, Repository()).blobs[blob.digest] = blob
        return blob.digest

    def move_tag(self, repository: str, tag: str, digest: str | None) -> None:
        """Point a tag (a new one, too) at a manifest that is there; None removes the tag. KeyError if there is no such manifest."""
        held = self.store.repositories[repository]
        with self.store.lock:
            if digest is None:
                del held.tags[tag]
            else:
                held.tags[tag] = held.manifests[digest].digest

    def manifest(self, repository: str = "library/tiny", reference: str = "latest") -> bytes:
        """The bytes of a manifest; KeyError if there is none."""
        found = self.store.repositories[repository].find(reference)
        if found is None:
            raise KeyError(reference)
        return found.content

    def bytes_sent(self, digest: str) -> int:
        """Body bytes of a blob that were given to the kernel so far, from all listeners; what a cut client did not read is among them."""
        return self.log.sent(f"*/{digest}", "GET")

    def down(self, seconds: float | None = None, listener: str = "*") -> None:
        """Close the listeners, or one of them, and their connections, for so many seconds or until up(); clients are refused."""
        names = self.listeners(listener)
        if seconds is None:
            self.close(*names)
        else:
            self.nap(names, seconds)

    def expire_tokens(self) -> None:
        """Make all bearer tokens that the endpoint gave so far invalid (401 with a new challenge)."""
        self.logins.expire()

    def refuse(self, request: Request, status: int, message: str, code: str = "") -> Answer:
        """An error as a registry, or the store behind it, sends it."""
        if request.listener == "cdn":
            text = f"<Error><Code>{code or 'Error'}</Code><Message>{message}</Message></Error>"
            return Answer(status, {"Content-Type": "application/xml"}, text.encode())
        answer = oci_error(status, message, code, **_VERSION)
        if status == 401:
            answer.headers["WWW-Authenticate"] = self._challenge(request)
        return answer

    def _challenge(self, request: Request) -> str:
        if self.logins.auth == "bearer":
            return f'Bearer realm="{self._realm(request)}",service="{self.host}"'
        return 'Basic realm="lab"' if self.logins.auth == "basic" else ""

    def _realm(self, request: Request) -> str:
        return self.realm or f"{request.base_url}/token"

    def route(self, request: Request) -> Answer:
        """Answer a request that is not one of control."""
        if request.method not in ("GET", "HEAD"):
            raise Refusal(oci_error(405, "this registry is for pulls only", **_VERSION))
        if request.segments[0] == "cdn" and len(request.segments) == 2:
            return self._link(request)
        if request.listener == "cdn":
            raise Refusal(self.refuse(request, 404, "no such key", "NoSuchKey"))
        if request.path == "/token" and self.logins.auth == "bearer":
            return self.logins.give(request)
        match = _ROUTE.match(request.path)
        if match is None and request.path not in ("/v2", "/v2/"):
            raise Refusal(oci_error(404, "no such route", "NOT_FOUND"))
        wanted = _Wanted(**match.groupdict()) if match else _Wanted("", "", "")
        self.logins.check(request, self._realm(request), self.host, wanted.name)
        answer = self._answer(request, wanted)
        answer.headers.update(_VERSION)
        return answer

    def _answer(self, request: Request, wanted: _Wanted) -> Answer:
        if not wanted.kind:
            return json_answer({})
        held = self.store.repositories.get(wanted.name)
        if held is None:
            raise Refusal(oci_error(404, "repository name not known to registry", "NAME_UNKNOWN", {"name": wanted.name}, **_VERSION))
        if wanted.kind == "tags":
            return self._tags(request, wanted, held)
        if wanted.kind == "manifests":
            found = held.find(wanted.reference)
            if found is None:
                raise Refusal(oci_error(404, "manifest unknown", "MANIFEST_UNKNOWN", {"Tag": wanted.reference}, **_VERSION))
            return self._manifest(request, found)
        blob = held.blobs.get(wanted.reference)
        if blob is None:
            raise Refusal(oci_error(404, "blob unknown to registry", "BLOB_UNKNOWN", {"digest": wanted.reference}, **_VERSION))
        return self._blob(request, blob)

    def _tags(self, request: Request, wanted: _Wanted, held: Repository) -> Answer:
        """A page of the tags, in order; ``n`` and ``last`` as in the specification."""
        if wanted.reference != "list":
            raise Refusal(oci_error(404, "no such route", "NOT_FOUND"))
        names = sorted(tag for tag in held.tags if tag > request.option("last"))
        size = int(request.option("n")) if request.option("n").isdigit() else len(names)
        answer = json_answer({"name": wanted.name, "tags": names[:size]})
        if 0 < size < len(names):
            answer.headers["Link"] = f'</v2/{wanted.name}/tags/list?last={names[size - 1]}&n={size}>; rel="next"'
        return answer

    def _manifest(self, request: Request, manifest: Manifest) -> Answer:
        fault = self.faults.take(request, "manifest")
        content, media_type, digest = manifest.content, manifest.media_type, manifest.digest
        if fault is not None:
            content = str(fault.value if fault.value != "" else _GARBAGE).encode()
            media_type = "text/html" if content.startswith(b"<") else media_type
            digest = {"": "", "false": digest_of(content), "true": digest}[fault.what]
        headers = {"Content-Type": media_type}
        if digest:
            headers.update({"Docker-Content-Digest": digest, "ETag": f'"{digest}"'})
            if f'"{digest}"' in (request.headers.get("If-None-Match") or ""):
                return Answer(304, headers)
        return Answer(200, headers, content)

    def _blob(self, request: Request, blob: Blob) -> Answer:
        headers = {"Docker-Content-Digest": blob.digest, "Cache-Control": "max-age=31536000"}
        if request.method == "HEAD" or self.mode.startswith("200"):
            if self.mode == "200-location" and request.method == "GET":
                headers["Location"] = f"{request.base_url}{request.path}"
            return serve_file(self, request, blob.path, blob.size, blob.digest, headers)
        base = self.url_of("cdn") if self.mode == "307" else request.base_url
        link = f"/cdn/{blob.digest}"
        location = f"{base}{link}?X-Lab-Signature={signature(self, link)}"
        return Answer(307, {**headers, "Location": location, "Content-Type": "application/octet-stream"})

    def _link(self, request: Request) -> Answer:
        """A signed link to a blob: it asks for no login and takes none."""
        blob = next((held.blobs[request.segments[1]] for held in self._repositories() if request.segments[1] in held.blobs), None)
        if blob is None or not hmac.compare_digest(request.option("X-Lab-Signature"), signature(self, request.path)):
            text = b"<Error><Code>AccessDenied</Code></Error>"
            return Answer(403, {"Content-Type": "application/xml"}, text)
        return serve_file(self, request, blob.path, blob.size, blob.digest.partition(":")[2], {})

    def _repositories(self) -> list[Repository]:
        with self.store.lock:
            return list(self.store.repositories.values())

    def control(self, request: Request, route: tuple[str, str]) -> Answer:
        """Tags, modes and ends of tokens and links, over HTTP."""
        fields = request.fields() if request.method == "POST" else {}
        if route == ("GET", "repos"):
            return json_answer({name: held.tags for name, held in self.store.repositories.items()})
        if route == ("POST", "tag"):
            self.move_tag(str(fields["repository"]), str(fields["tag"]), fields.get("digest"))
        elif route == ("POST", "mode"):
            if fields["mode"] not in MODES:
                raise ValueError(f"no such mode {fields['mode']!r}")
            self.mode = str(fields["mode"])
        elif route == ("POST", "expire"):
            self.expire_tokens()
            self.expire_links()
        else:
            raise Refusal(oci_error(404, "no such control route; see README.md", "NOT_FOUND"))
        return json_answer({})
