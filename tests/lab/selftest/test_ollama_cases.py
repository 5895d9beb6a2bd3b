# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ollama stand-in answers as a recorded Ollama 0.32.15 did: every case of lab/ollama/cases, played again."""
from __future__ import annotations

from pathlib import Path

import pytest

from lab.ollama import replay
from lab.ollama.samples import Stage


@pytest.mark.parametrize("name", replay.names())
def test_recorded_case(name: str, tmp_path: Path) -> None:
    case = replay.load(name)
    with Stage(tmp_path, case.get("env")) as stage:
        replay.Player(stage).play(case)
        assert "Traceback" not in stage.server.log
