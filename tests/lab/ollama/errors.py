# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures in the words of a Go program: its texts are all that a client gets."""
from __future__ import annotations

import errno
import typing as t

_TEXTS = {
    errno.ENOENT: "no such file or directory",
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
    errno.ENOSPC: "no space left on device",
    errno.ENOTDIR: "not a directory",
    errno.EISDIR: "is a directory",
    errno.EROFS: "read-only file system",
    errno.EEXIST: "file exists",
    errno.ENOTEMPTY: "directory not empty",
    errno.EDQUOT: "disk quota exceeded",
    errno.ECONNRESET: "connection reset by peer",
    errno.ECONNREFUSED: "connection refused",
    errno.EADDRINUSE: "address already in use",
    errno.EADDRNOTAVAIL: "cannot assign requested address",
}


class GoError(Exception):
    """A failure with the text the server says. ``missing``: a file that is not there (404 in some places)."""

    def __init__(self, text: str, *, missing: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.missing = missing


class Cancelled(Exception):
    """The client of this request has gone, or the server stops."""


def system_text(exc: OSError) -> str:
    """What Go calls an errno."""
    return _TEXTS.get(exc.errno or 0, (exc.strerror or str(exc)).lower())


def path_error(operation: str, path: t.Any, exc: OSError) -> GoError:
    """``open /a/b: permission denied``."""
    return GoError(f"{operation} {path}: {system_text(exc)}", missing=isinstance(exc, FileNotFoundError))
