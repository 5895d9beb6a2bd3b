# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs ``venom_model`` on the host in a process of its own, and shows how it gets on."""
from __future__ import annotations

import os
import secrets
import signal
import time
import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import merge_hash

from ansible_collections.venom.llm.plugins.plugin_utils.progress import progress_lines

Result = dict[str, t.Any]

#: Seconds between two lines; a poll takes a moment of its own, and 15 are promised.
INTERVAL = 10.0
#: Seconds for which a lost connection is tried again. The host goes on meanwhile, and waits longer for us than this.
PATIENCE = 45.0
#: Seconds between two such tries.
PAUSE = 2.0

display = Display()


class Stopped(KeyboardInterrupt):
    """The operator, or what runs the play, wants it to end. Above us this is Ctrl-C."""


class Signals:
    """Ctrl-C and SIGTERM as ``Stopped``, so that the work on the host can be stopped first. As a context manager."""

    def __init__(self) -> None:
        self._before: dict[int, t.Any] = {}

    def __enter__(self) -> Signals:
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._stop)
        except ValueError:
            # Not the main thread: whoever runs actions in threads sees to signals himself.
            self._before.clear()
        return self

    def __exit__(self, *dummy: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, dummy_frame: object) -> t.NoReturn:
        # A second Ctrl-C is impatience and ends us as ever. SIGTERM follows the first by itself, when ansible clears up.
        signal.signal(signal.SIGINT, self._before[signal.SIGINT])
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Stopped(signal.Signals(number).name)


class ActionModule(ActionBase):
    """Start, poll, and cancel if the play is interrupted. What the module is asked to do explicitly, it does alone."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        """The module's result, as if it had run to its end by itself."""
        result = super().run(tmp, task_vars)
        del tmp
        wrap_async = self._task.async_val and not self._connection.has_native_async
        if self._task.async_val or self._task.check_mode or self._task.args.get("operation") is not None:
            result = merge_hash(result, self._execute_module(task_vars=task_vars, wrap_async=wrap_async))
        else:
            result = merge_hash(result, Attendance(self, task_vars or {}).run())
        if not wrap_async:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        if self._task.no_log and result.get("warnings"):
            # Ansible shows the warnings of a task whatever no_log says, and these name models.
            result["warnings"] = [f"{len(result['warnings'])} warnings are not shown, as no_log is set"]
        return result


class Attendance:
    """One call from its start to its end."""

    def __init__(self, action: ActionModule, task_vars: dict[str, t.Any]) -> None:
        self._action = action
        self._task = action._task
        self._connection = action._connection
        self._task_vars = task_vars
        self._parent = os.getppid()
        self._id: str | None = None
        host = str(task_vars.get("inventory_hostname", "host"))
        self._label = f"{host} -> {self._task.delegate_to}" if self._task.delegate_to else host
        self._interval = float(action._templar.template(task_vars.get("venom_progress_interval", INTERVAL)))

    def run(self) -> Result:
        """Follow the call to its end; stop it if that is not to come."""
        with Signals():
            try:
                first = self._start()
                answer = self._follow(first)
                if answer.get("worker_died"):
                    # A host that comes back after its controller was killed must not be put to work by a fork that was left behind.
                    self._check_parent()
                    self._say(["the process at work ended without a word; it is started once more and goes on with what is there"])
                    answer = self._follow(self._start())
            except AnsibleError:
                # The host cannot be reached, so it cannot be told either. It stops by itself when nobody asks any more.
                raise
            except BaseException:
                self._cancel()
                raise
        return _as_run(first, answer)

    def _start(self) -> Result:
        identity = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"
        self._id = identity
        return self._execute(dict(self._task.args, operation="start", operation_id=identity))

    def _follow(self, answer: Result) -> Result:
        if "call" not in answer:
            return answer
        wait = self._interval
        while "call" in answer:
            self._say(progress_lines(answer["call"], hide=bool(self._task.no_log)))
            self._check_parent()
            begun = time.monotonic()
            answer = self._poll(wait)
            # What a round takes besides the waiting comes off the next one.
            wait = min(self._interval, max(self._interval / 10, self._interval - (time.monotonic() - begun - wait)))
        # The result is here, so the host need not keep it.
        self._cancel()
        return answer

    def _check_parent(self) -> None:
        if os.getppid() != self._parent:
            raise Stopped("the play that this belongs to is gone")

    def _poll(self, wait: float) -> Result:
        """Ask until there is an answer. Raises what the last try raised when patience is at an end."""
        deadline = time.monotonic() + PATIENCE
        told = False
        while True:
            try:
                answer = self._execute(self._about("poll", operation_wait=wait))
                if not answer.get("failed") or "reason_code" in answer or time.monotonic() > deadline:
                    return answer
            except AnsibleError:
                if time.monotonic() > deadline:
                    raise
            if not told:
                self._say(["the connection was lost; the host goes on, trying to reach it again"])
                told = True
            self._reset()
            time.sleep(PAUSE)

    def _reset(self) -> None:
        try:
            self._connection.reset()
        except (AttributeError, NotImplementedError, AnsibleError):
            # Not every connection can; then the next try opens a new one or fails.
            return

    def _about(self, operation: str, **more: t.Any) -> Result:
        """Options that name the call, and no more: the worker has all the others."""
        named = {key: self._task.args[key] for key in ("models_dir",) if self._task.args.get(key) is not None}
        return dict(named, operation=operation, operation_id=self._id, **more)

    def _execute(self, options: Result) -> Result:
        answer: Result = self._action._execute_module(module_args=options, task_vars=self._task_vars)
        return answer

    def _cancel(self) -> None:
        """Stop the work, or forget it when it has ended, as far as the connection lets us. The host does both by itself later."""
        try:
            self._execute(self._about("cancel"))
        except AnsibleError:
            return

    def _say(self, lines: t.Sequence[str]) -> None:
        for line in lines:
            display.display(f"{self._label} | {line}")


def _as_run(first: Result, last: Result) -> Result:
    """The last answer as the one answer of a module that was asked once."""
    result = dict(last)
    for key in ("warnings", "deprecations"):
        early = [item for item in first.get(key) or [] if item not in (last.get(key) or [])]
        if early and first is not last:
            result[key] = [*early, *(last.get(key) or [])]
    invocation = first.get("invocation")
    if isinstance(invocation, dict) and isinstance(invocation.get("module_args"), dict):
        result["invocation"] = dict(invocation, module_args=dict(invocation["module_args"], operation="run", operation_id=None))
    return result
