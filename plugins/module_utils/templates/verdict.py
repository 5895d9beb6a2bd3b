# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a chat template can do, as a value."""
from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.venom.llm.plugins.module_utils.bounded_json import plain_text

#: The roles that are asked for, in the order in which they are named.
ROLES = ("system", "user", "assistant", "tool", "developer")
#: What becomes of a system message: a turn of its own, part of the user's turn, silently left out, or the request is refused.
SYSTEM_HANDLING = ("separate", "merged", "dropped", "rejected")
_MAX_ERROR = 300


@dataclass(frozen=True)
class TemplateCapabilities:
    """What rendering a chat template has shown; None where it could not show it, and then ``warning`` says why.

    A role is allowed when the text of its message gets into the prompt. A system message that is silently left out is not supported, and
    one that is refused has the template's words in ``system_role_error``. ``requires_alternation``: two messages of the user in a row are
    refused. ``supports_tools``: tools that are passed are named in the prompt. ``supports_thinking``: thinking can be switched, or the
    thoughts of an assistant's message get into the prompt.
    """

    supports_system_role: bool | None = None
    allowed_roles: tuple[str, ...] | None = None
    requires_alternation: bool | None = None
    supports_tools: bool | None = None
    supports_thinking: bool | None = None
    system_role_error: str | None = None
    system_handling: str | None = None
    warning: str | None = None

    @classmethod
    def from_answer(cls, answer: t.Any) -> TemplateCapabilities:
        """The value of what a confined child has answered, of which nothing but its types is trusted. Raises ``ValueError``."""
        if not isinstance(answer, dict):
            raise ValueError("it is no mapping")
        flags = {name: answer.get(name) for name in ("supports_system_role", "requires_alternation", "supports_tools", "supports_thinking")}
        roles, error, handling = answer.get("allowed_roles"), answer.get("system_role_error"), answer.get("system_handling")
        if not all(flag is None or isinstance(flag, bool) for flag in flags.values()) or handling not in (None, *SYSTEM_HANDLING):
            raise ValueError("a verdict has another type")
        if roles is not None and not (isinstance(roles, list) and all(role in ROLES for role in roles)):
            raise ValueError("it has other roles")
        texts = [text if text is None else plain_text(str(text)[:_MAX_ERROR]) for text in (error, answer.get("warning"))]
        allowed = None if roles is None else tuple(role for role in ROLES if role in roles)
        return cls(allowed_roles=allowed, system_role_error=texts[0], system_handling=handling, warning=texts[1], **flags)

    def replace(self, **changes: t.Any) -> TemplateCapabilities:
        """A copy with other values."""
        return replace(self, **changes)

    def with_tool_template(self, other: TemplateCapabilities) -> TemplateCapabilities:
        """This template's verdict, where a server takes another template for requests with tools, which alone tells whether it can."""
        if other.supports_tools is None:
            return self
        roles = self.allowed_roles
        if roles is not None and "tool" in (other.allowed_roles or ()):
            roles = tuple(role for role in ROLES if role in roles or role == "tool")
        return self.replace(supports_tools=other.supports_tools, allowed_roles=roles)

    def detected(self) -> dict[str, t.Any]:
        """The capabilities of a manifest entry that are known, by name."""
        values = {
            "supports_system_role": self.supports_system_role,
            "allowed_roles": None if self.allowed_roles is None else list(self.allowed_roles),
            "requires_alternation": self.requires_alternation,
            "supports_tools": self.supports_tools,
            "supports_thinking": self.supports_thinking,
            "system_handling": self.system_handling,
            "system_role_error": self.system_role_error,
        }
        return {name: value for name, value in values.items() if value is not None}
