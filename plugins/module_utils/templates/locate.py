# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a model keeps its chat template, in the order in which transformers and vLLM look for it.

vLLM 0.32 asks the model's processor first, unless the request has tools (``renderers/hf.py``, ``resolve_chat_template``), then the
tokenizer. A processor takes processor_config.json, chat_template.json, chat_template.jinja (transformers, processing_utils.py), a
tokenizer chat_template.jinja, tokenizer_config.json (tokenization_utils_base.py). A model has a processor where it has the
configuration of one: transformers makes none without. Where there are several templates by name, ``default`` is taken, and
``tool_use`` for requests with tools (``get_chat_template``).
"""
from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

Config = t.Mapping[str, t.Any]

TEMPLATE_FILE = "chat_template.jinja"
_FOLDER = "additional_chat_templates/"
_TOKENIZER = "tokenizer_config.json"
#: Files of JSON in which a processor finds its template, the first one first.
_OF_PROCESSORS = ("processor_config.json", "chat_template.json")
#: Files without which there is no processor.
_PROCESSORS = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")
_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_MAX_TOKEN = 200


@dataclass(frozen=True)
class ChatTemplate:
    """The template of a model, the one for tools where it is another, the file, and the special tokens that go with it."""

    text: str
    file: str
    tool_text: str | None = None
    special_tokens: t.Mapping[str, str] = field(default_factory=dict)


def find_template(read_text: t.Callable[[str], str | None], read_config: t.Callable[[str], Config], paths: t.Sequence[str]) -> ChatTemplate | None:
    """The chat template of a folder with these ``paths``; None where it has none.

    ``read_text`` and ``read_config`` give a file of text, or of JSON with an object in it: None and nothing where that cannot be had.
    """
    tokens = special_tokens(read_config(_TOKENIZER), read_config("special_tokens_map.json"))
    own = _of_file(read_text, paths, tokens) or _of_config(read_config, _TOKENIZER, tokens)
    found = [template for template in (_of_config(read_config, name, tokens) for name in _OF_PROCESSORS) if template is not None]
    if not found or (own is not None and not any(name in paths for name in _PROCESSORS)):
        return own
    if own is None:
        return found[0]
    for_tools = own.tool_text or own.text
    return replace(found[0], tool_text=for_tools if for_tools != found[0].text else None)


def _of_file(read_text: t.Callable[[str], str | None], paths: t.Sequence[str], tokens: t.Mapping[str, str]) -> ChatTemplate | None:
    text = read_text(TEMPLATE_FILE) if TEMPLATE_FILE in paths else None
    tool_file = f"{_FOLDER}tool_use.jinja"
    return ChatTemplate(text, TEMPLATE_FILE, read_text(tool_file) if tool_file in paths else None, tokens) if text else None


def _of_config(read_config: t.Callable[[str], Config], name: str, tokens: t.Mapping[str, str]) -> ChatTemplate | None:
    named = named_templates(read_config(name).get("chat_template"))
    text = named.get("default") or (next(iter(named.values())) if len(named) == 1 else None)
    return ChatTemplate(text, name, named.get("tool_use"), tokens) if text else None


def named_templates(value: t.Any) -> dict[str, str]:
    """Templates by name, from a text, a mapping, or a list of mappings with ``name`` and ``template``."""
    if isinstance(value, str):
        return {"default": value} if value else {}
    if isinstance(value, list):
        pairs = [(item.get("name"), item.get("template")) for item in value if isinstance(item, dict)]
    else:
        pairs = list(value.items()) if isinstance(value, dict) else []
    return {name: text for name, text in pairs if isinstance(name, str) and isinstance(text, str) and text}


def special_tokens(tokenizer: Config, tokens_map: Config) -> dict[str, str]:
    """The special tokens that a server hands to the template, by name."""
    found: dict[str, str] = {}
    for config in (tokens_map, tokenizer):
        extra = config.get("extra_special_tokens")
        pairs = [*((name, config.get(name)) for name in _TOKENS), *(extra.items() if isinstance(extra, dict) else ())]
        for name, value in pairs:
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str) and len(text) <= _MAX_TOKEN and str(name).isidentifier():
                found[str(name)] = text
    return found
