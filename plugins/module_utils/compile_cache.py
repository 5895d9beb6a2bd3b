# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM's compile cache as something that can be carried: told, saved into an archive, and loaded from one that another host has made.

What is carried is code that the receivers run and pickles that they load, as the account of their server: see docs/compile-cache.md.
"""
from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import compile_cache_archive as archives
from ansible_collections.venom.llm.plugins.module_utils import compile_cache_entries as entries
from ansible_collections.venom.llm.plugins.module_utils import files, gpus
from ansible_collections.venom.llm.plugins.module_utils.acting_as import acting_as
from ansible_collections.venom.llm.plugins.module_utils.compile_cache_key import CacheKey, read_key
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.host import GB
from ansible_collections.venom.llm.plugins.module_utils.interrupts import raise_on_signals
from ansible_collections.venom.llm.plugins.module_utils.names import TEMPORARY_PREFIX
from ansible_collections.venom.llm.plugins.module_utils.observation import Observation
from ansible_collections.venom.llm.plugins.module_utils.runtime_site import Site, make_site
from ansible_collections.venom.llm.plugins.module_utils.runtimes.vllm import VllmRuntime
from ansible_collections.venom.llm.plugins.module_utils.store.hashing import sha256_of

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1024 * 1024
#: Where vLLM, Triton and Inductor are told to keep what they compile, below the state folder.
CACHE_VARIABLES = {"VLLM_CACHE_ROOT": "cache/vllm", "TRITON_CACHE_DIR": "cache/triton", "TORCHINDUCTOR_CACHE_DIR": "cache/inductor"}
#: The folder of the archive: others may pass to a file whose name they know, and its mode decides whether they may read it.
_ARCHIVE_FOLDER_MODE = 0o711


@dataclass(frozen=True)
class Place:
    """The server's folder on this host: ``given`` as its settings name it, ``folder`` where that really is, and whose it is."""

    site: Site
    program: str
    given: str
    folder: str
    uid: int
    gid: int

    @classmethod
    def find(cls, params: t.Mapping[str, t.Any]) -> Place:
        """Raises ``not_installed`` without settings or folder, ``invalid_option`` where the server keeps its cache elsewhere."""
        site = make_site(dict(params, name="vllm"))
        given = os.path.normpath(params["state_dir"])
        settings = VllmRuntime(params["config_dir"], params["run_dir"]).settings()
        for variable, below in CACHE_VARIABLES.items():
            wanted, found = os.path.join(given, below), settings.environment.get(variable, "nothing")
            if os.path.normpath(found) != wanted:
                raise VenomError("invalid_option", wanted=f"{variable}={wanted}", found=found, todo="correct state_dir, or venom_vllm_environment")
        folder = os.path.realpath(given)
        try:
            status = os.stat(folder)
        except FileNotFoundError:
            raise VenomError("not_installed", wanted=f"the folder {given}", found="none", todo="run the role venom.llm.vllm first") from None
        return cls(site, settings.program, given, folder, status.st_uid, status.st_gid)

    def key(self) -> CacheKey:
        """The key of this host."""
        return read_key(self.program, self.given, gpus.read_gpus())

    def acting(self) -> t.ContextManager[None]:
        """With the rights of the account that the folder belongs to."""
        return acting_as(self.uid, self.gid)

    def scan(self) -> entries.Listing:
        """What is there."""
        with self.acting():
            return entries.scan(self.folder, self.uid)

    @contextlib.contextmanager
    def locked(self, params: t.Mapping[str, t.Any]) -> t.Iterator[None]:
        """Alone with the runtime: whoever would activate, stop or start a model through this collection waits."""
        with files.Lock(self.site.lock_path, params["lock_timeout"], {"operation": f"compile cache {params['state']}"}):
            yield


def writer(seen: Observation) -> str:
    """Who may be filling the cache right now, or nothing. A server compiles until it answers."""
    if not seen.is_up:
        return ""
    if seen.service.active == "starting":
        return f"the server is starting: {seen.service.detail}"
    return "" if seen.health.state == "ready" else f"the server does not answer yet: {seen.health.detail}"


def inspect(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What ``venom_compile_cache_info`` tells; a host that can take no part is told why, and is no failure."""
    result: dict[str, t.Any] = {"key": None, "key_id": None, "entries": [], "size_bytes": 0, "can_save": False, "reason": None}
    try:
        place = Place.find(params)
        key = place.key()
    except VenomError as error:
        return dict(result, reason=f"{error.reason_code}: {error}")
    listing = place.scan()
    busy = writer(place.site.observe())
    size = sum(entry.size for entry in listing.entries)
    return dict(
        result,
        key=key.describe(),
        key_id=key.short,
        entries=[entry.describe() for entry in listing.entries],
        size_bytes=size,
        can_save=size > 0 and not busy and not listing.fault,
        reason=f"cache_refused: {listing.fault}" if listing.fault else busy or None,
    )


def operate(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """One call of ``venom_compile_cache``."""
    raise_on_signals()
    return _STATES[params["state"]](params, check_mode)


def _saved(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """In check mode the archive is made without being written: its digest is the one that the real run finds."""
    place = Place.find(params)
    with contextlib.nullcontext() if check_mode else place.locked(params):
        chosen = _choose(place, params)
        archive = params["archive"]
        temporary = os.path.join(os.path.dirname(archive), files.temporary_name())
        sink = archives.HashingWriter(None)
        try:
            if check_mode:
                _pack(place, chosen, sink)
            else:
                files.make_folders(os.path.dirname(archive), _ARCHIVE_FOLDER_MODE)
                _sweep(os.path.dirname(archive))
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with os.fdopen(descriptor, "wb") as stream:
                    sink = archives.HashingWriter(stream)
                    _pack(place, chosen, sink)
            changed = _digest_of(archive) != sink.sha256
            if not check_mode:
                _publish(temporary, archive, params["reader"])
        finally:
            files.remove_if_there(temporary)
    return {
        "changed": changed,
        "sha256": sink.sha256,
        "size_bytes": sink.size,
        "entries": [entry.describe() for entry in chosen],
        "diff": {"before": {"archive": None} if changed else {"archive": archive}, "after": {"archive": archive}},
    }


def _choose(place: Place, params: t.Mapping[str, t.Any]) -> list[entries.Entry]:
    busy = writer(place.site.observe())
    if busy:
        raise VenomError("locked", wanted="a compile cache that nobody writes", found=busy, todo="wait until the server is ready, or stop it")
    listing = place.scan()
    if listing.fault:
        raise entries.refused(listing.fault)
    chosen = [entry for entry in listing.entries if entry.files and (not params["entries"] or entry.name in params["entries"])]
    missing = set(params["entries"]) - {entry.name for entry in chosen}
    if missing or not chosen:
        raise VenomError(
            "not_found",
            wanted=f"compiled code in {place.given}",
            found=f"no {min(missing)}" if missing else "none",
            todo="activate the model on this host first, without --enforce-eager",
        )
    archives.check_size(sum(entry.size for entry in chosen), int(params["max_gb"] * GB))
    return chosen


def _pack(place: Place, chosen: list[entries.Entry], sink: archives.HashingWriter) -> None:
    key = place.key()
    with place.acting():
        archives.pack(place.folder, chosen, key, sink)
    after = {entry.name: entry for entry in place.scan().entries}
    for entry in chosen:
        if after.get(entry.name) != entry:
            raise archives.changing(entry.name)


def _publish(temporary: str, archive: str, reader: int | None) -> None:
    if reader is not None:
        os.chown(temporary, reader, -1)
    os.replace(temporary, archive)
    files.fsync_folder(os.path.dirname(archive))


def _digest_of(path: str) -> str:
    """SHA-256 of a file, nothing without one."""
    try:
        return sha256_of(path)
    except FileNotFoundError:
        return ""


def _digest(stream: t.BinaryIO) -> str:
    sink = archives.HashingWriter(None)
    shutil.copyfileobj(stream, sink, _CHUNK)
    return sink.sha256


def _loaded(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """The plan is made from the names alone, so check mode needs no archive."""
    if not _SHA256.fullmatch(params["sha256"]):
        todo = "take it from the result of state=saved"
        raise VenomError("invalid_option", wanted="sha256 as 64 hexadecimal digits", found=ascii(params["sha256"]), todo=todo)
    if not params["entries"]:
        raise VenomError("invalid_option", wanted="names of entries to load", found="none", todo="take them from the result of state=saved")
    # In the order in which they are loaded, whatever the caller's: the diff shall be the same each time.
    names = sorted(set(params["entries"]), key=lambda name: (entries.SECTIONS.index(entries.section_of(name)), name))
    place = Place.find(params)
    if check_mode:
        missing = _missing(place, names)
    else:
        with place.locked(params):
            _sweep_cache(place)
            missing = _missing(place, names)
            if missing:
                _load(place, params, missing)
    return {"changed": bool(missing), "loaded": missing, "diff": {"before": {"loaded": []}, "after": {"loaded": missing}}}


def _missing(place: Place, names: t.Sequence[str]) -> list[str]:
    with place.acting():
        return [name for name in names if not os.path.lexists(os.path.join(place.folder, name))]


def _load(place: Place, params: t.Mapping[str, t.Any], missing: list[str]) -> None:
    """Unpacked aside in full, and then put in place, entry by entry."""
    key = place.key()
    with _open(params["archive"]) as stream:
        found = _digest(stream)
        if found != params["sha256"]:
            raise VenomError(
                "digest_mismatch",
                wanted=f"{params['archive']} with the SHA-256 {params['sha256']}",
                found=found,
                todo="do not use it; save and carry the cache again",
                path=params["archive"],
            )
        stream.seek(0)
        with place.acting():
            staging = os.path.join(place.folder, entries.CACHE, files.temporary_name())
            files.make_folders(staging, 0o700)
            try:
                for name in archives.unpack(stream, staging, frozenset(missing), key, int(params["max_gb"] * GB)):
                    _put(staging, place.folder, name)
            finally:
                shutil.rmtree(staging, ignore_errors=True)


def _open(path: str) -> t.BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        todo = "copy it there first"
        raise VenomError("not_installed", wanted=f"the archive {path} on the host", found="no such file", todo=todo, path=path) from error


def _put(staging: str, folder: str, name: str) -> None:
    """One entry in its place, whole. What the server has made itself meanwhile stays."""
    source, target = files.safe_join(staging, name), files.safe_join(folder, name)
    files.make_folders(os.path.dirname(target), 0o700)
    if entries.section_of(name).folders:
        try:
            os.rename(source, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    else:
        # A rename would replace a file that is there.
        with contextlib.suppress(FileExistsError):
            os.link(source, target)
    files.fsync_folder(os.path.dirname(target))


def _absent(params: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """The archive and what a killed run has left are gone. The cache itself stays."""
    folder = os.path.dirname(params["archive"])
    try:
        place: Place | None = Place.find(params)
    except VenomError:
        place = None
    left = _all_leftovers(params, place)
    if left and not check_mode:
        # Unfinished work may be somebody's who is at it right now.
        with contextlib.nullcontext() if place is None else place.locked(params):
            files.remove_if_there(params["archive"])
            _sweep(folder)
            if place is not None:
                _sweep_cache(place)
            if folder in left:
                os.rmdir(folder)
    return {"changed": bool(left), "diff": {"before": {"left": left}, "after": {"left": []}}}


def _all_leftovers(params: t.Mapping[str, t.Any], place: Place | None) -> list[str]:
    """Paths, with the folder of the archive when nothing else is in it."""
    archive = params["archive"]
    folder = os.path.dirname(archive)
    left = [archive] if os.path.lexists(archive) else []
    left += _leftovers(folder)
    if os.path.isdir(folder) and len(os.listdir(folder)) == len(left):
        left.append(folder)
    if place is not None:
        with place.acting():
            left += _leftovers(os.path.join(place.folder, entries.CACHE))
    return left


def _sweep_cache(place: Place) -> None:
    with place.acting():
        _sweep(os.path.join(place.folder, entries.CACHE))


def _sweep(folder: str) -> None:
    """Remove what killed runs left."""
    for path in _leftovers(folder):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def _leftovers(folder: str) -> list[str]:
    try:
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.startswith(TEMPORARY_PREFIX)]
    except FileNotFoundError:
        return []


_STATES: dict[str, t.Callable[[t.Mapping[str, t.Any], bool], dict[str, t.Any]]] = {"saved": _saved, "loaded": _loaded, "absent": _absent}
