# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that a model's files say about it, each fact with the file that says it. Nothing is concluded from the model's name."""
from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.venom.llm.plugins.module_utils import model_context, model_quantization, model_shape
from ansible_collections.venom.llm.plugins.module_utils.config_values import Config, amount, mapping, number, text, texts
from ansible_collections.venom.llm.plugins.module_utils.generation_ranges import ranges
from ansible_collections.venom.llm.plugins.module_utils.gguf_header import GgufFacts
from ansible_collections.venom.llm.plugins.module_utils.model_context import Context
from ansible_collections.venom.llm.plugins.module_utils.model_files import ModelFiles
from ansible_collections.venom.llm.plugins.module_utils.model_quantization import Quantization
from ansible_collections.venom.llm.plugins.module_utils.model_shape import ModelShape
from ansible_collections.venom.llm.plugins.module_utils.model_weights import formats_of, weights_of

_MAX_CARD_BYTES = 1024 * 1024
#: Endings of architectures that make a number or a vector of a text, and of those that speak though they end like these
#: (vLLM, model_executor/models/registry.py).
_RANKING = ("ForSequenceClassification", "ForRanking", "ForRewardModel")
_EMBEDDING = ("Model", "ForMaskedLM", "ForRetrieval")
_SPEAKING = ("LMHeadModel", "LMModel", "ChatModel", "OmniModel", "UltravoxModel", "MossAudioModel", "AquilaModel")
#: Where a configuration has the part that sees, and the part that hears: an object, or the name of the model that is taken for it.
_SEEING = ("vision_config", "visual", "vision_encoder", "vision_tower", "mm_vision_tower", "img_processor", "visual_tokenizer_config", "vq_config")
_HEARING = ("audio_config", "speech_config", "audio_processor", "audio_encoder_config", "audio_model_id")


@dataclass(frozen=True)
class ModelFacts:
    """None and empty are what nobody says. ``weight_bytes`` are bytes on disk, ``float32_elements`` those that a runtime may halve.

    ``sources`` names the file of each fact; ``has_code`` tells of an auto_map, whose program a runtime would have to load.
    """

    formats: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    model_type: str | None = None
    modality: str | None = None
    dtype: str | None = None
    parameters: int | None = None
    weight_bytes: int | None = None
    float32_elements: int = 0
    quantization: Quantization | None = None
    context: Context | None = None
    shape: ModelShape | None = None
    license: str | None = None
    has_code: bool = False
    generation: t.Mapping[str, t.Any] = field(default_factory=dict)
    sources: t.Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON: each known fact with its value and source."""
        values: dict[str, t.Any] = {
            "formats": list(self.formats) or None,
            "architectures": list(self.architectures) or None,
            "model_type": self.model_type,
            "modality": self.modality,
            "dtype": self.dtype,
            "parameters": self.parameters,
            "weight_bytes": self.weight_bytes,
            "float32_elements": self.float32_elements or None,
            "quantization": self.quantization.to_dict() if self.quantization else None,
            "context": self.context.to_dict() if self.context else None,
            "shape": self.shape.to_dict() if self.shape else None,
            "license": self.license,
            "has_code": self.has_code or None,
        }
        return {name: {"value": value, "source": self.sources.get(name, "files")} for name, value in values.items() if value is not None}

    @classmethod
    def from_dict(cls, data: Config) -> ModelFacts:
        """From what ``to_dict`` gave. A fact that is malformed is not known."""
        known = {name: item["value"] for name, item in data.items() if isinstance(item, dict) and "value" in item}
        sources = {name: str(item.get("source")) for name, item in data.items() if isinstance(item, dict) and "value" in item}
        quantization, context = mapping(known, "quantization"), mapping(known, "context")
        maximum = number(context, "maximum")
        return cls(
            formats=texts(known, "formats"),
            architectures=texts(known, "architectures"),
            model_type=text(known, "model_type"),
            modality=text(known, "modality"),
            dtype=text(known, "dtype"),
            parameters=amount(known, "parameters"),
            weight_bytes=amount(known, "weight_bytes"),
            float32_elements=amount(known, "float32_elements") or 0,
            quantization=Quantization(
                str(quantization["method"]), number(quantization, "bits"), text(quantization, "scheme"), text(quantization, "kv_cache")
            )
            if text(quantization, "method")
            else None,
            context=None if maximum is None else Context(maximum, number(context, "default") or maximum, text(context, "scaling")),
            shape=ModelShape.from_dict(mapping(known, "shape")) if mapping(known, "shape") else None,
            license=text(known, "license"),
            has_code=known.get("has_code") is True,
            sources=sources,
        )

    def capabilities(self) -> dict[str, t.Any]:
        """The values of those capabilities of a record that are facts of this kind."""
        return {
            "architectures": list(self.architectures) or None,
            "max_context_length": self.context.maximum if self.context else None,
            "quantization": self.quantization.method if self.quantization else None,
            "generation_parameters": dict(self.generation) or None,
        }


def read_model_facts(files: ModelFiles) -> ModelFacts:
    """From the files of a model for vLLM, or of a GGUF file beside nothing else. What is missing or malformed tells nothing."""
    config = files.json("config.json")
    weights = weights_of(files)
    formats = formats_of(files.sizes)
    header = files.gguf(weights.paths[0]) if weights and not config and weights.paths[0].lower().endswith(".gguf") else None
    if header is not None and weights is not None:
        facts = gguf_facts(header, weights.size, weights.paths[0])
        # The first shard describes the model; each has tensors of its own.
        others = [files.gguf(path) for path in weights.paths[1:]]
        counted = [other.parameters for other in (header, *others) if other is not None]
        return replace(
            facts,
            formats=formats,
            parameters=sum(counted) if len(counted) == len(weights.paths) else None,
            license=_license(files),
            sources={**facts.sources, "license": "README.md"},
        )
    tokenizer = files.json("tokenizer_config.json")
    modality = _modality(config, files)
    context = model_context.context_of_config(config, tokenizer, modality in ("embedding", "reranker"))
    recommended = files.json("generation_config.json")
    modelopt = files.json("hf_quant_config.json")
    elements = weights.elements if weights else {}
    sources = dict.fromkeys(("architectures", "model_type", "modality", "shape", "context", "has_code", "quantization"), "config.json")
    sources.update(parameters="safetensors", float32_elements="safetensors", license="README.md", generation="generation_config.json")
    if modelopt and not mapping(config, "quantization_config"):
        sources["quantization"] = "hf_quant_config.json"
    sources["dtype"] = "config.json" if text(config, "torch_dtype", "dtype") else "safetensors"
    return ModelFacts(
        formats=formats,
        architectures=texts(config, "architectures"),
        model_type=text(config, "model_type"),
        modality=modality,
        dtype=weights.dtype if weights else None,
        parameters=weights.parameters if weights else None,
        weight_bytes=weights.size if weights else None,
        float32_elements=elements.get("F32", 0),
        quantization=model_quantization.quantization_of_config(config, modelopt),
        context=context,
        shape=model_shape.shape_of_config(config),
        license=_license(files),
        has_code="auto_map" in config,
        generation=ranges(recommended, context.maximum if context else None) if config or recommended else {},
        sources=sources,
    )


def gguf_facts(header: GgufFacts, size: int, source: str, parameters: Config | None = None) -> ModelFacts:
    """From the header of a GGUF file of ``size`` bytes; ``parameters`` are those that an Ollama model brings."""
    context = model_context.context_of_gguf(header.architecture, header.values)
    architecture = header.architecture
    names = ("architectures", "modality", "parameters", "quantization", "context", "shape", "weight_bytes", "formats", "dtype")
    return ModelFacts(
        formats=("gguf",),
        architectures=(architecture,) if architecture else (),
        model_type=architecture,
        modality="embedding" if architecture and architecture.endswith("bert") else "text" if architecture else None,
        dtype=header.quantization,
        parameters=header.parameters,
        weight_bytes=size,
        quantization=model_quantization.quantization_of_gguf(header.quantization),
        context=context,
        shape=model_shape.shape_of_gguf(architecture, header.values),
        generation=ranges(parameters or {}, context.maximum if context else None, "ollama"),
        sources=dict.fromkeys(names, source),
    )


def _modality(config: Config, files: ModelFiles) -> str | None:
    """By the parts that the configuration has, and by the files that sentence-transformers writes."""
    names = texts(config, "architectures")
    if not config:
        return None
    if any(name.endswith(_RANKING) for name in names):
        return "reranker"
    pooled = any(path in files.sizes for path in ("modules.json", "1_Pooling/config.json", "config_sentence_transformers.json"))
    if pooled or any(name.endswith(_EMBEDDING) and not name.endswith(_SPEAKING) for name in names):
        return "embedding"
    parts = (config, mapping(config, "thinker_config"))
    if any(mapping(part, name) or text(part, name) for part in parts for name in _SEEING):
        return "vision"
    if any(mapping(part, name) or text(part, name) for part in parts for name in _HEARING) or number(config, "num_mel_bins"):
        return "audio"
    return "text" if names else None


def _license(files: ModelFiles) -> str | None:
    """From the front matter of the model card: the line ``license:`` between two lines of dashes."""
    if not 0 < files.sizes.get("README.md", 0) <= _MAX_CARD_BYTES:
        return None
    lines = (files.read("README.md") or b"")[:65536].decode("utf-8", "replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return None
    for line in lines[1:]:
        if line.strip() == "---":
            break
        key, colon, value = line.partition(":")
        if colon and key == "license" and value.strip():
            return value.strip().strip("'\"")[:100]
    return None
