# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes that the modules of the collection share."""
from __future__ import annotations


class ModuleDocFragment:
    """Check mode, diff mode and idempotence, said once; a module with a limit adds C(details) of its own."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Whether the module tells the exact changes of a real run without making them.
    support: full
  diff_mode:
    description: Whether the module returns what is there before and after.
    support: full
  idempotent:
    description: Whether a second run with the same options changes nothing.
    support: full
"""

    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    description: Whether the module can run in check mode.
    support: full
    details: It changes nothing in any mode.
  diff_mode:
    description: Whether the module returns what is there before and after.
    support: N/A
    details: It changes nothing, so there is no difference to show.
  idempotent:
    description: Whether a second run with the same options changes nothing.
    support: full
    details: It changes nothing in any mode.
"""
