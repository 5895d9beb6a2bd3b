# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of Ansible printed that no operator should see: tracebacks and modules that failed without a word of their own."""
from __future__ import annotations

import re

#: Python prints this, with the frame that it happened to be in, when a signal arrives while its handler is taken away.
#: ansible-core takes away its own in every new fork, so a play that is ended by SIGTERM may print it wherever the fork was.
_RACE = re.compile(r"OSError: Signal \d+ ignored due to race condition$")
_OURS = "ansible_collections/venom/"
_TRACEBACK = re.compile(r'Traceback \(most recent call last\):(?:\n[ \t][^\n]*)*(?:\n(?!Traceback )[^\n"]*)?')
_FAILURE = re.compile(r"[^\n]*MODULE FAILURE[^\n]*")


def complaints(printed: str) -> list[str]:
    """Each traceback and each MODULE FAILURE, but for the race of ansible-core with a signal where no code of this collection ran.

    A result is printed as JSON, so line breaks and quotes may be escaped.
    """
    text = printed.replace("\\n", "\n").replace('\\"', '"')
    found = [match.group() for match in _TRACEBACK.finditer(text)]
    return [item for item in found if _OURS in item or not _RACE.search(item)] + _FAILURE.findall(text)
