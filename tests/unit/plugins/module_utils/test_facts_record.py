# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts in the records of models."""
from __future__ import annotations

from pathlib import Path

from ansible_collections.venom.llm.plugins.module_utils.facts_record import facts_of, record_facts
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.tests.unit.plugins.module_utils.installed_samples import COMMIT, installed


def test_a_record_with_its_facts(tmp_path: Path) -> None:
    found = record_facts(installed(tmp_path))
    assert (found.formats, found.requires_gpu, found.quantization) == (("safetensors",), False, None)
    assert found.parameters and found.facts["shape"]["value"]["full_layers"] == 2
    assert found.capabilities["max_context_length"] == {"value": 512, "source": "detected"}
    assert found.capabilities["generation_parameters"]["value"]["max_tokens"]["max"] == 512
    assert found.facts["gpu"] == {"value": "cpu_ok", "source": "formats"}
    again = Entry.from_dict(found.to_dict(), str(tmp_path))
    assert again.facts == found.facts and again.revision == COMMIT


def test_what_is_declared_or_probed_stays(tmp_path: Path) -> None:
    told = {"max_context_length": {"value": 100, "source": "declared"}, "quantization": {"value": "x", "source": "probed"}}
    found = record_facts(installed(tmp_path).replace(capabilities=told))
    assert found.capabilities["max_context_length"]["value"] == 100 and found.capabilities["quantization"]["value"] == "x"


def test_a_server_that_keeps_its_files_tells_nothing() -> None:
    hidden = Entry("a:b", "ollama", "ollama", "sha256:" + "a" * 64, "b", None, "", 5, (), "", None)
    assert facts_of(hidden) is None and record_facts(hidden) is hidden
