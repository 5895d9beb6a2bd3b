# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama's Go chat templates, rendered as its server does it (Ollama, template/template.go, Execute and collate).

A template that reads ``.Messages`` gets them all; an older one is run once for each exchange, with ``.System``, ``.Prompt`` and
``.Response``, and the last time only up to the response.
"""
from __future__ import annotations

import json
import typing as t

from ansible_collections.venom.llm.plugins.module_utils.templates.go_functions import GoError, Struct
from ansible_collections.venom.llm.plugins.module_utils.templates.go_parse import (
    Action,
    Branch,
    GoSyntaxError,
    Node,
    Operand,
    Pipeline,
    Tree,
    names_in,
    parse,
)
from ansible_collections.venom.llm.plugins.module_utils.templates.go_render import GoTooMuch, render
from ansible_collections.venom.llm.plugins.module_utils.templates.probe import Conversation, Message, Rendering, RenderingFailed, TooExpensive


class OllamaTemplate(Rendering):
    """One parsed template. Raises ``RenderingFailed`` for a text that is none."""

    def __init__(self, text: str) -> None:
        try:
            tree = parse(text)
        except GoSyntaxError as error:
            raise RenderingFailed(f"the template cannot be parsed: {error}") from error
        except (MemoryError, RecursionError) as error:
            raise TooExpensive("it is nested too deeply") from error
        names = names_in(tree.root).union(*(names_in(nodes) for nodes in tree.defined.values()))
        self._takes_messages = "messages" in names
        if not self._takes_messages and "response" not in names:
            response = Action(Pipeline(((Operand("dot", None, ("Response",)),),)))
            tree = Tree((*tree.root, response), tree.defined)
        self._tree = tree

    def render(self, conversation: Conversation) -> str:
        """The prompt. Raises ``RenderingFailed``, ``TooExpensive``."""
        messages = [_flatten(message) for message in conversation.messages]
        think = conversation.variables.get("enable_thinking")
        level = conversation.variables.get("reasoning_effort")
        common = {"Think": bool(think), "ThinkLevel": level or "", "IsThinkSet": think is not None or level is not None}
        try:
            if self._takes_messages:
                return self._whole(messages, conversation.variables.get("tools"), common)
            return self._in_turns(messages, common)
        except GoError as error:
            raise RenderingFailed(str(error)) from error
        except (GoTooMuch, MemoryError, RecursionError) as error:
            raise TooExpensive(str(error) or "it needs too much") from error

    def _whole(self, messages: list[Message], tools: t.Any, common: dict[str, t.Any]) -> str:
        system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
        data = dict(common, System=system, Messages=[_message(message) for message in _collate(messages)], Tools=_tools(tools), Response="")
        return render(self._tree, data)

    def _in_turns(self, messages: list[Message], common: dict[str, t.Any]) -> str:
        text, system, prompt, response = "", "", "", ""
        for message in _collate(messages):
            role, content = message["role"], message["content"]
            if (role == "system" and (prompt or response)) or (role == "user" and response):
                text += render(self._tree, dict(common, System=system, Prompt=prompt, Response=response))
                system, prompt, response = "", "", ""
            if role == "system":
                system = content
            elif role == "user":
                prompt = content
            elif role == "assistant":
                response = content
        nodes, dummy = _cut(self._tree.root)
        return text + render(self._tree, dict(common, System=system, Prompt=prompt, Response=response), nodes)


def _flatten(message: Message) -> Message:
    content = message.get("content")
    return dict(message, content=content if isinstance(content, str) else "" if content is None else json.dumps(content))


def _collate(messages: t.Iterable[Message]) -> list[Message]:
    """Neighbours of one role as one message; results of tools stay apart."""
    collated: list[Message] = []
    for message in messages:
        last = collated[-1] if collated else None
        if last is not None and last["role"] == message["role"] != "tool":
            collated[-1] = dict(last, content=f"{last['content']}\n\n{message['content']}")
        else:
            collated.append(message)
    return collated


def _message(message: Message) -> Struct:
    calls: list[Struct] = []
    for call in message.get("tool_calls") or []:
        arguments = call["function"]["arguments"]
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        printed = _printed("ToolCallFunctionArguments", arguments, arguments, True)
        function = {"Index": len(calls), "Name": call["function"]["name"], "Arguments": printed}
        calls.append(Struct("api.ToolCall", {"ID": call["id"], "Function": Struct("api.ToolCallFunction", function)}))
    fields = {
        "Role": message["role"],
        "Content": message["content"],
        "Thinking": message.get("thinking") or "",
        "Images": [],
        "ToolCalls": calls,
        "ToolName": message.get("name") or "",
        "ToolCallID": message.get("tool_call_id") or "",
    }
    return Struct("api.Message", fields)


def _compact(value: t.Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _printed(type_name: str, fields: t.Mapping[str, t.Any], data: t.Any, is_map: bool = False) -> Struct:
    """A value that prints itself as JSON."""
    return Struct(f"api.{type_name}", fields, text=_compact(data), data=data, is_map=is_map)


def _tools(tools: t.Any) -> t.Any:
    return Struct("api.Tools", text=_compact(tools), items=[_tool(tool) for tool in tools], data=tools) if tools else []


def _tool(tool: dict[str, t.Any]) -> Struct:
    function = tool["function"]
    parameters = function["parameters"]
    fields = {
        "Type": parameters["type"],
        "Defs": None,
        "Items": None,
        "Required": parameters["required"],
        "Properties": {name: _property(given) for name, given in parameters["properties"].items()},
    }
    inner = {
        "Name": function["name"],
        "Description": function["description"],
        "Parameters": _printed("ToolFunctionParameters", fields, parameters),
    }
    return _printed("Tool", {"Type": "function", "Items": None, "Function": _printed("ToolFunction", inner, function)}, tool)


def _property(given: dict[str, t.Any]) -> Struct:
    fields = {
        "AnyOf": [],
        "Type": Struct("api.PropertyType", text=given["type"], items=[given["type"]], data=given["type"]),
        "Items": None,
        "Description": given.get("description", ""),
        "Enum": [],
        "Properties": None,
        "ToTypeScriptType": given["type"],
    }
    return _printed("ToolProperty", fields, given)


def _cut(nodes: t.Sequence[Node]) -> tuple[tuple[Node, ...], bool]:
    """The nodes up to and with the first one that reads the response, and whether there was one."""
    kept: list[Node] = []
    for node in nodes:
        if isinstance(node, Branch):
            body, is_cut = _cut(node.body)
            other = node.other
            if not is_cut:
                other, is_cut = _cut(node.other)
            kept.append(Branch(node.keyword, node.pipeline, body, other))
        else:
            kept.append(node)
            is_cut = "response" in names_in([node])
        if is_cut:
            return tuple(kept), True
    return tuple(kept), False
