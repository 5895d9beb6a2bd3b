# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a model keeps its chat template, in the order in which transformers and vLLM look for it.

chat_template.jinja wins over tokenizer_config.json (transformers, tokenization_utils_base.py); then come the files of processors,
chat_template.json and processor_config.json (processing_utils.py), and the metadata of a GGUF. Where there are several by name,
``default`` is taken, and ``tool_use`` for requests with tools (``get_chat_template``).
"""
from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

Config = t.Mapping[str, t.Any]

TEMPLATE_FILE = "chat_template.jinja"
_FOLDER = "additional_chat_templates/"
_TOKENIZER = "tokenizer_config.json"
#: Files of JSON that may hold ``chat_template``, the first one first.
_CONFIGS = (_TOKENIZER, "chat_template.json", "processor_config.json")
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
    if TEMPLATE_FILE in paths:
        text = read_text(TEMPLATE_FILE)
        if text:
            tool_file = f"{_FOLDER}tool_use.jinja"
            return ChatTemplate(text, TEMPLATE_FILE, read_text(tool_file) if tool_file in paths else None, tokens)
    for name in _CONFIGS:
        named = named_templates(read_config(name).get("chat_template"))
        if not named:
            continue
        text = named.get("default") or (next(iter(named.values())) if len(named) == 1 else None)
        if text:
            return ChatTemplate(text, name, named.get("tool_use"), tokens)
    return None


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
