# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only file that knows Ansible: it hands parameters to the backend and translates what comes back."""
from __future__ import annotations

import importlib.util
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import has_respawned, respawn_module

from ansible_collections.venom.llm.plugins.module_utils.failures import backend_missing, to_failure
from ansible_collections.venom.llm.plugins.module_utils.interrupts import Interrupted, pass_on_signals

#: What an operation gets besides its parameters; it is all that the backend may know of a module.
Operation = t.Callable[[dict[str, t.Any], "Context"], dict[str, t.Any]]


class Context:
    """What an operation may ask of the module that runs it, and nothing else."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self.check_mode: bool = bool(module.check_mode)
        self.diff_mode: bool = bool(module._diff)
        #: What may be in no result and in no file.
        self.secrets: tuple[str, ...] = tuple(sorted(module.no_log_values))

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
            raise backend_missing(python, library, has_respawned())
        # This process only waits from here on; without this a signal would end it and leave the one that works.
        pass_on_signals()
        respawn_module(python)


def run(argument_spec: dict[str, t.Any], operation: Operation, **kwargs: t.Any) -> None:
    """Build the module, run the operation, exit.

    ``kwargs`` go to AnsibleModule; check mode is supported unless they say otherwise. The operation returns the result as a
    dict with ``changed``; its ``diff`` is shown only in diff mode. It may raise ``VenomError`` or ``OSError``.
    """
    kwargs.setdefault("supports_check_mode", True)
    module = AnsibleModule(argument_spec=argument_spec, **kwargs)
    try:
        result = operation(dict(module.params), Context(module))
    except (Exception, Interrupted) as error:
        module.fail_json(**to_failure(error))
    if not module._diff:
        result.pop("diff", None)
    module.exit_json(**result)
