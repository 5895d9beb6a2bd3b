# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder in which a host's vLLM compiles: where it is, whose it is, who writes there now, and what unfinished work lies about."""
from __future__ import annotations

import contextlib
import os
import shutil
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils import compile_cache_entries as entries
from ansible_collections.venom.llm.plugins.module_utils import files, gpus
from ansible_collections.venom.llm.plugins.module_utils.acting_as import acting_as
from ansible_collections.venom.llm.plugins.module_utils.compile_cache_key import CacheKey, read_key
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import TEMPORARY_PREFIX
from ansible_collections.venom.llm.plugins.module_utils.observation import Observation
from ansible_collections.venom.llm.plugins.module_utils.runtime_site import Site, make_site
from ansible_collections.venom.llm.plugins.module_utils.runtimes.vllm import VllmRuntime

#: Where vLLM, Triton and Inductor are told to keep what they compile, below the state folder.
CACHE_VARIABLES = {"VLLM_CACHE_ROOT": "cache/vllm", "TRITON_CACHE_DIR": "cache/triton", "TORCHINDUCTOR_CACHE_DIR": "cache/inductor"}


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

    def leftovers(self) -> list[str]:
        """Paths of what killed runs left in the cache."""
        with self.acting():
            return leftovers(os.path.join(self.folder, entries.CACHE))

    def sweep(self) -> None:
        """Remove them."""
        with self.acting():
            sweep(os.path.join(self.folder, entries.CACHE))

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


def sweep(folder: str) -> None:
    """Remove what killed runs left."""
    for path in leftovers(folder):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def leftovers(folder: str) -> list[str]:
    """Paths of what killed runs left in a folder."""
    try:
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.startswith(TEMPORARY_PREFIX)]
    except FileNotFoundError:
        return []
