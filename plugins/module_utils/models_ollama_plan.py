# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to happen for an Ollama model: the part that the host alone can tell, and the step once a registry was asked. Values only."""
from __future__ import annotations

import os
import typing as t
from dataclasses import replace

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest import Manifest
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, FileRecord, snapshot_sha256, utc_now
from ansible_collections.venom.llm.plugins.module_utils.models_observe import check_not_active, observe
from ansible_collections.venom.llm.plugins.module_utils.models_ollama_host import OllamaHost
from ansible_collections.venom.llm.plugins.module_utils.models_plan import find_partial
from ansible_collections.venom.llm.plugins.module_utils.models_request import Request
from ansible_collections.venom.llm.plugins.module_utils.models_steps import (
    CLI,
    INSTALL,
    KEEP,
    RECORD,
    REMOVE,
    STORE,
    LocalAnswer,
    PlanOptions,
    Seen,
    Step,
)
from ansible_collections.venom.llm.plugins.module_utils.names import Digest
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import OllamaManifest
from ansible_collections.venom.llm.plugins.module_utils.store.hashing import sha256_of, sha256_of_all

if t.TYPE_CHECKING:
    from ansible_collections.venom.llm.plugins.module_utils.sources.bundle import BundleSource
    from ansible_collections.venom.llm.plugins.module_utils.sources.mirror import MirrorSource
    from ansible_collections.venom.llm.plugins.module_utils.sources.registry import RegistrySource

#: Layers that hold weights, thus GGUF.
WEIGHTS = (
    "application/vnd.ollama.image.model",
    "application/vnd.ollama.image.projector",
    "application/vnd.ollama.image.adapter",
)
#: Characters of ``sha256:`` and a digest.
_WHOLE = 71


def plan_locally(request: Request, manifest: Manifest, host: OllamaHost, options: PlanOptions) -> LocalAnswer:
    """Decide without the registry where that is possible. Raises ``model_active``, ``server_unreachable``, ``permission_denied``."""
    return _PLANNERS[request.state](request, manifest, host, options)


def entry_of(request: Request, manifest: Manifest) -> Entry | None:
    """The record of a model: there is one for each tag."""
    return next(iter(manifest.revisions(request.ref.key)), None)


def _plan_present(request: Request, manifest: Manifest, host: OllamaHost, options: PlanOptions) -> LocalAnswer:
    entry = entry_of(request, manifest)
    if entry is not None and not request.deep and _is_untouched(entry, host):
        # Recorded and untouched: not even the method has to be known.
        seen = Seen(entry.revision, records=entry.files)
    else:
        seen = look(request, manifest, entry, host, options)
    if seen.revision is None or len(seen.revision) < _WHOLE or request.revision not in (None, seen.revision):
        # A pin is kept also where the record is all that is left of the model.
        recorded = entry.revision if entry is not None and request.deep else None
        return LocalAnswer(None, entry, request.revision or recorded or "", seen)
    if seen.damaged:
        return LocalAnswer(None, entry, seen.revision, seen)
    return LocalAnswer(_keep(request, entry, host, seen))


def _is_untouched(entry: Entry, host: OllamaHost) -> bool:
    try:
        return bool(entry.files) and entry.local_path == host.store.root and observe(entry).is_intact
    except PermissionError:
        # The store is closed to this account; the server can still be asked.
        return False


def _plan_latest(request: Request, manifest: Manifest, host: OllamaHost, options: PlanOptions) -> LocalAnswer:
    if request.revision is not None:
        return _plan_present(request, manifest, host, options)
    entry = entry_of(request, manifest)
    return LocalAnswer(None, entry, "", look(request, manifest, entry, host, options))


def _plan_absent(request: Request, manifest: Manifest, host: OllamaHost, options: PlanOptions) -> LocalAnswer:
    entry = entry_of(request, manifest)
    try:
        method = host.method
    except VenomError:
        if entry is not None:
            raise
        # No store, no server, no command: no model either.
        return LocalAnswer(Step(request, KEEP))
    # What is there counts, not what was recorded: somebody may have pulled another revision since.
    seen = _look_at_server(request, manifest, host).revision if method != STORE else _installed_revision(request, entry, host)
    present = seen or (entry.revision if entry else None)
    if present is None and method != STORE:
        # A run that was killed has it under the name that it pulled.
        present = next(iter(host.find_left(request.ref).values()), None)
    if present is None or request.revision not in (None, present):
        return LocalAnswer(Step(request, KEEP))
    if not options.force:
        check_not_active(options.config_dir, request.ref, (entry,) if entry else (), ())
    return LocalAnswer(Step(request, REMOVE, before=(entry,) if entry else (), method=method))


_PLANNERS: dict[str, t.Callable[[Request, Manifest, OllamaHost, PlanOptions], LocalAnswer]] = {
    "present": _plan_present,
    "latest": _plan_latest,
    "verified": _plan_present,
    "absent": _plan_absent,
}


def _installed_revision(request: Request, entry: Entry | None, host: OllamaHost) -> str | None:
    """The digest of what lies under the name in the store; an unreadable manifest is there, too, and taken for what was recorded."""
    try:
        found = host.store.read(request.ref)
    except VenomError:
        return entry.revision if entry else "unreadable"
    return found.digest if found else None


def look(request: Request, manifest: Manifest, entry: Entry | None, host: OllamaHost, options: PlanOptions) -> Seen:
    """What is there under the name. Bytes are hashed where no record vouches for them, or all of them for a deep request."""
    if host.method != STORE:
        if request.deep:
            raise VenomError(
                "permission_denied",
                wanted=f"to hash every byte of {request.ref}",
                found=f"the store {host.store.root} is not there or not writable for this account, and the server cannot repair",
                todo="set ollama_models_dir to the server's OLLAMA_MODELS and run as root or as its owner",
                model=str(request.ref),
            )
        return _look_at_server(request, manifest, host)
    try:
        found = host.store.read(request.ref)
    except VenomError:
        # A cut or garbled manifest: the server leaves such a model out of its list, so it is not installed.
        found = None
    if found is None:
        return Seen()
    trusted = set() if request.deep else _vouched_for(manifest, host)
    return _compare(found, request, host, trusted, options)


def _look_at_server(request: Request, manifest: Manifest, host: OllamaHost) -> Seen:
    if host.method == CLI:
        shown = host.cli().find(request.ref)
        entry = entry_of(request, manifest)
        # The command shows the beginning of a digest; the whole one is what was recorded or asked for, or the registry knows it.
        whole = (digest for digest in (entry and entry.revision, request.revision) if shown and digest and digest.startswith(shown))
        return Seen(next(whole, shown))
    served = host.api.find(request.ref)
    return Seen(served.digest, size=served.size) if served else Seen()


def _vouched_for(manifest: Manifest, host: OllamaHost) -> set[Digest]:
    """Blobs that some record of this store describes as they are now."""
    vouched: set[Digest] = set()
    for entry in manifest.models:
        if entry.provider == "ollama" and entry.local_path == host.store.root:
            damaged = {record.path for record in observe(entry).damaged}
            vouched.update(record.digest for record in entry.files if record.path not in damaged)
    return vouched


def _compare(found: OllamaManifest, request: Request, host: OllamaHost, trusted: t.Collection[Digest], options: PlanOptions) -> Seen:
    store = host.store
    layers = {layer.digest: layer for layer in found.layers}
    present = {digest for digest, layer in layers.items() if store.is_published(digest, layer.size)}
    to_hash = {store.published_path(digest): digest for digest in present if digest not in trusted}
    total = sum(layers[digest].size for digest in to_hash.values())
    done = 0

    def advance(length: int) -> None:
        nonlocal done
        done += length
        options.report(f"hashing {request.ref}", done, total)

    hashed = sha256_of_all(to_hash, advance)
    bad = {to_hash[path] for path, digest in hashed.items() if digest != to_hash[path].hex}
    damaged = frozenset(str(digest) for digest in layers if digest not in present or digest in bad)
    records = () if damaged else records_of(host, request, found)
    return Seen(found.digest, damaged, records, found)


def records_of(host: OllamaHost, request: Request, found: OllamaManifest) -> tuple[FileRecord, ...]:
    """Records of the manifest and the blobs as they lie in the store now. Raises ``OSError``."""
    digest = Digest.parse(found.digest)
    paths = {host.store.manifest_path(request.ref): digest}
    paths.update((f"blobs/sha256-{layer.digest.hex}", layer.digest) for layer in found.layers)
    records = []
    for path, content in paths.items():
        status = os.lstat(os.path.join(host.store.root, path))
        records.append(FileRecord(path, status.st_size, content, status.st_mtime_ns, status.st_ino))
    return tuple(records)


def _keep(request: Request, entry: Entry | None, host: OllamaHost, seen: Seen) -> Step:
    """The model is there: keep it, refresh its record, or make one for what somebody else installed."""
    method = STORE if seen.records else host.method
    content: dict[str, t.Any] = {}
    if seen.records:
        size = sum(record.size for record in seen.records)
        content = {"files": seen.records, "size_bytes": size, "sha256": snapshot_sha256(seen.records), "local_path": host.store.root}
    if entry is None or entry.revision != seen.revision:
        after = make_entry(request, entry, host, str(seen.revision)).replace(status="installed", installed_at=utc_now(), size_bytes=seen.size)
        return Step(request, RECORD, before=(entry,) if entry else (), after=after.replace(**content), method=method)
    after = entry if request.alias in (None, entry.alias) else entry.replace(alias=request.alias)
    action = KEEP if after == entry else RECORD
    return Step(request, action, before=(entry,), after=after.replace(**content), method=method)


def make_entry(request: Request, entry: Entry | None, host: OllamaHost, revision: str) -> Entry:
    """The record of a model that is about to be there."""
    return Entry(
        name=str(request.ref),
        provider=request.ref.provider,
        runtime=request.runtime,
        revision=revision,
        requested_revision=request.ref.tag,
        alias=request.alias or (entry.alias if entry else None),
        local_path=host.store.root if host.method == STORE else "",
        size_bytes=0,
        files=(),
        sha256=snapshot_sha256(()),
        installed_at=None,
        status="incomplete",
        display_name=entry.display_name if entry else None,
        # What was found of another revision says nothing of this one; what is declared is kept beside the records.
        capabilities=entry.capabilities if entry and entry.revision == revision else {},
        overridden=entry.overridden if entry and entry.revision == revision else {},
    )


def plan_online(
    request: Request, answer: LocalAnswer, manifest: Manifest, host: OllamaHost, registry: RegistrySource | MirrorSource | BundleSource
) -> Step:
    """The step, once the registry may be asked. Raises what the registry raises."""
    entry, seen = answer.entry, answer.seen
    wanted = answer.ask_revision or None
    if seen.manifest is not None and seen.damaged and wanted == seen.revision:
        # The manifest is good, so what its blobs are is known; a tag that moved meanwhile does not matter.
        found = seen.manifest
    else:
        found = OllamaManifest.parse(registry.resolve(request.ref, wanted or "", (), ()).manifest or b"")
        if seen.revision is not None and found.digest.startswith(seen.revision) and not seen.damaged:
            return _keep(request, entry, host, replace(seen, revision=found.digest))
        if wanted is not None and host.method != STORE:
            _check_tag(request, found, registry)
    after = make_entry(request, entry, host, found.digest)
    layers = tuple({layer.digest: layer for layer in found.layers}.values())
    files = tuple(registry.file_for(request.ref, layer) for layer in layers)
    after = after.replace(size_bytes=sum(file.size for file in files))
    before = (entry,) if entry else ()
    is_for_store = host.method == STORE
    known = _known(request, found, manifest, host, seen) if is_for_store else host.served_blobs(layer.digest for layer in layers)
    missing = tuple(file for file in files if file.announced not in known)
    if not is_for_store:
        return Step(request, INSTALL, before, after, files, known, missing, method=host.method, manifest=found)
    repaired = tuple(f"blobs/sha256-{hexdigits(announced)}" for announced in sorted(seen.damaged)) if seen.revision == found.digest else ()
    partial = find_partial(host.store.partial_root, missing)
    return Step(request, INSTALL, before, after, files, known, missing, partial, repaired=repaired, method=STORE, manifest=found)


def _check_tag(request: Request, found: OllamaManifest, registry: RegistrySource | MirrorSource | BundleSource) -> None:
    """A server pulls what the tag stands for, over what it has, so a pin that is not that has to be refused before."""
    current = registry.find_commit(request.ref)
    if current != found.digest:
        raise VenomError(
            "digest_mismatch",
            wanted=f"{request.ref} with {found.digest}",
            found=f"the tag stands for {current} now, and an Ollama server pulls by tag only",
            todo="set ollama_method to store, which keeps pins, or pin the digest that the tag has now",
            model=str(request.ref),
            expected=found.digest,
            actual=current,
        )


def hexdigits(announced: str) -> str:
    """The hexadecimal part of a digest."""
    return announced.partition(":")[2]


def _known(request: Request, found: OllamaManifest, manifest: Manifest, host: OllamaHost, seen: Seen) -> dict[str, Digest]:
    """Layers that the store has already, also those that a run left staged. What no record vouches for is hashed.

    A deep request trusts only what was hashed a moment ago.
    """
    hashed = set(seen.manifest.blobs) if seen.manifest is not None else set()
    trusted = hashed if request.deep else _vouched_for(manifest, host)
    known: dict[str, Digest] = {}
    for layer in found.layers:
        if str(layer.digest) in seen.damaged or not host.store.has(layer.digest, layer.size):
            continue
        if layer.digest in trusted or sha256_of(host.store.path(layer.digest)) == layer.digest.hex:
            known[str(layer.digest)] = layer.digest
    return known
