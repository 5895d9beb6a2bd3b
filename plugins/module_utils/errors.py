# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one family of errors that the backend raises.

Every error carries a ``reason_code`` from ``REASON_CODES`` and a message made of the same three parts: what was wanted,
what was found, what to do next. ``module.py`` turns it into ``fail_json``; an action plugin or a service may do otherwise.
"""
from __future__ import annotations

import typing as t

#: Every reason code of the collection with the sentence that documents it. Operators branch on the code, never on the text.
REASON_CODES: dict[str, str] = {
    "activation_failed": "A model could not be brought to serve; step, cause and last log lines are in the result.",
    "alias_mismatch": "The server answers under another name, or from another folder, than the host's record says.",
    "alias_taken": "The alias already belongs to another model on this host.",
    "backend_missing": "The Python of the backend venv is not there, and this step needs its libraries.",
    "balancer_failed": "The load balancer refused, does not know the server, or something else changed it; the message says which.",
    "balancer_timeout": "Requests still ran on a server when the time to drain it was over, or it was not up in time afterwards.",
    "balancer_unreachable": "The socket of the load balancer did not answer, or not as HAProxy does.",
    "bundle_invalid": "The folder is no bundle of this collection, or a file of it is missing or damaged.",
    "cache_refused": "A compile cache, or an archive of one, holds what may not be carried, such as a link or a file of another account.",
    "cancelled": "The work was stopped on request; what had arrived is kept for the next run.",
    "confirmation_required": "The plan would fetch more than confirm_above_gb; set confirm_large to go on.",
    "deadline_exceeded": "The work took longer than the deadline of the call; what had arrived is kept for the next run.",
    "digest_mismatch": "Bytes that arrived differ from the digest that the source announced.",
    "disk_full": "The file system has less free space than the plan needs, the reserve included.",
    "drifted": "The host differs from its own record of the active model; each difference is named.",
    "duplicate_server": "A second server of the same runtime already runs, started by somebody else.",
    "gated": "The repository asks for accepted terms; access is requested on its page.",
    "gpu_required": "The model needs a GPU, or more of them, than this host shows.",
    "hook_failed": "A task file of the operator failed before or after an activation, or is not there.",
    "hub_unreachable": "The hub did not answer, or answered with server errors until the retries were used up.",
    "incompatible_architecture": "The runtime on this host does not know the architecture of the model.",
    "incompatible_quantization": "The runtime, or the GPU, cannot use weights that are stored this way.",
    "incompatible_runtime": "The provider of the model and the runtime do not go together.",
    "insufficient_memory": "The model would not fit into the memory; the arithmetic, and settings that would fit, are in the message.",
    "internal_error": "A defect of the collection itself.",
    "invalid_name": "A model, file, alias or digest name is malformed or would leave its folder.",
    "invalid_option": "An option, or a combination of options, has no meaning here.",
    "io_error": "The operating system refused a read or a write.",
    "locked": "Another process is changing the same thing; the holder is named.",
    "manifest_unreadable": "The manifest of the host could not be read and was not rebuilt.",
    "model_active": "The model serves right now, so it is not removed without force.",
    "not_configured": "The runtime has no model activated yet, so there is nothing to start.",
    "not_found": "The repository does not exist, or the token may not see it.",
    "not_installed": "The model, runtime or unit is not on this host.",
    "permission_denied": "The account that runs the module may not do this.",
    "pickle_refused": "The weights are pickles, which run code when they are loaded, or of an unknown format; allow_pickle would take them.",
    "port_in_use": "Another process listens on the port; pid, unit and command are named.",
    "profile_excludes_runtime": "The runtime profile of the host leaves this runtime out.",
    "pull_failed": "The Ollama server could not pull the model, for a reason that has no code of its own; its words are in the message.",
    "quota_exceeded": "The models folder would grow beyond max_disk_gb, or a compile cache is larger than max_gb.",
    "rate_limited": "The hub asked to slow down for longer than the deadline allows.",
    "redirect_refused": "A server redirected to a host that the endpoint list does not allow.",
    "remote_code_refused": "The repository brings Python code of its own for the runtime to run; allow_remote_code would take it.",
    "revision_not_found": "The repository exists, but the branch, tag or commit does not.",
    "roll_stopped": "A host of a rolling activation was lost, so no further host was touched.",
    "server_unreachable": "The runtime's server did not answer, or not as such a server does.",
    "settings_not_applied": "The running server has other settings in effect than its environment file asks for; the variables are named.",
    "signature_invalid": "The bundle is not signed, or not by one of the allowed signers, or was changed after it was signed.",
    "start_failed": "The server process ended, or did not become ready in time.",
    "stop_failed": "The server could not be stopped within its deadline.",
    "supervisor_failed": "systemd or the local process supervisor refused the request.",
    "unauthorized": "The token is wrong or expired.",
    "unsupported_source": "The source answered something that this collection does not understand.",
}


class VenomError(Exception):
    """Failure of one operation, with everything an operator needs to act on it.

    Parameters: ``reason_code`` a key of ``REASON_CODES``; ``wanted``, ``found``, ``todo`` one sentence part each, without
    secrets; ``details`` plain JSON data that ends up in the result beside the message.
    """

    def __init__(self, reason_code: str, wanted: str, found: str, todo: str, **details: t.Any) -> None:
        if reason_code not in REASON_CODES:
            raise ValueError(f"unknown reason code {reason_code!r}")
        self.reason_code = reason_code
        self.wanted = wanted
        self.found = found
        self.todo = todo
        self.details = details
        super().__init__(f"Wanted: {wanted}. Found: {found}. To do: {todo}.")

    def to_result(self) -> dict[str, t.Any]:
        """The error as result keys of a module: ``msg``, ``reason_code``, ``wanted``, ``found``, ``todo`` and the details."""
        return dict(
            self.details,
            msg=str(self),
            reason_code=self.reason_code,
            wanted=self.wanted,
            found=self.found,
            todo=self.todo,
        )
