# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SHA-256 of many files at once, one core each: what a verification costs."""
from __future__ import annotations

import hashlib
import os
import threading
import typing as t

#: Bytes read at once. Python's hashlib lets other threads run above 2 KiB; larger reads gain nothing more.
BUFFER_SIZE = 1024 * 1024

#: Called with the bytes hashed since the last call, from several threads, one at a time.
Progress = t.Callable[[int], object]


def sha256_of(path: str, progress: Progress = lambda dummy: None) -> str:
    """SHA-256 of a file as hex; a symlink is not followed. Raises ``OSError``."""
    sha256 = hashlib.sha256()
    buffer = bytearray(BUFFER_SIZE)
    view = memoryview(buffer)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        while True:
            length = stream.readinto(buffer)
            if not length:
                return sha256.hexdigest()
            sha256.update(view[:length])
            progress(length)


def sha256_of_all(paths: t.Iterable[str], progress: Progress = lambda dummy: None) -> dict[str, str | None]:
    """SHA-256 of each path, None for one that is missing or cannot be read. Files are read side by side, one for each core."""
    from concurrent.futures import ThreadPoolExecutor

    distinct = list(dict.fromkeys(paths))
    guard = threading.Lock()
    given_up = threading.Event()
    failures: list[BaseException] = []

    def advance(length: int) -> None:
        with guard:
            if given_up.is_set():
                raise InterruptedError("nobody waits for it any more")
            try:
                progress(length)
            except BaseException as error:
                failures.append(error)
                given_up.set()
                raise

    def hash_one(path: str) -> str | None:
        try:
            return sha256_of(path, advance)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            # A bad sector is damage like any other; a refusal is not, and hashing again would not cure it. Nor is a failing report.
            if error in failures or isinstance(error, PermissionError):
                raise
            return None

    if len(distinct) < 2:
        return {path: hash_one(path) for path in distinct}
    with ThreadPoolExecutor(max_workers=min(len(distinct), os.cpu_count() or 1), thread_name_prefix="venom-hash") as pool:
        try:
            return dict(zip(distinct, pool.map(hash_one, distinct)))
        except BaseException:
            # Leaving the pool waits for its threads, and a file of many GB takes minutes.
            given_up.set()
            raise
