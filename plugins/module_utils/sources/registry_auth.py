# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks a registry, and where that may be told: credentials, challenges, hosts.

The place where tokens are given is pinned: credentials go to the registry's own origin or to a host that the operator listed, never to
where a challenge or a redirect would like them (https://distribution.github.io/distribution/spec/auth/token/).
"""
from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from ansible_collections.venom.llm.plugins.module_utils.sources.http import HostList, origin_of

#: Characters of a WWW-Authenticate header that are looked at.
_MAX_CHALLENGE = 8 * 1024
#: Where public registries send for the bytes: these domains and everything below them, by https only.
_PUBLIC_DOMAINS = {
    "registry.ollama.ai": ("ollama.ai", "ollama.com", "r2.cloudflarestorage.com"),
    "hf.co": ("hf.co", "huggingface.co"),
}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_PARAMETER = re.compile(r'(?P<key>[A-Za-z_]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]+))')


def parse_challenges(header: str) -> dict[str, dict[str, str]]:
    """The challenges of a WWW-Authenticate header (RFC 9110, 11.6.1): parameters by scheme, names in lower case.

    One header may hold several, and commas stand between challenges, between parameters and in quoted values.
    """
    challenges: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    position = 0
    header = header[:_MAX_CHALLENGE]
    while position < len(header):
        parameter = _PARAMETER.match(header, position)
        scheme = _SCHEME.match(header, position)
        if parameter is not None:
            quoted = parameter["quoted"]
            value = parameter["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            current.setdefault(parameter["key"].lower(), value)
            position = parameter.end()
        elif scheme is not None:
            current = challenges.setdefault(scheme[0].lower(), {})
            position = scheme.end()
        else:
            position += 1
    return challenges


@dataclass(frozen=True)
class RegistryHosts(HostList):
    """The hosts of a registry: its own, the operator's, and those that a public registry keeps its bytes at."""

    def allows(self, url: str) -> bool:
        """Whether a request may go there."""
        if super().allows(url):
            return True
        try:
            origin = origin_of(url)
        except ValueError:
            return False
        own = origin_of(self.endpoint)
        domains = _PUBLIC_DOMAINS.get(own[1], ()) if (own[0], own[2]) == ("https", 443) else ()
        return (origin[0], origin[2]) == ("https", 443) and any(origin[1] == name or origin[1].endswith("." + name) for name in domains)


@dataclass(frozen=True)
class Credentials:
    """What the operator gave: a name and password, or a token that is used as it is, or nothing."""

    username: str | None = None
    password: str | None = None
    token: str | None = None

    @property
    def basic(self) -> str | None:
        """The value of an Authorization header with name and password."""
        if self.username is None:
            return None
        pair = f"{self.username}:{self.password or ''}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")
