# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may come onto a host at all, judged by the listing and the small files before any weight moves."""
from __future__ import annotations

import fnmatch
import json
import os
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.capabilities import read_safetensors_header
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef, safe_relative_path
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile

SAFE_WEIGHTS = (".safetensors", ".gguf")
#: Formats that run code when they are loaded, or that no runtime here reads.
UNSAFE_WEIGHTS = (
    ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".msgpack", ".h5", ".hdf5", ".keras", ".npy", ".npz", ".ot", ".onnx",
)  # fmt: skip
PYTHON_FILES = (".py", ".pyc", ".pyd", ".so")

#: A small file that the policy reads is at most this long, in bytes.
MAX_SMALL_FILE = 64 * 1024 * 1024

Read = t.Callable[[RemoteFile], bytes]


def select_files(ref: ModelRef, files: t.Sequence[RemoteFile], include: t.Sequence[str], allow_pickle: bool) -> tuple[RemoteFile, ...]:
    """The files to install. Raises ``pickle_refused``.

    Where safe weights are there too, unsafe ones are left out: no runtime needs them. They come only when ``allow_pickle`` is set
    and there are no safe ones, or an include pattern names their suffix.
    """
    unsafe = [file for file in files if _has_suffix(file.path, UNSAFE_WEIGHTS)]
    if not unsafe:
        return tuple(files)
    if any(_has_suffix(file.path, SAFE_WEIGHTS) for file in files):
        asked = {file.path for file in unsafe if allow_pickle and any(_names_suffix(pattern, file.path) for pattern in include)}
        return tuple(file for file in files if file not in unsafe or file.path in asked)
    if not allow_pickle:
        raise VenomError(
            "pickle_refused",
            wanted=f"weights of {ref} as safetensors or GGUF",
            found=f"only formats that may run code when loaded: {_shown(unsafe)}",
            todo="choose a repository with safetensors, or set allow_pickle if you trust this one",
            model=str(ref),
            files=[file.path for file in unsafe],
        )
    return tuple(files)


def _has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    return path.lower().endswith(suffixes)


def _names_suffix(pattern: str, path: str) -> bool:
    return fnmatch.fnmatchcase(path, pattern) and pattern.endswith(os.path.splitext(path)[1])


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
    if isinstance(value, dict):
        return "auto_map" in value or any(_has_auto_map(item) for item in value.values())
    return isinstance(value, list) and any(_has_auto_map(item) for item in value)


def _load(ref: ModelRef, file: RemoteFile, read: Read) -> t.Any:
    try:
        return json.loads(read(file).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise VenomError(
            "unsupported_source",
            wanted=f"JSON in {ascii(file.path)} of {ref}",
            found=str(error)[:200],
            todo="report it to the repository's owner, or leave the file out with exclude",
            model=str(ref),
        ) from error


def check_indexes(ref: ModelRef, files: t.Sequence[RemoteFile], read: Read) -> None:
    """Every shard that a safetensors index names must be a safe name and in the plan.

    Raises ``invalid_name`` for a hostile name, ``unsupported_source`` for a missing shard or a malformed index.
    """
    paths = {file.path for file in files}
    for file in files:
        if not file.path.endswith(".safetensors.index.json"):
            continue
        index = _load(ref, file, read)
        weight_map = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(weight_map, dict):
            raise _incomplete(ref, file.path, "it has no weight_map")
        folder = os.path.dirname(file.path)
        for shard in {str(value): None for value in weight_map.values()}:
            path = safe_relative_path("/".join(filter(None, (folder, safe_relative_path(shard)))))
            if path not in paths:
                raise _incomplete(ref, file.path, f"it names {ascii(path)}, which is not among the files")


def _incomplete(ref: ModelRef, path: str, found: str) -> VenomError:
    return VenomError(
        "unsupported_source",
        wanted=f"every shard that {ascii(path)} of {ref} names",
        found=found,
        todo="check include and exclude, or report it to the repository's owner",
        model=str(ref),
    )


def check_weights(ref: ModelRef, path: str, local: str) -> None:
    """A fetched file's header must fit its name: safetensors in full, GGUF by its magic. Raises ``unsupported_source``."""
    try:
        if path.endswith(".safetensors"):
            read_safetensors_header(local)
        elif path.endswith(".gguf"):
            with open(local, "rb") as stream:
                if stream.read(4) != b"GGUF":
                    raise ValueError("it does not begin with GGUF")
    except ValueError as error:
        raise VenomError(
            "unsupported_source",
            wanted=f"a valid {path.rpartition('.')[2]} file {ascii(path)} in {ref}",
            found=str(error),
            todo="report it to the repository's owner, or leave the file out with exclude",
            model=str(ref),
        ) from error
