# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a model's files in its record: what the record says at its top, and where each fact was found."""
from __future__ import annotations

from ansible_collections.venom.llm.plugins.module_utils.compatibility import gpu_tag, requires_gpu
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import Entry
from ansible_collections.venom.llm.plugins.module_utils.manifest_facts import with_facts
from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts, read_model_facts
from ansible_collections.venom.llm.plugins.module_utils.model_files import local_files, sizes_in
from ansible_collections.venom.llm.plugins.module_utils.ollama_facts import read_store_facts


def facts_of(entry: Entry) -> ModelFacts | None:
    """What the files of an installed model say now; None where they lie where this account may not look."""
    if entry.provider == "huggingface":
        return read_model_facts(local_files(entry.local_path, sizes_in(entry.local_path, [record.path for record in entry.files])))
    manifest = next((record.path for record in entry.files if record.path.startswith("manifests/")), None)
    if not entry.local_path or manifest is None:
        return None
    return read_store_facts(entry.local_path, manifest)


def record_facts(entry: Entry) -> Entry:
    """The entry with the facts of its files. A capability that an operator declared, or that a server was asked about, stays as it is."""
    facts = facts_of(entry)
    if facts is None:
        return entry
    known = {name: value for name, value in facts.capabilities().items() if value is not None}
    detected = {**entry.facts_from("detected"), **known}
    needs = requires_gpu(facts, entry.runtime)
    recorded = facts.to_dict()
    tag = gpu_tag(facts, entry.runtime)
    if tag is not None:
        recorded["gpu"] = {"value": tag, "source": "quantization" if facts.quantization is not None else "formats"}
    described = entry.replace(
        formats=facts.formats or entry.formats,
        parameters=facts.parameters if facts.parameters is not None else entry.parameters,
        quantization=_quantization(facts) or entry.quantization,
        requires_gpu=needs if needs is not None else entry.requires_gpu,
        facts=recorded,
    )
    return with_facts(described, entry.facts_from("declared"), detected)


def _quantization(facts: ModelFacts) -> str | None:
    """One word: the type of a GGUF file, else the method."""
    if facts.quantization is None:
        return None
    return facts.quantization.scheme if facts.quantization.method == "gguf" else facts.quantization.method
