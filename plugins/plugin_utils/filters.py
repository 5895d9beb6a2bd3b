# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What filters share: they raise in the words of the backend, and their warnings reach the operator."""
from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible.utils.display import Display

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

Result = t.TypeVar("Result")


def call(name: str, function: t.Callable[..., Result], *arguments: t.Any, **options: t.Any) -> Result:
    """The function's result. Raises ``AnsibleFilterError`` that begins with filter and reason code for whatever the backend refuses."""
    try:
        return function(*arguments, **options)
    except VenomError as error:
        raise AnsibleFilterError(f"venom.llm.{name}: {error.reason_code}: {error}") from error


def warn(warnings: t.Iterable[str]) -> None:
    """Show sentences to the operator, each once in a play."""
    display = Display()
    for text in warnings:
        display.warning(text)
