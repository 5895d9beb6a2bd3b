# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many tokens a model can hold in view, with what its positions are stretched by.

What a configuration says is read as vLLM 0.32 does (``config/model.py``, ``_get_and_verify_max_len``; keys:
``transformers_utils/model_arch_config_convertor.py``): the smallest of several keys, times the factor of linear and dynamic scaling.
The other kinds of scaling (yarn, llama3, longrope and their kin) leave max_position_embeddings as what holds after scaling.
A tokenizer's own limit counts only for models that write nothing and have absolute positions, as it does there; where the configuration
tells no length at all, it is the only word that there is.
"""
from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.config_values import Config, fraction, mapping, number, text, text_part

_KEYS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_target_positions", "max_sequence_length", "max_seq_length",
    "seq_len",
)  # fmt: skip
#: Kinds of scaling whose factor has to be applied.
_MULTIPLIED = ("linear", "dynamic", "ntk", "mrope", "xdrope", "proportional")
#: transformers writes 10^30 as model_max_length where a tokenizer has none.
_NO_LIMIT = 10**9


@dataclass(frozen=True)
class Context:
    """In tokens. ``default`` is what vLLM serves when it is not told a length, where that is less than ``maximum``."""

    maximum: int
    default: int
    scaling: str | None = None
    factor: float | None = None

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON."""
        return dict(self.__dict__)


def context_of_config(config: Config, tokenizer: Config, pooling: bool = False) -> Context | None:
    """From config.json and tokenizer_config.json; None where neither tells. ``pooling`` are models that embed or rank and write nothing."""
    inner = text_part(config)
    found = [value for value in (number(inner, key) for key in _KEYS) if value is not None]
    # Command-R and its kin: this one wins over the others.
    longest = number(inner, "model_max_length") or (min(found) if found else None)
    limit = fraction(tokenizer, "model_max_length")
    is_heard = longest is None or (pooling and text(config, "position_embedding_type") == "absolute")
    if is_heard and limit is not None and 1 <= limit < _NO_LIMIT:
        longest = int(limit) if longest is None else min(longest, int(limit))
    if longest is None:
        return None
    scaling, factor, original = _scaling(inner)
    model_type = text(config, "model_type") or text(inner, "model_type") or ""
    maximum = longest
    if scaling in _MULTIPLIED and factor is not None and factor > 1 and "gemma3" not in model_type:
        maximum = int(longest * factor)
    default = maximum
    if scaling == "longrope":
        default = min(maximum, number(inner, "original_max_position_embeddings") or original or maximum)
    return Context(maximum, default, scaling, factor)


def _scaling(config: Config) -> tuple[str | None, float | None, int | None]:
    """Kind, factor and the length before scaling. transformers 5 calls it rope_parameters and may have one for each kind of layer."""
    for name in ("rope_scaling", "rope_parameters"):
        scaling = mapping(config, name)
        parts: list[Config] = [part for part in scaling.values() if isinstance(part, dict)] or [scaling]
        for part in parts:
            kind = text(part, "rope_type", "type")
            if kind is not None and kind != "default":
                return {"su": "longrope"}.get(kind, kind), fraction(part, "factor"), number(part, "original_max_position_embeddings")
    return None, None, None


def context_of_gguf(architecture: str | None, values: Config) -> Context | None:
    """From GGUF metadata, whose context_length holds after scaling."""
    length = number(values, f"{architecture}.context_length")
    if length is None:
        return None
    scaling = text(values, f"{architecture}.rope.scaling.type")
    return Context(length, length, None if scaling == "none" else scaling, fraction(values, f"{architecture}.rope.scaling.factor"))
