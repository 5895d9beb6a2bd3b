# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A byte-level BPE tokenizer.json written by hand: 256 byte tokens, role markers, and one token for each piece of a reply."""
from __future__ import annotations

import typing as t

SPECIALS = ("<|bos|>", "<|eos|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
BOS, EOS, PAD = SPECIALS[:3]

_REFUSE_SYSTEM = "{{ raise_exception('System role not supported') }}"
_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}SYSTEM"
    "{% elif message['role'] in ['user', 'assistant'] %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% else %}{{ raise_exception('Unknown role: ' + message['role']) }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def chat_template(system_role: bool) -> str:
    """A Jinja chat template; without a system role it raises ``System role not supported``, as some real models do."""
    return _TEMPLATE.replace("SYSTEM", "{{ '<|system|>' + message['content'] + '<|end|>' }}" if system_role else _REFUSE_SYSTEM)


def byte_alphabet() -> list[str]:
    """The printable character that stands for each byte in byte-level BPE (the table of GPT-2)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in plain else chr(next(spare)) for byte in range(256)]


def pieces(reply: str) -> list[str]:
    """Cut a reply into words, each with the space before it, so that no piece comes twice (a repeated word is glued to its neighbour)."""
    words = reply.split(" ")
    parts = [word if number == 0 else " " + word for number, word in enumerate(words)]
    out: list[str] = []
    for part in parts:
        if out and (len(part.encode()) < 2 or part in out or out[-1] in out[:-1]):
            out[-1] += part
        else:
            out.append(part)
    while len(out) > 1 and (len(set(out)) < len(out) or len(out[0].encode()) < 2):
        repeated = next((number for number, part in enumerate(out) if part in out[:number]), 1)
        out[repeated - 1 : repeated + 1] = [out[repeated - 1] + out[repeated]]
    if len(out[0].encode()) < 2:
        raise ValueError("the reply needs at least two bytes")
    return out


def encode(text: str) -> str:
    """Spell a text in the byte alphabet, as vocabularies of byte-level BPE do."""
    alphabet = byte_alphabet()
    return "".join(alphabet[byte] for byte in text.encode("utf-8"))


def vocabulary(parts: t.Sequence[str]) -> dict[str, int]:
    """Token to id: the special tokens, the 256 bytes, the pieces of the reply."""
    tokens = [*SPECIALS, *byte_alphabet(), *(encode(part) for part in parts)]
    return {token: number for number, token in enumerate(tokens)}


def tokenizer_json(vocab: t.Mapping[str, int]) -> dict[str, t.Any]:
    """The content of tokenizer.json."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = [
        {"id": number, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for number, token in enumerate(SPECIALS)
    ]
    model: dict[str, t.Any] = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": True,
        "vocab": dict(vocab),
        "merges": [],
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": level,
        "decoder": level,
        "model": model,
    }


def tokenizer_config(context: int, template: str | None) -> dict[str, t.Any]:
    """The content of tokenizer_config.json; ``template`` is the chat template to hold, if it has none of its own file."""
    config: dict[str, t.Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
    }
    if template is not None:
        config["chat_template"] = template
    return config
