# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The index of a bundle: which models a folder carries across an air gap, with every file's size and digests.

A bundle is a folder with ``bundle.json`` (this index) and ``blobs/sha256/<first two hex>/<hex>``. It arrives on foreign media, so
the index is hostile until it is checked: everything malformed raises ``bundle_invalid``.
"""
from __future__ import annotations

import base64
import binascii
import errno
import os
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import is_integer, load_json
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import safe_join, to_json
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import normalise_time
from ansible_collections.venom.llm.plugins.module_utils.names import PROVIDERS, Alias, Digest, ModelRef, check_paths, is_commit, parse_revision
from ansible_collections.venom.llm.plugins.module_utils.ollama_manifest import OllamaManifest

SCHEMA = 1
INDEX_NAME = "bundle.json"
MAX_INDEX_BYTES = 64 * 1024 * 1024
_MAX_FILE_BYTES = 2**63 - 1


def bundle_invalid(root: str, found: str, **details: t.Any) -> VenomError:
    """The error for a folder that is no bundle or a damaged one."""
    return VenomError(
        "bundle_invalid",
        wanted=f"a bundle in {root}",
        found=found,
        todo="copy the bundle again, or export it again; never edit it by hand",
        path=root,
        **details,
    )


def blob_path(root: str, sha256: str) -> str:
    """Where a content lies in a bundle; no component below ``root`` may be a symlink. Raises ``invalid_name``."""
    digits = Digest.parse(f"sha256:{sha256}").hex
    return safe_join(root, "blobs", "sha256", digits[:2], digits)


def open_regular(path: str) -> t.BinaryIO:
    """Open a file for reading, unbuffered. A symlink, a pipe or a device is refused at once. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return t.cast(t.BinaryIO, os.fdopen(descriptor, "rb", buffering=0))


@dataclass(frozen=True)
class BundleFile:
    """A file of a model; its content is the blob of this SHA-256. ``size`` in bytes."""

    path: str
    size: int
    sha256: str
    git_sha1: str | None = None


@dataclass(frozen=True)
class BundleModel:
    """A model in one revision. ``manifest`` are the exact bytes of an Ollama manifest, whose SHA-256 is the revision."""

    name: str
    provider: str
    revision: str
    files: tuple[BundleFile, ...]
    requested_revision: str | None = None
    alias: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    installed_at: str | None = None
    manifest: bytes | None = None

    @property
    def ref(self) -> ModelRef:
        """The model's name as a checked value."""
        return ModelRef.parse(self.name, self.provider)

    @property
    def key_and_revision(self) -> tuple[str, str]:
        """What identifies the model among all."""
        return self.ref.key, self.revision

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON, every field."""
        return {
            "name": self.name,
            "provider": self.provider,
            "revision": self.revision,
            "requested_revision": self.requested_revision,
            "alias": self.alias,
            "include": list(self.include),
            "exclude": list(self.exclude),
            "installed_at": self.installed_at,
            "manifest": None if self.manifest is None else base64.b64encode(self.manifest).decode("ascii"),
            "files": [{"path": file.path, "size": file.size, "sha256": file.sha256, "git_sha1": file.git_sha1} for file in self.files],
        }


@dataclass(frozen=True)
class BundleIndex:
    """All models of a bundle, in the order of their names; times in UTC with offset."""

    models: tuple[BundleModel, ...] = ()
    created_at: str | None = None

    @property
    def sizes(self) -> dict[str, int]:
        """The size of every content by its SHA-256."""
        return {file.sha256: file.size for model in self.models for file in model.files}

    def merge(self, model: BundleModel) -> BundleIndex:
        """The index with the model added, or replaced where its revision is there."""
        others = [item for item in self.models if item.key_and_revision != model.key_and_revision]
        return BundleIndex(tuple(sorted([*others, model], key=lambda item: item.key_and_revision)), self.created_at)

    def to_bytes(self) -> bytes:
        """The index as a file: the same models give the same bytes."""
        return to_json(self.to_dict())

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON, every field."""
        return {"schema": SCHEMA, "created_at": self.created_at, "models": [model.to_dict() for model in self.models]}

    @classmethod
    def from_dict(cls, data: t.Any) -> BundleIndex:
        """The checked index of what ``to_dict`` gave, which somebody may have changed since. Raises ``ValueError``."""
        try:
            return cls._parse(data)
        except VenomError as error:
            raise ValueError(f"a bad record: {error.found}") from error
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"something malformed ({type(error).__name__}: {str(error)[:200]})") from error

    @classmethod
    def read(cls, root: str) -> BundleIndex:
        """The checked index of the bundle in a folder. Raises ``bundle_invalid``."""
        path = os.path.join(root, INDEX_NAME)
        try:
            with open_regular(path) as stream:
                if os.fstat(stream.fileno()).st_size > MAX_INDEX_BYTES:
                    raise bundle_invalid(root, f"an index of more than {MAX_INDEX_BYTES} bytes")
                content = b"".join(iter(lambda: stream.read(1024 * 1024), b""))
        except OSError as error:
            raise bundle_invalid(root, f"no readable {INDEX_NAME} ({error.strerror})") from error
        try:
            return cls._parse(load_json(content, is_strict=True))
        except VenomError as error:
            raise bundle_invalid(root, f"an index with a bad record: {error.found}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise bundle_invalid(root, f"a malformed index ({type(error).__name__}: {str(error)[:200]})") from error

    @classmethod
    def _parse(cls, data: t.Any) -> BundleIndex:
        schema = data["schema"]
        if not is_integer(schema) or schema != SCHEMA:
            raise ValueError(f"schema {ascii(schema)[:40]} instead of {SCHEMA}; a newer version of this collection may have written it")
        models = tuple(_parse_model(item) for item in _list(data, "models"))
        keys = [model.key_and_revision for model in models]
        if len(set(keys)) != len(keys):
            raise ValueError("a model comes twice in the same revision")
        sizes: dict[str, int] = {}
        for model in models:
            for file in model.files:
                if sizes.setdefault(file.sha256, file.size) != file.size:
                    raise ValueError(f"two sizes for sha256:{file.sha256}")
        return cls(models, normalise_time(data.get("created_at")))


def _list(data: t.Any, key: str) -> list[t.Any]:
    value = data.get(key)
    if not isinstance(value, list):
        raise ValueError(f"{key} is not a list")
    return value


def _patterns(data: t.Any, key: str) -> tuple[str, ...]:
    value = tuple(_list(data, key))
    if not all(isinstance(item, str) for item in value):
        raise ValueError(f"{key} is not a list of patterns")
    return value


def _parse_model(data: t.Any) -> BundleModel:
    provider, revision = data["provider"], data["revision"]
    if provider not in PROVIDERS or not isinstance(revision, str):
        raise ValueError(f"a model of provider {ascii(provider)[:40]}")
    ref = ModelRef.parse(data["name"], provider)
    files = tuple(_parse_file(item) for item in _list(data, "files"))
    check_paths(file.path for file in files)
    requested, alias, encoded = data.get("requested_revision"), data.get("alias"), data.get("manifest")
    manifest = None if encoded is None else _decode(encoded)
    if provider == "huggingface":
        if not is_commit(revision) or manifest is not None:
            raise ValueError(f"{ref} has no commit as its revision, or a manifest that no hub gives")
    else:
        _check_ollama(ref, revision, manifest, files)
    return BundleModel(
        name=str(ref),
        provider=provider,
        revision=revision,
        files=files,
        requested_revision=None if requested is None else parse_revision(requested),
        alias=None if alias is None else str(Alias.parse(alias)),
        include=_patterns(data, "include"),
        exclude=_patterns(data, "exclude"),
        installed_at=normalise_time(data.get("installed_at")),
        manifest=manifest,
    )


def _parse_file(data: t.Any) -> BundleFile:
    size, git_sha1 = data["size"], data.get("git_sha1")
    if not is_integer(size) or not 0 <= size <= _MAX_FILE_BYTES:
        raise ValueError(f"a file of {ascii(size)[:40]} bytes")
    sha256 = Digest.parse(f"sha256:{data['sha256']}").hex
    return BundleFile(data["path"], size, sha256, None if git_sha1 is None else Digest.parse(f"sha1:{git_sha1}").hex)


def _decode(encoded: t.Any) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError("a manifest that is not base64") from error


def _check_ollama(ref: ModelRef, revision: str, content: bytes | None, files: t.Sequence[BundleFile]) -> None:
    """The manifest must be the one that the revision names, and the files exactly what it lists."""
    if content is None:
        raise ValueError(f"{ref} has no manifest")
    manifest = OllamaManifest.parse(content)
    if manifest.digest != revision:
        raise ValueError(f"the manifest of {ref} has {manifest.digest} instead of {revision[:80]}")
    listed = {(layer.digest.hex, layer.size) for layer in manifest.layers}
    if listed != {(file.sha256, file.size) for file in files} or any(file.path != f"blobs/sha256-{file.sha256}" for file in files):
        raise ValueError(f"the files of {ref} are not the layers of its manifest")
