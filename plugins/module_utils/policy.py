# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may come onto a host at all, judged by the listing and the small files before any weight moves."""
from __future__ import annotations

import fnmatch
import os
import re
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import load_json
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef, safe_relative_path
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile

SAFE_WEIGHTS = (".safetensors", ".gguf")
#: Program files, about which ``check_code`` has the word.
PYTHON_FILES = (".py", ".pyc", ".pyd", ".so")
#: What else a repository may bring: no loader takes one of these for weights. Texts, tokenizers, pictures and sounds, sources of programs,
#: signatures, files of git. A format that is not here may hold a pickle under a name that nobody thought of.
_HARMLESS = frozenset((
    *("txt", "md", "markdown", "rst", "json", "jsonl", "json5", "yaml", "yml", "toml", "ini", "cfg", "conf", "csv", "tsv", "xml", "html", "htm"),
    *("css", "tex", "bib", "cff", "log", "jinja", "jinja2", "j2", "template", "lark", "gbnf", "proto"),
    *("png", "jpg", "jpeg", "gif", "svg", "webp", "bmp", "ico", "avif", "tif", "tiff", "pdf", "ttf", "otf"),
    *("wav", "mp3", "flac", "ogg", "opus", "m4a", "mp4", "webm", "mov"),
    *("ipynb", "sh", "bat", "ps1", "js", "ts", "c", "cc", "cpp", "cu", "cuh", "h", "hpp", "rs", "go"),
    *("sig", "asc", "md5", "sha256", "sha512"),
    *("gitattributes", "gitignore", "gitkeep", "gitmodules"),
))  # fmt: skip
#: Of a tokenizer up to so many bytes; the largest that is known, of mT5, has four million. What is larger is something else, as a pickle of
#: gensim by the name of word2vec.model.
_TOKENIZERS = frozenset(("model", "tiktoken", "spm", "bpe", "vocab", "codes", "merges", "dict", "tokenizer", "wordpiece", "mvn"))
_MAX_TOKENIZER = 64 * 1024 * 1024
#: Versions of a tokenizer, as mistral_common looks for them.
_TOKENIZER = re.compile(r"\.model\.v\d+(?:m\d+)?\Z")
#: What stands behind the last dot of a name such as 'LICENSE v1.0' is no suffix.
_NO_SUFFIX = re.compile(r"\d+(?: .*)?\Z")
#: A name without a suffix is that of a text, such as LICENSE, up to so many bytes.
_MAX_TEXT = 1024 * 1024

#: A small file that the policy reads is at most this long, in bytes.
MAX_SMALL_FILE = 64 * 1024 * 1024

Read = t.Callable[[RemoteFile], bytes]


def select_files(ref: ModelRef, files: t.Sequence[RemoteFile], include: t.Sequence[str], allow_pickle: bool) -> tuple[RemoteFile, ...]:
    """The files to install. Raises ``pickle_refused``.

    Unsafe is what is neither safe weights nor of a format that is known to be harmless. Where safe weights are there too, unsafe files
    are left out: no runtime needs them. They come only when ``allow_pickle`` is set and there are no safe ones, or an include pattern
    names their suffix.
    """
    unsafe = [file for file in files if not _has_suffix(file.path, (*SAFE_WEIGHTS, *PYTHON_FILES)) and not _is_harmless(file)]
    if not unsafe:
        return tuple(files)
    if any(_has_suffix(file.path, SAFE_WEIGHTS) for file in files):
        asked = {file.path for file in unsafe if allow_pickle and any(_names_suffix(pattern, file.path) for pattern in include)}
        return tuple(file for file in files if file not in unsafe or file.path in asked)
    if not allow_pickle:
        raise VenomError(
            "pickle_refused",
            wanted=f"weights of {ref} as safetensors or GGUF",
            found=f"only formats that may run code when loaded, or that are not known: {_shown(unsafe)}",
            todo="choose a repository with safetensors, leave these files out with exclude, or set allow_pickle if you trust them",
            model=str(ref),
            files=[file.path for file in unsafe],
        )
    return tuple(files)


def _has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    return path.lower().endswith(suffixes)


def _is_harmless(file: RemoteFile) -> bool:
    name = os.path.basename(file.path).lower()
    dummy, dot, suffix = name.rpartition(".")
    if not dot or _NO_SUFFIX.match(suffix):
        return file.size <= _MAX_TEXT
    if suffix in _TOKENIZERS or _TOKENIZER.search(name):
        return file.size <= _MAX_TOKENIZER
    return suffix in _HARMLESS


def _names_suffix(pattern: str, path: str) -> bool:
    return fnmatch.fnmatchcase(path, pattern) and pattern.endswith(os.path.splitext(path)[1] or os.path.basename(path))


def _shown(files: t.Sequence[RemoteFile]) -> str:
    names = ", ".join(ascii(file.path)[1:-1] for file in files[:3])
    return names + (f" and {len(files) - 3} more" if len(files) > 3 else "")


def check_code(ref: ModelRef, files: t.Sequence[RemoteFile], read: Read, allow_remote_code: bool) -> None:
    """Raises ``remote_code_refused`` for code beside the weights and for configurations that ask to load code."""
    if allow_remote_code:
        return
    code = [file for file in files if _has_suffix(file.path, PYTHON_FILES)]
    found = f"program files: {_shown(code)}" if code else None
    if found is None:
        asking = [file for file in files if file.path.endswith("config.json") and _has_auto_map(_load(ref, file, read))]
        found = f"auto_map, which loads code, in {_shown(asking)}" if asking else None
    if found is not None:
        raise VenomError(
            "remote_code_refused",
            wanted=f"{ref} as data only",
            found=found,
            todo="leave program files out with exclude if the model works without them, or set allow_remote_code if you trust them",
            model=str(ref),
        )


def _has_auto_map(value: t.Any) -> bool:
    # A stack of its own: the JSON parser takes deeper texts than Python's calls can follow.
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if "auto_map" in item:
                return True
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return False


def _load(ref: ModelRef, file: RemoteFile, read: Read) -> t.Any:
    try:
        return load_json(read(file))
    except ValueError as error:
        raise VenomError(
            "unsupported_source",
            wanted=f"JSON in {ascii(file.path)} of {ref}",
            found=str(error)[:200],
            todo="report it to the repository's owner, or leave the file out with exclude",
            model=str(ref),
        ) from error


def check_indexes(ref: ModelRef, files: t.Sequence[RemoteFile], read: Read) -> dict[str, set[str]]:
    """Every shard that a safetensors index names must be a safe name and in the plan.

    Returns the tensors that each shard must have, by its path: ``check_headers`` looks for them. Raises ``invalid_name`` for a hostile
    name, ``unsupported_source`` for a missing shard or a malformed index.
    """
    paths = {file.path for file in files}
    expected: dict[str, set[str]] = {}
    for file in files:
        if not file.path.endswith(".safetensors.index.json"):
            continue
        index = _load(ref, file, read)
        weight_map = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(weight_map, dict):
            raise _incomplete(ref, file.path, "it has no weight_map")
        folder = os.path.dirname(file.path)
        shards: dict[str, set[str]] = {}
        for tensor, shard in weight_map.items():
            shards.setdefault(str(shard), set()).add(tensor)
        for shard, tensors in shards.items():
            path = safe_relative_path("/".join(filter(None, (folder, safe_relative_path(shard)))))
            if path not in paths:
                raise _incomplete(ref, file.path, f"it names {ascii(path)}, which is not among the files")
            expected.setdefault(path, set()).update(tensors)
    return expected


def _incomplete(ref: ModelRef, path: str, found: str) -> VenomError:
    return VenomError(
        "unsupported_source",
        wanted=f"every shard that {ascii(path)} of {ref} names",
        found=found,
        todo="check include and exclude, or report it to the repository's owner",
        model=str(ref),
    )
