# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Export of installed models into a bundle: verified bytes only, and a bundle that is whole at every moment.

Every blob is hashed while it is copied and appears under its name by a rename; the index is written after the blobs that it
names. So an export that is killed leaves a bundle of the models that were complete, and the next one goes on where it stopped.
"""
from __future__ import annotations

import errno
import hashlib
import os
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.venom.llm.plugins.module_utils.bundle_index import (
    INDEX_NAME,
    BundleFile,
    BundleIndex,
    BundleModel,
    blob_path,
    bundle_invalid,
    open_regular,
)
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import Lock, fsync_folder, make_folders, remove_if_there, safe_join, write_atomic
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry, utc_now
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, check_paths
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import OllamaManifest
from ansible_collections.venom.llm.plugins.module_utils.store.blobs import Blobs, remove_if_empty
from ansible_collections.venom.llm.plugins.module_utils.store.ollama import OllamaStore
from ansible_collections.venom.llm.plugins.module_utils.store.snapshots import measure_free

_CHUNK_SIZE = 1024 * 1024
_BLOB_MODE = 0o644
PARTIAL_FOLDER = "partial"
LOCK_NAME = "bundle.lock"

#: Called with bytes done and bytes in all.
Progress = t.Callable[[int, int], None]
#: The store that an entry's bytes are in.
StoreOf = t.Callable[[Entry], t.Union[Blobs, OllamaStore]]
#: A model as a bundle keeps it, and the store that has its bytes.
Chosen = tuple[BundleModel, t.Union[Blobs, OllamaStore]]


@dataclass(frozen=True)
class ExportReport:
    """What an export did, in bytes: ``copied`` from the store, ``kept`` because the bundle had them, verified now.

    ``before`` is the index that was found, ``copied_files`` are the contents that were not there.
    """

    index: BundleIndex
    copied: int = 0
    kept: int = 0
    changed: bool = False
    before: BundleIndex = BundleIndex()
    copied_files: tuple[str, ...] = ()


def export_bundle(
    models_dir: str,
    entries: t.Sequence[Entry],
    target: str,
    progress: Progress = lambda dummy_done, dummy_total: None,
    store_of: StoreOf | None = None,
    lock_timeout: float = 0.0,
) -> ExportReport:
    """Copy models with all their bytes into the bundle in the folder ``target``, a new one or one that is there.

    Contents that several models share are there once; a model that the bundle has in the same revision is replaced, others stay.
    Raises ``digest_mismatch`` for a store whose bytes are wrong, ``not_installed`` for files that are not there, ``bundle_invalid``
    for a folder whose index is damaged, ``disk_full``, ``locked``, ``invalid_name``, ``OSError``.
    """
    chosen = describe_models(models_dir, entries, store_of)
    target = os.path.abspath(target)
    make_folders(target)
    with bundle_lock(target, lock_timeout):
        return copy_models(chosen, target, progress)


def describe_models(models_dir: str, entries: t.Sequence[Entry], store_of: StoreOf | None = None) -> list[Chosen]:
    """What an export of these models would carry, read off records and manifests. Raises ``not_installed``, ``digest_mismatch``."""

    def find_store(entry: Entry) -> Blobs | OllamaStore:
        return Blobs(models_dir) if entry.provider == "huggingface" else OllamaStore(entry.local_path)

    stores = store_of or find_store
    return [(_describe(entry, stores(entry)), stores(entry)) for entry in entries]


def bundle_lock(target: str, timeout: float) -> Lock:
    """The lock of whoever writes into a bundle."""
    return Lock(safe_join(target, LOCK_NAME), timeout, {"work": "bundle export"})


def partial_folder(target: str) -> str:
    """Where a bundle keeps what is being copied."""
    return safe_join(target, PARTIAL_FOLDER)


def copy_models(
    chosen: t.Sequence[Chosen],
    target: str,
    progress: Progress = lambda dummy_done, dummy_total: None,
    is_dry: bool = False,
    writes_index: bool = True,
) -> ExportReport:
    """As ``export_bundle``, for a caller that holds the bundle's lock. With ``is_dry`` nothing is written, and only the bundle is read.

    Without ``writes_index`` the caller writes it, the report's, and the bundle is what it was until then.
    """
    return _Export(os.path.abspath(target), progress, is_dry, writes_index and not is_dry).run(chosen)


def _describe(entry: Entry, store: Blobs | OllamaStore) -> BundleModel:
    """The record of a model as the bundle keeps it. The manifest of an Ollama model must be the one that the record names."""
    model = BundleModel(
        name=entry.name,
        provider=entry.provider,
        revision=entry.revision,
        files=(),
        requested_revision=entry.requested_revision,
        alias=entry.alias,
        include=entry.include,
        exclude=entry.exclude,
        installed_at=entry.installed_at,
    )
    if entry.provider == "huggingface":
        check_paths(record.path for record in entry.files)
        files = tuple(BundleFile(record.path, record.size, record.digest.hex, record.git_sha1) for record in entry.files)
        if not files:
            raise _not_installed(entry, "its record lists no files")
        return replace(model, files=tuple(sorted(files, key=lambda file: file.path)))
    manifest = _read_manifest(entry, store)
    sizes = {layer.digest.hex: layer.size for layer in manifest.layers}
    files = tuple(BundleFile(f"blobs/sha256-{sha256}", sizes[sha256], sha256) for sha256 in sorted(sizes))
    return replace(model, files=files, manifest=manifest.content)


def _read_manifest(entry: Entry, store: Blobs | OllamaStore) -> OllamaManifest:
    manifest = store.read(entry.ref) if isinstance(store, OllamaStore) and entry.local_path else None
    if manifest is None:
        raise _not_installed(entry, "its manifest is not in a folder that this account may read")
    if manifest.digest != entry.revision:
        raise VenomError(
            "digest_mismatch",
            wanted=f"{entry.name} with the manifest {entry.revision}",
            found=f"the store has {manifest.digest} under that name",
            todo="run venom_model for it, then export again",
            model=entry.name,
            expected=entry.revision,
            actual=manifest.digest,
        )
    return manifest


def _not_installed(entry: Entry, found: str) -> VenomError:
    return VenomError(
        "not_installed", wanted=f"the files of {entry.name}", found=found, todo="install it with venom_model first", model=entry.name
    )


class _Export:
    """One export into one folder, under its lock."""

    def __init__(self, target: str, progress: Progress, is_dry: bool, writes_index: bool) -> None:
        self._target = target
        self._is_dry = is_dry
        self._writes_index = writes_index
        self._progress = progress
        self._partials = safe_join(target, PARTIAL_FOLDER)
        self._done = 0
        self._shown = -1
        self._total = 0
        self._kept = 0
        self._copied = 0
        self._verified: set[str] = set()
        self._copied_files: list[str] = []

    def run(self, chosen: t.Sequence[Chosen]) -> ExportReport:
        """Every model in turn; each is in the index as soon as all its blobs are there."""
        path = safe_join(self._target, INDEX_NAME)
        before = BundleIndex.read(self._target) if os.path.lexists(path) else BundleIndex(created_at=utc_now())
        self._check_sizes(before, chosen)
        sizes = {file.sha256: file.size for model, dummy in chosen for file in model.files}
        self._total = sum(sizes.values())
        self._check_space(sizes)
        index, content = before, before.to_bytes() if os.path.lexists(path) else b""
        changed = False
        try:
            for model, store in chosen:
                for file in model.files:
                    if file.sha256 not in self._verified:
                        self._provide(model, file, store.path(Digest("sha256", file.sha256)))
                index = index.merge(model)
                # Unchanged models leave the index as it is, byte for byte.
                if index.to_bytes() != content:
                    content, changed = index.to_bytes(), True
                    if self._writes_index:
                        write_atomic(path, content)
        except OSError as error:
            explained = self._explain(error)
            if explained is None:
                raise
            raise explained from error
        if not self._is_dry:
            self._remove_partials()
        changed = changed or bool(self._copied_files)
        return ExportReport(index, self._copied, self._kept, changed, before, tuple(self._copied_files))

    def _check_sizes(self, before: BundleIndex, chosen: t.Sequence[tuple[BundleModel, t.Any]]) -> None:
        sizes = before.sizes
        for model, dummy in chosen:
            for file in model.files:
                if sizes.setdefault(file.sha256, file.size) != file.size:
                    raise bundle_invalid(self._target, f"two sizes for sha256:{file.sha256}, {file.size} and {sizes[file.sha256]}")

    def _check_space(self, sizes: t.Mapping[str, int]) -> None:
        needed = 0
        for sha256, size in sizes.items():
            here = _size_of(blob_path(self._target, sha256))
            if here != size:
                needed += size - min(size, _size_of(safe_join(self._partials, sha256)) or 0)
        free = measure_free(self._target)
        if needed > free:
            raise self._disk_full(needed, f"{free} bytes are free")

    def _explain(self, error: OSError) -> VenomError | None:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return self._disk_full(self._total - self._done, "the file system became full")
        if error.errno == errno.EFBIG:
            return VenomError(
                "io_error",
                wanted=f"to write the models into {self._target}",
                found="its file system takes no file so large (FAT32 ends at 4 GiB)",
                todo="use a medium with another file system, such as ext4 or exFAT",
                path=self._target,
            )
        return None

    def _disk_full(self, needed: int, found: str) -> VenomError:
        return VenomError(
            "disk_full",
            wanted=f"to write {needed} bytes more into {self._target}",
            found=found,
            todo="free space or use a larger medium, then export again; what was copied is kept",
            path=self._target,
            bytes_needed=needed,
        )

    def _provide(self, model: BundleModel, file: BundleFile, source: str) -> None:
        """Make the blob be in the bundle with the right bytes."""
        path = blob_path(self._target, file.sha256)
        started = self._done
        if _size_of(path) == file.size and self._hash(path, file.size).hexdigest() == file.sha256:
            self._kept += file.size
        else:
            self._done = started
            self._copied_files.append(file.sha256)
            if not self._is_dry:
                self._copy(model, file, source, path)
        self._done = started + file.size
        self._verified.add(file.sha256)
        self._advance(0)

    def _copy(self, model: BundleModel, file: BundleFile, source: str, path: str) -> None:
        make_folders(self._partials)
        partial = safe_join(self._partials, file.sha256)
        before = self._done, self._kept, self._copied
        is_resumed = bool(_size_of(partial))
        found = self._fill(model, file, source, partial)
        if found != file.sha256 and is_resumed:
            # What an interrupted run had left may never have reached the disk; the store is judged by a copy from its beginning.
            self._done, self._kept, self._copied = before
            remove_if_there(partial)
            found = self._fill(model, file, source, partial)
        if found != file.sha256:
            remove_if_there(partial)
            raise VenomError(
                "digest_mismatch",
                wanted=f"{ascii(file.path)} of {model.name} with sha256:{file.sha256}",
                found=f"{source} has sha256:{found}",
                todo="run venom_model with state verified, which repairs it, then export again",
                model=model.name,
                file=file.path,
                expected=f"sha256:{file.sha256}",
                actual=f"sha256:{found}",
            )
        make_folders(os.path.dirname(path))
        os.replace(partial, path)
        fsync_folder(os.path.dirname(path))

    def _fill(self, model: BundleModel, file: BundleFile, source: str, partial: str) -> str:
        """Complete the partial copy from the store and flush it. Returns the SHA-256 of all its bytes."""
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _BLOB_MODE)
        with os.fdopen(descriptor, "r+b", buffering=0) as target:
            kept = os.fstat(descriptor).st_size
            if kept > file.size:
                os.ftruncate(descriptor, 0)
                kept = 0
            sha256 = self._hash(partial, kept)
            self._kept += kept
            try:
                reader = open_regular(source)
            except OSError as error:
                raise VenomError(
                    "not_installed",
                    wanted=f"{ascii(file.path)} of {model.name}",
                    found=f"{source} is missing or unreadable ({error.strerror})",
                    todo="run venom_model with state verified, then export again",
                    model=model.name,
                    path=source,
                ) from error
            with reader:
                reader.seek(kept)
                target.seek(kept)
                for chunk in iter(lambda: reader.read(_CHUNK_SIZE), b""):
                    sha256.update(chunk)
                    view = memoryview(chunk)
                    while view:
                        view = view[target.write(view):]
                    self._copied += len(chunk)
                    self._advance(len(chunk))
            os.fchmod(descriptor, _BLOB_MODE)
            os.fsync(descriptor)
        return sha256.hexdigest()

    def _hash(self, path: str, length: int) -> t.Any:
        """SHA-256, still open for more, over the first bytes of a file."""
        sha256 = hashlib.sha256()
        with open_regular(path) as stream:
            while length:
                chunk = stream.read(min(_CHUNK_SIZE, length))
                if not chunk:
                    break
                sha256.update(chunk)
                length -= len(chunk)
                self._advance(len(chunk))
        return sha256

    def _advance(self, length: int) -> None:
        self._done = min(self._done + length, self._total)
        # A copy that begins again counts its bytes again; what the operator sees never falls.
        if self._done > self._shown:
            self._shown = self._done
            self._progress(self._done, self._total)

    def _remove_partials(self) -> None:
        try:
            names = os.listdir(self._partials)
        except FileNotFoundError:
            return
        for name in names:
            os.unlink(os.path.join(self._partials, name))
        remove_if_empty(self._partials)


def _size_of(path: str) -> int | None:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return None
