# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of generation under one set of names: what a value may be, and what a model's own files recommend.

Ranges are what the servers accept: vLLM 0.32 (``sampling_params.py``, ``_verify_args``) for all but ``seed``, which is what fits 64 bits.
Defaults come from generation_config.json, or from the parameters of an Ollama model.
"""
from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

Values = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Parameter:
    """A parameter: ``least`` and ``most`` belong to the range, but ``least`` does not where ``above`` is true. None is no bound."""

    kind: str
    least: float | None = None
    most: float | None = None
    above: bool = False

    def problem(self, value: t.Any) -> str | None:
        """Why a value is none of this parameter, or None."""
        if self.kind in ("int", "float"):
            wanted = int if self.kind == "int" else (int, float)
            if isinstance(value, bool) or not isinstance(value, wanted) or (isinstance(value, float) and not math.isfinite(value)):
                return f"is {value!r:.60}, which is no {'whole ' if self.kind == 'int' else ''}number"
            if isinstance(value, int) and not -(2**64) < value < 2**64:
                # Python would not even write out the longest ones, and makes no fraction of them.
                return f"is a number of {value.bit_length()} bits, more than any server takes"
            number = t.cast(float, value)
            if self.least is not None and (number < self.least or (self.above and number == self.least)):
                return f"is {value}, and must be {'above' if self.above else 'at least'} {self.least:g}"
            if self.most is not None and number > self.most:
                return f"is {value}, and must be at most {self.most:g}"
        return None


#: The neutral names of numbers. ``max_tokens`` is bounded by the model's context, too.
PARAMETERS = {
    "temperature": Parameter("float", 0.0, 2.0),
    "max_tokens": Parameter("int", 1),
    "top_p": Parameter("float", 0.0, 1.0, above=True),
    "top_k": Parameter("int", 0),
    "min_p": Parameter("float", 0.0, 1.0),
    "repeat_penalty": Parameter("float", 0.0, None, above=True),
    "seed": Parameter("int", -(2**63), 2**63 - 1),
}
#: Names in generation_config.json (transformers, GenerationConfig) and in the parameters of an Ollama model.
_OF_TRANSFORMERS = {
    "temperature": "temperature",
    "max_new_tokens": "max_tokens",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
}
_OF_OLLAMA = {
    "temperature": "temperature",
    "num_predict": "max_tokens",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repeat_penalty": "repeat_penalty",
    "seed": "seed",
}


def ranges(defaults: Values, context: int | None, names: str = "transformers") -> dict[str, dict[str, t.Any]]:
    """Every parameter with type, min, max and default. A default without sense is left out.

    ``names`` tells whose names ``defaults`` has, 'transformers' or 'ollama'; ``context`` in tokens bounds ``max_tokens``.
    """
    given: dict[str, t.Any] = {}
    for theirs, ours in (_OF_OLLAMA if names == "ollama" else _OF_TRANSFORMERS).items():
        if theirs in defaults and PARAMETERS[ours].problem(defaults[theirs]) is None:
            given[ours] = defaults[theirs]
    described: dict[str, dict[str, t.Any]] = {}
    for name, parameter in PARAMETERS.items():
        most = context if name == "max_tokens" else parameter.most
        item = {"type": parameter.kind, "min": _plain(parameter, parameter.least), "max": _plain(parameter, most), "default": given.get(name)}
        if parameter.above:
            item["exclusive_min"] = True
        described[name] = item
    return described


def _plain(parameter: Parameter, bound: float | None) -> float | int | None:
    return int(bound) if bound is not None and parameter.kind == "int" else bound
