# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells becomes the name of a file on the controller: only a key may."""
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.venom.llm.tests.unit.consistency import templating

ROLE = Path(__file__).resolve().parents[3] / "roles" / "compile_cache"


def is_let_through(key_id: t.Any) -> bool:
    """By the assertion that comes before anything is made of the answer; its message is rendered too."""
    tasks = yaml.safe_load((ROLE / "tasks/observe.yml").read_text(encoding="utf-8"))
    names = [task["name"] for task in tasks]
    (refusal,) = (task["ansible.builtin.assert"] for task in tasks if "ansible.builtin.assert" in task)
    assert names.index("Refuse a host whose key is none") < names.index("Tell it to the others")
    given = {"__venom_compile_cache_found": {"key_id": key_id}}
    assert "cache_refused" in str(templating.render(refusal["fail_msg"], given))
    return templating.render(f"{{{{ ({refusal['that']}) | bool }}}}", given, escape_backslashes=False) is True


@pytest.mark.parametrize("key_id", [None, "0123456789abcdef"])
def test_a_key_or_none(key_id: t.Any) -> None:
    assert is_let_through(key_id)


@pytest.mark.parametrize("key_id", ["", "../../../victim", "/etc/victim", "0123456789abcdef\n", "0123456789ABCDEF", "0123456789abcdef0", 0, {"a": 1}])
def test_anything_else_is_refused(key_id: t.Any) -> None:
    assert not is_let_through(key_id)
