# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends a call early: signals as an exception, so that every ``finally`` runs and the journal says cancelled."""
from __future__ import annotations

import os
import signal
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.processes import descendants, snapshot

#: What a shell, a service manager, a lost terminal or Ctrl-C send to end a process.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupted(BaseException):
    """The work is to stop now. Not an Exception, so that nothing takes it for a failed attempt and tries again."""

    def to_error(self) -> VenomError:
        """The same as the failure that the operator sees."""
        return VenomError(
            "cancelled",
            wanted="the work to finish",
            found=str(self),
            todo="run again when you want it to go on; what had arrived is kept",
        )


def raise_on_signals(explain: t.Callable[[], str | None] = lambda: None) -> None:
    """From here on a signal raises ``Interrupted`` in the main thread; once, so that a second one cannot break the cleaning up.

    ``explain`` may know better words for the reason than the signal's name.
    """

    def stop(number: int, dummy_frame: object) -> t.NoReturn:
        ignore_signals()
        raise Interrupted(explain() or f"it was stopped by {signal.Signals(number).name}")

    for number in SIGNALS:
        signal.signal(number, stop)


def ignore_signals() -> None:
    """For the last steps of a process that ends anyway."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def pass_on_signals() -> None:
    """From here on a signal goes to the children. For a process that only waits for one that does its work."""

    def forward(number: int, dummy_frame: object) -> None:
        for pid in descendants(os.getpid(), snapshot()):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    for number in SIGNALS:
        signal.signal(number, forward)
