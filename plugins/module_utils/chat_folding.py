# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of a chat in the form that a model takes: the system's words without the system role, and roles that take turns.

No text is ever lost: what has no role of its own is said by the user, in front of what the user says.
"""
from __future__ import annotations

import typing as t

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.manifest_entry import SOURCES

Message = t.Mapping[str, t.Any]

#: What the system's words begin with where the user has to say them.
LABEL = "Instructions: "
#: Roles that speak for the operator, whose words the user's role can carry.
_INSTRUCTING = ("system", "developer")
#: Between two texts that become one.
_GAP = "\n\n"


def known_value(capabilities: t.Any, name: str) -> t.Any:
    """A capability's value, from a record of the manifest (``{"value": ..., "source": ...}``), its capabilities, or plain values."""
    return _known(capabilities, name)[0]


def _known(capabilities: t.Any, name: str) -> tuple[t.Any, int]:
    """A capability's value and the rank of its source, 0 for the one that is believed first. A plain value is somebody's word."""
    if not isinstance(capabilities, t.Mapping):
        return None, 0
    inner = capabilities.get("capabilities")
    item = (inner if isinstance(inner, t.Mapping) else capabilities).get(name)
    if not isinstance(item, t.Mapping) or "value" not in item or "source" not in item:
        return item, 0
    source = item.get("source")
    return item.get("value"), SOURCES.index(source) if source in SOURCES else len(SOURCES)


def fold(messages: t.Sequence[Message], capabilities: t.Any) -> list[dict[str, t.Any]]:
    """The messages as the model of these capabilities takes them. What is not known of it changes nothing.

    Raises ``invalid_option`` for anything else than a list of messages with roles.
    """
    said = [_checked(message, position) for position, message in enumerate(_listed(messages))]
    said = _without_foreign_roles(said, capabilities)
    if known_value(capabilities, "requires_alternation") is True:
        said = _taking_turns(said)
    return said


def _listed(messages: t.Any) -> t.Sequence[Message]:
    if isinstance(messages, (str, bytes)) or not isinstance(messages, t.Sequence):
        raise _bad("a list of messages", f"a value of type {type(messages).__name__}")
    return messages


def _checked(message: t.Any, position: int) -> dict[str, t.Any]:
    if not isinstance(message, t.Mapping) or not isinstance(message.get("role"), str):
        raise _bad("messages with role and content", f"message {position} has no role")
    content = message.get("content")
    if content is not None and not isinstance(content, str) and not _is_parts(content):
        raise _bad("content as text or as a list of parts", f"message {position} has content of type {type(content).__name__}")
    return dict(message)


def _is_parts(content: t.Any) -> bool:
    return isinstance(content, t.Sequence) and all(isinstance(part, (str, t.Mapping)) for part in content)


def _bad(wanted: str, found: str) -> VenomError:
    return VenomError("invalid_option", wanted=wanted, found=found, todo="correct the messages", option="messages")


def _is_foreign(role: str, capabilities: t.Any) -> bool:
    """Whether the words of an instructing role would be refused or lost, as the best of the sources says that know.

    Where one source says both, ``supports_system_role`` decides on the system's role, and what refuses decides on the developer's.
    """
    said: dict[int, list[bool]] = {}
    handling, rank = _known(capabilities, "system_handling")
    if handling in ("rejected", "dropped"):
        said.setdefault(rank, []).append(True)
    elif handling in ("separate", "merged") and role == "system":
        said.setdefault(rank, []).append(False)
    allowed, rank = _known(capabilities, "allowed_roles")
    if isinstance(allowed, t.Sequence) and not isinstance(allowed, str) and len(allowed) > 0:
        said.setdefault(rank, []).append(role not in allowed)
    supports, rank = _known(capabilities, "supports_system_role")
    if isinstance(supports, bool) and role == "system":
        said[rank] = [not supports]
    return any(said[min(said)]) if said else False


def _without_foreign_roles(said: list[dict[str, t.Any]], capabilities: t.Any) -> list[dict[str, t.Any]]:
    """A developer's words become the system's where that is known, and the user's where neither is."""
    kept: list[dict[str, t.Any]] = []
    waiting: list[dict[str, t.Any]] = []
    for message in said:
        role = message["role"]
        if role == "developer" and _is_foreign(role, capabilities) and not _is_foreign("system", capabilities):
            message, role = dict(message, role="system"), "system"
        if role in _INSTRUCTING and _is_foreign(role, capabilities):
            waiting.append(message)
            continue
        if waiting and role == "user":
            message, waiting = _instructed(waiting, message), []
        kept.append(message)
    if waiting:
        # Nobody asks anything after these words, so the user says them alone.
        kept.append(_instructed(waiting, None))
    return kept


def _instructed(instructions: t.Sequence[Message], message: Message | None) -> dict[str, t.Any]:
    contents = [item.get("content") for item in instructions if not _is_empty(item.get("content"))]
    if not contents:
        return dict(message) if message is not None else {"role": "user", "content": ""}
    joined: t.Any = LABEL
    for number, content in enumerate(contents):
        joined = _joined(joined, content, "" if number == 0 else _GAP)
    if message is None:
        return {"role": "user", "content": joined}
    if _is_empty(message.get("content")):
        return dict(message, content=joined)
    return dict(message, content=_joined(joined, message.get("content"), _GAP))


def _is_empty(content: t.Any) -> bool:
    return content is None or len(content) == 0


def _joined(first: t.Any, second: t.Any, gap: str = _GAP) -> t.Any:
    """Two contents as one: texts with a gap, and parts in a row where one of them has parts."""
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}{gap}{second}" if first and second else first + second
    return [*_parts(first), *_parts(second)]


def _parts(content: t.Any) -> list[t.Any]:
    if content is None or isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [{"type": "text", "text": part} if isinstance(part, str) else dict(part) for part in content]


def _taking_turns(said: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Neighbours of one role as one message, and a user in front of an assistant who would speak first.

    Calls of tools and their answers stay as they are: templates that know tools take them in a row.
    """
    turns: list[dict[str, t.Any]] = []
    for message in said:
        before = turns[-1] if turns else None
        is_plain = not _calls(message) and message["role"] != "tool"
        if before is not None and before["role"] == message["role"] and is_plain and not _calls(before):
            turns[-1] = {**before, **message, "content": _joined(before.get("content") or "", message.get("content") or "")}
        else:
            turns.append(message)
    first = next((number for number, message in enumerate(turns) if message["role"] != "system"), None)
    if first is not None and turns[first]["role"] == "assistant":
        turns.insert(first, {"role": "user", "content": ""})
    return turns


def _calls(message: Message) -> bool:
    return bool(message.get("tool_calls")) or "tool_call_id" in message
