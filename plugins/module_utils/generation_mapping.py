# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One neutral set of parameters in the words of each server: vLLM's OpenAI-compatible endpoint, Ollama's /api/chat, the OpenAI API.

Names and ranges: vLLM 0.32 (``entrypoints/openai/chat_completion/protocol.py``, ``sampling_params.py``); Ollama's API (docs/api.md,
``api/types.go`` of 0.32); OpenAI's reference of chat completions. What a server would refuse is refused here; what a model or a server
cannot do is left out, and said.
"""
from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.chat_folding import known_value
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.generation_ranges import PARAMETERS

SERVERS = ("vllm", "ollama", "openai")
#: Where each number goes; Ollama's go into ``options``. A name that is missing is something that the server has not.
_NUMBERS: dict[str, dict[str, str]] = {
    "vllm": {
        "temperature": "temperature", "max_tokens": "max_tokens", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p",
        "repeat_penalty": "repetition_penalty", "seed": "seed",
    },
    "ollama": {
        "temperature": "temperature", "max_tokens": "num_predict", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p",
        "repeat_penalty": "repeat_penalty", "seed": "seed",
    },
    "openai": {"temperature": "temperature", "max_tokens": "max_completion_tokens", "top_p": "top_p", "seed": "seed"},
}  # fmt: skip
_OTHERS = ("stop", "format", "response_format", "tools", "tool_choice", "think")
_CHOICES = ("auto", "none", "required")
_EFFORTS = ("low", "medium", "high")
#: The OpenAI API takes four stop sequences at most, and so does vLLM, which checks requests by it.
_MAX_STOPS = {"openai": 4, "vllm": 4}
_INT32 = 2**31 - 1

Values = dict[str, t.Any]


@dataclass(frozen=True)
class Mapped:
    """Keys of a request's body, and what was left out of it."""

    body: Values
    warnings: tuple[str, ...] = ()


def map_parameters(wanted: t.Mapping[str, t.Any], server: str, capabilities: t.Any = None) -> Mapped:
    """The request's part for a server. Parameters that are null count as not given. Raises ``invalid_option``."""
    if server not in SERVERS:
        raise _bad("server", f"one of {', '.join(SERVERS)}", repr(server))
    if not isinstance(wanted, t.Mapping):
        raise _bad("parameters", "names with values", type(wanted).__name__)
    given = {name: value for name, value in wanted.items() if value is not None}
    unknown = sorted(str(name) for name in given if name not in PARAMETERS and name not in _OTHERS)
    if unknown:
        raise _bad(unknown[0], f"one of {', '.join([*PARAMETERS, *_OTHERS])}", f"the parameter {ascii(unknown[0])}")
    warnings: list[str] = []
    numbers = _numbers(given, server, capabilities, warnings)
    body: Values = {"options": numbers} if server == "ollama" and numbers else dict(numbers) if server != "ollama" else {}
    _add_stop(body, given, server)
    _add_format(body, given, server, capabilities, warnings)
    _add_tools(body, given, server, capabilities, warnings)
    _add_thinking(body, given, server, capabilities, warnings)
    return Mapped(body, tuple(warnings))


def _bad(option: str, wanted: str, found: str) -> VenomError:
    return VenomError("invalid_option", wanted=f"{option}: {wanted}", found=found, todo=f"correct {option}", option=option)


def _numbers(given: Values, server: str, capabilities: t.Any, warnings: list[str]) -> Values:
    names = _NUMBERS[server]
    context = known_value(capabilities, "max_context_length")
    mapped: Values = {}
    for name, parameter in PARAMETERS.items():
        if name not in given:
            continue
        value = given[name]
        problem = parameter.problem(value)
        if problem is None and name == "max_tokens" and isinstance(context, int) and value > context:
            problem = f"is {value}, and the model holds {context} tokens"
        if problem is None and name == "seed" and server == "ollama" and not -_INT32 <= value <= _INT32:
            problem = f"is {value}, and Ollama takes 32 bits"
        if problem is not None:
            raise _bad(name, "a value in range", f"it {problem}")
        if name in names:
            mapped[names[name]] = value
        else:
            warnings.append(f"{name} is left out: {_shown(server)} has no such parameter")
    return mapped


def _shown(server: str) -> str:
    return {"vllm": "vLLM", "ollama": "Ollama", "openai": "the OpenAI API"}[server]


def _add_stop(body: Values, given: Values, server: str) -> None:
    if "stop" not in given:
        return
    stop = [given["stop"]] if isinstance(given["stop"], str) else given["stop"]
    if not isinstance(stop, (list, tuple)) or not all(isinstance(item, str) and item for item in stop):
        raise _bad("stop", "a text or a list of texts, none of them empty", repr(given["stop"])[:80])
    most = _MAX_STOPS.get(server)
    if most is not None and len(stop) > most:
        raise _bad("stop", f"at most {most} texts for {_shown(server)}", str(len(stop)))
    if not stop:
        return
    if server == "ollama":
        body.setdefault("options", {})["stop"] = list(stop)
    else:
        body["stop"] = list(stop)


def _schema(given: Values) -> t.Any:
    """The wanted form of the answer: None, 'json', or a JSON schema. ``response_format`` is OpenAI's way to say it."""
    if "format" in given and "response_format" in given:
        raise _bad("format", "format or response_format", "both")
    if "format" in given:
        wanted = given["format"]
        if wanted == "json" or isinstance(wanted, t.Mapping):
            return wanted
        raise _bad("format", "'json' or a JSON schema", repr(wanted)[:80])
    if "response_format" not in given:
        return None
    wanted = given["response_format"]
    kind = wanted.get("type") if isinstance(wanted, t.Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return "json"
    inner = wanted.get("json_schema") if kind == "json_schema" else None
    if isinstance(inner, t.Mapping) and isinstance(inner.get("schema"), t.Mapping):
        return inner["schema"]
    raise _bad("response_format", "type text, json_object, or json_schema with json_schema.schema", repr(wanted)[:80])


def _add_format(body: Values, given: Values, server: str, capabilities: t.Any, warnings: list[str]) -> None:
    schema = _schema(given)
    if schema is None:
        return
    if known_value(capabilities, "supports_structured_outputs") is False:
        warnings.append("the form of the answer is left out: the model cannot be held to one")
    elif server == "ollama":
        body["format"] = schema if isinstance(schema, str) else dict(schema)
    elif isinstance(schema, str):
        body["response_format"] = {"type": "json_object"}
    else:
        named = given.get("response_format", {}).get("json_schema", {}) if isinstance(given.get("response_format"), t.Mapping) else {}
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", **named, "schema": dict(schema)}}


def _add_tools(body: Values, given: Values, server: str, capabilities: t.Any, warnings: list[str]) -> None:
    tools = given.get("tools")
    choice = given.get("tool_choice")
    if tools is not None and (not isinstance(tools, (list, tuple)) or not all(_is_tool(tool) for tool in tools)):
        raise _bad("tools", "a list of functions, each with a name", repr(tools)[:80])
    if choice is not None and choice not in _CHOICES and not (isinstance(choice, t.Mapping) and _is_tool(choice)):
        raise _bad("tool_choice", f"{', '.join(_CHOICES)}, or a function with its name", repr(choice)[:80])
    if not tools:
        if choice not in (None, "none", "auto"):
            raise _bad("tool_choice", "tools to choose from", "no tools")
        return
    if known_value(capabilities, "supports_tools") is False:
        warnings.append("tools are left out: the model has no way to call them")
        return
    if choice == "none":
        if server != "ollama":
            body.update(tools=[dict(tool) for tool in tools], tool_choice="none")
        return
    body["tools"] = [dict(tool) for tool in tools]
    if choice is None:
        return
    if server == "ollama":
        if choice != "auto":
            warnings.append("tool_choice is left out: Ollama lets the model choose")
    else:
        body["tool_choice"] = choice if isinstance(choice, str) else dict(choice)


def _is_tool(tool: t.Any) -> bool:
    function = tool.get("function") if isinstance(tool, t.Mapping) and tool.get("type", "function") == "function" else None
    return isinstance(function, t.Mapping) and isinstance(function.get("name"), str) and bool(function["name"])


def _add_thinking(body: Values, given: Values, server: str, capabilities: t.Any, warnings: list[str]) -> None:
    think = given.get("think")
    if think is None:
        return
    if not isinstance(think, bool) and think not in _EFFORTS:
        raise _bad("think", f"true, false, {', '.join(_EFFORTS)}", repr(think)[:80])
    if known_value(capabilities, "supports_thinking") is False:
        if think is not False:
            warnings.append("think is left out: the model does not think aloud")
        return
    if server == "ollama":
        body["think"] = think
    elif server == "openai":
        if isinstance(think, str):
            body["reasoning_effort"] = think
        else:
            warnings.append("think is left out: the OpenAI API takes low, medium or high")
    elif isinstance(think, str):
        body["reasoning_effort"] = think
    else:
        # Templates differ in the name; vLLM hands both to them, and one that is not asked for does nothing.
        body["chat_template_kwargs"] = {"enable_thinking": think, "thinking": think}
