# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a call failed, as the result of a module. The same words, whoever ran the work: a module or a worker of its own."""
from __future__ import annotations

import errno
import traceback
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.interrupts import Interrupted

#: Kernel errors that deserve a reason code of their own; every other one is ``io_error``.
_ERRNO_CODES = {errno.ENOSPC: "disk_full", errno.EDQUOT: "disk_full", errno.EACCES: "permission_denied", errno.EPERM: "permission_denied"}


class Failed(Exception):
    """A failure that somebody else met and reported; ``result`` is the module's result as it stands."""

    def __init__(self, result: dict[str, t.Any]) -> None:
        self.result = result
        super().__init__(str(result.get("msg")))


def to_failure(error: BaseException) -> dict[str, t.Any]:
    """The result keys of a module that failed: ``msg``, ``reason_code`` and details; a traceback where nobody expected the error."""
    if isinstance(error, Failed):
        return error.result
    if isinstance(error, Interrupted):
        return error.to_error().to_result()
    if isinstance(error, VenomError):
        return error.to_result()
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if isinstance(error, OSError):
        return dict(_from_os_error(error).to_result(), exception=trace)
    return {
        "msg": f"Wanted: the operation to finish. Found: {type(error).__name__}: {error}. To do: report this defect with the traceback.",
        "reason_code": "internal_error",
        "exception": trace,
    }


def _from_os_error(error: OSError) -> VenomError:
    return VenomError(
        _ERRNO_CODES.get(error.errno or 0, "io_error"),
        wanted=f"access to {error.filename}" if error.filename else "a read or a write",
        found=error.strerror or str(error),
        todo="see owner, mode, free space and mount of that path on the host",
        path=error.filename if isinstance(error.filename, str) else None,
    )


def backend_missing(python: str, library: str, respawned: bool) -> VenomError:
    """The Python of the backend venv cannot do what it is for."""
    return VenomError(
        "backend_missing",
        wanted=f"a Python with {library}",
        found=f"{python} {'without it' if respawned else 'is not there or not executable'}",
        todo="run the role venom.llm.host first, or set backend_python",
    )
