# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Weight files judged by their headers: before they are fetched by ranges, after they were fetched in full."""
from __future__ import annotations

import contextlib
import threading
import typing as t

from ansible_collections.venom.llm.plugins.module_utils import gguf_header, safetensors_header
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.sources.base import RemoteFile

#: Bytes of a safetensors file that are asked for first. The header of a shard has some kilobytes, rarely more than this.
FIRST_READ = 256 * 1024
#: Headers are read by so many threads: a model of 160 shards would wait for 160 answers one after the other.
MAX_PARALLEL = 8
#: A header above this many bytes is read and parsed alone, so that hostile ones do not fill the memory together.
_LONG_HEADER = 4 * 1024 * 1024
_LONG_LOCK = threading.Lock()

#: Summaries of safetensors headers by path.
Headers = dict[str, dict[str, t.Any]]
#: Bytes of a file from an offset on, exactly so many; retries, limits and what is on disk already are the caller's.
ReadRange = t.Callable[[RemoteFile, int, int], bytes]


def format_of(path: str) -> str | None:
    """'safetensors' or 'gguf' by the file's name, None for anything else."""
    suffix = path.lower().rpartition(".")[2]
    return suffix if suffix in ("safetensors", "gguf") else None


def check_headers(
    ref: ModelRef,
    files: t.Iterable[RemoteFile],
    read_range: ReadRange,
    known: t.Container[str] = (),
    expected: t.Mapping[str, t.Collection[str]] | None = None,
    formats: t.Mapping[str, str] | None = None,
) -> Headers:
    """Judge weight files before they are fetched: safetensors headers in full, GGUF by its first 4 KiB.

    ``known`` are announced digests whose content is on the host: it was checked in full when it came, so it is read again only
    where ``expected`` wants its tensors. ``expected`` is what ``check_indexes`` returns: tensors by the path that must have them.
    ``formats`` tells the format ('safetensors', 'gguf') of paths whose names do not, such as the layers of a registry. ``read_range``
    is called from several threads. Returns summaries of the safetensors headers that were read. Raises ``unsupported_source`` naming the
    file, and whatever ``read_range`` raises.
    """
    from concurrent.futures import ThreadPoolExecutor

    expected, formats = expected or {}, formats or {}
    chosen: list[tuple[RemoteFile, str]] = []
    for file in files:
        kind = formats.get(file.path) or format_of(file.path)
        if kind is not None and (file.announced not in known or file.path in expected):
            chosen.append((file, kind))
    if not chosen:
        return {}
    with ThreadPoolExecutor(max_workers=min(MAX_PARALLEL, len(chosen)), thread_name_prefix="venom-headers") as pool:
        futures = [pool.submit(_check_remote, ref, file, kind, read_range, expected.get(file.path, ())) for file, kind in chosen]
        try:
            summaries = {file.path: future.result() for (file, dummy_), future in zip(chosen, futures)}
        finally:
            for future in futures:
                future.cancel()
    return {path: summary for path, summary in summaries.items() if summary is not None}


def _check_remote(
    ref: ModelRef, file: RemoteFile, kind: str, read_range: ReadRange, expected: t.Collection[str]
) -> dict[str, t.Any] | None:
    def read(offset: int, length: int) -> bytes:
        content = read_range(file, offset, length)
        if len(content) != length:
            raise ValueError(f"{len(content)} bytes came where {length} were asked for")
        return content

    tries = 2
    while tries:
        tries -= 1
        try:
            if kind == "gguf":
                gguf_header.check_gguf_quick(read(0, min(file.size, gguf_header.QUICK_BYTES)), file.size)
                return None
            return _check_safetensors(read, file.size, expected)
        except ValueError as error:
            # These bytes have no digest of their own, so one may have flipped on the way: read them again before the file is blamed.
            if not tries:
                raise malformed(ref, file.path, kind, error) from error
    return None


def _check_safetensors(read: t.Callable[[int, int], bytes], size: int, expected: t.Collection[str]) -> dict[str, t.Any]:
    first = read(0, min(size, FIRST_READ))
    length = safetensors_header.header_length(first, size)
    end = safetensors_header.PREFIX_BYTES + length
    with _LONG_LOCK if length > _LONG_HEADER else contextlib.nullcontext():
        text = first[safetensors_header.PREFIX_BYTES : end]
        if end > len(first):
            text += read(len(first), end - len(first))
        header = safetensors_header.parse_header(text, size - end)
        for name in expected:
            if name == "__metadata__" or name not in header:
                raise ValueError(f"the index names its tensor {ascii(name[:200])}, which it does not have")
        return safetensors_header.summarise(header)


def check_weights(ref: ModelRef, path: str, local: str, kind: str | None = None) -> None:
    """The whole header of a fetched file must fit its format, given as ``kind`` or told by its name. Raises ``unsupported_source``."""
    kind = kind or format_of(path)
    try:
        if kind == "safetensors":
            safetensors_header.read_safetensors_header(local)
        elif kind == "gguf":
            gguf_header.check_gguf(local)
    except ValueError as error:
        raise malformed(ref, path, str(kind), error) from error


def malformed(ref: ModelRef, path: str, kind: str, error: ValueError) -> VenomError:
    """The error for a file that is not what its format says."""
    return VenomError(
        "unsupported_source",
        wanted=f"a valid {kind} file {ascii(path)} in {ref}",
        found=str(error)[:400],
        todo="report it to the repository's owner, or leave the file out with exclude",
        model=str(ref),
        file=path,
    )
