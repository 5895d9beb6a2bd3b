# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates of roles rendered as Ansible renders them."""
from __future__ import annotations

import typing as t

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

try:
    from ansible.template import trust_as_template as trust
except ImportError:  # ansible-core before 2.19 trusts every template
    trust = str


def trusted(value: t.Any) -> t.Any:
    """The value with every text in it marked as a template."""
    if isinstance(value, str):
        return trust(value)
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return {key: trusted(item) for key, item in value.items()} if isinstance(value, dict) else value


def render(value: t.Any, variables: dict[str, t.Any], searchpath: t.Sequence[str] = (), **options: t.Any) -> t.Any:
    """The value as Ansible would render it; of the variables only those that went through ``trusted`` are templates themselves.

    ``searchpath`` are the folders of templates that it may import.
    """
    templar = Templar(loader=DataLoader(), variables=variables)
    if searchpath:
        templar = templar.copy_with_new_env(searchpath=list(searchpath), available_variables=variables)
    return templar.template(trusted(value), **options)
