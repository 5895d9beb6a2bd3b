# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model can do, from the evidence of its files; what they do not tell is null, never a guess from the name.

The facts' places: ``max_position_embeddings``, ``quantization_config.quant_method`` and ``architectures`` in config.json
(transformers, PretrainedConfig), the chat template where ``templates/locate.py`` says, ``model_max_length`` in tokenizer_config.json,
tensors and shapes in the safetensors header (safetensors, format). What a template can do is found by rendering it.
"""
from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import load_json
from ansible_collections.venom.llm.plugins.module_utils.config_values import fraction, mapping, number, text, texts
from ansible_collections.venom.llm.plugins.module_utils.files import safe_join
from ansible_collections.venom.llm.plugins.module_utils.gguf_header import check_gguf
from ansible_collections.venom.llm.plugins.module_utils.safetensors_header import count_elements, read_safetensors_header
from ansible_collections.venom.llm.plugins.module_utils.templates.detect import MAX_TEMPLATE, detect_go, detect_jinja
from ansible_collections.venom.llm.plugins.module_utils.templates.locate import ChatTemplate, find_template
from ansible_collections.venom.llm.plugins.module_utils.templates.verdict import TemplateCapabilities

#: A configuration above this many bytes is not read.
MAX_CONFIG_BYTES = 64 * 1024 * 1024

#: Every capability of a record with its type. Those that this version has no evidence for are null until they are declared.
CAPABILITY_TYPES = {
    "architectures": "list",
    "has_chat_template": "bool",
    "chat_template_file": "str",
    "max_context_length": "int",
    "quantization": "str",
    "generation_parameters": "dict",
    "supports_system_role": "bool",
    "system_handling": "str",
    "system_role_error": "str",
    "allowed_roles": "list",
    "requires_alternation": "bool",
    "supports_tools": "bool",
    "supports_thinking": "bool",
    "supports_structured_outputs": "bool",
    "prompt_template": "str",
}

#: Those that come from rendering a chat template.
_OF_TEMPLATES = frozenset(
    ("supports_system_role", "system_handling", "system_role_error", "allowed_roles", "requires_alternation", "supports_tools", "supports_thinking")
)
_FORMAT_OF_SUFFIX = {".safetensors": "safetensors", ".gguf": "gguf", ".bin": "pickle", ".pt": "pickle", ".pth": "pickle", ".onnx": "onnx"}
_GENERATION_KEYS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens")


@dataclass(frozen=True)
class Facts:
    """What the files of a snapshot say. ``parameters`` counts tensor elements, packed ones as they are stored.

    ``warnings`` are sentences about what could not be found out though the files have it.
    """

    formats: tuple[str, ...] = ()
    parameters: int | None = None
    quantization: str | None = None
    detected: dict[str, t.Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def with_earlier(self, earlier: t.Mapping[str, t.Any]) -> Facts:
        """These facts, with what was detected ``earlier`` of a template that could not be rendered now, for want of jinja2 or of time.

        The files of a revision do not change, so what was seen of them once holds.
        """
        if not self.warnings:
            return self
        kept = {name: value for name, value in earlier.items() if name in _OF_TEMPLATES}
        return replace(self, detected={**kept, **self.detected})

    def capabilities(self, declared: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Each capability with its value and source; what an operator declared wins, what nobody knows has no source."""
        known: dict[str, t.Any] = {}
        for name in CAPABILITY_TYPES:
            if name in declared:
                known[name] = {"value": declared[name], "source": "declared"}
            else:
                value = self.detected.get(name)
                known[name] = {"value": value, "source": None if value is None else "detected"}
        return known


def read_facts(snapshot: str, paths: t.Sequence[str]) -> Facts:
    """Read the facts from a published snapshot. Files that are missing, malformed or oversized tell nothing.

    The chat template is rendered, in a process of its own that ends within two seconds.
    """
    config = _read_object(snapshot, "config.json", paths)
    tokenizer = _read_object(snapshot, "tokenizer_config.json", paths)
    generation = _read_object(snapshot, "generation_config.json", paths)
    context = number(config, "max_position_embeddings", "n_positions", "seq_length")
    context = context or number(mapping(config, "text_config"), "max_position_embeddings")
    quantization = text(mapping(config, "quantization_config"), "quant_method")
    detected: dict[str, t.Any] = {
        "architectures": list(texts(config, "architectures")) or None,
        "max_context_length": context,
        "quantization": quantization,
        "generation_parameters": {key: generation[key] for key in _GENERATION_KEYS if fraction(generation, key) is not None} or None,
    }
    template = read_template(snapshot, paths)
    able = TemplateCapabilities() if template is None else _capabilities_of(template)
    # Without a tokenizer configuration there is no evidence that there is no template.
    detected["has_chat_template"] = True if template is not None else False if tokenizer else None
    detected["chat_template_file"] = template.file if template is not None else None
    detected.update(able.detected())
    warnings = () if able.warning is None or template is None else (f"{template.file}: {able.warning}.",)
    formats = sorted({_FORMAT_OF_SUFFIX[suffix] for suffix in (os.path.splitext(path)[1] for path in paths) if suffix in _FORMAT_OF_SUFFIX})
    return Facts(tuple(formats), count_parameters(snapshot, paths), quantization, detected, warnings)


def from_chat_template(text: str, **special_tokens: str) -> TemplateCapabilities:
    """What a Jinja chat template can do, found by rendering it as transformers does.

    ``special_tokens`` are bos_token, eos_token and so on, as the tokenizer has them. It never raises: a template that is malformed or
    takes too much has no verdicts, and ``warning`` says why.
    """
    return detect_jinja(text, special_tokens)


def from_ollama(show_response: t.Mapping[str, t.Any]) -> TemplateCapabilities:
    """What a model of an Ollama server can do, from its answer to /api/show (api/types.go, ShowResponse). It never raises.

    ``template`` is rendered as the server does it, unless the server has a renderer of its own for the model. What ``capabilities``
    says of tools and thinking wins: the server refuses what is not in its list.
    """
    template, listed = show_response.get("template"), show_response.get("capabilities")
    if show_response.get("renderer"):
        able = TemplateCapabilities(warning="the server renders this model's conversations with code of its own, not with its template")
    elif isinstance(template, str) and template:
        able = detect_go(template)
    else:
        able = TemplateCapabilities()
    if isinstance(listed, list) and listed:
        able = able.replace(supports_tools="tools" in listed, supports_thinking="thinking" in listed)
    return able


def _capabilities_of(template: ChatTemplate) -> TemplateCapabilities:
    able = from_chat_template(template.text, **template.special_tokens)
    if template.tool_text:
        able = able.with_tool_template(from_chat_template(template.tool_text, **template.special_tokens))
    return able


def read_template(snapshot: str, paths: t.Sequence[str]) -> ChatTemplate | None:
    """The chat template of a folder, with the file that it is from: of the tokenizer, of a processor, or in the head of a GGUF."""

    def read_text(name: str) -> str | None:
        try:
            with open(safe_join(snapshot, name), "rb") as stream:
                # One byte more, so that what is too long is seen to be.
                return stream.read(4 * MAX_TEMPLATE + 1).decode("utf-8")
        except (OSError, ValueError):
            return None

    found = find_template(read_text, lambda name: _read_object(snapshot, name, paths), paths)
    if found is not None:
        return found
    for name in sorted(path for path in paths if path.endswith(".gguf")):
        try:
            templates = check_gguf(safe_join(snapshot, name)).chat_templates
        except (OSError, ValueError):
            continue
        if templates.get("default"):
            return ChatTemplate(templates["default"], name, templates.get("tool_use"))
    return None


def _read_object(snapshot: str, name: str, paths: t.Sequence[str]) -> dict[str, t.Any]:
    if name not in paths:
        return {}
    try:
        with open(safe_join(snapshot, name), "rb") as stream:
            content = stream.read(MAX_CONFIG_BYTES + 1)
        value = load_json(content) if len(content) <= MAX_CONFIG_BYTES else {}
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def count_parameters(snapshot: str, paths: t.Sequence[str]) -> int | None:
    """Elements of all tensors in the safetensors files, or None when there are none or a header is unreadable."""
    total = 0
    weights = [path for path in paths if path.endswith(".safetensors")]
    for path in weights:
        try:
            header = read_safetensors_header(safe_join(snapshot, path))
        except (OSError, ValueError):
            return None
        for name, tensor in header.items():
            if name != "__metadata__":
                total += count_elements(tensor["shape"])
    return total if weights else None
