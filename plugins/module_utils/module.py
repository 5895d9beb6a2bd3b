# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only file that knows Ansible: it hands parameters to the backend and translates what comes back."""
from __future__ import annotations

import errno
import importlib.util
import os
import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import has_respawned, respawn_module

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

#: What an operation gets besides its parameters; it is all that the backend may know of a module.
Operation = t.Callable[[dict[str, t.Any], "Context"], dict[str, t.Any]]

#: Kernel errors that deserve a reason code of their own; every other one is ``io_error``.
_ERRNO_CODES = {errno.ENOSPC: "disk_full", errno.EDQUOT: "disk_full", errno.EACCES: "permission_denied", errno.EPERM: "permission_denied"}


class Context:
    """The three things that an operation may ask of the module that runs it, and nothing else."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self.check_mode: bool = bool(module.check_mode)
        self.diff_mode: bool = bool(module._diff)

    def warn(self, text: str) -> None:
        """Show one sentence to the operator beside the result."""
        self._module.warn(text)

    def report(self, message: str, done: int | None = None, total: int | None = None) -> None:
        """A module cannot speak before it ends, so nobody hears this."""

    def has_library(self, name: str = "huggingface_hub") -> bool:
        """Whether the running interpreter could import the library; nothing is imported."""
        return importlib.util.find_spec(name) is not None

    def need_backend(self, python: str, library: str = "huggingface_hub") -> None:
        """Go on under the backend venv's Python when the running one lacks the library.

        A run that changes nothing never calls this, so it costs no second interpreter. Raises ``backend_missing``.
        """
        if self.has_library(library):
            return
        if has_respawned() or not os.access(python, os.X_OK):
            raise VenomError(
                "backend_missing",
                wanted=f"a Python with {library}",
                found=f"{python} {'without it' if has_respawned() else 'is not there or not executable'}",
                todo="run the role venom.llm.host first, or set backend_python",
            )
        respawn_module(python)


def _from_os_error(error: OSError) -> VenomError:
    return VenomError(
        _ERRNO_CODES.get(error.errno or 0, "io_error"),
        wanted=f"access to {error.filename}" if error.filename else "a read or a write",
        found=error.strerror or str(error),
        todo="see owner, mode, free space and mount of that path on the host",
        path=error.filename if isinstance(error.filename, str) else None,
    )


def run(argument_spec: dict[str, t.Any], operation: Operation, **kwargs: t.Any) -> None:
    """Build the module, run the operation, exit.

    ``kwargs`` go to AnsibleModule; check mode is supported unless they say otherwise. The operation returns the result as a
    dict with ``changed``; its ``diff`` is shown only in diff mode. It may raise ``VenomError`` or ``OSError``.
    """
    kwargs.setdefault("supports_check_mode", True)
    module = AnsibleModule(argument_spec=argument_spec, **kwargs)
    try:
        result = operation(dict(module.params), Context(module))
    except VenomError as error:
        module.fail_json(**error.to_result())
    except OSError as error:
        module.fail_json(exception=traceback.format_exc(), **_from_os_error(error).to_result())
    except Exception as error:
        module.fail_json(
            msg=f"Wanted: the operation to finish. Found: {type(error).__name__}: {error}. To do: report this defect with the traceback.",
            reason_code="internal_error",
            exception=traceback.format_exc(),
        )
    if not module._diff:
        result.pop("diff", None)
    module.exit_json(**result)
