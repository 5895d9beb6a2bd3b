# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the figures of this host, with the backend and the settings that lie beside this file. A timer runs it."""
from __future__ import annotations

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def main() -> None:
    """One reading."""
    sys.path.insert(0, os.path.join(HERE, "backend.zip"))
    from ansible_collections.venom.llm.plugins.module_utils import exporter

    with open(os.path.join(HERE, "settings.json"), encoding="utf-8") as stream:
        settings = json.load(stream)
    exporter.export(settings["textfile"], settings["params"])


if __name__ == "__main__":
    main()
