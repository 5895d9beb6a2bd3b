# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python3 -m lab.registry serve ...``: the registry alone."""
from __future__ import annotations

import argparse
import sys

from lab.registry.cli import add_actions

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="lab registry")
    add_actions(parser)
    arguments = parser.parse_args()
    sys.exit(arguments.function(arguments))
