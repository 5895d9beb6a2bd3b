# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of digests over a bundle, in the format of sha256sum(1), so that an operator can check it by hand.

``SHA256SUMS`` names the index, every blob of the models in it and every file of the parts. It is written after all of these but the index: a
bundle whose first export was interrupted has none, a later one has the former list, or one that the index does not fit yet. It is also what
a signature is made of.
"""
from __future__ import annotations

import hashlib
import os
import re
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.bundle_index import INDEX_NAME, BundleIndex, bundle_invalid, open_regular
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.files import safe_join
from ansible_collections.venom.llm.plugins.module_utils.names import TEMPORARY_PREFIX, check_paths

SUMS_NAME = "SHA256SUMS"
SIGNATURE_NAME = "SHA256SUMS.sig"
#: Folders of a bundle whose files are carried beside the models. Each is flat.
PARTS = ("wheels", "archives", "collection")
MAX_SUMS_BYTES = 64 * 1024 * 1024
_CHUNK_SIZE = 1024 * 1024
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")

#: Called with the bytes that were just read.
Advance = t.Callable[[int], None]
#: SHA-256 as hex by the path in the bundle.
Sums = dict[str, str]


def hash_of(path: str, advance: Advance = lambda dummy_length: None) -> str:
    """SHA-256 of a regular file. Raises ``OSError``."""
    sha256 = hashlib.sha256()
    with open_regular(path) as stream:
        for chunk in iter(lambda: stream.read(_CHUNK_SIZE), b""):
            sha256.update(chunk)
            advance(len(chunk))
    return sha256.hexdigest()


def part_files(root: str) -> list[str]:
    """The files of all parts, as paths in the bundle. Raises ``bundle_invalid`` for anything that is no file."""
    found = []
    for part in PARTS:
        folder = safe_join(root, part)
        try:
            items = sorted(os.scandir(folder), key=lambda item: item.name)
        except FileNotFoundError:
            continue
        for item in items:
            if not item.is_file(follow_symlinks=False):
                raise bundle_invalid(root, f"{item.path} is no file")
            if not item.name.startswith(TEMPORARY_PREFIX):
                found.append(f"{part}/{item.name}")
    return found


def blob_sums(index: BundleIndex) -> Sums:
    """Every content of the models; its digest is its name."""
    return {f"blobs/sha256/{sha256[:2]}/{sha256}": sha256 for sha256 in index.sizes}


def to_bytes(sums: Sums) -> bytes:
    """The list as a file: the same contents give the same bytes."""
    return "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)).encode("utf-8")


def read_sums(root: str) -> bytes | None:
    """The list as it lies there, None without one. Raises ``bundle_invalid``."""
    return _read(root, SUMS_NAME, MAX_SUMS_BYTES)


def _read(root: str, name: str, limit: int) -> bytes | None:
    try:
        with open_regular(os.path.join(root, name)) as stream:
            if os.fstat(stream.fileno()).st_size > limit:
                raise bundle_invalid(root, f"{name} of more than {limit} bytes")
            return b"".join(iter(lambda: stream.read(_CHUNK_SIZE), b""))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise bundle_invalid(root, f"no readable {name} ({error.strerror})") from error


def parse_sums(root: str, content: bytes) -> Sums:
    """The list as values. Raises ``bundle_invalid`` for anything that ``to_bytes`` does not write."""
    try:
        lines = content.decode("utf-8").split("\n")
        if lines.pop() != "":
            raise ValueError("its last line is cut")
        matches = [_LINE.fullmatch(line) for line in lines]
        pairs = [match.groups() for match in matches if match is not None]
        if len(pairs) != len(lines):
            raise ValueError("a line that is no digest with a path")
        check_paths(path for dummy, path in pairs)
        return {path: digest for digest, path in pairs}
    except VenomError as error:
        raise bundle_invalid(root, f"{SUMS_NAME} with a bad path: {error.found}") from error
    except ValueError as error:
        raise bundle_invalid(root, f"a malformed {SUMS_NAME} ({error})") from error


def check_file(root: str, path: str, wanted: str, advance: Advance = lambda dummy_length: None) -> None:
    """Compare one file with the list. Raises ``bundle_invalid`` where it is missing, ``digest_mismatch`` where its bytes are others."""
    try:
        found = hash_of(safe_join(root, path), advance)
    except OSError as error:
        raise bundle_invalid(root, f"{path} is missing or unreadable ({error.strerror})", file=path) from error
    if found != wanted:
        raise mismatch(root, path, wanted, found)


def mismatch(root: str, path: str, wanted: str, found: str) -> VenomError:
    """The error for a file whose bytes are not what the list says."""
    is_index = path == INDEX_NAME
    return VenomError(
        "digest_mismatch",
        wanted=f"{ascii(path)} of the bundle {root} with sha256:{wanted}",
        found=f"it has sha256:{found}" + (", as after an export that was interrupted or a change of the file" if is_index else ""),
        todo="copy the bundle again, or export it again; never edit it by hand",
        path=root,
        file=path,
        expected=f"sha256:{wanted}",
        actual=f"sha256:{found}",
    )
