# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Hugging Face hub: revisions and listings through huggingface_hub (2.x), bytes over plain HTTP."""
from __future__ import annotations

import threading
import time
import typing as t
from urllib.parse import quote

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import Digest, ModelRef, check_paths, is_commit
from ansible_collections.venom.llm.plugins.module_utils.sources.base import ModelPlan, RemoteFile, Stream, check_small, is_wanted
from ansible_collections.venom.llm.plugins.module_utils.sources.http import HostList, HttpClient, parse_endpoint
from ansible_collections.venom.llm.plugins.module_utils.sources.hub_client import make_client
from ansible_collections.venom.llm.plugins.module_utils.sources.retry import RetryPolicy, TransientError, call_with_retries

#: The hub's words for a token that it does not know (huggingface_hub, utils/_http.py); any other 401 may mean a missing repository.
_BAD_CREDENTIALS = "Invalid credentials in Authorization header"

#: huggingface_hub keeps one HTTP client for the whole process, so two hubs in one process must not interleave.
_LIBRARY_LOCK = threading.Lock()


def file_url(endpoint: str, ref: ModelRef, commit: str, path: str) -> str:
    """Where a hub has a file of a revision."""
    return f"{endpoint}/{quote(ref.name)}/resolve/{commit}/{quote(path, errors='replace')}"


class HubSource:
    """One hub as a source of models, with the operator's endpoint, token and CA file and nothing of the environment's."""

    def __init__(
        self,
        endpoint: str,
        token: str | None = None,
        ca_path: str | None = None,
        allowed_hosts: t.Sequence[str] = (),
        stall_timeout: float = 30.0,
        retry_policy: RetryPolicy | None = None,
        sleep: t.Callable[[float], object] = time.sleep,
    ) -> None:
        self.endpoint = parse_endpoint(endpoint)
        self._token = token
        self._ca_path = ca_path
        self._stall_timeout = stall_timeout
        self._retry_policy = retry_policy or RetryPolicy()
        self._sleep = sleep
        self._hosts = HostList(self.endpoint, tuple(allowed_hosts))
        self._http = HttpClient(self._hosts, token, ca_path, stall_timeout)
        self._api: t.Any = None

    def find_commit(self, ref: ModelRef, revision: str) -> str:
        """The commit that a branch, tag or commit stands for now, in one request. Raises ``VenomError``."""
        return self._find(ref, revision)[0]

    def _find(self, ref: ModelRef, revision: str) -> tuple[str, bool]:
        info = self._ask(ref, revision, lambda api: api.model_info(ref.name, revision=revision, timeout=self._stall_timeout))
        commit = info.sha
        if not is_commit(commit) or (is_commit(revision) and commit != revision):
            raise VenomError(
                "unsupported_source",
                wanted=f"the commit of {ref} at {revision}",
                found=f"the hub answered {ascii(commit)}",
                todo="check that endpoint is a Hugging Face hub",
            )
        return commit, bool(info.gated)

    def resolve(self, ref: ModelRef, revision: str, include: t.Sequence[str], exclude: t.Sequence[str]) -> ModelPlan:
        """Commit and chosen files, with one listing. Every file name passes the gate before anything is done with it.

        A gated repository shows its listing to everybody, so its first file is asked for too. Raises ``VenomError``.
        """
        commit, is_gated = self._find(ref, revision)
        items = self._ask(ref, commit, lambda api: list(api.list_repo_tree(ref.name, recursive=True, revision=commit)))
        listed = [self._remote_file(ref, commit, item) for item in items if hasattr(item, "blob_id")]
        check_paths(file.path for file in listed)
        files = tuple(sorted((file for file in listed if is_wanted(file.path, include, exclude)), key=lambda file: file.path))
        if is_gated and files:
            self._probe(ref, files[0])
        return ModelPlan(ref, commit, revision, files)

    def open(self, file: RemoteFile, offset: int = 0, length: int | None = None) -> Stream:
        """The bytes of a file from an offset on. Raises ``TransientError`` or ``VenomError``; retrying is the caller's."""
        return self._http.open(file.url, offset, length, file.size)

    def read(self, file: RemoteFile, limit: int) -> bytes:
        """A small file in memory, retried, not verified. Raises ``VenomError``, ``unsupported_source`` above ``limit`` bytes."""
        check_small(file, limit)

        def attempt() -> bytes:
            stream = self.open(file)
            try:
                content = b""
                for chunk in stream:
                    content += chunk
                    if len(content) > file.size:
                        break
            finally:
                stream.close()
            if len(content) != file.size:
                raise TransientError(f"{ascii(file.path)} has {len(content)} bytes instead of {file.size}")
            return content

        return call_with_retries(attempt, f"to read {ascii(file.path)}", self._retry_policy, self._sleep)

    def _probe(self, ref: ModelRef, file: RemoteFile) -> None:
        def attempt() -> None:
            self.open(file).close()

        try:
            call_with_retries(attempt, f"access to {ref}", self._retry_policy, self._sleep)
        except VenomError as error:
            if error.reason_code not in ("gated", "unauthorized", "not_found"):
                raise
            raise self._gated(ref) from error

    def _gated(self, ref: ModelRef) -> VenomError:
        url = f"{self.endpoint}/{ref.name}"
        found = "the repository is gated and " + ("the token's account has no access yet" if self._token else "no token was given")
        return VenomError(
            "gated",
            wanted=f"to read {ref}",
            found=found,
            todo=f"ask for access on {url}, then give a token of that account as token or token_file",
            model=str(ref),
            access_url=url,
        )

    def _remote_file(self, ref: ModelRef, commit: str, item: t.Any) -> RemoteFile:
        lfs = item.lfs
        # lfs.sha256 is a bare hex string; a malformed one must not get as far as a path.
        sha256 = None if lfs is None else Digest.parse(f"sha256:{lfs.sha256}").hex
        git_sha1 = Digest.parse(f"sha1:{item.blob_id}").hex if sha256 is None else None
        size = item.size if lfs is None else lfs.size
        if not isinstance(size, int) or size < 0 or not isinstance(item.path, str):
            raise VenomError(
                "unsupported_source",
                wanted="path and size of every file",
                found=f"{ascii(item.path)} of {size!r} bytes",
                todo="check that endpoint is a Hugging Face hub",
            )
        return RemoteFile(item.path, size, sha256, git_sha1, file_url(self.endpoint, ref, commit, item.path))

    def _ask(self, ref: ModelRef, revision: str, question: t.Callable[[t.Any], t.Any]) -> t.Any:
        def attempt() -> t.Any:
            with _LIBRARY_LOCK:
                return self._ask_once(ref, revision, question)

        return call_with_retries(attempt, f"{ref} at {revision} from {self.endpoint}", self._retry_policy, self._sleep)

    def _ask_once(self, ref: ModelRef, revision: str, question: t.Callable[[t.Any], t.Any]) -> t.Any:
        try:
            from huggingface_hub import HfApi, constants, errors, set_client_factory
        except ImportError as error:
            raise VenomError(
                "backend_missing",
                wanted="huggingface_hub 2.x",
                found=f"a Python that lacks it, or has an older one ({error})",
                todo="run the role venom.llm.host, or set backend_python",
            ) from error
        # With telemetry on, the library asks the endpoint for a list of agents and writes it to HF_HOME (seen with 2.4.0).
        constants.HF_HUB_DISABLE_TELEMETRY = True
        set_client_factory(lambda: make_client(self._hosts, self._ca_path, self._stall_timeout))
        # token=False keeps the library from looking for one in HF_TOKEN and in the account's home.
        api = HfApi(endpoint=self.endpoint, token=self._token or False, library_name="venom.llm")
        wanted = f"{ref} at {revision} from {self.endpoint}"
        try:
            return question(api)
        except (VenomError, TransientError):
            raise
        except errors.GatedRepoError as error:
            raise self._gated(ref) from error
        except errors.RevisionNotFoundError as error:
            raise self._no_revision(ref, wanted) from error
        except errors.HfHubHTTPError as error:
            if error.response.status_code == 404 and "X-Error-Code" not in error.response.headers and self._has_repository(api, ref):
                raise self._no_revision(ref, wanted) from error
            raise self._from_status(ref, wanted, error) from error
        except Exception as error:
            # What the library makes of an answer that is no hub's: JSON, key, type and value errors of many kinds.
            raise VenomError(
                "unsupported_source",
                wanted=wanted,
                found=f"an answer that huggingface_hub does not understand ({type(error).__name__})",
                todo="check that endpoint is a Hugging Face hub, and proxies on the way",
            ) from error

    def _has_repository(self, api: t.Any, ref: ModelRef) -> bool:
        """Whether a hub of another make, which doesn't say what it lacks, shows the repository. Only to word an error: no for whatever fails."""
        # Twice, since a server may close the connection of the question before while this one goes out.
        for dummy in range(2):
            try:
                api.model_info(ref.name, timeout=self._stall_timeout)
            except TransientError:
                continue
            except Exception:
                return False
            return True
        return False

    @staticmethod
    def _no_revision(ref: ModelRef, wanted: str) -> VenomError:
        found = "no such branch, tag or commit"
        return VenomError("revision_not_found", wanted=wanted, found=found, todo="check the revision", model=str(ref))

    def _from_status(self, ref: ModelRef, wanted: str, error: t.Any) -> VenomError:
        status = error.response.status_code
        is_unknown_token = error.response.headers.get("X-Error-Message") == _BAD_CREDENTIALS
        if status in (401, 403) and (self._token or is_unknown_token or status == 403):
            return VenomError(
                "unauthorized",
                wanted=wanted,
                found=f"HTTP {status}: the hub refuses {'this token' if self._token else 'access without a token'}",
                todo="give a valid token that may read the repository as token or token_file",
                model=str(ref),
            )
        if status in (401, 404):
            return VenomError(
                "not_found",
                wanted=wanted,
                found="no such repository" + ("" if self._token else ", or a private one and no token was given"),
                todo="check the name" + ("; does the token's account see it?" if self._token else ", or give a token"),
                model=str(ref),
            )
        return VenomError("unsupported_source", wanted=wanted, found=f"HTTP {status}", todo="check endpoint, and proxies on the way")
