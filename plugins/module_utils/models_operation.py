# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to run ``venom_model``: to its end in the module itself, or by a worker that is started, asked and stopped."""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.calls import Call, all_calls, new_id, prune, running_calls
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.failures import Failed
from ansible_collections.venom.llm.plugins.module_utils.interrupts import raise_on_signals
from ansible_collections.venom.llm.plugins.module_utils.lock_holders import read_holders
from ansible_collections.venom.llm.plugins.module_utils.models import ModuleContext, Params, run_if_unchanged, run_models

#: Seconds that start waits, so that a short install needs no second connection, and that poll waits.
START_WAIT = 3.0
POLL_WAIT = 10.0
_BOUNDS = {"operation_wait": (0.0, 86400.0), "operation_lease": (0.0, 86400.0)}


class OperationContext(ModuleContext, t.Protocol):
    """What these ways ask of their module besides what the operation itself asks."""

    secrets: tuple[str, ...]


def run_operation(params: Params, context: OperationContext) -> dict[str, t.Any]:
    """The result of ``venom_model``; while a worker is still busy, one with ``call`` instead. Raises ``VenomError``, ``Failed``, ``OSError``."""
    for name, (least, most) in _BOUNDS.items():
        if params[name] is not None and not least <= params[name] <= most:
            raise VenomError(
                "invalid_option", wanted=f"{name} from {least:g} to {most:g}", found=f"{params[name]}", todo=f"correct {name}", option=name
            )
    if params["operation"] == "cancel":
        return _cancel(params, context)
    if params["operation"] == "poll":
        return _poll(params, context)
    if params["operation"] == "start" and not context.check_mode:
        return _start(params, context)
    return _run(params, context)


def _run(params: Params, context: ModuleContext) -> dict[str, t.Any]:
    raise_on_signals()
    return run_models(params, context)


def _start(params: Params, context: OperationContext) -> dict[str, t.Any]:
    call = Call(params["models_dir"], params["operation_id"] or new_id())
    if not call.exists():
        # Otherwise this is asked a second time, because the answer to the first was lost with its connection.
        unchanged = run_if_unchanged(params, context)
        if unchanged is not None:
            return unchanged

        from ansible_collections.venom.llm.plugins.module_utils.worker import begin, code_path

        code = code_path()
        if code is None:
            return _run(params, context)
        names = [str(item["name"]) for item in params["models"]] if params["models"] is not None else [str(params["name"])]
        try:
            prune(params["models_dir"])
            begin(call, names, params, context.secrets, params["operation_lease"], code)
        except OSError:
            # No room or no right for the folder of a call. The operation says that better, or does not mind.
            return _run(params, context)
    answer = _answer(call, START_WAIT if params["operation_wait"] is None else params["operation_wait"], context, forget=True)
    return dict(answer, changed=True) if "call" in answer else answer


def _poll(params: Params, context: ModuleContext) -> dict[str, t.Any]:
    call = Call(params["models_dir"], params["operation_id"])
    if not call.exists():
        raise VenomError(
            "invalid_option",
            wanted=f"the call {call.id} of {call.models_dir}",
            found="there is none, or it is forgotten",
            todo="take id and models_dir from what started it; results are kept for a day",
            option="operation_id",
        )
    return _answer(call, POLL_WAIT if params["operation_wait"] is None else params["operation_wait"], context, forget=False)


def _answer(call: Call, seconds: float, context: ModuleContext, forget: bool) -> dict[str, t.Any]:
    state = call.wait(seconds)
    outcome = call.outcome()
    if outcome is not None:
        if forget:
            call.forget()
        for warning in outcome["warnings"]:
            context.warn(warning)
        if outcome["state"] != "completed":
            raise Failed(outcome["result"])
        return dict(outcome["result"])
    if state == "died":
        words = call.last_words()
        if forget:
            call.forget()
        raise VenomError(
            "internal_error",
            wanted="the worker to finish",
            found="it ended without a word: it was killed, or the power failed",
            todo="look for it in the log of the kernel, then run again; what had arrived is kept",
            worker_died=True,
            log=words,
        )
    return {"changed": False, "call": _describe(call)}


def _describe(call: Call) -> dict[str, t.Any]:
    """The call as it is now, with who is in its way where that can be seen."""
    shown = call.describe()
    if shown["pid"] is not None and not shown["operations"]:
        holders = [item for item in read_holders(call.models_dir) if item["holder"].get("pid") != shown["pid"]]
        shown["waiting_for"] = holders[0]["holder"] if holders else None
    return shown


def _cancel(params: Params, context: ModuleContext) -> dict[str, t.Any]:
    """Stop one call, or all of this folder, and say which. One that has ended is forgotten, if it was named."""
    named = params["operation_id"]
    calls = [Call(params["models_dir"], named)] if named else running_calls(params["models_dir"])
    known = {call.id for call in all_calls(params["models_dir"])}
    stopped: list[dict[str, t.Any]] = []
    for call in calls:
        if call.id not in known:
            continue
        shown = call.describe()
        if shown["pid"] is not None and (context.check_mode or call.stop()):
            stopped.append(dict(shown, state="cancelled", pid=None))
        if named and not context.check_mode:
            call.forget()
    return {"changed": bool(stopped), "calls": stopped}
