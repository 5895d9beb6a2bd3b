# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate that every name passes before it becomes a path, a URL or an argument.

Model names, aliases and digests come from operators; file names come from hubs, manifests and ``weight_map`` tables, so they
are hostile until proved otherwise. Everything here raises ``invalid_name`` or returns a value that is safe on every platform.
"""
from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

#: What this collection writes beside published files until they are complete. A name from outside never begins like this.
TEMPORARY_PREFIX = ".venom."

MAX_NAME_LENGTH = 255
#: huggingface_hub's own limit (utils/_validators.py). It also keeps '<owner>--<name>@<commit>' below the 255 bytes of a file name.
MAX_REPOSITORY_LENGTH = 96
MAX_PATH_LENGTH = 1024
MAX_SEGMENT_BYTES = 255

PROVIDERS = ("huggingface", "ollama")
#: What Ollama fills in where a name leaves it out (types/model/name.go of Ollama).
OLLAMA_HOST, OLLAMA_NAMESPACE, OLLAMA_TAG = "registry.ollama.ai", "library", "latest"
#: The one runtime of each provider.
RUNTIME_OF_PROVIDER = {"huggingface": "vllm", "ollama": "ollama"}

# ASCII is spelled out and the end is \Z: with \w and $ a Cyrillic letter or a trailing newline would pass.
_NAME = re.compile(r"\A[A-Za-z0-9_.:/\-]+\Z")
_ALIAS = re.compile(r"\A[A-Za-z0-9_][A-Za-z0-9_.:/\-]*\Z")
_TAG = re.compile(r"\A[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}\Z")
_COMMIT = re.compile(r"\A[0-9a-f]{40}\Z")
_REVISION = re.compile(r"\A[A-Za-z0-9_][A-Za-z0-9_.+/\-]*\Z")
_DIGEST_HEX = {"sha256": re.compile(r"\A[0-9a-f]{64}\Z"), "sha1": re.compile(r"\A[0-9a-f]{40}\Z")}
# Windows opens a device for these names whatever their extension; the superscript digits count too.
_DEVICE = re.compile(r"\A(con|prn|aux|nul|conin\$|conout\$|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])\Z")


def _refuse(kind: str, text: object, why: str, todo: str = "correct the name") -> t.NoReturn:
    shown = ascii(text)
    shown = shown if len(shown) <= 120 else shown[:117] + "..."
    raise VenomError("invalid_name", wanted=f"a valid {kind}", found=f"{shown}: {why}", todo=todo, kind=kind)


def _check_segments(kind: str, text: str) -> None:
    for segment in text.split("/"):
        if segment == "":
            _refuse(kind, text, "it has an empty segment")
        if segment in (".", ".."):
            _refuse(kind, text, f"it has a {segment!r} segment")


def is_commit(text: str | None) -> bool:
    """Whether the text is a full commit: 40 lowercase hexadecimal digits."""
    return text is not None and _COMMIT.match(text) is not None


def parse_revision(text: str) -> str:
    """A branch, a tag or a commit as git allows it, without anything that a path or a URL could misread."""
    if not isinstance(text, str) or len(text) > MAX_NAME_LENGTH or not _REVISION.match(text):
        _refuse("revision", text, "use ASCII letters, digits and _ . + / - only, beginning with a letter, digit or _")
    if re.match(r"\A[0-9A-Fa-f]{40}\Z", text):
        return text.lower()
    _check_segments("revision", text)
    if ".." in text:
        _refuse("revision", text, "'..' is not allowed in a revision")
    return text


@dataclass(frozen=True)
class ModelRef:
    """A model by name: ``provider`` is 'huggingface' or 'ollama', ``tag`` is None for Hugging Face."""

    name: str
    provider: str
    tag: str | None = None

    @classmethod
    def parse(cls, text: str, provider: str = "auto") -> ModelRef:
        """Validate and normalise a model name.

        With ``auto`` a tag or a missing slash means Ollama, anything else Hugging Face. Raises ``invalid_name``.
        """
        if provider != "auto" and provider not in PROVIDERS:
            raise VenomError(
                "invalid_option", wanted="a known provider", found=f"provider {provider!r}", todo=f"use auto, {' or '.join(PROVIDERS)}"
            )
        if not isinstance(text, str) or not text:
            _refuse("model name", text, "it is empty or not text")
        if len(text) > MAX_NAME_LENGTH:
            _refuse("model name", text, f"it has {len(text)} characters, at most {MAX_NAME_LENGTH} are allowed")
        if not _NAME.match(text):
            _refuse("model name", text, "only ASCII letters, digits and _ - . : / are allowed")
        if text[0] in "/-":
            _refuse("model name", text, f"it begins with {text[0]!r}")
        if text.count(":") > 1:
            _refuse("model name", text, "it has more than one ':'")
        _check_segments("model name", text)
        if provider == "auto":
            provider = "ollama" if ":" in text or "/" not in text else "huggingface"
        return _parse_repository(text) if provider == "huggingface" else _parse_tagged(text)

    @property
    def key(self) -> str:
        """The one spelling that identifies the model in records, for example ``huggingface:google/gemma-2b-it``.

        Ollama takes names in any case for the one that exists, so there case does not count.
        """
        return f"{self.provider}:{self}" if self.provider == "huggingface" else f"{self.provider}:{str(self).lower()}"

    @property
    def host(self) -> str:
        """The registry that an Ollama name means, the default one included."""
        parts = self.name.split("/")
        return parts[0] if len(parts) == 3 else OLLAMA_HOST

    @property
    def repository(self) -> str:
        """Namespace and model of an Ollama name, ``library/phi3`` for ``phi3:mini``."""
        parts = self.name.split("/")[-2:]
        return "/".join(parts if len(parts) == 2 else [OLLAMA_NAMESPACE, *parts])

    def folder(self, commit: str) -> str:
        """Name of the snapshot folder. It reads back unambiguously: no repository name contains '--' or '@'."""
        if self.provider != "huggingface":
            _refuse("snapshot folder", str(self), "only Hugging Face models have snapshot folders")
        if not is_commit(commit):
            _refuse("commit", commit, "a commit has 40 lowercase hexadecimal digits")
        return f"{self.name.replace('/', '--')}@{commit}"

    @classmethod
    def from_folder(cls, folder: str) -> tuple[ModelRef, str]:
        """The model and commit of a snapshot folder. Raises ``invalid_name`` for any folder that is not one of ours."""
        name, separator, commit = folder.rpartition("@")
        if not separator or not is_commit(commit):
            _refuse("snapshot folder", folder, "it is not '<owner>--<name>@<commit>'")
        ref = cls.parse(name.replace("--", "/"), "huggingface")
        if ref.folder(commit) != folder:
            _refuse("snapshot folder", folder, "it is not '<owner>--<name>@<commit>'")
        return ref, commit

    def __str__(self) -> str:
        return self.name if self.tag is None else f"{self.name}:{self.tag}"


def _parse_repository(text: str) -> ModelRef:
    if ":" in text:
        _refuse("Hugging Face name", text, "':' does not occur in a repository name", "give a revision as the option revision")
    if text.count("/") > 1:
        _refuse("Hugging Face name", text, "it has more than one '/'", "use owner/name")
    if len(text) > MAX_REPOSITORY_LENGTH:
        _refuse("Hugging Face name", text, f"it has {len(text)} characters, a repository name has at most {MAX_REPOSITORY_LENGTH}")
    if "--" in text or ".." in text:
        _refuse("Hugging Face name", text, "'--' and '..' do not occur in a repository name")
    for segment in text.split("/"):
        if segment[0] in ".-" or segment[-1] in ".-":
            _refuse("Hugging Face name", text, "its parts neither begin nor end with '.' or '-'")
    if text.endswith(".git"):
        _refuse("Hugging Face name", text, "it ends with '.git'")
    return ModelRef(name=text, provider="huggingface")


def _parse_tagged(text: str) -> ModelRef:
    name, separator, tag = text.partition(":")
    if "/" in tag:
        _refuse("Ollama name", text, "':' separates the tag, which has no '/'")
    tag = tag if separator else OLLAMA_TAG
    if not _TAG.match(tag):
        _refuse("Ollama name", text, "the tag is empty, too long or begins with '.' or '-'")
    parts = name.split("/")
    if len(parts) > 3:
        _refuse("Ollama name", text, "it has more than three parts", "use model, namespace/model or host/namespace/model")
    for segment in parts:
        if not segment or segment[0] in ".-":
            _refuse("Ollama name", text, "its parts do not begin with '.' or '-'")
    # The short form is the one that Ollama itself shows, so 'registry.ollama.ai/library/phi3' is 'phi3'.
    if len(parts) == 3 and parts[0].lower() == OLLAMA_HOST:
        parts = parts[1:]
    if len(parts) == 2 and parts[0].lower() == OLLAMA_NAMESPACE:
        parts = parts[1:]
    return ModelRef(name="/".join(parts), provider="ollama", tag=tag)


def fold_name(name: str) -> str:
    """The one spelling of an Ollama name, whatever form it has: ``Phi3``, ``phi3:latest``, ``registry.ollama.ai/library/phi3``."""
    folder, slash, model = name.lower().rpartition("/")
    parts = [*(folder.split("/") if slash else []), model if ":" in model else f"{model}:{OLLAMA_TAG}"]
    if len(parts) == 3 and parts[0] == OLLAMA_HOST:
        parts = parts[1:]
    if len(parts) == 2 and parts[0] == OLLAMA_NAMESPACE:
        parts = parts[1:]
    return "/".join(parts)


def runtime_for(ref: ModelRef, runtime: str = "auto") -> str:
    """The runtime that serves the model. Raises ``incompatible_runtime`` when another one is asked for."""
    fitting = RUNTIME_OF_PROVIDER[ref.provider]
    if runtime not in ("auto", fitting):
        raise VenomError(
            "incompatible_runtime",
            wanted=f"{ref} served by {runtime}",
            found=f"models of provider {ref.provider} are served by {fitting}",
            todo=f"leave runtime out, or set it to {fitting}",
            model=str(ref),
        )
    return fitting


@dataclass(frozen=True)
class Alias:
    """The name under which clients ask for a model."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Alias:
        """Validate. It travels in an environment file, an argument list and URLs. Raises ``invalid_name``."""
        if not isinstance(text, str) or len(text) > MAX_NAME_LENGTH or not _ALIAS.match(text):
            _refuse("alias", text, f"use 1 to {MAX_NAME_LENGTH} ASCII letters, digits and _ - . : /, beginning with a letter, digit or _")
        _check_segments("alias", text)
        return cls(text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Digest:
    """A checked digest: only this becomes the path of a blob."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """From ``sha256:<64 hex>`` or ``sha1:<40 hex>``, lowercase. Raises ``invalid_name``."""
        algorithm, dummy, digits = text.partition(":") if isinstance(text, str) else ("", "", "")
        pattern = _DIGEST_HEX.get(algorithm)
        if pattern is None or not pattern.match(digits):
            _refuse("digest", text, "it is not sha256:<64 hex> or sha1:<40 hex>", "see what the source or the manifest says")
        return cls(algorithm, digits)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def safe_relative_path(text: str) -> str:
    """A file name from outside as a relative POSIX path that stays in its folder on any platform. Raises ``invalid_name``.

    Refused: absolute paths, drive letters and streams, UNC, backslashes, '.', '..' and empty segments, unprintable characters
    (control, line ends, bidirectional marks, surrogates), device names, names that end or begin with a space or end with a
    dot, segments over 255 bytes, and names that look like this collection's own temporary files.
    """
    kind = "file name"
    todo = "do not use this source; its file list is malformed or hostile"
    if not isinstance(text, str) or not text:
        _refuse(kind, text, "it is empty or not text", todo)
    if len(text) > MAX_PATH_LENGTH:
        _refuse(kind, text, f"it has {len(text)} characters, at most {MAX_PATH_LENGTH} are allowed", todo)
    if not text.isprintable():
        _refuse(kind, text, "it has a control, format or unassigned character", todo)
    for character, why in (("\\", "a backslash separates folders on Windows"), (":", "':' names a drive or a stream on Windows")):
        if character in text:
            _refuse(kind, text, why, todo)
    if text[0] == "/":
        _refuse(kind, text, "it is absolute", todo)
    for segment in text.split("/"):
        _check_path_segment(kind, text, segment, todo)
    return text


def _check_path_segment(kind: str, text: str, segment: str, todo: str) -> None:
    if segment in ("", ".", ".."):
        _refuse(kind, text, f"it has the segment {segment!r}", todo)
    if segment != segment.strip() or segment[-1] == ".":
        _refuse(kind, text, "a segment begins or ends with a space, or ends with a dot", todo)
    if len(segment.encode("utf-8")) > MAX_SEGMENT_BYTES:
        _refuse(kind, text, f"a segment is longer than {MAX_SEGMENT_BYTES} bytes", todo)
    folded = _fold(segment)
    if _DEVICE.match(folded.split(".", 1)[0].rstrip()):
        _refuse(kind, text, "a segment is a device name on Windows", todo)
    if folded.startswith(TEMPORARY_PREFIX):
        _refuse(kind, text, f"{TEMPORARY_PREFIX}* is reserved for temporary files", todo)


def _fold(text: str) -> str:
    if text.isascii():
        return text.lower()
    import unicodedata

    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def check_paths(paths: t.Iterable[str]) -> tuple[str, ...]:
    """Every path through ``safe_relative_path``, and no two of them in each other's way.

    Raises ``invalid_name`` for a repetition, for two names that are one on a case-insensitive file system, and for a name
    that is a file in one path and a folder in another.
    """
    checked = tuple(safe_relative_path(path) for path in paths)
    todo = "do not use this source; its file list is ambiguous"
    files: dict[str, str] = {}
    for path in checked:
        folded = _fold(path)
        if folded in files:
            _refuse("file list", path, f"it collides with {ascii(files[folded])}", todo)
        files[folded] = path
    for folded, path in files.items():
        parent = folded.rpartition("/")[0]
        while parent:
            if parent in files:
                _refuse("file list", path, f"{ascii(files[parent])} is a file and a folder", todo)
            parent = parent.rpartition("/")[0]
    return checked
