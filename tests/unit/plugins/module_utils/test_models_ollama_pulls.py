# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes of names that go again: by model and server, and none where the file tells nothing."""
from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.models_ollama_pulls import PullNotes
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef

ONE, TWO = (ModelRef.parse(name, "ollama") for name in ("phi3:mini", "tiny"))


def test_notes_are_of_one_model_at_one_server(tmp_path: Path) -> None:
    models = str(tmp_path / "models")
    here, there = PullNotes(models, "http://127.0.0.1:11434"), PullNotes(models, "http://127.0.0.2:11434")
    here.forget(ONE)
    assert not Path(models).exists(), "nothing is written where nothing is noted"
    here.add(ONE, "registry/library/phi3:mini")
    here.add(TWO, "registry/library/tiny:latest")
    there.add(ONE, "other/library/phi3:mini")
    again = PullNotes(models, "http://127.0.0.1:11434")
    assert again.names(ONE) == again.names(ModelRef.parse("PHI3:mini", "ollama")) == ["registry/library/phi3:mini"]
    here.forget(ONE)
    assert (here.names(ONE), here.names(TWO), there.names(ONE)) == ([], ["registry/library/tiny:latest"], ["other/library/phi3:mini"])
    here.forget(TWO)
    there.forget(ONE)
    assert not Path(here.path).exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pulls": 1}', '{"pulls": [1, {}, {"url": "http://x", "model": 1, "name": "a"}]}'])
def test_a_file_that_makes_no_sense_notes_nothing(tmp_path: Path, content: str) -> None:
    notes = PullNotes(str(tmp_path), "http://x")
    Path(notes.path).write_text(content)
    assert notes.names(ONE) == []
    notes.add(ONE, "name")
    assert notes.names(ONE) == ["name"]
