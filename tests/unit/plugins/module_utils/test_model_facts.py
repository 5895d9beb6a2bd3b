# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of whole models, each with the file that told it."""
from __future__ import annotations

import json
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.gguf_header import GgufFacts, check_gguf
from ansible_collections.venom.llm.plugins.module_utils.model_facts import ModelFacts, gguf_facts, read_model_facts
from ansible_collections.venom.llm.plugins.module_utils.model_files import ModelFiles, local_files, sizes_in
from ansible_collections.venom.llm.tests.unit.plugins.module_utils import model_samples as samples
from lab import models


def read(folder: Path) -> ModelFacts:
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return read_model_facts(local_files(str(folder), sizes_in(str(folder), paths)))


def test_a_real_folder(tmp_path: Path) -> None:
    facts = read(models.llama(tmp_path, shards=2, license_name="mit"))
    assert (facts.architectures, facts.modality, facts.dtype, facts.license) == (("LlamaForCausalLM",), "text", "bfloat16", "mit")
    assert facts.context is not None and facts.context.maximum == 512
    assert facts.shape is not None and (facts.shape.layers, facts.shape.kv_heads, facts.shape.key_size) == (2, 2, 32)
    assert facts.parameters is not None and facts.weight_bytes is not None and facts.weight_bytes > 2 * facts.parameters
    assert facts.quantization is None and facts.formats == ("safetensors",)
    assert facts.generation["max_tokens"]["max"] == 512
    shown = facts.to_dict()
    assert shown["context"]["source"] == "config.json" and shown["parameters"]["source"] == "safetensors"
    assert shown["license"] == {"value": "mit", "source": "README.md"} and "quantization" not in shown


def test_a_gguf_file(tmp_path: Path) -> None:
    facts = read(models.gguf(tmp_path))
    assert (facts.formats, facts.architectures, facts.license) == (("gguf",), ("llama",), "apache-2.0")
    assert facts.shape is not None and (facts.shape.layers, facts.shape.kv_heads) == (1, 2)
    assert facts.context is not None and facts.context.maximum == 512 and facts.to_dict()["context"]["source"] == "tiny.gguf"
    header = check_gguf(str(tmp_path / "tiny.gguf"))
    ollama = gguf_facts(header, 100, "gguf", {"temperature": 0.5, "num_predict": 9})
    assert ollama.generation["temperature"]["default"] == 0.5 and ollama.generation["max_tokens"]["default"] == 9


def shard(parameters: int) -> GgufFacts:
    """The header of one of several files."""
    return GgufFacts(3, 10, parameters, "llama", "x", 8192, "Q4_K_M", False, {"general.architecture": "llama"})


@pytest.mark.parametrize("second", [None, shard(7)])
def test_the_shards_of_a_gguf_model_are_one_model(second: GgufFacts | None) -> None:
    names = [f"big-Q4_K_M-0000{number}-of-00002.gguf" for number in (1, 2)]
    headers = {names[0]: shard(5), names[1]: second}
    facts = read_model_facts(ModelFiles(dict.fromkeys(names, 20 * 10**9), lambda dummy: None, gguf=headers.get))
    assert facts.weight_bytes == 40 * 10**9 and facts.architectures == ("llama",)
    assert facts.parameters == (12 if second else None), "what cannot be read is not counted as nothing"


@pytest.mark.parametrize("kind", ["no_config", "broken_config", "short_header", "long_header"])
def test_damaged_folders_tell_less_and_break_nothing(kind: str, tmp_path: Path) -> None:
    facts = read(models.hostile(tmp_path, kind))
    assert isinstance(facts.to_dict(), dict)
    if kind.endswith("header"):
        assert facts.parameters is None and facts.context is not None
    else:
        assert facts.context is None or facts.to_dict()["context"]


@pytest.mark.parametrize(
    ("config", "files", "modality"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, [], "text"),
        (samples.GEMMA_3_27B, [], "vision"),
        ({"architectures": ["XLMRobertaForSequenceClassification"]}, [], "reranker"),
        ({"architectures": ["XLMRobertaModel"]}, [], "embedding"),
        ({"architectures": ["Qwen3ForCausalLM"]}, ["1_Pooling/config.json"], "embedding"),
        ({"architectures": ["GPT2LMHeadModel"]}, [], "text"),
        ({"architectures": ["UltravoxForConditionalGeneration"], "audio_config": {"a": 1}}, [], "audio"),
        *[
            ({"architectures": [name], "vision_config": {"a": 1}, "llm_config": {"b": 2}}, [], "vision")
            for name in ("InternVLChatModel", "H2OVLChatModel", "SkyworkR1VChatModel", "MiniCPMV", "ChatGLMModel")
        ],
        *[({"architectures": [name], "vision_config": {"a": 1}}, [], "embedding") for name in ("CLIPModel", "SiglipModel", "ColPaliForRetrieval")],
        ({"architectures": ["UltravoxModel"], "audio_config": {"a": 1}, "text_config": {"b": 2}}, [], "audio"),
        ({"architectures": ["UltravoxModel"], "audio_model_id": "a/b", "text_model_id": "c/d"}, [], "audio"),
        ({"architectures": ["WhisperForConditionalGeneration"], "num_mel_bins": 128}, [], "audio"),
        ({"architectures": ["MiniCPMV"], "vision_encoder": "vit_so400m_patch14_siglip_384.webli"}, [], "vision"),
        ({"architectures": ["LlavaLlamaForCausalLM"], "mm_vision_tower": "openai/clip-vit-large-patch14-336"}, [], "vision"),
        ({"architectures": ["LlavaLlamaForCausalLM"], "mm_vision_tower": ""}, [], "text"),
        ({"architectures": ["Qwen2_5OmniModel"], "thinker_config": {"audio_config": {"a": 1}, "vision_config": {"a": 1}}}, [], "vision"),
        ({"architectures": ["Qwen3ASRForConditionalGeneration"], "thinker_config": {"audio_config": {"a": 1}}}, [], "audio"),
        ({"architectures": ["ChatGLMModel"]}, [], "text"),
        ({"architectures": ["AquilaModel"]}, [], "text"),
        ({"a": 1}, [], None),
        ({}, [], None),
    ],
)
def test_modality(config: dict[str, t.Any], files: list[str], modality: str | None) -> None:
    content = json.dumps(config).encode()
    sizes = {"config.json": len(content), **dict.fromkeys(files, 10)}
    assert read_model_facts(ModelFiles(sizes, {"config.json": content}.get)).modality == modality


def test_a_tokenizers_limit_is_heard_where_vllm_hears_it() -> None:
    distilled = samples.facts_of(samples.QWEN_25_14B_DISTILL, tokenizer_config={"model_max_length": 16384})
    assert distilled.context is not None and distilled.context.maximum == 131072 and distilled.generation["max_tokens"]["max"] == 131072
    bert = dict(samples.LLAMA_2_7B, architectures=["BertForSequenceClassification"], max_position_embeddings=514, position_embedding_type="absolute")
    ranker = samples.facts_of(bert, tokenizer_config={"model_max_length": 512})
    assert ranker.context is not None and (ranker.modality, ranker.context.maximum) == ("reranker", 512)


@pytest.mark.parametrize(
    "config",
    [samples.LLAMA_31_8B, samples.DEEPSEEK_V3, samples.GEMMA_3_27B, samples.GPT_OSS_120B, samples.PHI_3_MINI_128K, {"auto_map": {"a": "b"}}],
    ids=lambda config: str(config.get("model_type")),
)
def test_facts_survive_a_record(config: dict[str, t.Any]) -> None:
    facts = samples.facts_of(config)
    known = ModelFacts.from_dict(json.loads(json.dumps(facts.to_dict())))
    expected = replace(facts, generation={}, sources=known.sources)
    if expected.context is not None:
        expected = replace(expected, context=replace(expected.context, factor=None))
    assert known == expected


@pytest.mark.parametrize("record", [{}, {"shape": 5}, {"shape": {"value": []}}, {"context": {"value": {"maximum": "x"}}}, {"formats": {"value": 5}},
                                    {"quantization": {"value": {"method": None}}}, {"weight_bytes": {"value": -1}}])  # fmt: skip
def test_a_malformed_record_is_not_known(record: dict[str, t.Any]) -> None:
    known = ModelFacts.from_dict(record)
    assert (known.shape, known.context, known.weight_bytes, known.quantization, known.formats) == (None, None, None, None, ())


def test_licenses() -> None:
    for card, expected in (
        (b"---\nlicense: mit\n---\n", "mit"),
        (b"---\nlanguage: en\nlicense: 'apache-2.0'\n---", "apache-2.0"),
        (b"---\na: b\n---\nlicense: mit\n", None),
        (b"license: mit\n", None),
        (b"\xff\xfe", None),
    ):
        assert read_model_facts(ModelFiles({"README.md": len(card)}, {"README.md": card}.get)).license == expected
